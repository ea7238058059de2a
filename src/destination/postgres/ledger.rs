//! What was loaded, kept in the dataset itself: `_acequia_destination`, `_acequia_loads`, `_acequia_state`.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use postgres::Row;
use postgres::types::FromSqlOwned;

use crate::destination::ledger::{
    self, DESTINATION, LOADS, STATE, bigint, damaged, from_json, parse, positions, stands_at,
    to_json, utc,
};
use crate::destination::place::{PLACE, moved};
use crate::destination::{LedgerRow, LoadOutcome, StreamState};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;

use super::session::{Param, Session};
use super::sql::identifier;

/// Where the dataset is: in which database of which server, as far as that can be told.
pub(super) fn place(session: &mut Session) -> Result<String> {
    let row = session.row(
        "SELECT oid::int8 FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
        &[],
    )?;
    let database: i64 = value(&row, 0)?;
    // A server may keep its functions of the kind from those that are not its administrators.
    let system = session
        .row(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()",
            &[],
        )
        .and_then(|row| value::<String>(&row, 0))
        .unwrap_or_else(|_| "unknown".to_owned());
    let dataset = session.dataset();
    Ok(format!(
        "dataset {dataset} of database {database} on server {system}"
    ))
}

/// Makes the dataset's schema and ledger where they are missing. The destination's id, and what is to be known where it was
/// made at another place.
pub(super) fn prepare(
    session: &mut Session,
    here: &str,
) -> Result<(DestinationId, Option<String>)> {
    session.transaction(|session| {
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
fn known_place(session: &mut Session) -> Result<Option<String>> {
    if !has_table(session, PLACE)? {
        return Ok(None);
    }
    let select = format!("SELECT place FROM {}", session.table(PLACE));
    let places = session.rows(&select, &[])?;
    places.first().map(|row| value(row, 0)).transpose()
}

fn note_place(session: &mut Session, here: &str) -> Result<()> {
    if known_place(session)?.as_deref() == Some(here) {
        return Ok(());
    }
    let table = session.table(PLACE);
    session.batch(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (place text NOT NULL)"
    ))?;
    session.execute(&format!("DELETE FROM {table}"), &[])?;
    session.execute(&format!("INSERT INTO {table} VALUES ($1)"), &[&here])?;
    Ok(())
}

/// Gives the destination another id.
fn renew(session: &mut Session) -> Result<DestinationId> {
    let id = DestinationId::random();
    let update = format!("UPDATE {} SET id = $1", session.table(DESTINATION));
    session.execute(&update, &[&id.as_str()])?;
    Ok(id)
}

fn make(session: &mut Session) -> Result<DestinationId> {
    create(session)?;
    let id = DestinationId::random();
    let insert = format!(
        "INSERT INTO {} (id, created_at, acequia_version) VALUES ($1, CAST($2::text AS timestamptz), $3)",
        session.table(DESTINATION)
    );
    session.execute(
        &insert,
        &[&id.as_str(), &utc(Utc::now()), &env!("CARGO_PKG_VERSION")],
    )?;
    Ok(id)
}

fn create(session: &mut Session) -> Result<()> {
    // Not IF NOT EXISTS: that asks for the right to make schemas even where the schema is there.
    if !has_schema(session)? {
        let create = format!("CREATE SCHEMA {}", identifier(session.dataset()));
        session.batch(&create)?;
    }
    for (table, columns) in [
        (
            DESTINATION,
            "id text NOT NULL, created_at timestamptz NOT NULL, acequia_version text NOT NULL",
        ),
        (
            LOADS,
            "load_id text PRIMARY KEY, stream text NOT NULL, mode text NOT NULL, disposition text NOT NULL, \
             rows_extracted bigint NOT NULL, inserted bigint NOT NULL, updated bigint NOT NULL, \
             deleted bigint NOT NULL, schema_hash text NOT NULL, position_before jsonb, position_after jsonb, \
             extracted_at timestamptz NOT NULL, loaded_at timestamptz NOT NULL, acequia_version text NOT NULL",
        ),
        (
            STATE,
            "stream text PRIMARY KEY, \"position\" jsonb, schema jsonb NOT NULL, load_id text NOT NULL, \
             updated_at timestamptz NOT NULL",
        ),
    ] {
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} ({columns})",
            session.table(table)
        );
        session.batch(&create)?;
    }
    Ok(())
}

/// Whether the dataset's schema is there.
pub(super) fn has_schema(session: &mut Session) -> Result<bool> {
    let dataset = session.dataset().to_owned();
    let row = session.row(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)",
        &[&dataset],
    )?;
    value(&row, 0)
}

/// What tells a ledger that is only looked at from others: at another place than its own it is not yet known by an id.
pub(super) fn seen_id(session: &mut Session, here: &str) -> Result<Option<DestinationId>> {
    let id = find_id(session)?;
    Ok(match known_place(session)? {
        Some(place) if place != here => id.map(|_| DestinationId::random()),
        _ => id,
    })
}

fn has_table(session: &mut Session, name: &str) -> Result<bool> {
    let dataset = session.dataset().to_owned();
    let found = session.row(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n \
         ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)",
        &[&dataset, &name],
    )?;
    value(&found, 0)
}

/// The destination's id, where the dataset has a ledger.
fn find_id(session: &mut Session) -> Result<Option<DestinationId>> {
    if !has_table(session, DESTINATION)? {
        return Ok(None);
    }
    let select = format!("SELECT id FROM {}", session.table(DESTINATION));
    let ids = session.rows(&select, &[])?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => parse(&value::<String>(id, 0)?, DESTINATION).map(Some),
        _ => Err(damaged(DESTINATION)),
    }
}

/// What is known of each stream.
pub(super) fn states(session: &mut Session) -> Result<BTreeMap<StreamName, StreamState>> {
    read_states(session, "", &[])
}

/// What is known of one stream.
pub(super) fn state(session: &mut Session, stream: &StreamName) -> Result<Option<StreamState>> {
    let mut states = read_states(session, " WHERE stream = $1", &[&stream.as_str()])?;
    Ok(states.remove(stream))
}

fn read_states(
    session: &mut Session,
    condition: &str,
    params: &[Param<'_>],
) -> Result<BTreeMap<StreamName, StreamState>> {
    let select = format!(
        "SELECT stream, \"position\"::text, schema::text, load_id, {} FROM {}{condition}",
        micros("updated_at"),
        session.table(STATE)
    );
    let rows = session.rows(&select, params)?;
    rows.iter()
        .map(|row| {
            let position: Option<String> = value(row, 1)?;
            let state = StreamState {
                position: position
                    .map(|position| from_json::<Position>(&position))
                    .transpose()?,
                schema: from_json::<TableSchema>(&value::<String>(row, 2)?)?,
                load_id: parse(&value::<String>(row, 3)?, STATE)?,
                updated_at: time(row, 4, STATE)?,
            };
            Ok((parse(&value::<String>(row, 0)?, STATE)?, state))
        })
        .collect()
}

/// The loads of a stream that the ledger has.
pub(super) fn loaded(session: &mut Session, stream: &StreamName) -> Result<HashSet<LoadId>> {
    let select = format!(
        "SELECT load_id FROM {} WHERE stream = $1",
        session.table(LOADS)
    );
    let rows = session.rows(&select, &[&stream.as_str()])?;
    rows.iter()
        .map(|row| parse(&value::<String>(row, 0)?, LOADS))
        .collect()
}

/// Whether the ledger has a load.
pub(super) fn has(session: &mut Session, load_id: &LoadId) -> Result<bool> {
    let select = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE load_id = $1)",
        session.table(LOADS)
    );
    let row = session.row(&select, &[&load_id.as_str()])?;
    value(&row, 0)
}

/// The stream that brought the rows of a table, where it holds any that the ledger knows.
pub(super) fn stream_of_rows(session: &mut Session, table: &str) -> Result<Option<String>> {
    let select = format!(
        "SELECT stream FROM {} WHERE load_id IN (SELECT _acequia_load_id FROM {table} LIMIT 1)",
        session.table(LOADS)
    );
    let rows = session.rows(&select, &[])?;
    rows.first().map(|row| value(row, 0)).transpose()
}

/// The last ledger row of each stream.
pub(super) fn last_loads(session: &mut Session) -> Result<Vec<LedgerRow>> {
    let select = format!(
        "SELECT DISTINCT ON (stream COLLATE \"C\") load_id, stream, mode, disposition, rows_extracted, inserted, \
         updated, deleted, {}, {} FROM {} \
         ORDER BY stream COLLATE \"C\", loaded_at DESC, load_id COLLATE \"C\" DESC",
        micros("extracted_at"),
        micros("loaded_at"),
        session.table(LOADS)
    );
    let rows = session.rows(&select, &[])?;
    rows.iter()
        .map(|row| {
            Ok(LedgerRow {
                load_id: parse(&value::<String>(row, 0)?, LOADS)?,
                stream: parse(&value::<String>(row, 1)?, LOADS)?,
                mode: value(row, 2)?,
                disposition: value(row, 3)?,
                rows_extracted: count(row, 4)?,
                inserted: count(row, 5)?,
                updated: count(row, 6)?,
                deleted: count(row, 7)?,
                extracted_at: time(row, 8, LOADS)?,
                loaded_at: time(row, 9, LOADS)?,
            })
        })
        .collect()
}

/// Writes down a load that was applied, and what is known of its stream since.
pub(super) fn record(
    session: &mut Session,
    manifest: &Manifest,
    outcome: &LoadOutcome,
    schema: &TableSchema,
) -> Result<()> {
    // Along a chain of loads time never goes back, whatever the clock did.
    let now = utc(Utc::now().max(manifest.extracted_at));
    let (position_before, position_after) = positions(manifest)?;
    let insert = format!(
        "INSERT INTO {} (load_id, stream, mode, disposition, rows_extracted, inserted, updated, deleted, schema_hash, \
         position_before, position_after, extracted_at, loaded_at, acequia_version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CAST($10::text AS jsonb), CAST($11::text AS jsonb), \
         CAST($12::text AS timestamptz), CAST($13::text AS timestamptz), $14)",
        session.table(LOADS)
    );
    session.execute(
        &insert,
        &[
            &manifest.load_id.as_str(),
            &manifest.stream.as_str(),
            &manifest.mode.to_string(),
            &manifest.disposition.to_string(),
            &bigint(manifest.rows),
            &bigint(outcome.inserted),
            &bigint(outcome.updated),
            &bigint(outcome.deleted),
            &manifest.schema.fingerprint(),
            &position_before,
            &position_after,
            &utc(manifest.extracted_at),
            &now,
            &env!("CARGO_PKG_VERSION"),
        ],
    )?;
    let upsert = format!(
        "INSERT INTO {} (stream, \"position\", schema, load_id, updated_at) \
         VALUES ($1, CAST($2::text AS jsonb), CAST($3::text AS jsonb), $4, CAST($5::text AS timestamptz)) \
         ON CONFLICT (stream) DO UPDATE SET \"position\" = excluded.\"position\", schema = excluded.schema, \
         load_id = excluded.load_id, updated_at = excluded.updated_at",
        session.table(STATE)
    );
    session.execute(
        &upsert,
        &[
            &manifest.stream.as_str(),
            &position_after,
            &to_json(schema)?,
            &manifest.load_id.as_str(),
            &now,
        ],
    )?;
    Ok(())
}

/// Takes a stream's position on, from `before` to `after`.
pub(super) fn advance(
    session: &mut Session,
    stream: &StreamName,
    before: &Position,
    after: &Position,
) -> Result<()> {
    let state = state(session, stream)?;
    stands_at(stream, state, before)?;
    let update = format!(
        "UPDATE {} SET \"position\" = CAST($1::text AS jsonb), \
         updated_at = greatest(updated_at, CAST($2::text AS timestamptz)) \
         WHERE stream = $3",
        session.table(STATE)
    );
    session.execute(
        &update,
        &[&to_json(after)?, &utc(Utc::now()), &stream.as_str()],
    )?;
    Ok(())
}

/// A column's value.
pub(super) fn value<T: FromSqlOwned>(row: &Row, index: usize) -> Result<T> {
    row.try_get(index)
        .map_err(|error| Error::internal("PostgreSQL's answer could not be read").cause(error))
}

/// A point in time as microseconds since 1970.
fn micros(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::int8")
}

fn time(row: &Row, index: usize, table: &str) -> Result<DateTime<Utc>> {
    ledger::time(value(row, index)?, table)
}

fn count(row: &Row, index: usize) -> Result<u64> {
    Ok(u64::try_from(value::<i64>(row, index)?).unwrap_or(0))
}
