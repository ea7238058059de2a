//! How a table's files are laid out, as the catalog and DuckDB are told it when the table is made. No I/O.

use serde_json::{Value, json};

use crate::destination::sql::Dialect;
use crate::error::{Error, Result};
use crate::layout::{Layout, Partition, Transform};
use crate::schema::ColumnType;

use super::schema::Field;

/// The number of the first partition field, by Iceberg's specification.
const FIRST_PARTITION: i32 = 1000;

/// Refuses a layout by columns that the table lacks, or whose types it is not made of.
///
/// # Errors
/// [`Error::Config`] with the remedy.
pub(super) fn check(
    layout: &Layout,
    table: &str,
    type_of: impl Fn(&str) -> Option<ColumnType>,
) -> Result<()> {
    for (key, column) in layout.columns() {
        let Some(of) = type_of(column) else {
            return Err(Error::config(format!(
                "`{key}` names the column `{column}`, which table {table} does not have"
            ))
            .remedy("name a column of the stream, as the table has it"));
        };
        if key == "sort_by" && matches!(of, ColumnType::List(_)) {
            return Err(Error::config(format!(
                "`sort_by` names the column `{column}`, which holds lists"
            ))
            .remedy("name a column of single values"));
        }
    }
    for Partition { column, transform } in &layout.partition_by {
        if type_of(column).is_some_and(|of| !transform.takes(&of)) {
            return Err(Error::config(format!(
                "`partition_by` asks for {transform} of the column `{column}`, which has none by its type"
            ))
            .remedy("year, month and day are of dates and times, hour of times with a date, truncate of texts and numbers; bucket of all but lists, booleans and floats"));
        }
    }
    Ok(())
}

/// What a catalog is told: the partitions and the order, where there are any. The fields are the table's, by that they are
/// numbered.
///
/// # Errors
/// As [`check`].
pub(super) fn of_table(
    layout: &Layout,
    table: &str,
    fields: &[Field],
) -> Result<(Option<Value>, Option<Value>)> {
    let find = |name: &str| fields.iter().find(|field| field.name == name);
    check(layout, table, |name| find(name)?.column_type())?;
    let id = |name: &str| find(name).map(|field| field.id);
    let partitions: Vec<Value> = (FIRST_PARTITION..)
        .zip(&layout.partition_by)
        .map(|(number, of)| {
            json!({
                "field-id": number,
                "source-id": id(&of.column),
                "name": partition_name(of),
                "transform": of.transform.to_string()
            })
        })
        .collect();
    let order: Vec<Value> = layout
        .sort_by
        .iter()
        .map(|of| {
            let (direction, nulls) = if of.descending {
                ("desc", "nulls-last")
            } else {
                ("asc", "nulls-first")
            };
            json!({
                "source-id": id(&of.column),
                "transform": "identity",
                "direction": direction,
                "null-order": nulls
            })
        })
        .collect();
    let partitions = (!partitions.is_empty()).then(|| json!({"spec-id": 0, "fields": partitions}));
    let order = (!order.is_empty()).then(|| json!({"order-id": 1, "fields": order}));
    Ok((partitions, order))
}

/// What Spark would call it.
fn partition_name(of: &Partition) -> String {
    let column = &of.column;
    match of.transform {
        Transform::Identity => column.clone(),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
        other => format!("{column}_{other}"),
    }
}

/// What DuckDB is told after the columns of a table that it makes.
///
/// # Errors
/// As [`check`], and for what DuckDB does not write.
pub(super) fn for_duckdb(
    d: &dyn Dialect,
    layout: &Layout,
    table: &str,
    columns: &[(String, String)],
) -> Result<String> {
    let type_of = |name: &str| {
        let column = columns.iter().find(|(of, _)| of == name)?;
        d.parse_type(&column.1)
    };
    check(layout, table, type_of)?;
    if !layout.sort_by.is_empty() {
        return Err(Error::config("DuckDB writes no sorted tables of Iceberg, and `sort_by` asks for one").remedy(
            "leave `sort_by` of the stream out, or have an engine elsewhere write the rows: `engine` of the destination",
        ));
    }
    let parts = layout.partition_by.iter().map(|of| {
        let name = &of.column;
        // DuckDB makes names of files of them, and object storage refuses some that it makes.
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let shows_text = matches!(of.transform, Transform::Identity | Transform::Truncate(_))
            && matches!(type_of(name), Some(ColumnType::Text | ColumnType::Binary));
        if shows_text || !name.chars().all(is_plain) {
            return Err(Error::config(format!(
                "DuckDB makes no partitions of the values of texts, nor of a column of such a name: `{name}`"
            ))
            .remedy("partition by bucket(N, column), by numbers, dates or times; or have an engine elsewhere write the rows: `engine` of the destination"));
        }
        let column = d.identifier(name);
        Ok(match of.transform {
            Transform::Identity => column,
            Transform::Bucket(number) => format!("bucket({number}, {column})"),
            Transform::Truncate(width) => format!("truncate({width}, {column})"),
            other => format!("{other}({column})"),
        })
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(" PARTITIONED BY ({})", parts.join(", ")))
}

/// Refuses to take away a column by which a table is laid out: no engine could read it then.
///
/// # Errors
/// [`Error::Data`] with the remedy.
pub(super) fn refuse_to_drop<'a>(
    laid_out_by: &[String],
    table: &str,
    away: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mut away = away.into_iter();
    match away.find(|name| laid_out_by.iter().any(|of| of == name)) {
        None => Ok(()),
        Some(name) => Err(Error::data(format!(
            "table {table} is partitioned or sorted by its column `{name}`, which the stream has no longer or with another type"
        ))
        .remedy("drop the table in the catalog and run again, which makes it anew; or take the partitions or the order from it (ALTER TABLE … DROP PARTITION FIELD, WRITE UNORDERED)")),
    }
}
