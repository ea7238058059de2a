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

use super::contained::contained;
use super::loader::Loader;
use super::report::StreamReport;
use super::slot_owner::Reader;
use super::stream::{ATTEMPTS, Expected, Landed, StreamRun, gave_way};
use super::wait::{GRACE, given_up_after_a_stop, unless_stopped};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::names::StreamName;
use crate::position::{LastRead, Lsn, LsnPosition, Position};
use crate::progress::Phase;
use crate::shape::{Seen, TableShape};
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::log_reader::StopAt;
use crate::source::postgres::replication::publication::{Slot, Table};
use crate::source::postgres::replication::table_decoder::{DecodedTable, TableDecoder};
use crate::source::postgres::replication::{self, Replication, Resume, Standing, Start};
use crate::source::postgres::stream::SnapshotContext;
use crate::source::{Complete, Extract, ExtractEnd, LANE_CAPACITY, OpenStream};

/// Who is told of what a run that follows does.
#[derive(Clone)]
pub struct FollowObserver(pub(super) Arc<dyn Fn(&FollowEvent) + Send + Sync>);

impl FollowObserver {
    /// Calls `told`.
    pub fn new(told: impl Fn(&FollowEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl std::fmt::Debug for FollowObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFollowed")
    }
}

/// What a run that follows does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowEvent {
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
        lag: Duration,
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
    pub(super) follow: Option<FollowObserver>,
    pub(super) stop: CancellationToken,
}

/// A stream under way.
pub(super) struct StreamTask {
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
    pub(super) async fn run(mut self) -> Vec<StreamReport> {
        let mut tasks: Vec<StreamTask> = std::mem::take(&mut self.streams)
            .into_iter()
            .map(StreamTask::new)
            .collect();
        let carrying = Box::pin(contained(self.run_all(&mut tasks)));
        let carried = given_up_after_a_stop(&self.stop, GRACE, carrying).await;
        if let Err(error) = carried {
            for task in &mut tasks {
                task.settle(Err(error.clone()));
            }
        }
        tasks.into_iter().map(StreamTask::finish).collect()
    }

    async fn run_all(&self, tasks: &mut [StreamTask]) -> Result<()> {
        for task in tasks.iter_mut() {
            let recovered = task.run.recover(&mut task.report).await;
            task.settle(recovered);
        }
        if self.stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if tasks.iter().all(|task| task.failure.is_some()) {
            return Ok(());
        }
        let what = waits_for_tables(tasks);
        let mut replication = unless_stopped(&self.stop, what, self.open(tasks)).await?;
        self.catch_up(&mut replication, tasks).await?;
        self.take_snapshots(&mut replication, tasks).await?;
        self.confirm(&mut replication).await?;
        if let Some(told) = &self.follow {
            replication = self.follow_on(replication, tasks, told).await?;
        }
        replication.close().await
    }

    /// Connects, sees to publication and slot, and decides where each stream begins.
    pub(super) async fn open(&self, tasks: &mut [StreamTask]) -> Result<Replication> {
        let mut replication = self.source.replicate().await?;
        let streams: Vec<_> = tasks.iter().map(|task| task.run.stream.clone()).collect();
        let tables = replication
            .tables(&streams.iter().collect::<Vec<_>>())
            .await?;
        fail::fail_point!("cdc.published", crate::failpoint::abort);
        if let Some(task) = tasks.first_mut() {
            task.report.warn(replication.orphaned_slots().await?);
        }
        let slot = self.own_slot(&replication, tasks).await?;
        let now = replication.now().await?;
        let oids: Vec<u32> = tables.iter().flatten().map(|table| table.oid).collect();
        let seen = replication.look(&oids).await?;
        for (task, table) in tasks.iter_mut().zip(tables) {
            let started = table.and_then(|table| {
                let start = task.start(&replication, &table, &seen, slot.as_ref(), now)?;
                let position = task.run.position().and_then(Position::lsn);
                task.report.warn(partitions_changed(position, &table));
                task.report.warn(table.notes.iter().cloned());
                task.table = Some(table);
                Ok(start)
            });
            match started {
                Ok(Start::Resume(resume)) => task.next = Some(Next::Resume(resume)),
                Ok(Start::Snapshot(reason)) => task.begin_anew(reason),
                Err(error) => task.settle(Err(error)),
            }
        }
        if !tasks.iter().any(|task| task.failure.is_none()) {
            return Ok(replication);
        }
        let begins = tasks.iter().any(StreamTask::begins);
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
            self.note_slot(tasks).await?;
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
        tasks: &[StreamTask],
    ) -> Result<Option<Slot>> {
        let Some(slot) = replication.finished_slot().await? else {
            return Ok(None);
        };
        let Some(task) = tasks.first() else {
            return Ok(Some(slot));
        };
        let states = self.loader.call(|destination| destination.states()).await?;
        let reader = self.reader(task, &states);
        let name = self.source.slot_name();
        if !reader.refuse_foreign(name).await? {
            reader.note(name).await?;
        }
        Ok(Some(slot))
    }

    async fn note_slot(&self, tasks: &[StreamTask]) -> Result<()> {
        match tasks.first() {
            Some(task) => {
                let states = BTreeMap::new();
                let reader = self.reader(task, &states);
                reader.note(self.source.slot_name()).await
            }
            None => Ok(()),
        }
    }

    fn reader<'a>(
        &'a self,
        task: &'a StreamTask,
        states: &'a BTreeMap<StreamName, StreamState>,
    ) -> Reader<'a> {
        Reader {
            pipeline: &task.run.pipeline,
            landing: &task.run.landing,
            id: Some(self.loader.id()),
            states,
        }
    }

    /// Reads the log to its present end, in windows, each of which is loaded and confirmed before the next is read.
    async fn catch_up(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<()> {
        let target = replication.now().await?;
        loop {
            let summary = self.read(replication, tasks, StopAt::Lsn(target)).await?;
            // Where a pass failed, the streams have said so.
            if summary.is_none_or(|summary| summary.reached >= target) {
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
        tasks: &mut [StreamTask],
        until: StopAt,
    ) -> Result<Option<ReadSummary>> {
        let mut decoders = Vec::new();
        let mut ends = Vec::new();
        let mut landing: Vec<BoxFuture<'_, Result<Landed>>> = Vec::new();
        let mut from: Option<Lsn> = None;
        let mut tables = Vec::new();
        for task in tasks.iter_mut().filter(|task| task.resumes()) {
            let (Some(table), Some(state), Some(Next::Resume(resume))) =
                (&task.table, &task.run.state, &mut task.next)
            else {
                continue;
            };
            let Some(position) = state.position.as_ref().and_then(Position::lsn) else {
                continue;
            };
            from = Some(from.map_or(resume.reads_from(), |from| from.min(resume.reads_from())));
            let (sender, batches) = mpsc::channel(LANE_CAPACITY);
            decoders.push(TableDecoder::new(
                &task.run.stream,
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
            let StreamTask { run, report, .. } = task;
            landing.push(Box::pin(async move {
                run.land(extract, expected, &stop, report).await
            }));
        }
        let Some(from) = from else {
            return Ok(None);
        };
        let stop = self.stop.child_token();
        let reading = async {
            let passed = replication.read_log(from, decoders, until, &stop).await;
            let (outcomes, summary, failure) = match passed {
                Ok(passed) => {
                    let summary = ReadSummary {
                        reached: passed.reached,
                        changes: passed.changes,
                        commit: passed.first_commit,
                    };
                    let ended = passed.decoders.into_iter().zip(&tables);
                    let outcomes = ended.map(|(end, (table, at))| {
                        let lsn = passed.reached.max(*at);
                        end.map(|end| {
                            extract_end(end, |last, shape| {
                                replication.position(table, lsn, last, shape)
                            })
                        })
                    });
                    (outcomes.collect(), Some(summary), None)
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
            failure.map_or(Ok(summary), Err)
        };
        let (read, landed) = tokio::join!(reading, join_all(landing));
        // The streams tell the failure themselves.
        let summary = read.unwrap_or(None);
        let resuming = tasks.iter_mut().filter(|task| task.resumes());
        let mut applying: Vec<BoxFuture<'_, ()>> = Vec::new();
        for (task, landed) in resuming.zip(landed) {
            applying.push(Box::pin(task.apply(landed)));
        }
        tokio::select! {
            _ = join_all(applying) => {}
            error = replication.keep_alive() => return Err(error),
        }
        Ok(summary)
    }

    /// Takes a snapshot for the streams that begin with one, and loads each; another one for those that had to give way to
    /// somebody who alters their table.
    pub(super) async fn take_snapshots(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<()> {
        for _ in 1..ATTEMPTS {
            self.take_one_snapshot(replication, tasks).await?;
            let gave_way = |task: &&mut StreamTask| task.failure.as_ref().is_some_and(gave_way);
            let mut again = false;
            for task in tasks.iter_mut().filter(gave_way) {
                tracing::warn!(
                    "stream {} is read anew, as its table is altered",
                    task.run.stream.name
                );
                task.failure = None;
                task.begin_anew(None);
                again = true;
            }
            if !again || self.stop.is_cancelled() {
                return Ok(());
            }
        }
        self.take_one_snapshot(replication, tasks).await
    }

    async fn take_one_snapshot(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<()> {
        let waits = waits_for_tables(tasks);
        // Their tables may have changed since they were looked at.
        let beginning: Vec<_> = tasks.iter_mut().filter(|task| task.begins()).collect();
        if beginning.is_empty() {
            return Ok(());
        }
        let streams: Vec<_> = beginning
            .iter()
            .map(|task| task.run.stream.clone())
            .collect();
        let tables = replication
            .tables(&streams.iter().collect::<Vec<_>>())
            .await?;
        for (task, table) in beginning.into_iter().zip(tables) {
            match table {
                Ok(table) => task.table = Some(table),
                Err(error) => task.settle(Err(error)),
            }
        }
        let snapshot = tokio::select! {
            snapshot = replication.snapshot() => snapshot?,
            () = self.stop.cancelled() => return Err(Error::Interrupted),
        };
        fail::fail_point!("cdc.snapshot_exported", crate::failpoint::abort);
        let beginning: Vec<_> = tasks.iter_mut().filter(|task| task.begins()).collect();
        let tables: Vec<Table> = beginning
            .iter()
            .filter_map(|task| task.table.clone())
            .collect();
        // The tables stay as they are until each has its turn.
        let holding = replication.hold(&snapshot, &tables);
        let held = unless_stopped(&self.stop, waits, holding).await?;
        let mark = snapshot.mark;
        let publication = replication.publication().to_owned();
        let mut carrying: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(beginning.len());
        for task in beginning {
            let Some(table) = task.table.clone() else {
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
                let context = SnapshotContext {
                    snapshot,
                    table: &table,
                    position: &position,
                    publication,
                };
                let opened = self.source.open_snapshot(&task.run.stream, &context).await;
                match opened {
                    Ok(stream) => {
                        let opened = OpenStream::Postgres(Box::new(stream));
                        task.load_snapshot(opened, mark.lsn).await;
                    }
                    Err(error) => task.settle(Err(error)),
                }
            }));
        }
        let carrying = stream::iter(carrying)
            .buffer_unordered(self.jobs.max(1))
            .collect::<Vec<()>>();
        let tasks = tokio::select! {
            _ = carrying => Ok(()),
            error = replication.keep_alive() => Err(error),
        };
        drop(held);
        tasks
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
        tasks: &mut [StreamTask],
        told: &FollowObserver,
    ) -> Result<()> {
        while tasks.iter().any(StreamTask::resumes) {
            self.loader.release().await?;
            let summary = match self.read(replication, tasks, StopAt::FirstBatch).await {
                Ok(summary) => summary,
                Err(Error::Interrupted) => break,
                Err(error) => return Err(error),
            };
            if self.stop.is_cancelled() {
                break;
            }
            self.take_snapshots(replication, tasks).await?;
            self.confirm(replication).await?;
            if let Some(ReadSummary {
                changes,
                commit: Some(commit),
                ..
            }) = summary
            {
                let lag = Utc::now().timestamp_micros().saturating_sub(commit).max(0);
                let lag = Duration::from_micros(u64::try_from(lag).unwrap_or(0));
                (told.0)(&FollowEvent::Batch { changes, lag });
            }
        }
        // A stop while nothing was under way is how following ends.
        for task in tasks.iter_mut() {
            if matches!(task.failure, Some(Error::Interrupted)) {
                task.failure = None;
            }
        }
        Ok(())
    }
}

/// What is waited for where the source does not answer.
fn waits_for_tables(tasks: &[StreamTask]) -> String {
    let names = tasks.iter().map(|task| task.run.stream.name.as_str());
    let names: Vec<&str> = names.collect();
    let source = tasks.first().map(|task| task.run.stream.source.as_str());
    format!(
        "the source `{}` to answer for {} (it may be busy, or what is to be read is locked by another)",
        source.unwrap_or_default(),
        names.join(", ")
    )
}

/// What a pass brought.
struct ReadSummary {
    reached: Lsn,
    changes: u64,
    commit: Option<i64>,
}

impl StreamTask {
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

    async fn load_snapshot(&mut self, opened: OpenStream, from: Lsn) {
        let Self { run, report, .. } = self;
        run.counters.enter(Phase::Extracting);
        let tasks = run.load_opened(opened, report).await;
        run.full_refresh &= tasks.is_err();
        self.settle(tasks);
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

/// What a decoder came to, as the end of an extract.
fn extract_end(
    end: DecodedTable,
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
