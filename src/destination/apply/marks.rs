//! Rows that only mark a record: what they have no value for stays as the table has it.
//!
//! A source that learns of a record's end alone (merged into another, gone for good) knows nothing else of it any more.
//! A manifest names the column that every other row has a value in; where it is NULL, the row is such a mark.

use crate::error::Result;
use crate::landing::manifest::{Disposition, Manifest};

use super::own::VALID_TO;
use super::sql::{equal, list, list_of, of};
use super::{Engine, Rows, Scratch, keys};

/// Marks, with the values that the table has for their keys.
const MARKS: &str = "_acequia_marks";

/// Gives marks the values of the rows that they mark. `table` is as it was before the load.
///
/// # Errors
/// Where the load has no key, or the destination fails.
pub(crate) fn complete(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    table: &str,
    manifest: &Manifest,
    rows: Rows,
) -> Result<Rows> {
    let Some(mark) = &manifest.marks else {
        return Ok(rows);
    };
    let key = &manifest.primary_key;
    keys::require(key, &rows)?;
    let names = || rows.columns.iter().map(|column| column.name.as_str());
    let values: Vec<String> = names()
        .map(|name| {
            let (new, old) = (of("n", name), of("o", name));
            if key.iter().any(|column| column == name) {
                new
            } else {
                format!("coalesce({new}, {old}) AS {}", list([name]))
            }
        })
        .collect();
    let current = if manifest.disposition == Disposition::Scd2 {
        format!(" AND {} IS NULL", of("o", VALID_TO))
    } else {
        String::new()
    };
    // A table of its own, as the rows that the values come from are about to be replaced.
    let (marks, _) = scratch.make(
        engine,
        MARKS,
        &format!(
            "SELECT {} FROM {} AS n LEFT JOIN {table} AS o ON {}{current} WHERE {} IS NULL",
            values.join(", "),
            rows.relation,
            equal(key, "n", "o"),
            of("n", mark),
        ),
    )?;
    let relation = format!(
        "(SELECT {} FROM {} AS n WHERE {} IS NOT NULL UNION ALL SELECT {} FROM {marks} AS m)",
        list_of("n", names()),
        rows.relation,
        of("n", mark),
        list_of("m", names()),
    );
    Ok(Rows {
        columns: rows.columns,
        relation,
    })
}

/// The ids of a table's rows that stand for records in use.
pub(crate) fn live_ids(
    engine: &mut dyn Engine,
    table: &str,
    disposition: Disposition,
) -> Result<Vec<String>> {
    let current = if disposition == Disposition::Scd2 {
        format!(" AND {} IS NULL", of("o", VALID_TO))
    } else {
        String::new()
    };
    engine.texts(&format!(
        "SELECT {} FROM {table} AS o WHERE NOT {}{current}",
        of("o", "id"),
        of("o", "archived"),
    ))
}
