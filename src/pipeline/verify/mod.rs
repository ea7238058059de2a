//! A verification: the rows of each stream's table are compared with those of its source, or of its loads.
//!
//! The hashing and comparing is [`crate::verify`]'s; here rows are read. [`super::compare`] reads them
//! in several passes. What a stream promises decides what is compared with what: [`rows`] are compared with the source as it is now,
//! [`changes`] with the source as it was at the LSN that the table is brought to, and [`landed`] builds a table of the stream's
//! loads to compare with. [`repair`] mends what differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::ahead::Running;
use super::loader::Loader;
use super::spans::{self, Within};
use super::stream::StreamRun;
use super::wait::{GRACE, given_up_after_a_stop};
use super::{name_stream, named, open_landing};
use crate::config::{Pipeline, PostgresChanges, Stream, StreamSource};
use crate::destination::{Living, StreamState};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::mode::{Deletes, Disposition};
use crate::names::StreamName;
use crate::position::Position;
use crate::progress::Progress;
use crate::verify::buckets::BUCKETS;
use crate::verify::report::{Against, Outcome, StreamVerification, Verification, VerifyReport};

mod changes;
mod landed;
mod repair;
mod rows;

/// The options of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Whether only the keys are compared or, without a key, the numbers of rows.
    pub counts: bool,
    /// What the tables are compared with.
    pub against: Against,
    /// The part of the rows that is compared, from 0 to 1. `None` for all.
    pub sample: Option<f64>,
    /// How many rows that differ are told with their values.
    pub show: usize,
    /// Whether what differs is mended, by a load.
    pub repair: bool,
    /// The caller cancels this token to stop the verification.
    pub interrupt: CancellationToken,
    /// Counts the progress of loads that come before, to be shown.
    pub progress: Progress,
}

/// A verification at work.
struct Job {
    pipeline: Arc<Pipeline>,
    landing: Landing,
    loader: Loader,
    options: VerifyOptions,
    keeps_sign_of_zero: bool,
}

/// Compares the tables of the pipeline's streams with their sources, or with their loads. If one stream cannot be compared, the
/// others are; the report has the result of each.
///
/// # Errors
/// The verification could not begin at all: the landing area or the destination cannot be opened.
pub async fn verify(pipeline: Pipeline, options: VerifyOptions) -> Result<VerifyReport> {
    let span = spans::verify(&pipeline);
    let ended = verify_streams(pipeline, options)
        .instrument(span.clone())
        .await;
    spans::verify_ended(&span, &ended);
    ended
}

async fn verify_streams(pipeline: Pipeline, options: VerifyOptions) -> Result<VerifyReport> {
    let began = Instant::now();
    let landing = open_landing(&pipeline)?;
    let opened = Loader::open(&pipeline, &landing, &options.interrupt);
    let (loader, _warnings) = opened.await?;
    let asked = loader.call(|destination| {
        let states = destination.states()?;
        Ok((states, destination.keeps_sign_of_zero()))
    });
    let (states, keeps_sign_of_zero) =
        given_up_after_a_stop(&options.interrupt, GRACE, asked).await?;
    let job = Job {
        pipeline: Arc::new(pipeline),
        landing,
        loader,
        options,
        keeps_sign_of_zero,
    };
    let mut reports = job.verify_all(&states).await;
    reports.sort_by_key(|(place, _)| *place);
    job.loader.release().await?;
    Ok(VerifyReport {
        pipeline: job.pipeline.name.clone(),
        destination: job.pipeline.destination.name.clone(),
        against: job.options.against,
        streams: reports.into_iter().map(|(_, report)| report).collect(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// A stream of changes, by its place among the pipeline's streams.
type OfChanges<'a> = (usize, &'a PostgresChanges, &'a Stream);

impl Job {
    async fn verify_all(
        &self,
        states: &BTreeMap<StreamName, StreamState>,
    ) -> Vec<(usize, StreamVerification)> {
        let mut reports = Vec::new();
        let mut by_source: BTreeMap<&str, Vec<OfChanges<'_>>> = BTreeMap::new();
        for (place, stream) in self.pipeline.streams.iter().enumerate() {
            match &stream.from {
                StreamSource::Changes(changes) if self.options.against == Against::Source => {
                    let group = by_source.entry(&stream.source).or_default();
                    group.push((place, changes, stream));
                }
                _ => {
                    let report = self.verify_alone(stream, states.get(&stream.name)).await;
                    reports.push((place, report));
                }
            }
        }
        for streams in by_source.into_values() {
            reports.extend(Box::pin(self.verify_changes(&streams)).await);
        }
        reports
    }

    /// Verifies a stream whose rows are read on their own.
    async fn verify_alone(
        &self,
        stream: &Stream,
        state: Option<&StreamState>,
    ) -> StreamVerification {
        let began = Instant::now();
        let span = spans::compare(stream);
        let mut report = StreamVerification::begun(&stream.name, stream.mode());
        let comparing = async {
            if self.options.interrupt.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let state = state.ok_or_else(never_loaded)?;
            report.position = state.position.as_ref().map(Position::brief);
            match self.options.against {
                Against::Source => Box::pin(self.with_source(stream, state, &mut report)).await,
                Against::Landing => self.with_loads(stream, state, &mut report).await,
            }
        };
        let comparing = Box::pin(comparing.instrument(span.clone()));
        let ended = given_up_after_a_stop(&self.options.interrupt, GRACE, comparing).await;
        let report = self.end(stream, report, began, ended).await;
        spans::compared(&span, &report);
        report
    }

    /// Completes a stream's report, and writes it down in the destination.
    async fn end(
        &self,
        stream: &Stream,
        mut report: StreamVerification,
        began: Instant,
        ended: Result<()>,
    ) -> StreamVerification {
        report.seconds = began.elapsed().as_secs_f64();
        for note in &mut report.notes {
            *note = named(note, stream);
        }
        if let Err(error) = ended {
            let error = if self.options.interrupt.is_cancelled() {
                Error::Interrupted
            } else {
                name_stream(error, stream).context(format!("stream {}", stream.name))
            };
            report.result = Outcome::Failed;
            report.error = Some(error.report());
            return report;
        }
        let verification = Verification {
            verified_at: Utc::now(),
            against: self.options.against,
            sample: self.options.sample.unwrap_or(1.0),
            result: report.clone(),
        };
        let noting = self
            .loader
            .call(move |destination| destination.note_verification(&verification));
        if let Err(error) = noting.await {
            let error = error.report();
            report.notes.push(format!(
                "the verification could not be written down in the destination: {error}"
            ));
        }
        report
    }

    /// What lands and loads rows of a stream.
    fn stream_run(&self, stream: &Stream, state: Option<StreamState>) -> StreamRun {
        StreamRun {
            pipeline: Arc::clone(&self.pipeline),
            stream: stream.clone(),
            landing: self.landing.clone(),
            loader: self.loader.clone(),
            state,
            newest: None,
            full_refresh: false,
            running: Running::default(),
            counters: self.options.progress.add(&stream.name),
            stop: self.options.interrupt.child_token(),
            within: Within::of(Span::current()),
            lineage: None,
        }
    }

    /// How many buckets are compared.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is a part of the number of buckets"
    )]
    fn sampled(&self) -> usize {
        match self.options.sample {
            Some(part) => ((part * BUCKETS as f64).ceil() as usize).clamp(1, BUCKETS),
            None => BUCKETS,
        }
    }
}

/// Which rows of a stream's table are compared with rows of its source.
fn living(stream: &Stream) -> Living {
    let changes = stream.changes();
    if stream.disposition() == Disposition::Scd2 {
        Living::Current
    } else if changes.is_some_and(|changes| changes.deletes == Deletes::Soft) {
        Living::NotDeleted
    } else {
        Living::All
    }
}

fn never_loaded() -> Error {
    Error::destination("the destination has no rows of the stream yet")
        .remedy("run `acequia run STREAM` first")
}
