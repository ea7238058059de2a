//! The snapshot that streams of changes begin with.

use tokio_postgres::Client;

use super::table::Table;
use super::wire::ReplicationConnection;
use super::{Replication, warn_if_slow};
use crate::change::SnapshotMark;
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::postgres::protocol_error::ProtocolError;
use crate::source::postgres::connection::failed;
use crate::source::postgres::sql::{literal, quote};

/// The snapshot that a stream of changes begins with.
#[derive(Debug)]
pub struct Snapshot {
    /// Its name, for `SET TRANSACTION SNAPSHOT`. It is valid as long as this value lives.
    pub name: String,
    /// The mark of its rows.
    pub mark: SnapshotMark,
    _exporter: ReplicationConnection,
}

impl Replication {
    /// Exports a snapshot that ends exactly at an LSN of the log, by a temporary slot. Later transactions come through the
    /// run's slot, which is older. Waits for transactions that are in progress.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let told = |error: ProtocolError| error.told("cannot take a snapshot", self.server.place());
        let mut exporter = ReplicationConnection::connect(&self.server).await?;
        let name = format!("acequia_snapshot_{}", uuid::Uuid::new_v4().simple());
        let command = format!(
            "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT",
            quote(&name)
        );
        let answer = warn_if_slow(exporter.query(&command)).await.map_err(told)?;
        let mut row = answer
            .into_iter()
            .next()
            .unwrap_or_default()
            .into_iter()
            .skip(1);
        let (lsn, name) = (row.next().flatten(), row.next().flatten());
        let (Some(lsn), Some(name)) = (lsn, name) else {
            return Err(Error::internal("the server did not tell its snapshot"));
        };
        let lsn: Lsn = lsn.parse().map_err(|error| {
            Error::internal("the server's position cannot be read").cause(error)
        })?;
        Ok(Snapshot {
            name,
            mark: SnapshotMark {
                lsn,
                taken_at: chrono::Utc::now().timestamp_micros(),
            },
            _exporter: exporter,
        })
    }

    /// Locks tables as they are in a snapshot, until the session ends, if the user may lock them.
    pub async fn hold(&self, snapshot: &Snapshot, tables: &[Table]) -> Result<Client> {
        let client = self.server.connect().await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(&snapshot.name)
        );
        let held = |error| failed("cannot hold the tables for a snapshot", &error);
        client.batch_execute(&begin).await.map_err(held)?;
        for table in tables {
            let lock = format!(
                "SAVEPOINT held; LOCK TABLE {} IN ACCESS SHARE MODE; RELEASE SAVEPOINT held",
                table.from
            );
            if let Err(error) = client.batch_execute(&lock).await {
                tracing::debug!(table = table.from, %error, "not held until its turn");
                let back = client.batch_execute("ROLLBACK TO SAVEPOINT held").await;
                back.map_err(held)?;
            }
        }
        Ok(client)
    }
}
