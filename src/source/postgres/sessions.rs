//! Sessions with a server in which streams are only looked at, one after another. To open one takes a server longer than to look
//! at a table.

use std::sync::{Mutex, PoisonError};

use tokio_postgres::Client;

use super::Postgres;
use super::settings::ReadSettings;
use super::stream::PostgresStream;
use crate::error::Result;
use crate::source::{Description, Looked};

/// Sessions that nobody uses at the moment. There are as many as streams were looked at side by side.
#[derive(Debug, Default)]
pub(in crate::source) struct Sessions(Mutex<Vec<Client>>);

impl Sessions {
    /// Opens a stream in one of the sessions, and closes it.
    pub(in crate::source) async fn look(
        &self,
        source: &Postgres,
        settings: &ReadSettings<'_>,
    ) -> Result<Looked> {
        let idle = self.idle().pop();
        let client = match idle.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => source.server.connect().await?,
        };
        // A session in which this fails is in a transaction that failed: it is not used again.
        let opening =
            PostgresStream::open_in(client, &source.server, source.reader, settings, None);
        let opened = opening.await?;
        let looked = Looked {
            description: Description::clone(opened.description()),
            recommendations: opened.recommendations(),
        };
        let client = opened.close().await;
        self.idle().extend(client);
        Ok(looked)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
