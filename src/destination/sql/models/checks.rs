//! What must hold of rows, as queries that count those of which it does not. No I/O.

use crate::destination::sql::Dialect;
use crate::destination::sql::dialect::{GROUPED, NEW, OLD};
use crate::destination::sql::query::relation;
use crate::models::header::ColumnTest;

/// The query that counts the rows for which a test of a header fails; `table` and `parent` are full names in SQL.
pub(super) fn of_header(d: &dyn Dialect, test: &ColumnTest, table: &str, parent: &str) -> String {
    match test {
        ColumnTest::Unique(columns) => {
            let names = d.list(columns.iter().map(String::as_str));
            let known: Vec<String> = columns
                .iter()
                .map(|column| format!("{} IS NOT NULL", d.identifier(column)))
                .collect();
            format!(
                "SELECT count(*) FROM (SELECT 1 AS one FROM {table} WHERE {} GROUP BY {names} HAVING count(*) > 1) AS {GROUPED}",
                known.join(" AND ")
            )
        }
        ColumnTest::NotNull(column) => format!(
            "SELECT count(*) FROM {table} WHERE {} IS NULL",
            d.identifier(column)
        ),
        ColumnTest::Relationship {
            column,
            parent_column,
            ..
        } => {
            let child = d.of(NEW, column);
            format!(
                "SELECT count(*) FROM {table} AS {NEW} WHERE {child} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {parent} AS {OLD} \
                 WHERE {} = {child})",
                d.of(OLD, parent_column)
            )
        }
    }
}

/// The query that counts the rows that a test of its own file returns.
pub(super) fn of_file(sql: &str) -> String {
    format!("SELECT count(*) FROM {}", relation(sql))
}
