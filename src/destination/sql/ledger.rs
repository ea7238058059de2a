//! What was loaded, kept in tables of the dataset itself: `_acequia_destination`, `_acequia_loads`, `_acequia_state`.
//!
//! The plan of a load knows nothing of this: [`load`] is what joins the two. A destination that keeps its ledger elsewhere
//! writes that one function its own way.

use std::collections::{BTreeMap, HashSet};

use chrono::{SubsecRound, Utc};

use crate::destination::{LedgerRow, LoadOutcome, Loaded, StagedLoad, StreamState};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;
use crate::schema::ColumnType;

use super::dialect::GROUPED;
use super::loads::{self, LoadRow, json, time};
use super::place::{PLACE, moved};
use super::table_row::{Row, damaged, parse};
use super::{Dialect, SqlEngine, load as plan};

/// The table of one row that has the destination's id.
const DESTINATION: &str = "_acequia_destination";
/// The table of loads.
const LOADS: &str = "_acequia_loads";
/// The table of what is known of each stream.
const STATE: &str = "_acequia_state";

/// Applies a load and writes it down, unless the ledger has it.
///
/// # Errors
/// As the plan of a load; where the ledger cannot be read or written.
pub(crate) fn load(engine: &mut dyn SqlEngine, load: &StagedLoad) -> Result<Loaded> {
    let manifest = &load.manifest;
    let state = state(engine, &manifest.stream)?;
    if has(engine, &manifest.load_id)? {
        return state.map(Loaded::before).ok_or_else(|| damaged(STATE));
    }
    run(engine, manifest, &load.pre_sql, "pre_sql")?;
    let (outcome, schema) = plan::apply(engine, load, state)?;
    let warnings = engine.make_views_again()?;
    run(engine, manifest, &load.post_sql, "post_sql")?;
    let state = record(engine, load.sealed()?, &outcome, schema)?;
    Ok(Loaded {
        outcome,
        state,
        warnings,
    })
}

/// Runs the statements that people want run with a load.
fn run(
    engine: &mut dyn SqlEngine,
    manifest: &Manifest,
    statements: &[String],
    key: &str,
) -> Result<()> {
    for statement in statements {
        let table = engine.table(&manifest.table);
        engine
            .execute(&statement.replace("{table}", &table))
            .map_err(|error| {
                let error = error.context(format!("{key} of stream {}", manifest.stream));
                match error.remedy_text() {
                    Some(_) => error,
                    None => error.remedy(format!(
                        "correct `{key}` of [streams.{}]: the load was undone with it",
                        manifest.stream
                    )),
                }
            })?;
    }
    Ok(())
}

/// Creates the dataset's schema and ledger if they are missing. Returns the destination's id, and a warning if the ledger
/// was made at another place.
pub(crate) fn prepare(
    engine: &mut dyn SqlEngine,
    here: &str,
) -> Result<(DestinationId, Option<String>)> {
    let known = find_id(engine)?;
    let place = known_place(engine)?;
    let moved = match (&known, &place) {
        (Some(_), Some(place)) if place != here => Some(moved(place, here)),
        _ => None,
    };
    let id = match known {
        Some(id) if moved.is_none() => id,
        Some(_) => renew(engine)?,
        None => make(engine)?,
    };
    if place.as_deref() != Some(here) {
        note_place(engine, here)?;
    }
    Ok((id, moved))
}

/// The id of a ledger that is only read, if there is a ledger. A ledger at another place than its own has no valid id yet.
pub(crate) fn seen_id(engine: &mut dyn SqlEngine, here: &str) -> Result<Option<DestinationId>> {
    let id = find_id(engine)?;
    Ok(match known_place(engine)? {
        Some(place) if place != here => id.map(|_| DestinationId::random()),
        _ => id,
    })
}

/// Where the ledger was last, if that was ever noted.
fn known_place(engine: &mut dyn SqlEngine) -> Result<Option<String>> {
    if !engine.has_table(PLACE)? {
        return Ok(None);
    }
    let places = engine.texts(&format!("SELECT place FROM {}", engine.table(PLACE)))?;
    Ok(places.into_iter().next())
}

fn note_place(engine: &mut dyn SqlEngine, here: &str) -> Result<()> {
    let (d, table) = (engine.dialect(), engine.table(PLACE));
    let text = d.type_name(&ColumnType::Text);
    for sql in [
        format!("CREATE TABLE IF NOT EXISTS {table} (place {text} NOT NULL)"),
        format!("DELETE FROM {table}"),
        format!("INSERT INTO {table} VALUES ({})", d.literal(here)),
    ] {
        engine.execute(&sql)?;
    }
    Ok(())
}

/// Gives the destination another id.
fn renew(engine: &mut dyn SqlEngine) -> Result<DestinationId> {
    let id = DestinationId::random();
    engine.execute(&format!(
        "UPDATE {} SET id = {}",
        engine.table(DESTINATION),
        engine.dialect().literal(id.as_str())
    ))?;
    Ok(id)
}

fn make(engine: &mut dyn SqlEngine) -> Result<DestinationId> {
    create(engine)?;
    let id = DestinationId::random();
    let d = engine.dialect();
    engine.execute(&format!(
        "INSERT INTO {} (id, created_at, acequia_version) VALUES ({}, {}, {})",
        engine.table(DESTINATION),
        d.literal(id.as_str()),
        time(d, Utc::now()),
        d.literal(env!("CARGO_PKG_VERSION"))
    ))?;
    Ok(id)
}

fn create(engine: &mut dyn SqlEngine) -> Result<()> {
    engine.create_schema()?;
    let d = engine.dialect();
    let [text, time] =
        [ColumnType::Text, ColumnType::TimestampTz].map(|column_type| d.type_name(&column_type));
    let (json, position) = (d.json(), d.identifier("position"));
    let of_loads = loads::columns(d).map(|column| {
        let constraint = match column.name {
            "load_id" => " PRIMARY KEY",
            _ if column.nullable => "",
            _ => " NOT NULL",
        };
        format!("{} {}{constraint}", column.name, column.data_type)
    });
    for (table, columns) in [
        (
            DESTINATION,
            format!(
                "id {text} NOT NULL, created_at {time} NOT NULL, acequia_version {text} NOT NULL"
            ),
        ),
        (LOADS, of_loads.join(", ")),
        (
            STATE,
            format!(
                "stream {text} PRIMARY KEY, {position} {json}, schema {json} NOT NULL, load_id {text} NOT NULL, \
                 updated_at {time} NOT NULL"
            ),
        ),
    ] {
        engine.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} ({columns})",
            engine.table(table)
        ))?;
    }
    Ok(())
}

/// The destination's id, where the dataset has a ledger.
fn find_id(engine: &mut dyn SqlEngine) -> Result<Option<DestinationId>> {
    if !engine.has_table(DESTINATION)? {
        return Ok(None);
    }
    let ids = engine.texts(&format!("SELECT id FROM {}", engine.table(DESTINATION)))?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => parse(id, DESTINATION).map(Some),
        _ => Err(damaged(DESTINATION)),
    }
}

/// What is known of each stream.
pub(crate) fn states(engine: &mut dyn SqlEngine) -> Result<BTreeMap<StreamName, StreamState>> {
    read_states(engine, "")
}

/// What is known of one stream.
pub(crate) fn state(
    engine: &mut dyn SqlEngine,
    stream: &StreamName,
) -> Result<Option<StreamState>> {
    let of_stream = of_stream(engine.dialect(), stream);
    Ok(read_states(engine, &of_stream)?.remove(stream))
}

fn of_stream(d: &dyn Dialect, stream: &StreamName) -> String {
    format!(" WHERE stream = {}", d.literal(stream.as_str()))
}

fn read_states(
    engine: &mut dyn SqlEngine,
    condition: &str,
) -> Result<BTreeMap<StreamName, StreamState>> {
    let d = engine.dialect();
    let rows = engine.rows(&format!(
        "SELECT stream, {}, {}, load_id, {} FROM {}{condition}",
        d.cast(&d.identifier("position"), &ColumnType::Text),
        d.cast("schema", &ColumnType::Text),
        d.microseconds("updated_at"),
        engine.table(STATE)
    ))?;
    rows.into_iter()
        .map(|row| {
            let row = Row::new(row, STATE);
            let state = StreamState {
                position: row.optional_json::<Position>(1)?,
                schema: row.json::<TableSchema>(2)?,
                load_id: row.parse(3)?,
                updated_at: row.time(4)?,
            };
            Ok((row.parse(0)?, state))
        })
        .collect()
}

/// The loads of a stream that the ledger has.
pub(crate) fn loaded(engine: &mut dyn SqlEngine, stream: &StreamName) -> Result<HashSet<LoadId>> {
    let ids = engine.texts(&format!(
        "SELECT load_id FROM {}{}",
        engine.table(LOADS),
        of_stream(engine.dialect(), stream)
    ))?;
    ids.iter().map(|id| parse(id, LOADS)).collect()
}

/// Whether the ledger has a load.
fn has(engine: &mut dyn SqlEngine, load_id: &LoadId) -> Result<bool> {
    let found = engine.texts(&format!(
        "SELECT load_id FROM {} WHERE load_id = {}",
        engine.table(LOADS),
        engine.dialect().literal(load_id.as_str())
    ))?;
    Ok(!found.is_empty())
}

/// The stream that brought the rows of a table, where it holds any that the ledger knows.
pub(crate) fn stream_of_rows(engine: &mut dyn SqlEngine, table: &str) -> Result<Option<String>> {
    let streams = engine.texts(&format!(
        "SELECT stream FROM {} WHERE load_id IN (SELECT _acequia_load_id FROM {table} LIMIT 1)",
        engine.table(LOADS)
    ))?;
    Ok(streams.into_iter().next())
}

/// The last ledger row of each stream.
pub(crate) fn last_loads(engine: &mut dyn SqlEngine) -> Result<Vec<LedgerRow>> {
    let d = engine.dialect();
    let by_bytes = |column: &str| d.ordered(column, &ColumnType::Text);
    let rows = engine.rows(&format!(
        "SELECT load_id, stream, mode, disposition, rows_extracted, inserted, updated, deleted, {}, {} FROM \
         (SELECT *, row_number() OVER (PARTITION BY stream ORDER BY loaded_at DESC, {} DESC) AS _acequia_nth FROM {}) \
         AS {GROUPED} WHERE _acequia_nth = 1 ORDER BY {}",
        d.microseconds("extracted_at"),
        d.microseconds("loaded_at"),
        by_bytes("load_id"),
        engine.table(LOADS),
        by_bytes("stream"),
    ))?;
    rows.into_iter()
        .map(|row| {
            let row = Row::new(row, LOADS);
            Ok(LedgerRow {
                load_id: row.parse(0)?,
                stream: row.parse(1)?,
                mode: row.some(2)?.to_owned(),
                disposition: row.some(3)?.to_owned(),
                rows_extracted: row.count(4)?,
                inserted: row.count(5)?,
                updated: row.count(6)?,
                deleted: row.count(7)?,
                extracted_at: row.time(8)?,
                loaded_at: row.time(9)?,
            })
        })
        .collect()
}

/// What tells one content of each stream's table from another: its last load that changed a row or made the table anew, and its
/// schema.
pub(crate) fn contents(engine: &mut dyn SqlEngine) -> Result<BTreeMap<StreamName, String>> {
    let d = engine.dialect();
    let by_bytes = d.ordered("load_id", &ColumnType::Text);
    let table = engine.table(LOADS);
    let last = |column: &str, condition: &str| {
        format!(
            "SELECT stream, {column} FROM (SELECT *, row_number() OVER (PARTITION BY stream ORDER BY loaded_at DESC, \
             {by_bytes} DESC) AS _acequia_nth FROM {table}{condition}) AS {GROUPED} WHERE _acequia_nth = 1"
        )
    };
    let changing = " WHERE inserted > 0 OR updated > 0 OR deleted > 0 OR position_before IS NULL";
    let mut contents: BTreeMap<StreamName, String> = BTreeMap::new();
    for query in [last("load_id", changing), last("schema_hash", "")] {
        for row in engine.rows(&query)? {
            let row = Row::new(row, LOADS);
            let content = contents.entry(row.parse(0)?).or_default();
            content.push(' ');
            content.push_str(row.some(1)?);
        }
    }
    Ok(contents)
}

/// Writes down a load that was applied, and what is known of its stream since, which is returned.
fn record(
    engine: &mut dyn SqlEngine,
    manifest: &Manifest,
    outcome: &LoadOutcome,
    schema: TableSchema,
) -> Result<StreamState> {
    let d = engine.dialect();
    let schema = TableSchema {
        table: Some(manifest.table.clone()),
        key: if manifest.disposition.has_key() {
            manifest.primary_key.clone()
        } else {
            Vec::new()
        },
        ..schema
    };
    let state = state_after(manifest, schema);
    let after = state.position.as_ref();
    let row = LoadRow::of(manifest, outcome, after, state.updated_at);
    let insert = loads::insert(d, &engine.table(LOADS), &[row])?;
    engine.execute(&insert)?;
    let (load_id, stream) = (
        d.literal(manifest.load_id.as_str()),
        d.literal(manifest.stream.as_str()),
    );
    let after = match after {
        Some(position) => json(d, position)?,
        None => "NULL".to_owned(),
    };
    let now = time(d, state.updated_at);
    let position = d.identifier("position");
    engine.execute(&format!(
        "INSERT INTO {} (stream, {position}, schema, load_id, updated_at) VALUES ({stream}, {after}, {}, {load_id}, {now}) \
         ON CONFLICT (stream) DO UPDATE SET {position} = excluded.{position}, schema = excluded.schema, \
         load_id = excluded.load_id, updated_at = excluded.updated_at",
        engine.table(STATE),
        json(d, &state.schema)?,
    ))?;
    Ok(state)
}

/// The state of a stream after a load of it was applied.
pub(crate) fn state_after(manifest: &Manifest, schema: TableSchema) -> StreamState {
    // A load never takes a position back to nothing: one that read no row stays where it began.
    let before = manifest.position_before.as_ref();
    let after = manifest.position_after.as_ref().or(before);
    StreamState {
        position: after.cloned(),
        schema,
        load_id: manifest.load_id.clone(),
        // Time never goes back along a chain of loads, even if the clock did.
        updated_at: Utc::now().max(manifest.extracted_at).trunc_subsecs(6),
    }
}

/// The error if a stream's position is not the one that a run found.
pub(crate) fn stands_elsewhere(stream: &StreamName) -> Error {
    Error::destination(format!(
        "stream {stream} no longer stands where this run found it"
    ))
    .remedy("let one run at a time load a dataset, and run again")
}

/// Advances a stream's position from `before` to `after`.
///
/// # Errors
/// The stream's position is not `before`.
pub(crate) fn advance(
    engine: &mut dyn SqlEngine,
    stream: &StreamName,
    before: &Position,
    after: &Position,
) -> Result<()> {
    let known = state(engine, stream)?;
    if known.and_then(|state| state.position).as_ref() != Some(before) {
        return Err(stands_elsewhere(stream));
    }
    let d = engine.dialect();
    engine.execute(&format!(
        "UPDATE {} SET {} = {}, updated_at = greatest(updated_at, {}){}",
        engine.table(STATE),
        d.identifier("position"),
        json(d, after)?,
        time(d, Utc::now()),
        of_stream(d, stream)
    ))?;
    Ok(())
}
