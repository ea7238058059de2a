//! The plan of a load: what is done to its table, in which order.

use crate::destination::{LoadOutcome, Parts, StagedLoad, StreamState};
use crate::error::{Error, Result};
use crate::evolution::{Evolution, TableSchema};
use crate::mode::{Amends, Disposition, Mode};
use crate::schema::Column;

use super::append::{Overlap, append};
use super::range::LoadRange;
use super::sequence::{check_sequence, evolution, rebuilds_table};
use super::{
    Rows, SqlEngine, Table, TempTables, amend, changes, check_rows, dedup, insert_only, marks,
    scd2, system_columns,
};

/// Applies a load that was not applied yet, given what the ledger has of its stream: what it did, and the table's schema
/// since.
///
/// # Errors
/// Where the load does not follow on the state, the table is not as the ledger says, the schema or a key forbids it, or
/// the destination fails.
pub(crate) fn apply(
    engine: &mut dyn SqlEngine,
    load: &StagedLoad,
    state: Option<StreamState>,
) -> Result<(LoadOutcome, TableSchema)> {
    let manifest = &load.manifest;
    let mut table = Table::find(engine, manifest, &manifest.table)?;
    let anew = rebuilds_table(manifest, state.as_ref(), &table);
    if anew && manifest.amends.is_some() {
        return Err(Error::internal(
            "a load that amends a table would make it anew, with its own rows alone",
        ));
    }
    let evolution = evolution(state.as_ref(), load)?;
    let schema = &evolution.table;
    engine
        .dialect()
        .check_names(schema, &system_columns::columns(manifest))?;
    if matches!(load.parts, Parts::Arriving(_)) && (table.exists() || !anew) {
        return Err(Error::internal(
            "a load whose parts still come goes into a table of its own alone",
        ));
    }
    let mut indices = Vec::new();
    if anew {
        let known = state.as_ref().map(|state| &state.schema);
        indices = table.create(engine, schema, known, manifest)?;
    } else {
        table.check(&check_sequence(manifest, state)?.schema, manifest)?;
        table.alter(engine, &evolution.steps, manifest.mode)?;
    }
    let columns = engine.load_columns(&mut table, manifest, schema)?;
    indices.extend(engine.index_key(&table, &columns, manifest, anew)?);
    let outcome = if manifest.mode == Mode::Cdc {
        changes::load(engine, &mut table, load, &evolution, columns, anew)?
    } else if anew {
        fill(engine, &table, load, columns)?
    } else {
        if manifest.changes.is_some() {
            table.add_missing(engine, manifest)?;
        }
        add(engine, &table, load, &evolution, columns)?
    };
    for index in indices {
        index.make(engine, &table.shown)?;
    }
    Ok((outcome, evolution.table))
}

/// Fills the empty table.
fn fill(
    engine: &mut dyn SqlEngine,
    table: &Table,
    load: &StagedLoad,
    columns: Vec<Column>,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    if load.parts.is_empty() {
        return Ok(LoadOutcome::default());
    }
    let own = system_columns::columns(manifest);
    let has_key = manifest.disposition.has_key();
    let may_drop_rows = has_key && !manifest.key_is_unique;
    let mut temp = TempTables::new();
    // The rows need no deduplication, and the load's id is their only system column.
    let copied = if own.len() > 1 || may_drop_rows {
        None
    } else {
        engine.copy(table, load, &columns)?
    };
    let inserted = if let Some(inserted) = copied {
        if has_key {
            let relation = table.sql.clone();
            dedup::deduplicate(engine, &mut temp, manifest, Rows { columns, relation })?;
        }
        inserted
    } else {
        let mut rows = engine.stage(load, columns)?;
        if has_key {
            rows = dedup::deduplicate(engine, &mut temp, manifest, rows)?;
        }
        let d = engine.dialect();
        let insert = rows.insert(d).own(d, &own);
        engine.insert(&table.sql, &insert)?
    };
    if !may_drop_rows {
        check_rows(inserted, load.sealed()?)?;
    }
    temp.drop_all(engine)?;
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}

/// Adds rows to the table.
fn add(
    engine: &mut dyn SqlEngine,
    table: &Table,
    load: &StagedLoad,
    evolution: &Evolution,
    columns: Vec<Column>,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    let mut temp = TempTables::new();
    if manifest.amends.as_ref().is_some_and(Amends::has_ops) {
        return amend::apply(engine, table, load, columns);
    }
    let range = match &manifest.amends {
        Some(Amends::Range(range)) => {
            let d = engine.dialect();
            Some(LoadRange::of(d, range, &columns, table, manifest)?)
        }
        _ => None,
    };
    let rows = if load.parts.is_empty() {
        None
    } else {
        let rows = engine.stage(load, columns)?;
        Some(marks::complete(
            engine, &mut temp, &table.sql, manifest, rows,
        )?)
    };
    if let Some(range) = range {
        let outcome = range.apply(engine, &mut temp, &evolution.table, rows)?;
        temp.drop_all(engine)?;
        return Ok(outcome);
    }
    let outcome = match (manifest.disposition, rows) {
        (Disposition::Scd2, rows) => {
            scd2::apply(engine, &mut temp, &table.sql, manifest, rows, None)?
        }
        (_, None) => LoadOutcome::default(),
        (Disposition::Merge, Some(rows)) => {
            let rows = dedup::deduplicate(engine, &mut temp, manifest, rows)?;
            engine
                .merge(&mut temp, table, manifest, &evolution.table, &rows)?
                .count(engine)?
        }
        (Disposition::Append, Some(rows)) => {
            let overlap = Overlap::of(engine.dialect(), manifest, &rows)?;
            append(engine, table, manifest, &overlap, &evolution.steps, &rows)?
        }
        (Disposition::InsertOnly, Some(rows)) => {
            let rows = dedup::deduplicate(engine, &mut temp, manifest, rows)?;
            insert_only::merge(engine.dialect(), &table.sql, manifest, &rows).count(engine)?
        }
        (Disposition::Replace, Some(_)) => {
            return Err(Error::internal(
                "a load of this disposition does not add to a table so",
            ));
        }
    };
    temp.drop_all(engine)?;
    Ok(outcome)
}
