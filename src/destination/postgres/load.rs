//! Applies a load: data, ledger row and position, in one transaction.

use crate::destination::apply::rows::check_rows;
use crate::destination::apply::{Rows, Scratch, insert_only, keys, marks, own, scd2};
use crate::destination::found::check;
use crate::destination::turn::{cursor_of, evolution, in_turn, makes_anew};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome, StagedLoad};
use crate::error::{Error, Result};
use crate::evolution::Evolution;
use crate::failpoint;
use crate::landing::manifest::{Disposition, Manifest, Mode};
use crate::schema::Column;

use super::append::Overlap;
use super::copy::copy;
use super::index::{self, Key};
use super::session::Session;
use super::sql::{PostgresSql, list, literal, of};
use super::table::{Table, check_names};
use super::{append, changes, ledger, merge, stage};

/// Applies a load, unless the ledger has it.
pub(super) fn load(session: &mut Session, load: &StagedLoad) -> Result<LoadOutcome> {
    let outcome = session
        .transaction(|session| {
            let outcome = apply(session, load)?;
            fail::fail_point!("postgres.before_commit", failpoint::abort);
            Ok(outcome)
        })
        .map_err(|error| error.on(format!("load {}", load.manifest.load_id)))?;
    fail::fail_point!("postgres.after_commit", failpoint::abort);
    Ok(outcome)
}

fn apply(session: &mut Session, load: &StagedLoad) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    if ledger::has(session, &manifest.load_id)? {
        return Ok(LoadOutcome {
            already_loaded: true,
            ..LoadOutcome::default()
        });
    }
    let state = ledger::state(session, &manifest.stream)?;
    let mut table = Table::find(session, manifest, &manifest.table)?;
    let anew = makes_anew(manifest, state.as_ref(), &table);
    let evolution = evolution(state.as_ref(), load)?;
    check_names(&evolution.table, manifest)?;
    if anew {
        table.empty(session)?;
        let known = state.as_ref().map(|state| &state.schema);
        table.make(session, &evolution.table, known, manifest)?;
    } else {
        check(&table, &in_turn(manifest, state)?.schema, manifest)?;
        table.alter(session, &evolution.steps, manifest)?;
    }
    let outcome = fill(session, &mut table, load, &evolution, anew)?;
    ledger::record(session, manifest, &outcome, &evolution.table)?;
    Ok(outcome)
}

/// Brings the load's rows into the table, which is empty where it was made anew.
fn fill(
    session: &mut Session,
    table: &mut Table,
    load: &StagedLoad,
    evolution: &Evolution,
    anew: bool,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    let columns = table.target(session, manifest, &evolution.table)?;
    let key = Key::of(manifest);
    key.check(&columns)?;
    index::drop_others(session, table, &key)?;
    if !anew {
        index::ensure(session, table, &key).map_err(|error| key_comes_twice(error, table))?;
    }
    let outcome = if manifest.mode == Mode::Cdc {
        changes::load(session, table, load, evolution, columns, anew)?
    } else if anew {
        replace(session, table, load, columns)?
    } else {
        add(session, table, load, evolution, columns)?
    };
    if anew {
        // It is made faster when the rows are there.
        index::ensure(session, table, &key)?;
    }
    Ok(outcome)
}

/// What is said where the rows that the table has already cannot have a unique index on their key.
fn key_comes_twice(error: Error, table: &Table) -> Error {
    if !matches!(error, Error::Data(_)) {
        return error;
    }
    Error::data(format!(
        "table {} holds several rows with the same key, as it was not loaded by that key so far",
        table.shown
    ))
    .remedy("make the table anew: `acequia run STREAM --full-refresh`")
}

/// Fills the empty table: straight from the parts, where nothing is to be settled among the rows.
fn replace(
    session: &mut Session,
    table: &Table,
    load: &StagedLoad,
    columns: Vec<Column>,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    let own = own::columns(manifest);
    let has_key = manifest.disposition.has_key();
    let mut scratch = Scratch::new();
    let inserted = if load.files.is_empty() {
        0
    } else if own.len() > 1 || (has_key && !manifest.key_is_unique) {
        let mut rows = stage::fill(session, load, columns)?;
        if has_key {
            rows = keys::settle(session, &mut scratch, manifest, rows)?;
        }
        let values: Vec<String> = own.iter().map(|own| own.value(&PostgresSql)).collect();
        session.execute(
            &format!(
                "INSERT INTO {} ({}, {}) SELECT {}, {} FROM {} AS n",
                table.sql,
                list(rows.columns.iter().map(|column| column.name.as_str())),
                list(own.iter().map(|own| own.name)),
                rows.names("n").join(", "),
                values.join(", "),
                rows.relation
            ),
            &[],
        )?
    } else {
        let load_id = Some(manifest.load_id.as_str());
        let inserted = copy(session, &table.sql, &columns, load_id, load)?;
        check_rows(inserted, manifest)?;
        if has_key {
            let relation = table.sql.clone();
            keys::settle(session, &mut scratch, manifest, Rows { columns, relation })?;
        }
        inserted
    };
    scratch.drop_all(session)?;
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}

/// Adds rows to the table.
fn add(
    session: &mut Session,
    table: &Table,
    load: &StagedLoad,
    evolution: &Evolution,
    columns: Vec<Column>,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    let rows = if load.files.is_empty() {
        None
    } else {
        Some(stage::fill(session, load, columns)?)
    };
    let mut scratch = Scratch::new();
    let rows = rows
        .map(|rows| marks::complete(session, &mut scratch, &table.sql, manifest, rows))
        .transpose()?;
    let outcome = match (manifest.disposition, rows) {
        (Disposition::Scd2, rows) => scd2::apply(session, &table.sql, manifest, rows)?,
        (_, None) => LoadOutcome::default(),
        (Disposition::Merge, Some(rows)) => {
            merge::merge(session, table, manifest, &evolution.table, rows)?
        }
        (Disposition::Append, Some(rows)) => {
            let (cursor, position) = cursor_of(manifest, &rows.columns)?;
            let overlap = Overlap {
                cursor,
                highest: &position.value,
            };
            append::append(session, table, manifest, &overlap, &evolution.steps, &rows)?
        }
        (Disposition::InsertOnly, Some(rows)) => {
            insert_only::apply(session, &table.sql, manifest, rows)?
        }
        (Disposition::Replace, Some(_)) => {
            return Err(Error::internal(
                "a load of this disposition does not add to a table so",
            ));
        }
    };
    scratch.drop_all(session)?;
    Ok(outcome)
}

/// `INSERT INTO table (columns…)` with the load's id as the last column.
pub(super) fn insert_into(table: &Table, columns: &[Column]) -> String {
    let names = columns.iter().map(|column| column.name.as_str());
    format!(
        "INSERT INTO {} ({})",
        table.sql,
        list(names.chain([LOAD_ID_COLUMN]))
    )
}

/// The load's columns and its id, of a relation with that alias.
pub(super) fn values(manifest: &Manifest, columns: &[Column], alias: &str) -> String {
    let mut values: Vec<String> = columns
        .iter()
        .map(|column| of(alias, &column.name))
        .collect();
    values.push(literal(manifest.load_id.as_str()));
    values.join(", ")
}
