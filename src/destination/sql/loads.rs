//! The table of loads, which people read: its columns, and the row of a load. No I/O.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::destination::{LedgerRow, LoadOutcome};
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::position::Position;
use crate::schema::ColumnType;

use super::Dialect;
use super::dialect::cast_to;
use super::system_columns::instant;

/// A row of the table of loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoadRow {
    /// What is told of the load.
    #[serde(flatten)]
    pub(crate) told: LedgerRow,
    schema_hash: String,
    position_before: Option<Position>,
    position_after: Option<Position>,
    acequia_version: String,
}

impl LoadRow {
    /// The row of a load that was applied, at `loaded_at`; `after` is its stream's position since.
    pub(crate) fn of(
        manifest: &Manifest,
        outcome: &LoadOutcome,
        after: Option<&Position>,
        loaded_at: DateTime<Utc>,
    ) -> Self {
        Self {
            told: LedgerRow {
                load_id: manifest.load_id.clone(),
                stream: manifest.stream.clone(),
                mode: manifest.mode.to_string(),
                disposition: manifest.disposition.to_string(),
                rows_extracted: manifest.rows,
                inserted: outcome.inserted,
                updated: outcome.updated,
                deleted: outcome.deleted,
                extracted_at: manifest.extracted_at,
                loaded_at,
            },
            schema_hash: manifest.schema.fingerprint(),
            position_before: manifest.position_before.clone(),
            position_after: after.cloned(),
            acequia_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Its values, in SQL, in the order of [`columns`].
    fn values(&self, d: &dyn Dialect) -> Result<[String; 14]> {
        let told = &self.told;
        let position = |position: Option<&Position>| match position {
            Some(position) => json(d, position),
            None => Ok("NULL".to_owned()),
        };
        Ok([
            d.literal(told.load_id.as_str()),
            d.literal(told.stream.as_str()),
            d.literal(&told.mode),
            d.literal(&told.disposition),
            bigint(told.rows_extracted),
            bigint(told.inserted),
            bigint(told.updated),
            bigint(told.deleted),
            d.literal(&self.schema_hash),
            position(self.position_before.as_ref())?,
            position(self.position_after.as_ref())?,
            time(d, told.extracted_at),
            time(d, told.loaded_at),
            d.literal(&self.acequia_version),
        ])
    }
}

/// A column of the table of loads.
pub(crate) struct LoadColumn {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type, in SQL.
    pub(crate) data_type: String,
    /// Whether it is NULL in some rows.
    pub(crate) nullable: bool,
}

/// The columns of the table of loads, in order.
pub(crate) fn columns(d: &dyn Dialect) -> [LoadColumn; 14] {
    let [text, bigint, time] = [ColumnType::Text, ColumnType::Int64, ColumnType::TimestampTz]
        .map(|column_type| d.type_name(&column_type));
    let column = |name, data_type: &str| LoadColumn {
        name,
        data_type: data_type.to_owned(),
        nullable: false,
    };
    let position = |name| LoadColumn {
        nullable: true,
        ..column(name, d.json())
    };
    [
        column("load_id", &text),
        column("stream", &text),
        column("mode", &text),
        column("disposition", &text),
        column("rows_extracted", &bigint),
        column("inserted", &bigint),
        column("updated", &bigint),
        column("deleted", &bigint),
        column("schema_hash", &text),
        position("position_before"),
        position("position_after"),
        column("extracted_at", &time),
        column("loaded_at", &time),
        column("acequia_version", &text),
    ]
}

/// What adds rows to the table of loads, given in SQL.
pub(crate) fn insert(d: &dyn Dialect, table: &str, rows: &[LoadRow]) -> Result<String> {
    let names = columns(d).map(|column| column.name);
    let rows: Vec<String> = rows
        .iter()
        .map(|row| Ok(format!("({})", row.values(d)?.join(", "))))
        .collect::<Result<_>>()?;
    Ok(format!(
        "INSERT INTO {table} ({}) VALUES {}",
        names.join(", "),
        rows.join(", ")
    ))
}

/// A value as JSON, in SQL.
pub(super) fn json(d: &dyn Dialect, value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::internal("the ledger cannot be written").cause(error))?;
    Ok(cast_to(&d.literal(&text), d.json()))
}

/// A point in time, in SQL.
pub(super) fn time(d: &dyn Dialect, time: DateTime<Utc>) -> String {
    d.value(&instant(time), &ColumnType::TimestampTz)
}

/// A count as it is kept.
pub(super) fn bigint(count: u64) -> String {
    i64::try_from(count).unwrap_or(i64::MAX).to_string()
}
