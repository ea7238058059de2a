//! Rows take the place of those with the same key: an update of those that changed, then an insert of those that are new.

use crate::change::DELETED_AT;
use crate::destination::LOAD_ID_COLUMN;
use crate::destination::sql::dialect::{NEW, OLD, pairwise};
use crate::destination::sql::statement::{Action, Insert, Matched, Merge};
use crate::destination::sql::{Dialect, Rows, Table, keeps_deleted};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;

/// What merges rows into the table.
pub(super) fn merge<'a>(
    d: &dyn Dialect,
    table: &'a Table,
    manifest: &'a Manifest,
    schema: &TableSchema,
    rows: &Rows,
) -> Merge<'a> {
    let differs = pairwise(
        &rows.identity(d, OLD),
        "IS DISTINCT FROM",
        &rows.identity(d, NEW),
        " OR ",
    );
    let differs = if keeps_deleted(manifest) {
        // A row that was marked as deleted lives again, be it the same.
        format!("{differs} OR {} IS NOT NULL", d.of(OLD, DELETED_AT))
    } else {
        differs
    };
    let insert = Insert::rows(&rows.relation)
        .columns(d, NEW, rows.names())
        .load_id(d, manifest);
    Merge {
        matched: vec![Matched {
            keys: rows.relation.clone(),
            condition: Some(format!("({differs})")),
            action: Action::Update(assignments(d, manifest, schema, rows)),
        }],
        insert: Some(insert.only_new()),
        ..Merge::new(&table.sql, &manifest.primary_key)
    }
}

/// Every column of the new row. What the source has dropped is NULL from then on.
fn assignments(
    d: &dyn Dialect,
    manifest: &Manifest,
    schema: &TableSchema,
    rows: &Rows,
) -> Vec<(String, String)> {
    let loaded = rows.names().map(|name| (name.to_owned(), d.of(NEW, name)));
    let retired = schema.columns.iter().filter(|column| column.retired);
    let retired = retired.map(|column| (column.column.name.clone(), "NULL".to_owned()));
    let load_id = d.literal(manifest.load_id.as_str());
    let lives = keeps_deleted(manifest).then(|| (DELETED_AT.to_owned(), "NULL".to_owned()));
    loaded
        .chain(retired)
        .chain(lives)
        .chain([(LOAD_ID_COLUMN.to_owned(), load_id)])
        .collect()
}
