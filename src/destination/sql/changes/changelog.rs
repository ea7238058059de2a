//! `<table>__changes`: every change of a stream, one by one. Rows are only added, never altered.
//!
//! The table has all columns of the parts, including [`UNCHANGED`](crate::change::UNCHANGED); values that were not sent are
//! filled in. It follows the stream's schema, and keeps its rows when the stream takes another snapshot: a
//! [`Truncate`](Op::Truncate) before the snapshot's rows says that the earlier rows do not exist any more.

use crate::change::{COMMIT_TS, LSN, OP, Op, SEQ};
use crate::destination::sql::dialect::{NEW, OLD};
use crate::destination::sql::statement::Insert;
use crate::destination::sql::system_columns::instant;
use crate::destination::sql::{Engine, SqlEngine, Table, unreadable};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::position::Position;
use crate::schema::ColumnType;

use super::log::Log;

/// The name of a table's table of changes.
pub(crate) fn table_name(table: &str) -> String {
    format!("{table}__changes")
}

/// Creates the table of changes, or brings its columns up to date. Its rows stay, even if the stream begins anew.
///
/// # Errors
/// A table of that name is not acequia's to write, or has a column of a type that is not acequia's.
pub(super) fn prepare(
    engine: &mut dyn SqlEngine,
    manifest: &Manifest,
    schema: &TableSchema,
) -> Result<Table> {
    let mut table = Table::find(engine, manifest, &table_name(&manifest.table))?;
    if !table.exists() {
        table.create_changelog(engine, schema)?;
        return Ok(table);
    }
    let d = engine.dialect();
    for column in schema.columns.iter().map(|column| &column.column) {
        let wanted = d.type_of(column);
        let Some(known) = table.data_type(&column.name) else {
            table.add(engine, &column.name, &wanted)?;
            continue;
        };
        match d.parse_type(known) {
            // What is stored exactly the same need not be the same type: JSON is text to some.
            Some(known) if known.holds(&column.column_type) => {}
            Some(known) if column.column_type.holds(&known) => {
                table.change_type(engine, &column.name, &wanted)?;
            }
            // Existing columns stay, and new values are cast.
            Some(ColumnType::Text) => {}
            // It has held values of a type that cannot take the stream's, nor be taken by it: text holds both.
            Some(_) => {
                table.change_type(engine, &column.name, &d.type_name(&ColumnType::Text))?;
            }
            None => {
                let shown = &table.shown;
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
    engine.load_columns(&mut table, manifest, schema)?;
    Ok(table)
}

/// Adds a truncation before the rows of another snapshot: otherwise rows that the snapshot does not have would remain.
/// `snapshot` is a relation of its rows; `None` if it has none.
pub(super) fn mark_new_snapshot(
    engine: &mut dyn Engine,
    changelog: &str,
    manifest: &Manifest,
    snapshot: Option<&str>,
) -> Result<()> {
    let d = engine.dialect();
    let (lsn, time) = match (snapshot, &manifest.position_after) {
        (Some(snapshot), _) => first_place(engine, snapshot)?,
        (None, Some(Position::Lsn(position))) => {
            let lsn = i64::try_from(position.lsn.0).unwrap_or(i64::MAX);
            (lsn.to_string(), instant(manifest.extracted_at))
        }
        (None, _) => return Ok(()),
    };
    let mark = Insert::rows("(SELECT 1 AS one)")
        .value(OP, d.literal(Op::Truncate.code()))
        .value(LSN, lsn)
        .value(SEQ, "-1".to_owned())
        .value(COMMIT_TS, d.value(&time, &ColumnType::TimestampTz))
        .load_id(d, manifest)
        .only(format!("EXISTS (SELECT 1 FROM {changelog} AS {OLD})"));
    engine.add(changelog, &mark)
}

/// The position of a snapshot's rows, and its time. `snapshot` is a relation of its rows.
fn first_place(engine: &mut dyn Engine, snapshot: &str) -> Result<(String, String)> {
    let d = engine.dialect();
    let first = |name: &str| d.cast(&format!("min({})", d.of(NEW, name)), &ColumnType::Text);
    let rows = engine.rows(&format!(
        "SELECT {}, {} FROM {snapshot} AS {NEW}",
        first(LSN),
        first(COMMIT_TS)
    ))?;
    let place: Option<[Option<String>; 2]> =
        rows.into_iter().next().and_then(|row| row.try_into().ok());
    match place {
        Some([Some(lsn), Some(time)]) => Ok((lsn, time)),
        _ => Err(unreadable()),
    }
}

/// Adds changes to their table. `relation` is a table reference without alias.
pub(super) fn append(
    engine: &mut dyn Engine,
    changelog: &str,
    log: &Log<'_>,
    relation: &str,
) -> Result<()> {
    let d = engine.dialect();
    let columns = log.all.iter().map(|column| column.name.as_str());
    let insert = Insert::rows(relation)
        .columns(d, NEW, columns)
        .load_id(d, log.manifest);
    engine.add(changelog, &insert)
}
