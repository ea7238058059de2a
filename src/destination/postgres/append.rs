//! Rows are added, except those that an earlier load brought already.
//!
//! Without a key a row is known only by its values, and the source may have the same row twice. So the overlap is
//! compared as a multiset: of a row that the load has `n` times and the table `m` times, `n - m` are added.

use crate::destination::LoadOutcome;
use crate::destination::apply::Rows;
use crate::destination::apply::rows::identity_of;
use crate::error::Result;
use crate::evolution::Step;
use crate::landing::manifest::Manifest;
use crate::position::CursorValue;
use crate::schema::{Column, ColumnType};

use super::ledger::value;
use super::load::{insert_into, values};
use super::session::Session;
use super::sql::{PostgresSql, of, ordered};
use super::table::Table;

/// Where a load meets again what earlier loads brought: up to the highest cursor that they brought, as each extract begins
/// a little below it.
#[derive(Debug)]
pub(super) struct Overlap<'a> {
    pub(super) cursor: &'a Column,
    pub(super) highest: &'a CursorValue,
}

/// Adds rows to the table.
pub(super) fn append(
    session: &mut Session,
    table: &Table,
    manifest: &Manifest,
    overlap: &Overlap<'_>,
    steps: &[Step],
    rows: &Rows,
) -> Result<LoadOutcome> {
    // First the overlap, as it reads the table; then the rows above it, which need not be looked for.
    let mut inserted = insert_missing(session, table, manifest, overlap, steps, rows)?;
    inserted += session.execute(
        &format!(
            "{} SELECT {} FROM {} AS n WHERE {}",
            insert_into(table, &rows.columns),
            values(manifest, &rows.columns, "n"),
            rows.relation,
            overlap.above()
        ),
        &[],
    )?;
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}

fn insert_missing(
    session: &mut Session,
    table: &Table,
    manifest: &Manifest,
    overlap: &Overlap<'_>,
    steps: &[Step],
    rows: &Rows,
) -> Result<u64> {
    let within = overlap.within();
    let count = format!(
        "SELECT count(*), count({}) FROM {} AS n WHERE {within}",
        of("n", &overlap.cursor.name),
        rows.relation
    );
    let row = session.row(&count, &[])?;
    let (all, known): (i64, i64) = (value(&row, 0)?, value(&row, 1)?);
    if all == 0 {
        return Ok(0);
    }
    let compared = comparable(&rows.columns, steps);
    let named = |alias: &str| {
        let named: Vec<String> = identity_of(&PostgresSql, &compared, alias)
            .iter()
            .enumerate()
            .map(|(i, expression)| format!("{expression} AS c{i}"))
            .collect();
        named.join(", ")
    };
    let all_same: Vec<String> = (0..compared.len()).map(|i| format!("c{i}")).collect();
    let all_same = all_same.join(", ");
    // Sorted rather than joined: a join by what may be NULL is not hashed.
    session.execute(
        &format!(
            "{insert} SELECT {values} FROM {stage} AS n JOIN (SELECT line FROM (SELECT line, \
             row_number() OVER (PARTITION BY {all_same}, line IS NULL) AS nth, \
             count(*) FILTER (WHERE line IS NULL) OVER (PARTITION BY {all_same}) AS times FROM \
             (SELECT n.ctid AS line, {new} FROM {stage} AS n WHERE {within} UNION ALL \
             SELECT CAST(NULL AS tid), {old} FROM {table} AS o WHERE {in_table}) AS known) AS numbered \
             WHERE line IS NOT NULL AND nth > times) AS missing ON missing.line = n.ctid",
            insert = insert_into(table, &rows.columns),
            values = values(manifest, &rows.columns, "n"),
            stage = rows.relation,
            new = named("n"),
            old = named("o"),
            table = table.sql,
            in_table = overlap.in_table(rows, known < all),
        ),
        &[],
    )
}

/// The columns by which a row is known again. One that is new, or back, is NULL in the rows that the table has: it cannot
/// tell whether they are the same.
fn comparable(columns: &[Column], steps: &[Step]) -> Vec<Column> {
    let is_new = |column: &Column| {
        steps.iter().any(|step| match step {
            Step::Add(added) => added.name == column.name,
            Step::Revive(name) => *name == column.name,
            Step::Widen { .. } | Step::Retire(_) => false,
        })
    };
    let known = columns.iter().filter(|column| !is_new(column));
    known.cloned().collect()
}

impl Overlap<'_> {
    /// The rows of the load, of alias `n`, that an earlier load may have brought. A cursor that is NULL, or that lies beyond
    /// the year 9999, is never a position, so such rows come with every load.
    fn within(&self) -> String {
        let cursor = of("n", &self.cursor.name);
        let beyond = self
            .beyond()
            .map(|beyond| format!(" OR {cursor} >= {beyond}"))
            .unwrap_or_default();
        format!(
            "({} <= {} OR {cursor} IS NULL{beyond})",
            ordered(&cursor, &self.cursor.column_type),
            self.highest.sql()
        )
    }

    /// All other rows of the load.
    fn above(&self) -> String {
        let cursor = of("n", &self.cursor.name);
        let beyond = self
            .beyond()
            .map(|beyond| format!(" AND {cursor} < {beyond}"))
            .unwrap_or_default();
        format!(
            "({} > {}{beyond})",
            ordered(&cursor, &self.cursor.column_type),
            self.highest.sql()
        )
    }

    /// The rows of the table, of alias `o`, among which one like a row of the overlap can be: from the lowest cursor in the
    /// overlap on, and those without, where the overlap has such.
    fn in_table(&self, rows: &Rows, nulls: bool) -> String {
        let (old, new) = (of("o", &self.cursor.name), of("n", &self.cursor.name));
        let kind = &self.cursor.column_type;
        let null = if nulls {
            format!(" OR {old} IS NULL")
        } else {
            String::new()
        };
        format!(
            "({} >= (SELECT {new} FROM {} AS n WHERE {} AND {new} IS NOT NULL ORDER BY {} LIMIT 1){null})",
            ordered(&old, kind),
            rows.relation,
            self.within(),
            ordered(&new, kind)
        )
    }

    /// The first moment that is never a position.
    fn beyond(&self) -> Option<&'static str> {
        match self.cursor.column_type {
            ColumnType::Date => Some("'10000-01-01'::date"),
            ColumnType::Timestamp => Some("'10000-01-01 00:00:00'::timestamp"),
            ColumnType::TimestampTz => Some("'10000-01-01 00:00:00+00'::timestamptz"),
            _ => None,
        }
    }
}
