//! Pieces of DuckDB's SQL. No I/O.

use crate::destination::apply::Dialect;
use crate::schema::ColumnType;

/// A quoted identifier is taken by DuckDB as it is, but for the case of ASCII letters.
pub(super) use crate::destination::apply::sql::{identifier, literal, of};

/// DuckDB's SQL, where it is its own.
pub(crate) struct DuckDbSql;

impl Dialect for DuckDbSql {
    fn type_name(&self, column_type: &ColumnType) -> String {
        type_name(column_type)
    }

    fn identity(&self, expression: &str, column_type: &ColumnType) -> Vec<String> {
        identity(expression, column_type)
    }

    fn contains(&self, list: &str, literal: &str) -> String {
        format!("list_contains({list}, {literal})")
    }

    fn wide_integer(&self) -> &'static str {
        "HUGEINT"
    }

    fn temporary(&self, name: &str) -> String {
        format!("temp.{}", identifier(name))
    }
}

/// The name of the type that holds a column, as DuckDB's own catalog writes it.
pub(super) fn type_name(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Boolean => "BOOLEAN".to_owned(),
        ColumnType::Int16 => "SMALLINT".to_owned(),
        ColumnType::Int32 => "INTEGER".to_owned(),
        ColumnType::Int64 => "BIGINT".to_owned(),
        ColumnType::Float32 => "FLOAT".to_owned(),
        ColumnType::Float64 => "DOUBLE".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
        ColumnType::Text => "VARCHAR".to_owned(),
        ColumnType::Json => "JSON".to_owned(),
        ColumnType::Binary => "BLOB".to_owned(),
        ColumnType::Uuid => "UUID".to_owned(),
        ColumnType::Date => "DATE".to_owned(),
        ColumnType::Time => "TIME".to_owned(),
        ColumnType::Timestamp => "TIMESTAMP".to_owned(),
        ColumnType::TimestampTz => "TIMESTAMP WITH TIME ZONE".to_owned(),
        ColumnType::List(element) => format!("{}[]", type_name(element)),
    }
}

/// The type that the catalog's name of it stands for; none where acequia has no such type.
pub(super) fn parse_type(name: &str) -> Option<ColumnType> {
    if let Some(element) = name.strip_suffix("[]") {
        return parse_type(element).map(|element| ColumnType::List(Box::new(element)));
    }
    Some(match name {
        "FLOAT" => ColumnType::Float32,
        "DOUBLE" => ColumnType::Float64,
        "VARCHAR" => ColumnType::Text,
        "BLOB" => ColumnType::Binary,
        "TIMESTAMP WITH TIME ZONE" => ColumnType::TimestampTz,
        // The others are called alike.
        other => other.parse().ok()?,
    })
}

/// `expression` as a value of that type.
pub(super) fn cast(expression: &str, column_type: &ColumnType) -> String {
    format!("CAST({expression} AS {})", type_name(column_type))
}

/// The expressions that are all equal, or all NULL, where two values of that type are the same value. To SQL, -0.0
/// equals 0.0; here they differ. Of what a window is divided by DuckDB gives back another zero, so that is not the value itself.
pub(super) fn identity(expression: &str, column_type: &ColumnType) -> Vec<String> {
    match column_type {
        ColumnType::Float32 | ColumnType::Float64 => {
            vec![
                format!("abs({expression})"),
                format!("signbit({expression})"),
            ]
        }
        ColumnType::List(element)
            if matches!(**element, ColumnType::Float32 | ColumnType::Float64) =>
        {
            vec![format!("CAST({expression} AS VARCHAR[])")]
        }
        _ => vec![expression.to_owned()],
    }
}
