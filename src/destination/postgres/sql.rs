//! Pieces of PostgreSQL's SQL. No I/O.

use crate::destination::apply::Dialect;
use crate::schema::{Column, ColumnType};

pub(super) use crate::destination::apply::sql::{equal, identifier, list, literal, of};

/// PostgreSQL's SQL, where it is its own.
pub(super) struct PostgresSql;

impl Dialect for PostgresSql {
    fn type_name(&self, column_type: &ColumnType) -> String {
        named(column_type, false)
    }

    fn identity(&self, expression: &str, column_type: &ColumnType) -> Vec<String> {
        vec![identity(expression, column_type)]
    }

    /// As text, which tells NULL from the empty text: a join by `IS NOT DISTINCT FROM` goes through every pair of rows.
    fn same(&self, left: &[String], right: &[String]) -> String {
        let whole = |row: &[String]| format!("CAST(ROW({}) AS text)", row.join(", "));
        format!("{} = {}", whole(left), whole(right))
    }

    fn ordered(&self, expression: &str, column_type: &ColumnType) -> String {
        ordered(expression, column_type)
    }

    fn contains(&self, list: &str, literal: &str) -> String {
        format!("({literal} = ANY ({list}))")
    }

    fn wide_integer(&self) -> &'static str {
        "numeric"
    }

    fn temporary(&self, name: &str) -> String {
        format!("pg_temp.{}", identifier(name))
    }

    /// Nobody else does it: autovacuum does not come to temporary tables.
    fn analyze(&self, table: &str) -> Option<String> {
        Some(format!("ANALYZE {table}"))
    }
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
fn identity(expression: &str, column_type: &ColumnType) -> String {
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

/// The type that the catalog's name of it stands for; none where acequia has no such type.
pub(super) fn parse_type(name: &str) -> Option<ColumnType> {
    if let Some(element) = name.strip_suffix("[]") {
        return parse_type(element).map(|element| ColumnType::List(Box::new(element)));
    }
    Some(match name {
        "time without time zone" => ColumnType::Time,
        "timestamp without time zone" => ColumnType::Timestamp,
        "timestamp with time zone" => ColumnType::TimestampTz,
        // The others are called alike.
        other => other.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_known_again_by_its_name() {
        for name in [
            "boolean",
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal(38,9)",
            "text",
            "json",
            "binary",
            "uuid",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "list<timestamptz>",
            "list<decimal(10,2)>",
        ] {
            let column_type: ColumnType = name.parse().unwrap();
            assert_eq!(parse_type(&named(&column_type, false)), Some(column_type));
        }
        assert_eq!(parse_type("interval"), None);
        assert_eq!(parse_type("jsonb"), Some(ColumnType::Json));
    }
}
