//! Reduces the changes of rows with a key to one state for each key: the last.
//!
//! For each key, the last insert or update is the row, and a later delete or truncate is its end. They are found by
//! aggregation, not by sorting, and from the key's columns alone; the row is fetched by the number of its change.

use crate::change::{COMMIT_TS, DELETED_AT, OP, Op};
use crate::destination::sql::dialect::{GROUPED, INNER, KEY, NEW, OF, OLD};
use crate::destination::sql::statement::{Action, Insert, Matched, Merge, Unmatched};
use crate::destination::sql::{Engine, TempTables};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::Result;
use crate::schema::ColumnType;

use super::log::{END, Log, ORDINAL, ROW, STORED};
use super::toast::Whole;

/// Keys that changed: the number of the change that brought the row, and of the one that took it away.
const LAST: &str = "_acequia_last";
/// Deletes and truncates.
const ENDS: &str = "_acequia_ends";
/// The numbers of truncates.
const TRUNCATES: &str = "_acequia_truncates";

/// What the changes of a load come to, by key.
pub(super) struct Last {
    /// A table with the key, [`ROW`] and [`END`].
    pub(super) table: String,
    keys: u64,
    /// With soft deletes, a table of what took rows away, where anything did.
    ends: Option<String>,
}

/// Finds the last state of each key. With soft deletes, rows that a truncate removed count; otherwise only the changes
/// after the last truncate do.
pub(super) fn find_last(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    log: &Log<'_>,
    soft: bool,
) -> Result<Last> {
    let d = log.d;
    let (ordinal, row, end) = (d.of(NEW, ORDINAL), d.identifier(ROW), d.identifier(END));
    let ends = match log.counts.deletes + log.counts.truncates {
        0 => None,
        _ if soft => Some(make_ends(engine, temp, log)?),
        _ => None,
    };
    let mut among = format!("{} <> 't'", d.of(NEW, OP));
    if log.counts.truncates > 0 && !soft {
        among = format!("{among} AND {ordinal} > {}", log.last_truncate());
    }
    let keys = d.list_of(NEW, log.key());
    let by_key = format!(
        "SELECT {keys}, max(CASE WHEN {is_delete} THEN NULL ELSE {ordinal} END) AS {row}, \
         max(CASE WHEN {is_delete} THEN {ordinal} END) AS {end} FROM {} AS {NEW} WHERE {among} GROUP BY {keys}",
        log.relation,
        is_delete = log.is(NEW, &[Op::Delete]),
    );
    let (brought, gone) = (d.of(GROUPED, ROW), d.of(GROUPED, END));
    let deleted = format!("CASE WHEN {gone} > coalesce({brought}, -1) THEN {gone} END");
    let ended = match &ends {
        Some(_) if log.counts.truncates > 0 && !d.correlates() => {
            let first = first_truncate_after(engine, log, &format!("coalesce({brought}, -1)"))?;
            format!("least({deleted}, {first})")
        }
        Some(ends) if log.counts.truncates > 0 => {
            let truncates = make_truncates(engine, temp, log, ends)?;
            format!(
                "least({deleted}, (SELECT min({truncate}) FROM {truncates} AS {INNER} \
                 WHERE {truncate} > coalesce({brought}, -1)))",
                truncate = d.of(INNER, ORDINAL),
            )
        }
        _ => deleted,
    };
    let query = format!(
        "SELECT {}, {brought}, {ended} AS {end} FROM ({by_key}) AS {GROUPED}",
        d.list_of(GROUPED, log.key())
    );
    let (table, keys) = temp.make(engine, LAST, &query)?;
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
    let d = log.d;
    let lives = format!("{} IS NULL", d.of(KEY, END));
    let rows = if last.covers(log) {
        Insert::rows(&whole.relation)
    } else {
        let brought = brought(log);
        let of_last = format!(
            "{} AS {NEW} JOIN {} AS {KEY} ON {brought}",
            whole.relation, last.table
        );
        Insert::from(of_last).only(lives.clone())
    };
    let mut merge = Merge::new(table, &log.manifest.primary_key);
    let stored = rows.columns(d, NEW, log.stored());
    merge.insert = Some(stored.load_id(d, log.manifest));
    if log.counts.truncates > 0 {
        let (before, stay) = count_before(engine, log, table, last)?;
        merge.empties = true;
        let inserted = merge.run(engine)?.inserted;
        return Ok(LoadOutcome {
            inserted: inserted.saturating_sub(stay),
            updated: stay,
            deleted: before.saturating_sub(stay),
            ..LoadOutcome::default()
        });
    }
    if log.counts.deletes > 0 {
        merge.matched.push(Matched {
            keys: last.keys_where(log, &format!("{} IS NOT NULL", d.of(KEY, END))),
            condition: None,
            action: Action::Delete,
        });
    }
    merge.matched.push(Matched {
        keys: last.keys_where(log, &lives),
        condition: None,
        action: Action::Replace,
    });
    merge.count(engine)
}

/// Rows that were deleted stay, marked with when.
pub(super) fn apply_soft(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
    whole: &Whole,
) -> Result<LoadOutcome> {
    let d = log.d;
    let (living, updated, mut deleted) = count_living(engine, log, table, last)?;
    let mut merge = Merge::new(table, &log.manifest.primary_key);
    if let Some(ends) = &last.ends {
        let lives = format!("{} IS NULL", d.of(OLD, DELETED_AT));
        let marks = marks(log);
        if log.counts.truncates > 0 {
            // Rows that no change but the first truncate took away.
            merge.unmatched = Some(Unmatched {
                keys: Some(last.table.clone()),
                condition: Some(lives.clone()),
                action: marks.clone(),
                from: Some(format!(
                    "(SELECT {} FROM {ends} AS {INNER} WHERE {} = 't' ORDER BY {} LIMIT 1)",
                    d.list_of(INNER, STORED),
                    d.of(INNER, OP),
                    d.of(INNER, ORDINAL),
                )),
            });
        }
        // Rows that a change of theirs took away.
        merge.matched.push(Matched {
            keys: format!(
                "(SELECT {}, {} FROM {} AS {KEY} JOIN {ends} AS {OF} ON {} = {} WHERE {} IS NULL)",
                d.list_of(KEY, log.key()),
                d.list_of(OF, STORED),
                last.table,
                d.of(OF, ORDINAL),
                d.of(KEY, END),
                d.of(KEY, ROW),
            ),
            condition: Some(lives),
            action: marks,
        });
    }
    merge.matched.push(Matched {
        keys: last.keys_where(log, &format!("{} IS NOT NULL", d.of(KEY, ROW))),
        condition: None,
        action: Action::Replace,
    });
    merge.insert = Some(insert_marked(log, last, whole));
    deleted += merge.run(engine)?.unmatched;
    Ok(LoadOutcome {
        inserted: living.saturating_sub(updated),
        updated,
        deleted,
        ..LoadOutcome::default()
    })
}

impl Last {
    /// The keys of which a condition on [`KEY`] holds, a table reference without alias.
    fn keys_where(&self, log: &Log<'_>, condition: &str) -> String {
        format!(
            "(SELECT {} FROM {} AS {KEY} WHERE {condition})",
            log.d.list_of(KEY, log.key()),
            self.table
        )
    }

    /// Whether every change is the last of its key and brings a row, so that none need be looked for.
    fn covers(&self, log: &Log<'_>) -> bool {
        let changes = u64::try_from(log.counts.all).unwrap_or(u64::MAX);
        log.counts.deletes == 0 && log.counts.truncates == 0 && self.keys == changes
    }
}

/// The condition that the change [`NEW`] is the one that brought the row of [`KEY`].
fn brought(log: &Log<'_>) -> String {
    let d = log.d;
    let by_number = format!("{} = {}", d.of(NEW, ORDINAL), d.of(KEY, ROW));
    if log.counts.snapshot == 0 {
        return by_number;
    }
    // Rows of a snapshot share a number.
    format!(
        "{by_number} AND {}",
        d.equal(&log.manifest.primary_key, NEW, KEY)
    )
}

/// How many rows the table has, and how many of their keys it has after the load as well.
fn count_before(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
) -> Result<(u64, u64)> {
    let d = log.d;
    let [before] = engine.counts(&format!("SELECT count(*) FROM {table} AS {OLD}"))?;
    let [stay] = engine.counts(&format!(
        "SELECT count(*) FROM {table} AS {OLD} JOIN {} AS {KEY} ON {} WHERE {} IS NULL",
        last.table,
        d.equal(&log.manifest.primary_key, OLD, KEY),
        d.of(KEY, END)
    ))?;
    Ok((before, stay))
}

/// Rows that the load leaves living; those of them that lived before; and those that lived before and no longer do.
fn count_living(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &str,
    last: &Last,
) -> Result<(u64, u64, u64)> {
    let d = log.d;
    let end = d.of(KEY, END);
    let [living] = engine.counts(&format!(
        "SELECT count(*) FROM {} AS {KEY} WHERE {end} IS NULL",
        last.table
    ))?;
    let [updated, deleted] = engine.counts(&format!(
        "SELECT count(*) FILTER (WHERE {end} IS NULL), count(*) FILTER (WHERE {end} IS NOT NULL) FROM {table} AS {OLD} \
         JOIN {} AS {KEY} ON {} WHERE {} IS NULL",
        last.table,
        d.equal(&log.manifest.primary_key, OLD, KEY),
        d.of(OLD, DELETED_AT)
    ))?;
    Ok((living, updated, deleted))
}

/// The first truncate after a number, in SQL: the truncates are few, and stand in it.
fn first_truncate_after(engine: &mut dyn Engine, log: &Log<'_>, number: &str) -> Result<String> {
    let d = log.d;
    let ordinal = d.of(NEW, ORDINAL);
    let truncates = engine.texts(&format!(
        "SELECT {} FROM {} AS {NEW} WHERE {} ORDER BY {ordinal}",
        d.cast(&ordinal, &ColumnType::Text),
        log.relation,
        log.is(NEW, &[Op::Truncate])
    ))?;
    let cases: Vec<String> = truncates
        .iter()
        .map(|truncate| format!(" WHEN {number} < {truncate} THEN {truncate}"))
        .collect();
    Ok(format!("CASE{} END", cases.concat()))
}

/// Deletes and truncates with their place and time.
fn make_ends(engine: &mut dyn Engine, temp: &mut TempTables, log: &Log<'_>) -> Result<String> {
    let query = format!(
        "SELECT {} FROM {} AS {NEW} WHERE {}",
        log.d.list_of(NEW, [OP, ORDINAL].into_iter().chain(STORED)),
        log.relation,
        log.is(NEW, &[Op::Delete, Op::Truncate])
    );
    temp.put(engine, ENDS, &query)
}

/// The truncates alone: few, as each key is compared with all of them.
fn make_truncates(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    log: &Log<'_>,
    ends: &str,
) -> Result<String> {
    let query = format!(
        "SELECT {} FROM {ends} AS {OF} WHERE {} = 't'",
        log.d.of(OF, ORDINAL),
        log.d.of(OF, OP)
    );
    temp.put(engine, TRUNCATES, &query)
}

/// What marks a row as deleted, from the change [`NEW`].
fn marks(log: &Log<'_>) -> Action {
    let d = log.d;
    let load_id = d.literal(log.manifest.load_id.as_str());
    let mut marks = vec![
        (DELETED_AT, d.of(NEW, COMMIT_TS)),
        (LOAD_ID_COLUMN, load_id),
    ];
    marks.extend(STORED.map(|column| (column, d.of(NEW, column))));
    let marks = marks.into_iter();
    Action::Update(
        marks
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// The rows that the load brought, those that it took away again marked.
fn insert_marked(log: &Log<'_>, last: &Last, whole: &Whole) -> Insert {
    let d = log.d;
    let ends = last.ends.as_deref();
    let place = |column: &str| match ends {
        Some(_) => format!("coalesce({}, {})", d.of(OF, column), d.of(NEW, column)),
        None => d.of(NEW, column),
    };
    let joined = ends.map_or_else(String::new, |ends| {
        format!(
            " LEFT JOIN {ends} AS {OF} ON {} = {}",
            d.of(OF, ORDINAL),
            d.of(KEY, END)
        )
    });
    let deleted_at = match ends {
        Some(_) => d.of(OF, COMMIT_TS),
        None => "NULL".to_owned(),
    };
    let from = format!(
        "{} AS {NEW} JOIN {} AS {KEY} ON {}{joined}",
        whole.relation,
        last.table,
        brought(log),
    );
    let mut insert = Insert::from(from).columns(d, NEW, log.names());
    for column in STORED {
        insert = insert.value(column, place(column));
    }
    insert
        .load_id(d, log.manifest)
        .value(DELETED_AT, deleted_at)
}
