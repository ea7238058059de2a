//! The tables of sources: as a source has them, and as a pipeline remembers those that its patterns found.

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
}

impl KnownTable {
    /// Whether it is that table of that source.
    pub fn is(&self, source: &str, schema: &str, name: &str) -> bool {
        self.source == source && self.schema == schema && self.name == name
    }
}
