//! A run: every stream of a pipeline is extracted, landed and loaded, several at a time, each independently of the others.
//!
//! `stream` is the path of one stream; `replication` has what streams of changes share on it. A run begins with `recovery`
//! and ends with `prune` and `record`. `load_step` loads a landed load into the destination, and `loader` is the
//! destination's thread; `missing` deletes what the source has no more; `ranges` says of which streams a range can be read again. `models` are built of what was loaded. `replay` loads from the landing area alone; `check`, `plan`, `status` and `landed_loads` only
//! read; `report` says what a run did; `verify` compares tables with their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use chrono::TimeDelta;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::iter as stream_of;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::config::{self, Pipeline, PostgresChanges, StreamSource};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::metrics::endpoint::Endpoint;
use crate::metrics::{Meters, Samples};
use crate::names::StreamName;
use crate::position::AskedRange;
use crate::source::Source;
use crate::source::postgres::Postgres;

mod ahead;
pub mod check;
mod compare;
mod contained;
pub mod discover;
mod follow;
pub mod landed_loads;
pub mod live_page;
mod load_step;
mod loader;
mod metrics;
mod missing;
pub mod models;
mod notices;
mod openlineage;
pub mod page;
pub mod plan;
pub mod prune;
mod ranges;
mod reading;
mod reconnect;
mod record;
mod recovery;
pub mod replay;
mod replication;
pub mod report;
mod retry;
pub mod runs;
mod shape_step;
mod slot_owner;
mod spans;
pub mod status;
mod stream;
mod stream_task;
pub mod tables;
pub mod teardown;
pub mod verify;
mod wait;
mod watch;

use crate::progress::Progress;
use ahead::Running;
pub use follow::{FollowEvent, FollowObserver};
use loader::Loader;
use metrics::Measured;
use models::ModelsStep;
use notices::Notices;
pub use notices::notice_of_configuration;
use openlineage::Lineage;
use page::PageStep;
use record::Record;
use replication::ReplicationRun;
use report::{RunReport, StreamReport};
use spans::Within;
use stream::{StreamRun, Then};
use wait::{GRACE, beside, given_up_after_a_stop};
use watch::Watch;

/// The options of a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Whether every stream is read from the beginning, and its table rebuilt.
    pub full_refresh: bool,
    /// How many streams are extracted at once.
    pub jobs: NonZeroUsize,
    /// The caller cancels this token to stop the run. Changes that are not committed by then are undone.
    pub interrupt: CancellationToken,
    /// Counts the run's progress, to be shown.
    pub progress: Progress,
    /// Says what the run measures, to whoever asks.
    pub meters: Meters,
    /// If it is set, streams of changes are followed until the run is stopped, and the observer is called for each batch.
    pub follow: Option<FollowObserver>,
    /// Whether the pipeline's models are built after the loads.
    pub models: bool,
    /// Whether streams that delete rows which their source has no more look for such rows now, due or not.
    pub delete_missing: bool,
    /// If it is set, this range of each stream is read again and replaced, and nothing else is read. All streams have to be
    /// incremental ones of PostgreSQL.
    pub range: Option<AskedRange>,
}

/// The most streams that are extracted at once by default: more do not make one destination faster.
const MAX_JOBS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// The options of an ordinary run: as many streams at once as there are processors, at most four.
impl Default for RunOptions {
    fn default() -> Self {
        Self {
            full_refresh: false,
            jobs: default_jobs(),
            interrupt: CancellationToken::new(),
            progress: Progress::default(),
            meters: Meters::default(),
            follow: None,
            models: true,
            delete_missing: false,
            range: None,
        }
    }
}

fn default_jobs() -> NonZeroUsize {
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |jobs| jobs.min(MAX_JOBS))
}

/// Runs every stream of the pipeline, `jobs` at a time. If one stream fails, the others continue; the report has the result
/// of each.
///
/// # Errors
/// The run could not begin at all: the landing area or the destination cannot be opened, or a range is asked for of a stream
/// that has none.
pub async fn run(pipeline: Pipeline, options: RunOptions) -> Result<RunReport> {
    let span = spans::run(&pipeline);
    let running = Box::pin(run_within(pipeline, options));
    let ended = running.instrument(span.clone()).await;
    spans::run_ended(&span, &ended);
    ended
}

async fn run_within(pipeline: Pipeline, options: RunOptions) -> Result<RunReport> {
    if let Some(range) = &options.range {
        ranges::refuse(&pipeline, range, &options)?;
    }
    let measured = Measured::of(&pipeline);
    let (metrics, meters) = (pipeline.metrics.clone(), options.meters.clone());
    // A range says nothing of how fresh streams are, which the file is asked for.
    let textfile = metrics
        .as_ref()
        .and_then(|metrics| metrics.textfile.as_deref())
        .filter(|_| options.range.is_none());
    let landing = match open_landing(&pipeline) {
        Ok(landing) => landing,
        Err(error) => {
            let ended = Err(error.clone());
            measured.tell(&ended, textfile, &meters);
            if let Some(sending) = openlineage::begin(&pipeline, None, options.follow.is_some()) {
                sending.finish(&ended, &options.interrupt).await;
            }
            let notices = Notices::of(&pipeline, None, None);
            if let Some(notices) = notices.filter(|_| options.range.is_none()) {
                let failed =
                    |stream: &config::Stream| (stream.name.to_string(), Some(error.report()));
                let found = pipeline.streams.iter().map(failed).collect();
                notices.settle(&found).await;
            }
            return Err(error);
        }
    };
    let follows = options.follow.is_some();
    let record = Record::of(&pipeline, &landing, &options);
    spans::note_run(record.run_id());
    let notices = Notices::of(&pipeline, Some(&landing), Some(record.run_id()));
    let watch = follows.then(|| Arc::new(Watch::default()));
    let listen = metrics.as_ref().and_then(|metrics| metrics.listen);
    let begun = begin(&pipeline, &options, listen.filter(|_| follows)).await;
    let progress = options.progress.clone();
    let stop = options.interrupt.clone();
    let sending = openlineage::begin(&pipeline, Some(record.run_id()), follows);
    let lineage = sending.as_ref().map(openlineage::Sending::lineage);
    let running = run_streams(
        pipeline,
        options,
        landing,
        &record,
        watch.as_ref(),
        lineage.as_ref(),
    );
    let mut ended = match (begun, &watch) {
        (Err(error), _) => Err(error),
        (Ok(endpoint), Some(watch)) => {
            let running = watch.beside(&record, notices.as_ref(), running);
            let (watch, measured) = (Arc::clone(watch), measured.clone());
            meters.measure(move || measured.now(&watch, &progress));
            let asked = meters.clone();
            Box::pin(answering(endpoint, move || asked.samples(), running)).await
        }
        (Ok(_), None) => Box::pin(running).await,
    };
    measured.tell(&ended, textfile, &meters);
    if let Err(error) = &ended {
        record.keep_failed(error).await;
    }
    let found = record.found(&ended);
    record.note(&found).await;
    if let Some(notices) = &notices {
        let told = notices.settle(&found).await;
        if let Ok(report) = &mut ended {
            report.notices = told;
        }
    }
    if let Some(sending) = sending {
        sending.finish(&ended, &stop).await;
    }
    ended
}

/// Refuses what cannot be run, and opens the address where a run that follows answers with its metrics.
async fn begin(
    pipeline: &Pipeline,
    options: &RunOptions,
    listen: Option<SocketAddr>,
) -> Result<Option<Endpoint>> {
    if pipeline.models.is_some() && options.models {
        models::refuse_lake(pipeline)?;
    }
    if options.delete_missing {
        missing::refuse_none(pipeline)?;
    }
    match listen {
        Some(address) => Endpoint::bind(address).await.map(Some),
        None => Ok(None),
    }
}

async fn run_streams(
    pipeline: Pipeline,
    options: RunOptions,
    landing: Landing,
    record: &Record,
    watch: Option<&Arc<Watch>>,
    lineage: Option<&Lineage>,
) -> Result<RunReport> {
    let began = Instant::now();
    let opened = Loader::open(&pipeline, &landing, &options.interrupt);
    let (loader, warnings) = opened.await?;
    tables::note(&pipeline, &landing).await?;
    let asked = loader.call(|destination| destination.states());
    let states = given_up_after_a_stop(&options.interrupt, GRACE, asked).await?;
    let models = ModelsStep::of(&pipeline, &options, &loader).map(Arc::new);
    let pipeline = Arc::new(pipeline);
    let page = PageStep::of(&pipeline, &landing, &loader, &options.interrupt).map(Arc::new);
    let mut alone = Vec::new();
    let mut by_source: BTreeMap<&str, Vec<(usize, &PostgresChanges, StreamRun)>> = BTreeMap::new();
    let runs = stream_runs(&pipeline, &options, &landing, &loader, &states, lineage);
    for (place, (stream, run)) in pipeline.streams.iter().zip(runs).enumerate() {
        match &stream.from {
            // A stream that cannot be read fails alone.
            StreamSource::Changes(changes) if changes.source.is_ok() => {
                let runs = by_source.entry(&stream.source).or_default();
                runs.push((place, changes, run));
            }
            StreamSource::Changes(_) | StreamSource::Rows(_) | StreamSource::HubSpot(_) => {
                alone.push((place, run));
            }
        }
    }
    let without_changes: BTreeSet<&str> = alone
        .iter()
        .map(|(place, _)| source_of(&pipeline, *place))
        .filter(|source| !by_source.contains_key(source))
        .collect();
    let then: Then = match options.range {
        Some(_) => |_, _| Box::pin(async { Ok(()) }),
        None => missing::after(options.delete_missing),
    };
    let mut work: Vec<BoxFuture<'_, Vec<(usize, StreamReport)>>> = Vec::new();
    for (name, runs) in by_source {
        let Some((_, changes, _)) = runs.first() else {
            continue;
        };
        let source = changes.source.as_ref().map_err(Error::clone)?;
        let (places, streams): (Vec<usize>, Vec<(PostgresChanges, StreamRun)>) = runs
            .into_iter()
            .map(|(place, changes, run)| (place, (changes.clone(), run)))
            .unzip();
        let run = ReplicationRun {
            source: Postgres::new(source)?,
            configured: source.replication.streams.clone(),
            streams,
            loader: loader.clone(),
            jobs: options.jobs.get(),
            follow: observer(options.follow.as_ref(), watch, name, &pipeline),
            models: models.clone(),
            page: page.clone(),
            stop: options.interrupt.child_token(),
        };
        work.push(Box::pin(async move {
            places.into_iter().zip(Box::pin(run.run()).await).collect()
        }));
    }
    for (place, run) in alone {
        work.push(Box::pin(async move {
            vec![(place, run_alone(run, then, watch).await)]
        }));
    }
    let working = stream_of(work)
        .buffer_unordered(options.jobs.get())
        .flat_map(stream_of)
        .collect::<Vec<(usize, StreamReport)>>();
    let look = |name| orphaned_slots(&pipeline, name, &options.interrupt);
    let looking = join_all(without_changes.iter().copied().map(look));
    let (mut reports, left) = tokio::join!(working, looking);
    reports.sort_by_key(|(place, _)| *place);
    let found = without_changes.iter().copied().zip(left);
    warn(&pipeline, &mut reports, warnings, found);
    make_of_loads(models.as_deref(), page.as_deref()).await;
    let ended = !options.interrupt.is_cancelled();
    if let Some(retention) = pipeline.retention.filter(|_| ended) {
        let reports = reports.iter_mut().map(|(_, report)| report);
        prune_after(&pipeline, retention, &landing, &loader, reports).await;
    }
    let report = RunReport {
        pipeline: pipeline.name.clone(),
        destination: pipeline.destination.name.clone(),
        streams: reports.into_iter().map(|(_, report)| report).collect(),
        models: models.and_then(|models| models.last()),
        page: page.and_then(|page| page.last()),
        notices: Vec::new(),
        seconds: began.elapsed().as_secs_f64(),
    };
    Watch::end(watch).await;
    record.keep(&report, &loader, &options.interrupt).await;
    close(&loader).await;
    Ok(report)
}

/// A run of each stream.
fn stream_runs(
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    landing: &Landing,
    loader: &Loader,
    states: &BTreeMap<StreamName, StreamState>,
    lineage: Option<&Lineage>,
) -> Vec<StreamRun> {
    let running = Running::default();
    let run = |stream: &config::Stream| StreamRun {
        pipeline: Arc::clone(pipeline),
        stream: stream.clone(),
        landing: landing.clone(),
        loader: loader.clone(),
        state: states.get(&stream.name).cloned(),
        newest: None,
        full_refresh: options.full_refresh,
        range: options.range.clone(),
        running: Arc::clone(&running),
        counters: options.progress.add(&stream.name),
        stop: options.interrupt.child_token(),
        within: Within::of(Span::current()),
        lineage: lineage.map(|lineage| lineage.stream(stream)),
    };
    pipeline.streams.iter().map(run).collect()
}

/// Closes the destination at the end of a run: by then all is committed, and how the run ended is kept.
async fn close(loader: &Loader) {
    if let Err(error) = loader.release().await {
        tracing::warn!("the destination was not closed well: {}", error.report());
    }
}

/// What is made of the destination's rows once the streams are loaded: the models, then the page, which may show them.
async fn make_of_loads(models: Option<&ModelsStep>, page: Option<&PageStep>) {
    if let Some(models) = models {
        models.build().await;
    }
    if let Some(page) = page {
        page.make().await;
    }
}

/// Adds the destination's warnings to the first report, and what was found on each source to that of one of its streams.
fn warn<'a>(
    pipeline: &Pipeline,
    reports: &mut [(usize, StreamReport)],
    warnings: Vec<String>,
    found: impl Iterator<Item = (&'a str, Vec<String>)>,
) {
    if let Some((_, report)) = reports.first_mut() {
        report.warnings.extend(warnings);
    }
    tell_of_tables(pipeline, reports);
    for (source, warnings) in found {
        let of_source =
            |(place, _): &&mut (usize, StreamReport)| source_of(pipeline, *place) == source;
        if let Some((_, report)) = reports.iter_mut().find(of_source) {
            report.warnings.extend(warnings);
        }
    }
}

/// Adds what was found out about the tables of streams with `tables` to the reports: to that of the stream, or to the first.
fn tell_of_tables(pipeline: &Pipeline, reports: &mut [(usize, StreamReport)]) {
    for (stream, note) in pipeline.expansion.notes() {
        let place = stream.map_or(Some(0), |stream| {
            reports
                .iter()
                .position(|(_, report)| report.stream == *stream)
        });
        if let Some((_, report)) = place.and_then(|place| reports.get_mut(place)) {
            report.warnings.push(note.to_owned());
        }
    }
}

/// The name of the source of the stream with that index.
fn source_of(pipeline: &Pipeline, place: usize) -> &str {
    let stream = pipeline.streams.get(place);
    stream.map_or("", |stream| stream.source.as_str())
}

/// Warnings about the pipeline's replication slots on a source whose changes the run does not read. If the source cannot be
/// asked, the run continues: the source's streams report the error.
async fn orphaned_slots(
    pipeline: &Pipeline,
    name: &str,
    interrupt: &CancellationToken,
) -> Vec<String> {
    let look = async {
        match pipeline.sources().remove(name) {
            Some(source) => Source::new(&source?)?.orphaned_slots().await,
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

/// Removes the loads past their retention. A failure is only a warning, as the rows are loaded.
async fn prune_after(
    pipeline: &Pipeline,
    retention: TimeDelta,
    landing: &Landing,
    loader: &Loader,
    reports: impl Iterator<Item = &mut StreamReport>,
) {
    for report in reports {
        let stream = &report.stream;
        let pruned = prune::after_run(&pipeline.name, stream, landing, loader, retention).await;
        if let Err(error) = pruned {
            report.warnings.push(format!(
                "loads past their retention could not be removed: {}",
                error.report()
            ));
        }
    }
}

/// Does the work of a run, and beside it answers who asks for metrics.
async fn answering<T>(
    endpoint: Option<Endpoint>,
    measure: impl Fn() -> Samples + Send + Sync + 'static,
    work: impl Future<Output = T>,
) -> T {
    let Some(endpoint) = endpoint else {
        return work.await;
    };
    beside(
        work,
        |done| async move { endpoint.serve(&done, measure).await },
    )
    .await
}

/// Who is told of the events of a source's streams of changes, in a run that follows.
fn observer(
    user: Option<&FollowObserver>,
    watch: Option<&Arc<Watch>>,
    source: &str,
    pipeline: &Pipeline,
) -> Option<FollowObserver> {
    // A run that follows is watched.
    let (user, watch) = (user?.clone(), watch?);
    let followed = pipeline.streams.iter().filter(|stream| {
        stream.source == source && matches!(stream.from, StreamSource::Changes(_))
    });
    let names = followed.map(|stream| stream.name.clone());
    Some(watch.observer(source, names.collect(), user))
}

/// Runs a stream that is not followed.
async fn run_alone(run: StreamRun, then: Then, watch: Option<&Arc<Watch>>) -> StreamReport {
    let report = Box::pin(run.run_and(then)).await;
    if let Some(watch) = watch {
        watch.ended(&report);
    }
    report
}

fn open_landing(pipeline: &Pipeline) -> Result<Landing> {
    Landing::open(&pipeline.landing)
}

/// Replaces the words STREAM and SOURCE in an error's remedy by the names of the stream and its source.
fn name_stream(error: Error, stream: &config::Stream) -> Error {
    match error.remedy_text() {
        Some(remedy) => {
            let remedy = named(remedy, stream);
            error.remedy(remedy)
        }
        None => error,
    }
}

/// Replaces the words STREAM and SOURCE in a text by the names of the stream and its source.
fn named(text: &str, stream: &config::Stream) -> String {
    text.replace("STREAM", stream.name.as_str())
        .replace("SOURCE", &stream.source)
}
