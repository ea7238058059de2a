//! The changes of a load as a relation in which they are numbered in the order of commits.

use crate::change::{self, COMMIT_TS, LSN, OP, Op, SEQ, UNCHANGED};
use crate::destination::sql::dialect::{INNER, NEW};
use crate::destination::sql::{Dialect, Engine, Rows, dedup};
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::schema::Column;

/// The number of a change: an integer that grows in the order of commits, and that no other change has, except among the
/// rows of a snapshot, which have no order.
pub(super) const ORDINAL: &str = "_acequia_ordinal";

/// Of a key: the change that brought its row; NULL where the load brought none.
pub(super) const ROW: &str = "_acequia_row";
/// Of a key: the change after it that took the row away; NULL where it lives.
pub(super) const END: &str = "_acequia_end";

/// Columns of a change that its table has as well.
pub(super) const STORED: [&str; 3] = [LSN, SEQ, COMMIT_TS];

/// The changes of a load.
pub(super) struct Log<'a> {
    /// How the destination writes SQL.
    pub(super) d: &'static dyn Dialect,
    /// The load.
    pub(super) manifest: &'a Manifest,
    /// The columns of its parts.
    pub(super) all: &'a [Column],
    /// Of those, the columns of the source's rows.
    pub(super) columns: Vec<&'a Column>,
    /// The changes with [`ORDINAL`], a table reference without alias.
    pub(super) relation: String,
    /// How many there are of which kind.
    pub(super) counts: Counts,
}

/// How many changes a load has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// In all.
    pub(super) all: i64,
    /// Rows of a snapshot.
    pub(super) snapshot: i64,
    /// Updates.
    pub(super) updates: i64,
    /// Deletes.
    pub(super) deletes: i64,
    /// Truncates.
    pub(super) truncates: i64,
    /// Changes that did not bring every value.
    pub(super) partial: i64,
    /// Inserts that did not: rows that moved to another key.
    pub(super) moves: i64,
}

impl<'a> Log<'a> {
    /// Examines the changes of a load.
    ///
    /// # Errors
    /// A key contains NULL, or the changes violate what [`Op`] promises.
    pub(super) fn survey(
        engine: &mut dyn Engine,
        manifest: &'a Manifest,
        rows: &'a Rows,
    ) -> Result<Self> {
        let key = &manifest.primary_key;
        if !key.is_empty() {
            dedup::require(key, rows)?;
        }
        let d = engine.dialect();
        let [op, lsn, seq, unchanged] = [OP, LSN, SEQ, UNCHANGED].map(|column| d.of(NEW, column));
        let null = d.any_null(NEW, key);
        let [
            all,
            snapshot,
            updates,
            deletes,
            truncates,
            partial,
            moves,
            nulls,
            lowest,
            highest,
            last,
        ] = engine.numbers(&format!(
            "SELECT count(*), count(*) FILTER (WHERE {op} = 'r'), count(*) FILTER (WHERE {op} = 'u'), \
             count(*) FILTER (WHERE {op} = 'd'), count(*) FILTER (WHERE {op} = 't'), count({unchanged}), \
             count({unchanged}) FILTER (WHERE {op} = 'c'), count(*) FILTER (WHERE {op} <> 't' AND {null}), \
             coalesce(min({lsn}), 0), coalesce(max({lsn}), 0), coalesce(max({seq}), 0) FROM {} AS {NEW}",
            rows.relation
        ))?;
        if nulls > 0 {
            return Err(dedup::null_in_key_of_changes(key, nulls));
        }
        let counts = Counts {
            all,
            snapshot,
            updates,
            deletes,
            truncates,
            partial,
            moves,
        };
        counts.check(!key.is_empty())?;
        let ordinal = ordinal(d, lowest, highest, last);
        Ok(Self {
            d,
            manifest,
            all: &rows.columns,
            columns: rows
                .columns
                .iter()
                .filter(|column| !change::is_of_change(&column.name))
                .collect(),
            relation: format!(
                "(SELECT {INNER}.*, {ordinal} AS {} FROM {} AS {INNER})",
                d.identifier(ORDINAL),
                rows.relation
            ),
            counts,
        })
    }

    /// The names of the row's columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The names of the row's columns and of those of a change that the table has as well.
    pub(super) fn stored(&self) -> impl Iterator<Item = &str> {
        self.names().chain(STORED)
    }

    /// The condition that a change of that alias is one of these.
    pub(super) fn is(&self, alias: &str, ops: &[Op]) -> String {
        let codes: Vec<String> = ops.iter().map(|op| self.d.literal(op.code())).collect();
        format!("{} IN ({})", self.d.of(alias, OP), codes.join(", "))
    }

    /// The number of the last truncate, in SQL.
    pub(super) fn last_truncate(&self) -> String {
        format!(
            "(SELECT max({}) FROM {} AS {INNER} WHERE {})",
            self.d.of(INNER, ORDINAL),
            self.relation,
            self.is(INNER, &[Op::Truncate])
        )
    }

    /// The names of the key's columns.
    pub(super) fn key(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.manifest.primary_key.iter().map(String::as_str)
    }
}

impl Counts {
    fn check(self, has_key: bool) -> Result<()> {
        let what = if !has_key && (self.updates > 0 || self.partial > 0) {
            "a change without a key is neither an insert nor a delete of a whole row"
        } else if self.snapshot > 0 && self.partial > 0 {
            "rows of a snapshot come together with changes that lack values"
        } else {
            return Ok(());
        };
        Err(Error::internal(what))
    }
}

/// Position and sequence as one integer, of 64 bits where that suffices.
fn ordinal(d: &dyn Dialect, lowest: i64, highest: i64, last: i64) -> String {
    let (lsn, seq) = (d.identifier(LSN), d.identifier(SEQ));
    let width = i128::from(last) + 1;
    let span = i128::from(highest) - i128::from(lowest) + 1;
    let fits = span
        .checked_mul(width)
        .is_some_and(|top| top < i128::from(i64::MAX));
    if fits {
        format!("(({lsn} - {lowest}) * {width} + {seq})")
    } else {
        format!(
            "((CAST({lsn} AS {wide}) - {lowest}) * {width} + {seq})",
            wide = d.wide_integer()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::duckdb::dialect::DuckDbSql;

    #[test]
    fn the_number_of_a_change_has_64_bits_where_they_suffice() {
        assert_eq!(
            ordinal(&DuckDbSql, 100, 1_000, 9),
            r#"(("_acequia_lsn" - 100) * 10 + "_acequia_seq")"#
        );
        assert_eq!(
            ordinal(&DuckDbSql, 0, i64::MAX - 1, 1),
            r#"((CAST("_acequia_lsn" AS HUGEINT) - 0) * 2 + "_acequia_seq")"#
        );
    }
}
