//! What was loaded, kept in the dataset itself: `_acequia_destination`, `_acequia_loads`, `_acequia_state`.

use std::collections::{BTreeMap, HashSet};

use chrono::Utc;
use duckdb::{Row, params};

use crate::destination::ledger::{
    DESTINATION, LOADS, STATE, bigint, damaged, from_json, parse, positions, stands_at, time,
    to_json, utc,
};
use crate::destination::place::{PLACE, moved};
use crate::destination::{LedgerRow, LoadOutcome, StreamState};
use crate::error::Result;
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;

use super::session::Session;

/// Makes the dataset's schema and ledger where they are missing. The destination's id, and what is to be known where it was
/// made at another place.
pub(super) fn prepare(session: &Session, here: &str) -> Result<(DestinationId, Option<String>)> {
    session.transaction(|| {
        let known = find_id(session)?;
        let place = known_place(session)?;
        let moved = match (&known, place) {
            (Some(_), Some(place)) if place != here => Some(moved(&place, here)),
            _ => None,
        };
        let id = match known {
            Some(id) if moved.is_none() => id,
            Some(_) => renew(session)?,
            None => make(session)?,
        };
        note_place(session, here)?;
        Ok((id, moved))
    })
}

/// Where the ledger was last, if that was ever noted.
fn known_place(session: &Session) -> Result<Option<String>> {
    if !has_table(session, PLACE)? {
        return Ok(None);
    }
    let places = session.rows(
        &format!("SELECT place FROM {}", session.table(PLACE)),
        [],
        |row| row.get::<_, String>(0),
    )?;
    Ok(places.into_iter().next())
}

fn note_place(session: &Session, here: &str) -> Result<()> {
    if known_place(session)?.as_deref() == Some(here) {
        return Ok(());
    }
    let table = session.table(PLACE);
    session.execute(
        &format!("CREATE OR REPLACE TABLE {table} (place VARCHAR NOT NULL)"),
        [],
    )?;
    session.execute(&format!("INSERT INTO {table} VALUES (?)"), params![here])?;
    Ok(())
}

/// Gives the destination another id.
fn renew(session: &Session) -> Result<DestinationId> {
    let id = DestinationId::random();
    session.execute(
        &format!("UPDATE {} SET id = ?", session.table(DESTINATION)),
        params![id.as_str()],
    )?;
    Ok(id)
}

fn make(session: &Session) -> Result<DestinationId> {
    create(session)?;
    let id = DestinationId::random();
    session.execute(
        &format!(
            "INSERT INTO {} VALUES (?, CAST(? AS TIMESTAMPTZ), ?)",
            session.table(DESTINATION)
        ),
        params![id.as_str(), utc(Utc::now()), env!("CARGO_PKG_VERSION")],
    )?;
    Ok(id)
}

fn create(session: &Session) -> Result<()> {
    session.execute(
        &format!("CREATE SCHEMA IF NOT EXISTS {}", session.schema()),
        [],
    )?;
    for (table, columns) in [
        (
            DESTINATION,
            "id VARCHAR NOT NULL, created_at TIMESTAMPTZ NOT NULL, acequia_version VARCHAR NOT NULL",
        ),
        (
            LOADS,
            "load_id VARCHAR PRIMARY KEY, stream VARCHAR NOT NULL, mode VARCHAR NOT NULL, disposition VARCHAR NOT NULL, \
             rows_extracted BIGINT NOT NULL, inserted BIGINT NOT NULL, updated BIGINT NOT NULL, \
             deleted BIGINT NOT NULL, schema_hash VARCHAR NOT NULL, position_before JSON, position_after JSON, \
             extracted_at TIMESTAMPTZ NOT NULL, loaded_at TIMESTAMPTZ NOT NULL, acequia_version VARCHAR NOT NULL",
        ),
        (
            STATE,
            "stream VARCHAR PRIMARY KEY, position JSON, schema JSON NOT NULL, load_id VARCHAR NOT NULL, \
             updated_at TIMESTAMPTZ NOT NULL",
        ),
    ] {
        session.execute(
            &format!(
                "CREATE TABLE IF NOT EXISTS {} ({columns})",
                session.table(table)
            ),
            [],
        )?;
    }
    Ok(())
}

/// What tells a ledger that is only looked at from others: at another place than its own it is not yet known by an id.
pub(super) fn seen_id(session: &Session, here: &str) -> Result<Option<DestinationId>> {
    let id = find_id(session)?;
    Ok(match known_place(session)? {
        Some(place) if place != here => id.map(|_| DestinationId::random()),
        _ => id,
    })
}

fn has_table(session: &Session, name: &str) -> Result<bool> {
    session.row(
        "SELECT count(*) > 0 FROM duckdb_tables() WHERE database_name = ? AND lower(schema_name) = lower(?) AND \
         table_name = ?",
        params![session.catalog(), session.dataset(), name],
        |row| row.get(0),
    )
}

/// The destination's id, where the dataset has a ledger.
fn find_id(session: &Session) -> Result<Option<DestinationId>> {
    if !has_table(session, DESTINATION)? {
        return Ok(None);
    }
    let ids = session.rows(
        &format!("SELECT id FROM {}", session.table(DESTINATION)),
        [],
        |row| row.get::<_, String>(0),
    )?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => id
            .parse()
            .map(Some)
            .map_err(|error| damaged(DESTINATION).cause(error)),
        _ => Err(damaged(DESTINATION)),
    }
}

/// What is known of each stream.
pub(super) fn states(session: &Session) -> Result<BTreeMap<StreamName, StreamState>> {
    read_states(session, "", [])
}

/// What is known of one stream.
pub(super) fn state(session: &Session, stream: &StreamName) -> Result<Option<StreamState>> {
    let mut states = read_states(session, " WHERE stream = ?", params![stream.as_str()])?;
    Ok(states.remove(stream))
}

fn read_states(
    session: &Session,
    condition: &str,
    params: impl duckdb::Params,
) -> Result<BTreeMap<StreamName, StreamState>> {
    let sql = format!(
        "SELECT stream, CAST(position AS VARCHAR), CAST(schema AS VARCHAR), load_id, epoch_us(updated_at) FROM {}{condition}",
        session.table(STATE)
    );
    let rows = session.rows(&sql, params, |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, Option<String>>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, i64>(4)?,
        ))
    })?;
    rows.into_iter()
        .map(|(stream, position, schema, load_id, updated_at)| {
            let state = StreamState {
                position: position
                    .map(|position| from_json::<Position>(&position))
                    .transpose()?,
                schema: from_json::<TableSchema>(&schema)?,
                load_id: parse(&load_id, STATE)?,
                updated_at: time(updated_at, STATE)?,
            };
            Ok((parse(&stream, STATE)?, state))
        })
        .collect()
}

/// The loads of a stream that the ledger has.
pub(super) fn loaded(session: &Session, stream: &StreamName) -> Result<HashSet<LoadId>> {
    let ids = session.rows(
        &format!(
            "SELECT load_id FROM {} WHERE stream = ?",
            session.table(LOADS)
        ),
        params![stream.as_str()],
        |row| row.get::<_, String>(0),
    )?;
    ids.iter().map(|id| parse(id, LOADS)).collect()
}

/// Whether the ledger has a load.
pub(super) fn has(session: &Session, load_id: &LoadId) -> Result<bool> {
    session.row(
        &format!(
            "SELECT count(*) > 0 FROM {} WHERE load_id = ?",
            session.table(LOADS)
        ),
        params![load_id.as_str()],
        |row| row.get(0),
    )
}

/// The stream that brought the rows of a table, where it holds any that the ledger knows.
pub(super) fn stream_of_rows(session: &Session, table: &str) -> Result<Option<String>> {
    let streams = session.rows(
        &format!(
            "SELECT stream FROM {} WHERE load_id IN (SELECT _acequia_load_id FROM {table} LIMIT 1)",
            session.table(LOADS)
        ),
        [],
        |row| row.get::<_, String>(0),
    )?;
    Ok(streams.into_iter().next())
}

/// The last ledger row of each stream.
pub(super) fn last_loads(session: &Session) -> Result<Vec<LedgerRow>> {
    let sql = format!(
        "SELECT load_id, stream, mode, disposition, rows_extracted, inserted, updated, deleted, epoch_us(extracted_at), \
         epoch_us(loaded_at) FROM {} \
         QUALIFY row_number() OVER (PARTITION BY stream ORDER BY loaded_at DESC, load_id DESC) = 1 ORDER BY stream",
        session.table(LOADS)
    );
    let rows = session.rows(&sql, [], |row| {
        let texts = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let counts = (
            count(row, 4)?,
            count(row, 5)?,
            count(row, 6)?,
            count(row, 7)?,
        );
        Ok((texts, counts, row.get(8)?, row.get(9)?))
    })?;
    rows.into_iter()
        .map(|(texts, counts, extracted_at, loaded_at)| {
            let (load_id, stream, mode, disposition): (String, String, String, String) = texts;
            let (rows_extracted, inserted, updated, deleted) = counts;
            Ok(LedgerRow {
                load_id: parse(&load_id, LOADS)?,
                stream: parse(&stream, LOADS)?,
                mode,
                disposition,
                rows_extracted,
                inserted,
                updated,
                deleted,
                extracted_at: time(extracted_at, LOADS)?,
                loaded_at: time(loaded_at, LOADS)?,
            })
        })
        .collect()
}

/// Writes down a load that was applied, and what is known of its stream since.
pub(super) fn record(
    session: &Session,
    manifest: &Manifest,
    outcome: &LoadOutcome,
    schema: &TableSchema,
) -> Result<()> {
    // Along a chain of loads time never goes back, whatever the clock did.
    let now = utc(Utc::now().max(manifest.extracted_at));
    let (position_before, position_after) = positions(manifest)?;
    session.execute(
        &format!(
            "INSERT INTO {} (load_id, stream, mode, disposition, rows_extracted, inserted, updated, deleted, schema_hash, \
             position_before, position_after, extracted_at, loaded_at, acequia_version) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TIMESTAMPTZ), CAST(? AS TIMESTAMPTZ), ?)",
            session.table(LOADS)
        ),
        params![
            manifest.load_id.as_str(),
            manifest.stream.as_str(),
            manifest.mode.to_string(),
            manifest.disposition.to_string(),
            bigint(manifest.rows),
            bigint(outcome.inserted),
            bigint(outcome.updated),
            bigint(outcome.deleted),
            manifest.schema.fingerprint(),
            position_before,
            position_after,
            utc(manifest.extracted_at),
            now,
            env!("CARGO_PKG_VERSION"),
        ],
    )?;
    session.execute(
        &format!(
            "INSERT INTO {} (stream, position, schema, load_id, updated_at) VALUES (?, ?, ?, ?, CAST(? AS TIMESTAMPTZ)) \
             ON CONFLICT (stream) DO UPDATE SET position = excluded.position, schema = excluded.schema, \
             load_id = excluded.load_id, updated_at = excluded.updated_at",
            session.table(STATE)
        ),
        params![
            manifest.stream.as_str(),
            position_after,
            to_json(schema)?,
            manifest.load_id.as_str(),
            now,
        ],
    )?;
    Ok(())
}

/// Takes a stream's position on, from `before` to `after`.
pub(super) fn advance(
    session: &Session,
    stream: &StreamName,
    before: &Position,
    after: &Position,
) -> Result<()> {
    let state = state(session, stream)?;
    stands_at(stream, state, before)?;
    session.execute(
        &format!(
            "UPDATE {} SET position = ?, updated_at = greatest(updated_at, CAST(? AS TIMESTAMPTZ)) WHERE stream = ?",
            session.table(STATE)
        ),
        params![to_json(after)?, utc(Utc::now()), stream.as_str()],
    )?;
    Ok(())
}

fn count(row: &Row<'_>, index: usize) -> duckdb::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}
