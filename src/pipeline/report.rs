//! The report of a run: the object that `run --output json` prints.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::Error;
use crate::mode::Mode;
use crate::models::report::ModelsReport;
use crate::names::{LoadId, StreamName};
use crate::notify::NoticeReport;
use crate::position::{CursorValue, Position, ValueRange};
use crate::runs::{RunFailure, by_cause};

/// The report of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// The report of each stream, in the order of the configuration.
    pub streams: Vec<StreamReport>,
    /// What was done with the models, if the pipeline has any and they were come to.
    pub models: Option<ModelsReport>,
    /// What became of the report page, if the configuration has one that is made after each run, and it was come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PageReport>,
    /// What became of the notices that were due.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeReport>,
    /// The wall time, in seconds.
    pub seconds: f64,
}

/// What became of the report page.
#[derive(Debug, Clone, Serialize)]
pub struct PageReport {
    /// The page's file.
    pub path: PathBuf,
    /// How long it took to make, in seconds.
    pub seconds: f64,
    /// The error, with its causes and the remedy. The page before stays then.
    pub error: Option<String>,
}

/// The result of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything that was committed in the source is in the destination.
    Ok,
    /// The stream failed.
    Failed,
    /// The stream was not begun, because the run was interrupted.
    Skipped,
}

/// A range of a stream that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RangeReport {
    /// The range.
    #[serde(flatten)]
    pub range: ValueRange,
    /// Where the stream stands, if the range may have rows of a higher cursor value: they are left to the next run.
    pub up_to: Option<CursorValue>,
}

/// The report of one stream of a run.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// The stream.
    pub stream: StreamName,
    /// The result.
    pub status: Status,
    /// How the stream was read.
    pub mode: Mode,
    /// The range that was read again, if one was asked for and looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeReport>,
    /// The stream's last load.
    pub load_id: Option<LoadId>,
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
    /// The position before the run.
    pub position_before: Option<Position>,
    /// The position after the run.
    pub position_after: Option<Position>,
    /// The wall time, in seconds.
    pub seconds: f64,
    /// How often the stream was read again within the run, because its source broke off or somebody altered its table.
    pub retries: u32,
    /// The error, with its causes and the remedy.
    pub error: Option<String>,
    /// Who must act on the error: [`Error::class`].
    #[serde(skip)]
    pub error_class: Option<&'static str>,
    /// The changes of the table's columns, which follow the source's.
    pub schema_changes: Vec<String>,
    /// Warnings: the stream succeeded, but people should know this.
    pub warnings: Vec<String>,
    /// When it ended.
    #[serde(skip)]
    pub ended_at: DateTime<Utc>,
}

impl Status {
    /// The result, as reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl RunReport {
    /// Whether every stream succeeded, the models are as they should be, and the page was made.
    pub fn is_ok(&self) -> bool {
        let streams = &mut self.streams.iter();
        streams.all(|stream| stream.status == Status::Ok)
            && self.models.as_ref().is_none_or(ModelsReport::is_ok)
            && self.page_error().is_none()
    }

    /// What failed, each cause once, with the streams that it stopped. What an interruption has skipped is not told.
    pub fn failures(&self) -> Vec<RunFailure> {
        let failed = self
            .streams
            .iter()
            .filter(|stream| stream.status == Status::Failed);
        by_cause(failed.map(|stream| {
            let error = stream.error.as_deref().unwrap_or_default();
            (stream.stream.as_str(), error)
        }))
    }

    /// All that failed, as text: of the streams, the models and the page.
    pub(super) fn all_failures(&self) -> Vec<String> {
        let streams = self.failures();
        let streams = streams.iter().map(ToString::to_string);
        let page = self.page_error().map(str::to_owned);
        streams.chain(self.models_error()).chain(page).collect()
    }

    /// Why the models are not as they should be.
    pub fn models_error(&self) -> Option<String> {
        let models = self.models.as_ref().filter(|models| !models.is_ok())?;
        Some(models.failures().join("\n"))
    }

    /// Why the report page could not be made.
    pub fn page_error(&self) -> Option<&str> {
        self.page.as_ref()?.error.as_deref()
    }
}

impl StreamReport {
    /// The stream with its error, or that it is well. `None` of one that was skipped.
    pub(super) fn found(&self) -> Option<(String, Option<String>)> {
        let error = match self.status {
            Status::Ok => None,
            Status::Failed => Some(self.error.clone().unwrap_or_default()),
            Status::Skipped => return None,
        };
        Some((self.stream.to_string(), error))
    }

    /// Adds warnings, each once.
    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// The report of a stream that was not begun.
    pub fn skipped(stream: &StreamName, mode: Mode) -> Self {
        Self {
            stream: stream.clone(),
            status: Status::Skipped,
            mode,
            range: None,
            load_id: None,
            rows_extracted: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            bytes_landed: 0,
            position_before: None,
            position_after: None,
            seconds: 0.0,
            retries: 0,
            error: None,
            error_class: None,
            schema_changes: Vec::new(),
            warnings: Vec::new(),
            ended_at: Utc::now(),
        }
    }

    /// Sets the error that ended the stream.
    pub fn fail(&mut self, error: &Error) {
        self.status = match error {
            Error::Interrupted => Status::Skipped,
            _ => Status::Failed,
        };
        self.error = Some(error.report());
        self.error_class = Some(error.class());
    }
}
