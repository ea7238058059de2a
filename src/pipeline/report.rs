//! What a run did: the object that `run --output json` prints.

use serde::Serialize;

use crate::error::Error;
use crate::mode::Mode;
use crate::names::{LoadId, StreamName};
use crate::position::Position;

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// Each stream, in the order of the configuration.
    pub streams: Vec<StreamReport>,
    /// Wall time.
    pub seconds: f64,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything that was committed in the source is in the destination.
    Ok,
    /// An error ended it.
    Failed,
    /// It was not begun, for the run was interrupted.
    Skipped,
}

/// What a run did with a stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// The stream.
    pub stream: StreamName,
    /// How it ended.
    pub status: Status,
    /// How it was read.
    pub mode: Mode,
    /// Its last load.
    pub load_id: Option<LoadId>,
    /// Rows extracted.
    pub rows_extracted: u64,
    /// Rows new in the destination.
    pub inserted: u64,
    /// Rows that took the place of others.
    pub updated: u64,
    /// Rows that went.
    pub deleted: u64,
    /// Bytes of Parquet.
    pub bytes_landed: u64,
    /// The position before the run.
    pub position_before: Option<Position>,
    /// The position after it.
    pub position_after: Option<Position>,
    /// Wall time.
    pub seconds: f64,
    /// What went wrong, with causes and remedy.
    pub error: Option<String>,
    /// How the columns of its table changed, as those of the source did.
    pub schema_changes: Vec<String>,
    /// What went well but should be known.
    pub warnings: Vec<String>,
}

impl RunReport {
    /// Whether every stream went well.
    pub fn is_ok(&self) -> bool {
        self.streams
            .iter()
            .all(|stream| stream.status == Status::Ok)
    }
}

impl StreamReport {
    /// Adds what should be known, once.
    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// A stream that was not begun.
    pub fn skipped(stream: &StreamName, mode: Mode) -> Self {
        Self {
            stream: stream.clone(),
            status: Status::Skipped,
            mode,
            load_id: None,
            rows_extracted: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            bytes_landed: 0,
            position_before: None,
            position_after: None,
            seconds: 0.0,
            error: None,
            schema_changes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes the error that ended it.
    pub fn fail(&mut self, error: &Error) {
        self.status = match error {
            Error::Interrupted => Status::Skipped,
            _ => Status::Failed,
        };
        self.error = Some(error.report());
    }
}
