//! Changes of tables, by logical replication: one slot and one pass over the write-ahead log for all streams of a source.
//!
//! [`setup`] sees to publication and tables; [`wire`] speaks the protocol; [`pgoutput`] decodes its messages; a [`feed`]
//! makes of one table's changes the batches of one stream, by [`change`]. [`Replication`] holds the slot: it says where
//! each stream may go on, takes the snapshot that a new one begins with, reads a pass, and confirms what is durable.
//! [`survey`] is for `check`, `status` and taking it down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::error::{Error, Result};
use crate::position::{Lsn, LsnPosition};
use crate::postgres::EPOCH_MICROS;

use super::connection::{Server, failed, version};
use super::sql::quote;

pub mod change;
pub mod feed;
pub mod pgoutput;
pub mod setup;
pub mod survey;
pub mod wire;

use change::{Mark, SnapshotMark};
use feed::{Feed, FeedEnd};
use pgoutput::{Message, Relation};
use setup::{Slot, Table};
use wire::{Event, ReplicationConnection, WireError};

/// How often the server is asked where it stands, while nothing comes.
const TICK: Duration = Duration::from_millis(25);
/// How often it hears from us in any case: well below its `wal_sender_timeout`.
const STATUS: Duration = Duration::from_secs(1);
/// How long a slot may still be held by a reader that has just died.
const RELEASE: Duration = Duration::from_secs(5);
/// How long changes are gathered before they are loaded, where a run follows.
const LINGER: Duration = Duration::from_millis(250);
/// Changes after which a run that follows loads what it has.
const FOLLOW_CHANGES: u64 = 500_000;
/// How long a quiet slot may stand still, and how far the log may run ahead of it, where a run follows.
const QUIET: (Duration, u64) = (Duration::from_secs(10), 16 << 20);

/// The slot of a source, held for a run.
#[derive(Debug)]
pub struct Replication {
    server: Server,
    names: config::Replication,
    client: Client,
    wire: ReplicationConnection,
    system: String,
    version: i32,
    streaming: bool,
    confirmed: Lsn,
    /// The tables' shapes, as the server told them last.
    relations: HashMap<u32, Relation>,
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

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At its position.
    Resume,
    /// With a snapshot; why, where that is not its first.
    Snapshot(Option<String>),
}

/// How far a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the end of what was committed before that position.
    Reached(Lsn),
    /// Until some changes have come and are worth loading.
    Changes,
}

/// What a pass came to.
#[derive(Debug)]
pub struct Passed {
    /// Of each feed, in order.
    pub feeds: Vec<Result<FeedEnd>>,
    /// Everything that was committed before was read.
    pub reached: Lsn,
    /// Changes that were taken.
    pub changes: u64,
    /// When the last transaction with such changes was committed: microseconds since 1970-01-01 UTC.
    pub last_commit: Option<i64>,
}

impl Replication {
    /// Connects, and looks whether the server can replicate at all.
    pub async fn open(server: &Server, names: &config::Replication) -> Result<Self> {
        let client = server.connect().await?;
        if let Some((lack, remedy)) = setup::lacks(&client, names).await?.into_iter().next() {
            return Err(
                Error::source(format!("{lack} (PostgreSQL at {})", server.place())).remedy(remedy),
            );
        }
        let mut wire = ReplicationConnection::connect(server).await?;
        let identity = wire
            .query("IDENTIFY_SYSTEM")
            .await
            .map_err(|error| error.told("cannot begin to replicate", server.place()))?;
        let system = identity
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten())
            .unwrap_or_default();
        let version = version(&client).await?;
        Ok(Self {
            server: server.clone(),
            names: names.clone(),
            client,
            wire,
            system,
            version,
            streaming: false,
            confirmed: Lsn(0),
            relations: HashMap::new(),
        })
    }

    /// The tables of streams, published: each, or why its changes cannot be had.
    pub async fn tables(&self, streams: &[&config::Stream]) -> Result<Vec<Result<Table>>> {
        let published = setup::publication(&self.client, &self.names.publication).await?;
        let mut tables = Vec::with_capacity(streams.len());
        for stream in streams {
            let place = self.server.place();
            tables.push(setup::table(&self.client, stream, published, self.version, place).await);
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
        setup::publish_tables(&self.client, &self.names, published.is_some(), &missing).await?;
        let published = setup::publication(&self.client, &self.names.publication).await?;
        for (stream, table) in streams.iter().zip(&mut tables) {
            if table.as_ref().is_ok_and(|table| table.membership.is_none()) {
                let place = self.server.place();
                *table = setup::table(&self.client, stream, published, self.version, place).await;
            }
        }
        Ok(tables)
    }

    /// Slots of the pipeline that nobody reads, as warnings.
    pub async fn left_behind(&self) -> Result<Vec<String>> {
        let slots = survey::left_behind(&self.client, &self.names).await?;
        let warning = |(message, remedy)| format!("{message}\nremedy: {remedy}");
        Ok(slots.into_iter().map(warning).collect())
    }

    /// The slot, where there is one.
    pub async fn slot(&self) -> Result<Option<Slot>> {
        setup::slot(&self.client, &self.names.slot).await
    }

    /// Makes the slot. Waits for transactions that are under way.
    pub async fn create_slot(&mut self) -> Result<()> {
        let command = format!(
            "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput NOEXPORT_SNAPSHOT",
            quote(&self.names.slot)
        );
        tracing::info!(slot = self.names.slot, "making the replication slot");
        let made = patiently(self.wire.query(&command)).await;
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

    /// Where a stream begins, with its position, its table and the slot as they are now.
    ///
    /// # Errors
    /// Where changes since the position are lost.
    pub fn start_of(
        &self,
        position: Option<&LsnPosition>,
        table: &Table,
        slot: Option<&Slot>,
        now: Lsn,
    ) -> Result<Start> {
        let name = &self.names.slot;
        let anew = "take a new snapshot: `acequia run STREAM --full-refresh`";
        let Some(position) = position else {
            return Ok(Start::Snapshot(None));
        };
        if position.slot != *name {
            let reason = format!(
                "its position is one of the slot `{}`, and the slot is `{name}`",
                position.slot
            );
            return Ok(Start::Snapshot(Some(reason)));
        }
        if position.system != self.system {
            return Err(Error::source(format!(
                "the server at {} is not the one that the stream was read from so far",
                self.server.place()
            ))
            .remedy(anew));
        }
        let Some(slot) = slot else {
            return Err(Error::source(format!(
                "the replication slot `{name}` is gone, and with it the changes since {}",
                position.lsn
            ))
            .remedy(anew));
        };
        refuse_lost(slot, name)?;
        if slot.confirmed > position.lsn {
            return Err(Error::source(format!(
                "the replication slot `{name}` stands at {}, after the stream's position {}: it was made anew, or \
                 something else has read from it, and the changes in between are lost",
                slot.confirmed, position.lsn
            ))
            .remedy(anew));
        }
        if position.lsn > now {
            return Err(Error::source(format!(
                "the server's write-ahead log ends at {now}, before the stream's position {}: it was restored from an \
                 older copy",
                position.lsn
            ))
            .remedy(anew));
        }
        if table.oid != position.relation {
            let reason = format!("{} was dropped and made anew", table.from);
            return Ok(Start::Snapshot(Some(reason)));
        }
        if table.membership != position.membership {
            let reason = format!("{} was not published for a while", table.from);
            return Ok(Start::Snapshot(Some(reason)));
        }
        Ok(Start::Resume)
    }

    /// The position of a stream of that table which was read up to there.
    pub fn position(&self, table: &Table, lsn: Lsn) -> LsnPosition {
        LsnPosition {
            lsn,
            slot: self.names.slot.clone(),
            system: self.system.clone(),
            relation: table.oid,
            membership: table.membership,
            partitions: table.partitions.clone(),
        }
    }

    /// Takes a snapshot that ends exactly where the log goes on, by a slot that lasts for its export alone. What is
    /// committed after it comes through the slot of the run, which is older. Waits for transactions that are under way.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let told = |error: WireError| error.told("cannot take a snapshot", self.server.place());
        let mut exporter = ReplicationConnection::connect(&self.server).await?;
        let name = format!("acequia_snapshot_{}", uuid::Uuid::new_v4().simple());
        let command = format!(
            "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT",
            quote(&name)
        );
        let answer = patiently(exporter.query(&command)).await.map_err(told)?;
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

    /// Begins to stream, from the lowest of the streams' positions on.
    async fn start(&mut self, from: Lsn) -> Result<()> {
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names '{}')",
            quote(&self.names.slot),
            quote(&self.names.publication).replace('\'', "''")
        );
        let began = Instant::now();
        loop {
            match self.wire.start(&command).await {
                Ok(()) => break,
                // The reader of a run that was killed lives on for a moment.
                Err(error) if error.code() == Some("55006") && began.elapsed() < RELEASE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    let what = format!(
                        "cannot read from the replication slot `{}`",
                        self.names.slot
                    );
                    return Err(error.told(&what, self.server.place()));
                }
            }
        }
        self.streaming = true;
        Ok(())
    }

    /// Reads the log once for all feeds, to the end of a transaction.
    pub async fn pass(
        &mut self,
        from: Lsn,
        feeds: Vec<Feed>,
        until: Until,
        stop: &CancellationToken,
    ) -> Result<Passed> {
        if !self.streaming {
            self.start(from).await?;
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut owners: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, feed) in feeds.iter().enumerate() {
            let table = feed.table();
            for oid in table.partitions.iter().chain([&table.oid]) {
                owners.entry(*oid).or_default().push(index);
            }
        }
        let pass = Pass {
            replication: self,
            feeds,
            owners: owners
                .into_iter()
                .map(|(oid, owners)| (oid, owners.into()))
                .collect(),
            ticks,
            from,
            reached: from,
            transaction: None,
            changes: 0,
            last_commit: None,
            first_change: None,
            began: Instant::now(),
            last_status: Instant::now(),
            stop,
        };
        pass.read(until).await
    }

    /// Tells the server that everything before is durable.
    pub async fn confirm(&mut self, lsn: Lsn) -> Result<()> {
        if !self.streaming || lsn <= self.confirmed {
            return Ok(());
        }
        self.confirmed = lsn;
        self.send_status(false).await
    }

    async fn send_status(&mut self, reply: bool) -> Result<()> {
        let sent = self.wire.send_status(self.confirmed, reply).await;
        sent.map_err(|error| error.told("cannot confirm to the server", self.server.place()))
    }

    /// Lets the server hear from us, for as long as this is not dropped. Ends only where the connection breaks.
    pub async fn keep_alive(&mut self) -> Error {
        loop {
            if self.streaming
                && let Err(error) = self.send_status(false).await
            {
                return error;
            }
            tokio::time::sleep(STATUS).await;
        }
    }

    /// Ends the session in order.
    pub async fn close(self) -> Result<()> {
        if !self.streaming {
            return Ok(());
        }
        let place = self.server.place().to_owned();
        match tokio::time::timeout(RELEASE, self.wire.finish()).await {
            Ok(ended) => ended.map_err(|error| error.told("cannot end the replication", &place)),
            Err(_) => Ok(()),
        }
    }
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
        "`acequia replication drop SOURCE`, then `acequia run STREAM --full-refresh` for each of its cdc streams; and run \
         more often, or raise max_slot_wal_keep_size",
    ))
}

/// Waits, and says so where it takes long.
async fn patiently<T>(work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(RELEASE) => {}
    }
    tracing::warn!(
        "the server is waiting for transactions that began earlier to end, before a replication slot can be made \
         (SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL)"
    );
    work.await
}

/// A transaction that is being read.
#[derive(Debug)]
struct Transaction {
    commit_lsn: Lsn,
    commit_time: i64,
    seq: i64,
}

/// One pass over the log.
struct Pass<'a> {
    replication: &'a mut Replication,
    feeds: Vec<Feed>,
    /// Which feeds follow a relation.
    owners: HashMap<u32, Arc<[usize]>>,
    ticks: Interval,
    from: Lsn,
    reached: Lsn,
    transaction: Option<Transaction>,
    changes: u64,
    last_commit: Option<i64>,
    first_change: Option<Instant>,
    began: Instant,
    last_status: Instant,
    stop: &'a CancellationToken,
}

impl Pass<'_> {
    async fn read(mut self, until: Until) -> Result<Passed> {
        self.replication.send_status(true).await?;
        let mut heard = true;
        while !self.is_over(until) {
            let buffered = self.replication.wire.buffered();
            match buffered.map_err(|error| self.broken(error))? {
                Some(Event::Data(message)) => {
                    heard = true;
                    self.take(&message).await?;
                    continue;
                }
                Some(Event::Keepalive { end, reply }) => {
                    // Amid a transaction it says nothing of what was read.
                    if self.transaction.is_none() {
                        self.reached = self.reached.max(end);
                    }
                    if reply {
                        self.replication.send_status(false).await?;
                    }
                    continue;
                }
                None => {}
            }
            tokio::select! {
                filled = self.replication.wire.fill() => filled.map_err(|error| self.broken(error))?,
                _ = self.ticks.tick() => {
                    let asks = !heard && matches!(until, Until::Reached(_));
                    if asks || self.last_status.elapsed() >= STATUS {
                        self.replication.send_status(true).await?;
                        self.last_status = Instant::now();
                    }
                    heard = false;
                }
                () = self.stop.cancelled() => return Err(Error::Interrupted),
            }
        }
        for index in 0..self.feeds.len() {
            self.send(index, true).await?;
        }
        Ok(Passed {
            feeds: self.feeds.into_iter().map(Feed::finish).collect(),
            reached: self.reached,
            changes: self.changes,
            last_commit: self.last_commit,
        })
    }

    /// A pass ends between transactions alone.
    fn is_over(&self, until: Until) -> bool {
        if self.transaction.is_some() {
            return false;
        }
        match until {
            Until::Reached(target) => self.reached >= target,
            Until::Changes => {
                if let Some(first) = self.first_change {
                    return first.elapsed() >= LINGER || self.changes >= FOLLOW_CHANGES;
                }
                let ahead = self.reached.0.saturating_sub(self.from.0);
                ahead >= QUIET.1 || (ahead > 0 && self.began.elapsed() >= QUIET.0)
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let message = pgoutput::decode(bytes)
            .map_err(|error| Error::source("the replication stream cannot be read").cause(error))?;
        match message {
            Message::Begin {
                commit_lsn,
                commit_time,
            } => {
                self.transaction = Some(Transaction {
                    commit_lsn,
                    commit_time,
                    seq: 0,
                });
            }
            Message::Commit { end_lsn } => {
                self.transaction = None;
                self.reached = self.reached.max(end_lsn);
            }
            Message::Relation(relation) => {
                for feed in &mut self.feeds {
                    feed.forget(relation.oid);
                }
                self.replication.relations.insert(relation.oid, relation);
            }
            Message::Insert { relation, new } => {
                for &index in self.owners_of(relation).await?.iter() {
                    if let Some((feed, mark)) = self.feed(index, relation).await? {
                        feed.insert(mark, relation, bytes, &new);
                        self.count(index, 1).await?;
                    }
                }
            }
            Message::Update { relation, old, new } => {
                for &index in self.owners_of(relation).await?.iter() {
                    if let Some((feed, mark)) = self.feed(index, relation).await? {
                        let moved = feed.update(mark, relation, bytes, old.as_ref(), &new);
                        self.count(index, if moved { 2 } else { 1 }).await?;
                    }
                }
            }
            Message::Delete { relation, old } => {
                for &index in self.owners_of(relation).await?.iter() {
                    if let Some((feed, mark)) = self.feed(index, relation).await? {
                        feed.delete(mark, relation, bytes, &old.tuple);
                        self.count(index, 1).await?;
                    }
                }
            }
            Message::Truncate { relations } => self.truncate(&relations).await?,
            Message::Other => {}
        }
        Ok(())
    }

    /// Tables that are truncated together. Partitions are so with their table only where all of them are.
    async fn truncate(&mut self, relations: &[u32]) -> Result<()> {
        let mut seen = Vec::new();
        for relation in relations {
            for &index in self.owners_of(*relation).await?.iter() {
                if seen.contains(&index) {
                    continue;
                }
                seen.push(index);
                let Some((feed, mark)) = self.feed(index, *relation).await? else {
                    continue;
                };
                let table = feed.table();
                let whole = relations.contains(&table.oid)
                    || table.partitions.iter().all(|oid| relations.contains(oid));
                if whole {
                    feed.truncate(mark);
                } else {
                    feed.truncate_partition();
                }
                self.count(index, 1).await?;
            }
        }
        Ok(())
    }

    /// The feeds that follow a relation. One that is not known yet may be a partition that came since.
    async fn owners_of(&mut self, relation: u32) -> Result<Arc<[usize]>> {
        if let Some(owners) = self.owners.get(&relation) {
            return Ok(Arc::clone(owners));
        }
        let rows = self
            .replication
            .client
            .query(
                "SELECT relid::oid FROM pg_partition_ancestors($1::oid::regclass)",
                &[&relation],
            )
            .await
            .map_err(|error| failed("cannot look a partition up", &error))?;
        let ancestors: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
        let owners: Arc<[usize]> = self
            .feeds
            .iter()
            .enumerate()
            .filter(|(_, feed)| ancestors.contains(&feed.table().oid))
            .map(|(index, _)| index)
            .collect();
        self.owners.insert(relation, Arc::clone(&owners));
        Ok(owners)
    }

    /// A feed that takes a change of that relation, and the change's place; none where it does not take it.
    async fn feed(&mut self, index: usize, relation: u32) -> Result<Option<(&mut Feed, Mark)>> {
        let (Some(transaction), Some(feed)) = (&mut self.transaction, self.feeds.get_mut(index))
        else {
            return Err(Error::source(
                "the server sent a change outside of a transaction",
            ));
        };
        if !feed.wants(transaction.commit_lsn) {
            return Ok(None);
        }
        if !feed.knows(relation) {
            let shape = self.replication.relations.get(&relation);
            let shape = shape.ok_or_else(|| {
                Error::source("the server sent a change of a table that it did not describe")
            })?;
            feed.shape(&self.replication.client, shape).await;
            if !feed.wants(transaction.commit_lsn) {
                // Whoever waits for changes should know.
                self.first_change.get_or_insert_with(Instant::now);
                return Ok(None);
            }
        }
        let mark = Mark {
            lsn: transaction.commit_lsn,
            seq: transaction.seq + 1,
            commit_time: transaction.commit_time,
        };
        Ok(Some((feed, mark)))
    }

    /// Counts changes, and sends what batches they filled.
    async fn count(&mut self, index: usize, changes: u32) -> Result<()> {
        if let Some(transaction) = &mut self.transaction {
            transaction.seq += i64::from(changes);
            self.last_commit = Some(transaction.commit_time.saturating_add(EPOCH_MICROS));
        }
        self.changes += u64::from(changes);
        self.first_change.get_or_insert_with(Instant::now);
        self.send(index, false).await
    }

    /// Sends a feed's batches; while its lane is full, the server still hears from us.
    async fn send(&mut self, index: usize, all: bool) -> Result<()> {
        let Some(feed) = self.feeds.get_mut(index) else {
            return Ok(());
        };
        let ready = feed.take_ready(all);
        if ready.is_empty() {
            return Ok(());
        }
        let lane = feed.lane().clone();
        for batch in ready {
            loop {
                tokio::select! {
                    permit = lane.reserve() => {
                        match permit {
                            Ok(permit) => permit.send(batch),
                            Err(_) => feed.abandon(),
                        }
                        break;
                    }
                    _ = self.ticks.tick() => {
                        if self.last_status.elapsed() >= STATUS {
                            self.replication.send_status(false).await?;
                            self.last_status = Instant::now();
                        }
                    }
                    () = self.stop.cancelled() => return Err(Error::Interrupted),
                }
            }
        }
        Ok(())
    }

    fn broken(&self, error: WireError) -> Error {
        error.told(
            "the replication stream broke off",
            self.replication.server.place(),
        )
    }
}
