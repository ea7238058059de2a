//! A run: every stream of a pipeline taken along the one path, several at a time, each on its own.
//!
//! `stream` is the path itself, `replication` what streams of changes share on it; `recovery` is what a run does
//! first, `prune` and `record` what it does last; `load_step` takes a landed load into the destination, and `loader` is that one's
//! thread; `replay` goes the path from the landing area on; `check`, `plan`, `status` and `landed_loads` look without
//! touching; `progress` and `report` tell what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use chrono::TimeDelta;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::iter as stream_of;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Pipeline};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::mode::Mode;
use crate::names::StreamName;
use crate::source::Source;
use crate::source::postgres::Postgres;

pub mod check;
pub mod landed_loads;
mod load_step;
mod loader;
pub mod plan;
pub mod prune;
mod reconnect;
mod record;
mod recovery;
pub mod replay;
mod replication;
pub mod report;
mod slot_owner;
pub mod status;
mod stream;
pub mod teardown;
mod wait;

use crate::progress::Progress;
use loader::Loader;
use record::Record;
use replication::ReplicationRun;
pub use replication::{FollowEvent, FollowObserver};
use report::{RunReport, StreamReport};
use stream::StreamRun;

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
    /// Whether streams of changes go on until the run is stopped, and who is told of each of their batches then.
    pub follow: Option<FollowObserver>,
}

/// More streams than this at once do not make one destination faster.
const MAX_JOBS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// A run of what is new, as many streams at once as there are processors, up to four.
impl Default for RunOptions {
    fn default() -> Self {
        Self {
            full_refresh: false,
            jobs: default_jobs(),
            interrupt: CancellationToken::new(),
            progress: Progress::default(),
            follow: None,
        }
    }
}

fn default_jobs() -> NonZeroUsize {
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |jobs| jobs.min(MAX_JOBS))
}

/// Carries every stream of the pipeline, `jobs` at a time. One stream's failure does not stop the others: the report
/// says how each ended.
///
/// # Errors
/// Where the run could not begin at all: the landing area or the destination cannot be opened.
pub async fn run(pipeline: Pipeline, options: RunOptions) -> Result<RunReport> {
    let landing = open_landing(&pipeline)?;
    let record = Record::of(&pipeline, &landing);
    let ended = run_streams(pipeline, options, landing).await;
    record.note(&ended).await;
    ended
}

async fn run_streams(
    pipeline: Pipeline,
    options: RunOptions,
    landing: Landing,
) -> Result<RunReport> {
    let began = Instant::now();
    let opened = Loader::open(&pipeline, &landing, &options.interrupt);
    let (loader, warnings) = opened.await?;
    let states = loader.call(|destination| destination.states()).await?;
    let pipeline = Arc::new(pipeline);
    let mut alone = Vec::new();
    let mut by_source: BTreeMap<&str, Vec<(usize, StreamRun)>> = BTreeMap::new();
    for (place, stream) in pipeline.streams.iter().enumerate() {
        let run = StreamRun {
            pipeline: Arc::clone(&pipeline),
            stream: stream.clone(),
            landing: landing.clone(),
            loader: loader.clone(),
            state: states.get(&stream.name).cloned(),
            newest: None,
            full_refresh: options.full_refresh,
            counters: options.progress.add(&stream.name),
            stop: options.interrupt.child_token(),
        };
        if stream.mode == Mode::Cdc {
            let runs = by_source.entry(&stream.source).or_default();
            runs.push((place, run));
        } else {
            alone.push((place, run));
        }
    }
    let without_changes: BTreeSet<&str> = alone
        .iter()
        .map(|(place, _)| source_of(&pipeline, *place))
        .filter(|source| !by_source.contains_key(source))
        .collect();
    let mut work: Vec<BoxFuture<'_, Vec<(usize, StreamReport)>>> = Vec::new();
    for (source, runs) in by_source {
        let (places, streams): (Vec<usize>, Vec<StreamRun>) = runs.into_iter().unzip();
        let (source, configured) = replicated(&pipeline, source)?;
        let run = ReplicationRun {
            source,
            configured,
            streams,
            loader: loader.clone(),
            jobs: options.jobs.get(),
            follow: options.follow.clone(),
            stop: options.interrupt.child_token(),
        };
        work.push(Box::pin(async move {
            places.into_iter().zip(Box::pin(run.run()).await).collect()
        }));
    }
    for (place, run) in alone {
        work.push(Box::pin(
            async move { vec![(place, Box::pin(run.run()).await)] },
        ));
    }
    let working = stream_of(work)
        .buffer_unordered(options.jobs.get())
        .flat_map(stream_of)
        .collect::<Vec<(usize, StreamReport)>>();
    let look = |name| orphaned_slots(&pipeline, name, &options.interrupt);
    let looking = join_all(without_changes.iter().copied().map(look));
    let (mut reports, left) = tokio::join!(working, looking);
    reports.sort_by_key(|(place, _)| *place);
    if let Some((_, report)) = reports.first_mut() {
        report.warnings.extend(warnings);
    }
    for (source, warnings) in without_changes.iter().zip(left) {
        let of_source =
            |(place, _): &&mut (usize, StreamReport)| source_of(&pipeline, *place) == *source;
        if let Some((_, report)) = reports.iter_mut().find(of_source) {
            report.warnings.extend(warnings);
        }
    }
    let ended = !options.interrupt.is_cancelled();
    if let Some(retention) = pipeline.retention.filter(|_| ended) {
        for (_, report) in &mut reports {
            prune_after(&pipeline, retention, &landing, &loader, report).await;
        }
    }
    loader.release().await?;
    Ok(RunReport {
        pipeline: pipeline.name.clone(),
        destination: pipeline.destination.name.clone(),
        streams: reports.into_iter().map(|(_, report)| report).collect(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// The source of the stream at a place of the configuration.
fn source_of(pipeline: &Pipeline, place: usize) -> &str {
    let stream = pipeline.streams.get(place);
    stream.map_or("", |stream| stream.source.as_str())
}

/// What the pipeline left on a source of which the run reads no changes. Where that cannot be told, the run goes on: what
/// hinders it otherwise its streams tell.
async fn orphaned_slots(
    pipeline: &Pipeline,
    name: &str,
    interrupt: &CancellationToken,
) -> Vec<String> {
    let look = async {
        match pipeline.sources.get(name) {
            Some(source) => Source::new(source)?.orphaned_slots().await,
            None => Ok(Vec::new()),
        }
    };
    let looked = tokio::select! {
        looked = look => looked,
        () = interrupt.cancelled() => return Vec::new(),
    };
    looked.unwrap_or_else(|error: Error| {
        tracing::debug!(source = name, error = %error.report(), "cannot look for what was left behind");
        Vec::new()
    })
}

/// The source of streams of changes, and all of its streams of changes in the configuration.
fn replicated(pipeline: &Pipeline, name: &str) -> Result<(Postgres, Vec<StreamName>)> {
    match pipeline.sources.get(name) {
        Some(config::Source::Postgres {
            url,
            replication,
            reader,
        }) => Ok((
            Postgres::new(url, replication, *reader)?,
            replication.streams.clone(),
        )),
        _ => Err(Error::internal(
            "a stream of changes of a source that has none",
        )),
    }
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

/// Replaces the words STREAM and SOURCE in a remedy by the names of the stream and its source.
fn name_stream(error: Error, stream: &config::Stream) -> Error {
    match error.remedy_text() {
        Some(remedy) => {
            let remedy = named(remedy, stream);
            error.remedy(remedy)
        }
        None => error,
    }
}

/// A text with the words STREAM and SOURCE replaced by the names of the stream and its source.
fn named(text: &str, stream: &config::Stream) -> String {
    text.replace("STREAM", stream.name.as_str())
        .replace("SOURCE", &stream.source)
}
