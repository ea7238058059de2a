//! The streams of changes of one source, taken along the path together: one slot, one pass over the log.
//!
//! Each stream still takes the path that every stream takes ([`StreamRun`]); here is what they share. A run finishes
//! what an earlier one left, reads the log once for the streams that have a position, loads each, takes snapshots for
//! those that have none or have to begin anew, and last confirms to the server what is durable. Following, it goes on
//! in small batches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::future::{BoxFuture, join_all};
use futures::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::loader::Loader;
use super::report::StreamReport;
use super::slot_owner::Reader;
use super::stream_run::{Expected, Landed, StreamRun};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::names::StreamName;
use crate::position::{LastRead, Lsn, LsnPosition, Position};
use crate::progress::Phase;
use crate::shape::{Seen, TableShape};
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::feed::{Feed, FeedEnd};
use crate::source::postgres::replication::pass::Until;
use crate::source::postgres::replication::setup::{Slot, Table};
use crate::source::postgres::replication::{self, Replication, Resume, Standing, Start};
use crate::source::postgres::session::Following;
use crate::source::{Complete, Extract, ExtractEnd, LANE_CAPACITY, OpenStream};

/// Who is told of what a run that follows does.
#[derive(Clone)]
pub struct OnFollowed(pub(super) Arc<dyn Fn(&Followed) + Send + Sync>);

impl OnFollowed {
    /// Calls `told`.
    pub fn new(told: impl Fn(&Followed) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl std::fmt::Debug for OnFollowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFollowed")
    }
}

/// What a run that follows does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// What was there when it began is loaded; it waits for more.
    CaughtUp,
    /// The connection to the source broke; it tries again after a while.
    Broken {
        /// How long it waits before.
        wait: Duration,
    },
    /// It has connected again, and goes on.
    Connected,
    /// It has loaded a batch.
    Batch {
        /// Its changes.
        changes: u64,
        /// From the commit of the first of them in the source to their commit in the destination.
        late: Duration,
    },
}

/// The streams of changes of one source.
pub(super) struct ReplicationRun {
    pub(super) source: Postgres,
    /// All of the source's streams of changes in the configuration, whether they run or not: what the slot is kept for.
    pub(super) configured: Vec<StreamName>,
    pub(super) streams: Vec<StreamRun>,
    pub(super) loader: Loader,
    pub(super) jobs: usize,
    /// Whether it goes on until it is stopped, and who is told of each batch then.
    pub(super) follow: Option<OnFollowed>,
    pub(super) stop: CancellationToken,
}

/// A stream under way.
pub(super) struct Carried {
    pub(super) run: StreamRun,
    pub(super) report: StreamReport,
    began: Instant,
    /// Why it goes no further.
    pub(super) failure: Option<Error>,
    table: Option<Table>,
    next: Option<Next>,
}

/// What a stream does next.
enum Next {
    /// It reads changes from its position on.
    Resume(Resume),
    /// It begins with a snapshot.
    Snapshot,
}

impl ReplicationRun {
    /// The lowest position of the streams that the slot is kept for.
    fn lowest(
        &self,
        states: &BTreeMap<StreamName, StreamState>,
        replication: &Replication,
    ) -> Option<Lsn> {
        states
            .iter()
            .filter(|(name, _)| self.configured.contains(name))
            .filter_map(|(_, state)| state.position.as_ref()?.lsn())
            .filter(|position| position.slot == self.source.slot_name())
            // A position of another server says nothing of this one.
            .filter(|position| position.system == replication.system())
            .map(|position| position.durable(replication.started()))
            .min()
    }

    /// Carries the streams, and says how each ended.
    pub(super) async fn carry(mut self) -> Vec<StreamReport> {
        let mut carried: Vec<Carried> = std::mem::take(&mut self.streams)
            .into_iter()
            .map(Carried::new)
            .collect();
        for one in &mut carried {
            let recovered = one.run.recover(&mut one.report).await;
            one.settle(recovered);
        }
        if let Err(error) = self.carry_all(&mut carried).await {
            for one in &mut carried {
                one.settle(Err(error.clone()));
            }
        }
        carried.into_iter().map(Carried::finish).collect()
    }

    async fn carry_all(&self, carried: &mut [Carried]) -> Result<()> {
        if self.stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if carried.iter().all(|one| one.failure.is_some()) {
            return Ok(());
        }
        let mut replication = tokio::select! {
            opened = self.open(carried) => opened?,
            () = self.stop.cancelled() => return Err(Error::Interrupted),
        };
        self.catch_up(&mut replication, carried).await?;
        self.take_snapshots(&mut replication, carried).await?;
        self.confirm(&mut replication).await?;
        if let Some(told) = &self.follow {
            replication = self.follow_on(replication, carried, told).await?;
        }
        replication.close().await
    }

    /// Connects, sees to publication and slot, and decides where each stream begins.
    pub(super) async fn open(&self, carried: &mut [Carried]) -> Result<Replication> {
        let mut replication = self.source.replicate().await?;
        let streams: Vec<_> = carried.iter().map(|one| one.run.stream.clone()).collect();
        let tables = replication
            .tables(&streams.iter().collect::<Vec<_>>())
            .await?;
        fail::fail_point!("cdc.published", crate::failpoint::abort);
        if let Some(one) = carried.first_mut() {
            one.report.warn(replication.left_behind().await?);
        }
        let slot = self.own_slot(&replication, carried).await?;
        let now = replication.now().await?;
        let oids: Vec<u32> = tables.iter().flatten().map(|table| table.oid).collect();
        let seen = replication.look(&oids).await?;
        for (one, table) in carried.iter_mut().zip(tables) {
            let started = table.and_then(|table| {
                let start = one.start(&replication, &table, &seen, slot.as_ref(), now)?;
                let position = one.run.position().and_then(Position::lsn);
                one.report.warn(partitions_changed(position, &table));
                one.report.warn(table.notes.iter().cloned());
                one.table = Some(table);
                Ok(start)
            });
            match started {
                Ok(Start::Resume(resume)) => one.next = Some(Next::Resume(resume)),
                Ok(Start::Snapshot(reason)) => one.begin_anew(reason),
                Err(error) => one.settle(Err(error)),
            }
        }
        if !carried.iter().any(|one| one.failure.is_none()) {
            return Ok(replication);
        }
        let begins = carried.iter().any(Carried::begins);
        let slot = match slot {
            Some(slot) if slot.is_lost() && begins => {
                // Its streams begin anew, or have said that their changes are lost.
                replication.drop_slot().await?;
                None
            }
            slot => slot,
        };
        if let Some(slot) = slot {
            replication::refuse_lost(&slot, self.source.slot_name())?;
        } else {
            self.note_slot(carried).await?;
            replication.create_slot().await?;
            fail::fail_point!("cdc.slot_made", crate::failpoint::abort);
        }
        Ok(replication)
    }

    /// The slot, where there is one.
    ///
    /// # Errors
    /// Where it is not the pipeline's own.
    async fn own_slot(
        &self,
        replication: &Replication,
        carried: &[Carried],
    ) -> Result<Option<Slot>> {
        let Some(slot) = replication.finished_slot().await? else {
            return Ok(None);
        };
        let Some(one) = carried.first() else {
            return Ok(Some(slot));
        };
        let states = self.loader.call(|destination| destination.states()).await?;
        let reader = self.reader(one, &states);
        let name = self.source.slot_name();
        if !reader.refuse_foreign(name).await? {
            reader.note(name).await?;
        }
        Ok(Some(slot))
    }

    async fn note_slot(&self, carried: &[Carried]) -> Result<()> {
        match carried.first() {
            Some(one) => {
                let states = BTreeMap::new();
                let reader = self.reader(one, &states);
                reader.note(self.source.slot_name()).await
            }
            None => Ok(()),
        }
    }

    fn reader<'a>(
        &'a self,
        one: &'a Carried,
        states: &'a BTreeMap<StreamName, StreamState>,
    ) -> Reader<'a> {
        Reader {
            pipeline: &one.run.pipeline,
            landing: &one.run.landing,
            id: Some(self.loader.id()),
            states,
        }
    }

    /// Reads the log to its present end, in windows, each of which is loaded and confirmed before the next is read.
    async fn catch_up(&self, replication: &mut Replication, carried: &mut [Carried]) -> Result<()> {
        let target = replication.now().await?;
        loop {
            let came = self
                .read(replication, carried, Until::Reached(target))
                .await?;
            // Where a pass failed, the streams have said so.
            if came.is_none_or(|came| came.reached >= target) {
                return Ok(());
            }
            if self.stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            self.confirm(replication).await?;
        }
    }

    /// Reads the log once for the streams that have a position, and loads each. Tells whether there was anything.
    async fn read(
        &self,
        replication: &mut Replication,
        carried: &mut [Carried],
        until: Until,
    ) -> Result<Option<Came>> {
        let mut feeds = Vec::new();
        let mut ends = Vec::new();
        let mut landing: Vec<BoxFuture<'_, Result<Landed>>> = Vec::new();
        let mut from: Option<Lsn> = None;
        let mut tables = Vec::new();
        for one in carried.iter_mut().filter(|one| one.resumes()) {
            let (Some(table), Some(state), Some(Next::Resume(resume))) =
                (&one.table, &one.run.state, &mut one.next)
            else {
                continue;
            };
            let Some(position) = state.position.as_ref().and_then(Position::lsn) else {
                continue;
            };
            from = Some(from.map_or(resume.reads_from(), |from| from.min(resume.reads_from())));
            let (sender, batches) = mpsc::channel(LANE_CAPACITY);
            feeds.push(Feed::new(
                &one.run.stream,
                table,
                &state.schema,
                position,
                *resume,
                sender,
            ));
            tables.push((table.clone(), position.lsn));
            let (end, ended) = oneshot::channel();
            ends.push(end);
            let extract = Extract {
                lanes: vec![batches],
                end: Box::pin(told(ended)),
            };
            let expected = Expected {
                from: state.position.clone(),
                schema: None,
                misfits: BTreeMap::new(),
                primary_key: table.key.clone(),
                key_is_unique: true,
            };
            let stop = self.stop.child_token();
            let Carried { run, report, .. } = one;
            landing.push(Box::pin(async move {
                run.land(extract, expected, &stop, report).await
            }));
        }
        let Some(from) = from else {
            return Ok(None);
        };
        let stop = self.stop.child_token();
        let reading = async {
            let passed = replication.pass(from, feeds, until, &stop).await;
            let (outcomes, came, failure) = match passed {
                Ok(passed) => {
                    let came = Came {
                        reached: passed.reached,
                        changes: passed.changes,
                        commit: passed.first_commit,
                    };
                    let ended = passed.feeds.into_iter().zip(&tables);
                    let outcomes = ended.map(|(end, (table, at))| {
                        let lsn = passed.reached.max(*at);
                        end.map(|end| {
                            extract_end(end, |last, shape| {
                                replication.position(table, lsn, last, shape)
                            })
                        })
                    });
                    (outcomes.collect(), Some(came), None)
                }
                Err(error) => {
                    let failed: Vec<Result<ExtractEnd>> =
                        ends.iter().map(|_| Err(error.clone())).collect();
                    (failed, None, Some(error))
                }
            };
            for (end, outcome) in ends.into_iter().zip(outcomes) {
                let _ = end.send(outcome);
            }
            failure.map_or(Ok(came), Err)
        };
        let (read, landed) = tokio::join!(reading, join_all(landing));
        // The streams tell the failure themselves.
        let came = read.unwrap_or(None);
        let resuming = carried.iter_mut().filter(|one| one.resumes());
        let mut applying: Vec<BoxFuture<'_, ()>> = Vec::new();
        for (one, landed) in resuming.zip(landed) {
            applying.push(Box::pin(one.apply(landed)));
        }
        tokio::select! {
            _ = join_all(applying) => {}
            error = replication.keep_alive() => return Err(error),
        }
        Ok(came)
    }

    /// Takes one snapshot for the streams that begin with one, and loads each.
    pub(super) async fn take_snapshots(
        &self,
        replication: &mut Replication,
        carried: &mut [Carried],
    ) -> Result<()> {
        // Their tables may have changed since they were looked at.
        let beginning: Vec<_> = carried.iter_mut().filter(|one| one.begins()).collect();
        if beginning.is_empty() {
            return Ok(());
        }
        let streams: Vec<_> = beginning.iter().map(|one| one.run.stream.clone()).collect();
        let tables = replication
            .tables(&streams.iter().collect::<Vec<_>>())
            .await?;
        for (one, table) in beginning.into_iter().zip(tables) {
            match table {
                Ok(table) => one.table = Some(table),
                Err(error) => one.settle(Err(error)),
            }
        }
        let snapshot = tokio::select! {
            snapshot = replication.snapshot() => snapshot?,
            () = self.stop.cancelled() => return Err(Error::Interrupted),
        };
        fail::fail_point!("cdc.snapshot_exported", crate::failpoint::abort);
        let beginning: Vec<_> = carried.iter_mut().filter(|one| one.begins()).collect();
        let tables: Vec<Table> = beginning
            .iter()
            .filter_map(|one| one.table.clone())
            .collect();
        // The tables stay as they are until each has its turn.
        let held = tokio::select! {
            held = replication.hold(&snapshot, &tables) => held?,
            () = self.stop.cancelled() => return Err(Error::Interrupted),
        };
        let mark = snapshot.mark;
        let publication = replication.publication().to_owned();
        let mut carrying: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(beginning.len());
        for one in beginning {
            let Some(table) = one.table.clone() else {
                continue;
            };
            let last = LastRead {
                lsn: mark.lsn,
                time: None,
            };
            // What the table looked like in the snapshot is added by whoever reads it.
            let position = replication.position(&table, mark.lsn, Some(last), None);
            let (snapshot, publication) = (&snapshot, publication.as_str());
            carrying.push(Box::pin(async move {
                let following = Following {
                    snapshot,
                    table: &table,
                    position: &position,
                    publication,
                };
                let opened = self.source.open_snapshot(&one.run.stream, &following).await;
                match opened {
                    Ok(session) => {
                        let opened = OpenStream::Postgres(Box::new(session));
                        one.carry_snapshot(opened, mark.lsn).await;
                    }
                    Err(error) => one.settle(Err(error)),
                }
            }));
        }
        let carrying = stream::iter(carrying)
            .buffer_unordered(self.jobs.max(1))
            .collect::<Vec<()>>();
        let carried = tokio::select! {
            _ = carrying => Ok(()),
            error = replication.keep_alive() => Err(error),
        };
        drop(held);
        carried
    }

    /// Tells the server what is durable: what every stream that the slot is kept for has passed.
    pub(super) async fn confirm(&self, replication: &mut Replication) -> Result<()> {
        let states = self.loader.call(|destination| destination.states()).await?;
        if let Some(lsn) = self.lowest(&states, replication) {
            fail::fail_point!("cdc.before_confirm", crate::failpoint::abort);
            tokio::select! {
                confirmed = replication.confirm(lsn) => confirmed?,
                // The next run confirms it.
                () = self.stop.cancelled() => return Ok(()),
            }
            fail::fail_point!("cdc.after_confirm", crate::failpoint::abort);
        }
        Ok(())
    }

    /// Goes on in small batches until it is stopped or the connection breaks. Between them the destination is closed.
    pub(super) async fn follow(
        &self,
        replication: &mut Replication,
        carried: &mut [Carried],
        told: &OnFollowed,
    ) -> Result<()> {
        while carried.iter().any(Carried::resumes) {
            self.loader.release().await?;
            let came = match self.read(replication, carried, Until::Changes).await {
                Ok(came) => came,
                Err(Error::Interrupted) => break,
                Err(error) => return Err(error),
            };
            if self.stop.is_cancelled() {
                break;
            }
            self.take_snapshots(replication, carried).await?;
            self.confirm(replication).await?;
            if let Some(Came {
                changes,
                commit: Some(commit),
                ..
            }) = came
            {
                let late = Utc::now().timestamp_micros().saturating_sub(commit).max(0);
                let late = Duration::from_micros(u64::try_from(late).unwrap_or(0));
                (told.0)(&Followed::Batch { changes, late });
            }
        }
        // A stop while nothing was under way is how following ends.
        for one in carried.iter_mut() {
            if matches!(one.failure, Some(Error::Interrupted)) {
                one.failure = None;
            }
        }
        Ok(())
    }
}

/// What a pass brought.
struct Came {
    reached: Lsn,
    changes: u64,
    commit: Option<i64>,
}

impl Carried {
    fn new(run: StreamRun) -> Self {
        let report = run.begin();
        run.counters.enter(Phase::Extracting);
        Self {
            run,
            report,
            began: Instant::now(),
            failure: None,
            table: None,
            next: None,
        }
    }

    fn resumes(&self) -> bool {
        self.failure.is_none() && matches!(self.next, Some(Next::Resume(_)))
    }

    fn begins(&self) -> bool {
        self.failure.is_none() && matches!(self.next, Some(Next::Snapshot))
    }

    pub(super) fn settle(&mut self, done: Result<()>) {
        if let Err(error) = done {
            self.failure.get_or_insert(error);
        }
    }

    fn begin_anew(&mut self, reason: Option<String>) {
        if let Some(reason) = reason {
            self.report
                .warnings
                .push(format!("a new snapshot was taken, as {reason}"));
        }
        self.next = Some(Next::Snapshot);
    }

    async fn apply(&mut self, landed: Result<Landed>) {
        match landed {
            Ok(Landed::Resnapshot { reason }) => self.begin_anew(Some(reason)),
            Ok(landed) => {
                let Self { run, report, .. } = self;
                let applied = run.apply(landed, report).await;
                if let Some(position) = run.position().and_then(Position::lsn) {
                    self.next = Some(Next::Resume(Resume::at(position.lsn)));
                }
                self.settle(applied);
            }
            Err(error) => self.settle(Err(error)),
        }
    }

    async fn carry_snapshot(&mut self, opened: OpenStream, from: Lsn) {
        let Self { run, report, .. } = self;
        run.counters.enter(Phase::Extracting);
        let carried = run.carry_opened(opened, report).await;
        run.full_refresh = false;
        self.settle(carried);
        self.next = Some(Next::Resume(Resume::at(from)));
    }

    /// Where the stream begins.
    fn start(
        &self,
        replication: &Replication,
        table: &Table,
        seen: &HashMap<u32, Seen>,
        slot: Option<&Slot>,
        now: Lsn,
    ) -> Result<Start> {
        let run = &self.run;
        let Some(state) = run.state.as_ref().filter(|_| !run.full_refresh) else {
            return Ok(Start::Snapshot(None));
        };
        let Some(position) = &state.position else {
            return Ok(Start::Snapshot(None));
        };
        let Some(position) = position.lsn() else {
            return Err(Error::config("the stream was read by a cursor so far")
                .remedy("begin its changes with a snapshot: `acequia run STREAM --full-refresh`"));
        };
        let columns = state.schema.columns.iter();
        replication.start_of(&Standing {
            stream: &run.stream,
            position,
            columns: &columns.map(|column| column.column.name.clone()).collect(),
            table,
            seen: seen.get(&table.oid),
            slot,
            now,
        })
    }

    fn finish(self) -> StreamReport {
        let ended = self.failure.map_or(Ok(()), Err);
        self.run.end(self.report, self.began, ended)
    }
}

/// The end of an extract, which whoever reads the log tells.
async fn told(ended: oneshot::Receiver<Result<ExtractEnd>>) -> Result<ExtractEnd> {
    ended
        .await
        .map_err(|_| Error::internal("whoever read the log did not tell how that ended"))?
}

/// What a feed came to, as the end of an extract.
fn extract_end(
    end: FeedEnd,
    position: impl FnOnce(Option<LastRead>, Option<TableShape>) -> LsnPosition,
) -> ExtractEnd {
    match end.restart {
        Some(reason) => ExtractEnd::Resnapshot { reason },
        None => ExtractEnd::Complete(Box::new(Complete {
            position: Some(Position::Lsn(position(end.last, end.shape))),
            schema: end.schema,
            reshaped: end.reshaped,
            ..Complete::default()
        })),
    }
}

/// What to know where partitions came or went: rows that came or went with them are not in the log.
fn partitions_changed(position: Option<&LsnPosition>, table: &Table) -> Option<String> {
    let known = &position?.partitions;
    let attached = table
        .partitions
        .iter()
        .filter(|oid| !known.contains(oid))
        .count();
    let detached = known
        .iter()
        .filter(|oid| !table.partitions.contains(oid))
        .count();
    if attached == 0 && detached == 0 {
        return None;
    }
    Some(format!(
        "since the last run {attached} partition(s) were attached to {} and {detached} detached or dropped. Rows that came \
         or went with them are not in the log of changes: if there were any, run `acequia run STREAM --full-refresh`",
        table.from
    ))
}
