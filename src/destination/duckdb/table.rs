//! The table that a load goes into: whether it is acequia's to write, whether it is as the ledger says, and how its
//! schema is changed.

use std::collections::HashMap;

use duckdb::params;

use crate::change;
use crate::destination::LOAD_ID_COLUMN;
use crate::destination::apply::own;
use crate::destination::found::{Found, check_owner, refuse_reserved};
use crate::error::{Error, Result};
use crate::evolution::{Step, TableColumn, TableSchema};
use crate::landing::manifest::{Manifest, Mode};
use crate::schema::{Column, ColumnType};

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
    /// Its name.
    pub(super) name: String,
    /// Names and types of its columns; none where it does not exist.
    columns: Vec<(String, String)>,
}

impl Table {
    /// Looks at a table that a load goes into.
    ///
    /// # Errors
    /// Where a table or view of that name is not acequia's, or belongs to another stream.
    pub(super) fn find(session: &Session, manifest: &Manifest, name: &str) -> Result<Self> {
        let shown = format!("{}.{name}", session.dataset());
        refuse_reserved(name, &shown)?;
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
            name: name.to_owned(),
            columns: columns
                .into_iter()
                .filter(|(table, ..)| table.eq_ignore_ascii_case(name))
                .map(|(_, column, data_type)| (column, data_type))
                .collect(),
        };
        check_owner(&table, manifest, || {
            ledger::stream_of_rows(session, &table.sql)
        })?;
        Ok(table)
    }

    /// Makes the table of a load anew, without rows.
    pub(super) fn create<'a>(
        &self,
        session: &Session,
        columns: impl Iterator<Item = &'a Column>,
        manifest: &Manifest,
    ) -> Result<()> {
        let mut columns = defined(columns);
        for own in own::columns(manifest) {
            columns.push(define(own.name, &own.column_type));
        }
        self.create_of(session, &columns)
    }

    /// Makes a table of changes anew, without rows.
    pub(super) fn create_changelog<'a>(
        &self,
        session: &Session,
        columns: impl Iterator<Item = &'a Column>,
    ) -> Result<()> {
        let mut columns = defined(columns);
        columns.push(define(LOAD_ID_COLUMN, &ColumnType::Text));
        self.create_of(session, &columns)
    }

    fn create_of(&self, session: &Session, columns: &[String]) -> Result<()> {
        session.execute(
            &format!(
                "CREATE OR REPLACE TABLE {} ({})",
                self.sql,
                columns.join(", ")
            ),
            [],
        )?;
        Ok(())
    }

    /// Changes the table's schema.
    pub(super) fn alter(&self, session: &Session, steps: &[Step], mode: Mode) -> Result<()> {
        for step in steps {
            match step {
                Step::Add(column) if mode == Mode::Cdc && !change::is_stored(&column.name) => {}
                Step::Add(column) => self.add(session, &column.name, &column.column_type)?,
                Step::Widen { name, to, .. } => self.widen(session, name, to)?,
                Step::Retire(_) | Step::Revive(_) => {}
            }
        }
        Ok(())
    }

    /// Adds a column.
    pub(super) fn add(
        &self,
        session: &Session,
        name: &str,
        column_type: &ColumnType,
    ) -> Result<()> {
        self.change(
            session,
            &format!("ADD COLUMN {}", define(name, column_type)),
        )
    }

    /// Gives a column a wider type.
    pub(super) fn widen(
        &self,
        session: &Session,
        name: &str,
        column_type: &ColumnType,
    ) -> Result<()> {
        self.change(
            session,
            &format!(
                "ALTER COLUMN {} SET DATA TYPE {}",
                identifier(name),
                type_name(column_type)
            ),
        )
    }

    fn change(&self, session: &Session, change: &str) -> Result<()> {
        session.execute(&format!("ALTER TABLE {} {change}", self.sql), [])?;
        Ok(())
    }

    /// Whether the table had a column of that name.
    pub(super) fn has(&self, column: &str) -> bool {
        self.data_type(column).is_some()
    }

    /// Names and types of the columns that the table had.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns
            .iter()
            .map(|(name, data_type)| (name.as_str(), data_type.as_str()))
    }

    /// The names of the table's columns once a load has seen to them: those that it had, and those that are new.
    pub(super) fn names_after(
        &self,
        schema: &TableSchema,
        manifest: &Manifest,
        anew: bool,
    ) -> Vec<String> {
        let mut names: Vec<String> = if anew {
            Vec::new()
        } else {
            self.columns().map(|(name, _)| name.to_owned()).collect()
        };
        let own = own::columns(manifest);
        let now = own::stored(schema, manifest.mode).map(|column| column.name.as_str());
        for name in now.chain(own.iter().map(|own| own.name)) {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

impl Found for Table {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn exists(&self) -> bool {
        !self.columns.is_empty()
    }

    fn data_type(&self, column: &str) -> Option<&str> {
        self.columns
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(column))
            .map(|(_, data_type)| data_type.as_str())
    }

    fn expected(&self, column: &Column) -> String {
        type_name(&column.column_type)
    }
}

fn define(name: &str, column_type: &ColumnType) -> String {
    format!("{} {}", identifier(name), type_name(column_type))
}

fn defined<'a>(columns: impl Iterator<Item = &'a Column>) -> Vec<String> {
    columns
        .map(|column| define(&column.name, &column.column_type))
        .collect()
}

/// Refuses columns that DuckDB would take for one: it does not tell `A` from `a`.
pub(super) fn check_names(schema: &TableSchema, manifest: &Manifest) -> Result<()> {
    let own = own::columns(manifest);
    let mut seen: HashMap<String, Option<&TableColumn>> =
        own.iter().map(|own| (own.name.to_owned(), None)).collect();
    for column in &schema.columns {
        let name = &column.column.name;
        match seen.insert(name.to_ascii_lowercase(), Some(column)) {
            None => {}
            Some(None) => {
                return Err(Error::data(format!(
                    "the source's column `{name}` has the name of acequia's own column `{}`",
                    name.to_ascii_lowercase()
                ))
                .remedy(format!(
                    "leave it out with exclude = [\"{name}\"], or rename it in a `query`"
                )));
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
