//! Every version of a row is kept, with the time from which and to which it held.
//!
//! The instant of a load is when its extract ended. A row that differs from its current version in any column of the load
//! closes that version and adds one, both at that instant; of a column that is new, old versions have NULL. A load of
//! everything (`full`) also closes what it does not bring. Of several versions of a row within one incremental load the
//! newest is taken: the source's history between two loads is not known.

use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::Result;
use crate::landing::manifest::{Manifest, Mode};
use crate::schema::ColumnType;

use super::own::{self, VALID_TO, instant};
use super::sql::{equal, identifier, list, list_of, literal, of};
use super::{Engine, Rows, Scratch, keys};

/// Keys of the load whose row is new or differs from its current version.
const CHANGED: &str = "_acequia_changed";

/// Brings a table of versions up to date with a load. `rows` is none where the load has no part.
///
/// # Errors
/// As [`keys::settle`], or where the destination fails.
pub(crate) fn apply(
    engine: &mut dyn Engine,
    table: &str,
    manifest: &Manifest,
    rows: Option<Rows>,
) -> Result<LoadOutcome> {
    let mut scratch = Scratch::new();
    let mut outcome = LoadOutcome::default();
    let rows = match rows {
        Some(rows) => Some(keys::settle(engine, &mut scratch, manifest, rows)?),
        None => None,
    };
    if manifest.mode == Mode::Full || manifest.full_refresh {
        outcome.deleted = close_missing(engine, table, manifest, rows.as_ref())?;
    }
    if let Some(rows) = rows {
        let (changed, any) = find_changed(engine, &mut scratch, table, manifest, &rows)?;
        if any > 0 {
            outcome.updated = close_changed(engine, table, manifest, &changed)?;
            outcome.inserted = add(engine, table, manifest, &rows, &changed)? - outcome.updated;
        }
    }
    scratch.drop_all(engine)?;
    Ok(outcome)
}

/// Closes the current versions of rows that a load of everything does not have.
fn close_missing(
    engine: &mut dyn Engine,
    table: &str,
    manifest: &Manifest,
    rows: Option<&Rows>,
) -> Result<u64> {
    let missing = rows.map_or_else(String::new, |rows| {
        format!(
            " AND NOT EXISTS (SELECT 1 FROM {} AS n WHERE {})",
            rows.relation,
            equal(&manifest.primary_key, "n", "o")
        )
    });
    engine.execute(&format!(
        "UPDATE {table} AS o SET {} WHERE {} IS NULL{missing}",
        closing(engine, manifest),
        of("o", VALID_TO),
    ))
}

fn find_changed(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    table: &str,
    manifest: &Manifest,
    rows: &Rows,
) -> Result<(String, u64)> {
    let dialect = engine.dialect();
    let key = &manifest.primary_key;
    let query = format!(
        "SELECT {} FROM {} AS n LEFT JOIN (SELECT c.* FROM {table} AS c WHERE {} IS NULL) AS o ON {} \
         WHERE {} IS NULL OR NOT ({})",
        list_of("n", key.iter().map(String::as_str)),
        rows.relation,
        of("c", VALID_TO),
        equal(key, "n", "o"),
        of("o", LOAD_ID_COLUMN),
        // Here rows are compared that the key has brought together: pair by pair, not as a join.
        super::sql::same(&rows.identity(dialect, "n"), &rows.identity(dialect, "o")),
    );
    scratch.make(engine, CHANGED, &query)
}

fn close_changed(
    engine: &mut dyn Engine,
    table: &str,
    manifest: &Manifest,
    changed: &str,
) -> Result<u64> {
    engine.execute(&format!(
        "UPDATE {table} AS o SET {} FROM {changed} AS c WHERE {} AND {} IS NULL",
        closing(engine, manifest),
        equal(&manifest.primary_key, "o", "c"),
        of("o", VALID_TO),
    ))
}

fn add(
    engine: &mut dyn Engine,
    table: &str,
    manifest: &Manifest,
    rows: &Rows,
    changed: &str,
) -> Result<u64> {
    let dialect = engine.dialect();
    let own = own::columns(manifest);
    let columns = || rows.columns.iter().map(|column| column.name.as_str());
    let values: Vec<String> = own.iter().map(|own| own.value(dialect)).collect();
    engine.execute(&format!(
        "INSERT INTO {table} ({}, {}) SELECT {}, {} FROM {} AS n JOIN {changed} AS c ON {}",
        list(columns()),
        list(own.iter().map(|own| own.name)),
        list_of("n", columns()),
        values.join(", "),
        rows.relation,
        equal(&manifest.primary_key, "n", "c"),
    ))
}

/// What closes a version.
fn closing(engine: &dyn Engine, manifest: &Manifest) -> String {
    format!(
        "{} = CAST({} AS {})",
        identifier(VALID_TO),
        literal(&instant(manifest.extracted_at)),
        engine.dialect().type_name(&ColumnType::TimestampTz)
    )
}
