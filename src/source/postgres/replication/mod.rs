//! Changes of tables, by logical replication: one slot and one pass over the write-ahead log for all streams of a source.
//!
//! [`publication`] checks and creates the publication; [`wire`] is the protocol's connection, and [`body`] parses its
//! messages; [`pgoutput`] decodes the changes in them; a [`table_decoder`] makes batches of one stream from the changes of
//! one table, by [`change`]. [`Replication`] holds the slot: it decides where each stream may continue, takes the snapshot
//! of a new stream, starts to read, and confirms what is durable. A [`log_reader`] reads the log. [`preflight`] is for
//! `check`, `status` and `replication drop`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::config::PostgresChanges;
use crate::config::postgres::Replication as ReplicationNames;
use crate::error::{Error, Result};
use crate::position::{LastRead, Lsn, LsnPosition};
use crate::shape::{Seen, TableShape};

use super::connection::{Server, failed, version};
use super::sql::quote;

mod alterations;
mod begin;
pub mod body;
pub mod change;
mod confirm;
mod identities;
pub mod log_reader;
pub mod pgoutput;
pub mod preflight;
pub mod publication;
pub mod shapes;
pub mod slot;
mod snapshot;
mod start;
pub mod table;
pub mod table_decoder;
pub mod wire;

use crate::postgres::protocol_error::ProtocolError;
use pgoutput::Relation;
use slot::Slot;
pub use snapshot::Snapshot;
pub use start::{Resume, Standing, Start};
use table::Table;
use wire::ReplicationConnection;

/// The interval of status updates to the server: well below its `wal_sender_timeout`.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a slot may still be in use by a reader that was killed.
const SLOT_RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// The remedy for a position whose log is lost.
const ANEW: &str = "take a new snapshot: `acequia run STREAM --full-refresh`";
/// The delay before a slot in use is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The replication slot of a source, held during a run.
#[derive(Debug)]
pub struct Replication {
    server: Server,
    names: ReplicationNames,
    client: Client,
    wire: ReplicationConnection,
    system: String,
    timeline: Option<u32>,
    /// The end of each timeline in the history of the server's timeline.
    branches: Vec<(u32, Lsn)>,
    started: String,
    version: i32,
    reading: Option<ReadMode>,
    confirmed: Lsn,
    /// The relations as the server described them last.
    relations: HashMap<u32, Relation>,
}

/// How the log is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadMode {
    /// As a stream, for as long as the connection lasts. The slot is held, and confirmed while the log is read.
    Stream,
    /// As the rows of a query, up to an LSN.
    Query,
    /// Not any more: reading failed, and the connection cannot be used.
    Failed,
}

impl Replication {
    /// Connects, and checks whether the server can replicate.
    pub async fn open(server: &Server, names: &ReplicationNames) -> Result<Self> {
        let client = server.connect().await?;
        if let Some((lack, remedy)) = publication::missing_prerequisites(&client, names)
            .await?
            .into_iter()
            .next()
        {
            return Err(
                Error::source(format!("{lack} (PostgreSQL at {})", server.place())).remedy(remedy),
            );
        }
        shapes::make_room(&client).await?;
        let mut wire = ReplicationConnection::connect(server).await?;
        let identity = wire
            .query("IDENTIFY_SYSTEM")
            .await
            .map_err(|error| error.told("cannot begin to replicate", server.place()))?;
        let mut identity = identity.into_iter().next().unwrap_or_default().into_iter();
        let system = identity.next().flatten().unwrap_or_default();
        let timeline: Option<u32> = identity.next().flatten().and_then(|text| text.parse().ok());
        let branches = start::branches(&mut wire, timeline).await;
        let started: String = client
            .query_one("SELECT pg_catalog.pg_postmaster_start_time()::text", &[])
            .await
            .map_err(|error| failed("cannot ask when the server was started", &error))?
            .get(0);
        let version = version(&client).await?;
        Ok(Self {
            server: server.clone(),
            names: names.clone(),
            client,
            wire,
            system,
            timeline,
            branches,
            started,
            version,
            reading: None,
            confirmed: Lsn(0),
            relations: HashMap::new(),
        })
    }

    /// Publishes the streams' tables, and returns each table, or why it cannot be replicated.
    pub async fn tables(&self, streams: &[&PostgresChanges]) -> Result<Vec<Result<Table>>> {
        let published = publication::publication(&self.client, &self.names.publication).await?;
        let mut tables = self.look_up(streams, published).await;
        let missing: Vec<&str> = tables
            .iter()
            .filter_map(|table| table.as_ref().ok())
            .filter(|table| table.membership.is_none())
            .map(|table| table.from.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(tables);
        }
        publication::publish_tables(&self.client, &self.names, published.is_some(), &missing)
            .await?;
        let published = publication::publication(&self.client, &self.names.publication).await?;
        let unpublished =
            |table: &Result<Table>| table.as_ref().is_ok_and(|table| table.membership.is_none());
        let again: Vec<&PostgresChanges> = streams
            .iter()
            .zip(&tables)
            .filter(|(_, table)| unpublished(table))
            .map(|(stream, _)| *stream)
            .collect();
        let again = self.look_up(&again, published).await;
        let places = tables.iter_mut().filter(|table| unpublished(table));
        for (place, table) in places.zip(again) {
            *place = table;
        }
        Ok(tables)
    }

    /// Each stream's table, or why it cannot be replicated.
    async fn look_up(
        &self,
        streams: &[&PostgresChanges],
        published: Option<publication::Publication>,
    ) -> Vec<Result<Table>> {
        publication::tables(
            &self.client,
            streams,
            published,
            self.version,
            self.server.place(),
        )
        .await
    }

    /// Warnings about the pipeline's slots that nothing reads.
    pub async fn orphaned_slots(&self) -> Result<Vec<String>> {
        preflight::warnings(&self.client, &self.names).await
    }

    /// The slot. `None` if it does not exist.
    pub async fn slot(&self) -> Result<Option<Slot>> {
        slot::slot(&self.client, &self.names.slot).await
    }

    /// The slot, after waiting until another run has finished creating it. `None` if it does not exist.
    pub async fn finished_slot(&self) -> Result<Option<Slot>> {
        let finished = async {
            loop {
                match self.slot().await? {
                    // The other run may have been stopped; the server then removes the slot.
                    Some(slot) if slot.is_unfinished => tokio::time::sleep(RETRY_DELAY).await,
                    slot => return Ok(slot),
                }
            }
        };
        warn_if_slow(finished).await
    }

    /// Drops the slot.
    pub async fn drop_slot(&self) -> Result<()> {
        let name = &self.names.slot;
        let what = || format!("cannot drop the replication slot `{name}`");
        tracing::info!(slot = name, "dropping a replication slot whose log is gone");
        let dropped = self
            .client
            .execute("SELECT pg_drop_replication_slot($1)", &[name])
            .await;
        dropped.map(drop).map_err(|error| failed(what(), &error))
    }

    /// Creates the slot. Waits for transactions that are in progress.
    pub async fn create_slot(&mut self) -> Result<()> {
        let command = format!(
            "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput NOEXPORT_SNAPSHOT",
            quote(&self.names.slot)
        );
        tracing::info!(slot = self.names.slot, "making the replication slot");
        let made = warn_if_slow(self.wire.query(&command)).await;
        made.map_err(|error| {
            let what = format!("cannot make the replication slot `{}`", self.names.slot);
            error.told(&what, self.server.place())
        })?;
        Ok(())
    }

    /// The current end of the log: all transactions that are committed now end before it.
    pub async fn now(&self) -> Result<Lsn> {
        let row = self
            .client
            .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
            .await
            .map_err(|error| failed("cannot ask where the write-ahead log ends", &error))?;
        let lsn: String = row.get(0);
        lsn.parse()
            .map_err(|error| Error::internal("the server's position cannot be read").cause(error))
    }

    /// The current shapes of tables in the catalog.
    pub async fn look(&self, tables: &[u32]) -> Result<HashMap<u32, Seen>> {
        shapes::look(&self.client, tables, &self.names.publication).await
    }

    /// The position of a stream of that table, up to that LSN.
    pub fn position(
        &self,
        table: &Table,
        lsn: Lsn,
        last: Option<LastRead>,
        shape: Option<TableShape>,
    ) -> LsnPosition {
        LsnPosition {
            lsn,
            slot: self.names.slot.clone(),
            system: self.system.clone(),
            relation: table.oid,
            membership: table.membership,
            partitions: table.partitions.clone(),
            timeline: self.timeline,
            started: Some(self.started.clone()),
            last,
            shape,
        }
    }

    fn slot_missing(&self, since: Lsn) -> Error {
        Error::source(format!(
            "the replication slot `{}` is gone, and with it the changes since {since}",
            self.names.slot
        ))
        .remedy(ANEW)
    }

    fn moved(&self, slot: &Slot, position: Lsn) -> Error {
        Error::source(format!(
            "the replication slot `{}` stands at {}, after the stream's position {position}: it was made anew, or something \
             else has read from it, and the changes in between are lost",
            self.names.slot, slot.confirmed
        ))
        .remedy(ANEW)
    }

    /// The server's system identifier, as positions have it.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// When the server was started.
    pub fn started(&self) -> &str {
        &self.started
    }

    /// The publication's name.
    pub fn publication(&self) -> &str {
        &self.names.publication
    }

    /// Ends the session in order.
    pub async fn close(self) -> Result<()> {
        if self.reading != Some(ReadMode::Stream) {
            return Ok(());
        }
        let place = self.server.place().to_owned();
        match tokio::time::timeout(SLOT_RELEASE_TIMEOUT, self.wire.finish()).await {
            Ok(ended) => ended.map_err(|error| error.told("cannot end the replication", &place)),
            Err(_) => Ok(()),
        }
    }
}

/// Refuses a slot that the server has invalidated.
pub fn refuse_lost(slot: &Slot, name: &str) -> Result<()> {
    if slot.wal_status != "lost" {
        return Ok(());
    }
    Err(Error::source(format!(
        "the server has removed the write-ahead log that the replication slot `{name}` needs: it was kept longer than \
         max_slot_wal_keep_size allows"
    ))
    .remedy(
        "take new snapshots, which make the slot anew: `acequia run --full-refresh` with each of its cdc streams; and run more \
         often, or raise max_slot_wal_keep_size",
    ))
}

/// Waits briefly for a slot to become free: the reader of a run that was killed lives on for a while. Returns false if it
/// has taken too long since `began`.
/// gone on for too long since `began`.
async fn wait_for_slot(began: Instant) -> bool {
    let waits = began.elapsed() < SLOT_RELEASE_TIMEOUT;
    if waits {
        tokio::time::sleep(RETRY_DELAY).await;
    }
    waits
}

/// The query that shows the transactions that write, prepared ones too.
const WRITERS: &str = "SELECT pid::text AS pid_or_name, xact_start AS began, query FROM pg_stat_activity WHERE backend_xid \
     IS NOT NULL UNION ALL SELECT gid, prepared, 'prepared, in ' || database FROM pg_prepared_xacts";

/// Awaits `work`, and logs a warning if it takes longer than 5 s.
async fn warn_if_slow<T>(work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SLOT_RELEASE_TIMEOUT) => {}
    }
    tracing::warn!(
        "the server is waiting for transactions that began earlier to end, before a replication slot can be made \
         ({WRITERS}). One that is prepared is ended by COMMIT PREPARED or ROLLBACK PREPARED with its name"
    );
    work.await
}

/// Whether an error means that the connection broke, or that the server refuses connections at the moment.
pub fn is_broken(error: &Error) -> bool {
    let passes = |code: &str| code.starts_with("08") || code.starts_with("57P");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<ProtocolError>() {
            return matches!(error, ProtocolError::Io(_)) || error.code().is_some_and(passes);
        }
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>()
            && (error.is_closed() || error.code().is_some_and(|code| passes(code.code())))
        {
            return true;
        }
        cause = error.source();
    }
    false
}
