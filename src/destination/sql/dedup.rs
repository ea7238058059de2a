//! Deduplicates a load, so that each key is unique.

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;

use super::dialect::{GROUPED, INNER, KEY, NEW};
use super::{Engine, Rows, TempTables};

/// Keys that come more than once in the load.
const TWICE: &str = "_acequia_twice";
/// The rows that are kept for those keys.
const WINNERS: &str = "_acequia_winners";
/// The place of a row's cursor among those of its key, the highest first.
const PLACE: &str = "_acequia_place";

/// Refuses NULL in a key, and takes of rows with the same key the one with the highest cursor.
///
/// # Errors
/// [`Error::Data`] with the number of keys or rows, where NULL is among them or rows that differ have the same cursor.
pub(crate) fn deduplicate(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
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
    settle_duplicates(engine, temp, manifest, rows)
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
    let d = engine.dialect();
    let [with_null] = engine.numbers(&format!(
        "SELECT count(*) FROM {} AS {NEW} WHERE {}",
        rows.relation,
        d.any_null(NEW, key)
    ))?;
    match with_null {
        0 => Ok(()),
        rows => Err(null_in_key(key, rows)),
    }
}

/// What is said of NULL in a key.
pub(crate) fn null_in_key(key: &[String], rows: i64) -> Error {
    nulls(key, rows).remedy(
        "choose columns without NULL with `primary_key`, or leave the rows out with `where`, or set disposition = \
         \"append\"",
    )
}

/// The same of changes, which are read without a condition, and have no disposition.
pub(crate) fn null_in_key_of_changes(key: &[String], rows: i64) -> Error {
    nulls(key, rows).remedy(
        "choose columns without NULL with `primary_key`; or leave `primary_key` out: rows are then matched by the table's own \
         key or, where it has none, as a whole",
    )
}

fn nulls(key: &[String], rows: i64) -> Error {
    Error::data(format!(
        "NULL stands in the key ({}) of {rows} row(s)",
        shown(key)
    ))
}

fn settle_duplicates(
    engine: &mut dyn Engine,
    temp: &mut TempTables,
    manifest: &Manifest,
    rows: Rows,
) -> Result<Rows> {
    let d = engine.dialect();
    let key = &manifest.primary_key;
    let cursor = manifest
        .cursor
        .as_ref()
        .and_then(|cursor| rows.columns.iter().find(|column| &column.name == cursor));
    let keys = d.list_of(NEW, key.iter().map(String::as_str));
    let (twice, keys_twice) = temp.make(
        engine,
        TWICE,
        &format!(
            "SELECT {keys} FROM {} AS {NEW} GROUP BY {keys} HAVING count(*) > 1",
            rows.relation
        ),
    )?;
    if keys_twice == 0 {
        return Ok(rows);
    }
    // Not max: not every server has it for every type.
    let place = cursor.map_or_else(
        || "1".to_owned(),
        |cursor| {
            let ordered = d.ordered(&d.of(INNER, &cursor.name), &cursor.column_type);
            let keys = d.list_of(INNER, key.iter().map(String::as_str));
            format!("rank() OVER (PARTITION BY {keys} ORDER BY {ordered} DESC NULLS LAST)")
        },
    );
    let (winners, taken) = temp.make(
        engine,
        WINNERS,
        &d.distinct(
            &rows.identity(d, NEW),
            &d.list_of(NEW, rows.names()),
            &format!(
                "(SELECT {INNER}.*, {place} AS {PLACE} FROM {} AS {INNER} JOIN {twice} AS {KEY} ON {}) AS {NEW} \
                 WHERE {NEW}.{PLACE} = 1",
                rows.relation,
                d.equal(key, INNER, KEY)
            ),
        ),
    )?;
    if taken > keys_twice {
        let [tied_keys] = engine.numbers(&format!(
            "SELECT count(*) FROM (SELECT 1 AS one FROM {winners} AS {NEW} GROUP BY {keys} HAVING count(*) > 1) AS {GROUPED}"
        ))?;
        return Err(ambiguous_key(key, manifest.cursor.as_ref(), tied_keys));
    }
    let relation = format!(
        "(SELECT {} FROM {} AS {NEW} WHERE NOT EXISTS (SELECT 1 FROM {twice} AS {KEY} WHERE {}) UNION ALL SELECT {} FROM \
         {winners} AS {NEW})",
        d.list_of(NEW, rows.names()),
        rows.relation,
        d.equal(key, NEW, KEY),
        d.list_of(NEW, rows.names()),
    );
    Ok(Rows {
        columns: rows.columns,
        relation,
    })
}

fn ambiguous_key(key: &[String], cursor: Option<&String>, keys: i64) -> Error {
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
