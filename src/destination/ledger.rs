//! What every destination's ledger has alike: the names of its tables, how values stand in them, and what is said of one
//! that cannot be read. The SQL is each destination's own. No I/O.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::names::StreamName;
use crate::position::Position;

/// The table of one row that has the destination's id.
pub(super) const DESTINATION: &str = "_acequia_destination";
/// The table of loads.
pub(super) const LOADS: &str = "_acequia_loads";
/// The table of what is known of each stream.
pub(super) const STATE: &str = "_acequia_state";

/// The positions before and after a load, in JSON. A load never takes a position back to nothing: one that read no row
/// stays where it began.
pub(super) fn positions(manifest: &Manifest) -> Result<(Option<String>, Option<String>)> {
    let before = manifest.position_before.as_ref();
    let after = manifest.position_after.as_ref().or(before);
    Ok((
        before.map(to_json).transpose()?,
        after.map(to_json).transpose()?,
    ))
}

/// Refuses to take a position on from where the stream does not stand.
pub(super) fn stands_at(
    stream: &StreamName,
    state: Option<StreamState>,
    position: &Position,
) -> Result<()> {
    if state.and_then(|state| state.position).as_ref() == Some(position) {
        return Ok(());
    }
    Err(Error::destination(format!(
        "stream {stream} no longer stands where this run found it"
    ))
    .remedy("let one run at a time load a dataset, and run again"))
}

/// A point in time as every destination reads it.
pub(super) fn utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A point in time that stands in a table as microseconds since 1970.
pub(super) fn time(micros: i64, table: &str) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| damaged(table))
}

/// A count as it is kept.
pub(super) fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("the ledger cannot be written").cause(error))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    // serde's message may quote the text, and a position is a cell value.
    serde_json::from_str(text).map_err(|_| damaged(STATE))
}

pub(super) fn parse<T: FromStr>(text: &str, table: &str) -> Result<T> {
    text.parse().map_err(|_| damaged(table))
}

pub(super) fn damaged(table: &str) -> Error {
    Error::destination(format!(
        "the ledger table {table} holds what this acequia did not write"
    ))
    .remedy("use the acequia that wrote it, or a newer one; or drop the ledger's tables, and the next run starts afresh")
}
