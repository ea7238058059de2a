//! What is measured of a run: when it is over, and while it follows.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::report::{RunReport, Status};
use super::watch::Watch;
use crate::config::Pipeline;
use crate::error::Result;
use crate::metrics::definitions::{
    BATCHES, BYTES_TOTAL, CHANGES, CONNECTED, DELETED, EXTRACTED, INSERTED, LAG, LANDED, RETRIES,
    ROWS_TOTAL, RUN_ENDED, RUN_STARTED, RUN_SUCCESS, SECONDS, SUCCESS, SYNCED, UPDATED,
};
use crate::metrics::{Meters, Samples, textfile};
use crate::names::StreamName;
use crate::progress::Progress;

/// Whom the values are of.
#[derive(Clone)]
pub(super) struct Measured {
    pipeline: StreamName,
    destination: String,
    streams: Vec<StreamName>,
    began: DateTime<Utc>,
}

impl Measured {
    /// A run that begins now.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        Self {
            pipeline: pipeline.name.clone(),
            destination: pipeline.destination.name.clone(),
            streams: pipeline.streams.iter().map(|s| s.name.clone()).collect(),
            began: Utc::now(),
        }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [
            ("pipeline", self.pipeline.as_str()),
            ("destination", self.destination.as_str()),
        ]
    }

    fn with<'a>(&'a self, name: &'static str, value: &'a str) -> [(&'static str, &'a str); 3] {
        let [pipeline, destination] = self.labels();
        [pipeline, destination, (name, value)]
    }

    /// Says what a run that is over was: in a file, if there is to be one, and to whoever asks. A failure is told, and is none of
    /// the run's.
    pub(super) fn tell(&self, ended: &Result<RunReport>, textfile: Option<&Path>, meters: &Meters) {
        let of_run = self.of_run(ended);
        if let Some(path) = textfile
            && let Err(error) = textfile::write(&of_run, path)
        {
            tracing::warn!("{}", error.report());
        }
        // What was counted while it followed is so still.
        let mut last = meters.samples();
        last.extend(of_run);
        meters.measure(move || last.clone());
    }

    fn of_run(&self, ended: &Result<RunReport>) -> Samples {
        let mut samples = Samples::default();
        for metric in [
            SUCCESS, SYNCED, SECONDS, EXTRACTED, INSERTED, UPDATED, DELETED, LANDED, RETRIES,
        ] {
            samples.declare(metric);
        }
        let is_ok = ended.as_ref().is_ok_and(RunReport::is_ok);
        for (metric, value) in [
            (RUN_SUCCESS, flag(is_ok)),
            (RUN_STARTED, seconds(self.began)),
            (RUN_ENDED, seconds(Utc::now())),
        ] {
            samples.add(metric, &self.labels(), value);
        }
        let Ok(report) = ended else {
            for stream in &self.streams {
                samples.add(SUCCESS, &self.with("stream", stream.as_str()), 0.0);
            }
            return samples;
        };
        for stream in &report.streams {
            let labels = self.with("stream", stream.stream.as_str());
            if stream.status == Status::Skipped {
                continue;
            }
            let is_ok = stream.status == Status::Ok;
            samples.add(SUCCESS, &labels, flag(is_ok));
            if is_ok {
                samples.add(SYNCED, &labels, seconds(stream.ended_at));
            }
            for (metric, value) in [
                (EXTRACTED, stream.rows_extracted),
                (INSERTED, stream.inserted),
                (UPDATED, stream.updated),
                (DELETED, stream.deleted),
                (LANDED, stream.bytes_landed),
                (RETRIES, u64::from(stream.retries)),
            ] {
                samples.add(metric, &labels, count(value));
            }
            samples.add(SECONDS, &labels, stream.seconds);
        }
        samples
    }

    /// What a run that follows is at.
    pub(super) fn now(&self, watch: &Watch, progress: &Progress) -> Samples {
        let mut samples = Samples::default();
        samples.add(RUN_STARTED, &self.labels(), seconds(self.began));
        let (found, current) = watch.now();
        for (stream, error) in &found {
            let labels = self.with("stream", stream);
            samples.add(SUCCESS, &labels, flag(error.is_none()));
        }
        for stream in &current {
            let labels = self.with("stream", stream.as_str());
            samples.add(SYNCED, &labels, seconds(Utc::now()));
        }
        for stream in progress.snapshot() {
            let labels = self.with("stream", stream.stream.as_str());
            samples.add(ROWS_TOTAL, &labels, count(stream.rows));
            samples.add(BYTES_TOTAL, &labels, count(stream.bytes));
        }
        for (source, loaded) in watch.sources() {
            let labels = self.with("source", &source);
            samples.add(CONNECTED, &labels, flag(loaded.connected));
            samples.add(BATCHES, &labels, count(loaded.batches));
            samples.add(CHANGES, &labels, count(loaded.changes));
            if let Some(lag) = loaded.lag {
                samples.add(LAG, &labels, lag.as_secs_f64());
            }
        }
        samples
    }
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

/// A count, exactly up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "the values of metrics are floats"
)]
fn count(number: u64) -> f64 {
    number as f64
}

/// A point in time as seconds since 1970.
#[expect(
    clippy::cast_precision_loss,
    reason = "the values of metrics are floats"
)]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}
