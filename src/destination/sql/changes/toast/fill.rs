//! Where the values are that a change lacks, and the changes with them.

use crate::change::{DELETED_AT, OP, UNCHANGED};
use crate::destination::LOAD_ID_COLUMN;
use crate::destination::sql::changes::log::{END, ORDINAL, ROW, STORED};
use crate::destination::sql::dialect::{INNER, KEY, NEW, OF, OLD};
use crate::destination::sql::{Dialect, Engine, TempTables};
use crate::error::{Error, Result};

use super::{BORN, SINCE, Tracer, Wanted, found};

/// Changes that lack values: where those are.
const SOURCES: &str = "_acequia_sources";
/// Changes that lacked values, with them.
const FILLED: &str = "_acequia_filled";
/// The change whose key is that of the table's row that has the values.
const HOME: &str = "_acequia_home";
/// A value that nothing has: the place of its column.
const LOST: &str = "_acequia_lost";

/// A change's columns beside the row's.
const OTHERS: [&str; 6] = {
    let [lsn, seq, commit_ts] = STORED;
    [OP, lsn, seq, commit_ts, UNCHANGED, ORDINAL]
};

impl Tracer<'_> {
    /// Finds of each change that is wanted where the values are that it lacks.
    pub(super) fn find(
        &self,
        engine: &mut dyn Engine,
        temp: &mut TempTables,
        trace: &str,
        links: Option<&str>,
        wanted: Wanted<'_>,
    ) -> Result<String> {
        let d = self.d;
        let ordinal = d.of(OF, ORDINAL);
        let mut values = Vec::new();
        let mut homes = vec![format!(
            "CASE WHEN {} = -1 THEN {ordinal} END",
            d.of(OF, SINCE)
        )];
        let mut joins = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            let found = found(place);
            let mut value = d.of(OF, &found);
            if let Some(links) = links {
                let link = format!("_acequia_link_{place}");
                joins.push(format!(
                    " LEFT JOIN {links} AS {link} ON {link}.place = {place} AND {link}.moved = {} AND {value} IS NULL",
                    d.of(OF, BORN)
                ));
                value = format!("coalesce({value}, {link}.found)");
                homes.push(format!("{link}.home"));
            }
            values.push(format!(
                "CASE WHEN {} THEN {value} END AS {}",
                self.lacks(OF, column),
                d.identifier(&found)
            ));
        }
        let only = match wanted {
            Wanted::All => String::new(),
            Wanted::Rows(last) => among(d, last, ""),
            Wanted::Living(last) => among(d, last, &format!(" AND {} IS NULL", d.of(KEY, END))),
        };
        let query = format!(
            "SELECT {ordinal}, coalesce({}) AS {}, {} FROM {trace} AS {OF}{joins} WHERE {} IS NOT NULL{only}",
            homes.join(", "),
            d.identifier(HOME),
            values.join(", "),
            d.of(OF, UNCHANGED),
            joins = joins.concat(),
        );
        temp.put(engine, SOURCES, &query)
    }

    /// Fetches the values.
    pub(super) fn fill(
        &self,
        engine: &mut dyn Engine,
        temp: &mut TempTables,
        trace: &str,
        sources: &str,
    ) -> Result<String> {
        let d = self.d;
        let no_row = format!("{} IS NULL", d.of(OLD, LOAD_ID_COLUMN));
        let (mut joins, mut lost) = (Vec::new(), Vec::new());
        for (place, column) in self.columns.iter().enumerate() {
            let (value, found) = (value(place), found(place));
            joins.push(format!(
                " LEFT JOIN (SELECT {ordinal}, {} FROM {} AS {INNER} WHERE {ordinal} IN \
                 (SELECT {of_found} FROM {sources} AS {KEY} WHERE {of_found} IS NOT NULL)) AS {value} \
                 ON {} = {}",
                d.of(INNER, column),
                self.log.relation,
                d.of(&value, ORDINAL),
                d.of(OF, &found),
                ordinal = d.of(INNER, ORDINAL),
                of_found = d.of(KEY, &found),
            ));
            lost.push(format!(
                " WHEN {} AND {} IS NULL AND {no_row} THEN {place}",
                self.lacks(NEW, column),
                d.of(OF, &found)
            ));
        }
        let living = if self.soft {
            format!(" AND {} IS NULL", d.of(OLD, DELETED_AT))
        } else {
            String::new()
        };
        let query = format!(
            "SELECT {values}, {others}, CASE{lost} ELSE -1 END AS {lost_name} FROM {changes} AS {NEW} \
             JOIN {sources} AS {OF} ON {of_source} = {of_change}{joins} \
             LEFT JOIN {trace} AS {KEY} ON {of_trace} = {home} \
             LEFT JOIN {table} AS {OLD} ON {same_key}{living}",
            lost = lost.concat(),
            joins = joins.concat(),
            values = self.values().join(", "),
            others = d.list_of(NEW, OTHERS),
            lost_name = d.identifier(LOST),
            changes = self.log.relation,
            of_source = d.of(OF, ORDINAL),
            of_change = d.of(NEW, ORDINAL),
            of_trace = d.of(KEY, ORDINAL),
            home = d.of(OF, HOME),
            table = self.table,
            same_key = d.equal(&self.log.manifest.primary_key, OLD, KEY),
        );
        let filled = temp.put(engine, FILLED, &query)?;
        self.refuse_lost(engine, &filled)?;
        Ok(filled)
    }

    /// The row's columns of the change [`NEW`], with the values that it lacks.
    fn values(&self) -> Vec<String> {
        let d = self.d;
        self.log
            .names()
            .map(|column| {
                let own = d.of(NEW, column);
                match self.columns.iter().position(|lacking| *lacking == column) {
                    None => own,
                    Some(place) => format!(
                        "CASE WHEN NOT {} THEN {own} WHEN {} IS NOT NULL THEN {} ELSE {} END AS {}",
                        self.lacks(NEW, column),
                        d.of(OF, &found(place)),
                        d.of(&value(place), column),
                        d.of(OLD, column),
                        d.identifier(column),
                    ),
                }
            })
            .collect()
    }

    fn refuse_lost(&self, engine: &mut dyn Engine, filled: &str) -> Result<()> {
        let [lost] = engine.numbers(&format!(
            "SELECT coalesce(max({}), -1) FROM {filled} AS {NEW}",
            self.d.of(NEW, LOST)
        ))?;
        let place = usize::try_from(lost).ok();
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

    /// All changes: those that were complete, and those that were filled in.
    pub(super) fn with_filled(&self, filled: &str) -> String {
        let columns = self.d.list_of(NEW, self.log.names().chain(OTHERS));
        format!(
            "(SELECT {columns} FROM {} AS {NEW} WHERE {} IS NULL UNION ALL SELECT {columns} FROM {filled} AS {NEW})",
            self.log.relation,
            self.d.of(NEW, UNCHANGED),
        )
    }
}

/// The relation of the values of the column at that place.
fn value(place: usize) -> String {
    format!("_acequia_value_{place}")
}

/// The condition that the change [`OF`] is one that brought a row.
fn among(d: &dyn Dialect, last: &str, and: &str) -> String {
    let row = d.of(KEY, ROW);
    format!(
        " AND {} IN (SELECT {row} FROM {last} AS {KEY} WHERE {row} IS NOT NULL{and})",
        d.of(OF, ORDINAL)
    )
}
