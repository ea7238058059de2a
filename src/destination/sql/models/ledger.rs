//! The ledger of models: `_acequia_models` in the pipeline's dataset, a row for each model that was built and each test that was
//! run.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::destination::sql::SqlEngine;
use crate::destination::sql::loads::time;
use crate::error::{Error, Result};
use crate::models::Materialized;
use crate::schema::ColumnType;

use super::ModelEngine;

const MODELS: &str = "_acequia_models";

/// What a row is of: a model, or a test of a header, or a test of its own file, which has no model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) model: String,
    pub(super) test: String,
}

impl Key {
    /// The model itself.
    pub(super) fn model(name: &str) -> Self {
        Self {
            model: name.to_owned(),
            test: String::new(),
        }
    }
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// `table`, `view` or `test`.
    pub(super) kind: String,
    /// A hash of what is written down.
    pub(super) definition: String,
    /// A hash of which builds and loads it was made of. Empty for a test that failed: it is run again.
    pub(super) inputs: String,
    /// Drawn for each build.
    pub(super) build_id: String,
    pub(super) built_at: DateTime<Utc>,
    /// The rows of a table; the rows that a test found.
    pub(super) rows: Option<u64>,
    pub(super) milliseconds: u64,
}

/// All rows.
pub(super) fn read(engine: &mut dyn ModelEngine) -> Result<BTreeMap<Key, Row>> {
    if !engine.has_table(MODELS)? {
        return Ok(BTreeMap::new());
    }
    let d = engine.dialect();
    let rows = engine.rows(&format!(
        "SELECT model, test, kind, definition, inputs, build_id, {}, row_count, milliseconds FROM {}",
        d.microseconds("built_at"),
        engine.table(MODELS)
    ))?;
    rows.into_iter()
        .map(|row| {
            let text = |column: usize| row.get(column).cloned().flatten();
            let some = |column: usize| text(column).ok_or_else(damaged);
            let number =
                |column: usize| -> Result<u64> { some(column)?.parse().map_err(|_| damaged()) };
            let micros: i64 = some(6)?.parse().map_err(|_| damaged())?;
            let key = Key {
                model: some(0)?,
                test: some(1)?,
            };
            let row = Row {
                kind: some(2)?,
                definition: some(3)?,
                inputs: some(4)?,
                build_id: some(5)?,
                built_at: DateTime::from_timestamp_micros(micros).ok_or_else(damaged)?,
                rows: text(7).map(|_| number(7)).transpose()?,
                milliseconds: number(8)?,
            };
            Ok((key, row))
        })
        .collect()
}

/// The models that are views.
pub(crate) fn known_views(engine: &mut dyn SqlEngine) -> Result<Vec<String>> {
    if !engine.has_table(MODELS)? {
        return Ok(Vec::new());
    }
    let table = engine.table(MODELS);
    let kind = engine.dialect().literal(&Materialized::View.to_string());
    engine.texts(&format!(
        "SELECT model FROM {table} WHERE kind = {kind} AND test = ''"
    ))
}

/// Makes the table where it is missing.
pub(super) fn prepare(engine: &mut dyn ModelEngine) -> Result<()> {
    let d = engine.dialect();
    let [text, bigint, time] = [ColumnType::Text, ColumnType::Int64, ColumnType::TimestampTz]
        .map(|column_type| d.type_name(&column_type));
    engine.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {} (model {text} NOT NULL, test {text} NOT NULL, kind {text} NOT NULL, \
         definition {text} NOT NULL, inputs {text} NOT NULL, build_id {text} NOT NULL, built_at {time} NOT NULL, \
         row_count {bigint}, milliseconds {bigint} NOT NULL)",
        engine.table(MODELS)
    ))?;
    Ok(())
}

/// Writes a row, in place of the one that has its key.
pub(super) fn write(engine: &mut dyn ModelEngine, key: &Key, row: &Row) -> Result<()> {
    forget(engine, key)?;
    let (d, table) = (engine.dialect(), engine.table(MODELS));
    engine.execute(&format!(
        "INSERT INTO {table} (model, test, kind, definition, inputs, build_id, built_at, row_count, milliseconds) \
         VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {})",
        d.literal(&key.model),
        d.literal(&key.test),
        d.literal(&row.kind),
        d.literal(&row.definition),
        d.literal(&row.inputs),
        d.literal(&row.build_id),
        time(d, row.built_at),
        row.rows.map_or_else(|| "NULL".to_owned(), |rows| rows.to_string()),
        row.milliseconds,
    ))?;
    Ok(())
}

/// Removes the row of that key.
pub(super) fn forget(engine: &mut dyn ModelEngine, key: &Key) -> Result<()> {
    let (d, table) = (engine.dialect(), engine.table(MODELS));
    engine.execute(&format!(
        "DELETE FROM {table} WHERE model = {} AND test = {}",
        d.literal(&key.model),
        d.literal(&key.test)
    ))?;
    Ok(())
}

fn damaged() -> Error {
    Error::destination(format!(
        "the ledger table {MODELS} holds what this acequia did not write"
    ))
    .remedy(format!(
        "use the acequia that wrote it, or a newer one; or drop {MODELS}, and the models' tables, and they are built anew"
    ))
}
