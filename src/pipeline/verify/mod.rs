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
use super::compare::Comparison;
use super::loader::Loader;
use super::spans::{self, Within};
use super::stream::StreamRun;
use super::wait::{GRACE, given_up_after_a_stop};
use super::{name_stream, named, open_landing};
use crate::config::{Pipeline, PostgresChanges, Stream, StreamSource};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::mode::Disposition;
use crate::names::StreamName;
use crate::position::Position;
use crate::progress::Progress;
use crate::verify::buckets::BUCKETS;
use crate::verify::compare::Found;
use crate::verify::counts::{Counting, is_ordered_alike};
use crate::verify::report::{
    Against, Compared, Outcome, StreamVerification, Verification, VerifyReport,
};

mod changes;
mod landed;
mod repair;
mod rows;
mod since;

/// The options of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// What of the rows is compared.
    pub compared: Compared,
    /// What the tables are compared with.
    pub against: Against,
    /// The part of the rows that is compared, from 0 to 1. `None` for all.
    pub sample: Option<f64>,
    /// The cursor value from which on rows are compared, or how long ago it is. `None` for all rows.
    pub since: Option<String>,
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
        compared: job.options.compared,
        since: job.options.since.clone(),
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
            reports.extend(Box::pin(self.verify_changes(&streams, states)).await);
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
                Against::Landing => Box::pin(self.with_loads(stream, state, &mut report)).await,
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
            compared: self.options.compared,
            sample: self.options.sample.unwrap_or(1.0),
            since: self.options.since.clone(),
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
            range: None,
            running: Running::default(),
            counters: self.options.progress.add(&stream.name),
            stop: self.options.interrupt.child_token(),
            within: Within::of(Span::current()),
            lineage: None,
        }
    }

    /// Compares what was asked for, and writes it into the report.
    async fn compare(
        &self,
        stream: &Stream,
        comparison: &Comparison<'_>,
        report: &mut StreamVerification,
    ) -> Result<Found> {
        if self.options.compared == Compared::Counts {
            let counting = counting(stream, comparison);
            let show = self.options.show > 0;
            comparison.count(&counting, show, report).await?;
            return Ok(Found::default());
        }
        comparison.run(self.options.show, report).await
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

/// What of a comparison's rows is counted.
fn counting(stream: &Stream, comparison: &Comparison<'_>) -> Counting {
    let codec = &comparison.codec;
    let columns = codec.columns();
    // Rows stay as they first came: but for the key their values are older ones.
    let are_first = stream.disposition() == Disposition::InsertOnly;
    let key = codec.key_names();
    let cursor = stream.table_cursor().filter(|_| !are_first);
    let bounds = cursor.or_else(|| key.first().map(String::as_str));
    let bounds = columns
        .iter()
        .find(|column| Some(column.name.as_str()) == bounds)
        .filter(|column| {
            is_ordered_alike(&column.column_type)
                && comparison
                    .schema
                    .column(&column.name)
                    .is_none_or(|of_source| is_ordered_alike(&of_source.column_type))
        });
    Counting {
        columns: columns
            .iter()
            .filter(|column| !are_first || key.contains(&column.name))
            .cloned()
            .collect(),
        next_run: codec.next_run().cloned(),
        bounds: bounds.cloned(),
        left_out: codec.left_out().map(str::to_owned),
    }
}

fn never_loaded() -> Error {
    Error::destination("the destination has no rows of the stream yet")
        .remedy("run `acequia run STREAM` first")
}
