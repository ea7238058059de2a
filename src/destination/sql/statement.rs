//! What is to be done to the rows of a table, as values: [`Insert`], [`Merge`] for what is told apart by key, and [`Missing`]
//! for what is added once. A [`Dialect`](super::Dialect) writes them down, as several statements or as one. No I/O.

use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::Rows;

/// Rows that are added to a table.
#[derive(Debug, Clone)]
pub(crate) struct Insert {
    /// Each column with the expression of its value.
    pub(super) columns: Vec<(String, String)>,
    /// Where the values come from: what stands after `FROM`.
    pub(super) from: String,
    pub(super) condition: Option<String>,
    pub(super) is_only_new: bool,
}

/// What becomes of the rows of a table, told apart by key: those that stand in no relation of keys, those that stand in
/// one, and then the rows that come.
#[derive(Debug, Clone)]
pub(crate) struct Merge<'a> {
    /// The table, in SQL.
    pub(crate) table: &'a str,
    /// The key's columns.
    pub(crate) key: &'a [String],
    /// Whether every row of the table goes first.
    pub(crate) empties: bool,
    /// What becomes of rows whose key is not among others.
    pub(crate) unmatched: Option<Unmatched>,
    /// What becomes of rows whose key is: each relation has keys of its own.
    pub(crate) matched: Vec<Matched>,
    /// The rows that come.
    pub(crate) insert: Option<Insert>,
}

/// What becomes of a row whose key stands in a relation.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    /// The relation, a table reference without alias; its alias is [`NEW`](super::dialect::NEW), and each key comes once.
    pub(crate) keys: String,
    /// Only where this holds of the relation's row and of the table's, [`OLD`](super::dialect::OLD).
    pub(crate) condition: Option<String>,
    /// What is done.
    pub(crate) action: Action,
}

/// What becomes of a row whose key does not stand in a relation.
#[derive(Debug, Clone)]
pub(crate) struct Unmatched {
    /// The relation of keys, a table reference without alias; without one, no key stands there.
    pub(crate) keys: Option<String>,
    /// Only where this holds of the table's row, [`OLD`](super::dialect::OLD).
    pub(crate) condition: String,
    /// The columns that change, with the expressions of their new values.
    pub(crate) set: Vec<(&'static str, String)>,
    /// A relation of one row that the expressions read, a table reference without alias; its alias is [`NEW`](super::dialect::NEW).
    pub(crate) from: Option<String>,
}

/// What becomes of a row of the table.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// It goes.
    Delete,
    /// It goes, as one that is inserted takes its place.
    Replace,
    /// Columns change, to the values of the expressions.
    Update(Vec<(String, String)>),
}

/// A part of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    /// [`Merge::empties`].
    Empties,
    /// [`Merge::unmatched`].
    Unmatched,
    /// One of [`Merge::matched`], by its place.
    Matched(usize),
    /// [`Merge::insert`].
    Insert,
}

/// How many rows each part of a merge wrote.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    pub(crate) unmatched: u64,
    pub(crate) matched: Vec<u64>,
    pub(crate) inserted: u64,
}

/// Rows of an overlap of which the table may have some already.
#[derive(Debug)]
pub(crate) struct Missing<'a> {
    /// The table, in SQL.
    pub(crate) table: &'a str,
    /// The rows of the load.
    pub(crate) rows: &'a Rows,
    pub(super) manifest: &'a Manifest,
    /// The condition that a row of the load, [`NEW`](super::dialect::NEW), is in the overlap.
    pub(crate) within: &'a str,
    /// The condition that a row of the table, [`OLD`](super::dialect::OLD), can be like one of the overlap.
    pub(crate) in_table: &'a str,
    /// The columns by which a row is known again.
    pub(crate) compared: Vec<Column>,
}

impl<'a> Merge<'a> {
    /// A merge that does nothing yet.
    pub(crate) fn new(table: &'a str, key: &'a [String]) -> Self {
        Self {
            table,
            key,
            empties: false,
            unmatched: None,
            matched: Vec::new(),
            insert: None,
        }
    }
}
