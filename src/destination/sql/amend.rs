//! Rows that say themselves what becomes of them: some take the place of those with their key, of others only the key is given,
//! and rows with it are deleted, or marked as deleted.
//!
//! Such loads mend what differs from the source: so a row is written even where the table has the same, as it may have it twice.

use crate::change::{DELETED_AT, OP, Op};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome, StagedLoad};
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;
use crate::schema::{Column, ColumnType};

use super::dialect::{NEW, OLD};
use super::statement::{Action, Insert, Matched, Merge};
use super::system_columns::{self, instant, keeps_deleted};
use super::{Dialect, Engine, Rows, SqlEngine, Table, check_rows, dedup};

/// Applies a load that amends its table, whose columns are those of the schema.
///
/// # Errors
/// Where the table's rows are not identified by a key, a key is NULL, or the destination fails.
pub(super) fn apply(
    engine: &mut dyn SqlEngine,
    table: &Table,
    load: &StagedLoad,
    mut columns: Vec<Column>,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    if manifest.disposition != Disposition::Merge {
        return Err(Error::internal(
            "a load amends a table that is not merged by key",
        ));
    }
    if load.parts.is_empty() {
        return Ok(LoadOutcome::default());
    }
    columns.push(Column {
        id: 0,
        name: OP.to_owned(),
        column_type: ColumnType::Text,
        nullable: false,
        source_type: "acequia".to_owned(),
        element_id: None,
        mask: None,
        renamed_from: None,
    });
    let rows = engine.stage(load, columns)?;
    write(engine, &table.sql, manifest, &rows)
}

fn write(
    engine: &mut dyn Engine,
    table: &str,
    manifest: &Manifest,
    rows: &Rows,
) -> Result<LoadOutcome> {
    let key = &manifest.primary_key;
    dedup::require(key, rows)?;
    let d = engine.dialect();
    let is = |op: Op| format!("{} = '{}'", d.of(NEW, OP), op.code());
    let null = format!("sum(CASE WHEN {} THEN 1 ELSE 0 END)", d.any_null(NEW, key));
    let counted = format!(
        "SELECT count(*), coalesce(CAST({null} AS {}), 0) FROM {} AS {NEW}",
        d.type_name(&ColumnType::Int64),
        rows.relation
    );
    let [all, null] = engine.counts(&counted)?;
    check_rows(all, manifest)?;
    if null > 0 {
        return Err(dedup::null_in_key(
            key,
            i64::try_from(null).unwrap_or(i64::MAX),
        ));
    }
    let keys = d.list_of(NEW, key.iter().map(String::as_str));
    let keys_of = |op: Op| {
        format!(
            "(SELECT DISTINCT {keys} FROM {} AS {NEW} WHERE {})",
            rows.relation,
            is(op)
        )
    };
    let mut merge = Merge {
        mends: true,
        ..Merge::new(table, key)
    };
    let (action, condition) = deletion(d, manifest);
    merge.matched.push(Matched {
        keys: keys_of(Op::Delete),
        condition,
        action,
    });
    merge.matched.push(Matched {
        keys: keys_of(Op::Update),
        condition: None,
        action: Action::Replace,
    });
    let names = rows.names().filter(|name| *name != OP);
    let insert = Insert::rows(&rows.relation).columns(d, NEW, names);
    merge.insert = Some(
        insert
            .own(d, &system_columns::columns(manifest))
            .only(is(Op::Update)),
    );
    let written = merge.run(engine)?;
    let mut outcome = merge.outcome(&written);
    if keeps_deleted(manifest) {
        // What is marked was updated, as the merge sees it; here it is deleted.
        let marked = written.matched.first().copied().unwrap_or_default();
        outcome.deleted += marked;
        outcome.updated = outcome.updated.saturating_sub(marked);
    }
    Ok(outcome)
}

/// What becomes of a row that a load deletes, [`OLD`]: it goes, or is marked with when, where the table keeps it; and then only if
/// that condition holds, as one that is marked already stays as it is.
pub(super) fn deletion(d: &dyn Dialect, manifest: &Manifest) -> (Action, Option<String>) {
    if !keeps_deleted(manifest) {
        return (Action::Delete, None);
    }
    let at = d.value(&instant(manifest.extracted_at), &ColumnType::TimestampTz);
    let set = vec![
        (DELETED_AT.to_owned(), at),
        (
            LOAD_ID_COLUMN.to_owned(),
            d.literal(manifest.load_id.as_str()),
        ),
    ];
    let lives = format!("{} IS NULL", d.of(OLD, DELETED_AT));
    (Action::Update(set), Some(lives))
}
