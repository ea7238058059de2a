//! The unique index on a table's key: what keeps a key from coming twice, and by which rows are found.

use sha2::{Digest, Sha256};

use crate::destination::apply::own::VALID_TO;
use crate::error::{Error, Result};
use crate::landing::manifest::{Disposition, Manifest, Mode};
use crate::names::hex;
use crate::schema::{Column, ColumnType};

use super::ledger::value;
use super::session::Session;
use super::sql::{identifier, list};
use super::table::Table;

/// What the names of acequia's own unique indices begin with.
const OWN: &str = "_acequia_key_";

/// Whether a constraint or index is one of acequia's own.
pub(super) fn is_own(name: &str) -> bool {
    name.starts_with(OWN)
}

/// The key by which a stream's rows are told apart in its table; none where they are not.
#[derive(Debug)]
pub(super) struct Key<'a> {
    columns: &'a [String],
    /// Whether each key comes once among the current versions of rows, and not in the whole table.
    of_versions: bool,
}

impl<'a> Key<'a> {
    pub(super) fn of(manifest: &'a Manifest) -> Self {
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
    pub(super) fn check(&self, columns: &[Column]) -> Result<()> {
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
        let mut hash = Sha256::new();
        let kind = if self.of_versions { "versions" } else { "" };
        for name in [table, kind]
            .into_iter()
            .chain(self.columns.iter().map(String::as_str))
        {
            hash.update(name);
            hash.update([0]);
        }
        let mut digits = hex(&hash.finalize());
        digits.truncate(16);
        format!("{OWN}{digits}")
    }
}

/// Drops acequia's own indices on keys that are no longer the table's.
pub(super) fn drop_others(session: &mut Session, table: &Table, key: &Key<'_>) -> Result<()> {
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
        if is_own(&name) && (key.columns.is_empty() || name != wanted) {
            let drop = format!("DROP INDEX {}", session.table(&name));
            session.batch(&drop)?;
        }
    }
    Ok(())
}

/// Sees to it that the table has a unique index on its key, be it a user's.
pub(super) fn ensure(session: &mut Session, table: &Table, key: &Key<'_>) -> Result<()> {
    if key.columns.is_empty() {
        return Ok(());
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
        return Ok(());
    }
    let current = if key.of_versions {
        format!(" WHERE {} IS NULL", identifier(VALID_TO))
    } else {
        String::new()
    };
    session.batch(&format!(
        "CREATE UNIQUE INDEX {} ON {} ({}){current}",
        identifier(&name),
        table.sql,
        list(key.columns.iter().map(String::as_str))
    ))
}
