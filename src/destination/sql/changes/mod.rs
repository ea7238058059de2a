//! A load of changes: folded into the table, and where it is asked for, kept one by one in `<table>__changes`.
//!
//! What a table holds does not depend on how the changes are cut into loads. Rows of a first snapshot go straight into
//! the table, which is empty then.

use crate::change::{DELETED_AT, OP, Op};
use crate::destination::{LoadOutcome, StagedLoad};
use crate::error::{Error, Result};
use crate::evolution::Evolution;
use crate::landing::manifest::Manifest;
use crate::mode::Deletes;
use crate::schema::Column;

use super::dialect::{GROUPED, INNER, NEW};
use super::statement::Insert;
use super::{
    Engine, Rows, SqlEngine, Table, TempTables, check_rows, dedup, keeps_deleted, system_columns,
};

mod by_key;
mod by_row;
pub(crate) mod changelog;
mod log;
mod toast;

use log::Log;
use toast::{Wanted, Whole};

/// The tables that a load of changes goes into.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    /// The table as it is now.
    table: &'a Table,
    /// The table of all changes, in SQL, if the stream has one.
    changelog: Option<&'a str>,
    /// Whether the table was just made, and is empty.
    is_new: bool,
}

/// Applies a load of changes, whose columns are those of its parts. `anew` says that the table was just created for a
/// snapshot.
pub(super) fn load(
    engine: &mut dyn SqlEngine,
    table: &mut Table,
    load: &StagedLoad,
    evolution: &Evolution,
    columns: Vec<Column>,
    anew: bool,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    table.add_missing(engine, manifest)?;
    forget_marked(engine, table, manifest)?;
    let changelog = match manifest.changes {
        Some(changes) if changes.changelog => {
            Some(changelog::prepare(engine, manifest, &evolution.table)?)
        }
        _ => None,
    };
    let changelog = changelog.as_ref().map(|changelog| changelog.sql.as_str());
    if load.parts.is_empty() {
        if let Some(changelog) = changelog.filter(|_| anew) {
            changelog::mark_new_snapshot(engine, changelog, manifest, None)?;
        }
        return Ok(LoadOutcome::default());
    }
    let rows = engine.stage(load, columns)?;
    let target = Target {
        table,
        changelog,
        is_new: anew,
    };
    apply(engine, target, manifest, &rows)
}

/// Deletes the rows that were marked as deleted, where deleted rows are no longer kept: nothing tells them from living ones.
fn forget_marked(engine: &mut dyn SqlEngine, table: &mut Table, manifest: &Manifest) -> Result<()> {
    if keeps_deleted(manifest) || table.data_type(DELETED_AT).is_none() || !engine.forgets_marked()
    {
        return Ok(());
    }
    let marked = format!(
        "FROM {} WHERE {} IS NOT NULL",
        table.sql,
        engine.dialect().identifier(DELETED_AT)
    );
    let [rows] = (engine as &mut dyn Engine).counts(&format!("SELECT count(*) {marked}"))?;
    if rows > 0 {
        return engine.execute(&format!("DELETE {marked}")).map(drop);
    }
    // Not with the rows: DuckDB alters no table from which the transaction has deleted.
    table.drop_column(engine, DELETED_AT)
}

/// Applies the changes of a load.
///
/// # Errors
/// Where the changes are not such as a log has them, a value that was not sent cannot be found, or the destination fails.
fn apply(
    engine: &mut dyn Engine,
    target: Target<'_>,
    manifest: &Manifest,
    rows: &Rows,
) -> Result<LoadOutcome> {
    let mut temp = TempTables::new();
    let mut log = Log::survey(engine, manifest, rows)?;
    check_rows(u64::try_from(log.counts.all).unwrap_or(u64::MAX), manifest)?;
    let mut outcome = LoadOutcome::default();
    let is_snapshot = log.counts.snapshot == log.counts.all;
    if target.is_new && log.counts.snapshot > 0 {
        let snapshot = log.only(&log.is(INNER, &[Op::Snapshot]));
        if let Some(changelog) = target.changelog {
            changelog::mark_new_snapshot(engine, changelog, manifest, Some(&snapshot))?;
        }
        if is_snapshot || !engine.writes_once() {
            outcome.inserted = insert_snapshot(engine, target, &log)?;
            if let Some(changelog) = target.changelog {
                changelog::append(engine, changelog, &log, &snapshot)?;
            }
            if is_snapshot {
                return Ok(outcome);
            }
            log = log.without_snapshot();
        } else {
            refuse_twice(engine, &log)?;
        }
    }
    let folded = if manifest.primary_key.is_empty() {
        whole_rows(engine, &mut temp, target, &log)
    } else {
        by_key(engine, &mut temp, target, &log)
    }?;
    temp.drop_all(engine)?;
    Ok(LoadOutcome {
        inserted: outcome.inserted + folded.inserted,
        ..folded
    })
}

fn by_key(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    target: Target<'_>,
    log: &Log<'_>,
) -> Result<LoadOutcome> {
    let soft = log
        .manifest
        .changes
        .is_some_and(|changes| changes.deletes == Deletes::Soft);
    let last = by_key::find_last(engine, temp, log, soft)?;
    let wanted = match (target.changelog, soft) {
        (Some(_), _) => Wanted::All,
        (None, true) => Wanted::Rows(&last.table),
        (None, false) => Wanted::Living(&last.table),
    };
    let whole = Whole::complete(engine, temp, log, &target.table.sql, wanted, soft)?;
    if let Some(changelog) = target.changelog {
        changelog::append(engine, changelog, log, &whole.relation)?;
    }
    if soft {
        by_key::apply_soft(engine, log, &target.table.sql, &last, &whole)
    } else {
        by_key::apply_hard(engine, log, &target.table.sql, &last, &whole)
    }
}

fn whole_rows(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    target: Target<'_>,
    log: &Log<'_>,
) -> Result<LoadOutcome> {
    if let Some(changelog) = target.changelog {
        changelog::append(engine, changelog, log, &log.relation)?;
    }
    by_row::apply(engine, temp, log, target.table)
}

/// Puts the rows of a snapshot into the empty table.
fn insert_snapshot(engine: &mut dyn Engine, target: Target<'_>, log: &Log<'_>) -> Result<u64> {
    refuse_twice(engine, log)?;
    let d = engine.dialect();
    let snapshot = log.is(NEW, &[Op::Snapshot]);
    let insert = Insert::rows(&log.relation)
        .columns(d, NEW, log.stored())
        .own(d, &system_columns::columns(log.manifest))
        .only(snapshot);
    engine.insert(&target.table.sql, &insert)
}

/// Refuses a snapshot with two rows of one key.
fn refuse_twice(engine: &mut dyn Engine, log: &Log<'_>) -> Result<()> {
    let d = engine.dialect();
    let snapshot = log.is(NEW, &[Op::Snapshot]);
    if !log.manifest.primary_key.is_empty() && !log.manifest.key_is_unique {
        let key = d.list_of(NEW, log.key());
        let [twice] = engine.numbers(&format!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM {} AS {NEW} WHERE {snapshot} GROUP BY {key} HAVING count(*) > 1) \
             AS {GROUPED}",
            log.relation
        ))?;
        if twice != 0 {
            return Err(Error::data(format!(
                "rows of the table have the same key ({})",
                dedup::shown(&log.manifest.primary_key)
            ))
            .remedy("name columns that are unique together with `primary_key`"));
        }
    }
    Ok(())
}

impl Log<'_> {
    /// Those changes that meet a condition on [`INNER`], a table reference without alias.
    fn only(&self, condition: &str) -> String {
        format!(
            "(SELECT {INNER}.* FROM {} AS {INNER} WHERE {condition})",
            self.relation
        )
    }

    /// All changes but the snapshot's rows.
    fn without_snapshot(mut self) -> Self {
        let others = format!("{} <> '{}'", self.d.of(INNER, OP), Op::Snapshot.code());
        self.relation = self.only(&others);
        self.counts.all -= self.counts.snapshot;
        self.counts.snapshot = 0;
        self
    }
}
