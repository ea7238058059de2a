//! A replay: it builds a destination from the landing area alone, without asking a source.
//!
//! [`lineage`](crate::landing::lineage) chooses the loads: the newest chain of loads, from the load that rebuilds the table
//! on, or the loads that follow the destination's position. Each load is applied as in a run
//! ([`load_step`](super::load_step)), with its position, so the next run continues after the last of them. A position in
//! the write-ahead log keeps the name of its slot: a run that uses another slot takes a new snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Instant;

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::load_step::LoadStep;
use super::loader::Loader;
use super::report::{RunReport, Status, StreamReport};
use super::wait::{GRACE, given_up_after_a_stop};
use super::{name_stream, open_landing, spans};
use crate::config::{Pipeline, Stream};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::evolution::SchemaContract;
use crate::landing::inventory::{LoadContent, StoredLoad};
use crate::landing::lineage::{Gap, Head, Lineage};
use crate::landing::manifest::Manifest;
use crate::landing::{Landing, LoadAddress};
use crate::names::{LoadId, StreamName};
use crate::position::Position;
use crate::progress::{Phase, Progress};

/// The options of a replay.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// The loads to apply. Empty for all loads that can be applied.
    pub loads: Vec<LoadId>,
    /// How many streams are replayed at once.
    pub jobs: NonZeroUsize,
    /// The caller cancels this token to stop the replay. Changes that are not committed by then are undone.
    pub interrupt: CancellationToken,
    /// Counts the replay's progress, to be shown.
    pub progress: Progress,
}

/// The options of a replay of all loads that can be applied, with as many streams at once as in a run.
impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            loads: Vec::new(),
            jobs: super::default_jobs(),
            interrupt: CancellationToken::new(),
            progress: Progress::default(),
        }
    }
}

/// Applies the landed loads of the pipeline's streams, or the requested loads. If one stream fails, the others continue.
///
/// # Errors
/// The replay could not begin at all: a requested load does not exist, or the landing area or the destination cannot be
/// opened.
pub async fn replay(pipeline: Pipeline, options: ReplayOptions) -> Result<RunReport> {
    let span = spans::replay(&pipeline);
    let ended = replay_all(pipeline, options).instrument(span.clone()).await;
    spans::run_ended(&span, &ended);
    ended
}

async fn replay_all(pipeline: Pipeline, options: ReplayOptions) -> Result<RunReport> {
    let began = Instant::now();
    let landing = open_landing(&pipeline)?;
    let asked = find(&landing, &pipeline, &options.loads).await?;
    let opened = Loader::open(&pipeline, &landing, &options.interrupt);
    let (loader, warnings) = opened.await?;
    let states = given_up_after_a_stop(
        &options.interrupt,
        GRACE,
        loader.call(|destination| destination.states()),
    )
    .await?;
    let replays: Vec<StreamReplay> = pipeline
        .streams
        .iter()
        .filter(|stream| asked.is_empty() || asked.contains_key(&stream.name))
        .map(|stream| StreamReplay {
            pipeline: pipeline.name.clone(),
            stream: stream.clone(),
            asked: asked.get(&stream.name).cloned(),
            state: states.get(&stream.name).cloned(),
            step: LoadStep {
                landing: landing.clone(),
                loader: loader.clone(),
                // The contract was checked when the loads were extracted.
                contract: SchemaContract::Evolve,
                layout: stream.layout.clone(),
                hooks: stream.hooks.clone(),
                counters: options.progress.add(&stream.name),
                stop: options.interrupt.child_token(),
            },
        })
        .collect();
    let mut streams: Vec<StreamReport> = stream::iter(replays)
        .map(StreamReplay::run)
        .buffered(options.jobs.get())
        .collect()
        .await;
    if let Some(report) = streams.first_mut() {
        report.warnings.extend(warnings);
    }
    loader.release().await?;
    Ok(RunReport {
        pipeline: pipeline.name,
        destination: pipeline.destination.name,
        streams,
        models: None,
        page: None,
        notices: Vec::new(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// The requested loads, by stream.
async fn find(
    landing: &Landing,
    pipeline: &Pipeline,
    loads: &[LoadId],
) -> Result<BTreeMap<StreamName, BTreeSet<LoadId>>> {
    let mut found: BTreeMap<StreamName, BTreeSet<LoadId>> = BTreeMap::new();
    for load_id in loads {
        let Some(LoadAddress { stream, .. }) = landing.find(&pipeline.name, load_id).await? else {
            return Err(Error::config(format!(
                "there is no load {load_id} in {}",
                landing.location()
            ))
            .remedy("`acequia landing list` tells those that there are"));
        };
        if !pipeline.streams.iter().any(|known| known.name == stream) {
            return Err(Error::config(format!(
                "load {load_id} is of the stream {stream}, which is not among those to replay"
            ))
            .remedy("name that stream as well, or leave the load out"));
        }
        found.entry(stream).or_default().insert(load_id.clone());
    }
    Ok(found)
}

/// One stream of a replay.
struct StreamReplay {
    pipeline: StreamName,
    stream: Stream,
    /// The loads to apply, unless all are to be applied.
    asked: Option<BTreeSet<LoadId>>,
    state: Option<StreamState>,
    step: LoadStep,
}

impl StreamReplay {
    /// Applies the stream's loads, and returns a report.
    async fn run(self) -> StreamReport {
        let span = spans::stream(&self.stream);
        let report = self.run_within().instrument(span.clone()).await;
        spans::stream_ended(&span, &report);
        report
    }

    async fn run_within(mut self) -> StreamReport {
        let began = Instant::now();
        let mut report = StreamReport::skipped(&self.stream.name, self.stream.mode());
        report.position_before = self.position().map(Position::brief);
        self.step.counters.enter(Phase::Extracting);
        let ended = if self.step.stop.is_cancelled() {
            Err(Error::Interrupted)
        } else {
            let stop = self.step.stop.clone();
            given_up_after_a_stop(&stop, GRACE, Box::pin(self.apply_all(&mut report))).await
        };
        report.position_after = self.position().map(Position::brief);
        report.seconds = began.elapsed().as_secs_f64();
        match ended {
            Ok(()) => {
                report.status = Status::Ok;
                self.step.counters.enter(Phase::Done);
            }
            Err(error) => {
                let error = if self.step.stop.is_cancelled() {
                    Error::Interrupted
                } else {
                    name_stream(error, &self.stream).context(format!("stream {}", self.stream.name))
                };
                report.fail(&error);
                self.step.counters.enter(Phase::Failed);
            }
        }
        report
    }

    async fn apply_all(&mut self, report: &mut StreamReport) -> Result<()> {
        let landed_loads = self
            .step
            .landing
            .inventory(&self.pipeline, &self.stream.name)
            .await?;
        let lineage = Lineage::new(&landed_loads);
        if self.asked.is_some() {
            for holding in self.asked_for(&lineage).await? {
                self.apply(holding, report).await?;
            }
        } else {
            let standing = Head {
                destination: self.step.loader.id(),
                load_id: self.state.as_ref().map(|state| &state.load_id),
            };
            let choice = lineage.choose(&standing);
            let diverged = choice.diverged.map(aside);
            for holding in choice.loads {
                self.apply(holding, report).await?;
            }
            if !choice.gaps.is_empty() {
                return Err(incomplete(&choice.gaps));
            }
            if self.state.is_none() {
                return Err(
                    Error::landing("there is no load of the stream in the landing area").remedy(
                        "`acequia run STREAM` lands one; or name only the streams to replay",
                    ),
                );
            }
            report.warnings.extend(diverged);
        }
        self.tell_of_slot(report);
        Ok(())
    }

    /// The requested loads that the ledger does not have yet.
    async fn asked_for<'a>(&self, lineage: &Lineage<'a>) -> Result<Vec<&'a StoredLoad>> {
        let name = self.stream.name.clone();
        let loader = &self.step.loader;
        let done = loader.call(move |ledger| ledger.loaded(&name)).await?;
        let asked = self.asked.iter().flatten();
        let asked: BTreeSet<&LoadId> = asked.filter(|load_id| !done.contains(load_id)).collect();
        lineage
            .named(&asked, self.state.as_ref().map(|state| &state.load_id))
            .map_err(|gap| {
                let fault = Error::landing(gap.to_string());
                match gap {
                    Gap::NotSelected { load_id, .. } => {
                        fault.remedy(format!("add `--load {load_id}`, or leave the ids out"))
                    }
                    Gap::Missing { .. } | Gap::Damaged { .. } => fault.remedy(RESTORE),
                }
            })
    }

    async fn apply(&mut self, holding: &StoredLoad, report: &mut StreamReport) -> Result<()> {
        let LoadContent::Complete(manifest) = &holding.content else {
            return Err(Error::internal("a load without all its parts was chosen"));
        };
        if self.step.stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if manifest.table != self.stream.table {
            return Err(Error::landing(format!(
                "load {} was landed for the table {}, and the stream's is {} now",
                manifest.load_id, manifest.table, self.stream.table
            ))
            .remedy(format!(
                "set destination_table = \"{}\" for the stream to replay it; or have `acequia run STREAM --full-refresh` \
                 read everything anew",
                manifest.table
            )));
        }
        self.catch_up(manifest).await?;
        let applied = self
            .step
            .apply(&holding.address, manifest.as_ref().clone(), report);
        let span = spans::load(&self.stream.name, &holding.address.load_id);
        let applied = spans::within(span, applied).await;
        self.state = applied.map_err(|error| match error {
            error @ Error::Damaged(_) => error.remedy(RESTORE),
            error => error,
        })?;
        report.mode = manifest.mode;
        Ok(())
    }

    /// A run without new rows advances its position without a load. The next load then begins after the end of the load
    /// before it, although no load is missing between them.
    async fn catch_up(&self, manifest: &Manifest) -> Result<()> {
        let Some(state) = self.state.as_ref().filter(|_| !manifest.rebuilds()) else {
            return Ok(());
        };
        let (Some(before), Some(after)) = (&state.position, &manifest.position_before) else {
            return Ok(());
        };
        if before == after || manifest.previous.as_ref() != Some(&state.load_id) {
            return Ok(());
        }
        let name = self.stream.name.clone();
        let (before, after) = (before.clone(), after.clone());
        let loader = &self.step.loader;
        loader
            .call(move |destination| destination.advance(&name, &before, &after))
            .await
    }

    fn tell_of_slot(&self, report: &mut StreamReport) {
        if let Some(position) = self.position().and_then(Position::lsn) {
            report.warnings.push(format!(
                "its position belongs to the replication slot {}: unless that is this destination's own slot, the next run \
                 takes a new snapshot",
                position.slot
            ));
        }
    }

    fn position(&self) -> Option<&Position> {
        self.state.as_ref()?.position.as_ref()
    }
}

const RESTORE: &str = "restore it from a copy of the landing area and replay again; or have `acequia run STREAM` read from \
                       the source what came since";

fn incomplete(gaps: &[Gap]) -> Error {
    let gaps: Vec<String> = gaps.iter().map(ToString::to_string).collect();
    Error::landing(gaps.join("; ")).remedy(RESTORE)
}

fn aside(load_id: &LoadId) -> String {
    format!(
        "the landing area has newer loads, up to {load_id}, that do not follow on what this destination has: they were left \
         alone"
    )
}
