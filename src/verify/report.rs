//! What a verification tells: the object that `verify --output json` prints, and the rows of `_acequia_verifications`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::mode::Mode;
use crate::names::{LoadId, StreamName};
use crate::position::Position;

/// The report of a verification.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// What the tables were compared with.
    pub against: Against,
    /// What of the rows was compared.
    pub compared: Compared,
    /// The cursor value from which on rows were compared, as it was asked for. `None` for all rows.
    pub since: Option<String>,
    /// The result of each stream, in the order of the configuration.
    pub streams: Vec<StreamVerification>,
    /// The wall time, in seconds.
    pub seconds: f64,
}

/// What a table is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The source, as it is now or, for a stream of changes, was at an LSN.
    #[default]
    Source,
    /// The loads of the landing area that the table was made of.
    Landing,
}

/// What of rows is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compared {
    /// All values.
    #[default]
    Rows,
    /// The keys. Of tables without a key, how many rows there are.
    Keys,
    /// How many rows there are, the NULLs of each column, and the lowest and highest value of one: counted in the databases.
    Counts,
}

/// The result of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Both sides have the same rows, but for what the next run reads.
    Equal,
    /// They do not.
    Different,
    /// They did not, and what differed was mended.
    Repaired,
    /// They could not be compared.
    Failed,
}

/// The verification of one stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamVerification {
    /// The stream.
    pub stream: StreamName,
    /// The result.
    pub result: Outcome,
    /// How the stream is read.
    pub mode: Mode,
    /// The stream's position, which its table was compared at.
    pub position: Option<Position>,
    /// Rows of the source, of the sample if there is one.
    pub rows_source: u64,
    /// Rows of the table, likewise.
    pub rows_destination: u64,
    /// Rows that the table lacks.
    pub missing: u64,
    /// Rows that the table has and the source does not, or more often than the source.
    pub extra: u64,
    /// Rows that have other values in the table.
    pub differ: u64,
    /// Rows that changed in the source since the stream was read, which the next run reads.
    pub changed: u64,
    /// How many of the rows that were looked at differ in each column.
    pub columns: BTreeMap<String, u64>,
    /// Columns that were not compared, as only one side has them.
    pub columns_left_out: Vec<String>,
    /// Whether all buckets that differ were looked at: else there are at least as many differences as are told.
    pub is_complete: bool,
    /// What was counted, where rows were only counted.
    pub counted: Option<Counted>,
    /// The load that mended what differs.
    pub repair: Option<LoadId>,
    /// Some of the rows that differ, with their values, where that was asked for.
    pub rows: Vec<ShownRow>,
    /// What people should know.
    pub notes: Vec<String>,
    /// The wall time, in seconds.
    pub seconds: f64,
    /// The error, with its causes and the remedy.
    pub error: Option<String>,
}

/// What was counted on both sides, in the rows that the stream's next run does not read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The NULLs of each column.
    pub nulls: Vec<CountedNulls>,
    /// The lowest and the highest value of the cursor, or of the key's first column. `None` where its type has no order that all
    /// databases share, or the sides have not as many rows.
    pub bounds: Option<CountedBounds>,
}

/// The NULLs of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountedNulls {
    /// The column.
    pub column: String,
    /// In the source.
    pub source: u64,
    /// In the table.
    pub destination: u64,
    /// Whether they are as many, but for what rows may have that only one side has.
    pub is_equal: bool,
}

/// The lowest and the highest value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountedBounds {
    /// The column.
    pub column: String,
    /// Whether both sides have the same.
    pub is_equal: bool,
    /// Those of the source, where values were asked for. Empty otherwise.
    pub source: Vec<Option<String>>,
    /// Those of the table, likewise.
    pub destination: Vec<Option<String>>,
}

/// A row that differs, with its values as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownRow {
    /// What of it differs.
    pub difference: Difference,
    /// The values of its key.
    pub key: BTreeMap<String, Option<String>>,
    /// The values that the source has, of columns that differ; all of them if the table does not have the row.
    pub source: Option<BTreeMap<String, Option<String>>>,
    /// The values that the table has, likewise.
    pub destination: Option<BTreeMap<String, Option<String>>>,
}

/// What of a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// The table lacks it.
    Missing,
    /// The source does not have it, or has it fewer times.
    Extra,
    /// It has other values.
    Differs,
}

/// A row of `_acequia_verifications`.
#[derive(Debug, Clone)]
pub struct Verification {
    /// When the verification ended.
    pub verified_at: DateTime<Utc>,
    /// What was compared with what.
    pub against: Against,
    /// What of the rows was compared.
    pub compared: Compared,
    /// The part of the rows that was compared, from 0 to 1.
    pub sample: f64,
    /// The cursor value from which on rows were compared.
    pub since: Option<String>,
    /// The result.
    pub result: StreamVerification,
}

impl Outcome {
    /// Whether the table has the rows that it should.
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Equal | Self::Repaired)
    }
}

impl VerifyReport {
    /// Whether every stream is equal, or was repaired.
    pub fn is_ok(&self) -> bool {
        let mut results = self.streams.iter().map(|stream| stream.result);
        results.all(Outcome::is_ok)
    }
}

impl StreamVerification {
    /// The verification of a stream that was not compared yet.
    pub(crate) fn begun(stream: &StreamName, mode: Mode) -> Self {
        Self {
            stream: stream.clone(),
            result: Outcome::Failed,
            mode,
            position: None,
            rows_source: 0,
            rows_destination: 0,
            missing: 0,
            extra: 0,
            differ: 0,
            changed: 0,
            columns: BTreeMap::new(),
            columns_left_out: Vec::new(),
            is_complete: true,
            counted: None,
            repair: None,
            rows: Vec::new(),
            notes: Vec::new(),
            seconds: 0.0,
            error: None,
        }
    }
}

impl std::fmt::Display for Against {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Landing => "landing",
        })
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rows => "rows",
            Self::Keys => "keys",
            Self::Counts => "counts",
        })
    }
}

impl Counted {
    /// Whether both sides have the same NULLs and bounds.
    pub fn is_equal(&self) -> bool {
        let mut nulls = self.nulls.iter();
        nulls.all(|nulls| nulls.is_equal) && self.bounds.iter().all(|bounds| bounds.is_equal)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Repaired => "repaired",
            Self::Failed => "failed",
        })
    }
}
