//! The rows of a load as a relation in SQL, with the types that the table has for them. No I/O.

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::Dialect;
use super::dialect::NEW;
use super::statement::Insert;

/// The rows of a load.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// The load's columns, with the types that the table has for them.
    pub(crate) columns: Vec<Column>,
    /// A table reference without alias.
    pub(crate) relation: String,
}

impl Rows {
    /// Only those rows that meet a condition on [`NEW`], a table reference without alias.
    pub(crate) fn only(&self, condition: &str) -> String {
        format!(
            "(SELECT {NEW}.* FROM {} AS {NEW} WHERE {condition})",
            self.relation
        )
    }

    /// The columns' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// What two rows have in common that are the same in every column.
    pub(crate) fn identity(&self, d: &dyn Dialect, alias: &str) -> Vec<String> {
        d.identity_of(&self.columns, alias)
    }

    /// Whether the load has a column of that name.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.names().any(|other| other == column)
    }

    /// The rows, to be inserted with columns of acequia's own.
    pub(crate) fn insert(&self, d: &dyn Dialect) -> Insert {
        Insert::rows(&self.relation).columns(d, NEW, self.names())
    }
}

/// The parts hold as many rows as the manifest says.
pub(crate) fn check_rows(rows: u64, manifest: &Manifest) -> Result<()> {
    if rows == manifest.rows {
        return Ok(());
    }
    Err(Error::internal(format!(
        "the parts hold {rows} rows, and the manifest says {}",
        manifest.rows
    )))
}
