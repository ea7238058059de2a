//! Where the values are that a change lacks, and the changes with them.

use crate::change::{DELETED_AT, OP, UNCHANGED};
use crate::destination::LOAD_ID_COLUMN;
use crate::destination::apply::fold::{END, ROW};
use crate::destination::apply::log::{ORDINAL, STORED};
use crate::destination::apply::sql::{equal, identifier, list, list_of, of};
use crate::destination::apply::{Engine, Scratch};
use crate::error::{Error, Result};

use super::{BORN, SINCE, Tracer, Wanted, found};

/// Changes that lack values: where those are.
const SOURCES: &str = "_acequia_sources";
/// Changes that lacked values, with them.
const MENDED: &str = "_acequia_mended";
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
        let mut joins = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            let found = found(place);
            let mut value = format!("x.{found}");
            if let Some(links) = links {
                joins.push(format!(
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
            joins = joins.concat(),
        );
        Ok(scratch.make(engine, SOURCES, &query)?.0)
    }

    /// Fetches the values.
    pub(super) fn mend(
        &self,
        engine: &mut dyn Engine,
        scratch: &mut Scratch,
        trace: &str,
        sources: &str,
    ) -> Result<String> {
        let no_row = format!("{} IS NULL", of("o", LOAD_ID_COLUMN));
        let (mut joins, mut lost) = (Vec::new(), Vec::new());
        for (place, column) in self.columns.iter().enumerate() {
            let found = found(place);
            let (ordinal, name) = (identifier(ORDINAL), identifier(column));
            joins.push(format!(
                " LEFT JOIN (SELECT m.{ordinal}, m.{name} FROM {} AS m WHERE m.{ordinal} IN \
                 (SELECT f.{found} FROM {sources} AS f WHERE f.{found} IS NOT NULL)) AS v{place} \
                 ON v{place}.{ordinal} = s.{found}",
                self.log.relation
            ));
            lost.push(format!(
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
            lost = lost.concat(),
            joins = joins.concat(),
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
    pub(super) fn with_mended(&self, mended: &str) -> String {
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

/// The condition that the change `x` is one that brought a row.
fn among(last: &str, and: &str) -> String {
    format!(
        " AND {} IN (SELECT {row} FROM {last} AS w WHERE {row} IS NOT NULL{and})",
        of("x", ORDINAL),
        row = of("w", ROW)
    )
}
