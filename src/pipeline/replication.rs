//! The streams of changes of one source, which are run together: one slot, and one reading of the log for all of them.
//!
//! Each stream still takes the path of every stream ([`StreamRun`]); this module has what the streams share. A run recovers
//! what an earlier run left, reads the log once for the streams that have a position, loads each stream, takes snapshots
//! for streams without a position and for those that need a new one, and finally confirms to the server what is durable. A
//! run that follows then continues in small batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::future::{BoxFuture, join_all};
use futures::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::contained::contained;
use super::follow::{FollowEvent, FollowObserver};
use super::loader::Loader;
use super::models::ModelsStep;
use super::page::PageStep;
use super::report::StreamReport;
use super::retry::{Retries, broke_off};
use super::shape_step::Shape;
use super::slot_owner::Reader;
use super::spans::{self, Within};
use super::stream::{ATTEMPTS, Expected, Landed, StreamRun, gave_way};
use super::stream_task::{Next, StreamTask, partitions_changed};
use super::wait::{GRACE, given_up_after_a_stop, unless_stopped};
use crate::config::PostgresChanges;
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::models::report::ModelStatus;
use crate::names::StreamName;
use crate::position::{LastRead, Lsn, LsnPosition, Position};
use crate::shape::TableShape;
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::log_reader::StopAt;
use crate::source::postgres::replication::slot::Slot;
use crate::source::postgres::replication::table::Table;
use crate::source::postgres::replication::table_decoder::{DecodedTable, TableDecoder};
use crate::source::postgres::replication::{self, Replication, Start};
use crate::source::postgres::snapshot::SnapshotContext;
use crate::source::{Complete, Extract, ExtractEnd, LANE_CAPACITY, OpenStream};

/// The streams of changes of one source.
pub(super) struct ReplicationRun {
    pub(super) source: Postgres,
    /// All of the source's configured streams of changes, selected or not. The slot is kept for all of them.
    pub(super) configured: Vec<StreamName>,
    pub(super) streams: Vec<(PostgresChanges, StreamRun)>,
    pub(super) loader: Loader,
    pub(super) jobs: usize,
    /// If it is set, the run follows until it is stopped, and calls the observer for each event.
    pub(super) follow: Option<FollowObserver>,
    /// The models that are built after each batch of a run that follows.
    pub(super) models: Option<Arc<ModelsStep>>,
    /// The report page that is made after each batch of a run that follows.
    pub(super) page: Option<Arc<PageStep>>,
    pub(super) stop: CancellationToken,
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
            // A position of another server means nothing for this one.
            .filter(|position| position.system == replication.system())
            .map(|position| position.durable(replication.started()))
            .min()
    }

    /// Runs the streams, and returns a report of each.
    pub(super) async fn run(mut self) -> Vec<StreamReport> {
        let mut tasks: Vec<StreamTask> = std::mem::take(&mut self.streams)
            .into_iter()
            .map(|(stream, run)| StreamTask::new(stream, run))
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
            let span = task.run.within.span();
            let recovering = task.run.recover(&mut task.report).instrument(span);
            let recovered = recovering.await;
            task.settle(recovered);
        }
        if self.stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if tasks.iter().all(|task| task.failure.is_some()) {
            return Ok(());
        }
        let mut replication = self.begin(tasks).await?;
        if let Some(told) = &self.follow {
            replication = self.follow_on(replication, tasks, told).await?;
        }
        replication.close().await
    }

    /// Brings the streams up to date. A source that breaks off is asked again a few times.
    async fn begin(&self, tasks: &mut [StreamTask]) -> Result<Replication> {
        let mut retries = Retries::new();
        let mut replication = loop {
            let what = waits_for_tables(tasks);
            let error = match unless_stopped(&self.stop, what, self.open(tasks)).await {
                Ok(replication) => break replication,
                Err(error) => error,
            };
            if !retries.again(&error, "the source", &self.stop).await {
                return Err(error);
            }
            for task in tasks.iter_mut() {
                task.report.retries += 1;
            }
        };
        let told = self
            .follow
            .clone()
            .unwrap_or_else(FollowObserver::of_the_log);
        loop {
            let begun = self.bring_up_to_date(&mut replication, tasks).await;
            let failures = tasks.iter().filter_map(|task| task.failure.as_ref());
            let broken = failures.chain(begun.as_ref().err()).any(broke_off);
            if !broken || self.stop.is_cancelled() || retries.is_over() {
                return begun.map(|()| replication);
            }
            drop(replication);
            replication = self.connect_again(tasks, &told, &mut retries).await?;
        }
    }

    async fn bring_up_to_date(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<()> {
        self.catch_up(replication, tasks).await?;
        self.take_up(replication, tasks).await
    }

    /// Connects, prepares publication and slot, and decides where each stream begins.
    pub(super) async fn open(&self, tasks: &mut [StreamTask]) -> Result<Replication> {
        let mut replication = self.source.replicate().await?;
        let streams: Vec<_> = tasks.iter().map(|task| &task.stream).collect();
        let tables = replication.tables(&streams).await?;
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
                // The slot's streams begin anew, or have already failed because their changes are lost.
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

    /// The slot, or `None` if it does not exist.
    ///
    /// # Errors
    /// The slot is not the pipeline's own.
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

    /// Reads the log to its current end, in windows. Each window is loaded and confirmed before the next is read.
    async fn catch_up(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<()> {
        let target = replication.now().await?;
        loop {
            let summary = self.read(replication, tasks, StopAt::Lsn(target)).await?;
            // If reading failed, the streams have the error.
            if summary.is_none_or(|summary| summary.reached >= target) {
                return Ok(());
            }
            if self.stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            self.confirm(replication).await?;
        }
    }

    /// Reads the log once for the streams that have a position, and loads each. Returns a summary, if there was anything to
    /// read.
    pub(super) async fn read(
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
                &task.stream.columns,
                task.run.stream.contract,
                table,
                &state.schema.as_source(),
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
                primary_key: task.run.stream.renames.names(&table.key),
                key_is_unique: true,
                shape: Arc::new(Shape {
                    masks: task.run.stream.masks().clone(),
                    renames: task.run.stream.renames.clone(),
                }),
                amends: None,
            };
            let stop = self.stop.child_token();
            let StreamTask { run, report, .. } = task;
            landing.push(Box::pin(async move {
                let span = run.within.reading(&run.stream);
                spans::within(span, run.land(extract, expected, &stop, report)).await
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
        // The streams report the failure themselves.
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
        // The tables may have changed since they were looked up.
        let beginning: Vec<_> = tasks.iter_mut().filter(|task| task.begins()).collect();
        if beginning.is_empty() {
            return Ok(());
        }
        let streams: Vec<_> = beginning.iter().map(|task| &task.stream).collect();
        let tables = replication.tables(&streams).await?;
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
        // The tables stay locked until each has been read.
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
            // The reader of the snapshot adds the table's shape.
            let position = replication.position(&table, mark.lsn, Some(last), None);
            let (snapshot, publication) = (&snapshot, publication.as_str());
            carrying.push(Box::pin(async move {
                let context = SnapshotContext {
                    snapshot,
                    table: &table,
                    position: &position,
                    publication,
                };
                let opened = self.source.open_snapshot(&task.stream, &context).await;
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

    /// Confirms to the server the position that every stream of the slot has passed.
    pub(super) async fn confirm(&self, replication: &mut Replication) -> Result<()> {
        let states = self.loader.call(|destination| destination.states()).await?;
        if let Some(lsn) = self.lowest(&states, replication) {
            fail::fail_point!("cdc.before_confirm", crate::failpoint::abort);
            tokio::select! {
                confirmed = replication.confirm(lsn) => confirmed?,
                // The next run confirms the position.
                () = self.stop.cancelled() => return Ok(()),
            }
            fail::fail_point!("cdc.after_confirm", crate::failpoint::abort);
        }
        Ok(())
    }

    /// Reads and loads in small batches until the run is stopped or the connection breaks. The destination is closed
    /// between batches.
    pub(super) async fn follow(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
        told: &FollowObserver,
    ) -> Result<()> {
        let mut failures = Vec::new();
        let mut page_failed = None;
        let mut pass: Option<Within> = None;
        while tasks.iter().any(StreamTask::resumes) {
            // They are made of what the pass before has loaded, and belong to it.
            let span = pass.take().map_or_else(Span::current, |pass| pass.begun());
            let making = self.build_models(replication, told, &mut failures);
            making.instrument(span.clone()).await?;
            let making = self.make_page(replication, told, &mut page_failed);
            making.instrument(span).await?;
            self.loader.release().await?;
            let next = pass.insert(Within::pass(source_of(tasks)));
            for task in tasks.iter_mut() {
                task.is_followed_in(next);
            }
            let summary = match self.read(replication, tasks, StopAt::FirstBatch).await {
                Ok(summary) => summary,
                Err(Error::Interrupted) => break,
                Err(error) => return Err(error),
            };
            if self.stop.is_cancelled() {
                break;
            }
            self.take_up(replication, tasks).await?;
            for task in tasks.iter_mut() {
                task.tell_failure(told);
            }
            if let Some(ReadSummary {
                changes,
                commit: Some(commit),
                ..
            }) = summary
            {
                let lag = Utc::now().timestamp_micros().saturating_sub(commit).max(0);
                let lag = Duration::from_micros(u64::try_from(lag).unwrap_or(0));
                if let Some(pass) = &pass {
                    pass.passed(changes, lag);
                }
                (told.0)(&FollowEvent::Batch { changes, lag });
            }
        }
        // Following normally ends by a stop while nothing is in progress.
        for task in tasks.iter_mut() {
            if matches!(task.failure, Some(Error::Interrupted)) {
                task.failure = None;
            }
        }
        Ok(())
    }
}

impl ReplicationRun {
    /// Builds the models that read what was loaded. Tells what was built, and what fails now and did not before.
    async fn build_models(
        &self,
        replication: &mut Replication,
        told: &FollowObserver,
        before: &mut Vec<String>,
    ) -> Result<()> {
        let Some(models) = &self.models else {
            return Ok(());
        };
        let report = tokio::select! {
            report = models.build() => report,
            error = replication.keep_alive() => return Err(error),
        };
        let Some(report) = report else {
            return Ok(());
        };
        let built = report.count(ModelStatus::Built);
        let failures = report.failures();
        if built > 0 || failures != *before {
            (told.0)(&FollowEvent::Models {
                built,
                failures: failures.clone(),
            });
        }
        *before = failures;
        Ok(())
    }

    /// Makes the report page. Tells where it fails otherwise than before.
    async fn make_page(
        &self,
        replication: &mut Replication,
        told: &FollowObserver,
        before: &mut Option<String>,
    ) -> Result<()> {
        let Some(page) = &self.page else {
            return Ok(());
        };
        let made = tokio::select! {
            made = page.make() => made,
            error = replication.keep_alive() => return Err(error),
        };
        let error = made.and_then(|made| made.error);
        if error != *before {
            let error = error.clone();
            (told.0)(&FollowEvent::Page { error });
        }
        *before = error;
        Ok(())
    }
}

/// The source that the streams are of.
fn source_of(tasks: &[StreamTask]) -> &str {
    let first = tasks.first();
    first.map_or("", |task| task.run.stream.source.as_str())
}

/// What a wait for the source is about, for messages.
fn waits_for_tables(tasks: &[StreamTask]) -> String {
    let names = tasks.iter().map(|task| task.run.stream.name.as_str());
    let names: Vec<&str> = names.collect();
    format!(
        "the source `{}` to answer for {} (it may be busy, or what is to be read is locked by another)",
        source_of(tasks),
        names.join(", ")
    )
}

/// A summary of one reading of the log.
pub(super) struct ReadSummary {
    reached: Lsn,
    changes: u64,
    commit: Option<i64>,
}

/// Awaits the end of an extract, which the log reader sends.
async fn told(ended: oneshot::Receiver<Result<ExtractEnd>>) -> Result<ExtractEnd> {
    ended
        .await
        .map_err(|_| Error::internal("whoever read the log did not tell how that ended"))?
}

/// Converts a decoder's result to the end of an extract.
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
