//! Changes of rows that have a key come to one state for each: the last.
//!
//! Of each key the last insert or update is the row, and what came after it and took it away, a delete or a truncate, its
//! end. Found by aggregation, not by sorting, and from the key's columns alone; the row is fetched by the change's number.

use crate::change::{COMMIT_TS, DELETED_AT, LSN, OP, Op, SEQ};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::{Error, Result};

use super::log::{Log, ORDINAL, STORED, is};
use super::sql::{equal, identifier, list, list_of, literal, of};
use super::unchanged::Whole;
use super::{Engine, Scratch};

/// Keys that changed: the number of the change that brought the row, and of the one that took it away.
const LAST: &str = "_acequia_last";
/// Deletes and truncates.
const ENDS: &str = "_acequia_ends";
/// In [`LAST`], the change that brought the row; NULL where the load brought none.
pub(super) const ROW: &str = "_acequia_row";
/// In [`LAST`], the change after it that took it away; NULL where the row lives.
pub(super) const END: &str = "_acequia_end";

/// What the changes of a load come to, by key.
pub(super) struct Last {
    /// A table with the key, [`ROW`] and [`END`].
    pub(super) table: String,
    keys: u64,
    /// With soft deletes, a table of what took rows away, where anything did.
    ends: Option<String>,
}

/// Finds what the changes of each key come to. With soft deletes what a truncate took away counts, else only what came
/// after the last one.
pub(super) fn find_last(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    log: &Log<'_>,
    soft: bool,
) -> Result<Last> {
    let (ordinal, row, end) = (of("n", ORDINAL), identifier(ROW), identifier(END));
    let ends = match log.counts.deletes + log.counts.truncates {
        0 => None,
        _ if soft => Some(make_ends(engine, scratch, log)?),
        _ => None,
    };
    let mut among = format!("{} <> 't'", of("n", OP));
    if log.counts.truncates > 0 && !soft {
        among = format!("{among} AND {ordinal} > {}", last_truncate(log));
    }
    let keys = list_of("n", log.key());
    let by_key = format!(
        "SELECT {keys}, max(CASE WHEN {is_delete} THEN NULL ELSE {ordinal} END) AS {row}, \
         max(CASE WHEN {is_delete} THEN {ordinal} END) AS {end} FROM {} AS n WHERE {among} GROUP BY {keys}",
        log.relation,
        is_delete = is("n", &[Op::Delete]),
    );
    let deleted = format!("CASE WHEN g.{end} > coalesce(g.{row}, -1) THEN g.{end} END");
    let ended = match &ends {
        Some(ends) if log.counts.truncates > 0 => format!(
            "least({deleted}, (SELECT min({}) FROM {ends} AS t WHERE {} = 't' AND {} > coalesce(g.{row}, -1)))",
            of("t", ORDINAL),
            of("t", OP),
            of("t", ORDINAL),
        ),
        _ => deleted,
    };
    let query = format!(
        "SELECT {}, g.{row}, {ended} AS {end} FROM ({by_key}) AS g",
        list_of("g", log.key())
    );
    let (table, keys) = scratch.make(engine, LAST, &query)?;
    Ok(Last { table, keys, ends })
}

/// Rows that were deleted go.
pub(super) fn apply_hard(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    whole: &Whole,
) -> Result<LoadOutcome> {
    let mut outcome = LoadOutcome::default();
    if log.counts.truncates > 0 {
        let (before, stay) = count_before(engine, log, table, last)?;
        engine.execute(&format!("DELETE FROM {table}"))?;
        outcome.updated = stay;
        outcome.deleted = before.saturating_sub(stay);
    } else {
        if log.counts.deletes > 0 {
            outcome.deleted = delete(engine, log, table, last, "IS NOT NULL")?;
        }
        outcome.updated = delete(engine, log, table, last, "IS NULL")?;
    }
    let selected = if last.covers(log) {
        format!("{} AS n", whole.relation)
    } else {
        format!(
            "{} AS n JOIN {} AS l ON {} WHERE {} IS NULL",
            whole.relation,
            last.table,
            brought(log),
            of("l", END)
        )
    };
    let inserted = engine.execute(&format!(
        "INSERT INTO {table} ({}, {}) SELECT {}, {} FROM {selected}",
        list(log.stored()),
        identifier(LOAD_ID_COLUMN),
        list_of("n", log.stored()),
        literal(log.manifest.load_id.as_str()),
    ))?;
    outcome.inserted = inserted.saturating_sub(outcome.updated);
    Ok(outcome)
}

/// Rows that were deleted stay, marked with when.
pub(super) fn apply_soft(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    whole: &Whole,
) -> Result<LoadOutcome> {
    let (living, updated, mut deleted) = count_living(engine, log, table, last)?;
    if let Some(ends) = &last.ends {
        mark_deleted(engine, log, table, last, ends)?;
        if log.counts.truncates > 0 {
            deleted += mark_truncated(engine, log, table, last, ends)?;
        }
    }
    engine.execute(&format!(
        "DELETE FROM {table} AS o USING (SELECT {} FROM {} AS l WHERE {} IS NOT NULL) AS d WHERE {}",
        list_of("l", log.key()),
        last.table,
        of("l", ROW),
        equal(&log.manifest.primary_key, "o", "d")
    ))?;
    insert_marked(engine, log, table, last, whole)?;
    Ok(LoadOutcome {
        inserted: living.saturating_sub(updated),
        updated,
        deleted,
        ..LoadOutcome::default()
    })
}

impl Last {
    /// Whether every change is the last of its key and brings a row, so that none need be looked for.
    fn covers(&self, log: &Log<'_>) -> bool {
        let changes = u64::try_from(log.counts.all).unwrap_or(u64::MAX);
        log.counts.deletes == 0 && log.counts.truncates == 0 && self.keys == changes
    }
}

/// The number of the load's last truncate, in SQL.
pub(super) fn last_truncate(log: &Log<'_>) -> String {
    format!(
        "(SELECT max({}) FROM {} AS t WHERE {})",
        of("t", ORDINAL),
        log.relation,
        is("t", &[Op::Truncate])
    )
}

/// The condition that the change `n` is the one that brought the row of `l`.
fn brought(log: &Log<'_>) -> String {
    let by_number = format!("{} = {}", of("n", ORDINAL), of("l", ROW));
    if log.counts.snapshot == 0 {
        return by_number;
    }
    // Rows of a snapshot share a number.
    format!(
        "{by_number} AND {}",
        equal(&log.manifest.primary_key, "n", "l")
    )
}

fn delete(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    end: &str,
) -> Result<u64> {
    engine.execute(&format!(
        "DELETE FROM {table} AS o USING (SELECT {} FROM {} AS l WHERE {} {end}) AS d WHERE {}",
        list_of("l", log.key()),
        last.table,
        of("l", END),
        equal(&log.manifest.primary_key, "o", "d")
    ))
}

/// How many rows the table has, and how many of their keys it has after the load as well.
fn count_before(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
) -> Result<(u64, u64)> {
    let before = counts(engine, &format!("SELECT count(*) FROM {table} AS o"))?;
    let stay = counts(
        engine,
        &format!(
            "SELECT count(*) FROM {table} AS o JOIN {} AS l ON {} WHERE {} IS NULL",
            last.table,
            equal(&log.manifest.primary_key, "o", "l"),
            of("l", END)
        ),
    )?;
    match (before.as_slice(), stay.as_slice()) {
        (&[before], &[stay]) => Ok((before, stay)),
        _ => Err(miscounted()),
    }
}

/// Rows that the load leaves living; those of them that lived before; and those that lived before and no longer do.
fn count_living(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
) -> Result<(u64, u64, u64)> {
    let end = of("l", END);
    let after = counts(
        engine,
        &format!(
            "SELECT count(*) FROM {} AS l WHERE {end} IS NULL",
            last.table
        ),
    )?;
    let before = counts(
        engine,
        &format!(
            "SELECT count(*) FILTER (WHERE {end} IS NULL), count(*) FILTER (WHERE {end} IS NOT NULL) FROM {table} AS o \
             JOIN {} AS l ON {} WHERE {} IS NULL",
            last.table,
            equal(&log.manifest.primary_key, "o", "l"),
            of("o", DELETED_AT)
        ),
    )?;
    match (after.as_slice(), before.as_slice()) {
        (&[living], &[updated, deleted]) => Ok((living, updated, deleted)),
        _ => Err(miscounted()),
    }
}

/// Deletes and truncates with their place and time.
fn make_ends(engine: &mut dyn Engine, scratch: &mut Scratch, log: &Log<'_>) -> Result<String> {
    let query = format!(
        "SELECT {} FROM {} AS n WHERE {}",
        list_of("n", [OP, ORDINAL].into_iter().chain(STORED)),
        log.relation,
        is("n", &[Op::Delete, Op::Truncate])
    );
    Ok(scratch.make(engine, ENDS, &query)?.0)
}

/// Marks rows of the table that a change of theirs took away.
fn mark_deleted(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    ends: &str,
) -> Result<u64> {
    engine.execute(&format!(
        "UPDATE {table} AS o SET {} FROM (SELECT {}, {} FROM {} AS l JOIN {ends} AS e ON {} = {} WHERE {} IS NULL) AS e \
         WHERE {} AND {} IS NULL",
        marks(log),
        list_of("l", log.key()),
        list_of("e", STORED),
        last.table,
        of("e", ORDINAL),
        of("l", END),
        of("l", ROW),
        equal(&log.manifest.primary_key, "o", "e"),
        of("o", DELETED_AT),
    ))
}

/// Marks rows of the table that no change but the first truncate took away.
fn mark_truncated(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    ends: &str,
) -> Result<u64> {
    engine.execute(&format!(
        "UPDATE {table} AS o SET {} FROM (SELECT {} FROM {ends} AS t WHERE {} = 't' ORDER BY {} LIMIT 1) AS e \
         WHERE {} IS NULL AND NOT EXISTS (SELECT 1 FROM {} AS l WHERE {})",
        marks(log),
        list_of("t", STORED),
        of("t", OP),
        of("t", ORDINAL),
        of("o", DELETED_AT),
        last.table,
        equal(&log.manifest.primary_key, "o", "l"),
    ))
}

/// What marks a row as deleted, from the change `e`.
fn marks(log: &Log<'_>) -> String {
    let mut marks = vec![
        format!("{} = {}", identifier(DELETED_AT), of("e", COMMIT_TS)),
        format!(
            "{} = {}",
            identifier(LOAD_ID_COLUMN),
            literal(log.manifest.load_id.as_str())
        ),
    ];
    marks.extend(STORED.map(|column| format!("{} = {}", identifier(column), of("e", column))));
    marks.join(", ")
}

/// Inserts the rows that the load brought, those that it took away again marked.
fn insert_marked(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    whole: &Whole,
) -> Result<u64> {
    let ends = last.ends.as_deref();
    let place = |column: &str| match ends {
        Some(_) => format!("coalesce({}, {})", of("e", column), of("n", column)),
        None => of("n", column),
    };
    let joined = ends.map_or_else(String::new, |ends| {
        format!(
            " LEFT JOIN {ends} AS e ON {} = {}",
            of("e", ORDINAL),
            of("l", END)
        )
    });
    let deleted_at = match ends {
        Some(_) => of("e", COMMIT_TS),
        None => "NULL".to_owned(),
    };
    engine.execute(&format!(
        "INSERT INTO {table} ({}, {}) SELECT {}, {}, {}, {}, {}, {deleted_at} FROM {} AS n JOIN {} AS l ON {}{joined}",
        list(log.stored()),
        list([LOAD_ID_COLUMN, DELETED_AT]),
        list_of("n", log.names()),
        place(LSN),
        place(SEQ),
        place(COMMIT_TS),
        literal(log.manifest.load_id.as_str()),
        whole.relation,
        last.table,
        brought(log),
    ))
}

/// The only row of a query that counts.
fn counts(engine: &mut dyn Engine, query: &str) -> Result<Vec<u64>> {
    let numbers = engine.numbers(query)?;
    numbers
        .into_iter()
        .map(|number| u64::try_from(number).map_err(|_| miscounted()))
        .collect()
}

fn miscounted() -> Error {
    Error::internal("the destination's answer is no count")
}
