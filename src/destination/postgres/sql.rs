//! Pieces of PostgreSQL's SQL. No I/O.

use crate::schema::{Column, ColumnType};

pub(super) use crate::postgres::{literal, quote as identifier};

/// A column of a relation that has an alias.
pub(super) fn of(alias: &str, column: &str) -> String {
    format!("{alias}.{}", identifier(column))
}

/// Names joined by commas.
pub(super) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| identifier(name.as_ref()))
        .collect();
    names.join(", ")
}

/// The name of the type that holds a column, as `format_type` writes it.
pub(super) fn type_name(column: &Column) -> String {
    named(&column.column_type, is_jsonb(column))
}

fn named(column_type: &ColumnType, is_jsonb: bool) -> String {
    match column_type {
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Int16 => "smallint".to_owned(),
        ColumnType::Int32 => "integer".to_owned(),
        ColumnType::Int64 => "bigint".to_owned(),
        ColumnType::Float32 => "real".to_owned(),
        ColumnType::Float64 => "double precision".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Json if is_jsonb => "jsonb".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Binary => "bytea".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time => "time without time zone".to_owned(),
        ColumnType::Timestamp => "timestamp without time zone".to_owned(),
        ColumnType::TimestampTz => "timestamp with time zone".to_owned(),
        ColumnType::List(element) => format!("{}[]", named(element, is_jsonb)),
    }
}

/// Whether a column of JSON came from `jsonb`: its text is `jsonb`'s own, so that it goes back without a change. Any other
/// JSON is kept as `json`, as the text that the source gave.
pub(super) fn is_jsonb(column: &Column) -> bool {
    let is_json = match &column.column_type {
        ColumnType::Json => true,
        ColumnType::List(element) => **element == ColumnType::Json,
        _ => false,
    };
    is_json && matches!(column.source_type.as_str(), "jsonb" | "jsonb[]")
}

/// An expression that is equal, or NULL in both, where two values of that type are the same value. To SQL, -0.0 equals
/// 0.0, and `json` cannot be compared at all.
pub(super) fn identity(expression: &str, column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Float32 => format!("float4send({expression})"),
        ColumnType::Float64 => format!("float8send({expression})"),
        ColumnType::Json => format!("CAST({expression} AS text)"),
        ColumnType::List(element)
            if matches!(
                **element,
                ColumnType::Float32 | ColumnType::Float64 | ColumnType::Json
            ) =>
        {
            format!("CAST({expression} AS text)")
        }
        _ => expression.to_owned(),
    }
}

/// An expression by which values of that type are ordered as the source orders its cursor: text by bytes.
pub(super) fn ordered(expression: &str, column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Text => format!("{expression} COLLATE \"C\""),
        _ => expression.to_owned(),
    }
}

/// What two rows have in common that are the same in these columns.
pub(super) fn identities(columns: &[Column], alias: &str) -> Vec<String> {
    columns
        .iter()
        .map(|column| identity(&of(alias, &column.name), &column.column_type))
        .collect()
}

/// `a = b AND …` over columns of two relations that are never NULL.
pub(super) fn equal(columns: &[String], left: &str, right: &str) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .map(|column| format!("{} = {}", of(left, column), of(right, column)))
        .collect();
    pairs.join(" AND ")
}
