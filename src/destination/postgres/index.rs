//! The unique index on a table's key: what keeps a key from coming twice, and by which rows are found.

use crate::destination::sql::system_columns::VALID_TO;
use crate::destination::sql::{Dialect, Engine as _, Index, SqlEngine as _, Table};
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::mode::{Disposition, Mode};
use crate::names::digest;
use crate::schema::{Column, ColumnType};

use super::dialect::OWN_INDEX;
use super::session::{Session, value};

/// Ensures that the table has a unique index on its key, which may be a user's, and no other index of acequia's. If the
/// table is new (`anew`), the index is returned: it is created faster when the rows are there.
///
/// # Errors
/// PostgreSQL cannot compare the key, or existing rows of the table have the same key.
pub(super) fn see_to(
    session: &mut Session,
    table: &Table,
    columns: &[Column],
    manifest: &Manifest,
    anew: bool,
) -> Result<Option<Index>> {
    let key = Key::of(manifest);
    key.check(columns)?;
    drop_others(session, table, &key)?;
    let Some(sql) = missing(session, table, &key)? else {
        return Ok(None);
    };
    if anew {
        return Ok(Some(Index { name: None, sql }));
    }
    let made = session.batch(&sql);
    made.map_err(|error| key_comes_twice(error, table))?;
    Ok(None)
}

/// What is said where the rows that the table has already cannot have a unique index on their key.
fn key_comes_twice(error: Error, table: &Table) -> Error {
    if !matches!(error, Error::Data(_)) {
        return error;
    }
    Error::data(format!(
        "table {} holds several rows with the same key, as it was not loaded by that key so far",
        table.shown
    ))
    .remedy("make the table anew: `acequia run STREAM --full-refresh`")
}

/// The key that identifies a stream's rows in its table. `None` if there is none.
#[derive(Debug)]
struct Key<'a> {
    columns: &'a [String],
    /// Whether keys are unique among the current versions of rows only, not in the whole table.
    of_versions: bool,
}

impl<'a> Key<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let has_key = manifest.mode == Mode::Cdc || manifest.disposition.has_key();
        Self {
            columns: if has_key {
                manifest.primary_key.as_slice()
            } else {
                &[]
            },
            of_versions: manifest.disposition == Disposition::Scd2,
        }
    }

    /// Refuses a key that PostgreSQL cannot compare.
    fn check(&self, columns: &[Column]) -> Result<()> {
        let json = columns.iter().find(|column| {
            column.column_type == ColumnType::Json && self.columns.contains(&column.name)
        });
        let Some(column) = json else {
            return Ok(());
        };
        Err(Error::data(format!(
            "the key column `{}` is of JSON, which cannot be compared",
            column.name
        ))
        .remedy(format!(
            "name other key columns with `primary_key`, or give it {} = \"text\" under [streams.STREAM.types]",
            column.name
        )))
    }

    /// A name of its own for each table and key, within the 63 bytes that a name may have.
    fn index_name(&self, table: &str) -> String {
        let kind = if self.of_versions { "versions" } else { "" };
        let columns = self.columns.iter().map(String::as_str);
        let digits = digest([table, kind].into_iter().chain(columns));
        format!("{OWN_INDEX}{digits}")
    }
}

/// Drops acequia's own indices on keys that are no longer the table's.
fn drop_others(session: &mut Session, table: &Table, key: &Key<'_>) -> Result<()> {
    let dataset = session.dataset().to_owned();
    let rows = session.rows(
        "SELECT i.relname::text FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid \
         JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2",
        &[&dataset, &table.name],
    )?;
    let wanted = key.index_name(&table.name);
    for row in rows {
        let name: String = value(&row, 0)?;
        if name.starts_with(OWN_INDEX) && (key.columns.is_empty() || name != wanted) {
            let drop = format!("DROP INDEX {}", session.table(&name));
            session.batch(&drop)?;
        }
    }
    Ok(())
}

/// The statement that makes the unique index on the table's key, where it has none.
fn missing(session: &mut Session, table: &Table, key: &Key<'_>) -> Result<Option<String>> {
    if key.columns.is_empty() {
        return Ok(None);
    }
    let dataset = session.dataset().to_owned();
    let mut sorted = key.columns.to_vec();
    sorted.sort_unstable();
    let name = key.index_name(&table.name);
    let row = session.row(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid \
         JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND x.indisunique AND x.indisvalid AND (i.relname = $4 OR NOT $5 \
         AND x.indpred IS NULL AND x.indexprs IS NULL \
         AND $3::text[] = (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE \"C\") \
         FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid \
         AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1]))))",
        &[&dataset, &table.name, &sorted, &name, &key.of_versions],
    )?;
    if value(&row, 0)? {
        return Ok(None);
    }
    let d: &dyn Dialect = session.dialect();
    let current = if key.of_versions {
        format!(" WHERE {} IS NULL", d.identifier(VALID_TO))
    } else {
        String::new()
    };
    Ok(Some(format!(
        "CREATE UNIQUE INDEX {} ON {} ({}){current}",
        d.identifier(&name),
        table.sql,
        d.list(key.columns.iter().map(String::as_str))
    )))
}
