//! What is measured of a run: when it is over, for a file; while it follows, for who asks.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::report::{RunReport, Status};
use super::watch::Watch;
use crate::config::Pipeline;
use crate::error::Result;
use crate::metrics::exposition::{Metric, Samples};
use crate::metrics::textfile;
use crate::names::StreamName;
use crate::progress::Progress;

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: "gauge",
        help,
    }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: "counter",
        help,
    }
}

const RUN_SUCCESS: Metric = gauge("acequia_run_success", "Whether the last run succeeded.");
const RUN_STARTED: Metric = gauge(
    "acequia_run_started_timestamp_seconds",
    "When the last run began.",
);
const RUN_ENDED: Metric = gauge(
    "acequia_run_ended_timestamp_seconds",
    "When the last run ended.",
);
const SUCCESS: Metric = gauge(
    "acequia_stream_success",
    "Whether the stream's last run succeeded; of one that is followed, whether it still is.",
);
const SYNCED: Metric = gauge(
    "acequia_stream_synced_timestamp_seconds",
    "When the stream was last brought up to date, with rows or without.",
);
const SECONDS: Metric = gauge(
    "acequia_stream_duration_seconds",
    "Wall time of the stream's last run.",
);
const EXTRACTED: Metric = gauge(
    "acequia_stream_rows_extracted",
    "Rows, or changes, that the stream's last run read.",
);
const INSERTED: Metric = gauge(
    "acequia_stream_rows_inserted",
    "Rows that the stream's last run added.",
);
const UPDATED: Metric = gauge(
    "acequia_stream_rows_updated",
    "Rows that the stream's last run replaced.",
);
const DELETED: Metric = gauge(
    "acequia_stream_rows_deleted",
    "Rows that the stream's last run deleted, or marked as deleted.",
);
const LANDED: Metric = gauge(
    "acequia_stream_bytes_landed",
    "Bytes of Parquet that the stream's last run landed.",
);
const RETRIES: Metric = gauge(
    "acequia_stream_retries",
    "How often the stream's last run read it again.",
);
const ROWS_TOTAL: Metric = counter(
    "acequia_stream_rows_landed_total",
    "Rows, or changes, that were landed since the run began.",
);
const BYTES_TOTAL: Metric = counter(
    "acequia_stream_bytes_landed_total",
    "Bytes of Parquet that were landed since the run began.",
);
const CONNECTED: Metric = gauge(
    "acequia_source_connected",
    "Whether the run is connected to the source that it follows.",
);
const BATCHES: Metric = counter(
    "acequia_source_batches_total",
    "Batches of changes that were loaded since the run began.",
);
const CHANGES: Metric = counter(
    "acequia_source_changes_total",
    "Changes that were loaded since the run began.",
);
const LAG: Metric = gauge(
    "acequia_source_lag_seconds",
    "Of the last batch: from the first change's commit in the source to its commit in the destination.",
);

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

    /// Writes what a run that is over was, to a file. A failure is told, and is none of the run's.
    pub(super) fn write(&self, ended: &Result<RunReport>, path: &Path) {
        if let Err(error) = textfile::write(self.of_run(ended), path) {
            tracing::warn!("{}", error.report());
        }
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
#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
fn count(number: u64) -> f64 {
    number as f64
}

/// A point in time as seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}
