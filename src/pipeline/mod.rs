//! A run: every stream of a pipeline taken along the one path, several at a time, each on its own.
//!
//! `stream_run` is the path itself; `recovery` is what a run does first, `prune` what it does last; `load_step` takes a
//! landed load into the destination, and `loader` is that one's thread; `replay` goes the path from the landing area on;
//! `check`, `plan`, `status` and `holdings` look without touching; `progress` and `report` tell what happened.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::landing::Landing;

pub mod check;
pub mod holdings;
mod load_step;
mod loader;
pub mod plan;
pub mod progress;
pub mod prune;
mod recovery;
pub mod replay;
pub mod report;
pub mod status;
mod stream_run;

use loader::Loader;
use progress::Progress;
use report::{RunReport, StreamReport};
use stream_run::StreamRun;

/// How a run is to be done.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Whether every stream is read from the beginning and its table made anew.
    pub full_refresh: bool,
    /// How many streams are extracted at once.
    pub jobs: NonZeroUsize,
    /// Cancelled to stop the run. What was not committed then is as if it had not begun.
    pub interrupt: CancellationToken,
    /// Where the run shows how far it is.
    pub progress: Progress,
}

/// Carries every stream of the pipeline, `jobs` at a time. One stream's failure does not stop the others: the report
/// says how each ended.
///
/// # Errors
/// Where the run could not begin at all: the landing area or the destination cannot be opened.
pub async fn run(pipeline: Pipeline, options: RunOptions) -> Result<RunReport> {
    let began = Instant::now();
    let landing = open_landing(&pipeline)?;
    let (loader, closed) = Loader::open(&pipeline.destination, &pipeline.dataset).await?;
    let states = loader.call(|destination| destination.states()).await?;
    let pipeline = Arc::new(pipeline);
    let runs = pipeline.streams.iter().map(|stream| StreamRun {
        pipeline: Arc::clone(&pipeline),
        stream: stream.clone(),
        landing: landing.clone(),
        loader: loader.clone(),
        state: states.get(&stream.name).cloned(),
        full_refresh: options.full_refresh,
        counters: options.progress.add(&stream.name),
        stop: options.interrupt.child_token(),
    });
    let runs: Vec<StreamRun> = runs.collect();
    let mut reports: Vec<(usize, StreamReport)> = stream::iter(runs.into_iter().enumerate())
        .map(|(place, run)| async move { (place, run.carry().await) })
        .buffer_unordered(options.jobs.get())
        .collect()
        .await;
    reports.sort_by_key(|(place, _)| *place);
    let ended = !options.interrupt.is_cancelled();
    if let Some(retention) = pipeline.retention.filter(|_| ended) {
        for (_, report) in &mut reports {
            prune_after(&pipeline, retention, &landing, &loader, report).await;
        }
    }
    drop(loader);
    closed.await.map_err(|error| {
        Error::internal("the destination's thread ended unexpectedly").cause(error)
    })?;
    Ok(RunReport {
        pipeline: pipeline.name.clone(),
        destination: pipeline.destination.name.clone(),
        streams: reports.into_iter().map(|(_, report)| report).collect(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Removes what is past its retention. The rows are where they should be, so a failure is no more than a warning.
async fn prune_after(
    pipeline: &Pipeline,
    retention: TimeDelta,
    landing: &Landing,
    loader: &Loader,
    report: &mut StreamReport,
) {
    let stream = &report.stream;
    if let Err(error) = prune::after_run(&pipeline.name, stream, landing, loader, retention).await {
        report.warnings.push(format!(
            "loads past their retention could not be removed: {}",
            error.report()
        ));
    }
}

fn open_landing(pipeline: &Pipeline) -> Result<Landing> {
    Landing::open(&pipeline.landing)
}

/// Replaces the word STREAM in a remedy by the stream's name.
fn name_stream(error: Error, stream: &crate::names::StreamName) -> Error {
    match error.remedy_text() {
        Some(remedy) if remedy.contains("STREAM") => {
            let remedy = remedy.replace("STREAM", stream.as_str());
            error.remedy(remedy)
        }
        _ => error,
    }
}
