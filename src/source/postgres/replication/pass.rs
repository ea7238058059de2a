//! One pass over the log, for all feeds at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::body::Event;
use super::change::Mark;
use super::feed::{Feed, FeedEnd};
use super::pgoutput::{self, Message};
use super::{Reading, Replication, STATUS};
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::postgres::EPOCH_MICROS;
use crate::postgres::wire::WireError;
use crate::source::postgres::connection::failed;

/// How often the server is asked where it stands, while nothing comes.
const TICK: Duration = Duration::from_millis(25);
/// How long changes are gathered before they are loaded, where a run follows.
const LINGER: Duration = Duration::from_millis(250);
/// Changes after which a run that follows loads what it has.
const FOLLOW_CHANGES: u64 = 500_000;
/// How long a quiet slot may stand still, and how far the log may run ahead of it, where a run follows.
const QUIET: (Duration, u64) = (Duration::from_secs(10), 16 << 20);

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
    /// Reads the log once for all feeds, to the end of a transaction: as far as is asked for, or to the end of a window
    /// before; [`Passed::reached`] tells.
    pub async fn pass(
        &mut self,
        from: Lsn,
        feeds: Vec<Feed>,
        until: Until,
        stop: &CancellationToken,
    ) -> Result<Passed> {
        let read = async {
            let until = tokio::select! {
                begun = self.begin(from, until) => begun?,
                () = stop.cancelled() => return Err(Error::Interrupted),
            };
            Pass::new(&mut *self, from, feeds, stop).read(until).await
        }
        .await;
        if read.is_err() {
            self.reading = Some(Reading::Broken);
        }
        read
    }
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
    first_commit: Option<i64>,
    first_change: Option<Instant>,
    began: Instant,
    last_status: Instant,
    stop: &'a CancellationToken,
}

impl<'a> Pass<'a> {
    fn new(
        replication: &'a mut Replication,
        from: Lsn,
        feeds: Vec<Feed>,
        stop: &'a CancellationToken,
    ) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut owners: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, feed) in feeds.iter().enumerate() {
            let table = feed.table();
            for oid in table.partitions.iter().chain([&table.oid]) {
                owners.entry(*oid).or_default().push(index);
            }
        }
        Self {
            replication,
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
            first_commit: None,
            first_change: None,
            began: Instant::now(),
            last_status: Instant::now(),
            stop,
        }
    }

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
                Some(Event::End) => {
                    self.end(until)?;
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
        self.compare().await?;
        Ok(Passed {
            feeds: self.feeds.into_iter().map(Feed::finish).collect(),
            reached: self.reached,
            changes: self.changes,
            first_commit: self.first_commit,
        })
    }

    /// Compares the tables as they are now, after all that was read, with what they were.
    async fn compare(&mut self) -> Result<()> {
        let tables: Vec<u32> = self.feeds.iter().map(|feed| feed.table().oid).collect();
        let replication = &mut *self.replication;
        replication.send_status(false).await?;
        let seen = replication.look(&tables).await?;
        for feed in &mut self.feeds {
            let seen = seen.get(&feed.table().oid);
            feed.compare_with(&replication.client, seen).await;
        }
        for index in 0..self.feeds.len() {
            self.send(index, false).await?;
        }
        Ok(())
    }

    /// The query has given all that was committed before its end.
    fn end(&mut self, until: Until) -> Result<()> {
        if self.transaction.is_some() {
            return Err(Error::source("the server's answer ends amid a transaction"));
        }
        if let Until::Reached(target) = until {
            self.reached = self.reached.max(target);
        }
        self.replication.reading = None;
        Ok(())
    }

    /// A pass ends between transactions alone, and not before a query's answer does.
    fn is_over(&self, until: Until) -> bool {
        if self.transaction.is_some() || self.replication.reading == Some(Reading::Query) {
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
                for feed in &mut self.feeds {
                    feed.meet(commit_lsn, commit_time);
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
        feed.note(transaction.commit_lsn, transaction.commit_time);
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
            self.first_commit
                .get_or_insert(transaction.commit_time.saturating_add(EPOCH_MICROS));
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
