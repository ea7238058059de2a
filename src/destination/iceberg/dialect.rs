//! DuckDB's SQL over tables of Iceberg, whose types are fewer. No I/O.

use crate::destination::duckdb::dialect::{DuckDbSql, missing_by_join};
use crate::destination::duckdb::error::INFINITE;
use crate::destination::sql::statement::Insert;
use crate::destination::sql::system_columns::SystemColumn;
use crate::destination::sql::{Dialect, Missing};
use crate::error::Result;
use crate::evolution::TableSchema;
use crate::schema::{Column, ColumnType};

/// A list's element within an expression.
const ELEMENT: &str = "_acequia_element";

/// DuckDB's SQL, where tables are Iceberg's.
#[derive(Debug)]
pub(super) struct LakeSql;

impl Dialect for LakeSql {
    fn is_same_name(&self, one: &str, other: &str) -> bool {
        DuckDbSql.is_same_name(one, other)
    }

    fn check_names(&self, schema: &TableSchema, own: &[SystemColumn]) -> Result<()> {
        DuckDbSql.check_names(schema, own)
    }

    fn type_name(&self, column_type: &ColumnType) -> String {
        DuckDbSql.type_name(&kept(column_type))
    }

    fn parse_type(&self, name: &str) -> Option<ColumnType> {
        DuckDbSql.parse_type(name)
    }

    fn can_change(&self, from: &str, to: &str) -> bool {
        can_change(self, from, to)
    }

    fn json(&self) -> &'static str {
        "VARCHAR"
    }

    fn wide_integer(&self) -> &'static str {
        DuckDbSql.wide_integer()
    }

    fn microseconds(&self, expression: &str) -> String {
        DuckDbSql.microseconds(expression)
    }

    fn identity(&self, expression: &str, column_type: &ColumnType) -> Vec<String> {
        DuckDbSql.identity(expression, &kept(column_type))
    }

    /// Times are kept as text.
    fn handed_over(&self, expression: &str, column_type: &ColumnType) -> String {
        let is_time = match column_type {
            ColumnType::List(element) => **element == ColumnType::Time,
            other => *other == ColumnType::Time,
        };
        if is_time {
            let d: &dyn Dialect = &DuckDbSql;
            d.cast(expression, column_type)
        } else {
            expression.to_owned()
        }
    }

    fn contains(&self, list: &str, literal: &str) -> String {
        DuckDbSql.contains(list, literal)
    }

    fn temporary(&self, name: &str) -> String {
        DuckDbSql.temporary(name)
    }

    fn missing(&self, missing: &Missing<'_>) -> Insert {
        missing_by_join(self, missing, false)
    }
}

/// Whether a column of that type, in SQL, becomes the other with its rows where they are.
pub(super) fn can_change(d: &dyn Dialect, from: &str, to: &str) -> bool {
    match (d.parse_type(from), d.parse_type(to)) {
        (Some(from), Some(to)) => promotes(&from, &to),
        _ => false,
    }
}

/// What Iceberg promotes (specification, "Schema Evolution"): int to long, float to double, and a decimal to more digits.
pub(super) fn promotes(from: &ColumnType, to: &ColumnType) -> bool {
    match (from, to) {
        (ColumnType::Int32, ColumnType::Int64) | (ColumnType::Float32, ColumnType::Float64) => true,
        (
            ColumnType::Decimal { precision, scale },
            ColumnType::Decimal {
                precision: wider,
                scale: same,
            },
        ) => scale == same && precision <= wider,
        _ => false,
    }
}

/// The type that a table has for values of a type: Iceberg has no integer of two bytes and no JSON, a `time` column keeps
/// Spark 3.5 from loading the table, and engines disagree on what a `uuid` is read as.
pub(super) fn kept(column_type: &ColumnType) -> ColumnType {
    match column_type {
        ColumnType::Int16 => ColumnType::Int32,
        ColumnType::Json | ColumnType::Uuid | ColumnType::Time => ColumnType::Text,
        ColumnType::List(element) => ColumnType::List(Box::new(kept(element))),
        other => other.clone(),
    }
}

/// A part's value as the table keeps it: times with six digits after the second, so that text orders them; no infinite date
/// or time, which Iceberg does not have; and zero without a sign, as DuckDB writes -0.0 and 0.0 to Parquet as whichever of
/// them comes first.
pub(super) fn value(expression: &str, column: &Column) -> String {
    of_type(expression, &column.column_type, &column.name)
}

fn of_type(expression: &str, column_type: &ColumnType, name: &str) -> String {
    let d: &dyn Dialect = &LakeSql;
    match column_type {
        ColumnType::Time => {
            let text = d.cast(expression, &ColumnType::Text);
            format!(
                "left({text} || CASE length({text}) WHEN 8 THEN '.000000' ELSE '000000' END, 15)"
            )
        }
        ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz => {
            format!(
                "CASE WHEN isinf({expression}) THEN error({}) ELSE {} END",
                d.literal(&format!("{INFINITE}{name}")),
                d.cast(expression, column_type)
            )
        }
        ColumnType::Float32 | ColumnType::Float64 => {
            let value = d.cast(expression, column_type);
            format!(
                "CASE WHEN {value} = 0 THEN {} ELSE {value} END",
                d.value("0", column_type)
            )
        }
        ColumnType::List(element) if changes(element) => {
            let element = of_type(ELEMENT, element, name);
            let list = format!("list_transform({expression}, lambda {ELEMENT}: {element})");
            d.cast(&list, column_type)
        }
        other => d.cast(expression, other),
    }
}

/// Whether [`of_type`] does more with values of a type than to cast them.
pub(super) fn changes(column_type: &ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::Time
            | ColumnType::Date
            | ColumnType::Timestamp
            | ColumnType::TimestampTz
            | ColumnType::Float32
            | ColumnType::Float64
    )
}
