//! Applies changes of rows without a key: whole rows are inserted and deleted, and are identified only by their values.
//!
//! The same row may occur several times. Therefore it is counted for each distinct row how many more, or fewer, there are
//! after the load, and that many are added or removed; it does not matter which of equal rows.

use crate::change::{OP, Op};
use crate::destination::LoadOutcome;
use crate::destination::sql::dialect::{GROUPED, INNER, KEY, NEW, OLD};
use crate::destination::sql::statement::Insert;
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
    let mut outcome = LoadOutcome::default();
    let mut since = String::new();
    if log.counts.truncates > 0 {
        outcome.deleted += engine.execute(&format!("DELETE FROM {}", table.sql))?;
        since = format!(" AND {} > {}", log.d.of(NEW, ORDINAL), log.last_truncate());
    }
    if log.counts.deletes == 0 {
        outcome.inserted = insert_all(engine, log, table, &since)?;
        return Ok(outcome);
    }
    let identity = log.d.identity_of(log.columns.iter().copied(), NEW);
    let net = count_net(engine, temp, log, &identity, &since)?;
    outcome.deleted += take_away(engine, temp, log, table, &net)?;
    outcome.inserted = add(engine, log, table, &net, &identity, &since)?;
    let more = count_more(engine, &net)?;
    if i64::try_from(outcome.inserted) == Ok(more) {
        return Ok(outcome);
    }
    Err(Error::destination(format!(
        "stream {}: {more} rows came, and the destination found {} of them again",
        log.manifest.stream, outcome.inserted
    ))
    .remedy("make the table anew: `acequia run STREAM --full-refresh`"))
}

/// A relation of distinct rows, and the number of expressions that identify them.
struct Net {
    table: String,
    columns: Vec<String>,
}

impl Net {
    /// The condition that the expressions are those of the row [`KEY`].
    fn is(&self, log: &Log<'_>, identity: &[String]) -> String {
        log.d.same(identity, &self.columns)
    }
}

fn insert_all(engine: &mut dyn Engine, log: &Log<'_>, table: &Table, since: &str) -> Result<u64> {
    let inserted = log.is(NEW, &[Op::Insert, Op::Snapshot]);
    let insert = insert(log, format!("{} AS {NEW}", log.relation));
    let insert = insert.only(format!("{inserted}{since}"));
    engine.execute(&insert.sql(log.d, &table.sql))
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
    Ok(Net {
        table,
        columns: names.iter().map(|name| format!("{KEY}.{name}")).collect(),
    })
}

/// How many rows there are more.
fn count_more(engine: &mut dyn Engine, net: &Net) -> Result<i64> {
    let more = engine.dialect().of(KEY, MORE);
    let [more] = engine.numbers(&format!(
        "SELECT CAST(coalesce(sum({more}), 0) AS BIGINT) FROM {} AS {KEY} WHERE {more} > 0",
        net.table
    ))?;
    Ok(more)
}

/// Takes away rows of which there are fewer: all that are equal, and what stays of them is put back as it was.
fn take_away(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    log: &Log<'_>,
    table: &Table,
    net: &Net,
) -> Result<u64> {
    let d = log.d;
    let more = d.of(KEY, MORE);
    let [gone] = engine.numbers(&format!(
        "SELECT CAST(coalesce(-sum({more}), 0) AS BIGINT) FROM {} AS {KEY} WHERE {more} < 0",
        net.table
    ))?;
    if gone == 0 {
        return Ok(0);
    }
    let in_table = d.identity_of(log.columns.iter().copied(), OLD);
    let fewer = format!("{} AND {more} < 0", net.is(log, &in_table));
    let (kept, stay) = temp.make(
        engine,
        KEPT,
        &format!(
            "SELECT {} FROM (SELECT {OLD}.*, row_number() OVER (PARTITION BY {}) AS {nth}, {more} FROM {} AS {OLD} \
             JOIN {} AS {KEY} ON {fewer}) AS {GROUPED} WHERE {} > -{}",
            d.list_of(GROUPED, table.names()),
            in_table.join(", "),
            table.sql,
            net.table,
            d.of(GROUPED, NTH),
            d.of(GROUPED, MORE),
            nth = d.identifier(NTH),
        ),
    )?;
    let deleted = engine.execute(&format!(
        "DELETE FROM {} AS {OLD} USING {} AS {KEY} WHERE {fewer}",
        table.sql, net.table
    ))?;
    if stay > 0 {
        let back = Insert::rows(&kept).columns(d, NEW, table.names());
        engine.execute(&back.sql(d, &table.sql))?;
    }
    let taken = deleted.saturating_sub(stay);
    if i64::try_from(taken) == Ok(gone) {
        return Ok(taken);
    }
    Err(Error::destination(format!(
        "stream {}: rows were deleted in the source that the table does not have",
        log.manifest.stream
    ))
    .remedy(
        "make the table anew: `acequia run STREAM --full-refresh`; a column that was added with a default value, which \
         rows had from then on without being sent, is a reason. With a key in the source this does not happen",
    ))
}

/// Adds rows whose number grows: of equal rows, the last ones of the load.
fn add(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    table: &Table,
    net: &Net,
    identity: &[String],
    since: &str,
) -> Result<u64> {
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
    let insert = insert(log, from).only(format!("{nth} <= {more}{since}"));
    engine.execute(&insert.sql(d, &table.sql))
}

/// Inserts the change [`NEW`] of the relation that follows `FROM`.
fn insert(log: &Log<'_>, from: String) -> Insert {
    Insert::from(from)
        .columns(log.d, NEW, log.stored())
        .load_id(log.d, log.manifest)
}
