//! Pieces of DuckDB's SQL. No I/O.

use crate::schema::ColumnType;

/// An identifier, quoted: DuckDB then takes it as it is, but for the case of ASCII letters.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A column of a relation that has an alias.
pub(super) fn of(alias: &str, column: &str) -> String {
    format!("{alias}.{}", identifier(column))
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

/// `expression` as a value of that type.
pub(super) fn cast(expression: &str, column_type: &ColumnType) -> String {
    format!("CAST({expression} AS {})", type_name(column_type))
}

/// The expressions that are all equal, or all NULL, where two values of that type are the same value. To SQL, -0.0
/// equals 0.0; here they differ.
pub(super) fn identity(expression: &str, column_type: &ColumnType) -> Vec<String> {
    match column_type {
        ColumnType::Float32 | ColumnType::Float64 => {
            vec![expression.to_owned(), format!("signbit({expression})")]
        }
        ColumnType::List(element)
            if matches!(**element, ColumnType::Float32 | ColumnType::Float64) =>
        {
            vec![format!("CAST({expression} AS VARCHAR[])")]
        }
        _ => vec![expression.to_owned()],
    }
}
