//! Rows that only mark a record: their NULLs keep the table's values.
//!
//! A source that learns only of a record's end (it was merged into another, or deleted for good) knows nothing else of it.
//! A manifest names a column that has a value in every other row; a row in which it is NULL is such a mark.

use crate::error::Result;
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;

use super::dialect::{NEW, OLD};
use super::system_columns::VALID_TO;
use super::{Dialect, Engine, Rows, TempTables, dedup};

/// Marks, with the values that the table has for their keys.
const MARKS: &str = "_acequia_marks";

/// Gives marks the values of the rows that they mark. `table` is as it was before the load.
///
/// # Errors
/// Where the load has no key, or the destination fails.
pub(super) fn complete(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    table: &str,
    manifest: &Manifest,
    rows: Rows,
) -> Result<Rows> {
    let Some(mark) = &manifest.marks else {
        return Ok(rows);
    };
    let key = &manifest.primary_key;
    dedup::require(key, &rows)?;
    let d = engine.dialect();
    let values: Vec<String> = rows
        .names()
        .map(|name| {
            let (new, old) = (d.of(NEW, name), d.of(OLD, name));
            if key.iter().any(|column| column == name) {
                new
            } else {
                format!("coalesce({new}, {old}) AS {}", d.identifier(name))
            }
        })
        .collect();
    // A table of its own, as the rows that the values come from are about to be replaced.
    let marks = temp.put(
        engine,
        MARKS,
        &format!(
            "SELECT {} FROM {} AS {NEW} LEFT JOIN {table} AS {OLD} ON {}{} WHERE {} IS NULL",
            values.join(", "),
            rows.relation,
            d.equal(key, NEW, OLD),
            and_current(d, manifest.disposition),
            d.of(NEW, mark),
        ),
    )?;
    let relation = format!(
        "(SELECT {} FROM {} AS {NEW} WHERE {} IS NOT NULL UNION ALL SELECT {} FROM {marks} AS {NEW})",
        d.list_of(NEW, rows.names()),
        rows.relation,
        d.of(NEW, mark),
        d.list_of(NEW, rows.names()),
    );
    Ok(Rows {
        columns: rows.columns,
        relation,
    })
}

/// The ids of a table's records that are not archived.
pub(crate) fn live_ids(
    engine: &mut dyn Engine,
    table: &str,
    disposition: Disposition,
) -> Result<Vec<String>> {
    let d = engine.dialect();
    engine.texts(&format!(
        "SELECT {} FROM {table} AS {OLD} WHERE NOT {}{}",
        d.of(OLD, "id"),
        d.of(OLD, "archived"),
        and_current(d, disposition),
    ))
}

/// Of a table that keeps versions, only the current ones.
fn and_current(d: &dyn Dialect, disposition: Disposition) -> String {
    if disposition == Disposition::Scd2 {
        format!(" AND {} IS NULL", d.of(OLD, VALID_TO))
    } else {
        String::new()
    }
}
