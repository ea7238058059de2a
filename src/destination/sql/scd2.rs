//! Every version of a row is kept, with the time from which and to which it held.
//!
//! The instant of a load is when its extract ended. A row that differs from its current version in any column of the load
//! closes that version and adds one, both at that instant; of a column that is new, old versions have NULL. A load of
//! everything (`full`) also closes what it does not bring. Of several versions of a row within one incremental load the
//! newest is taken: the source's history between two loads is not known.

use std::slice;

use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::Result;
use crate::landing::manifest::Manifest;
use crate::mode::Mode;
use crate::schema::ColumnType;

use super::dialect::{INNER, KEY, NEW, OLD, pairwise};
use super::statement::{Action, Insert, Matched, Merge, Unmatched};
use super::system_columns::{self, VALID_TO, instant};
use super::{Engine, Rows, TempTables, dedup};

/// Keys of the load whose row is new or differs from its current version.
const CHANGED: &str = "_acequia_changed";

/// Brings a table of versions up to date with a load. `rows` is `None` if the load has no part. If it has all rows of a range,
/// `range` is the conditions that a row of the table, [`OLD`], lies in it.
///
/// # Errors
/// As [`dedup::deduplicate`], or the destination fails.
pub(super) fn apply(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    table: &str,
    manifest: &Manifest,
    rows: Option<Rows>,
    range: Option<&[String]>,
) -> Result<LoadOutcome> {
    let rows = match rows {
        Some(rows) => Some(dedup::deduplicate(engine, temp, manifest, rows)?),
        None => None,
    };
    let mut merge = Merge {
        keeps_versions: true,
        ..Merge::new(table, &manifest.primary_key)
    };
    let d = engine.dialect();
    let closing = d.value(&instant(manifest.extracted_at), &ColumnType::TimestampTz);
    let is_current = format!("{} IS NULL", d.of(OLD, VALID_TO));
    // A load of everything closes the current versions of rows that it does not have; one of a range those in the range.
    let is_whole = manifest.mode == Mode::Full || manifest.full_refresh;
    if let Some(of) = range.or(is_whole.then_some(&[])) {
        let current = [slice::from_ref(&is_current), of].concat();
        merge.unmatched = Some(Unmatched {
            keys: rows.as_ref().map(|rows| rows.relation.clone()),
            condition: Some(current.join(" AND ")),
            action: Action::Update(vec![(VALID_TO.to_owned(), closing.clone())]),
            from: None,
        });
    }
    if let Some(rows) = rows {
        let (changed, any) = find_changed(engine, temp, table, manifest, &rows)?;
        if any > 0 {
            merge.matched.push(Matched {
                keys: changed.clone(),
                condition: Some(is_current),
                action: Action::Update(vec![(VALID_TO.to_owned(), closing)]),
            });
            let of_changed = format!(
                "{} AS {NEW} JOIN {changed} AS {KEY} ON {}",
                rows.relation,
                d.equal(&manifest.primary_key, NEW, KEY)
            );
            merge.insert = Some(
                Insert::from(of_changed)
                    .columns(d, NEW, rows.names())
                    .own(d, &system_columns::columns(manifest)),
            );
        }
    }
    let written = merge.run(engine)?;
    let updated = written.matched.iter().sum();
    Ok(LoadOutcome {
        inserted: written.inserted.saturating_sub(updated),
        updated,
        deleted: written.unmatched,
        ..LoadOutcome::default()
    })
}

fn find_changed(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    table: &str,
    manifest: &Manifest,
    rows: &Rows,
) -> Result<(String, u64)> {
    let d = engine.dialect();
    let key = &manifest.primary_key;
    let query = format!(
        "SELECT {} FROM {} AS {NEW} LEFT JOIN (SELECT {INNER}.* FROM {table} AS {INNER} WHERE {} IS NULL) AS {OLD} ON {} \
         WHERE {} IS NULL OR NOT ({})",
        d.list_of(NEW, key.iter().map(String::as_str)),
        rows.relation,
        d.of(INNER, VALID_TO),
        d.equal(key, NEW, OLD),
        d.of(OLD, LOAD_ID_COLUMN),
        // Here rows are compared that the key has brought together: pair by pair, not as a join.
        pairwise(
            &rows.identity(d, NEW),
            "IS NOT DISTINCT FROM",
            &rows.identity(d, OLD),
            " AND "
        ),
    );
    temp.make(engine, CHANGED, &query)
}
