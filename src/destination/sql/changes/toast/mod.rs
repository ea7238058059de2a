//! Values that the source did not send, as they had not changed: they are those of the row's state before.
//!
//! A row's life, from its insert to its delete, holds the changes of one key between the two. A value that a change lacks
//! is that of the last change before it in the same life that sent it. Where none did, the life began either before the
//! load, and the value is that of the table's row; or with an insert that lacks the value too, as the row moved from
//! another key: then it is the value which the life had that the delete just before that insert ended, and so on.
//!
//! [`TRACE`] knows of each change its life, [`LINKS`] where values of rows that moved are, and [`fill`] where each value is that
//! is lacking. Only numbers of changes are traced; values are fetched once, at the end. Where nothing is lacking nothing of
//! this is done.

use crate::change::{OP, Op, UNCHANGED};
use crate::destination::sql::dialect::{GROUPED, INNER, KEY, NEW, OF};
use crate::destination::sql::{Dialect, Engine, TempTables};
use crate::error::{Error, Result};

use super::log::{Log, ORDINAL};

mod fill;

/// Keys of which a change lacks a value, and those that such rows moved away from.
const KEYS: &str = "_acequia_keys";
/// Changes that lack values, and deletes: their life, and where in it each value is.
const TRACE: &str = "_acequia_trace";
/// Inserts of rows that moved: where each value is that they lack. Two names, used by turns.
const LINKS: [&str; 2] = ["_acequia_links", "_acequia_links_on"];

/// The change before which, or with which, the change's life began; -1 where that was before the load.
const SINCE: &str = "_acequia_since";
/// The insert that the change's life began with.
const BORN: &str = "_acequia_born";
/// The delete before the change, and the truncate before it.
const ENDED: &str = "_acequia_ended";
const CLEARED: &str = "_acequia_cleared";

/// Changes with every value.
pub(super) struct Whole {
    /// All changes that are wanted, a table reference without alias.
    pub(super) relation: String,
}

/// Which changes are wanted with every value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// All of them.
    All,
    /// Those that brought a row, in that table of [`super::by_key::Last`].
    Rows(&'a str),
    /// Those that brought a row which lives.
    Living(&'a str),
}

/// What is traced.
struct Tracer<'a> {
    log: &'a Log<'a>,
    d: &'static dyn Dialect,
    /// The columns of which a value is lacking somewhere.
    columns: Vec<&'a str>,
    /// The table that has the rows as they were before the load.
    table: &'a str,
    soft: bool,
}

impl Whole {
    /// Finds the values that changes lack.
    ///
    /// # Errors
    /// [`Error::Destination`] where the table does not have the row whose value it would be.
    pub(super) fn complete(
        engine: &mut dyn Engine,
        temp: &mut TempTables,
        log: &Log<'_>,
        table: &str,
        wanted: Wanted<'_>,
        soft: bool,
    ) -> Result<Self> {
        let as_they_are = || Self {
            relation: log.relation.clone(),
        };
        if log.counts.partial == 0 {
            return Ok(as_they_are());
        }
        let tracer = Tracer {
            log,
            d: log.d,
            columns: lacking(engine, log)?,
            table,
            soft,
        };
        if tracer.columns.is_empty() {
            return Ok(as_they_are());
        }
        let trace = tracer.trace(engine, temp)?;
        let links = match log.counts.moves {
            0 => None,
            _ => Some(tracer.follow(engine, temp, &trace)?),
        };
        let sources = tracer.find(engine, temp, &trace, links.as_deref(), wanted)?;
        let filled = tracer.fill(engine, temp, &trace, &sources)?;
        Ok(Self {
            relation: tracer.with_filled(&filled),
        })
    }
}

/// The columns of which a change lacks a value.
fn lacking<'a>(engine: &mut dyn Engine, log: &'a Log<'_>) -> Result<Vec<&'a str>> {
    let unchanged = log.d.of(NEW, UNCHANGED);
    let names = engine.texts(&format!(
        "SELECT DISTINCT {} FROM {} AS {NEW} WHERE {unchanged} IS NOT NULL",
        log.d.elements(&unchanged),
        log.relation
    ))?;
    if let Some(column) = log
        .key()
        .find(|column| names.iter().any(|name| name == column))
    {
        return Err(Error::internal(format!(
            "a change came without the value of its key column `{column}`"
        )));
    }
    Ok(log
        .names()
        .filter(|column| names.iter().any(|name| name == column))
        .collect())
}

impl Tracer<'_> {
    /// Whether the change of that alias lacks the value of a column.
    fn lacks(&self, alias: &str, column: &str) -> String {
        let (list, name) = (self.d.of(alias, UNCHANGED), self.d.literal(column));
        let contains = self.d.contains(&list, &name);
        format!("coalesce({contains}, false)")
    }

    /// Finds for each change where its life began, and where in it the values are.
    fn trace(&self, engine: &mut dyn Engine, temp: &mut TempTables) -> Result<String> {
        let (d, log) = (self.d, self.log);
        let keys = self.find_keys(engine, temp)?;
        let ordinal = d.of(NEW, ORDINAL);
        let by_key = format!(
            "PARTITION BY {} ORDER BY {ordinal}",
            d.list_of(NEW, log.key())
        );
        let sent: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| {
                format!(
                    "max(CASE WHEN {} OR {} THEN NULL ELSE {ordinal} END) OVER life AS {}",
                    log.is(NEW, &[Op::Delete]),
                    self.lacks(NEW, column),
                    d.identifier(&found(place))
                )
            })
            .collect();
        let lives = format!(
            "SELECT {keys}, {ordinal}, {op}, {unchanged}, {cleared}, \
             max(CASE WHEN {begins} THEN {ordinal} END) OVER life AS {born}, \
             max(CASE WHEN {ends} THEN {ordinal} END) OVER ({by_key} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) \
             AS {ended}, {sent} FROM {changes} AS {NEW} JOIN {of_keys} AS {KEY} ON {same_key} \
             WINDOW life AS ({by_key} ROWS UNBOUNDED PRECEDING)",
            keys = d.list_of(NEW, log.key()),
            cleared = d.of(NEW, CLEARED),
            born = d.identifier(BORN),
            ended = d.identifier(ENDED),
            op = d.of(NEW, OP),
            unchanged = d.of(NEW, UNCHANGED),
            begins = log.is(NEW, &[Op::Insert, Op::Snapshot]),
            ends = log.is(NEW, &[Op::Delete]),
            sent = sent.join(", "),
            changes = self.changes(),
            of_keys = keys,
            same_key = d.equal(&log.manifest.primary_key, NEW, KEY),
        );
        let began = format!(
            "SELECT {INNER}.*, greatest(coalesce({}, -1), coalesce({}, -1), coalesce({}, -1)) AS {} \
             FROM ({lives}) AS {INNER} WHERE {} OR {} IS NOT NULL",
            d.of(INNER, BORN),
            d.of(INNER, ENDED),
            d.of(INNER, CLEARED),
            d.identifier(SINCE),
            log.is(INNER, &[Op::Delete]),
            d.of(INNER, UNCHANGED)
        );
        let since = d.of(GROUPED, SINCE);
        let valid: Vec<String> = (0..self.columns.len())
            .map(|place| {
                let found = found(place);
                let value = d.of(GROUPED, &found);
                format!(
                    "CASE WHEN {value} >= {since} THEN {value} END AS {}",
                    d.identifier(&found)
                )
            })
            .collect();
        let query = format!(
            "SELECT {}, CASE WHEN {of_born} = {since} THEN {of_born} END AS {born}, {} FROM ({began}) AS {GROUPED}",
            d.list_of(GROUPED, log.key().chain([ORDINAL, OP, UNCHANGED, SINCE])),
            valid.join(", "),
            of_born = d.of(GROUPED, BORN),
            born = d.identifier(BORN),
        );
        temp.put(engine, TRACE, &query)
    }

    /// The keys to look at: usually few of those that changed.
    fn find_keys(&self, engine: &mut dyn Engine, temp: &mut TempTables) -> Result<String> {
        let (d, log) = (self.d, self.log);
        let lacks = format!("{} IS NOT NULL", d.of(NEW, UNCHANGED));
        let moved_away = if log.counts.moves == 0 {
            String::new()
        } else {
            format!(
                " OR ({} AND {} + 1 IN (SELECT {} FROM {} AS {INNER} WHERE {} AND {} IS NOT NULL))",
                log.is(NEW, &[Op::Delete]),
                d.of(NEW, ORDINAL),
                d.of(INNER, ORDINAL),
                log.relation,
                log.is(INNER, &[Op::Insert]),
                d.of(INNER, UNCHANGED)
            )
        };
        let query = format!(
            "SELECT DISTINCT {} FROM {} AS {NEW} WHERE {lacks}{moved_away}",
            d.list_of(NEW, log.key()),
            log.relation
        );
        temp.put(engine, KEYS, &query)
    }

    /// The changes with the columns that separate lives, [`CLEARED`] included.
    fn changes(&self) -> String {
        let (d, log) = (self.d, self.log);
        let columns = d.list_of(INNER, log.key().chain([ORDINAL, OP, UNCHANGED]));
        let cleared = if log.counts.truncates == 0 {
            "CAST(NULL AS BIGINT)".to_owned()
        } else {
            format!(
                "max(CASE WHEN {} THEN {ordinal} END) OVER (ORDER BY {ordinal} ROWS UNBOUNDED PRECEDING)",
                log.is(INNER, &[Op::Truncate]),
                ordinal = d.of(INNER, ORDINAL)
            )
        };
        format!(
            "(SELECT {columns}, {cleared} AS {} FROM {} AS {INNER})",
            d.identifier(CLEARED),
            log.relation
        )
    }

    /// Finds where the values are that rows lacked when they moved, by way of every key that they moved through. Each
    /// round doubles how far back a row is followed.
    fn follow(
        &self,
        engine: &mut dyn Engine,
        temp: &mut TempTables,
        trace: &str,
    ) -> Result<String> {
        let d = self.d;
        let first: Vec<String> = (0..self.columns.len())
            .map(|place| {
                let found = d.of(OF, &found(place));
                let open = format!("{found} IS NULL");
                format!(
                    "SELECT {place} AS place, {ordinal} + 1 AS moved, {found} AS found, \
                     CASE WHEN {open} THEN {born} END AS via, \
                     CASE WHEN {open} AND {since} = -1 THEN {ordinal} END AS home FROM {trace} AS {OF} WHERE {is_delete}",
                    ordinal = d.of(OF, ORDINAL),
                    born = d.of(OF, BORN),
                    since = d.of(OF, SINCE),
                    is_delete = self.log.is(OF, &[Op::Delete]),
                )
            })
            .collect();
        let [mut this, mut other] = LINKS;
        let mut links = temp.put(engine, this, &first.join(" UNION ALL "))?;
        let pending = |links: &str| {
            format!("SELECT count(*) FROM {links} AS {OF} WHERE {OF}.via IS NOT NULL")
        };
        while engine.numbers(&pending(&links))? != [0] {
            std::mem::swap(&mut this, &mut other);
            let further = format!(
                "SELECT {NEW}.place, {NEW}.moved, coalesce({NEW}.found, {OF}.found) AS found, {OF}.via, \
                 coalesce({NEW}.home, {OF}.home) AS home FROM {links} AS {NEW} LEFT JOIN {links} AS {OF} \
                 ON {OF}.place = {NEW}.place AND {OF}.moved = {NEW}.via"
            );
            links = temp.put(engine, this, &further)?;
        }
        Ok(links)
    }
}

/// The column that says where the value of the column at that place is: the number of a change.
fn found(place: usize) -> String {
    format!("_acequia_found_{place}")
}
