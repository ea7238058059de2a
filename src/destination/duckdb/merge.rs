//! Rows take the place of those with the same key: delete and insert, straight from the parts. Measured twice as fast as
//! `MERGE INTO`, and no staging table.

use crate::change::DELETED_AT;
use crate::destination::sql::dialect::{KEY, NEW, OLD, pairwise};
use crate::destination::sql::keeps_deleted;
use crate::destination::sql::statement::{Action, Insert, Matched, Merge};
use crate::destination::sql::{Engine, Overlap, Rows, Table, TempTables};
use crate::error::Result;
use crate::landing::manifest::Manifest;

/// Keys of rows that the table has already, the same in every column.
const SAME: &str = "_acequia_same";

/// What merges rows into the table.
pub(in crate::destination) fn merge<'a>(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    table: &'a Table,
    manifest: &'a Manifest,
    rows: &Rows,
) -> Result<Merge<'a>> {
    let d = engine.dialect();
    let key = &manifest.primary_key;
    let mut merge = Merge::new(&table.sql, key);
    // Rows that did not change are left out of the delete and of the insert, so that a run that finds nothing new
    // writes nothing.
    let (known, unchanged) = find_same(engine, temp, table, manifest, rows)?;
    if unchanged >= manifest.rows {
        return Ok(merge);
    }
    let changed = if unchanged == 0 {
        format!("{} AS {NEW}", rows.relation)
    } else {
        format!(
            "{} AS {NEW} ANTI JOIN {known} AS {KEY} ON {}",
            rows.relation,
            d.equal(key, NEW, KEY)
        )
    };
    let keys = d.list_of(NEW, key.iter().map(String::as_str));
    merge.matched.push(Matched {
        keys: format!("(SELECT {keys} FROM {changed})"),
        condition: None,
        action: Action::Replace,
    });
    let insert = Insert::from(changed).columns(d, NEW, rows.names());
    merge.insert = Some(insert.load_id(d, manifest));
    Ok(merge)
}

/// Finds the rows of the overlap that the table has already: a table of their keys, and their number.
fn find_same(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    table: &Table,
    manifest: &Manifest,
    rows: &Rows,
) -> Result<(String, u64)> {
    let d = engine.dialect();
    let overlap = Overlap::of(d, manifest, rows)?;
    let Some(in_table) = overlap.find(engine, rows)? else {
        return Ok((String::new(), 0));
    };
    let key = &manifest.primary_key;
    // A row that was marked as deleted lives again, be it the same.
    let living = if keeps_deleted(manifest) {
        format!(" AND {} IS NULL", d.of(OLD, DELETED_AT))
    } else {
        String::new()
    };
    let query = format!(
        "SELECT DISTINCT {} FROM {} AS {NEW} JOIN {} AS {OLD} ON {} AND {} WHERE {}{living}",
        d.list_of(NEW, key.iter().map(String::as_str)),
        rows.only(&overlap.within),
        table.sql,
        d.equal(key, NEW, OLD),
        pairwise(
            &rows.identity(d, NEW),
            "IS NOT DISTINCT FROM",
            &rows.identity(d, OLD),
            " AND "
        ),
        in_table
    );
    temp.make(engine, SAME, &query)
}
