//! How a run ended, kept in two places. Each stream's last failure is in the landing area, for `acequia status`, which is
//! asked of a destination that cannot be opened too. The run itself goes to the destination's table of runs; where that cannot
//! be, and where no row came or went, it waits in the landing area for a run that writes anyway.

use chrono::{SubsecRound as _, Utc};
use tokio_util::sync::CancellationToken;

use crate::config::{Pipeline, Target};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::failures::Failure;
use crate::landing::runs::MOST_WAITING;
use crate::names::{RunId, StreamName};
use crate::runs::{
    CONFIGURATION, MODELS, PAGE, RANGE_RUN, RunFailure, RunRecord, RunStatus, could_not_begin,
};

use super::RunOptions;
use super::loader::Loader;
use super::notices::Found;
use super::report::{RunReport, Status, StreamReport};
use super::wait::{PARTING, given_up_after_a_stop};

/// How many runs without a row wait until they are brought to a destination that is slow to write to.
const MOST_QUIET: usize = 100;

/// Where what becomes of a run is kept.
pub(super) struct Record {
    landing: Landing,
    pipeline: StreamName,
    destination: String,
    streams: Vec<StreamName>,
    /// Whether writing to the destination takes about as long as writing a file.
    is_quick: bool,
    /// The run as it began.
    begun: RunRecord,
    /// Whether the run reads a range again. Neither that it succeeds nor that it fails says whether streams are up to date.
    is_of_range: bool,
}

impl Record {
    /// The record of a run that begins.
    pub(super) fn of(pipeline: &Pipeline, landing: &Landing, options: &RunOptions) -> Self {
        let is_of_range = options.range.is_some();
        let command = match (&options.follow, is_of_range) {
            (Some(_), _) => "run --follow",
            (None, true) => RANGE_RUN,
            (None, false) => "run",
        };
        Self {
            landing: landing.clone(),
            pipeline: pipeline.name.clone(),
            destination: pipeline.destination.name.clone(),
            streams: pipeline.streams.iter().map(|s| s.name.clone()).collect(),
            // A file of DuckDB's is brought to the disk twice for a row, and a lake's catalog has a commit for it.
            is_quick: matches!(pipeline.destination.target, Target::Postgres { .. }),
            begun: RunRecord::begun(RunId::new(), command, Utc::now()),
            is_of_range,
        }
    }

    /// The run's id.
    pub(super) fn run_id(&self) -> &RunId {
        &self.begun.run_id
    }

    /// Keeps a run that ended with a report, while the destination is still open.
    /// A destination that says nothing is given up after a stop.
    pub(super) async fn keep(&self, report: &RunReport, loader: &Loader, stop: &CancellationToken) {
        let run = self.ended(report);
        let bringing = self.bring(&run, loader);
        match given_up_after_a_stop(stop, PARTING, bringing).await {
            Ok(true) => {}
            // Few wait.
            Ok(false) => self.have_wait(&run).await,
            Err(error) => {
                tracing::debug!(error = %error.report(), "the run waits in the landing area");
                self.have_wait_with_others(&run).await;
            }
        }
    }

    /// Keeps that a run could not begin.
    pub(super) async fn keep_failed(&self, error: &Error) {
        let mut run = RunRecord {
            status: RunStatus::Interrupted,
            ended_at: Utc::now().trunc_subsecs(6),
            ..self.begun.clone()
        };
        let streams = u64::try_from(self.streams.len()).unwrap_or(u64::MAX);
        if matches!(error, Error::Interrupted) {
            run.streams_skipped = streams;
        } else {
            run.status = RunStatus::Failed;
            run.streams_failed = streams;
            run.fail([could_not_begin(&self.streams, error)]);
        }
        self.have_wait_with_others(&run).await;
    }

    /// Keeps that a run which follows is at work, with these streams up to date and these failures.
    pub(super) async fn keep_running<'a>(
        &self,
        current: impl IntoIterator<Item = &'a StreamName>,
        failures: Vec<RunFailure>,
    ) {
        let now = Utc::now().trunc_subsecs(0);
        let mut run = RunRecord {
            ended_at: now,
            streams: current
                .into_iter()
                .map(|name| (name.clone(), now))
                .collect(),
            ..self.begun.clone()
        };
        run.fail(failures);
        self.have_wait(&run).await;
    }

    /// Brings a run to the destination, and those that wait. Returns whether it did; it need not for a run that left the
    /// destination as it was.
    async fn bring(&self, run: &RunRecord, loader: &Loader) -> Result<bool> {
        let (landing, pipeline, destination) = (&self.landing, &self.pipeline, &self.destination);
        let waiting = landing.waiting_runs(pipeline, destination).await?;
        if run.is_quiet() && !self.is_quick && waiting.len() < MOST_QUIET {
            return Ok(false);
        }
        let others = waiting.iter().filter(|id| *id != self.run_id());
        let others = others.cloned().collect();
        let mut runs = landing
            .waiting_runs_of(pipeline, destination, others)
            .await?;
        // Another run may follow just now: it keeps itself.
        runs.retain(|run| run.status != RunStatus::Running);
        runs.push(run.clone());
        let kept: Vec<RunId> = runs.iter().map(|run| run.run_id.clone()).collect();
        loader
            .call(move |destination| destination.keep_runs(&runs))
            .await?;
        for id in kept.iter().filter(|id| waiting.contains(id)) {
            landing
                .forget_waiting_run(pipeline, destination, id)
                .await?;
        }
        Ok(true)
    }

    async fn have_wait(&self, run: &RunRecord) {
        let (landing, pipeline, destination) = (&self.landing, &self.pipeline, &self.destination);
        if let Err(error) = landing.have_run_wait(pipeline, destination, run).await {
            tracing::warn!("the run could not be kept: {}", error.report());
        }
    }

    /// Has a run wait where many may wait by now.
    async fn have_wait_with_others(&self, run: &RunRecord) {
        self.have_wait(run).await;
        if let Err(error) = self.forget_oldest().await {
            tracing::warn!("runs that wait could not be removed: {}", error.report());
        }
    }

    /// Removes the oldest of the runs that wait, where they are too many.
    async fn forget_oldest(&self) -> Result<()> {
        let (landing, pipeline, destination) = (&self.landing, &self.pipeline, &self.destination);
        let waiting = landing.waiting_runs(pipeline, destination).await?;
        let more = waiting.len().saturating_sub(MOST_WAITING);
        for oldest in waiting.iter().take(more) {
            landing
                .forget_waiting_run(pipeline, destination, oldest)
                .await?;
        }
        Ok(())
    }

    fn ended(&self, report: &RunReport) -> RunRecord {
        let count = |status: Status| {
            let streams = report.streams.iter();
            let count = streams.filter(|stream| stream.status == status).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        };
        let sum = |of: fn(&StreamReport) -> u64| report.streams.iter().map(of).sum();
        let synced = report
            .streams
            .iter()
            .filter(|stream| stream.status == Status::Ok && !self.is_of_range);
        let mut run = RunRecord {
            status: match (
                report.is_ok(),
                count(Status::Failed),
                count(Status::Skipped),
            ) {
                (true, ..) => RunStatus::Ok,
                (false, 0, skipped) if skipped > 0 => RunStatus::Interrupted,
                _ => RunStatus::Failed,
            },
            ended_at: Utc::now().trunc_subsecs(6),
            streams_failed: count(Status::Failed),
            streams_skipped: count(Status::Skipped),
            rows_extracted: sum(|stream| stream.rows_extracted),
            inserted: sum(|stream| stream.inserted),
            updated: sum(|stream| stream.updated),
            deleted: sum(|stream| stream.deleted),
            bytes_landed: sum(|stream| stream.bytes_landed),
            streams: synced
                .map(|stream| (stream.stream.clone(), stream.ended_at.trunc_subsecs(0)))
                .collect(),
            ..self.begun.clone()
        };
        let made = [
            (MODELS, report.models_error()),
            (PAGE, report.page_error().map(str::to_owned)),
        ];
        let made = made.into_iter().filter_map(|(what, error)| {
            Some(RunFailure {
                streams: vec![what.to_owned()],
                error: error?,
            })
        });
        run.fail(report.failures().into_iter().chain(made));
        run
    }

    /// What a run has found of each stream, of the models and of the page. An interrupted stream is left out.
    pub(super) fn found(&self, ended: &Result<RunReport>) -> Found {
        // A run that begins has a configuration.
        let well = (CONFIGURATION.to_owned(), None);
        let report = match ended {
            Ok(report) => report,
            Err(Error::Interrupted) => return Found::new(),
            Err(_) if self.is_of_range => return Found::from([well]),
            // The run could not begin: no stream was extracted.
            Err(error) => {
                let error = error.report();
                let streams = self.streams.iter();
                return streams
                    .map(|stream| (stream.to_string(), Some(error.clone())))
                    .chain([well])
                    .collect();
            }
        };
        let mut found = Found::from([well]);
        let of_streams = report.streams.iter().filter(|_| !self.is_of_range);
        found.extend(of_streams.filter_map(StreamReport::found));
        if report.models.is_some() {
            found.insert(MODELS.to_owned(), report.models_error());
        }
        if let Some(page) = &report.page {
            found.insert(PAGE.to_owned(), page.error.clone());
        }
        found
    }

    /// Stores the failures of streams that failed, and removes those of streams that succeeded. An interrupted stream keeps
    /// what it had.
    pub(super) async fn note(&self, found: &Found) {
        if let Err(error) = self.write(found).await {
            tracing::warn!("how the run ended could not be kept: {}", error.report());
        }
    }

    async fn write(&self, found: &Found) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let (landing, pipeline, destination) = (&self.landing, &self.pipeline, &self.destination);
        let before = landing.failures(pipeline, destination).await?;
        for (stream, error) in found {
            // The models and the page are no streams.
            let Ok(stream) = stream.parse::<StreamName>() else {
                continue;
            };
            let before = before.get(&stream);
            let failure = error.as_deref().map(|error| Failure::after(before, error));
            if failure.is_some() || before.is_some() {
                landing
                    .note_failure(pipeline, destination, &stream, failure.as_ref())
                    .await?;
            }
        }
        Ok(())
    }
}
