//! Sees to it that each key comes once in a load.

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;

use super::sql::{equal, identifier, list, list_of, of};
use super::{Engine, Rows, Scratch};

/// Keys that come more than once in the load, with the highest cursor of each.
const TWICE: &str = "_acequia_twice";
/// The rows to take for those keys.
const WINNERS: &str = "_acequia_winners";
/// The highest cursor, in [`TWICE`].
const HIGHEST: &str = "_acequia_highest";

/// Refuses NULL in a key, and takes of rows with the same key the one with the highest cursor.
///
/// # Errors
/// [`Error::Data`] with the number of keys or rows, where NULL is among them or rows that differ have the same cursor.
pub(crate) fn settle(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    manifest: &Manifest,
    rows: Rows,
) -> Result<Rows> {
    let key = &manifest.primary_key;
    require(key, &rows)?;
    let nullable = rows
        .columns
        .iter()
        .any(|column| column.nullable && key.contains(&column.name));
    if nullable {
        refuse_nulls(engine, key, &rows)?;
    }
    if manifest.key_is_unique {
        return Ok(rows);
    }
    settle_duplicates(engine, scratch, manifest, rows)
}

/// Refuses a load without a key, or without one of its columns.
pub(crate) fn require(key: &[String], rows: &Rows) -> Result<()> {
    if key.is_empty() {
        return Err(
            Error::config("a stream whose rows are matched by key has no key")
                .remedy("name its key columns with `primary_key`"),
        );
    }
    match key.iter().find(|column| !rows.has(column)) {
        None => Ok(()),
        Some(column) => Err(
            Error::data(format!("the key column `{column}` is not in the load"))
                .remedy("correct `primary_key`, or take the column with `columns`"),
        ),
    }
}

fn refuse_nulls(engine: &mut dyn Engine, key: &[String], rows: &Rows) -> Result<()> {
    let null: Vec<String> = key
        .iter()
        .map(|column| format!("{} IS NULL", identifier(column)))
        .collect();
    let with_null = engine.numbers(&format!(
        "SELECT count(*) FROM {} AS n",
        rows.only(&null.join(" OR "))
    ))?;
    match with_null.as_slice() {
        [0] => Ok(()),
        _ => Err(null_in_key(key, with_null.first().copied().unwrap_or(0))),
    }
}

/// What is said of NULL in a key.
pub(crate) fn null_in_key(key: &[String], rows: i64) -> Error {
    Error::data(format!(
        "NULL stands in the key ({}) of {rows} row(s)",
        shown(key)
    ))
    .remedy(
        "choose columns without NULL with `primary_key`, or leave the rows out with `where`, or set disposition = \
         \"append\"",
    )
}

fn settle_duplicates(
    engine: &mut dyn Engine,
    scratch: &mut Scratch,
    manifest: &Manifest,
    rows: Rows,
) -> Result<Rows> {
    let dialect = engine.dialect();
    let key = &manifest.primary_key;
    let cursor = manifest.cursor.as_ref().filter(|cursor| rows.has(cursor));
    let keys = list_of("n", key.iter().map(String::as_str));
    let highest = cursor.map_or_else(
        || "NULL".to_owned(),
        |cursor| format!("max({})", of("n", cursor)),
    );
    let (twice, keys_twice) = scratch.make(
        engine,
        TWICE,
        &format!(
            "SELECT {keys}, {highest} AS {HIGHEST} FROM {} AS n GROUP BY {keys} HAVING count(*) > 1",
            rows.relation
        ),
    )?;
    if keys_twice == 0 {
        return Ok(rows);
    }
    let is_highest = cursor
        .map(|cursor| format!(" AND {} IS NOT DISTINCT FROM t.{HIGHEST}", of("n", cursor)))
        .unwrap_or_default();
    let (winners, taken) = scratch.make(
        engine,
        WINNERS,
        &format!(
            "SELECT DISTINCT ON ({}) n.* FROM {} AS n JOIN {twice} AS t ON {}{is_highest}",
            rows.identity(dialect, "n").join(", "),
            rows.relation,
            equal(key, "n", "t")
        ),
    )?;
    if taken > keys_twice {
        let tied_keys = engine.numbers(&format!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM {winners} AS n GROUP BY {keys} HAVING count(*) > 1) AS g"
        ))?;
        return Err(tied(
            key,
            cursor,
            tied_keys.first().copied().unwrap_or_default(),
        ));
    }
    let columns = || rows.columns.iter().map(|column| column.name.as_str());
    let relation = format!(
        "(SELECT {} FROM {} AS n WHERE NOT EXISTS (SELECT 1 FROM {twice} AS t WHERE {}) UNION ALL SELECT {} FROM \
         {winners} AS w)",
        list_of("n", columns()),
        rows.relation,
        equal(key, "n", "t"),
        list(columns()),
    );
    Ok(Rows {
        columns: rows.columns,
        relation,
    })
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

/// The key's columns, as messages name them.
pub(crate) fn shown(key: &[String]) -> String {
    let columns: Vec<String> = key.iter().map(|column| format!("`{column}`")).collect();
    columns.join(", ")
}
