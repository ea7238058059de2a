//! Spark's SQL over tables of Iceberg, which Sail speaks as well. No I/O.

use crate::destination::duckdb::dialect::{check_names, missing_by_join};
use crate::destination::duckdb::error::INFINITE;
use crate::destination::iceberg::dialect::{can_change, changes, kept, promotes};
use crate::destination::sql::statement::Insert;
use crate::destination::sql::system_columns::SystemColumn;
use crate::destination::sql::{Dialect, Missing};
use crate::error::Result;
use crate::evolution::TableSchema;
use crate::schema::{Column, ColumnType};

use super::Way;

/// A list's element within an expression.
const ELEMENT: &str = "_acequia_element";
/// The days from 1970 to the first of 4713 BC, before which PostgreSQL has no dates, and to the last of 9999.
const FIRST_DAY: i64 = -2_440_588;
const LAST_DAY: i64 = 2_932_896;

/// Spark's SQL.
#[derive(Debug)]
pub(in crate::destination::iceberg) struct SparkSql;

impl Dialect for SparkSql {
    fn identifier(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    /// `\` begins an escape in a literal, and `''` is the end of one and the begin of the next to Spark.
    fn literal(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
    }

    fn is_same_name(&self, one: &str, other: &str) -> bool {
        one.to_lowercase() == other.to_lowercase()
    }

    fn check_names(&self, schema: &TableSchema, own: &[SystemColumn]) -> Result<()> {
        check_names(schema, own, "Spark", str::to_lowercase)
    }

    fn type_name(&self, column_type: &ColumnType) -> String {
        type_name(&kept(column_type))
    }

    fn parse_type(&self, name: &str) -> Option<ColumnType> {
        parse_type(name)
    }

    /// A load that failed may have left a column wider than the ledger has it.
    fn holds(&self, column: &Column, data_type: &str) -> bool {
        let expected = kept(&column.column_type);
        self.parse_type(data_type)
            .is_some_and(|found| found == expected || promotes(&expected, &found))
    }

    fn can_change(&self, from: &str, to: &str) -> bool {
        can_change(self, from, to)
    }

    fn json(&self) -> &'static str {
        "STRING"
    }

    fn wide_integer(&self) -> &'static str {
        "DECIMAL(38,0)"
    }

    fn microseconds(&self, expression: &str) -> String {
        format!("unix_micros({expression})")
    }

    /// Zero has no sign in these tables, and NaN equals itself.
    fn identity(&self, expression: &str, _column_type: &ColumnType) -> Vec<String> {
        vec![expression.to_owned()]
    }

    fn contains(&self, list: &str, literal: &str) -> String {
        format!("array_contains({list}, {literal})")
    }

    fn elements(&self, list: &str) -> String {
        format!("explode({list})")
    }

    /// A view: Spark has no temporary tables.
    fn temporary(&self, name: &str) -> String {
        self.identifier(name)
    }

    fn missing(&self, missing: &Missing<'_>) -> Insert {
        missing_by_join(self, missing, true)
    }

    fn distinct(&self, _identity: &[String], columns: &str, from: &str) -> String {
        format!("SELECT DISTINCT {columns} FROM {from}")
    }

    fn correlates(&self) -> bool {
        false
    }
}

fn type_name(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Boolean => "BOOLEAN".to_owned(),
        ColumnType::Int16 => "SMALLINT".to_owned(),
        ColumnType::Int32 => "INT".to_owned(),
        ColumnType::Int64 => "BIGINT".to_owned(),
        ColumnType::Float32 => "FLOAT".to_owned(),
        ColumnType::Float64 => "DOUBLE".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
        ColumnType::Text | ColumnType::Json | ColumnType::Uuid | ColumnType::Time => {
            "STRING".to_owned()
        }
        ColumnType::Binary => "BINARY".to_owned(),
        ColumnType::Date => "DATE".to_owned(),
        ColumnType::Timestamp => "TIMESTAMP_NTZ".to_owned(),
        ColumnType::TimestampTz => "TIMESTAMP".to_owned(),
        ColumnType::List(element) => format!("ARRAY<{}>", type_name(element)),
    }
}

fn parse_type(name: &str) -> Option<ColumnType> {
    if let Some(element) = name
        .strip_prefix("ARRAY<")
        .and_then(|rest| rest.strip_suffix('>'))
    {
        return parse_type(element).map(|element| ColumnType::List(Box::new(element)));
    }
    Some(match name {
        "INT" => ColumnType::Int32,
        "FLOAT" => ColumnType::Float32,
        "DOUBLE" => ColumnType::Float64,
        "STRING" => ColumnType::Text,
        "BINARY" => ColumnType::Binary,
        "TIMESTAMP_NTZ" => ColumnType::Timestamp,
        "TIMESTAMP" => ColumnType::TimestampTz,
        "BOOLEAN" | "BIGINT" | "DATE" => name.parse().ok()?,
        decimal if decimal.starts_with("DECIMAL(") => decimal.parse().ok()?,
        _ => return None,
    })
}

/// A part's value as the table keeps it.
pub(super) fn value(expression: &str, column: &Column, way: Way) -> String {
    of_type(expression, &column.column_type, &column.name, way)
}

/// Whether Spark does not find out by itself that a part has values of a type.
pub(super) fn is_unknown(column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Time | ColumnType::Uuid => true,
        ColumnType::List(element) => is_unknown(element),
        _ => false,
    }
}

/// The type by which Spark reads a column of a part: it has no times, and takes them for the numbers that they are kept as.
pub(super) fn part_type(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Time => "BIGINT".to_owned(),
        ColumnType::Uuid => "BINARY".to_owned(),
        ColumnType::List(element) => format!("ARRAY<{}>", part_type(element)),
        other => type_name(other),
    }
}

/// Times with six digits after the second, so that text orders them; UUIDs as they are written; no date or time beyond the
/// years that Spark's SQL has, nor an infinite one; and zero without a sign, as the other writer keeps it.
fn of_type(expression: &str, column_type: &ColumnType, name: &str, way: Way) -> String {
    let d: &dyn Dialect = &SparkSql;
    match column_type {
        ColumnType::Time => match way {
            Way::Branch => time_of_number(expression),
            Way::Direct => time(expression),
        },
        ColumnType::Uuid => {
            let hex = format!("lower(hex({expression}))");
            let pieces = [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)]
                .map(|(from, length)| format!("substring({hex}, {from}, {length})"));
            format!("concat({})", pieces.join(", '-', "))
        }
        ColumnType::Date => {
            let value = d.cast(expression, column_type);
            let outside = format!("unix_date({value}) NOT BETWEEN {FIRST_DAY} AND {LAST_DAY}");
            refused(&value, &outside, column_type, name)
        }
        ColumnType::Timestamp => bounded(
            expression,
            column_type,
            name,
            ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"],
        ),
        ColumnType::TimestampTz => bounded(
            expression,
            column_type,
            name,
            ["0001-01-01 00:00:00Z", "9999-12-31 23:59:59.999999Z"],
        ),
        ColumnType::Float32 | ColumnType::Float64 => {
            let value = d.cast(expression, column_type);
            format!(
                "CASE WHEN {value} = 0 THEN {} ELSE {value} END",
                d.value("0", column_type)
            )
        }
        ColumnType::List(element) if changes(element) || **element == ColumnType::Uuid => {
            let element = of_type(ELEMENT, element, name, way);
            format!("transform({expression}, {ELEMENT} -> {element})")
        }
        other => d.cast(expression, other),
    }
}

/// Sail writes 24:00, which is PostgreSQL's last time, as `ERROR`.
fn time(expression: &str) -> String {
    let d: &dyn Dialect = &SparkSql;
    let text = d.cast(expression, &ColumnType::Text);
    format!(
        "CASE WHEN {expression} > CAST('23:59:59.999999' AS TIME) THEN '24:00:00.000000' ELSE \
         rpad(concat({text}, CASE WHEN instr({text}, '.') = 0 THEN '.' ELSE '' END), 15, '0') END"
    )
}

/// A time as text, of how many microseconds after midnight it is.
fn time_of_number(expression: &str) -> String {
    format!(
        "CASE WHEN {expression} >= 86400000000 THEN '24:00:00.000000' ELSE \
         date_format(timestamp_micros({expression}), 'HH:mm:ss.SSSSSS') END"
    )
}

fn bounded(
    expression: &str,
    column_type: &ColumnType,
    name: &str,
    [lowest, highest]: [&str; 2],
) -> String {
    let d: &dyn Dialect = &SparkSql;
    let value = d.cast(expression, column_type);
    let outside = format!(
        "{value} < {} OR {value} > {}",
        d.value(lowest, column_type),
        d.value(highest, column_type),
    );
    refused(&value, &outside, column_type, name)
}

/// A value, of which a condition is an error that names its column.
fn refused(value: &str, outside: &str, column_type: &ColumnType, name: &str) -> String {
    let d: &dyn Dialect = &SparkSql;
    let error = d.literal(&format!("{INFINITE}{name}"));
    let error = d.cast(&format!("raise_error({error})"), column_type);
    format!("CASE WHEN {outside} THEN {error} ELSE {value} END")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::samples::TYPES;

    #[test]
    fn a_name_or_a_text_never_leaves_its_quotes() {
        assert_eq!(SparkSql.identifier("a`b.c"), "`a``b.c`");
        assert_eq!(SparkSql.literal(r"it's a\nb\"), r"'it\'s a\\nb\\'");
    }

    #[test]
    fn every_type_that_a_table_has_is_known_again_by_its_name() {
        for name in TYPES {
            let column_type: ColumnType = name.parse().unwrap();
            let stored = kept(&column_type);
            assert_eq!(parse_type(&SparkSql.type_name(&column_type)), Some(stored));
        }
        assert_eq!(parse_type("STRUCT<a: INT>"), None);
    }

    #[test]
    fn a_column_that_is_wider_than_the_ledger_has_it_is_the_ledgers() {
        let column = Column {
            id: 1,
            name: "n".to_owned(),
            column_type: ColumnType::Int32,
            nullable: true,
            source_type: "int4".to_owned(),
            element_id: None,
            mask: None,
            renamed_from: None,
        };
        assert!(SparkSql.holds(&column, "INT") && SparkSql.holds(&column, "BIGINT"));
        assert!(!SparkSql.holds(&column, "STRING"));
    }

    #[test]
    fn names_that_differ_in_case_are_one_to_spark_whatever_the_letter() {
        assert!(SparkSql.is_same_name("AÑO", "año"));
        assert!(!SparkSql.is_same_name("ano", "año"));
    }
}
