//! A run as it is kept: when it was, how it ended, and what failed. It holds no cell value and no position.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::{RunId, StreamName};

/// How many runs a destination keeps: the newest. A run each ten minutes makes as many in a month.
pub const KEPT: usize = 5_000;
/// How many characters of an error are kept at most.
const MOST_OF_ERROR: usize = 2_000;
/// How many failures of a run are kept at most.
const MOST_FAILURES: usize = 50;

/// After how long a run that follows, and that is seen at work each half minute, is taken for one whose process was killed.
const LOST_AFTER: TimeDelta = TimeDelta::minutes(3);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Everything succeeded.
    Ok,
    /// A stream, the models or the report page failed, or the run could not begin.
    Failed,
    /// The run was stopped before all was done.
    Interrupted,
    /// The run follows, and was seen at work a moment ago.
    Running,
    /// The run followed, and has not been seen for a while: its process was killed.
    Lost,
}

impl RunStatus {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
            Self::Lost => "lost",
        }
    }
}

/// A text that is no status of a run.
#[derive(Debug, thiserror::Error)]
#[error("this is no status of a run")]
pub struct BadRunStatus;

impl std::str::FromStr for RunStatus {
    type Err = BadRunStatus;

    fn from_str(text: &str) -> Result<Self, BadRunStatus> {
        let all = [
            Self::Ok,
            Self::Failed,
            Self::Interrupted,
            Self::Running,
            Self::Lost,
        ];
        let found = all.into_iter().find(|status| status.as_str() == text);
        found.ok_or(BadRunStatus)
    }
}

/// What failed in a run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// The streams that this stopped; [`MODELS`] or [`PAGE`] for what is made of their tables.
    pub streams: Vec<String>,
    /// The error, with its causes and the remedy.
    pub error: String,
}

/// What a run that reads a range again was asked for.
pub const RANGE_RUN: &str = "run --from --to";
/// What the configuration is called among what people are told of.
pub const CONFIGURATION: &str = "(configuration)";
/// What models are called among the streams of a [`RunFailure`].
pub const MODELS: &str = "(models)";
/// What the report page is called among the streams of a [`RunFailure`].
pub const PAGE: &str = "(report page)";

/// A run, as a destination keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id, which sorts by when it began.
    pub run_id: RunId,
    /// What was asked for: `run`, `run --follow`, or `run --from --to`.
    pub command: String,
    /// How it ended.
    pub status: RunStatus,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; of one that follows, when it was last seen at work.
    pub ended_at: DateTime<Utc>,
    /// Streams that failed.
    pub streams_failed: u64,
    /// Streams that were not begun, or stopped.
    pub streams_skipped: u64,
    /// Rows extracted.
    pub rows_extracted: u64,
    /// Rows that are new in the destination.
    pub inserted: u64,
    /// Rows that replaced others.
    pub updated: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Bytes of Parquet that were landed.
    pub bytes_landed: u64,
    /// The streams that succeeded, and when each was brought up to date: everything that was committed in its source was then
    /// in the destination.
    pub streams: BTreeMap<StreamName, DateTime<Utc>>,
    /// What failed.
    pub failures: Vec<RunFailure>,
    /// The version that ran.
    pub acequia_version: String,
}

impl RunRecord {
    /// A run that began at `started_at` and has done nothing so far.
    pub fn begun(run_id: RunId, command: &str, started_at: DateTime<Utc>) -> Self {
        Self {
            run_id,
            command: command.to_owned(),
            status: RunStatus::Running,
            started_at: started_at.trunc_subsecs(6),
            ended_at: Utc::now().max(started_at).trunc_subsecs(6),
            streams_failed: 0,
            streams_skipped: 0,
            rows_extracted: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            bytes_landed: 0,
            streams: BTreeMap::new(),
            failures: Vec::new(),
            acequia_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The run as it is at a time: one that follows and was not seen for a while is lost.
    #[must_use]
    pub fn seen_at(mut self, now: DateTime<Utc>) -> Self {
        if self.status == RunStatus::Running && now - self.ended_at > LOST_AFTER {
            self.status = RunStatus::Lost;
        }
        self
    }

    /// Whether nothing failed, and no row came or went.
    pub fn is_quiet(&self) -> bool {
        self.status == RunStatus::Ok
            && self.rows_extracted + self.inserted + self.updated + self.deleted == 0
    }

    /// Sets what failed, as much of it as is kept.
    pub fn fail(&mut self, failures: impl IntoIterator<Item = RunFailure>) {
        let kept = failures.into_iter().take(MOST_FAILURES);
        self.failures = kept
            .map(|failure| RunFailure {
                error: failure.error.chars().take(MOST_OF_ERROR).collect(),
                ..failure
            })
            .collect();
    }
}

/// What stopped several streams, each cause once: pairs of a stream and its error. The stream's own name before the error is
/// left out.
pub fn by_cause<'a>(failed: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<RunFailure> {
    let mut causes: Vec<RunFailure> = Vec::new();
    for (stream, error) in failed {
        let cause = error.strip_prefix("stream ");
        let cause = cause.and_then(|rest| rest.strip_prefix(stream)?.strip_prefix(": "));
        let cause = cause.unwrap_or(error);
        match causes.iter_mut().find(|known| known.error == cause) {
            Some(known) => known.streams.push(stream.to_owned()),
            None => causes.push(RunFailure {
                streams: vec![stream.to_owned()],
                error: cause.to_owned(),
            }),
        }
    }
    causes
}

impl std::fmt::Display for RunFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.streams.as_slice() {
            [only] if only == MODELS => return write!(f, "the models: {}", self.error),
            [only] if only == CONFIGURATION => {
                return write!(f, "the configuration: {}", self.error);
            }
            [only] if only == PAGE => return write!(f, "the report page: {}", self.error),
            [_] => "stream",
            _ => "streams",
        };
        write!(f, "{word} {}: {}", self.streams.join(", "), self.error)
    }
}

/// The error that a run which could not begin is kept with.
pub fn could_not_begin(streams: &[StreamName], error: &Error) -> RunFailure {
    RunFailure {
        streams: streams.iter().map(ToString::to_string).collect(),
        error: error.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_with_all_streams_that_it_stopped() {
        let failed = [
            ("a", "stream a: the server is away"),
            ("b", "stream b: its key has NULL"),
            ("c", "stream c: the server is away"),
        ];
        let told: Vec<String> = by_cause(failed).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "streams a, c: the server is away",
                "stream b: its key has NULL"
            ]
        );
    }

    #[test]
    fn what_is_kept_of_a_run_is_bounded() {
        let mut record = RunRecord::begun(RunId::new(), "run", Utc::now());
        let long = RunFailure {
            streams: vec!["a".to_owned()],
            error: "ñ".repeat(100_000),
        };
        record.fail(std::iter::repeat_n(long, 1_000));
        assert_eq!(record.failures.len(), MOST_FAILURES);
        let kept = serde_json::to_string(&record).unwrap();
        assert!(kept.len() < 250_000, "{}", kept.len());
    }

    #[test]
    fn every_status_is_read_as_it_is_written() {
        for status in [RunStatus::Ok, RunStatus::Interrupted, RunStatus::Lost] {
            assert_eq!(status.as_str().parse::<RunStatus>().unwrap(), status);
            assert_eq!(
                serde_json::to_value(status).unwrap(),
                serde_json::json!(status.as_str())
            );
        }
        assert!("gone".parse::<RunStatus>().is_err());
    }
}
