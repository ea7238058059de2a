//! Values that the source did not send, as they had not changed: they are those of the row's state before.
//!
//! A row's life, from its insert to its delete, holds the changes of one key between the two. A value that a change lacks
//! is that of the last change before it in the same life that sent it. Where none did, the life began either before the
//! load, and the value is that of the table's row; or with an insert that lacks the value too, as the row moved from
//! another key: then it is the value which the life had that the delete just before that insert ended, and so on.
//!
//! [`TRACE`] knows of each change its life, [`LINKS`] where values of rows that moved are, [`SOURCES`] where each value
//! that is lacking is. Only numbers of changes are traced; values are fetched once, at the end, into [`MENDED`]. Where
//! nothing is lacking nothing of this is done.

use crate::change::{DELETED_AT, OP, Op, UNCHANGED};
use crate::destination::LOAD_ID_COLUMN;
use crate::error::{Error, Result};

use super::fold::{END, ROW};
use super::log::{Log, ORDINAL, STORED, is};
use super::sql::{equal, identifier, list, list_of, literal, of};
use super::{Dialect, Engine, Scratch};

/// Keys of which a change lacks a value, and those that such rows moved away from.
const KEYS: &str = "_acequia_keys";
/// Changes that lack values, and deletes: their life, and where in it each value is.
const TRACE: &str = "_acequia_trace";
/// Inserts of rows that moved: where each value is that they lack. Two names, used by turns.
const LINKS: [&str; 2] = ["_acequia_links", "_acequia_links_on"];
/// Changes that lack values: where those are.
const SOURCES: &str = "_acequia_sources";
/// Changes that lacked values, with them.
const MENDED: &str = "_acequia_mended";

/// The change before which, or with which, the change's life began; -1 where that was before the load.
const SINCE: &str = "_acequia_since";
/// The insert that the change's life began with.
const BORN: &str = "_acequia_born";
/// The delete before the change, and the truncate before it.
const ENDED: &str = "_acequia_ended";
const CLEARED: &str = "_acequia_cleared";
/// The change whose key is that of the table's row that has the values.
const HOME: &str = "_acequia_home";
/// A value that nothing has: the place of its column.
const LOST: &str = "_acequia_lost";

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
    /// Those that brought a row, in that table of [`super::fold::Last`].
    Rows(&'a str),
    /// Those that brought a row which lives.
    Living(&'a str),
}

/// What is traced.
struct Tracer<'a> {
    log: &'a Log<'a>,
    dialect: &'static dyn Dialect,
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
        scratch: &mut Scratch,
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
            dialect: engine.dialect(),
            columns: lacking(engine, log)?,
            table,
            soft,
        };
        if tracer.columns.is_empty() {
            return Ok(as_they_are());
        }
        let trace = tracer.trace(engine, scratch)?;
        let links = match log.counts.moves {
            0 => None,
            _ => Some(tracer.follow(engine, scratch, &trace)?),
        };
        let sources = tracer.find(engine, scratch, &trace, links.as_deref(), wanted)?;
        let mended = tracer.mend(engine, scratch, &trace, &sources)?;
        Ok(Self {
            relation: tracer.with_mended(&mended),
        })
    }
}

/// The columns of which a change lacks a value.
fn lacking<'a>(engine: &mut dyn Engine, log: &'a Log<'_>) -> Result<Vec<&'a str>> {
    let unchanged = of("n", UNCHANGED);
    let names = engine.texts(&format!(
        "SELECT DISTINCT unnest({unchanged}) FROM {} AS n WHERE {unchanged} IS NOT NULL",
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
        let contains = self
            .dialect
            .contains(&of(alias, UNCHANGED), &literal(column));
        format!("coalesce({contains}, false)")
    }

    /// Finds for each change where its life began, and where in it the values are.
    fn trace(&self, engine: &mut dyn Engine, scratch: &mut Scratch) -> Result<String> {
        let key = || self.log.key();
        let keys = self.find_keys(engine, scratch)?;
        let ordinal = of("n", ORDINAL);
        let by_key = format!("PARTITION BY {} ORDER BY {ordinal}", list_of("n", key()));
        let sent: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| {
                format!(
                    "max(CASE WHEN {} OR {} THEN NULL ELSE {ordinal} END) OVER life AS {}",
                    is("n", &[Op::Delete]),
                    self.lacks("n", column),
                    found(place)
                )
            })
            .collect();
        let lives = format!(
            "SELECT {keys}, {ordinal}, {op}, {unchanged}, n.{cleared}, \
             max(CASE WHEN {begins} THEN {ordinal} END) OVER life AS {born}, \
             max(CASE WHEN {ends} THEN {ordinal} END) OVER ({by_key} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) \
             AS {ended}, {sent} FROM {changes} AS n JOIN {of_keys} AS k ON {same_key} \
             WINDOW life AS ({by_key} ROWS UNBOUNDED PRECEDING)",
            keys = list_of("n", key()),
            cleared = identifier(CLEARED),
            born = identifier(BORN),
            ended = identifier(ENDED),
            op = of("n", OP),
            unchanged = of("n", UNCHANGED),
            begins = is("n", &[Op::Insert, Op::Snapshot]),
            ends = is("n", &[Op::Delete]),
            sent = sent.join(", "),
            changes = self.changes(),
            of_keys = keys,
            same_key = equal(&self.log.manifest.primary_key, "n", "k"),
        );
        let began = format!(
            "SELECT h.*, greatest(coalesce({}, -1), coalesce({}, -1), coalesce({}, -1)) AS {} \
             FROM ({lives}) AS h WHERE {} OR {} IS NOT NULL",
            of("h", BORN),
            of("h", ENDED),
            of("h", CLEARED),
            identifier(SINCE),
            is("h", &[Op::Delete]),
            of("h", UNCHANGED)
        );
        let valid: Vec<String> = (0..self.columns.len())
            .map(|place| {
                let found = found(place);
                format!(
                    "CASE WHEN b.{found} >= {} THEN b.{found} END AS {found}",
                    of("b", SINCE)
                )
            })
            .collect();
        let query = format!(
            "SELECT {}, CASE WHEN b.{born} = {since} THEN b.{born} END AS {born}, {} FROM ({began}) AS b",
            list_of("b", key().chain([ORDINAL, OP, UNCHANGED, SINCE])),
            valid.join(", "),
            since = of("b", SINCE),
            born = identifier(BORN),
        );
        Ok(scratch.make(engine, TRACE, &query)?.0)
    }

    /// The keys to look at: usually few of those that changed.
    fn find_keys(&self, engine: &mut dyn Engine, scratch: &mut Scratch) -> Result<String> {
        let lacks = format!("{} IS NOT NULL", of("n", UNCHANGED));
        let moved_away = if self.log.counts.moves == 0 {
            String::new()
        } else {
            format!(
                " OR ({} AND {} + 1 IN (SELECT {} FROM {} AS m WHERE {} AND {} IS NOT NULL))",
                is("n", &[Op::Delete]),
                of("n", ORDINAL),
                of("m", ORDINAL),
                self.log.relation,
                is("m", &[Op::Insert]),
                of("m", UNCHANGED)
            )
        };
        let query = format!(
            "SELECT DISTINCT {} FROM {} AS n WHERE {lacks}{moved_away}",
            list_of("n", self.log.key()),
            self.log.relation
        );
        Ok(scratch.make(engine, KEYS, &query)?.0)
    }

    /// The changes with what tells lives apart, [`CLEARED`] included.
    fn changes(&self) -> String {
        let columns = list_of("c", self.log.key().chain([ORDINAL, OP, UNCHANGED]));
        let cleared = if self.log.counts.truncates == 0 {
            "CAST(NULL AS BIGINT)".to_owned()
        } else {
            format!(
                "max(CASE WHEN {} THEN {ordinal} END) OVER (ORDER BY {ordinal} ROWS UNBOUNDED PRECEDING)",
                is("c", &[Op::Truncate]),
                ordinal = of("c", ORDINAL)
            )
        };
        format!(
            "(SELECT {columns}, {cleared} AS {} FROM {} AS c)",
            identifier(CLEARED),
            self.log.relation
        )
    }

    /// Finds where the values are that rows lacked when they moved, by way of every key that they moved through. Each
    /// round doubles how far back a row is followed.
    fn follow(
        &self,
        engine: &mut dyn Engine,
        scratch: &mut Scratch,
        trace: &str,
    ) -> Result<String> {
        let first: Vec<String> = (0..self.columns.len())
            .map(|place| {
                let found = format!("d.{}", found(place));
                let open = format!("{found} IS NULL");
                format!(
                    "SELECT {place} AS place, {ordinal} + 1 AS moved, {found} AS found, \
                     CASE WHEN {open} THEN {born} END AS via, \
                     CASE WHEN {open} AND {since} = -1 THEN {ordinal} END AS home FROM {trace} AS d WHERE {is_delete}",
                    ordinal = of("d", ORDINAL),
                    born = of("d", BORN),
                    since = of("d", SINCE),
                    is_delete = is("d", &[Op::Delete]),
                )
            })
            .collect();
        let [mut this, mut other] = LINKS;
        let mut links = scratch.make(engine, this, &first.join(" UNION ALL "))?.0;
        let pending =
            |links: &str| format!("SELECT count(*) FROM {links} AS l WHERE l.via IS NOT NULL");
        while engine.numbers(&pending(&links))? != [0] {
            std::mem::swap(&mut this, &mut other);
            let further = format!(
                "SELECT l.place, l.moved, coalesce(l.found, p.found) AS found, p.via, coalesce(l.home, p.home) AS home \
                 FROM {links} AS l LEFT JOIN {links} AS p ON p.place = l.place AND p.moved = l.via"
            );
            links = scratch.make(engine, this, &further)?.0;
        }
        Ok(links)
    }

    /// Finds of each change that is wanted where the values are that it lacks.
    fn find(
        &self,
        engine: &mut dyn Engine,
        scratch: &mut Scratch,
        trace: &str,
        links: Option<&str>,
        wanted: Wanted<'_>,
    ) -> Result<String> {
        let ordinal = of("x", ORDINAL);
        let mut values = Vec::new();
        let mut homes = vec![format!(
            "CASE WHEN {} = -1 THEN {ordinal} END",
            of("x", SINCE)
        )];
        let mut joins = String::new();
        for (place, column) in self.columns.iter().enumerate() {
            let found = found(place);
            let mut value = format!("x.{found}");
            if let Some(links) = links {
                joins.push_str(&format!(
                    " LEFT JOIN {links} AS l{place} ON l{place}.place = {place} AND l{place}.moved = {} AND x.{found} IS NULL",
                    of("x", BORN)
                ));
                value = format!("coalesce({value}, l{place}.found)");
                homes.push(format!("l{place}.home"));
            }
            values.push(format!(
                "CASE WHEN {} THEN {value} END AS {found}",
                self.lacks("x", column)
            ));
        }
        let only = match wanted {
            Wanted::All => String::new(),
            Wanted::Rows(last) => among(last, ""),
            Wanted::Living(last) => among(last, &format!(" AND {} IS NULL", of("w", END))),
        };
        let query = format!(
            "SELECT {ordinal}, coalesce({}) AS {}, {} FROM {trace} AS x{joins} WHERE {} IS NOT NULL{only}",
            homes.join(", "),
            identifier(HOME),
            values.join(", "),
            of("x", UNCHANGED),
        );
        Ok(scratch.make(engine, SOURCES, &query)?.0)
    }

    /// Fetches the values.
    fn mend(
        &self,
        engine: &mut dyn Engine,
        scratch: &mut Scratch,
        trace: &str,
        sources: &str,
    ) -> Result<String> {
        let no_row = format!("{} IS NULL", of("o", LOAD_ID_COLUMN));
        let mut joins = String::new();
        let mut lost = String::new();
        for (place, column) in self.columns.iter().enumerate() {
            let found = found(place);
            let (ordinal, name) = (identifier(ORDINAL), identifier(column));
            joins.push_str(&format!(
                " LEFT JOIN (SELECT m.{ordinal}, m.{name} FROM {} AS m WHERE m.{ordinal} IN \
                 (SELECT f.{found} FROM {sources} AS f WHERE f.{found} IS NOT NULL)) AS v{place} \
                 ON v{place}.{ordinal} = s.{found}",
                self.log.relation
            ));
            lost.push_str(&format!(
                " WHEN {} AND s.{found} IS NULL AND {no_row} THEN {place}",
                self.lacks("n", column)
            ));
        }
        let living = if self.soft {
            format!(" AND {} IS NULL", of("o", DELETED_AT))
        } else {
            String::new()
        };
        let query = format!(
            "SELECT {values}, {others}, CASE{lost} ELSE -1 END AS {lost_name} FROM {changes} AS n \
             JOIN {sources} AS s ON {of_s} = {of_n}{joins} \
             LEFT JOIN {trace} AS h ON {of_h} = {home} \
             LEFT JOIN {table} AS o ON {same_key}{living}",
            values = self.values().join(", "),
            others = list_of("n", OTHERS),
            lost_name = identifier(LOST),
            changes = self.log.relation,
            of_s = of("s", ORDINAL),
            of_n = of("n", ORDINAL),
            of_h = of("h", ORDINAL),
            home = of("s", HOME),
            table = self.table,
            same_key = equal(&self.log.manifest.primary_key, "o", "h"),
        );
        let (mended, _) = scratch.make(engine, MENDED, &query)?;
        self.refuse_lost(engine, &mended)?;
        Ok(mended)
    }

    /// The row's columns of the change `n`, with the values that it lacks.
    fn values(&self) -> Vec<String> {
        self.log
            .names()
            .map(|column| {
                let (own, name) = (of("n", column), identifier(column));
                match self.columns.iter().position(|lacking| *lacking == column) {
                    None => own,
                    Some(place) => format!(
                        "CASE WHEN NOT {} THEN {own} WHEN s.{} IS NOT NULL THEN v{place}.{name} ELSE o.{name} END AS {name}",
                        self.lacks("n", column),
                        found(place)
                    ),
                }
            })
            .collect()
    }

    fn refuse_lost(&self, engine: &mut dyn Engine, mended: &str) -> Result<()> {
        let lost = engine.numbers(&format!(
            "SELECT coalesce(max({}), -1) FROM {mended} AS m",
            of("m", LOST)
        ))?;
        let place = lost.first().and_then(|place| usize::try_from(*place).ok());
        let Some(column) = place.and_then(|place| self.columns.get(place)) else {
            return Ok(());
        };
        Err(Error::destination(format!(
            "stream {}: a row changed whose value in the column `{column}` did not, so that it was not sent; and the \
             table does not have that row",
            self.log.manifest.stream
        ))
        .remedy("the table is not what was loaded: make it anew with `acequia run STREAM --full-refresh`"))
    }

    /// All changes that are wanted: those that came whole, and those that were mended.
    fn with_mended(&self, mended: &str) -> String {
        let columns = || self.log.names().chain(OTHERS);
        format!(
            "(SELECT {} FROM {} AS n WHERE {} IS NULL UNION ALL SELECT {} FROM {mended} AS m)",
            list_of("n", columns()),
            self.log.relation,
            of("n", UNCHANGED),
            list(columns()),
        )
    }
}

/// A change's columns beside the row's.
const OTHERS: [&str; 6] = {
    let [lsn, seq, commit_ts] = STORED;
    [OP, lsn, seq, commit_ts, UNCHANGED, ORDINAL]
};

/// Where the value of the column at that place is: the number of a change.
fn found(place: usize) -> String {
    format!("\"_acequia_found_{place}\"")
}

/// The condition that the change `x` is one that brought a row.
fn among(last: &str, and: &str) -> String {
    format!(
        " AND {} IN (SELECT {row} FROM {last} AS w WHERE {row} IS NOT NULL{and})",
        of("x", ORDINAL),
        row = of("w", ROW)
    )
}
