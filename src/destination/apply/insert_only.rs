//! Rows are added whose key the table does not have. Others are left as they are.

use crate::destination::LoadOutcome;
use crate::error::Result;
use crate::landing::manifest::Manifest;

use super::sql::{equal, list, list_of};
use super::{Engine, Rows, Scratch, keys, own};

/// Adds the rows of a load to the table whose key it does not have.
///
/// # Errors
/// As [`keys::settle`], or where the destination fails.
pub(crate) fn apply(
    engine: &mut dyn Engine,
    table: &str,
    manifest: &Manifest,
    rows: Rows,
) -> Result<LoadOutcome> {
    let mut scratch = Scratch::new();
    let rows = keys::settle(engine, &mut scratch, manifest, rows)?;
    let dialect = engine.dialect();
    let own = own::columns(manifest);
    let columns = || rows.columns.iter().map(|column| column.name.as_str());
    let values: Vec<String> = own.iter().map(|own| own.value(dialect)).collect();
    let inserted = engine.execute(&format!(
        "INSERT INTO {table} ({}, {}) SELECT {}, {} FROM {} AS n WHERE NOT EXISTS (SELECT 1 FROM {table} AS o WHERE {})",
        list(columns()),
        list(own.iter().map(|own| own.name)),
        list_of("n", columns()),
        values.join(", "),
        rows.relation,
        equal(&manifest.primary_key, "n", "o"),
    ))?;
    scratch.drop_all(engine)?;
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}
