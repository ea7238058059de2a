//! Rows are added whose key the table does not have. Others are left as they are.

use crate::landing::manifest::Manifest;

use super::statement::Merge;
use super::{Dialect, Rows, system_columns};

/// The merge that adds rows of a load whose key the table does not have. The keys of `rows` are unique.
pub(super) fn merge<'a>(
    d: &dyn Dialect,
    table: &'a str,
    manifest: &'a Manifest,
    rows: &Rows,
) -> Merge<'a> {
    let insert = rows
        .insert(d)
        .own(d, &system_columns::columns(manifest))
        .only_new();
    Merge {
        insert: Some(insert),
        ..Merge::new(table, &manifest.primary_key)
    }
}
