//! PostgreSQL's SQL. No I/O.

use crate::destination::sql::dialect::{GROUPED, KEY, NEW, OLD};
use crate::destination::sql::statement::Insert;
use crate::destination::sql::system_columns::SystemColumn;
use crate::destination::sql::{Dialect, Missing};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::names::MAX_NAME;
use crate::schema::{Column, ColumnType};

/// Names that every table of PostgreSQL has for itself (manual, section 5.5).
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// What the names of acequia's own unique indices begin with.
pub(super) const OWN_INDEX: &str = "_acequia_key_";

/// PostgreSQL's SQL, where it is its own.
#[derive(Debug)]
pub(super) struct PostgresSql;

impl Dialect for PostgresSql {
    fn check_names(&self, schema: &TableSchema, own: &[SystemColumn]) -> Result<()> {
        check_names(schema, own)
    }

    fn type_name(&self, column_type: &ColumnType) -> String {
        named(column_type, false)
    }

    fn type_of(&self, column: &Column) -> String {
        named(&column.column_type, is_jsonb(column))
    }

    fn parse_type(&self, name: &str) -> Option<ColumnType> {
        parse_type(name)
    }

    /// JSON is stored as `jsonb` as long as the source's column is `jsonb`.
    fn holds(&self, column: &Column, data_type: &str) -> bool {
        match &column.column_type {
            ColumnType::Json => matches!(data_type, "json" | "jsonb"),
            ColumnType::List(element) if **element == ColumnType::Json => {
                matches!(data_type, "json[]" | "jsonb[]")
            }
            _ => self.type_of(column) == data_type,
        }
    }

    fn json(&self) -> &'static str {
        "jsonb"
    }

    fn microseconds(&self, expression: &str) -> String {
        format!("CAST(extract(epoch FROM {expression}) * 1000000 AS bigint)")
    }

    fn identity(&self, expression: &str, column_type: &ColumnType) -> Vec<String> {
        vec![identity(expression, column_type)]
    }

    /// As text, in which NULL and the empty text differ: a join by `IS NOT DISTINCT FROM` would compare every pair of rows.
    fn same(&self, left: &[String], right: &[String]) -> String {
        let whole = |row: &[String]| format!("CAST(ROW({}) AS text)", row.join(", "));
        format!("{} = {}", whole(left), whole(right))
    }

    fn ordered(&self, expression: &str, column_type: &ColumnType) -> String {
        match column_type {
            ColumnType::Text => format!("{expression} COLLATE \"C\""),
            _ => expression.to_owned(),
        }
    }

    /// The binary form of `jsonb` is no text.
    fn handed_over(&self, expression: &str, column_type: &ColumnType) -> String {
        match column_type {
            ColumnType::Json => format!("CAST({expression} AS text)"),
            ColumnType::List(element) if **element == ColumnType::Json => {
                format!("CAST({expression} AS text[])")
            }
            _ => expression.to_owned(),
        }
    }

    /// Not every server has `min()` for every type. The text of a UUID is ordered as the UUID is.
    fn lowest(&self, expression: &str, column_type: &ColumnType) -> String {
        match column_type {
            ColumnType::Text | ColumnType::Uuid => {
                format!("min(CAST({expression} AS text) COLLATE \"C\")")
            }
            _ => format!("min({expression})"),
        }
    }

    fn contains(&self, list: &str, literal: &str) -> String {
        format!("({literal} = ANY ({list}))")
    }

    fn wide_integer(&self) -> &'static str {
        "numeric"
    }

    fn temporary(&self, name: &str) -> String {
        format!("pg_temp.{}", self.identifier(name))
    }

    /// Autovacuum does not analyze temporary tables.
    fn analyze(&self, table: &str) -> Option<String> {
        Some(format!("ANALYZE {table}"))
    }

    /// Sorted rather than joined: a join by what may be NULL is not hashed. The rows of the load are a table, in which each
    /// has a place of its own.
    fn missing(&self, missing: &Missing<'_>) -> Insert {
        let d: &dyn Dialect = self;
        let named = |alias: &str| {
            let identity = d.identity_of(&missing.compared, alias).into_iter();
            let named: Vec<String> = identity
                .enumerate()
                .map(|(place, expression)| format!("{expression} AS c{place}"))
                .collect();
            named.join(", ")
        };
        let all_same: Vec<String> = (0..missing.compared.len())
            .map(|place| format!("c{place}"))
            .collect();
        let from = format!(
            "{stage} AS {NEW} JOIN (SELECT line FROM (SELECT line, \
             row_number() OVER (PARTITION BY {all_same}, line IS NULL) AS nth, \
             count(*) FILTER (WHERE line IS NULL) OVER (PARTITION BY {all_same}) AS times FROM \
             (SELECT {NEW}.ctid AS line, {new} FROM {stage} AS {NEW} WHERE {within} UNION ALL \
             SELECT CAST(NULL AS tid), {old} FROM {table} AS {OLD} WHERE {in_table}) AS {GROUPED}) AS {GROUPED} \
             WHERE line IS NOT NULL AND nth > times) AS {KEY} ON {KEY}.line = {NEW}.ctid",
            all_same = all_same.join(", "),
            stage = missing.rows.relation,
            new = named(NEW),
            old = named(OLD),
            within = missing.within,
            table = missing.table,
            in_table = missing.in_table,
        );
        missing.insert(self, from)
    }
}

/// The name of a column's type, as `format_type` writes it. JSON is `jsonb` if the source's column is.
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

/// Whether a column of JSON was `jsonb` in the source: its text is `jsonb`'s own, so that it does not change. Any other
/// JSON is stored as `json`, with the source's text.
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

/// The type that the catalog's name means. `None` if acequia has no such type.
fn parse_type(name: &str) -> Option<ColumnType> {
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

/// Refuses names that PostgreSQL does not accept for a column, or would truncate.
fn check_names(schema: &TableSchema, own: &[SystemColumn]) -> Result<()> {
    for column in &schema.columns {
        let name = column.column.name.as_str();
        let what = if own.iter().any(|own| own.name == name) {
            format!("the source's column `{name}` has the name of acequia's own column")
        } else if SYSTEM_COLUMNS.contains(&name) {
            format!(
                "the source's column `{name}` has the name of one that every table of PostgreSQL has"
            )
        } else if name.len() > MAX_NAME {
            format!(
                "the column name `{name}` is longer than {MAX_NAME} bytes, where PostgreSQL cuts a name"
            )
        } else if name.is_empty() || name.contains('\0') {
            format!("the source's column {name:?} has a name that PostgreSQL does not take")
        } else {
            continue;
        };
        return Err(Error::data(what).remedy(format!(
            "leave it out with exclude = [{name:?}] for [streams.STREAM], or rename it in a `query`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::samples::TYPES;

    #[test]
    fn every_type_is_known_again_by_its_name() {
        for name in TYPES {
            let column_type: ColumnType = name.parse().unwrap();
            assert_eq!(parse_type(&named(&column_type, false)), Some(column_type));
        }
        assert_eq!(parse_type("interval"), None);
        assert_eq!(parse_type("jsonb"), Some(ColumnType::Json));
    }
}
