//! `<table>__changes`: every change of a stream, one by one, added to and never altered.
//!
//! It has all columns of the parts, [`UNCHANGED`](crate::change::UNCHANGED) among them, with the values that were not sent
//! filled in. It follows the stream's schema, and keeps its rows when the table is made anew from a second snapshot: a
//! [`Truncate`](Op::Truncate) before that one's rows says that what was there is no more.

use crate::change::{COMMIT_TS, LSN, OP, Op, SEQ};
use crate::destination::LOAD_ID_COLUMN;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::position::Position;
use crate::schema::{Column, ColumnType};

use super::Engine;
use super::log::Log;
use super::own::instant;
use super::sql::{self, identifier, list, list_of, literal};

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
    /// A column has held values of a type that cannot take the stream's, nor be taken by it: text holds both.
    Text(&'a Column),
}

/// What a table of changes needs, given the names and types of its columns; none where acequia has no such type.
///
/// # Errors
/// [`Error::Data`] where a column has a type that is not acequia's.
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
            // What it has stays, and what comes is cast.
            Some((_, Some(ColumnType::Text))) => {}
            Some((_, Some(_))) => needs.push(Need::Text(column)),
            Some((_, None)) => {
                return Err(Error::data(format!(
                    "column `{}` of {shown} has a type that acequia does not give, and the stream's is {}",
                    column.name, column.column_type
                ))
                .remedy(format!(
                    "rename {shown} to keep what it has, or drop it: it is begun anew then"
                )));
            }
        }
    }
    Ok(needs)
}

/// Marks, before the rows of another snapshot, that those so far are no more: what the table had and the snapshot does not
/// would else never go. `snapshot` is a relation of its rows; none where it has none.
pub(crate) fn mark_new_snapshot(
    engine: &mut dyn Engine,
    changelog: &str,
    manifest: &Manifest,
    snapshot: Option<&str>,
) -> Result<()> {
    let columns = [OP, LSN, SEQ, COMMIT_TS, LOAD_ID_COLUMN];
    let of = |name: &str| format!("min({})", sql::of("n", name));
    let timestamp = engine.dialect().type_name(&ColumnType::TimestampTz);
    let (lsn, time, from, only) = match (snapshot, &manifest.position_after) {
        (Some(snapshot), _) => (
            of(LSN),
            of(COMMIT_TS),
            format!("FROM {snapshot} AS n "),
            "HAVING",
        ),
        (None, Some(Position::Lsn(position))) => {
            let lsn = i64::try_from(position.lsn.0).unwrap_or(i64::MAX);
            let time = literal(&instant(manifest.extracted_at));
            let time = format!("CAST({time} AS {timestamp})");
            (lsn.to_string(), time, String::new(), "WHERE")
        }
        (None, _) => return Ok(()),
    };
    engine
        .execute(&format!(
            "INSERT INTO {changelog} ({}) SELECT {}, {lsn}, -1, {time}, {} {from}\
             {only} EXISTS (SELECT 1 FROM {changelog})",
            list(columns),
            literal(Op::Truncate.code()),
            literal(manifest.load_id.as_str()),
        ))
        .map(drop)
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
