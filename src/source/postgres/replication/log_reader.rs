//! Reads the log once for all decoders.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::body::Event;
use super::change::Mark;
use super::pgoutput::{self, Message};
use super::table_decoder::{DecodedTable, TableDecoder};
use super::{ReadMode, Replication, STATUS_INTERVAL};
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::postgres::EPOCH_MICROS;
use crate::postgres::protocol_error::ProtocolError;
use crate::source::postgres::connection::failed;

/// The interval at which the server is asked for its position while no message comes.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How long a run that follows collects changes before it loads them.
const LINGER: Duration = Duration::from_millis(250);
/// The number of changes after which a run that follows loads them.
const FOLLOW_CHANGES: u64 = 500_000;
/// A run that follows confirms a quiet slot after this time, or when the log is this many bytes ahead of it.
const QUIET: (Duration, u64) = (Duration::from_secs(10), 16 << 20);

/// Where a reading of the log stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAt {
    /// At the end of the transactions that were committed before that LSN.
    Lsn(Lsn),
    /// When enough changes for a batch have been read.
    FirstBatch,
}

/// The result of a reading of the log.
#[derive(Debug)]
pub struct LogRead {
    /// The result of each decoder, in order.
    pub decoders: Vec<Result<DecodedTable>>,
    /// All transactions that were committed before this LSN were read.
    pub reached: Lsn,
    /// The number of changes that were decoded.
    pub changes: u64,
    /// When the first transaction with such changes was committed: microseconds since 1970-01-01 UTC.
    pub first_commit: Option<i64>,
}

/// A transaction that is being read.
#[derive(Debug)]
struct Transaction {
    commit_lsn: Lsn,
    commit_time: i64,
    seq: i64,
}

impl Replication {
    /// Reads the log once for all decoders, up to the end of a transaction: as far as requested, or to the end of a window
    /// before that. [`LogRead::reached`] is the LSN.
    pub async fn read_log(
        &mut self,
        from: Lsn,
        decoders: Vec<TableDecoder>,
        until: StopAt,
        stop: &CancellationToken,
    ) -> Result<LogRead> {
        let read = async {
            let until = tokio::select! {
                begun = self.begin(from, until) => begun?,
                () = stop.cancelled() => return Err(Error::Interrupted),
            };
            LogReader::new(&mut *self, from, decoders, stop)
                .read(until)
                .await
        }
        .await;
        if read.is_err() {
            self.reading = Some(ReadMode::Failed);
        }
        read
    }
}

/// A reading of the log in progress.
struct LogReader<'a> {
    replication: &'a mut Replication,
    decoders: Vec<TableDecoder>,
    /// The indices of the decoders that follow each relation.
    owners: HashMap<u32, Arc<[usize]>>,
    ticks: Interval,
    from: Lsn,
    reached: Lsn,
    transaction: Option<Transaction>,
    changes: u64,
    first_commit: Option<i64>,
    first_change: Option<Instant>,
    began: Instant,
    last_status: Instant,
    stop: &'a CancellationToken,
}

impl<'a> LogReader<'a> {
    fn new(
        replication: &'a mut Replication,
        from: Lsn,
        decoders: Vec<TableDecoder>,
        stop: &'a CancellationToken,
    ) -> Self {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut owners: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, decoder) in decoders.iter().enumerate() {
            let table = decoder.table();
            for oid in table.partitions.iter().chain([&table.oid]) {
                owners.entry(*oid).or_default().push(index);
            }
        }
        Self {
            replication,
            decoders,
            owners: owners
                .into_iter()
                .map(|(oid, owners)| (oid, owners.into()))
                .collect(),
            ticks,
            from,
            reached: from,
            transaction: None,
            changes: 0,
            first_commit: None,
            first_change: None,
            began: Instant::now(),
            last_status: Instant::now(),
            stop,
        }
    }

    async fn read(mut self, until: StopAt) -> Result<LogRead> {
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
                    // In the midst of a transaction, the position does not count as read.
                    if self.transaction.is_none() {
                        self.reached = self.reached.max(end);
                    }
                    if reply {
                        self.replication.send_status(false).await?;
                    }
                    continue;
                }
                Some(Event::End) => {
                    self.end(until)?;
                    continue;
                }
                None => {}
            }
            tokio::select! {
                filled = self.replication.wire.fill() => filled.map_err(|error| self.broken(error))?,
                _ = self.ticks.tick() => {
                    let asks = !heard && matches!(until, StopAt::Lsn(_));
                    if asks || self.last_status.elapsed() >= STATUS_INTERVAL {
                        self.replication.send_status(true).await?;
                        self.last_status = Instant::now();
                    }
                    heard = false;
                }
                () = self.stop.cancelled() => return Err(Error::Interrupted),
            }
        }
        for index in 0..self.decoders.len() {
            self.send(index, true).await?;
        }
        self.compare().await?;
        Ok(LogRead {
            decoders: self
                .decoders
                .into_iter()
                .map(TableDecoder::finish)
                .collect(),
            reached: self.reached,
            changes: self.changes,
            first_commit: self.first_commit,
        })
    }

    /// Compares each table's current shape in the catalog with its shape at the stream's position.
    async fn compare(&mut self) -> Result<()> {
        let tables: Vec<u32> = self
            .decoders
            .iter()
            .map(|decoder| decoder.table().oid)
            .collect();
        let replication = &mut *self.replication;
        replication.send_status(false).await?;
        let seen = replication.look(&tables).await?;
        for decoder in &mut self.decoders {
            let seen = seen.get(&decoder.table().oid);
            decoder.compare_with(&replication.client, seen).await;
        }
        for index in 0..self.decoders.len() {
            self.send(index, false).await?;
        }
        Ok(())
    }

    /// Handles the end of a query: it sent all transactions that were committed before its end.
    fn end(&mut self, until: StopAt) -> Result<()> {
        if self.transaction.is_some() {
            return Err(Error::source("the server's answer ends amid a transaction"));
        }
        if let StopAt::Lsn(target) = until {
            self.reached = self.reached.max(target);
        }
        self.replication.reading = None;
        Ok(())
    }

    /// A reading ends only between transactions, and not before a query's answer is complete.
    fn is_over(&self, until: StopAt) -> bool {
        if self.transaction.is_some() || self.replication.reading == Some(ReadMode::Query) {
            return false;
        }
        match until {
            StopAt::Lsn(target) => self.reached >= target,
            StopAt::FirstBatch => {
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
                for decoder in &mut self.decoders {
                    decoder.meet(commit_lsn, commit_time);
                }
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
                for decoder in &mut self.decoders {
                    decoder.invalidate(relation.oid);
                }
                self.replication.relations.insert(relation.oid, relation);
            }
            Message::Insert { relation, new } => {
                for &index in self.owners_of(relation).await?.iter() {
                    if let Some((decoder, mark)) = self.decoder(index, relation).await? {
                        decoder.insert(mark, relation, bytes, &new);
                        self.count(index, 1).await?;
                    }
                }
            }
            Message::Update { relation, old, new } => {
                for &index in self.owners_of(relation).await?.iter() {
                    if let Some((decoder, mark)) = self.decoder(index, relation).await? {
                        let moved = decoder.update(mark, relation, bytes, old.as_ref(), &new);
                        self.count(index, if moved { 2 } else { 1 }).await?;
                    }
                }
            }
            Message::Delete { relation, old } => {
                for &index in self.owners_of(relation).await?.iter() {
                    if let Some((decoder, mark)) = self.decoder(index, relation).await? {
                        decoder.delete(mark, relation, bytes, &old.tuple);
                        self.count(index, 1).await?;
                    }
                }
            }
            Message::Truncate { relations } => self.truncate(&relations).await?,
            Message::Other => {}
        }
        Ok(())
    }

    /// Handles tables that were truncated together. A table's partitions count as truncated with it only if all of them
    /// are.
    async fn truncate(&mut self, relations: &[u32]) -> Result<()> {
        let mut seen = Vec::new();
        for relation in relations {
            for &index in self.owners_of(*relation).await?.iter() {
                if seen.contains(&index) {
                    continue;
                }
                seen.push(index);
                let Some((decoder, mark)) = self.decoder(index, *relation).await? else {
                    continue;
                };
                let table = decoder.table();
                let whole = relations.contains(&table.oid)
                    || table.partitions.iter().all(|oid| relations.contains(oid));
                if whole {
                    decoder.truncate(mark);
                } else {
                    decoder.truncate_partition();
                }
                self.count(index, 1).await?;
            }
        }
        Ok(())
    }

    /// The decoders that follow a relation. An unknown relation may be a new partition.
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
            .decoders
            .iter()
            .enumerate()
            .filter(|(_, decoder)| ancestors.contains(&decoder.table().oid))
            .map(|(index, _)| index)
            .collect();
        self.owners.insert(relation, Arc::clone(&owners));
        Ok(owners)
    }

    /// A decoder that accepts a change of that relation, with the change's mark. `None` if the decoder does not accept it.
    async fn decoder(
        &mut self,
        index: usize,
        relation: u32,
    ) -> Result<Option<(&mut TableDecoder, Mark)>> {
        let (Some(transaction), Some(decoder)) =
            (&mut self.transaction, self.decoders.get_mut(index))
        else {
            return Err(Error::source(
                "the server sent a change outside of a transaction",
            ));
        };
        if !decoder.accepts(transaction.commit_lsn) {
            return Ok(None);
        }
        if !decoder.has_relation(relation) {
            let shape = self.replication.relations.get(&relation);
            let shape = shape.ok_or_else(|| {
                Error::source("the server sent a change of a table that it did not describe")
            })?;
            decoder.shape(&self.replication.client, shape).await;
            if !decoder.accepts(transaction.commit_lsn) {
                // The log says what the run is waiting for.
                self.first_change.get_or_insert_with(Instant::now);
                return Ok(None);
            }
        }
        decoder.note(transaction.commit_lsn, transaction.commit_time);
        let mark = Mark {
            lsn: transaction.commit_lsn,
            seq: transaction.seq + 1,
            commit_time: transaction.commit_time,
        };
        Ok(Some((decoder, mark)))
    }

    /// Counts changes, and sends the batches that are full.
    async fn count(&mut self, index: usize, changes: u32) -> Result<()> {
        if let Some(transaction) = &mut self.transaction {
            transaction.seq += i64::from(changes);
            self.first_commit
                .get_or_insert(transaction.commit_time.saturating_add(EPOCH_MICROS));
        }
        self.changes += u64::from(changes);
        self.first_change.get_or_insert_with(Instant::now);
        self.send(index, false).await
    }

    /// Sends a decoder's batches. While its lane is full, status updates are still sent to the server.
    async fn send(&mut self, index: usize, all: bool) -> Result<()> {
        let Some(decoder) = self.decoders.get_mut(index) else {
            return Ok(());
        };
        let ready = decoder.take_ready(all);
        if ready.is_empty() {
            return Ok(());
        }
        let lane = decoder.lane().clone();
        for batch in ready {
            loop {
                tokio::select! {
                    permit = lane.reserve() => {
                        match permit {
                            Ok(permit) => permit.send(batch),
                            Err(_) => decoder.abandon(),
                        }
                        break;
                    }
                    _ = self.ticks.tick() => {
                        if self.last_status.elapsed() >= STATUS_INTERVAL {
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

    fn broken(&self, error: ProtocolError) -> Error {
        error.told(
            "the replication stream broke off",
            self.replication.server.place(),
        )
    }
}
