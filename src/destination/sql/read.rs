//! The rows of a stream's table, read back.

use arrow::array::RecordBatch;

use crate::change::DELETED_AT;
use crate::destination::{Living, TableRange, TableRows};
use crate::error::Result;

use super::dialect::OLD;
use super::range::within;
use super::system_columns::VALID_TO;
use super::write::filter;
use super::{SqlEngine, Table};

/// Hands over the rows of a table.
///
/// # Errors
/// There is no such table, it lacks a column or has it with another type, or the destination fails.
pub(crate) fn read_rows(
    engine: &mut dyn SqlEngine,
    rows: &TableRows,
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let table = Table::look_up(engine, &rows.table)?;
    table.check_columns(&rows.columns)?;
    let d = engine.dialect();
    let columns: Vec<String> = rows
        .columns
        .iter()
        .map(|column| {
            let value = d.handed_over(&d.of(OLD, &column.name), &column.column_type);
            format!("{value} AS {}", d.identifier(&column.name))
        })
        .collect();
    // A table from before deletes were soft has no row that is marked.
    let has_marks = table.data_type(DELETED_AT).is_some();
    let mut conditions = match rows.living {
        Living::All => Vec::new(),
        Living::NotDeleted if !has_marks => Vec::new(),
        Living::NotDeleted => vec![format!("{} IS NULL", d.of(OLD, DELETED_AT))],
        Living::Current => vec![format!("{} IS NULL", d.of(OLD, VALID_TO))],
    };
    if let Some(TableRange { column, range }) = &rows.within {
        table.check_columns([column])?;
        conditions.extend(within(d, range, &column.column_type));
    }
    let sql = format!(
        "SELECT {} FROM {} AS {OLD}{}",
        columns.join(", "),
        table.sql,
        filter(&conditions)
    );
    engine.read(&sql, &rows.columns, each)
}
