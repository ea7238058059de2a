//! The rows of a stream's table, read back or counted.

use arrow::array::RecordBatch;

use crate::change::DELETED_AT;
use crate::destination::{Living, TableRange, TableRows};
use crate::error::{Error, Result};
use crate::position::ValueRange;
use crate::verify::counts::Counting;

use super::dialect::OLD;
use super::range::within;
use super::system_columns::VALID_TO;
use super::{Dialect, SqlEngine, Table, filter};

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
    let sql = select(&columns, &table, &conditions(d, &table, rows));
    engine.read(&sql, &rows.columns, each)
}

/// Counts the rows of a table.
///
/// # Errors
/// As [`read_rows`].
pub(crate) fn count_rows(
    engine: &mut dyn SqlEngine,
    rows: &TableRows,
    counting: &Counting,
) -> Result<RecordBatch> {
    let table = Table::look_up(engine, &rows.table)?;
    table.check_columns(&rows.columns)?;
    let d = engine.dialect();
    let settled = match &counting.next_run {
        Some(next_run) => {
            let mut known = rows.columns.iter();
            let column = known
                .find(|column| column.name == next_run.column)
                .ok_or_else(|| Error::internal("the cursor is not counted"))?;
            let below = ValueRange {
                column: next_run.column.clone(),
                from: None,
                to: Some(next_run.from.clone()),
            };
            let below = within(d, &below, &column.column_type);
            format!(" FILTER (WHERE {})", below.join(" AND "))
        }
        None => String::new(),
    };
    let mut values = vec!["count(*)".to_owned(), format!("count(*){settled}")];
    if let Some(column) = &counting.bounds {
        let value = d.of(OLD, &column.name);
        values.extend(["min", "max"].map(|bound| format!("{bound}({value}){settled}")));
    }
    let columns = counting.columns.iter();
    values.extend(columns.map(|column| format!("count({}){settled}", d.of(OLD, &column.name))));
    let answer = counting.answer(counting.bounds.as_ref().map(|column| &column.column_type));
    let values: Vec<String> = values
        .iter()
        .zip(&answer)
        .map(|(value, column)| format!("{value} AS {}", d.identifier(&column.name)))
        .collect();
    let mut conditions = conditions(d, &table, rows);
    if let Some(column) = &counting.left_out {
        conditions.push(format!("{} IS NOT TRUE", d.of(OLD, column)));
    }
    let sql = select(&values, &table, &conditions);
    let mut counted = None;
    engine.read(&sql, &answer, &mut |batch| {
        counted = Some(batch);
        Ok(())
    })?;
    counted.ok_or_else(|| Error::internal("the destination counted nothing"))
}

fn select(values: &[String], table: &Table, conditions: &[String]) -> String {
    format!(
        "SELECT {} FROM {} AS {OLD}{}",
        values.join(", "),
        table.sql,
        filter(conditions)
    )
}

/// The conditions that the rows meet.
fn conditions(d: &dyn Dialect, table: &Table, rows: &TableRows) -> Vec<String> {
    // A table from before deletes were soft has no row that is marked.
    let has_marks = table.data_type(DELETED_AT).is_some();
    let living = match rows.living {
        Living::All => None,
        Living::NotDeleted => has_marks.then_some(DELETED_AT),
        Living::Current => Some(VALID_TO),
    };
    let living = living.map(|column| format!("{} IS NULL", d.of(OLD, column)));
    let of_range = rows.within.iter();
    let of_range =
        of_range.flat_map(|TableRange { column, range }| within(d, range, &column.column_type));
    living.into_iter().chain(of_range).collect()
}
