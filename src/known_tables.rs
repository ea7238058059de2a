//! The tables of sources: as a source has them, and as a pipeline remembers those that its patterns found.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A table or view of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// Its schema.
    pub schema: String,
    /// Its own name.
    pub name: String,
    /// Whether a pattern with `*` finds it: a table that is no partition and belongs to no extension. A view is found by
    /// its whole name alone.
    pub is_plain: bool,
    /// Its columns, each with its number, which no other column of it ever has. Empty if nobody asked for them.
    pub columns: BTreeMap<String, i16>,
}

/// A table that a pattern of `tables` has found, and that is a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KnownTable {
    /// The source's name.
    pub source: String,
    /// Its schema.
    pub schema: String,
    /// Its own name.
    pub name: String,
    /// Whether the source did not have it any more when it was last asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Its columns, each with its number, where the settings of its entry name columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, i16>,
    /// Those of them that are masked or left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden: BTreeSet<String>,
}

impl KnownTable {
    /// Whether it is that table of that source.
    pub fn is(&self, source: &str, schema: &str, name: &str) -> bool {
        self.source == source && self.schema == schema && self.name == name
    }

    /// Whether both are one table.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is(&other.source, &other.schema, &other.name)
    }
}

/// Its schema and its own name.
impl std::fmt::Display for KnownTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}
