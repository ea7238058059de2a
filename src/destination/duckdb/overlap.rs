//! The overlap: rows of a load that an earlier load may have brought, as each extract begins a little below the position.

use crate::destination::apply::Rows;
use crate::error::Result;
use crate::schema::{Column, ColumnType};

use super::session::Session;
use super::sql::{cast, identifier, literal, of};

/// Where a load meets again what earlier loads brought: up to the highest cursor that they brought.
#[derive(Debug)]
pub(super) struct Overlap {
    column: String,
    column_type: ColumnType,
    highest: String,
}

/// The rows of a load that lie in the overlap.
#[derive(Debug)]
pub(super) struct Again {
    /// The rows, a table reference without alias.
    pub(super) relation: String,
    /// The rows of the table, of alias `o`, among which there can be the same: those of the same span of the cursor, so
    /// that DuckDB need not read the rest.
    pub(super) in_table: String,
}

impl Overlap {
    pub(super) fn new(column: &Column, highest: &str) -> Self {
        Self {
            column: column.name.clone(),
            column_type: column.column_type.clone(),
            highest: cast(&literal(highest), &column.column_type),
        }
    }

    /// Looks for rows of the load that lie in the overlap. None where there are none.
    pub(super) fn find(&self, session: &Session, rows: &Rows) -> Result<Option<Again>> {
        let cursor = identifier(&self.column);
        let relation = rows.only(&self.within());
        let (all, known, lowest): (i64, i64, Option<String>) = session.row(
            &format!(
                "SELECT count(*), count({cursor}), CAST(min({cursor}) AS VARCHAR) FROM {relation}"
            ),
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        Ok((all > 0).then(|| Again {
            relation,
            in_table: self.in_table(lowest.as_deref(), known < all),
        }))
    }

    /// The rows of the load that an earlier load may have brought. A cursor that is NULL, or that lies beyond the year
    /// 9999, is never a position, so such rows come with every load.
    fn within(&self) -> String {
        let cursor = identifier(&self.column);
        let beyond = self
            .beyond()
            .map(|beyond| format!(" OR {cursor} >= {beyond}"))
            .unwrap_or_default();
        format!("({cursor} <= {} OR {cursor} IS NULL{beyond})", self.highest)
    }

    /// All other rows of the load.
    pub(super) fn above(&self) -> String {
        let cursor = identifier(&self.column);
        let beyond = self
            .beyond()
            .map(|beyond| format!(" AND {cursor} < {beyond}"))
            .unwrap_or_default();
        format!("({cursor} > {}{beyond})", self.highest)
    }

    /// The rows of the table, of alias `o`, among which one like a row of the overlap can be, given the lowest cursor in the overlap
    /// and whether NULL is there.
    fn in_table(&self, lowest: Option<&str>, nulls: bool) -> String {
        let cursor = of("o", &self.column);
        let from = lowest
            .map(|lowest| format!("{cursor} >= {}", cast(&literal(lowest), &self.column_type)));
        let null = nulls.then(|| format!("{cursor} IS NULL"));
        let either: Vec<String> = [from, null].into_iter().flatten().collect();
        format!("({})", either.join(" OR "))
    }

    /// The first moment that is never a position.
    fn beyond(&self) -> Option<&'static str> {
        match self.column_type {
            ColumnType::Date => Some("DATE '10000-01-01'"),
            ColumnType::Timestamp => Some("TIMESTAMP '10000-01-01 00:00:00'"),
            ColumnType::TimestampTz => Some("TIMESTAMP WITH TIME ZONE '10000-01-01 00:00:00+00'"),
            _ => None,
        }
    }
}
