//! `<table>__changes`: every change of a stream, one by one, added to and never altered.
//!
//! It has all columns of the parts, [`UNCHANGED`](crate::change::UNCHANGED) among them, with the values that were not sent
//! filled in. It follows the stream's schema, and keeps its rows when the table is made anew from a second snapshot.

use crate::destination::LOAD_ID_COLUMN;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::schema::{Column, ColumnType};

use super::Engine;
use super::log::Log;
use super::sql::{identifier, list, list_of, literal};

/// The name of the table of changes that goes with a table.
pub(crate) fn table_name(table: &str) -> String {
    format!("{table}__changes")
}

/// What a table of changes needs to take those of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need<'a> {
    /// A column is missing.
    Column(&'a Column),
    /// A column's type is too narrow.
    Type(&'a Column),
}

/// What a table of changes needs, given the names and types of its columns; none where acequia has no such type.
///
/// # Errors
/// [`Error::Data`] where a column has a type that cannot be widened to the stream's.
pub(crate) fn needs<'a>(
    shown: &str,
    existing: &[(String, Option<ColumnType>)],
    schema: &'a TableSchema,
) -> Result<Vec<Need<'a>>> {
    let mut needs = Vec::new();
    for column in schema.columns.iter().map(|column| &column.column) {
        match existing.iter().find(|(name, _)| *name == column.name) {
            None => needs.push(Need::Column(column)),
            // What is stored exactly the same need not be the same type: JSON is text to some.
            Some((_, Some(column_type))) if column_type.holds(&column.column_type) => {}
            Some((_, Some(column_type))) if column.column_type.holds(column_type) => {
                needs.push(Need::Type(column));
            }
            Some((_, column_type)) => {
                let known = column_type
                    .as_ref()
                    .map_or("another type".to_owned(), ToString::to_string);
                return Err(Error::data(format!(
                    "column `{}` of {shown} is {known}, and the stream's is {}: the table of changes cannot take both",
                    column.name, column.column_type
                ))
                .remedy(
                    "`acequia run STREAM --full-refresh` begins the table of changes anew; rename or copy it before to \
                     keep what it has",
                ));
            }
        }
    }
    Ok(needs)
}

/// Adds changes to their table. `relation` is a table reference without alias.
pub(super) fn append(
    engine: &mut dyn Engine,
    changelog: &str,
    log: &Log<'_>,
    relation: &str,
) -> Result<u64> {
    let columns = || log.all.iter().map(|column| column.name.as_str());
    engine.execute(&format!(
        "INSERT INTO {changelog} ({}, {}) SELECT {}, {} FROM {relation} AS n",
        list(columns()),
        identifier(LOAD_ID_COLUMN),
        list_of("n", columns()),
        literal(log.manifest.load_id.as_str()),
    ))
}
