//! Applies a load: data, ledger row and position, in one transaction.

use crate::destination::apply::rows::check_rows;
use crate::destination::apply::{Rows, Scratch, insert_only, keys, marks, own, scd2};
use crate::destination::found::check;
use crate::destination::turn::{cursor_of, evolution, in_turn, makes_anew};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome, StagedLoad};
use crate::error::{Error, Result};
use crate::evolution::{Evolution, TableSchema};
use crate::failpoint;
use crate::landing::manifest::{Disposition, Manifest, Mode};

use super::indices::Indices;
use super::overlap::Overlap;
use super::session::Session;
use super::sql::{DuckDbSql, cast, identifier, literal};
use super::table::{Table, check_names};
use super::{append, changes, ledger, merge, rows};

/// Applies a load, unless the ledger has it.
pub(super) fn load(session: &Session, load: &StagedLoad) -> Result<LoadOutcome> {
    let outcome = session
        .transaction(|| {
            let outcome = apply(session, load)?;
            fail::fail_point!("duckdb.before_commit", failpoint::abort);
            Ok(outcome)
        })
        .map_err(|error| error.on(format!("load {}", load.manifest.load_id)))?;
    fail::fail_point!("duckdb.after_commit", failpoint::abort);
    Ok(outcome)
}

fn apply(session: &Session, load: &StagedLoad) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    if ledger::has(session, &manifest.load_id)? {
        return Ok(LoadOutcome {
            already_loaded: true,
            ..LoadOutcome::default()
        });
    }
    let state = ledger::state(session, &manifest.stream)?;
    let table = Table::find(session, manifest, &manifest.table)?;
    let anew = makes_anew(manifest, state.as_ref(), &table);
    let evolution = evolution(state.as_ref(), load)?;
    check_names(&evolution.table, manifest)?;
    let rows = rows::of_parts(load, &evolution.table)?;
    if !anew {
        check(&table, &in_turn(manifest, state)?.schema, manifest)?;
    }
    let indices = anew.then(|| Indices::of(session, &table)).transpose()?;
    let outcome = if manifest.mode == Mode::Cdc {
        changes::load(session, &table, manifest, &evolution, rows.as_ref(), anew)?
    } else if anew {
        make(session, &table, manifest, &evolution.table, rows)?
    } else {
        table.alter(session, &evolution.steps, manifest.mode)?;
        add(session, &table, manifest, &evolution, rows)?
    };
    if let Some(indices) = indices {
        indices.restore(session, &table)?;
    }
    ledger::record(session, manifest, &outcome, &evolution.table)?;
    Ok(outcome)
}

/// Makes the table anew.
fn make(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    schema: &TableSchema,
    rows: Option<Rows>,
) -> Result<LoadOutcome> {
    let columns = schema.columns.iter().map(|column| &column.column);
    let Some(mut rows) = rows else {
        table.create(session, columns, manifest)?;
        return Ok(LoadOutcome::default());
    };
    let mut scratch = Scratch::new();
    let has_key = manifest.disposition.has_key();
    if has_key {
        rows = keys::settle(&mut &*session, &mut scratch, manifest, rows)?;
    }
    let mut values: Vec<String> = columns
        .map(|column| {
            let name = identifier(&column.name);
            if rows.has(&column.name) {
                name
            } else {
                format!("{} AS {name}", cast("NULL", &column.column_type))
            }
        })
        .collect();
    for own in own::columns(manifest) {
        values.push(format!(
            "{} AS {}",
            own.value(&DuckDbSql),
            identifier(own.name)
        ));
    }
    let inserted = session.counted(&format!(
        "CREATE OR REPLACE TABLE {} AS SELECT {} FROM {} AS n",
        table.sql,
        values.join(", "),
        rows.relation
    ))?;
    scratch.drop_all(&mut &*session)?;
    let may_drop_duplicates = has_key && !manifest.key_is_unique;
    if !may_drop_duplicates {
        check_rows(inserted, manifest)?;
    }
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}

/// Adds rows to the table.
fn add(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    evolution: &Evolution,
    rows: Option<Rows>,
) -> Result<LoadOutcome> {
    let mut scratch = Scratch::new();
    let rows = rows
        .map(|rows| marks::complete(&mut &*session, &mut scratch, &table.sql, manifest, rows))
        .transpose()?;
    let outcome = match (manifest.disposition, rows) {
        (Disposition::Scd2, rows) => scd2::apply(&mut &*session, &table.sql, manifest, rows)?,
        (_, None) => LoadOutcome::default(),
        (Disposition::Merge, Some(rows)) => {
            let overlap = overlap(manifest, &rows)?;
            merge::merge(session, table, manifest, &overlap, rows)?
        }
        (Disposition::Append, Some(rows)) => {
            let overlap = overlap(manifest, &rows)?;
            append::append(session, table, manifest, &overlap, &evolution.steps, &rows)?
        }
        (Disposition::InsertOnly, Some(rows)) => {
            insert_only::apply(&mut &*session, &table.sql, manifest, rows)?
        }
        (Disposition::Replace, Some(_)) => {
            return Err(Error::internal(
                "a load of this disposition does not add to a table so",
            ));
        }
    };
    scratch.drop_all(&mut &*session)?;
    Ok(outcome)
}

/// Where the load may meet again what earlier ones brought.
fn overlap(manifest: &Manifest, rows: &Rows) -> Result<Overlap> {
    let (cursor, position) = cursor_of(manifest, &rows.columns)?;
    Ok(Overlap::new(cursor, &position.value.text()))
}

/// `INSERT INTO table (columns…)` with the load's id as the last column.
pub(super) fn insert_into(table: &Table, rows: &Rows) -> String {
    let mut columns: Vec<String> = rows
        .columns
        .iter()
        .map(|column| identifier(&column.name))
        .collect();
    columns.push(identifier(LOAD_ID_COLUMN));
    format!("INSERT INTO {} ({})", table.sql, columns.join(", "))
}

/// The load's columns and its id, of a relation with that alias.
pub(super) fn values(manifest: &Manifest, rows: &Rows, alias: &str) -> String {
    let mut values = rows.names(alias);
    values.push(literal(manifest.load_id.as_str()));
    values.join(", ")
}
