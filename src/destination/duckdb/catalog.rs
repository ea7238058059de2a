//! What DuckDB's catalog says of a dataset's tables, and of the indices that people made on them.

use duckdb::params;

use crate::destination::sql::table::not_a_table;
use crate::destination::sql::{Dialect as _, Engine as _, Index, SqlEngine as _, Table};
use crate::error::Result;

use super::dialect::DuckDbSql;
use super::session::Session;
use super::{comments, error};

/// Names and types of the columns of a table. Empty if there is no such table.
pub(super) fn columns(session: &Session, name: &str) -> Result<Vec<(String, String)>> {
    let views = session.rows(
        "SELECT c.view_name FROM duckdb_views() AS c WHERE c.database_name = ? AND lower(c.schema_name) = lower(?) AND \
         lower(c.view_name) = lower(?)",
        params![session.catalog(), session.dataset(), name],
        |row| row.get::<_, String>(0),
    )?;
    if views.iter().any(|view| view.eq_ignore_ascii_case(name)) {
        return Err(not_a_table(session.dataset(), name, "a view"));
    }
    columns_in(session, session.dataset(), name)
}

/// Names and types of the columns of a table or view of a schema. Empty if there is none.
pub(super) fn columns_in(
    session: &Session,
    schema: &str,
    name: &str,
) -> Result<Vec<(String, String)>> {
    let columns = session.rows(
        "SELECT c.schema_name, c.table_name, c.column_name, c.data_type FROM duckdb_columns() AS c \
         WHERE c.database_name = ? AND lower(c.schema_name) = lower(?) AND lower(c.table_name) = lower(?) \
         ORDER BY c.column_index",
        params![session.catalog(), schema, name],
        |row| {
            let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(texts)
        },
    )?;
    // lower() knows more letters than DuckDB's names do.
    Ok(columns
        .into_iter()
        .filter(|[of, table, ..]| {
            of.eq_ignore_ascii_case(schema) && table.eq_ignore_ascii_case(name)
        })
        .map(|[_, _, column, data_type]| (column, data_type))
        .collect())
}

/// Whether there is a table of that name.
///
/// The functions that list the catalog make DuckDB read the definitions of all views that it has built in, which takes longer
/// than a run that finds nothing new. A name in a query is looked up by itself; what has no row ids is a view.
pub(super) fn has_table(session: &Session, name: &str) -> Result<bool> {
    let sql = format!("SELECT rowid FROM {}", session.table(name));
    match session.connection.prepare(&sql) {
        Ok(_) => Ok(true),
        Err(failed) => match error::message(&failed).map(error::kind) {
            Some("Catalog") => Ok(false),
            Some("Binder") => Err(not_a_table(session.dataset(), name, "a view")),
            _ => Err(error::from_duckdb(failed)),
        },
    }
}

/// Rebuilds a table. Indices that people made on it are dropped with it, and must be created again; their comments stay.
pub(super) fn create(
    session: &mut Session,
    table: &mut Table,
    columns: Vec<(String, String)>,
) -> Result<Vec<Index>> {
    let indices = indices(session, session.dataset(), &table.name)?;
    let comments = comments::of(session, session.dataset(), &table.name)?;
    let d = session.dialect();
    let defined = columns.iter().map(|(name, kind)| (&**name, &**kind));
    session.execute(&format!(
        "CREATE OR REPLACE TABLE {} ({})",
        table.sql,
        d.definitions(defined)
    ))?;
    table.columns = columns;
    comments::make_again(session, &table.sql, false, &table.columns, &comments)?;
    Ok(indices)
}

/// The indices on a table that people made, as they are made again on the one that takes its place.
pub(super) fn indices(session: &Session, schema: &str, name: &str) -> Result<Vec<Index>> {
    let d = DuckDbSql;
    let found = session.rows(
        "SELECT index_name, schema_name, table_name, sql FROM duckdb_indexes() WHERE database_name = ? AND \
         lower(schema_name) = lower(?) AND lower(table_name) = lower(?) AND sql IS NOT NULL ORDER BY index_name",
        params![session.catalog(), schema, name],
        |row| {
            let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(texts)
        },
    )?;
    let table = format!("{}.{}", session.schema_of(schema), d.identifier(name));
    let indices = found.into_iter().map(|[index, schema, of, sql]| {
        // DuckDB leaves the database out, which may bear the schema's name.
        let of = format!("{}.{}", d.identifier(&schema), d.identifier(&of));
        Index {
            name: Some(index),
            sql: sql.replacen(&format!(" ON {of}("), &format!(" ON {table}("), 1),
        }
    });
    Ok(indices.collect())
}
