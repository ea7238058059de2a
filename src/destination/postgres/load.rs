//! Applies a load: data, ledger row and position, in one transaction.

use crate::destination::duckdb::{cursor_of, evolution, out_of_turn};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome, StagedLoad};
use crate::error::{Error, Result};
use crate::evolution::Evolution;
use crate::failpoint;
use crate::landing::manifest::{Disposition, Manifest};
use crate::schema::Column;

use super::append::Overlap;
use super::copy::copy;
use super::session::Session;
use super::sql::{identifier, literal, of};
use super::stage::{Stage, check_rows};
use super::table::{Table, check_names};
use super::{append, keys, ledger, merge};

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
    let mut table = Table::find(session, manifest)?;
    let evolution = evolution(state.as_ref(), load)?;
    check_names(&evolution.table)?;
    let outcome = if manifest.rebuilds() || manifest.full_refresh {
        make(session, &mut table, load, &evolution)?
    } else {
        let state = state.filter(|state| manifest.follows(state.position.as_ref()));
        let state = state.ok_or_else(|| out_of_turn(manifest))?;
        table.check(&state.schema)?;
        table.alter(session, &evolution.steps)?;
        add(session, &mut table, load, &evolution)?
    };
    ledger::record(session, manifest, &outcome, &evolution.table)?;
    Ok(outcome)
}

/// Puts the load's rows in the place of all that the table has, if there is one.
///
/// They go by DELETE: to readers whose snapshot is older, a table after TRUNCATE, or one that takes its place, is empty
/// (manual, section 13.6). So whoever reads sees the rows from before until the commit, and then the new ones.
fn make(
    session: &mut Session,
    table: &mut Table,
    load: &StagedLoad,
    evolution: &Evolution,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    let key = match manifest.disposition {
        Disposition::Replace | Disposition::Append => &[][..],
        Disposition::Merge => manifest.primary_key.as_slice(),
        Disposition::InsertOnly | Disposition::Scd2 => return Err(not_so()),
    };
    if table.exists() {
        session.execute(&format!("DELETE FROM {}", table.sql), &[])?;
    }
    table.make(session, &evolution.table)?;
    let columns = table.target(session, manifest, &evolution.table)?;
    keys::drop_others(session, table, key)?;
    let mut outcome = LoadOutcome::default();
    if manifest.disposition == Disposition::Merge && !manifest.key_is_unique {
        keys::check(manifest, &columns)?;
        let stage = Stage::fill(session, manifest, columns, &load.files)?;
        keys::refuse_nulls(session, manifest, &stage.columns, stage.sql)?;
        keys::settle(session, manifest, &stage)?;
        outcome.inserted = session.execute(
            &format!(
                "{} SELECT {} FROM {} AS n",
                insert_into(table, &stage.columns),
                values(manifest, &stage.columns, "n"),
                stage.sql
            ),
            &[],
        )?;
    } else {
        if !load.files.is_empty() {
            let load_id = Some(manifest.load_id.as_str());
            outcome.inserted = copy(session, &table.sql, &columns, load_id, &load.files)?;
        }
        check_rows(outcome.inserted, manifest)?;
        if manifest.disposition == Disposition::Merge {
            keys::check(manifest, &columns)?;
            keys::refuse_nulls(session, manifest, &columns, &table.sql)?;
        }
    }
    if !key.is_empty() {
        keys::index(session, table, key)?;
    }
    Ok(outcome)
}

/// Adds rows to the table.
fn add(
    session: &mut Session,
    table: &mut Table,
    load: &StagedLoad,
    evolution: &Evolution,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    if load.files.is_empty() {
        return Ok(LoadOutcome::default());
    }
    let columns = table.target(session, manifest, &evolution.table)?;
    let stage = Stage::fill(session, manifest, columns, &load.files)?;
    let (cursor, position) = cursor_of(manifest, &stage.columns)?;
    match manifest.disposition {
        Disposition::Merge => merge::merge(session, table, manifest, &evolution.table, &stage),
        Disposition::Append => {
            let overlap = Overlap {
                cursor,
                highest: &position.value,
            };
            append::append(session, table, manifest, &overlap, &evolution.steps, &stage)
        }
        Disposition::Replace | Disposition::InsertOnly | Disposition::Scd2 => Err(not_so()),
    }
}

/// `INSERT INTO table (columns…)` with the load's id as the last column.
pub(super) fn insert_into(table: &Table, columns: &[Column]) -> String {
    let mut names: Vec<String> = columns
        .iter()
        .map(|column| identifier(&column.name))
        .collect();
    names.push(identifier(LOAD_ID_COLUMN));
    format!("INSERT INTO {} ({})", table.sql, names.join(", "))
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

fn not_so() -> Error {
    Error::internal("a load of this disposition is not applied so")
}
