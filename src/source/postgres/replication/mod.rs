//! Changes of tables, by logical replication: one slot and one pass over the write-ahead log for all streams of a source.
//!
//! [`publication`] sees to publication and tables; [`wire`] speaks the protocol, whose messages [`body`] reads; [`pgoutput`]
//! decodes the changes in them; a [`table_decoder`] makes of one table's changes the batches of one stream, by [`change`].
//! [`Replication`] holds the slot: it says where each stream may go on, takes the snapshot that a new one begins with, begins
//! to read, and confirms what is durable. A [`log_reader`] reads. [`preflight`] is for `check`, `status` and taking it down.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::config::PostgresChanges;
use crate::config::postgres::Replication as ReplicationNames;
use crate::error::{Error, Result};
use crate::position::{LastRead, Lsn, LsnPosition};
use crate::shape::{Seen, TableShape};

use super::connection::{Server, failed, version};
use super::sql::{literal, quote};

pub mod body;
pub mod change;
mod identities;
pub mod log_reader;
pub mod pgoutput;
pub mod preflight;
pub mod publication;
pub mod shapes;
pub mod slot;
mod start;
pub mod table;
pub mod table_decoder;
pub mod wire;

use crate::change::SnapshotMark;
use crate::postgres::wire::ProtocolError;
use log_reader::StopAt;
use pgoutput::Relation;
use slot::Slot;
pub use start::{Resume, Standing, Start};
use table::Table;
use wire::ReplicationConnection;

/// How often the server hears from us in any case: well below its `wal_sender_timeout`.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a slot may still be held by a reader that has just died.
const SLOT_RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// What fixes a position that has no log any more.
const ANEW: &str = "take a new snapshot: `acequia run STREAM --full-refresh`";
/// How soon it is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How much log one query asks for at most. The server decodes all of it before it sends any, and keeps the answer in
/// temporary files: what is longer is read in several windows, each loaded and confirmed before the next.
const WINDOW: u64 = 1 << 30;
/// How much log the server may have to decode for one query, in windows. A transaction that spans windows is decoded from
/// its beginning for each of them.
const DECODED_WINDOWS: u64 = 2;

/// The slot of a source, held for a run.
#[derive(Debug)]
pub struct Replication {
    server: Server,
    names: ReplicationNames,
    client: Client,
    wire: ReplicationConnection,
    system: String,
    timeline: Option<u32>,
    /// Where each timeline ended that the server's came from.
    branches: Vec<(u32, Lsn)>,
    started: String,
    version: i32,
    reading: Option<ReadMode>,
    confirmed: Lsn,
    /// The tables' shapes, as the server told them last.
    relations: HashMap<u32, Relation>,
}

/// How the log is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadMode {
    /// As it grows, for as long as the connection lasts. The slot is held, and what is durable is confirmed on the way.
    Stream,
    /// Up to a position, as the rows of a query.
    Query,
    /// No more: it broke off, and what the connection holds is of no use.
    Failed,
}

/// A snapshot that a stream of changes begins with.
#[derive(Debug)]
pub struct Snapshot {
    /// Its name, for `SET TRANSACTION SNAPSHOT`. It lasts as long as this.
    pub name: String,
    /// What marks its rows.
    pub mark: SnapshotMark,
    _exporter: ReplicationConnection,
}

impl Replication {
    /// Connects, and looks whether the server can replicate at all.
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

    /// The tables of streams, published: each, or why its changes cannot be had.
    pub async fn tables(&self, streams: &[&PostgresChanges]) -> Result<Vec<Result<Table>>> {
        let published = publication::publication(&self.client, &self.names.publication).await?;
        let mut tables = Vec::with_capacity(streams.len());
        for stream in streams {
            let place = self.server.place();
            tables.push(
                publication::table(&self.client, stream, published, self.version, place).await,
            );
        }
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
        for (stream, table) in streams.iter().zip(&mut tables) {
            if table.as_ref().is_ok_and(|table| table.membership.is_none()) {
                let place = self.server.place();
                *table =
                    publication::table(&self.client, stream, published, self.version, place).await;
            }
        }
        Ok(tables)
    }

    /// Slots of the pipeline that nobody reads, as warnings.
    pub async fn orphaned_slots(&self) -> Result<Vec<String>> {
        preflight::warnings(&self.client, &self.names).await
    }

    /// The slot, where there is one.
    pub async fn slot(&self) -> Result<Option<Slot>> {
        slot::slot(&self.client, &self.names.slot).await
    }

    /// The slot, where there is one, and no other run is about to make it.
    pub async fn finished_slot(&self) -> Result<Option<Slot>> {
        let finished = async {
            loop {
                match self.slot().await? {
                    // Whoever makes it may have been stopped; the server then takes it away.
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

    /// Holds tables as they are in a snapshot, for as long as the session lasts: where its user may lock them.
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

    /// Makes the slot. Waits for transactions that are under way.
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

    /// Everything that was committed up to now stands before this.
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

    /// The tables as the catalog has them now.
    pub async fn look(&self, tables: &[u32]) -> Result<HashMap<u32, Seen>> {
        shapes::look(&self.client, tables, &self.names.publication).await
    }

    /// The position of a stream of that table which was read up to there.
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

    /// Takes a snapshot that ends exactly where the log goes on, by a slot that lasts for its export alone. What is
    /// committed after it comes through the slot of the run, which is older. Waits for transactions that are under way.
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

    /// Begins to read, from the lowest of the streams' positions on, and tells how far: as far as was asked for, or to the end
    /// of a window before.
    ///
    /// What is near is asked for by a query: the server sends its rows in buffers, where a stream costs it a system call
    /// for each change. Of a stream it sends each transaction as it decodes it, and stores no answer.
    async fn begin(&mut self, from: Lsn, until: StopAt) -> Result<StopAt> {
        match self.reading {
            Some(ReadMode::Stream) => return Ok(until),
            Some(ReadMode::Query | ReadMode::Failed) => {
                return Err(Error::source(format!(
                    "reading the write-ahead log of PostgreSQL at {} broke off before",
                    self.server.place()
                ))
                .remedy("run again: nothing that was loaded is lost, and nothing comes twice"));
            }
            None => {}
        }
        let slot = self.names.slot.clone();
        let publication = literal(&quote(&self.names.publication));
        if let StopAt::Lsn(target) = until
            && let Some(end) = self.window(from, target).await?
        {
            let query = format!(
                "COPY (SELECT data FROM pg_logical_slot_peek_binary_changes({}, '{end}', NULL, 'proto_version', '1', \
                 'publication_names', {})) TO STDOUT (FORMAT binary)",
                literal(&slot),
                publication,
            );
            match self.start(&query).await {
                Err(error) if cannot_answer(&error) => {
                    tracing::info!(%error, "the server does not give all changes at once: reading them as a stream");
                }
                Err(error) => return Err(self.unreadable(error)),
                Ok(()) => {
                    self.reading = Some(ReadMode::Query);
                    self.ensure_slot_unmoved(from).await?;
                    return Ok(StopAt::Lsn(end));
                }
            }
        }
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {})",
            quote(&slot),
            publication,
        );
        let begun = self.start(&command).await;
        begun.map_err(|error| self.unreadable(error))?;
        self.reading = Some(ReadMode::Stream);
        self.ensure_slot_unmoved(from).await?;
        Ok(until)
    }

    /// Begins to read by a command, once the slot is free.
    async fn start(&mut self, command: &str) -> std::result::Result<(), ProtocolError> {
        let began = Instant::now();
        loop {
            match self.wire.start(command).await {
                Err(error)
                    if error.code() == Some(SqlState::OBJECT_IN_USE.code())
                        && wait_for_slot(began).await => {}
                ended => return ended,
            }
        }
    }

    fn unreadable(&self, error: ProtocolError) -> Error {
        let slot = &self.names.slot;
        error.told(
            &format!("cannot read from the replication slot `{slot}`"),
            self.server.place(),
        )
    }

    /// How far the next query goes on the way to `target`; none where the server would have to decode too much for it.
    async fn window(&self, from: Lsn, target: Lsn) -> Result<Option<Lsn>> {
        let Some(slot) = self.slot().await? else {
            return Ok(None);
        };
        let window = window_bytes();
        let end = Lsn(from.max(slot.confirmed).0.saturating_add(window)).min(target);
        let decoded = end.0.saturating_sub(slot.restart.0);
        tracing::debug!(%from, %end, decoded, "a window of the write-ahead log");
        Ok((decoded <= window.saturating_mul(DECODED_WINDOWS)).then_some(end))
    }

    /// Refuses a slot that somebody moved since the streams' positions were compared with it. While it is read it stays.
    async fn ensure_slot_unmoved(&self, from: Lsn) -> Result<()> {
        match self.slot().await? {
            Some(slot) if slot.confirmed > from => Err(self.moved(&slot, from)),
            _ => Ok(()),
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

    /// The server that the positions are of.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// When the server was started.
    pub fn started(&self) -> &str {
        &self.started
    }

    /// What the publication has.
    pub fn publication(&self) -> &str {
        &self.names.publication
    }

    /// Tells the server that everything before is durable.
    pub async fn confirm(&mut self, lsn: Lsn) -> Result<()> {
        if lsn <= self.confirmed {
            return Ok(());
        }
        self.confirmed = lsn;
        if self.reading == Some(ReadMode::Stream) {
            self.send_status(false).await
        } else {
            self.advance(lsn).await
        }
    }

    /// Confirms `lsn` with `pg_replication_slot_advance`, where no stream is open.
    ///
    /// The server moves the place that it decodes from only as far as the first mark behind it (it leaves one every 15 s),
    /// but past all marks that were confirmed before it passes them. Where these are far away, the slot is therefore moved
    /// in two steps: else the next read would decode once more what this one did.
    async fn advance(&self, lsn: Lsn) -> Result<()> {
        let before = Lsn(lsn.0.saturating_sub(1));
        let far = i64::try_from(window_bytes() / 64).unwrap_or(i64::MAX);
        self.advance_from_afar(before, far).await?;
        if self.advance_from_afar(lsn, 0).await? == 0 && self.slot().await?.is_none() {
            return Err(self.slot_missing(lsn));
        }
        Ok(())
    }

    /// Confirms `lsn` where the server decodes from at least `distance` bytes before it. The number of slots moved.
    async fn advance_from_afar(&self, lsn: Lsn, distance: i64) -> Result<u64> {
        let sql = "SELECT pg_replication_slot_advance(slot_name, $2::text::pg_lsn) FROM pg_replication_slots
                   WHERE slot_name = $1 AND confirmed_flush_lsn < $2::text::pg_lsn
                     AND $2::text::pg_lsn <= pg_current_wal_flush_lsn()
                     AND pg_wal_lsn_diff($2::text::pg_lsn, restart_lsn) >= $3::int8";
        let to = lsn.to_string();
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.names.slot, &to, &distance];
        let began = Instant::now();
        let advanced = loop {
            match self.client.execute(sql, &parameters).await {
                Err(error)
                    if error.code() == Some(&SqlState::OBJECT_IN_USE)
                        && wait_for_slot(began).await => {}
                ended => break ended,
            }
        };
        advanced.map_err(|error| self.unconfirmed(&error))
    }

    fn unconfirmed(&self, error: &tokio_postgres::Error) -> Error {
        let what = format!("cannot confirm to the server at {}", self.server.place());
        let fault = failed(what, error);
        if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return fault.remedy(
                "let the source's user move its slot: ALTER ROLE … REPLICATION; and, where it was taken away, GRANT EXECUTE ON \
                 FUNCTION pg_replication_slot_advance TO …",
            );
        }
        fault
    }

    /// Tells the server that streams what is durable, and that we live; with `reply`, asks it where it stands.
    async fn send_status(&mut self, reply: bool) -> Result<()> {
        if self.reading != Some(ReadMode::Stream) {
            return Ok(());
        }
        let sent = self.wire.send_status(self.confirmed, reply).await;
        sent.map_err(|error| error.told("cannot confirm to the server", self.server.place()))
    }

    /// Lets the server hear from us, for as long as this is not dropped. Ends only where the connection breaks.
    pub async fn keep_alive(&mut self) -> Error {
        loop {
            if let Err(error) = self.send_status(false).await {
                return error;
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
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

/// Bytes of log in a window.
fn window_bytes() -> u64 {
    fail::fail_point!("cdc.window", |bytes| bytes
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(WINDOW));
    WINDOW
}

/// Whether the server may be able to send as a stream what it does not give as the answer to a query.
fn cannot_answer(error: &ProtocolError) -> bool {
    // No room in temporary files, on the disk, in memory; too many rows; the function is not there, or not for us.
    matches!(
        error.code(),
        Some("53400" | "53100" | "53200" | "54000" | "0A000" | "42501" | "42883")
    )
}

/// Refuses a slot that the server has given up.
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

/// Waits a moment for a slot to come free, as the reader of a run that was killed lives on for a while. Says no where that has
/// gone on for too long since `began`.
async fn wait_for_slot(began: Instant) -> bool {
    let waits = began.elapsed() < SLOT_RELEASE_TIMEOUT;
    if waits {
        tokio::time::sleep(RETRY_DELAY).await;
    }
    waits
}

/// Waits, and says so where it takes long.
async fn warn_if_slow<T>(work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SLOT_RELEASE_TIMEOUT) => {}
    }
    tracing::warn!(
        "the server is waiting for transactions that began earlier to end, before a replication slot can be made \
         (SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL)"
    );
    work.await
}

/// Whether an error is that the connection broke, or that the server does not take one at the moment.
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
