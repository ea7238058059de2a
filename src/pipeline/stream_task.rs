//! A stream of changes in a run: what it does next, and how it ends.

use std::collections::HashMap;
use std::time::Instant;

use tracing::Instrument as _;

use super::follow::{FollowEvent, FollowObserver};
use super::name_stream;
use super::report::{Status, StreamReport};
use super::retry::broke_off;
use super::spans::{self, Within};
use super::stream::{Landed, StreamRun, refuse_other_names, refuse_others};
use crate::config::PostgresChanges;
use crate::error::{Error, Result};
use crate::mode::Deletes;
use crate::position::{Lsn, LsnPosition, Position};
use crate::progress::Phase;
use crate::shape::Seen;
use crate::source::OpenStream;
use crate::source::postgres::replication::slot::Slot;
use crate::source::postgres::replication::table::Table;
use crate::source::postgres::replication::{Replication, Resume, Standing, Start};

/// A stream in progress.
pub(super) struct StreamTask {
    pub(super) run: StreamRun,
    /// What the stream reads.
    pub(super) stream: PostgresChanges,
    pub(super) report: StreamReport,
    began: Instant,
    /// The error that stopped the stream.
    pub(super) failure: Option<Error>,
    /// Whether the observer of a run that follows knows it.
    is_told: bool,
    /// Whether a run that follows has come to the stream's changes.
    is_followed: bool,
    pub(super) table: Option<Table>,
    pub(super) next: Option<Next>,
}

/// What a stream does next.
pub(super) enum Next {
    /// The stream reads changes from its position on.
    Resume(Resume),
    /// The stream begins with a snapshot.
    Snapshot,
}

impl StreamTask {
    pub(super) fn new(stream: PostgresChanges, mut run: StreamRun) -> Self {
        run.within = Within::of(spans::stream(&run.stream));
        let report = run.begin();
        run.counters.enter(Phase::Extracting);
        Self {
            run,
            stream,
            report,
            began: Instant::now(),
            failure: None,
            is_told: false,
            is_followed: false,
            table: None,
            next: None,
        }
    }

    pub(super) fn resumes(&self) -> bool {
        self.failure.is_none() && matches!(self.next, Some(Next::Resume(_)))
    }

    pub(super) fn begins(&self) -> bool {
        self.failure.is_none() && matches!(self.next, Some(Next::Snapshot))
    }

    pub(super) fn settle(&mut self, done: Result<()>) {
        if let Err(error) = done {
            self.failure.get_or_insert(error);
        }
    }

    /// Tells the error that stopped the stream, once, unless it is that the source is away or the run was stopped.
    pub(super) fn tell_failure(&mut self, told: &FollowObserver) {
        let error = self.failure.as_ref();
        let error = error.filter(|error| !broke_off(error) && !matches!(error, Error::Interrupted));
        if let Some(error) = error.filter(|_| !self.is_told) {
            if self.is_followed {
                spans::fail(&self.run.within.span(), error);
            }
            (told.0)(&FollowEvent::Failed {
                stream: self.run.stream.name.clone(),
                error: name_stream(error.clone(), &self.run.stream).report(),
            });
            self.is_told = true;
        }
    }

    pub(super) fn begin_anew(&mut self, reason: Option<String>) {
        if let Some(reason) = reason {
            let changes = self.stream.changes;
            let mut warning = format!("a new snapshot was taken, as {reason}");
            if changes.deletes == Deletes::Soft {
                warning.push_str(
                    ". Rows that were marked as deleted are gone with the table that it replaced",
                );
            }
            if changes.changelog {
                warning.push_str(
                    ". The changelog goes on with it: single changes between the last run and the snapshot are not in it",
                );
            }
            self.report.warnings.push(warning);
        }
        self.next = Some(Next::Snapshot);
    }

    pub(super) async fn apply(&mut self, landed: Result<Landed>) {
        match landed {
            Ok(Landed::Resnapshot { reason }) => self.begin_anew(Some(reason)),
            Ok(landed) => {
                let Self { run, report, .. } = self;
                let span = match &landed {
                    Landed::Load(_) => run.within.span(),
                    _ => run.within.begun(),
                };
                let applied = run.apply(landed, report).instrument(span).await;
                if let Some(position) = run.position().and_then(Position::lsn) {
                    self.next = Some(Next::Resume(Resume::at(position.lsn)));
                }
                self.settle(applied);
            }
            Err(error) => self.settle(Err(error)),
        }
    }

    pub(super) async fn load_snapshot(&mut self, opened: OpenStream, from: Lsn) {
        let Self { run, report, .. } = self;
        run.counters.enter(Phase::Extracting);
        let span = run.within.span();
        let tasks = run.load_opened(opened, report).instrument(span).await;
        run.full_refresh &= tasks.is_err();
        self.settle(tasks);
        self.next = Some(Next::Resume(Resume::at(from)));
    }

    /// Decides where the stream begins.
    pub(super) fn start(
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
        refuse_others(&run.stream, &state.schema)?;
        refuse_other_names(&run.stream, &run.stream.renames, &state.schema)?;
        let columns = state.schema.columns.iter();
        replication.start_of(&Standing {
            stream: &self.stream,
            contract: run.stream.contract,
            position,
            columns: &columns
                .map(|column| column.column.source_name().to_owned())
                .collect(),
            table,
            seen: seen.get(&table.oid),
            slot,
            now,
        })
    }

    /// From now on the stream is followed: it is up to date, and has its part in each pass.
    pub(super) fn is_followed_in(&mut self, pass: &Within) {
        if self.failure.is_some() {
            return;
        }
        if !self.is_followed {
            let so_far = StreamReport {
                status: Status::Ok,
                ..self.report.clone()
            };
            spans::stream_ended(&self.run.within.span(), &so_far);
            self.is_followed = true;
        }
        self.run.get_on(&self.report);
        self.run.within = pass.clone();
    }

    pub(super) fn finish(self) -> StreamReport {
        let ended = self.failure.map_or(Ok(()), Err);
        // What failed while the run followed did so before the stop.
        let stopped = self.run.stop.is_cancelled() && !self.is_told;
        let (span, is_followed) = (self.run.within.begun(), self.is_followed);
        let report = self.run.end(self.report, self.began, ended, stopped);
        if !is_followed {
            spans::stream_ended(&span, &report);
        }
        report
    }
}

/// A warning that partitions were attached or detached: the log does not contain the rows that came or went with them.
pub(super) fn partitions_changed(position: Option<&LsnPosition>, table: &Table) -> Option<String> {
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
