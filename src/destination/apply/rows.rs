//! The rows of a load as a relation in SQL, with the types that the table has for them. No I/O.

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::Dialect;
use super::sql::of;

/// The rows of a load.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// The load's columns, with the types that the table has for them.
    pub(crate) columns: Vec<Column>,
    /// A table reference without alias.
    pub(crate) relation: String,
}

impl Rows {
    /// Only those rows that meet a condition on the columns' own names.
    pub(crate) fn only(&self, condition: &str) -> String {
        format!("(SELECT r.* FROM {} AS r WHERE {condition})", self.relation)
    }

    /// The columns' names in SQL, of a relation with that alias.
    pub(crate) fn names(&self, alias: &str) -> Vec<String> {
        self.columns
            .iter()
            .map(|column| of(alias, &column.name))
            .collect()
    }

    /// What two rows have in common that are the same in every column.
    pub(crate) fn identity(&self, dialect: &dyn Dialect, alias: &str) -> Vec<String> {
        identity_of(dialect, &self.columns, alias)
    }

    /// Whether the load has a column of that name.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|other| other.name == column)
    }
}

/// What two rows have in common that are the same in these columns.
pub(crate) fn identity_of<'a>(
    dialect: &dyn Dialect,
    columns: impl IntoIterator<Item = &'a Column>,
    alias: &str,
) -> Vec<String> {
    columns
        .into_iter()
        .flat_map(|column| dialect.identity(&of(alias, &column.name), &column.column_type))
        .collect()
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
