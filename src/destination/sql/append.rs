//! Rows are added, except those that an earlier load brought already.
//!
//! Without a key a row is known only by its values, and the source may have the same row twice. So the overlap is
//! compared as a multiset: of a row that the load has `n` times and the table `m` times, `n - m` are added.

use crate::destination::LoadOutcome;
use crate::error::Result;
use crate::evolution::Step;
use crate::landing::manifest::Manifest;
use crate::position::Position;
use crate::schema::{Column, ColumnType};

use super::dialect::{NEW, OLD};
use super::sequence::cursor_of;
use super::statement::Missing;
use super::{Dialect, Engine, Rows, Table};

/// Where a load meets again what earlier loads brought: up to the highest cursor that they brought, as each extract begins
/// a little below it.
#[derive(Debug)]
pub(crate) struct Overlap<'a> {
    cursor: &'a Column,
    /// The rows of the load, of alias [`NEW`], that an earlier load may have brought.
    pub(crate) within: String,
    /// All other rows of the load.
    pub(crate) above: String,
}

/// Adds the rows of a load to the table.
pub(super) fn append(
    engine: &mut dyn Engine,
    table: &Table,
    manifest: &Manifest,
    overlap: &Overlap<'_>,
    steps: &[Step],
    rows: &Rows,
) -> Result<LoadOutcome> {
    let d = engine.dialect();
    let mut inserted = 0;
    // First the overlap, as it reads the table; then the rows above it, which need not be looked for.
    if let Some(in_table) = overlap.find(engine, rows)? {
        let missing = Missing {
            table: &table.sql,
            rows,
            manifest,
            within: &overlap.within,
            in_table: &in_table,
            compared: comparable(&rows.columns, steps),
        };
        inserted += engine.insert(&table.sql, &d.missing(&missing))?;
    }
    let above = rows.insert(d).load_id(d, manifest).only(&overlap.above);
    inserted += engine.insert(&table.sql, &above)?;
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}

/// The columns by which rows are compared. A column that is new, or was added again, is NULL in the table's rows, so it
/// cannot show whether rows are equal.
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

impl<'a> Overlap<'a> {
    /// The overlap of a load that adds to what its stream was read so far.
    ///
    /// # Errors
    /// Where the load does not have the column by which the stream was read so far.
    pub(crate) fn of(d: &dyn Dialect, manifest: &'a Manifest, rows: &'a Rows) -> Result<Self> {
        let (cursor, position) = cursor_of(manifest, &rows.columns)?;
        if matches!(manifest.position_before, Some(Position::HubSpot(_))) {
            // That is a time up to which nothing is missing. What an earlier load brought may lie above.
            return Ok(Self {
                cursor,
                within: "TRUE".to_owned(),
                above: "FALSE".to_owned(),
            });
        }
        let kind = &cursor.column_type;
        let name = d.of(NEW, &cursor.name);
        let ordered = d.ordered(&name, kind);
        let highest = d.value(&position.value.text(), kind);
        // A cursor that is NULL, or that lies beyond the year 9999, is never a position, so such rows come with every load.
        let beyond = beyond(kind).map(|beyond| d.value(beyond, kind));
        let or_beyond = beyond.as_ref();
        let or_beyond =
            or_beyond.map_or_else(String::new, |beyond| format!(" OR {name} >= {beyond}"));
        let and_below = beyond.map_or_else(String::new, |beyond| format!(" AND {name} < {beyond}"));
        Ok(Self {
            cursor,
            within: format!("({ordered} <= {highest} OR {name} IS NULL{or_beyond})"),
            above: format!("({ordered} > {highest}{and_below})"),
        })
    }

    /// Looks for rows of the load that lie in the overlap. Returns the condition that a row of the table, of alias [`OLD`],
    /// can equal one of them; `None` if there are none.
    ///
    /// The condition is a range of the cursor in literals, so that the destination need not read the rest of the table.
    pub(crate) fn find(&self, engine: &mut dyn Engine, rows: &Rows) -> Result<Option<String>> {
        let d = engine.dialect();
        let kind = &self.cursor.column_type;
        let (new, old) = (d.of(NEW, &self.cursor.name), d.of(OLD, &self.cursor.name));
        let found = engine.rows(&format!(
            "SELECT count(*), count(*) - count({new}), {} FROM {} AS {NEW} WHERE {}",
            d.cast(&d.lowest(&new, kind), &ColumnType::Text),
            rows.relation,
            self.within
        ))?;
        let found: Option<[Option<String>; 3]> =
            found.into_iter().next().and_then(|row| row.try_into().ok());
        let Some([all, nulls, lowest]) = found else {
            return Err(super::unreadable());
        };
        let is_some = |count: Option<String>| count.is_some_and(|count| count != "0");
        if !is_some(all) {
            return Ok(None);
        }
        let from =
            lowest.map(|lowest| format!("{} >= {}", d.ordered(&old, kind), d.value(&lowest, kind)));
        let null = is_some(nulls).then(|| format!("{old} IS NULL"));
        let either: Vec<String> = [from, null].into_iter().flatten().collect();
        Ok(Some(format!("({})", either.join(" OR "))))
    }
}

/// The first moment that is never a position.
fn beyond(column_type: &ColumnType) -> Option<&'static str> {
    match column_type {
        ColumnType::Date => Some("10000-01-01"),
        ColumnType::Timestamp => Some("10000-01-01 00:00:00"),
        ColumnType::TimestampTz => Some("10000-01-01 00:00:00+00"),
        _ => None,
    }
}
