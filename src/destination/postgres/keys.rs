//! Keys: each comes once in a load and once in the table.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::names::hex;
use crate::schema::{Column, ColumnType};

use super::ledger::value;
use super::session::Session;
use super::sql::{equal, identifier, identities, list, of, ordered};
use super::stage::Stage;
use super::table::Table;

/// What the names of acequia's own unique indices begin with.
const OWN: &str = "_acequia_key_";
/// Keys that come more than once in the load.
const TWICE: &str = "_acequia_twice";

/// Whether a constraint or index is one of acequia's own.
pub(super) fn is_own(name: &str) -> bool {
    name.starts_with(OWN)
}

/// Refuses a load without a key, or one whose key PostgreSQL cannot compare.
pub(super) fn check(manifest: &Manifest, columns: &[Column]) -> Result<()> {
    let key = &manifest.primary_key;
    if key.is_empty() {
        return Err(Error::config("a stream that is merged has no key")
            .remedy("name its key columns with `primary_key`"));
    }
    for name in key {
        let Some(column) = columns.iter().find(|column| &column.name == name) else {
            return Err(
                Error::data(format!("the key column `{name}` is not in the load"))
                    .remedy("correct `primary_key`, or take the column with `columns`"),
            );
        };
        if column.column_type == ColumnType::Json {
            return Err(Error::data(format!(
                "the key column `{name}` is of JSON, which cannot be compared"
            ))
            .remedy("name other key columns with `primary_key`, or give it the type text under [streams.STREAM.types]"));
        }
    }
    Ok(())
}

/// Refuses NULL in the key of the rows that a table holds.
pub(super) fn refuse_nulls(
    session: &mut Session,
    manifest: &Manifest,
    columns: &[Column],
    table: &str,
) -> Result<()> {
    let key = &manifest.primary_key;
    let nullable = columns
        .iter()
        .any(|column| column.nullable && key.contains(&column.name));
    if !nullable {
        return Ok(());
    }
    let null: Vec<String> = key
        .iter()
        .map(|column| format!("{} IS NULL", identifier(column)))
        .collect();
    let select = format!("SELECT count(*) FROM {table} WHERE {}", null.join(" OR "));
    let rows: i64 = value(&session.row(&select, &[])?, 0)?;
    if rows == 0 {
        return Ok(());
    }
    Err(Error::data(format!(
        "NULL stands in the key ({}) of {rows} row(s)",
        shown(key)
    ))
    .remedy(
        "choose columns without NULL with `primary_key`, or leave the rows out with `where`, or set disposition = \
         \"append\"",
    ))
}

/// Leaves of staged rows with the same key the one with the highest cursor.
///
/// # Errors
/// [`Error::Data`] with the number of keys, where rows that differ have the same cursor.
pub(super) fn settle(session: &mut Session, manifest: &Manifest, stage: &Stage) -> Result<()> {
    let key = &manifest.primary_key;
    let keys = list_of("n", key);
    let twice = session.execute(
        &format!(
            "CREATE TEMPORARY TABLE {TWICE} ON COMMIT DROP AS SELECT {keys} FROM {} AS n GROUP BY {keys} HAVING count(*) > 1",
            stage.sql
        ),
        &[],
    )?;
    if twice == 0 {
        return Ok(());
    }
    let cursor = manifest
        .cursor
        .as_ref()
        .and_then(|cursor| stage.columns.iter().find(|column| &column.name == cursor));
    let place = cursor.map_or_else(
        || "1".to_owned(),
        |cursor| {
            let expression = ordered(&of("n", &cursor.name), &cursor.column_type);
            format!("rank() OVER (PARTITION BY {keys} ORDER BY {expression} DESC NULLS LAST)")
        },
    );
    session.execute(
        &format!(
            "DELETE FROM {stage} AS l USING (SELECT n.ctid AS line, {place} AS place, \
             row_number() OVER (PARTITION BY {identities}) AS nth FROM {stage} AS n JOIN pg_temp.{TWICE} AS t ON {matched}) \
             AS r WHERE l.ctid = r.line AND (r.place > 1 OR r.nth > 1)",
            stage = stage.sql,
            identities = identities(&stage.columns, "n").join(", "),
            matched = equal(key, "n", "t"),
        ),
        &[],
    )?;
    let select = format!(
        "SELECT count(*) FROM (SELECT FROM {} AS n JOIN pg_temp.{TWICE} AS t ON {} GROUP BY {keys} HAVING count(*) > 1) AS q",
        stage.sql,
        equal(key, "n", "t")
    );
    let tied: i64 = value(&session.row(&select, &[])?, 0)?;
    if tied > 0 {
        return Err(tie(key, manifest.cursor.as_ref(), tied));
    }
    Ok(())
}

/// Drops acequia's own indices on keys that are no longer the table's.
pub(super) fn drop_others(session: &mut Session, table: &Table, key: &[String]) -> Result<()> {
    let dataset = session.dataset().to_owned();
    let rows = session.rows(
        "SELECT i.relname::text FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid \
         JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2",
        &[&dataset, &table.name],
    )?;
    let wanted = index_name(&table.name, key);
    for row in rows {
        let name: String = value(&row, 0)?;
        if is_own(&name) && (key.is_empty() || name != wanted) {
            let drop = format!("DROP INDEX {}", session.table(&name));
            session.batch(&drop)?;
        }
    }
    Ok(())
}

/// Sees to it that the table has a unique index on its key: by it, too, rows are found.
pub(super) fn index(session: &mut Session, table: &Table, key: &[String]) -> Result<()> {
    let dataset = session.dataset().to_owned();
    let mut sorted = key.to_vec();
    sorted.sort_unstable();
    let row = session.row(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index AS x \
         JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND x.indisunique AND x.indisvalid AND x.indpred IS NULL \
         AND x.indexprs IS NULL AND $3::text[] = (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE \"C\") \
         FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid \
         AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])))",
        &[&dataset, &table.name, &sorted],
    )?;
    if value(&row, 0)? {
        return Ok(());
    }
    session.batch(&format!(
        "CREATE UNIQUE INDEX {} ON {} ({})",
        identifier(&index_name(&table.name, key)),
        table.sql,
        list(key)
    ))
}

/// A name of its own for each table and key, within the 63 bytes that a name may have.
fn index_name(table: &str, key: &[String]) -> String {
    let mut hash = Sha256::new();
    for name in [table].into_iter().chain(key.iter().map(String::as_str)) {
        hash.update(name);
        hash.update([0]);
    }
    let mut digits = hex(&hash.finalize());
    digits.truncate(16);
    format!("{OWN}{digits}")
}

/// The key's columns, of a relation with that alias.
pub(super) fn list_of(alias: &str, key: &[String]) -> String {
    let columns: Vec<String> = key.iter().map(|column| of(alias, column)).collect();
    columns.join(", ")
}

fn tie(key: &[String], cursor: Option<&String>, keys: i64) -> Error {
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
