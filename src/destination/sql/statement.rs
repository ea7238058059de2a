//! The changes of a table's rows, as values: [`Insert`], [`Merge`] for rows that are identified by a key, [`Exchange`] for
//! rows that only their values identify, and [`Missing`] for rows that are added once. A [`Dialect`](super::Dialect) writes them as one or several statements. No I/O.

use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::Rows;

/// Rows that are added to a table.
#[derive(Debug, Clone)]
pub(crate) struct Insert {
    /// Each column with the expression of its value.
    pub(crate) columns: Vec<(String, String)>,
    /// The relation of the values, which follows `FROM`.
    pub(crate) from: String,
    pub(crate) condition: Option<String>,
    pub(crate) is_only_new: bool,
}

/// The changes of a table's rows, which are identified by a key: of rows whose key is not in any relation, of rows whose
/// key is in one, and then the new rows.
#[derive(Debug, Clone)]
pub(crate) struct Merge<'a> {
    /// The table, in SQL.
    pub(crate) table: &'a str,
    /// The key's columns.
    pub(crate) key: &'a [String],
    /// Whether every row of the table is deleted first.
    pub(crate) empties: bool,
    /// Whether a key has several rows, which are versions of one: the one that is changed is the current one, and one that comes
    /// stands beside it.
    pub(crate) keeps_versions: bool,
    /// Whether the table may have a key more than once, which is then mended: all its rows are deleted, or replaced by the one
    /// that comes.
    pub(crate) mends: bool,
    /// The change of rows whose key is not in the relations.
    pub(crate) unmatched: Option<Unmatched>,
    /// The change of rows whose key is in a relation: each relation has keys of its own.
    pub(crate) matched: Vec<Matched>,
    /// The rows that come.
    pub(crate) insert: Option<Insert>,
}

/// The change of a row whose key is in a relation.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    /// The relation, a table reference without alias; its alias is [`NEW`](super::dialect::NEW), and its keys are unique.
    pub(crate) keys: String,
    /// Only where this holds of the relation's row and of the table's, [`OLD`](super::dialect::OLD).
    pub(crate) condition: Option<String>,
    /// What is done.
    pub(crate) action: Action,
}

/// The change of a row whose key is not in a relation.
#[derive(Debug, Clone)]
pub(crate) struct Unmatched {
    /// The relation of keys, a table reference without alias. `None` means an empty relation.
    pub(crate) keys: Option<String>,
    /// Only where this holds of the table's row, [`OLD`](super::dialect::OLD).
    pub(crate) condition: Option<String>,
    /// What is done.
    pub(crate) action: Action,
    /// A relation of one row that the expressions read, a table reference without alias; its alias is
    /// [`NEW`](super::dialect::NEW).
    pub(crate) from: Option<String>,
}

/// The change of a row of the table.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// The row is deleted.
    Delete,
    /// The row is deleted, and an inserted row replaces it.
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

/// The change of a table whose rows have no key: some go, and then some come.
#[derive(Debug, Default)]
pub(crate) struct Exchange<'a> {
    /// The table, in SQL.
    pub(crate) table: &'a str,
    /// Whether every row of the table is deleted first; then no others go.
    pub(crate) empties: bool,
    /// The condition of rows of the table, [`OLD`](super::dialect::OLD), that are deleted first; then no others go.
    pub(crate) within: Option<String>,
    /// The rows that go.
    pub(crate) gone: Option<Gone>,
    /// Of those, the rows that come back as they were: equal rows go together, and some of them stay.
    pub(crate) back: Option<Insert>,
    /// The rows that come.
    pub(crate) insert: Option<Insert>,
}

/// Rows of a table that go: all that are equal to one of a relation's, in every column of the source.
#[derive(Debug)]
pub(crate) struct Gone {
    /// The relation, a table reference without alias; its alias is [`KEY`](super::dialect::KEY), and its rows are distinct.
    pub(crate) rows: String,
    /// What is compared of each column.
    pub(crate) compared: Vec<Compared>,
    /// Only rows of the relation of which this holds.
    pub(crate) only: String,
}

/// What is compared of a row that goes.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The relation's column, a name that needs no quotes.
    pub(crate) name: String,
    /// The expression of the table's row, [`OLD`](super::dialect::OLD), that is equal to it, or NULL where it is.
    pub(crate) of_table: String,
}

/// A part of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// [`Exchange::empties`] or [`Exchange::within`].
    Emptied,
    /// [`Exchange::gone`].
    Gone,
    /// [`Exchange::back`].
    Back,
    /// [`Exchange::insert`].
    Inserted,
}

/// How many rows an exchange wrote.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exchanged {
    /// Rows that were deleted as the table was emptied, or a part of it.
    pub(crate) emptied: u64,
    /// Rows that went, those among them that came back.
    pub(crate) gone: u64,
    /// Rows that came.
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
            keeps_versions: false,
            mends: false,
            unmatched: None,
            matched: Vec::new(),
            insert: None,
        }
    }
}
