//! A run: every stream of a pipeline taken along the one path, several at a time, each on its own.
//!
//! `stream` is the path itself; `recovery` is what a run does first; `loader` is the destination's thread; `check`, `plan`
//! and `status` look without touching; `progress` and `report` tell what happened.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::landing::Landing;

pub mod check;
mod loader;
pub mod plan;
pub mod progress;
mod recovery;
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
