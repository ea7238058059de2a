//! How a stream is read, and how its loads go into their table.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::position::ValueRange;

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything, each run.
    Full,
    /// What changed since the last run, by a cursor column.
    Incremental,
    /// Every change, in the order of commits, by logical replication.
    Cdc,
}

/// How a load goes into its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The table is replaced, in one step.
    Replace,
    /// Rows are added, except those that an earlier load added already.
    Append,
    /// Rows replace those with the same key.
    Merge,
    /// Rows are added if the table does not have their key; other rows stay unchanged.
    InsertOnly,
    /// Every version of a row is kept, with the times between which it was current.
    Scd2,
}

/// How a load of all rows goes into its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullLoad {
    /// As [`Disposition::Replace`].
    Replace,
    /// As [`Disposition::InsertOnly`].
    InsertOnly,
    /// As [`Disposition::Scd2`].
    Scd2,
}

/// How a load of the rows that changed goes into its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncrementalLoad {
    /// As [`Disposition::Append`].
    Append,
    /// By the rows' key.
    Keyed(KeyedLoad),
}

/// How rows that changed go into their table by their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedLoad {
    /// As [`Disposition::Merge`].
    Merge,
    /// As [`Disposition::InsertOnly`].
    InsertOnly,
    /// As [`Disposition::Scd2`].
    Scd2,
}

/// What a `cdc` load does with its changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// What becomes of rows that the source deleted.
    #[serde(default)]
    pub deletes: Deletes,
    /// Whether every change is also kept in `<table>__changes`.
    #[serde(default)]
    pub changelog: bool,
}

/// What becomes of rows that the source deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deletes {
    /// They are deleted.
    #[default]
    Hard,
    /// They stay, with the time of their deletion in `_acequia_deleted_at`.
    Soft,
}

/// What a load is that adds nothing new to its stream: the stream's position stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amends {
    /// It mends what a verification found. Its rows say themselves what becomes of them ([`OP`](crate::change::OP)).
    Repair,
    /// It deletes rows that the source has no more. Its rows say so themselves, as those of a repair.
    DeleteMissing,
    /// It has all rows that the source has in a range of a column of the table, and of the keys that the table has there those
    /// rows that the source has elsewhere: they take the place of the table's rows in the range.
    Range(ValueRange),
}

impl Amends {
    /// Whether the load's rows say themselves what becomes of them: its parts have a column for it.
    pub fn has_ops(&self) -> bool {
        match self {
            Self::Repair | Self::DeleteMissing => true,
            Self::Range(_) => false,
        }
    }

    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::DeleteMissing => "delete_missing",
            Self::Range(_) => "range",
        }
    }
}

impl fmt::Display for Amends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Range(range) => write!(f, " {range}"),
            Self::Repair | Self::DeleteMissing => Ok(()),
        }
    }
}

impl Disposition {
    /// Whether rows are identified by a key.
    pub fn has_key(self) -> bool {
        match self {
            Self::Merge | Self::InsertOnly | Self::Scd2 => true,
            Self::Replace | Self::Append => false,
        }
    }
}

impl From<FullLoad> for Disposition {
    fn from(load: FullLoad) -> Self {
        match load {
            FullLoad::Replace => Self::Replace,
            FullLoad::InsertOnly => Self::InsertOnly,
            FullLoad::Scd2 => Self::Scd2,
        }
    }
}

impl From<IncrementalLoad> for Disposition {
    fn from(load: IncrementalLoad) -> Self {
        match load {
            IncrementalLoad::Append => Self::Append,
            IncrementalLoad::Keyed(load) => load.into(),
        }
    }
}

impl From<KeyedLoad> for Disposition {
    fn from(load: KeyedLoad) -> Self {
        match load {
            KeyedLoad::Merge => Self::Merge,
            KeyedLoad::InsertOnly => Self::InsertOnly,
            KeyedLoad::Scd2 => Self::Scd2,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Cdc => "cdc",
        })
    }
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Append => "append",
            Self::Merge => "merge",
            Self::InsertOnly => "insert_only",
            Self::Scd2 => "scd2",
        })
    }
}
