//! How a table's schema is made and changed.
//!
//! A table is never dropped: grants, views and indices on it are the user's. What a change of its schema needs is an ALTER
//! TABLE, which waits for readers and lets none see half of it.

use crate::destination::sql::table::not_a_table;
use crate::destination::sql::{Engine as _, Table};
use crate::error::Result;
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::dialect::is_jsonb;
use super::session::{Session, value};

/// Names and types of a table's columns, except generated ones. Empty if there is no such table.
pub(super) fn columns(session: &mut Session, name: &str) -> Result<Vec<(String, String)>> {
    let dataset = session.dataset().to_owned();
    let kinds = session.rows(
        "SELECT c.relkind::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n \
         ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
        &[&dataset, &name],
    )?;
    let kind = kinds
        .first()
        .map(|row| value::<String>(row, 0))
        .transpose()?;
    // Ordinary and partitioned tables can be loaded.
    if let Some(kind) = kind.filter(|kind| kind != "r" && kind != "p") {
        let what = match kind.as_str() {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            "S" => "a sequence",
            "i" | "I" => "an index",
            _ => "no table",
        };
        return Err(not_a_table(&dataset, name, what));
    }
    let columns = session.rows(
        "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a \
         JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped \
         AND a.attgenerated = '' AND a.attidentity = '' ORDER BY a.attnum",
        &[&dataset, &name],
    )?;
    columns
        .iter()
        .map(|row| Ok((value(row, 0)?, value(row, 1)?)))
        .collect()
}

/// Creates a table, or empties the existing one and gives it these columns. Columns that it had by the schema `known` and
/// that are not among them are dropped; a user's own stay.
///
/// Rows are removed by DELETE: to readers with an older snapshot, a table after TRUNCATE, or one that replaces it, looks
/// empty (manual, section 13.6). With DELETE, readers see the old rows until the commit, and then the new ones.
pub(super) fn create(
    session: &mut Session,
    table: &mut Table,
    columns: Vec<(String, String)>,
    known: Option<&TableSchema>,
) -> Result<()> {
    if !table.exists() {
        let d = session.dialect();
        let defined = columns.iter().map(|(name, kind)| (&**name, &**kind));
        session.batch(&format!(
            "CREATE TABLE {} ({})",
            table.sql,
            d.definitions(defined)
        ))?;
        table.columns = columns;
        return Ok(());
    }
    session.execute(&format!("DELETE FROM {}", table.sql))?;
    for name in table.gone(&columns, known) {
        table.drop_column(session, &name)?;
    }
    for (name, data_type) in columns {
        match table.data_type(&name) {
            None => table.add(session, &name, &data_type)?,
            // No row is left whose value could be lost.
            Some(known) if known != data_type => {
                table.change_type_using(session, &name, &data_type, "NULL")?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The load's columns with the types that the table has for them. A column of `jsonb` becomes `json` before it gets text
/// that is not `jsonb`'s own.
pub(super) fn load_columns(
    session: &mut Session,
    table: &mut Table,
    manifest: &Manifest,
    schema: &TableSchema,
) -> Result<Vec<Column>> {
    let mut columns = Vec::with_capacity(manifest.schema.columns.len());
    for incoming in &manifest.schema.columns {
        let known = schema.column(&incoming.name).unwrap_or(incoming);
        let mut column = known.clone();
        let data_type = table.data_type(&column.name).unwrap_or_default().to_owned();
        if let Some(array) = data_type.strip_prefix("jsonb") {
            if is_jsonb(incoming) {
                column.source_type.clone_from(&data_type);
            } else {
                let json = format!("json{array}");
                table.change_type(session, &incoming.name, &json)?;
                column.source_type = json;
            }
        } else if data_type.starts_with("json") {
            column.source_type = data_type;
        }
        columns.push(column);
    }
    Ok(columns)
}
