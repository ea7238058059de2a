//! Rows take the place of those with the same key: delete and insert, straight from the parts. Measured twice as fast as
//! `MERGE INTO`, and no staging table.

use crate::destination::LoadOutcome;
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;

use super::load::{insert_into, values};
use super::overlap::Overlap;
use super::rows::{Rows, equal, same};
use super::session::Session;
use super::sql::{identifier, of};
use super::table::Table;

/// Keys of rows that the table has already, the same in every column.
const SAME: &str = "temp.\"_acequia_same\"";
/// Keys that come more than once in the load, with the highest cursor of each.
const TWICE: &str = "temp.\"_acequia_twice\"";
/// The rows to take for those keys.
const WINNERS: &str = "temp.\"_acequia_winners\"";
/// The highest cursor, in [`TWICE`].
const HIGHEST: &str = "_acequia_highest";

/// Merges the rows of a load into the table.
pub(super) fn merge(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    overlap: &Overlap,
    rows: Rows,
) -> Result<LoadOutcome> {
    let rows = check_keys(session, manifest, rows)?;
    let key = &manifest.primary_key;
    // Rows that did not change are left out of the delete and of the insert, so that a run that finds nothing new
    // writes nothing.
    let unchanged = find_same(session, table, manifest, overlap, &rows)?;
    let mut outcome = LoadOutcome::default();
    if unchanged < manifest.rows {
        let changed = if unchanged == 0 {
            format!("{} AS n", rows.relation)
        } else {
            format!(
                "{} AS n ANTI JOIN {SAME} AS s ON {}",
                rows.relation,
                equal(key, "n", "s")
            )
        };
        let keys: Vec<String> = key.iter().map(|column| of("n", column)).collect();
        let deleted = session.execute(
            &format!(
                "DELETE FROM {} AS o USING (SELECT {} FROM {changed}) AS d WHERE {}",
                table.sql,
                keys.join(", "),
                equal(key, "o", "d")
            ),
            [],
        )?;
        let inserted = session.execute(
            &format!(
                "{} SELECT {} FROM {changed}",
                insert_into(table, &rows),
                values(manifest, &rows, "n")
            ),
            [],
        )?;
        outcome.updated = deleted.min(inserted);
        outcome.inserted = inserted - outcome.updated;
    }
    drop_temporaries(session)?;
    Ok(outcome)
}

/// Finds the rows of the overlap that the table has already. Their number.
fn find_same(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    overlap: &Overlap,
    rows: &Rows,
) -> Result<u64> {
    let Some(again) = overlap.find(session, rows)? else {
        return Ok(0);
    };
    let key = &manifest.primary_key;
    let keys: Vec<String> = key.iter().map(|column| of("n", column)).collect();
    session.execute(
        &format!(
            "CREATE OR REPLACE TEMPORARY TABLE {SAME} AS SELECT DISTINCT {} FROM {} AS n JOIN {} AS o ON {} AND {} \
             WHERE {}",
            keys.join(", "),
            again.relation,
            table.sql,
            equal(key, "n", "o"),
            same(&rows.identity("n"), &rows.identity("o")),
            again.in_table
        ),
        [],
    )
}

/// Sees to it that each key comes once: refuses NULL, and takes of rows with the same key the one with the highest
/// cursor.
///
/// # Errors
/// [`Error::Data`] with the number of keys or rows, where NULL is among them or rows that differ have the same cursor.
pub(super) fn check_keys(session: &Session, manifest: &Manifest, rows: Rows) -> Result<Rows> {
    let key = &manifest.primary_key;
    if key.is_empty() {
        return Err(Error::config("a stream that is merged has no key")
            .remedy("name its key columns with `primary_key`"));
    }
    for column in key {
        if !rows.columns.iter().any(|other| &other.name == column) {
            return Err(
                Error::data(format!("the key column `{column}` is not in the load"))
                    .remedy("correct `primary_key`, or take the column with `columns`"),
            );
        }
    }
    let nullable = rows
        .columns
        .iter()
        .any(|column| column.nullable && key.contains(&column.name));
    if nullable {
        refuse_nulls(session, key, &rows)?;
    }
    if manifest.key_is_unique {
        return Ok(rows);
    }
    settle_duplicates(session, manifest, rows)
}

fn refuse_nulls(session: &Session, key: &[String], rows: &Rows) -> Result<()> {
    let null: Vec<String> = key
        .iter()
        .map(|column| format!("{} IS NULL", identifier(column)))
        .collect();
    let rows_with_null: i64 = session.row(
        &format!("SELECT count(*) FROM {}", rows.only(&null.join(" OR "))),
        [],
        |row| row.get(0),
    )?;
    if rows_with_null == 0 {
        return Ok(());
    }
    Err(Error::data(format!(
        "NULL stands in the key ({}) of {rows_with_null} row(s)",
        shown(key)
    ))
    .remedy(
        "choose columns without NULL with `primary_key`, or leave the rows out with `where`, or set disposition = \
         \"append\"",
    ))
}

fn settle_duplicates(session: &Session, manifest: &Manifest, rows: Rows) -> Result<Rows> {
    let key = &manifest.primary_key;
    let cursor = manifest
        .cursor
        .as_ref()
        .filter(|cursor| rows.columns.iter().any(|column| &column.name == *cursor));
    let keys: Vec<String> = key.iter().map(|column| of("n", column)).collect();
    let keys = keys.join(", ");
    let highest = cursor.map_or_else(
        || "NULL".to_owned(),
        |cursor| format!("max({})", of("n", cursor)),
    );
    let twice = session.execute(
        &format!(
            "CREATE OR REPLACE TEMPORARY TABLE {TWICE} AS SELECT {keys}, {highest} AS {HIGHEST} FROM {} AS n \
             GROUP BY {keys} HAVING count(*) > 1",
            rows.relation
        ),
        [],
    )?;
    if twice == 0 {
        return Ok(rows);
    }
    let is_highest = cursor
        .map(|cursor| format!(" AND {} IS NOT DISTINCT FROM t.{HIGHEST}", of("n", cursor)))
        .unwrap_or_default();
    let winners = session.execute(
        &format!(
            "CREATE OR REPLACE TEMPORARY TABLE {WINNERS} AS SELECT DISTINCT ON ({}) n.* FROM {} AS n JOIN {TWICE} AS t \
             ON {}{is_highest}",
            rows.identity("n").join(", "),
            rows.relation,
            equal(key, "n", "t")
        ),
        [],
    )?;
    if winners > twice {
        let keys_tied: i64 = session.row(
            &format!(
                "SELECT count(*) FROM (SELECT 1 FROM {WINNERS} AS n GROUP BY {keys} HAVING count(*) > 1)"
            ),
            [],
            |row| row.get(0),
        )?;
        return Err(tied(key, cursor, keys_tied));
    }
    let relation = format!(
        "(SELECT n.* FROM {} AS n ANTI JOIN {TWICE} AS t ON {} UNION ALL SELECT w.* FROM {WINNERS} AS w)",
        rows.relation,
        equal(key, "n", "t")
    );
    Ok(Rows {
        columns: rows.columns,
        relation,
    })
}

/// Drops what was made on the way; it would go with the connection.
pub(super) fn drop_temporaries(session: &Session) -> Result<()> {
    for table in [SAME, TWICE, WINNERS] {
        session.execute(&format!("DROP TABLE IF EXISTS {table}"), [])?;
    }
    Ok(())
}

fn tied(key: &[String], cursor: Option<&String>, keys: i64) -> Error {
    let among = match cursor {
        Some(cursor) => format!("with the same `{cursor}`"),
        None => "without a cursor to tell which is the newest".to_owned(),
    };
    Error::data(format!(
        "{keys} key(s) ({}) come more than once in the load, in rows that differ, {among}",
        shown(key)
    ))
    .remedy(
        "name columns that are unique together with `primary_key`, or set disposition = \"append\"",
    )
}

fn shown(key: &[String]) -> String {
    let columns: Vec<String> = key.iter().map(|column| format!("`{column}`")).collect();
    columns.join(", ")
}
