//! Changes of rows that have no key: whole rows come and go, and are told apart by their values alone.
//!
//! The same row may be there several times. So of each distinct row it is counted how many more, or fewer, there are
//! after the load, and so many are added or taken away; which of equal rows does not matter.

use crate::change::{OP, Op};
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::{Error, Result};

use super::changes::Target;
use super::fold::last_truncate;
use super::log::{Log, ORDINAL, is};
use super::rows::identity_of;
use super::sql::{identifier, list, list_of, literal, of};
use super::{Engine, Scratch};

/// Distinct rows of which the load leaves more or fewer.
const NET: &str = "_acequia_net";
/// Rows that are equal to some that go, and stay.
const KEPT: &str = "_acequia_kept";
/// In [`NET`], how many more: negative where there are fewer.
const MORE: &str = "_acequia_more";
/// A row's place among those that are equal to it.
const NTH: &str = "_acequia_nth";

/// Applies changes to a table whose rows have no key.
///
/// # Errors
/// [`Error::Destination`] where a row that went is not in the table.
pub(super) fn apply(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    log: &Log<'_>,
    target: Target<'_>,
) -> Result<LoadOutcome> {
    let mut outcome = LoadOutcome::default();
    let mut since = String::new();
    if log.counts.truncates > 0 {
        outcome.deleted += engine.execute(&format!("DELETE FROM {}", target.table))?;
        since = format!(" AND {} > {}", of("n", ORDINAL), last_truncate(log));
    }
    if log.counts.deletes == 0 {
        outcome.inserted = insert_all(engine, log, target, &since)?;
        return Ok(outcome);
    }
    let identity = identity_of(engine.dialect(), log.columns.iter().copied(), "n");
    let net = count_net(engine, scratch, log, &identity, &since)?;
    outcome.deleted += take_away(engine, scratch, log, target, &net)?;
    outcome.inserted = add(engine, log, target, &net, &identity, &since)?;
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

/// A relation of distinct rows, and how many expressions tell them apart.
struct Net {
    table: String,
    columns: Vec<String>,
}

impl Net {
    /// The condition that the expressions are those of the row `m`.
    fn is(&self, engine: &dyn Engine, identity: &[String]) -> String {
        engine.dialect().same(identity, &self.columns)
    }
}

fn insert_all(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    target: Target<'_>,
    since: &str,
) -> Result<u64> {
    engine.execute(&format!(
        "{} FROM {} AS n WHERE {}{since}",
        insert(log, target),
        log.relation,
        is("n", &[Op::Insert, Op::Snapshot]),
    ))
}

/// Counts how many more or fewer there are of each distinct row.
fn count_net(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
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
    let more = identifier(MORE);
    let query = format!(
        "SELECT {names}, CAST(sum(r.{more}) AS BIGINT) AS {more} FROM \
         (SELECT {expressions}, CASE WHEN {deletes} THEN -1 ELSE 1 END AS {more} FROM {changes} AS n WHERE {op} <> 't'{since}) \
         AS r GROUP BY {names} HAVING sum(r.{more}) <> 0",
        names = names.join(", "),
        expressions = expressions.join(", "),
        deletes = is("n", &[Op::Delete]),
        changes = log.relation,
        op = of("n", OP),
    );
    let (table, _) = scratch.make(engine, NET, &query)?;
    Ok(Net {
        table,
        columns: names.iter().map(|name| format!("m.{name}")).collect(),
    })
}

/// How many rows there are more.
fn count_more(engine: &mut dyn Engine, net: &Net) -> Result<i64> {
    let more = of("m", MORE);
    let counted = engine.numbers(&format!(
        "SELECT CAST(coalesce(sum({more}), 0) AS BIGINT) FROM {} AS m WHERE {more} > 0",
        net.table
    ))?;
    match counted.as_slice() {
        &[more] => Ok(more),
        _ => Err(Error::internal("the destination's answer is no count")),
    }
}

/// Takes away rows of which there are fewer: all that are equal, and what stays of them is put back as it was.
fn take_away(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    log: &Log<'_>,
    target: Target<'_>,
    net: &Net,
) -> Result<u64> {
    let dialect = engine.dialect();
    let more = of("m", MORE);
    let gone = engine.numbers(&format!(
        "SELECT CAST(coalesce(-sum({more}), 0) AS BIGINT) FROM {} AS m WHERE {more} < 0",
        net.table
    ))?;
    let &[gone] = gone.as_slice() else {
        return Err(Error::internal("the destination's answer is no count"));
    };
    if gone == 0 {
        return Ok(0);
    }
    let in_table = identity_of(dialect, log.columns.iter().copied(), "o");
    let fewer = format!("{} AND {more} < 0", net.is(engine, &in_table));
    let all = || target.columns.iter().map(String::as_str);
    let (kept, stay) = scratch.make(
        engine,
        KEPT,
        &format!(
            "SELECT {} FROM (SELECT o.*, row_number() OVER (PARTITION BY {}) AS {nth}, {more} FROM {} AS o JOIN {} AS m \
             ON {fewer}) AS k WHERE {} > -{}",
            list_of("k", all()),
            in_table.join(", "),
            target.table,
            net.table,
            of("k", NTH),
            of("k", MORE),
            nth = identifier(NTH),
        ),
    )?;
    let deleted = engine.execute(&format!(
        "DELETE FROM {} AS o USING {} AS m WHERE {fewer}",
        target.table, net.table
    ))?;
    if stay > 0 {
        engine.execute(&format!(
            "INSERT INTO {} ({}) SELECT {} FROM {kept} AS k",
            target.table,
            list(all()),
            list_of("k", all())
        ))?;
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

/// Adds rows of which there are more: of equal ones those that came last.
fn add(
    engine: &mut dyn Engine,
    log: &Log<'_>,
    target: Target<'_>,
    net: &Net,
    identity: &[String],
    since: &str,
) -> Result<u64> {
    let inserted = is("i", &[Op::Insert, Op::Snapshot]);
    let of_inserted = identity_of(engine.dialect(), log.columns.iter().copied(), "i");
    engine.execute(&format!(
        "{insert} FROM (SELECT i.*, row_number() OVER (PARTITION BY {partition} ORDER BY {ordinal} DESC) AS {nth} \
         FROM {changes} AS i WHERE {inserted}) AS n JOIN {net} AS m ON {same} AND {more} > 0 WHERE {of_nth} <= {more}{since}",
        insert = insert(log, target),
        partition = of_inserted.join(", "),
        ordinal = of("i", ORDINAL),
        nth = identifier(NTH),
        changes = log.relation,
        net = net.table,
        same = net.is(engine, identity),
        more = of("m", MORE),
        of_nth = of("n", NTH),
    ))
}

/// Inserts the change `n` of what follows.
fn insert(log: &Log<'_>, target: Target<'_>) -> String {
    format!(
        "INSERT INTO {} ({}, {}) SELECT {}, {}",
        target.table,
        list(log.stored()),
        identifier(LOAD_ID_COLUMN),
        list_of("n", log.stored()),
        literal(log.manifest.load_id.as_str()),
    )
}
