//! Indices that people made on a table, kept when the table is made anew.

use duckdb::params;

use crate::error::Result;

use super::session::Session;
use super::sql::identifier;
use super::table::Table;

/// The indices of a table, each with the statement that makes it.
#[derive(Debug)]
pub(super) struct Indices(Vec<(String, String)>);

impl Indices {
    /// The indices that a table has.
    pub(super) fn of(session: &Session, table: &Table) -> Result<Self> {
        let found = session.rows(
            "SELECT index_name, schema_name, table_name, sql FROM duckdb_indexes() WHERE database_name = ? AND \
             lower(schema_name) = lower(?) AND lower(table_name) = lower(?) AND sql IS NOT NULL ORDER BY index_name",
            params![session.catalog(), session.dataset(), table.name],
            |row| {
                let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
                Ok(texts)
            },
        )?;
        let indices = found.into_iter().map(|[name, schema, of, sql]| {
            // DuckDB leaves the database out, which may bear the schema's name.
            let short = format!(" ON {}.{}(", identifier(&schema), identifier(&of));
            (
                name,
                sql.replacen(&short, &format!(" ON {}(", table.sql), 1),
            )
        });
        Ok(Self(indices.collect()))
    }

    /// Makes them again.
    ///
    /// # Errors
    /// Where the table no longer has what an index is on. Rows that a unique index does not allow fail the commit.
    pub(super) fn restore(&self, session: &Session, table: &Table) -> Result<()> {
        for (name, sql) in &self.0 {
            session.execute(sql, []).map_err(|error| {
                let error = error.on(format!("index `{name}` of table {}", table.shown));
                if error.remedy_text().is_some() {
                    return error;
                }
                error
                    .remedy("the table as it is now cannot have the index: drop it, then run again")
            })?;
        }
        Ok(())
    }
}
