//! PostgreSQL as a source: any table, view or query, read in parallel lanes under one snapshot.
//!
//! Changes of tables are read by logical replication (`replication`).
//!
//! `catalog` looks relations up, `types` decides how each column is sent, `sql` writes the statements, `stream` locks the
//! relation and starts the lanes, `cursor` and `horizon` determine what is new, `range` what is read again of what is not, `reader`
//! reads it, and `text` decodes fields of the log. Fields of COPY are decoded by [`crate::postgres::binary`], into batches of [`crate::postgres::batch`].

use crate::config::postgres::Replication as ReplicationNames;
use crate::config::{PostgresChanges, PostgresRows, PostgresSource, Reader};
use crate::discovery::FoundTable;
use crate::error::Result;
use crate::known_tables::SourceTable;

mod boundary;
pub mod catalog;
pub mod cursor;
mod discover;
pub mod horizon;
pub mod identity;
pub mod range;
pub mod reader;
pub mod replication;
pub mod settings;
pub mod snapshot;
pub mod sql;
pub mod stream;
pub mod text;
pub mod types;
pub mod watermark;

pub use crate::postgres::connection;

use connection::Server;
use replication::{Replication, preflight};
use snapshot::SnapshotContext;
use stream::PostgresStream;

/// A PostgreSQL database to read from.
#[derive(Debug, Clone)]
pub struct Postgres {
    server: Server,
    replication: ReplicationNames,
    reader: Reader,
}

impl Postgres {
    /// Parses the connection URI. It does not connect.
    pub fn new(config: &PostgresSource) -> Result<Self> {
        Ok(Self {
            server: Server::parse(&config.url)?,
            replication: config.replication.clone(),
            reader: config.reader,
        })
    }

    /// Connects, and returns a description of the server.
    pub async fn describe(&self) -> Result<String> {
        let client = self.server.connect().await?;
        let row = client
            .query_one(
                "SELECT current_setting('server_version'), current_user::text, COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)",
                &[],
            )
            .await
            .map_err(|error| {
                connection::failed(format!("cannot ask the server at {}", self.server.place()), &error)
            })?;
        let (version, user, tls): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        Ok(format!(
            "PostgreSQL {version} at {}, as {user}, {}",
            self.server.place(),
            if tls { "with TLS" } else { "without TLS" }
        ))
    }

    /// Connects, and returns the tables and views of all schemas but the server's own.
    pub async fn tables(&self) -> Result<Vec<SourceTable>> {
        let client = self.server.connect().await?;
        catalog::tables(&client, self.server.place()).await
    }

    /// Connects, and returns the tables with their sizes, keys and possible cursors, and why the server's changes cannot be
    /// followed, if they cannot.
    pub async fn discover(&self) -> Result<(Vec<FoundTable>, Option<String>)> {
        let client = self.server.connect().await?;
        let no_changes = discover::no_changes(&client, &self.replication).await?;
        let follows = no_changes.is_none();
        let tables = discover::tables(&client, follows, self.server.place()).await?;
        Ok((tables, no_changes))
    }

    /// Connects and opens a stream of rows.
    pub async fn open(&self, rows: &PostgresRows) -> Result<PostgresStream> {
        PostgresStream::open(&self.server, self.reader, &rows.into(), None).await
    }

    /// Connects and opens the table of a stream of changes, without a snapshot.
    pub async fn open_table(&self, changes: &PostgresChanges) -> Result<PostgresStream> {
        PostgresStream::open(&self.server, self.reader, &changes.into(), None).await
    }

    /// The replication slot's name.
    pub fn slot_name(&self) -> &str {
        &self.replication.slot
    }

    /// The server, and the names of slot and publication.
    pub fn replication(&self) -> (&Server, &ReplicationNames) {
        (&self.server, &self.replication)
    }

    /// Connects, and returns warnings about the pipeline's replication slots that no process reads.
    pub async fn orphaned_slots(&self) -> Result<Vec<String>> {
        let client = self.server.connect().await?;
        preflight::warnings(&client, &self.replication).await
    }

    /// Connects for replication.
    pub async fn replicate(&self) -> Result<Replication> {
        Replication::open(&self.server, &self.replication).await
    }

    /// Opens a table in the snapshot that its changes begin with.
    pub async fn open_snapshot(
        &self,
        changes: &PostgresChanges,
        follow: &SnapshotContext<'_>,
    ) -> Result<PostgresStream> {
        PostgresStream::open(&self.server, self.reader, &changes.into(), Some(follow)).await
    }
}
