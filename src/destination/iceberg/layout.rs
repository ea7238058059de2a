//! How a new table's files are divided and ordered. No I/O.

use serde_json::Value;

/// What a new table is told of its files.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layout {
    /// By what its rows are divided among files.
    pub(super) spec: Option<Value>,
    /// By what they are ordered within them.
    pub(super) order: Option<Value>,
}
