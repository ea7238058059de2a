//! The columns that a change has beside its row's: the operation, and its position in the order of commits.
//!
//! The parts of a `cdc` load have all of [`columns`] after the row's own; its table has those that [`is_stored`] names.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, FieldRef};

use crate::position::Lsn;
use crate::schema::{ColumnSpec, ColumnType};

/// The operation ([`Op`]).
pub const OP: &str = "_acequia_op";
/// The position of the transaction's commit in the write-ahead log, as a 64-bit integer.
pub const LSN: &str = "_acequia_lsn";
/// The change's number within its transaction, from 1 on; 0 for rows of a snapshot.
pub const SEQ: &str = "_acequia_seq";
/// When the transaction was committed or, for rows of a snapshot, when the snapshot was taken.
pub const COMMIT_TS: &str = "_acequia_commit_ts";
/// The row's columns that the source did not send because they did not change (large values stored out of line). NULL if it
/// sent all.
pub const UNCHANGED: &str = "_acequia_unchanged";
/// With soft deletes, when the row was deleted. Only the table has this column.
pub const DELETED_AT: &str = "_acequia_deleted_at";

/// The operation of a change.
///
/// An update that changes the key becomes two changes, [`Op::Delete`] of the old key and then [`Op::Insert`] of the new
/// one, consecutive in [`SEQ`]. Only such an insert has columns in [`UNCHANGED`]: their values are those of the row that
/// the delete just before it removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A row of a snapshot.
    Snapshot,
    /// A row was inserted.
    Insert,
    /// A row was updated; its key stayed. Without a key there are no updates, but deletes and inserts of whole rows.
    Update,
    /// A row was deleted. It has at least the values of the key columns.
    Delete,
    /// The table was truncated. The change has no values.
    Truncate,
}

impl Op {
    /// The operation's code in [`OP`].
    pub fn code(self) -> &'static str {
        match self {
            Self::Snapshot => "r",
            Self::Insert => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
        }
    }
}

/// The position that marks the rows of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The first position in the log that is not in the snapshot.
    pub lsn: Lsn,
    /// When the snapshot was taken: microseconds since 1970-01-01 UTC.
    pub taken_at: i64,
}

impl SnapshotMark {
    /// The columns of a change for that many rows of the snapshot. `fields` are those columns' fields.
    pub fn columns(self, fields: &[FieldRef], rows: usize) -> Vec<ArrayRef> {
        let taken_at = TimestampMicrosecondArray::from_value(self.taken_at, rows);
        let unchanged = fields
            .last()
            .map_or(DataType::Null, |field| field.data_type().clone());
        vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                Op::Snapshot.code(),
                rows,
            ))),
            Arc::new(Int64Array::from_value(self.lsn.bigint(), rows)),
            Arc::new(Int64Array::from_value(0, rows)),
            Arc::new(taken_at.with_timezone("UTC")),
            new_null_array(&unchanged, rows),
        ]
    }
}

/// The columns of a change, in order.
pub fn columns() -> Vec<ColumnSpec> {
    let spec = |name: &str, column_type: ColumnType, nullable: bool| ColumnSpec {
        name: name.to_owned(),
        column_type,
        nullable,
        source_type: "acequia".to_owned(),
    };
    vec![
        spec(OP, ColumnType::Text, false),
        spec(LSN, ColumnType::Int64, false),
        spec(SEQ, ColumnType::Int64, false),
        spec(COMMIT_TS, ColumnType::TimestampTz, false),
        spec(
            UNCHANGED,
            ColumnType::List(Box::new(ColumnType::Text)),
            true,
        ),
    ]
}

/// Whether a column is one of [`columns`], and not one of the source's rows.
pub fn is_of_change(column: &str) -> bool {
    [OP, LSN, SEQ, COMMIT_TS, UNCHANGED].contains(&column)
}

/// Whether a column of a change's parts is also one of its table.
pub fn is_stored(column: &str) -> bool {
    column != OP && column != UNCHANGED
}
