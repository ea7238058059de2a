//! The table that a load goes into: whether it is acequia's to write, whether it is as the ledger says, and how its
//! schema is changed.

use std::collections::HashMap;

use duckdb::params;

use crate::destination::LOAD_ID_COLUMN;
use crate::error::{Error, Result};
use crate::evolution::{Step, TableSchema};
use crate::landing::manifest::Manifest;

use super::ledger;
use super::session::Session;
use super::sql::{identifier, type_name};

/// A table of the dataset as it is now.
#[derive(Debug)]
pub(super) struct Table {
    /// Its full name in SQL.
    pub(super) sql: String,
    /// Its name as people write it.
    pub(super) shown: String,
    /// Names and types of its columns; none where it does not exist.
    columns: Vec<(String, String)>,
}

impl Table {
    /// Looks at the table that a load goes into.
    ///
    /// # Errors
    /// Where a table or view of that name is not acequia's, or belongs to another stream.
    pub(super) fn find(session: &Session, manifest: &Manifest) -> Result<Self> {
        let name = &manifest.table;
        let shown = format!("{}.{name}", session.dataset());
        if name.to_ascii_lowercase().starts_with("_acequia") {
            return Err(
                Error::config(format!("the name {shown} is kept for acequia's ledger"))
                    .remedy("choose another name with `destination_table`"),
            );
        }
        let found = |catalog: &str, rows: &str| {
            format!(
                "SELECT {rows} FROM {catalog}() AS c WHERE c.database_name = ? AND \
                 lower(c.schema_name) = lower(?)"
            )
        };
        let views = session.rows(
            &format!(
                "{} AND lower(c.view_name) = lower(?)",
                found("duckdb_views", "c.view_name")
            ),
            params![session.catalog(), session.dataset(), name],
            |row| row.get::<_, String>(0),
        )?;
        if views.iter().any(|view| view.eq_ignore_ascii_case(name)) {
            return Err(Error::destination(format!("{shown} is a view"))
                .remedy("drop or rename the view, or give the stream another table with `destination_table`"));
        }
        let columns = session.rows(
            &format!(
                "{} AND lower(c.table_name) = lower(?) ORDER BY c.column_index",
                found("duckdb_columns", "c.table_name, c.column_name, c.data_type")
            ),
            params![session.catalog(), session.dataset(), name],
            |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let table = Self {
            sql: session.table(name),
            shown,
            columns: columns
                .into_iter()
                .filter(|(table, ..)| table.eq_ignore_ascii_case(name))
                .map(|(_, column, data_type)| (column, data_type))
                .collect(),
        };
        table.check_owner(session, manifest)?;
        Ok(table)
    }

    /// A table is the stream's where it has the load column, and its rows were brought by no other stream.
    fn check_owner(&self, session: &Session, manifest: &Manifest) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        if self.data_type(LOAD_ID_COLUMN).is_none() {
            return Err(Error::destination(format!(
                "table {} exists and was not made by acequia, which does not overwrite it",
                self.shown
            ))
            .remedy("give the stream another table with `destination_table`, or rename or drop that one"));
        }
        match ledger::stream_of_rows(session, &self.sql)? {
            Some(stream) if stream != manifest.stream.as_str() => Err(Error::destination(format!(
                "table {} holds the rows of stream {stream}",
                self.shown
            ))
            .remedy(
                "give each stream a table of its own with `destination_table`; if the stream was renamed, drop the table \
                 and run again",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a table that is not as the ledger says: a load cannot be added to it.
    pub(super) fn check(&self, schema: &TableSchema) -> Result<()> {
        let wrong = |what: String| {
            Error::destination(what)
                .remedy("make the table anew: `acequia run STREAM --full-refresh`")
        };
        if self.columns.is_empty() {
            return Err(wrong(format!(
                "table {} is missing, though the ledger has it",
                self.shown
            )));
        }
        for column in schema.columns.iter().map(|column| &column.column) {
            let expected = type_name(&column.column_type);
            match self.data_type(&column.name) {
                Some(data_type) if data_type == expected => {}
                Some(data_type) => {
                    return Err(wrong(format!(
                        "column `{}` of table {} is of type {data_type}, though the ledger has it as {expected}",
                        column.name, self.shown
                    )));
                }
                None => {
                    return Err(wrong(format!(
                        "table {} has no column `{}`, though the ledger has it",
                        self.shown, column.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Changes the table's schema.
    pub(super) fn alter(&self, session: &Session, steps: &[Step]) -> Result<()> {
        for step in steps {
            let change = match step {
                Step::Add(column) => format!(
                    "ADD COLUMN {} {}",
                    identifier(&column.name),
                    type_name(&column.column_type)
                ),
                Step::Widen { name, to, .. } => format!(
                    "ALTER COLUMN {} SET DATA TYPE {}",
                    identifier(name),
                    type_name(to)
                ),
                Step::Retire(_) | Step::Revive(_) => continue,
            };
            session.execute(&format!("ALTER TABLE {} {change}", self.sql), [])?;
        }
        Ok(())
    }

    fn data_type(&self, column: &str) -> Option<&str> {
        self.columns
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(column))
            .map(|(_, data_type)| data_type.as_str())
    }
}

/// Refuses columns that DuckDB would take for one: it does not tell `A` from `a`.
pub(super) fn check_names(schema: &TableSchema) -> Result<()> {
    let mut seen = HashMap::from([(LOAD_ID_COLUMN.to_owned(), None)]);
    for column in &schema.columns {
        let name = &column.column.name;
        match seen.insert(name.to_ascii_lowercase(), Some(column)) {
            None => {}
            Some(None) => {
                return Err(Error::data(format!(
                    "the source's column `{name}` has the name of acequia's own column `{LOAD_ID_COLUMN}`"
                ))
                .remedy(format!("leave it out with exclude = [\"{name}\"], or rename it in a `query`")));
            }
            Some(Some(other)) => {
                let retired = column.retired || other.retired;
                let other = &other.column.name;
                return Err(Error::data(format!(
                    "the columns `{other}` and `{name}` differ only in their letters' case, which DuckDB does not tell \
                     apart"
                ))
                .remedy(if retired {
                    "the source renamed it: make the table anew with `acequia run STREAM --full-refresh`".to_owned()
                } else {
                    format!("leave one out with exclude = [\"{name}\"], or rename it in a `query`")
                }));
            }
        }
    }
    Ok(())
}
