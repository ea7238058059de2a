//! Which columns of a table are acequia's, beside those of the source. No I/O.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::change;
use crate::destination::LOAD_ID_COLUMN;
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::mode::{Deletes, Disposition, Mode};
use crate::schema::{Column, ColumnType};

use super::Dialect;

/// From when on a version of a row held.
pub(crate) const VALID_FROM: &str = "_acequia_valid_from";
/// Until when a version of a row held; NULL for the current one.
pub(crate) const VALID_TO: &str = "_acequia_valid_to";

/// A column of acequia's that no part has, and what a load's new rows have in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemColumn {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type.
    pub(crate) column_type: ColumnType,
    value: Option<String>,
}

impl SystemColumn {
    fn new(name: &'static str, column_type: ColumnType, value: Option<String>) -> Self {
        Self {
            name,
            column_type,
            value,
        }
    }

    /// What new rows have in it, in SQL.
    pub(crate) fn value(&self, d: &dyn Dialect) -> String {
        let value = self.value.as_deref();
        let value = value.map_or_else(|| "NULL".to_owned(), |value| d.literal(value));
        d.cast(&value, &self.column_type)
    }
}

/// The columns that the table of a load has beside those of its schema, in order.
pub(crate) fn columns(manifest: &Manifest) -> Vec<SystemColumn> {
    let load_id = manifest.load_id.as_str().to_owned();
    let mut own = vec![SystemColumn::new(
        LOAD_ID_COLUMN,
        ColumnType::Text,
        Some(load_id),
    )];
    if keeps_deleted(manifest) {
        own.push(SystemColumn::new(
            change::DELETED_AT,
            ColumnType::TimestampTz,
            None,
        ));
    }
    if manifest.disposition == Disposition::Scd2 {
        let from = instant(manifest.extracted_at);
        own.push(SystemColumn::new(
            VALID_FROM,
            ColumnType::TimestampTz,
            Some(from),
        ));
        own.push(SystemColumn::new(VALID_TO, ColumnType::TimestampTz, None));
    }
    own
}

/// Whether the table of a load keeps rows that the source deleted, marked with when.
pub(crate) fn keeps_deleted(manifest: &Manifest) -> bool {
    let changes = manifest.changes;
    changes.is_some_and(|changes| changes.deletes == Deletes::Soft)
}

/// The columns of the schema that the table has: of changes, not what only their parts and the changelog have.
pub(crate) fn stored(schema: &TableSchema, mode: Mode) -> impl Iterator<Item = &Column> {
    schema
        .columns
        .iter()
        .map(|column| &column.column)
        .filter(move |column| mode != Mode::Cdc || change::is_stored(&column.name))
}

/// A point in time as every destination reads it.
pub(super) fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
