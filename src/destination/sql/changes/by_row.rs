//! Applies changes of rows without a key: whole rows are inserted and deleted, and are identified only by their values.
//!
//! The same row may occur several times. Therefore it is counted for each distinct row how many more, or fewer, there are
//! after the load, and that many are added or removed; it does not matter which of equal rows.

use crate::change::{LSN, OP, Op, SEQ};
use crate::destination::LoadOutcome;
use crate::destination::sql::dialect::{GROUPED, INNER, KEY, NEW, OLD};
use crate::destination::sql::statement::{Compared, Exchange, Gone, Insert};
use crate::destination::sql::{Engine, Table, TempTables};
use crate::error::{Error, Result};

use super::log::{Log, ORDINAL};

/// Distinct rows of which the load leaves more or fewer.
const NET: &str = "_acequia_net";
/// Rows that are equal to some that go, and stay.
const KEPT: &str = "_acequia_kept";
/// In [`NET`], the difference in the number of rows, which may be negative.
const MORE: &str = "_acequia_more";
/// A row's place among those that are equal to it.
const NTH: &str = "_acequia_nth";

/// Applies changes to a table whose rows have no key.
///
/// # Errors
/// [`Error::Destination`] if a deleted row is not in the table.
pub(super) fn apply(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    log: &Log<'_>,
    table: &Table,
) -> Result<LoadOutcome> {
    let mut exchange = Exchange {
        table: &table.sql,
        empties: log.counts.truncates > 0,
        ..Exchange::default()
    };
    let since = if exchange.empties {
        format!(" AND {} > {}", log.d.of(NEW, ORDINAL), log.last_truncate())
    } else {
        String::new()
    };
    if log.counts.deletes == 0 {
        exchange.insert = Some(all(log, &since));
        let done = engine.exchange(&exchange)?;
        return Ok(LoadOutcome {
            inserted: done.inserted,
            deleted: done.emptied,
            ..LoadOutcome::default()
        });
    }
    let identity = log.d.identity_of(log.columns.iter().copied(), NEW);
    let net = count_net(engine, temp, log, &identity, &since)?;
    let (more, fewer) = net.count(engine)?;
    let mut stay = 0;
    if fewer > 0 {
        // A table that is emptied first has none of them.
        if exchange.empties {
            return Err(not_there(log));
        }
        let gone = gone(log, &net);
        let (kept, rows) = keep(engine, temp, log, table, &gone)?;
        exchange.gone = Some(gone);
        exchange.back = (rows > 0).then(|| Insert::rows(&kept).columns(log.d, NEW, table.names()));
        stay = rows;
    }
    if more > 0 {
        exchange.insert = Some(additional(log, &net, &identity, &since));
    }
    let done = engine.exchange(&exchange)?;
    let taken = done.gone.saturating_sub(stay);
    if taken != fewer {
        return Err(not_there(log));
    }
    if done.inserted != more {
        return Err(Error::destination(format!(
            "stream {}: {more} rows came, and the destination found {} of them again",
            log.manifest.stream, done.inserted
        ))
        .remedy("make the table anew: `acequia run STREAM --full-refresh`"));
    }
    Ok(LoadOutcome {
        inserted: more,
        deleted: done.emptied + taken,
        ..LoadOutcome::default()
    })
}

/// A relation of distinct rows, and the names of the expressions that identify them.
struct Net {
    table: String,
    names: Vec<String>,
}

impl Net {
    /// The condition that the expressions are those of the row [`KEY`].
    fn is(&self, log: &Log<'_>, identity: &[String]) -> String {
        let columns: Vec<String> = self
            .names
            .iter()
            .map(|name| format!("{KEY}.{name}"))
            .collect();
        log.d.same(identity, &columns)
    }

    /// How many rows there are more of those of which there are more, and how many fewer of the others.
    fn count(&self, engine: &mut dyn Engine) -> Result<(u64, u64)> {
        let more = engine.dialect().of(KEY, MORE);
        let [more, fewer] = engine.counts(&format!(
            "SELECT CAST(coalesce(sum(CASE WHEN {more} > 0 THEN {more} END), 0) AS BIGINT), \
             CAST(coalesce(sum(CASE WHEN {more} < 0 THEN -{more} END), 0) AS BIGINT) FROM {} AS {KEY}",
            self.table
        ))?;
        Ok((more, fewer))
    }
}

/// The rows that were inserted, where none was deleted.
fn all(log: &Log<'_>, since: &str) -> Insert {
    let inserted = log.is(NEW, &[Op::Insert, Op::Snapshot]);
    insert(log, format!("{} AS {NEW}", log.relation)).only(format!("{inserted}{since}"))
}

/// Counts how many more or fewer there are of each distinct row.
fn count_net(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    log: &Log<'_>,
    identity: &[String],
    since: &str,
) -> Result<Net> {
    let names: Vec<String> = (0..identity.len())
        .map(|place| format!("c{place}"))
        .collect();
    let expressions: Vec<String> = identity
        .iter()
        .zip(&names)
        .map(|(expression, name)| format!("{expression} AS {name}"))
        .collect();
    let more = log.d.identifier(MORE);
    let of_row = log.d.of(INNER, MORE);
    let query = format!(
        "SELECT {names}, CAST(sum({of_row}) AS BIGINT) AS {more} FROM \
         (SELECT {expressions}, CASE WHEN {deletes} THEN -1 ELSE 1 END AS {more} FROM {changes} AS {NEW} \
         WHERE {op} <> 't'{since}) AS {INNER} GROUP BY {names} HAVING sum({of_row}) <> 0",
        names = names.join(", "),
        expressions = expressions.join(", "),
        deletes = log.is(NEW, &[Op::Delete]),
        changes = log.relation,
        op = log.d.of(NEW, OP),
    );
    let (table, _) = temp.make(engine, NET, &query)?;
    Ok(Net { table, names })
}

/// The rows of which there are fewer: all that are equal go, and what stays of them is put back as it was.
fn gone(log: &Log<'_>, net: &Net) -> Gone {
    let of_table = log.d.identity_of(log.columns.iter().copied(), OLD);
    let compared = net.names.iter().zip(of_table);
    Gone {
        rows: net.table.clone(),
        compared: compared
            .map(|(name, of_table)| Compared {
                name: name.clone(),
                of_table,
            })
            .collect(),
        only: format!("{} < 0", log.d.of(KEY, MORE)),
    }
}

/// Keeps what stays of the rows that go, the oldest: a table, and its number of rows.
fn keep(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    log: &Log<'_>,
    table: &Table,
    gone: &Gone,
) -> Result<(String, u64)> {
    let d = log.d;
    let of_table: Vec<&str> = gone
        .compared
        .iter()
        .map(|of| of.of_table.as_str())
        .collect();
    let query = format!(
        "SELECT {} FROM (SELECT {OLD}.*, row_number() OVER (PARTITION BY {} ORDER BY {}) AS {nth}, {} FROM {} AS {OLD} \
         JOIN {} AS {KEY} ON {}) AS {GROUPED} WHERE {} > -{}",
        d.list_of(GROUPED, table.names()),
        of_table.join(", "),
        d.list_of(OLD, [LSN, SEQ]),
        d.of(KEY, MORE),
        table.sql,
        gone.rows,
        gone.condition(d),
        d.of(GROUPED, NTH),
        d.of(GROUPED, MORE),
        nth = d.identifier(NTH),
    );
    temp.make(engine, KEPT, &query)
}

/// What is said of deletes whose rows are not there.
fn not_there(log: &Log<'_>) -> Error {
    Error::destination(format!(
        "stream {}: rows were deleted in the source that the table does not have",
        log.manifest.stream
    ))
    .remedy(
        "make the table anew: `acequia run STREAM --full-refresh`; a column that was added with a default value, which \
         rows had from then on without being sent, is a reason. With a key in the source this does not happen",
    )
}

/// The rows whose number grows: of equal rows, the last ones of the load.
fn additional(log: &Log<'_>, net: &Net, identity: &[String], since: &str) -> Insert {
    let d = log.d;
    let of_inserted = d.identity_of(log.columns.iter().copied(), INNER);
    let (nth, more) = (d.of(NEW, NTH), d.of(KEY, MORE));
    let from = format!(
        "(SELECT {INNER}.*, row_number() OVER (PARTITION BY {} ORDER BY {} DESC) AS {} FROM {} AS {INNER} WHERE {}) \
         AS {NEW} JOIN {} AS {KEY} ON {} AND {more} > 0",
        of_inserted.join(", "),
        d.of(INNER, ORDINAL),
        d.identifier(NTH),
        log.relation,
        log.is(INNER, &[Op::Insert, Op::Snapshot]),
        net.table,
        net.is(log, identity),
    );
    insert(log, from).only(format!("{nth} <= {more}{since}"))
}

/// Inserts the change [`NEW`] of the relation that follows `FROM`.
fn insert(log: &Log<'_>, from: String) -> Insert {
    Insert::from(from)
        .columns(log.d, NEW, log.stored())
        .load_id(log.d, log.manifest)
}
