//! Rows are added, except those that an earlier load brought already.
//!
//! Without a key a row is known only by its values, and the source may have the same row twice. So the overlap is
//! compared as a multiset: of a row that the load has `n` times and the table `m` times, `n - m` are added.

use crate::destination::LoadOutcome;
use crate::destination::apply::Rows;
use crate::destination::apply::rows::identity_of;
use crate::destination::apply::sql::same;
use crate::error::Result;
use crate::evolution::Step;
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::load::{insert_into, values};
use super::overlap::{Again, Overlap};
use super::session::Session;
use super::sql::DuckDbSql;
use super::table::Table;

/// Adds the rows of a load to the table.
pub(super) fn append(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    overlap: &Overlap,
    steps: &[Step],
    rows: &Rows,
) -> Result<LoadOutcome> {
    let mut inserted = 0;
    // First the overlap, as it reads the table; then the rows above it, which need not be looked for.
    if let Some(again) = overlap.find(session, rows)? {
        inserted += insert_missing(session, table, manifest, rows, &again, steps)?;
    }
    inserted += session.execute(
        &format!(
            "{} SELECT {} FROM {} AS n",
            insert_into(table, rows),
            values(manifest, rows, "n"),
            rows.only(&overlap.above())
        ),
        [],
    )?;
    Ok(LoadOutcome {
        inserted,
        ..LoadOutcome::default()
    })
}

fn insert_missing(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    rows: &Rows,
    again: &Again,
    steps: &[Step],
) -> Result<u64> {
    // A column that is new, or back, is NULL in the rows that the table has: it cannot tell whether they are the same.
    let compared: Vec<Column> = rows
        .columns
        .iter()
        .filter(|column| {
            !steps.iter().any(|step| match step {
                Step::Add(added) => added.name == column.name,
                Step::Revive(name) => *name == column.name,
                Step::Widen { .. } | Step::Retire(_) => false,
            })
        })
        .cloned()
        .collect();
    let of_table = identity_of(&DuckDbSql, &compared, "o");
    let named: Vec<String> = of_table
        .iter()
        .enumerate()
        .map(|(i, expression)| format!("{expression} AS c{i}"))
        .collect();
    let numbered: Vec<String> = (0..of_table.len()).map(|i| format!("m.c{i}")).collect();
    session.execute(
        &format!(
            "{insert} SELECT {values} FROM \
             (SELECT r.*, row_number() OVER (PARTITION BY {partition}) AS _acequia_nth FROM {relation} AS r) AS n \
             LEFT JOIN (SELECT {named}, count(*) AS _acequia_times FROM {table} AS o WHERE {range} GROUP BY {grouped}) AS m \
             ON {joined} WHERE n._acequia_nth > coalesce(m._acequia_times, 0)",
            insert = insert_into(table, rows),
            values = values(manifest, rows, "n"),
            partition = identity_of(&DuckDbSql, &compared, "r").join(", "),
            named = named.join(", "),
            relation = again.relation,
            table = table.sql,
            range = again.in_table,
            grouped = of_table.join(", "),
            joined = same(&identity_of(&DuckDbSql, &compared, "n"), &numbered),
        ),
        [],
    )
}
