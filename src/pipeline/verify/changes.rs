//! Tables of changes, compared with their source as it was at one LSN: while others write there.
//!
//! An ordinary run of the streams comes first, so that little is left to read. Then a temporary slot exports a snapshot that ends
//! exactly at an LSN, the tables are brought to that LSN, and both sides have committed the same transactions.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::BoxFuture;
use tracing::Span;

use super::repair::taken_anew;
use super::{Job, OfChanges, never_loaded};
use crate::config::{PostgresChanges, Stream, StreamSource};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::names::StreamName;
use crate::pipeline::compare::side::Opener;
use crate::pipeline::replication::ReplicationRun;
use crate::pipeline::report::{Status, StreamReport};
use crate::pipeline::spans;
use crate::pipeline::stream::StreamRun;
use crate::pipeline::stream_task::StreamTask;
use crate::pipeline::wait::{GRACE, given_up_after_a_stop};
use crate::position::{LastRead, LsnPosition, Position};
use crate::source::OpenStream;
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::log_reader::StopAt;
use crate::source::postgres::replication::table::Table;
use crate::source::postgres::replication::{Replication, Snapshot};
use crate::source::postgres::snapshot::SnapshotContext;
use crate::verify::report::StreamVerification;

/// How often a snapshot is taken until the tables are brought to it exactly.
const ATTEMPTS: u32 = 3;

/// A stream in work.
struct Verifying<'a> {
    place: usize,
    stream: &'a Stream,
    began: Instant,
    report: StreamVerification,
    ended: Result<()>,
    /// Whether the table is mended by a new snapshot.
    needs_snapshot: bool,
    span: Span,
}

impl Job {
    /// Verifies streams of changes of one source, of which the destination has these states.
    pub(super) async fn verify_changes(
        &self,
        streams: &[OfChanges<'_>],
        states: &BTreeMap<StreamName, StreamState>,
    ) -> Vec<(usize, StreamVerification)> {
        let mut verifying: Vec<Verifying<'_>> = streams
            .iter()
            .map(|(place, _, stream)| Verifying {
                place: *place,
                stream,
                began: Instant::now(),
                report: StreamVerification::begun(&stream.name, stream.mode()),
                ended: Ok(()),
                needs_snapshot: false,
                span: spans::compare(stream),
            })
            .collect();
        let work = Box::pin(self.compare_all(streams, states, &mut verifying));
        let worked = given_up_after_a_stop(&self.options.interrupt, GRACE, work).await;
        let mut reports = Vec::with_capacity(verifying.len());
        for one in verifying {
            let ended = match &worked {
                Ok(()) => one.ended,
                Err(error) => one.ended.and_then(|()| Err(error.clone())),
            };
            let report = self.end(one.stream, one.report, one.began, ended).await;
            spans::compared(&one.span, &report);
            reports.push((one.place, report));
        }
        reports
    }

    async fn compare_all(
        &self,
        streams: &[OfChanges<'_>],
        states: &BTreeMap<StreamName, StreamState>,
        verifying: &mut [Verifying<'_>],
    ) -> Result<()> {
        for one in verifying.iter_mut() {
            if !states.contains_key(&one.stream.name) {
                one.ended = Err(never_loaded());
            }
        }
        let loaded: Vec<&OfChanges<'_>> = streams
            .iter()
            .filter(|(_, _, stream)| states.contains_key(&stream.name))
            .collect();
        if loaded.is_empty() {
            return Ok(());
        }
        let ran = self.run_first(&loaded, states).await?;
        let known = verifying.iter_mut().filter(|one| one.ended.is_ok());
        for (one, ran) in known.zip(ran) {
            if ran.status != Status::Ok {
                let error = ran.error.unwrap_or_else(|| "it was not begun".to_owned());
                one.ended = Err(Error::source(format!(
                    "the stream could not be brought up to date first: {error}"
                )));
            }
        }
        let mut going: Vec<(&OfChanges<'_>, &mut Verifying<'_>)> = streams
            .iter()
            .zip(verifying)
            .filter(|(_, one)| one.ended.is_ok())
            .collect();
        if going.is_empty() {
            return Ok(());
        }
        let of_changes: Vec<&OfChanges<'_>> = going.iter().map(|(of, _)| *of).collect();
        let asked = self.loader.call(|destination| destination.states());
        let (run, mut tasks) = self.replication_of(&of_changes, &asked.await?)?;
        for task in &mut tasks {
            let recovered = task.run.recover(&mut task.report).await;
            task.settle(recovered);
        }
        let mut replication = run.open(&mut tasks).await?;
        let (snapshot, held) = self
            .bring_to_one_lsn(&run, &mut replication, &mut tasks)
            .await?;
        for ((of, one), task) in going.iter_mut().zip(&mut tasks) {
            if let Some(error) = task.failure.take() {
                one.ended = Err(error);
                continue;
            }
            let Some(table) = task.table.clone() else {
                one.ended = Err(Error::internal("a table that was not looked up"));
                continue;
            };
            let last = LastRead {
                lsn: snapshot.mark.lsn,
                time: None,
            };
            let at = AtLsn {
                source: &run.source,
                snapshot: &snapshot,
                position: replication.position(&table, snapshot.mark.lsn, Some(last), None),
                table,
                publication: replication.publication().to_owned(),
            };
            let comparing = self.compare_at(of, &mut task.run, &at, &mut one.report);
            let compared = tokio::select! {
                compared = comparing => compared,
                error = replication.keep_alive() => Err(error),
            };
            one.ended = compared.map(|needs| one.needs_snapshot = needs);
        }
        drop(held);
        replication.close().await?;
        going.retain(|(_, one)| one.needs_snapshot);
        if going.is_empty() {
            return Ok(());
        }
        Box::pin(self.take_anew(going)).await
    }

    /// Mends tables by new snapshots.
    async fn take_anew(
        &self,
        mut streams: Vec<(&OfChanges<'_>, &mut Verifying<'_>)>,
    ) -> Result<()> {
        let of_changes: Vec<&OfChanges<'_>> = streams.iter().map(|(of, _)| *of).collect();
        let states = self.loader.call(|destination| destination.states()).await?;
        let (mut run, tasks) = self.replication_of(&of_changes, &states)?;
        let anew = tasks.into_iter().map(|mut task| {
            task.run.full_refresh = true;
            (task.stream, task.run)
        });
        run.streams = anew.collect();
        let ran = Box::pin(run.run()).await;
        for ((_, one), ran) in streams.iter_mut().zip(ran) {
            one.ended = taken_anew(ran, &mut one.report);
        }
        Ok(())
    }

    /// An ordinary run of streams that the destination has.
    async fn run_first(
        &self,
        streams: &[&OfChanges<'_>],
        states: &BTreeMap<StreamName, StreamState>,
    ) -> Result<Vec<StreamReport>> {
        let (mut run, tasks) = self.replication_of(streams, states)?;
        run.streams = tasks
            .into_iter()
            .map(|task| (task.stream, task.run))
            .collect();
        Ok(Box::pin(run.run()).await)
    }

    /// What reads the log for the streams.
    fn replication_of(
        &self,
        streams: &[&OfChanges<'_>],
        states: &BTreeMap<StreamName, StreamState>,
    ) -> Result<(ReplicationRun, Vec<StreamTask>)> {
        let Some((_, changes, _)) = streams.first() else {
            return Err(Error::internal("no stream of changes"));
        };
        let source = changes.source.as_ref().map_err(Error::clone)?;
        let tasks = streams.iter().map(|(_, changes, stream)| {
            let run = self.stream_run(stream, states.get(&stream.name).cloned());
            StreamTask::new((*changes).clone(), run)
        });
        let run = ReplicationRun {
            source: Postgres::new(source)?,
            configured: source.replication.streams.clone(),
            streams: Vec::new(),
            loader: self.loader.clone(),
            jobs: 1,
            follow: None,
            models: None,
            page: None,
            stop: self.options.interrupt.child_token(),
        };
        Ok((run, tasks.collect()))
    }

    /// Takes a snapshot, and brings the tables to where it ends.
    async fn bring_to_one_lsn(
        &self,
        run: &ReplicationRun,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<(Snapshot, tokio_postgres::Client)> {
        for _ in 0..ATTEMPTS {
            if let Some(task) = tasks.iter().find(|task| task.begins()) {
                return Err(Error::source(format!(
                    "the table of stream {} was altered, so that it needs a new snapshot",
                    task.run.stream.name
                ))
                .remedy("run `acequia run`, and verify again"));
            }
            let snapshot = replication.snapshot().await?;
            let tables: Vec<Table> = tasks.iter().filter_map(|task| task.table.clone()).collect();
            let held = replication.hold(&snapshot, &tables).await?;
            let lsn = snapshot.mark.lsn;
            run.read(replication, tasks, StopAt::Lsn(lsn)).await?;
            run.confirm(replication).await?;
            let is_there = |task: &StreamTask| {
                let position = task.run.position().and_then(Position::lsn);
                task.failure.is_some() || position.is_some_and(|position| position.lsn == lsn)
            };
            if tasks.iter().all(is_there) {
                return Ok((snapshot, held));
            }
        }
        Err(Error::source(
            "the tables could not be brought to the LSN of a snapshot: the log was read beyond it",
        )
        .remedy("verify again when less is written, or when no long transaction is under way"))
    }

    /// Compares a table, and mends it where that is asked for. Returns whether it takes a new snapshot to mend it.
    async fn compare_at(
        &self,
        (_, _, stream): &OfChanges<'_>,
        run: &mut StreamRun,
        at: &AtLsn<'_>,
        report: &mut StreamVerification,
    ) -> Result<bool> {
        let state = run.state.clone().ok_or_else(never_loaded)?;
        report.position = state.position.as_ref().map(Position::brief);
        let open_as = |from: StreamSource| at.opener(from);
        let comparison = self.comparison(stream, &state, &open_as, report).await?;
        if !self.options.repair {
            self.compare(stream, &comparison, report).await?;
            return Ok(false);
        }
        if comparison.codec.key_names().is_empty() {
            // A row more or a row less would change what a replay makes of the loads before it, which have no such fault.
            let found = comparison.run(self.options.show, report).await?;
            return Ok(!found.is_nothing());
        }
        let mark = Some(at.snapshot.mark);
        Box::pin(self.mend(&comparison, run, mark, report)).await?;
        Ok(false)
    }
}

/// A table of the source as it was at an LSN.
struct AtLsn<'a> {
    source: &'a Postgres,
    snapshot: &'a Snapshot,
    table: Table,
    position: LsnPosition,
    publication: String,
}

impl AtLsn<'_> {
    fn opener(&self, from: StreamSource) -> Opener<'_> {
        let from = std::sync::Arc::new(from);
        Box::new(move || -> BoxFuture<'_, Result<OpenStream>> {
            let from = from.clone();
            Box::pin(async move {
                let StreamSource::Changes(changes) = from.as_ref() else {
                    return Err(Error::internal("a stream of changes that is none"));
                };
                self.open(changes).await
            })
        })
    }

    async fn open(&self, changes: &PostgresChanges) -> Result<OpenStream> {
        let context = SnapshotContext {
            snapshot: self.snapshot,
            table: &self.table,
            position: &self.position,
            publication: &self.publication,
        };
        let opened = self.source.open_snapshot(changes, &context).await?;
        Ok(OpenStream::Postgres(Box::new(opened)))
    }
}
