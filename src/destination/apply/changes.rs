//! A load of changes: folded into the table, and where it is asked for, kept one by one in `<table>__changes`.
//!
//! What a table holds does not depend on how the changes are cut into loads. Rows of a first snapshot go straight into
//! the table, which is empty then.

use crate::change::{OP, Op};
use crate::destination::LoadOutcome;
use crate::error::{Error, Result};
use crate::landing::manifest::{Deletes, Manifest};

use super::log::{Log, is};
use super::rows::check_rows;
use super::sql::{list, list_of, of};
use super::unchanged::{Wanted, Whole};
use super::{Engine, Rows, Scratch, changelog, fold, keys, own, whole};

/// Where a load of changes goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The table, in SQL.
    pub(crate) table: &'a str,
    /// All of its columns, as it is now.
    pub(crate) columns: &'a [String],
    /// The table of all changes, in SQL, where there is one.
    pub(crate) changelog: Option<&'a str>,
    /// Whether the table was just made, and is empty.
    pub(crate) is_new: bool,
}

/// Applies the changes of a load.
///
/// # Errors
/// Where the changes are not such as a log has them, a value that was not sent cannot be found, or the destination fails.
pub(crate) fn apply(
    engine: &mut dyn Engine,
    target: Target<'_>,
    manifest: &Manifest,
    rows: &Rows,
) -> Result<LoadOutcome> {
    let mut scratch = Scratch::new();
    let mut log = Log::survey(engine, manifest, rows)?;
    check_rows(u64::try_from(log.counts.all).unwrap_or(u64::MAX), manifest)?;
    let mut outcome = LoadOutcome::default();
    if target.is_new && log.counts.snapshot > 0 {
        outcome.inserted = insert_snapshot(engine, target, &log)?;
        if let Some(changelog) = target.changelog {
            let snapshot = log.only(&is("r", &[Op::Snapshot]));
            changelog::mark_new_snapshot(engine, changelog, manifest, Some(&snapshot))?;
            changelog::append(engine, changelog, &log, &snapshot)?;
        }
        if log.counts.snapshot == log.counts.all {
            return Ok(outcome);
        }
        log = log.without_snapshot();
    }
    let folded = if manifest.primary_key.is_empty() {
        whole_rows(engine, &mut scratch, target, &log)
    } else {
        by_key(engine, &mut scratch, target, &log)
    }?;
    scratch.drop_all(engine)?;
    Ok(LoadOutcome {
        inserted: outcome.inserted + folded.inserted,
        ..folded
    })
}

fn by_key(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    target: Target<'_>,
    log: &Log<'_>,
) -> Result<LoadOutcome> {
    let soft = log
        .manifest
        .changes
        .is_some_and(|changes| changes.deletes == Deletes::Soft);
    let last = fold::find_last(engine, scratch, log, soft)?;
    let wanted = match (target.changelog, soft) {
        (Some(_), _) => Wanted::All,
        (None, true) => Wanted::Rows(&last.table),
        (None, false) => Wanted::Living(&last.table),
    };
    let whole = Whole::complete(engine, scratch, log, target.table, wanted, soft)?;
    if let Some(changelog) = target.changelog {
        changelog::append(engine, changelog, log, &whole.relation)?;
    }
    if soft {
        fold::apply_soft(engine, log, target.table, &last, &whole)
    } else {
        fold::apply_hard(engine, log, target.table, &last, &whole)
    }
}

fn whole_rows(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    target: Target<'_>,
    log: &Log<'_>,
) -> Result<LoadOutcome> {
    if let Some(changelog) = target.changelog {
        changelog::append(engine, changelog, log, &log.relation)?;
    }
    whole::apply(engine, scratch, log, target)
}

/// Puts the rows of a snapshot into the empty table.
fn insert_snapshot(engine: &mut dyn Engine, target: Target<'_>, log: &Log<'_>) -> Result<u64> {
    let snapshot = is("n", &[Op::Snapshot]);
    if !log.manifest.primary_key.is_empty() && !log.manifest.key_is_unique {
        let key = list_of("n", log.key());
        let twice = engine.numbers(&format!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM {} AS n WHERE {snapshot} GROUP BY {key} HAVING count(*) > 1) AS g",
            log.relation
        ))?;
        if twice != [0] {
            return Err(Error::data(format!(
                "rows of the table have the same key ({})",
                keys::shown(&log.manifest.primary_key)
            ))
            .remedy("name columns that are unique together with `primary_key`"));
        }
    }
    let own = own::columns(log.manifest);
    let values: Vec<String> = own.iter().map(|own| own.value(engine.dialect())).collect();
    engine.execute(&format!(
        "INSERT INTO {} ({}, {}) SELECT {}, {} FROM {} AS n WHERE {snapshot}",
        target.table,
        list(log.stored()),
        list(own.iter().map(|own| own.name)),
        list_of("n", log.stored()),
        values.join(", "),
        log.relation
    ))
}

impl Log<'_> {
    /// Those changes that meet a condition on the alias `r`, a table reference without alias.
    fn only(&self, condition: &str) -> String {
        format!("(SELECT r.* FROM {} AS r WHERE {condition})", self.relation)
    }

    /// All changes but the snapshot's rows.
    fn without_snapshot(mut self) -> Self {
        self.relation = self.only(&format!("{} <> '{}'", of("r", OP), Op::Snapshot.code()));
        self.counts.all -= self.counts.snapshot;
        self.counts.snapshot = 0;
        self
    }
}
