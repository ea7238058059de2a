//! DuckDB's SQL. No I/O.

use std::collections::HashMap;

use crate::destination::sql::dialect::{INNER, KEY, NEW, OLD, pairwise};
use crate::destination::sql::statement::Insert;
use crate::destination::sql::system_columns::SystemColumn;
use crate::destination::sql::{Dialect, Missing};
use crate::error::{Error, Result};
use crate::evolution::{TableColumn, TableSchema};
use crate::schema::ColumnType;

/// DuckDB's SQL, where it is its own.
#[derive(Debug)]
pub(crate) struct DuckDbSql;

impl Dialect for DuckDbSql {
    /// A quoted identifier is taken by DuckDB as it is, but for the case of ASCII letters.
    fn is_same_name(&self, one: &str, other: &str) -> bool {
        one.eq_ignore_ascii_case(other)
    }

    fn check_names(&self, schema: &TableSchema, own: &[SystemColumn]) -> Result<()> {
        check_names(schema, own, "DuckDB", str::to_ascii_lowercase)
    }

    fn type_name(&self, column_type: &ColumnType) -> String {
        type_name(column_type)
    }

    fn parse_type(&self, name: &str) -> Option<ColumnType> {
        parse_type(name)
    }

    fn json(&self) -> &'static str {
        "JSON"
    }

    fn microseconds(&self, expression: &str) -> String {
        format!("epoch_us({expression})")
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
        format!("temp.{}", self.identifier(name))
    }

    fn missing(&self, missing: &Missing<'_>) -> Insert {
        missing_by_join(self, missing, false)
    }
}

/// What adds the rows of an overlap that a table does not have: by a join, which is hashed. `ordered` says that the engine numbers
/// rows in an order only, be they all the same.
pub(in crate::destination) fn missing_by_join(
    d: &dyn Dialect,
    missing: &Missing<'_>,
    ordered: bool,
) -> Insert {
    let identity = |alias: &str| d.identity_of(&missing.compared, alias);
    let of_table = identity(OLD);
    let places = 0..of_table.len();
    let named: Vec<String> = of_table
        .iter()
        .enumerate()
        .map(|(place, expression)| format!("{expression} AS c{place}"))
        .collect();
    let counted: Vec<String> = places.map(|place| format!("{KEY}.c{place}")).collect();
    let same = identity(INNER).join(", ");
    let order = if ordered {
        format!(" ORDER BY {same}")
    } else {
        String::new()
    };
    let from = format!(
        "(SELECT {INNER}.*, row_number() OVER (PARTITION BY {same}{order}) AS _acequia_nth FROM {} AS {INNER}) AS {NEW} \
             LEFT JOIN (SELECT {}, count(*) AS _acequia_times FROM {} AS {OLD} WHERE {} GROUP BY {}) AS {KEY} ON {}",
        missing.rows.only(missing.within),
        named.join(", "),
        missing.table,
        missing.in_table,
        of_table.join(", "),
        pairwise(&identity(NEW), "IS NOT DISTINCT FROM", &counted, " AND "),
    );
    missing.insert(d, from).only(format!(
        "{NEW}._acequia_nth > coalesce({KEY}._acequia_times, 0)"
    ))
}

/// The name of the type that holds a column, as DuckDB's own catalog writes it.
fn type_name(column_type: &ColumnType) -> String {
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

/// The type that the catalog's name means. `None` if acequia has no such type.
fn parse_type(name: &str) -> Option<ColumnType> {
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

/// The expressions that are all equal, or all NULL, where two values of that type are the same value. To SQL, -0.0
/// equals 0.0; here they differ. Of what a window is divided by DuckDB gives back another zero, so that is not the value itself.
fn identity(expression: &str, column_type: &ColumnType) -> Vec<String> {
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

/// Refuses columns that are one to an engine which does not distinguish `A` from `a`; `folded` is a name as it compares it.
pub(in crate::destination) fn check_names(
    schema: &TableSchema,
    own: &[SystemColumn],
    engine: &str,
    folded: impl Fn(&str) -> String,
) -> Result<()> {
    let mut seen: HashMap<String, Option<&TableColumn>> =
        own.iter().map(|own| (own.name.to_owned(), None)).collect();
    for column in &schema.columns {
        let name = &column.column.name;
        match seen.insert(folded(name), Some(column)) {
            None => {}
            Some(None) => {
                return Err(Error::data(format!(
                    "the source's column `{name}` has the name of acequia's own column `{}`",
                    folded(name)
                ))
                .remedy(format!(
                    "give it another name, under [streams.STREAM.rename]: {name} = \"…\"; or leave it out with exclude = \
                     [\"{name}\"]"
                )));
            }
            Some(Some(other)) => {
                let retired = column.retired || other.retired;
                let other = &other.column.name;
                return Err(Error::data(format!(
                    "the columns `{other}` and `{name}` differ only in their letters' case, which {engine} does not tell \
                     apart"
                ))
                .remedy(if retired {
                    "the source renamed it: make the table anew with `acequia run STREAM --full-refresh`".to_owned()
                } else {
                    format!(
                        "give one another name, under [streams.STREAM.rename]: {name} = \"…\"; or leave one out with exclude = \
                         [\"{name}\"]"
                    )
                }));
            }
        }
    }
    Ok(())
}
