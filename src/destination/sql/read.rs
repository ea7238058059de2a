//! The rows of a stream's table, read back.

use arrow::array::RecordBatch;

use crate::change::DELETED_AT;
use crate::destination::{Living, TableRows};
use crate::error::{Error, Result};

use super::SqlEngine;
use super::dialect::OLD;
use super::system_columns::VALID_TO;

/// Hands over the rows of a table.
///
/// # Errors
/// There is no such table, it lacks a column or has it with another type, or the destination fails.
pub(crate) fn read_rows(
    engine: &mut dyn SqlEngine,
    rows: &TableRows,
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let shown = format!("{}.{}", engine.dataset(), rows.table);
    let found = engine.columns_of(&rows.table)?;
    let d = engine.dialect();
    let wrong = |what: String| {
        Error::destination(what).remedy("make the table anew: `acequia run STREAM --full-refresh`")
    };
    if found.is_empty() {
        return Err(wrong(format!(
            "table {shown} is missing, though the ledger has it"
        )));
    }
    for column in &rows.columns {
        let same = |(name, _): &&(String, String)| d.is_same_name(name, &column.name);
        match found.iter().find(same) {
            Some((_, data_type)) if d.holds(column, data_type) => {}
            Some((_, data_type)) => {
                return Err(wrong(format!(
                    "column `{}` of table {shown} is of type {data_type}, though the ledger has it as {}",
                    column.name,
                    d.type_of(column)
                )));
            }
            None => {
                return Err(wrong(format!(
                    "table {shown} has no column `{}`, though the ledger has it",
                    column.name
                )));
            }
        }
    }
    let columns: Vec<String> = rows
        .columns
        .iter()
        .map(|column| {
            let value = d.handed_over(&d.of(OLD, &column.name), &column.column_type);
            format!("{value} AS {}", d.identifier(&column.name))
        })
        .collect();
    let condition = match rows.living {
        Living::All => String::new(),
        Living::NotDeleted => format!(" WHERE {} IS NULL", d.of(OLD, DELETED_AT)),
        Living::Current => format!(" WHERE {} IS NULL", d.of(OLD, VALID_TO)),
    };
    let table = engine.table(&rows.table);
    let sql = format!(
        "SELECT {} FROM {table} AS {OLD}{condition}",
        columns.join(", ")
    );
    engine.read(&sql, &rows.columns, each)
}
