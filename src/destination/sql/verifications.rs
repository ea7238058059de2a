//! `_acequia_verifications`: what was compared when, and with which result.

use crate::error::Result;
use crate::schema::ColumnType;
use crate::verify::report::Verification;

use super::loads::{bigint, json, time};
use super::{Dialect, SqlEngine};

/// The table of verifications.
const TABLE: &str = "_acequia_verifications";

/// Adds a row, and makes the table, or columns that earlier versions did not have, where they are missing.
pub(crate) fn note(engine: &mut dyn SqlEngine, verification: &Verification) -> Result<()> {
    let (d, table) = (engine.dialect(), engine.table(TABLE));
    let columns = columns(d);
    let defined = columns.iter().map(|(name, kind)| (*name, kind.as_str()));
    engine.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {table} ({})",
        d.definitions(defined)
    ))?;
    let known = engine.columns_of(TABLE)?;
    for (name, kind) in columns {
        if !known.iter().any(|(known, _)| known == name) {
            engine.add_column(&table, name, &kind)?;
        }
    }
    engine.execute(&insert(d, &table, verification)?).map(drop)
}

/// The columns, each with its type.
pub(crate) fn columns(d: &dyn Dialect) -> [(&'static str, String); 17] {
    let [text, bigint, float, time] = [
        ColumnType::Text,
        ColumnType::Int64,
        ColumnType::Float64,
        ColumnType::TimestampTz,
    ]
    .map(|column_type| d.type_name(&column_type));
    [
        ("verified_at", time),
        ("stream", text.clone()),
        ("mode", text.clone()),
        ("against", text.clone()),
        ("result", text.clone()),
        ("position", d.json().to_owned()),
        ("rows_source", bigint.clone()),
        ("rows_destination", bigint.clone()),
        ("missing", bigint.clone()),
        ("extra", bigint.clone()),
        ("differ", bigint.clone()),
        ("changed", bigint),
        ("sample", float.clone()),
        ("seconds", float),
        ("acequia_version", text.clone()),
        ("compared", text.clone()),
        ("since", text),
    ]
}

/// What adds a row to the table, given in SQL.
pub(crate) fn insert(d: &dyn Dialect, table: &str, verification: &Verification) -> Result<String> {
    let Verification {
        verified_at,
        against,
        compared,
        sample,
        since,
        result,
    } = verification;
    let number = |value: f64| d.value(&value.to_string(), &ColumnType::Float64);
    let values = [
        time(d, *verified_at),
        d.literal(result.stream.as_str()),
        d.literal(&result.mode.to_string()),
        d.literal(&against.to_string()),
        d.literal(&result.result.to_string()),
        match &result.position {
            Some(position) => json(d, position)?,
            None => "NULL".to_owned(),
        },
        bigint(result.rows_source),
        bigint(result.rows_destination),
        bigint(result.missing),
        bigint(result.extra),
        bigint(result.differ),
        bigint(result.changed),
        number(*sample),
        number(result.seconds),
        d.literal(env!("CARGO_PKG_VERSION")),
        d.literal(&compared.to_string()),
        since
            .as_ref()
            .map_or_else(|| "NULL".to_owned(), |since| d.literal(since)),
    ];
    let names = columns(d).map(|(name, _)| name);
    Ok(format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        d.list(names),
        values.join(", ")
    ))
}
