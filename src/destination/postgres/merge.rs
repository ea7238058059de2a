//! Rows take the place of those with the same key: an update of those that changed, then an insert of those that are new.

use crate::destination::apply::{Engine as _, Rows, Scratch, keys};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::Result;
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;

use super::load::{insert_into, values};
use super::session::Session;
use super::sql::{equal, identifier, literal, of};
use super::table::Table;

/// Merges rows into the table. Those that are the same in every column are left alone, so that a run that finds
/// nothing new writes nothing.
pub(super) fn merge(
    session: &mut Session,
    table: &Table,
    manifest: &Manifest,
    schema: &TableSchema,
    rows: Rows,
) -> Result<LoadOutcome> {
    let key = &manifest.primary_key;
    let mut scratch = Scratch::new();
    let rows = keys::settle(session, &mut scratch, manifest, rows)?;
    let dialect = session.dialect();
    let differs: Vec<String> = rows
        .identity(dialect, "o")
        .iter()
        .zip(rows.identity(dialect, "n"))
        .map(|(old, new)| format!("{old} IS DISTINCT FROM {new}"))
        .collect();
    let updated = session.execute(
        &format!(
            "UPDATE {} AS o SET {} FROM {} AS n WHERE {} AND ({})",
            table.sql,
            assignments(manifest, schema, &rows).join(", "),
            rows.relation,
            equal(key, "o", "n"),
            differs.join(" OR ")
        ),
        &[],
    )?;
    let inserted = session.execute(
        &format!(
            "{} SELECT {} FROM {} AS n WHERE NOT EXISTS (SELECT FROM {} AS o WHERE {})",
            insert_into(table, &rows.columns),
            values(manifest, &rows.columns, "n"),
            rows.relation,
            table.sql,
            equal(key, "o", "n")
        ),
        &[],
    )?;
    scratch.drop_all(session)?;
    Ok(LoadOutcome {
        inserted,
        updated,
        ..LoadOutcome::default()
    })
}

/// Every column of the new row. What the source has dropped is NULL from then on.
fn assignments(manifest: &Manifest, schema: &TableSchema, rows: &Rows) -> Vec<String> {
    let loaded = rows
        .columns
        .iter()
        .map(|column| format!("{} = {}", identifier(&column.name), of("n", &column.name)));
    let retired = schema
        .columns
        .iter()
        .filter(|column| column.retired)
        .map(|column| format!("{} = NULL", identifier(&column.column.name)));
    let load_id = format!(
        "{} = {}",
        identifier(LOAD_ID_COLUMN),
        literal(manifest.load_id.as_str())
    );
    loaded.chain(retired).chain([load_id]).collect()
}
