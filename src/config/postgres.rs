//! PostgreSQL as a source: what is configured of the database, and of the streams that read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use chrono::TimeDelta;

use super::model::{NullCursor, Reader};
use super::{Secret, SecretCommand};
use crate::error::{Error, Result};
use crate::identity::ColumnIdentity;
use crate::mask::Masks;
use crate::mode::{Changes, Deletes, Disposition, FullLoad, IncrementalLoad};
use crate::names::StreamName;
use crate::position::Lag;
use crate::schema::ColumnType;

/// How a PostgreSQL database is reached.
#[derive(Debug, Clone)]
pub struct PostgresUrl {
    /// The connection URI.
    pub uri: Secret,
    /// The command that prints the password, if the URI has none.
    pub password: Option<SecretCommand>,
}

impl PostgresUrl {
    /// A connection URI that has all that is needed.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: Secret::new(uri),
            password: None,
        }
    }
}

/// A PostgreSQL database to read from.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    /// How it is reached.
    pub url: PostgresUrl,
    /// What streams of changes use on the server.
    pub replication: Replication,
    /// Which reader reads its tables and queries.
    pub reader: Reader,
}

/// What streams of changes use on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The slot's name without a destination's. All slots of this pipeline begin with it.
    pub base: String,
    /// The slots of the other configured destinations.
    pub others: Vec<String>,
    /// All configured streams of changes of the source, selected or not. The slot is kept for all of them.
    pub streams: Vec<StreamName>,
}

/// A stream that reads rows by SELECT: mode = "full" and "incremental".
#[derive(Debug, Clone)]
pub struct PostgresRows {
    /// The database, or the error in its configuration.
    pub source: Result<Arc<PostgresSource>>,
    /// The relation that is read.
    pub relation: Relation,
    /// A condition that rows must meet, in SQL.
    pub filter: Option<String>,
    /// Whether row-level security may filter the rows.
    pub row_security: bool,
    /// Which columns are read, and as what.
    pub columns: ColumnSettings,
    /// How many connections read at the same time. `None` for acequia's default.
    pub parallel: Option<NonZeroUsize>,
    /// Which rows each run reads, and how they are loaded.
    pub read: RowsRead,
    /// What is done with rows that the source has no more, for a stream whose rows are merged.
    pub delete_missing: Option<DeleteMissing>,
}

/// What is done with rows that the source has no more, and how often they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteMissing {
    /// Whether they are deleted, or marked.
    pub deletes: Deletes,
    /// How often keys are compared.
    pub every: TimeDelta,
}

/// Which rows a stream reads in each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsRead {
    /// All rows.
    Full(FullLoad),
    /// The rows that changed since the last run, by a cursor.
    Incremental(Cursor, IncrementalLoad),
}

/// A stream that reads a table's changes from the write-ahead log: mode = "cdc".
#[derive(Debug, Clone)]
pub struct PostgresChanges {
    /// The database, or the error in its configuration.
    pub source: Result<Arc<PostgresSource>>,
    /// The table.
    pub table: TableName,
    /// Which columns are read, and as what.
    pub columns: ColumnSettings,
    /// How many connections read a snapshot at the same time. `None` for acequia's default.
    pub parallel: Option<NonZeroUsize>,
    /// What a load does with the changes.
    pub changes: Changes,
}

/// Which columns of a relation are read, and as what.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ColumnSettings {
    /// The columns that are read.
    pub selected: ColumnSelection,
    /// The column types to use instead of the source's, by column.
    pub types: BTreeMap<String, ColumnType>,
    /// The key columns. `None` for the table's own key.
    pub primary_key: Option<Vec<String>>,
    /// What takes the place of columns' values. Columns that are masked as text are among `types`.
    pub masks: Masks,
    /// Columns that may be named without being there, as one setting is for many tables. If they come, what is said of them holds.
    pub may_lack: BTreeSet<String>,
}

impl ColumnSettings {
    /// Whether a column is hidden by its name: left out of all, or masked.
    pub fn hides(&self) -> bool {
        matches!(self.selected, ColumnSelection::Except(_)) || !self.masks.is_empty()
    }

    /// Refuses a column that was hidden by its name, has another name since, and would be copied under that one as it is. `known`
    /// are the columns that the table had, `now` are those that it has.
    ///
    /// # Errors
    /// [`Error::Config`] with both names.
    pub fn refuse_shown(&self, known: &[ColumnIdentity], now: &[ColumnIdentity]) -> Result<()> {
        for column in now {
            let renamed = |known: &&ColumnIdentity| {
                known.number == column.number && known.name != column.name
            };
            let Some(before) = known.iter().find(renamed) else {
                continue;
            };
            let left_out = self.selected.excludes(&before.name);
            let mask = self.masks.label(&before.name);
            // Whoever says what becomes of it is believed.
            let is_decided = !self.selected.takes(&column.name)
                || self.masks.columns().any(|name| name == column.name);
            if is_decided || !(left_out || mask.is_some()) {
                continue;
            }
            let (old, new) = (&before.name, &column.name);
            let how = if left_out {
                "`exclude` leaves out".to_owned()
            } else {
                format!("the mask {} hides", mask.unwrap_or_default())
            };
            return Err(Error::config(format!(
                "column `{old}`, whose values {how}, was renamed to `{new}`, which would be copied as it is"
            ))
            .remedy(format!(
                "say what becomes of `{new}`: name it in `exclude`, or give it a mask, as in [streams.STREAM.mask] {new} = \"redact\" \
                 (\"none\" if its values may be copied)"
            )));
        }
        Ok(())
    }
}

/// Whether a column is there is no part of what is configured.
impl fmt::Debug for ColumnSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            selected,
            types,
            primary_key,
            masks,
            may_lack: _,
        } = self;
        f.debug_struct("ColumnSettings")
            .field("selected", selected)
            .field("types", types)
            .field("primary_key", primary_key)
            .field("masks", masks)
            .finish()
    }
}

/// The columns that a stream reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ColumnSelection {
    /// All columns.
    #[default]
    All,
    /// These columns.
    Only(Vec<String>),
    /// All columns but these.
    Except(Vec<String>),
}

/// A relation that rows are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table, view, materialized view, foreign or partitioned table.
    Table(TableName),
    /// The rows of a query.
    Query(String),
}

/// The name of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema. `None` if the search path finds the table.
    pub schema: Option<String>,
    /// The table's own name.
    pub name: String,
}

/// The cursor of an incremental stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The column.
    pub column: String,
    /// Where the first run begins, as it is written.
    pub initial_value: Option<String>,
    /// How far below the position each run begins.
    pub lag: Option<Lag>,
    /// What is done with rows that have NULL in the column.
    pub nulls: NullCursor,
}

impl PostgresRows {
    /// The cursor of an incremental stream.
    pub fn cursor(&self) -> Option<&Cursor> {
        match &self.read {
            RowsRead::Full(_) => None,
            RowsRead::Incremental(cursor, _) => Some(cursor),
        }
    }

    /// How loads are applied.
    pub fn disposition(&self) -> Disposition {
        match &self.read {
            RowsRead::Full(load) => (*load).into(),
            RowsRead::Incremental(_, load) => (*load).into(),
        }
    }

    /// The settings that identify what is read. How fast rows are read, and where the server is, is no part of them.
    pub(super) fn identity(&self) -> impl fmt::Debug + '_ {
        let Self {
            source: _,
            relation,
            filter,
            row_security,
            columns,
            parallel: _,
            read,
            // Which rows are read does not depend on it.
            delete_missing: _,
        } = self;
        (relation, filter, row_security, columns, read)
    }
}

impl PostgresChanges {
    /// As [`PostgresRows::identity`].
    pub(super) fn identity(&self) -> impl fmt::Debug + '_ {
        let Self {
            source: _,
            table,
            columns,
            parallel: _,
            changes,
        } = self;
        (table, columns, changes)
    }
}

impl ColumnSelection {
    /// Whether the stream reads a column of that name.
    pub fn takes(&self, name: &str) -> bool {
        let named = |columns: &[String]| columns.iter().any(|column| column == name);
        match self {
            Self::All => true,
            Self::Only(columns) => named(columns),
            Self::Except(columns) => !named(columns),
        }
    }

    /// Whether the stream reads all columns but some, and that is one of them.
    pub fn excludes(&self, name: &str) -> bool {
        matches!(self, Self::Except(_)) && !self.takes(name)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::Query(_) => f.write_str("its query"),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
