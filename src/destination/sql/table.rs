//! Validates the table that a load goes into (that acequia may write it, that it is the stream's own, and that it agrees
//! with the ledger), and creates and alters it.

use crate::change;
use crate::destination::LOAD_ID_COLUMN;
use crate::error::{Error, Result};
use crate::evolution::{Step, TableSchema};
use crate::landing::manifest::Manifest;
use crate::mode::{Disposition, Mode};
use crate::schema::{Column, ColumnType};

use super::system_columns::{self, VALID_TO};
use super::{Dialect, Index, SqlEngine};

/// A table of the dataset as it is now.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its full name in SQL.
    pub(crate) sql: String,
    /// Its name as people write it.
    pub(crate) shown: String,
    /// Its name.
    pub(crate) name: String,
    /// Names and types of its columns, as the catalog writes them. `None` if it does not exist.
    pub(crate) columns: Vec<(String, String)>,
    dialect: &'static dyn Dialect,
}

impl Table {
    /// Looks up the table that a load goes into.
    ///
    /// # Errors
    /// A table of that name is not acequia's or belongs to another stream, or the name is that of something else.
    pub(crate) fn find(
        engine: &mut dyn SqlEngine,
        manifest: &Manifest,
        name: &str,
    ) -> Result<Self> {
        let shown = format!("{}.{name}", engine.dataset());
        if engine.reserves(name) {
            return Err(reserved(&shown));
        }
        let table = Self::look_up(engine, name)?;
        table.check_owner(engine, manifest)?;
        Ok(table)
    }

    /// Looks up a table, whosever it is.
    pub(super) fn look_up(engine: &mut dyn SqlEngine, name: &str) -> Result<Self> {
        Ok(Self {
            sql: engine.table(name),
            shown: format!("{}.{name}", engine.dataset()),
            name: name.to_owned(),
            columns: engine.columns_of(name)?,
            dialect: engine.dialect(),
        })
    }

    /// Whether it exists.
    pub(crate) fn exists(&self) -> bool {
        !self.columns.is_empty()
    }

    /// The names of its columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The type of a column, as the catalog writes it.
    pub(crate) fn data_type(&self, column: &str) -> Option<&str> {
        self.columns
            .iter()
            .find(|(name, _)| self.dialect.is_same_name(name, column))
            .map(|(_, data_type)| data_type.as_str())
    }

    /// A table is the stream's where it has the load column, and its rows were brought by no other stream.
    fn check_owner(&self, engine: &mut dyn SqlEngine, manifest: &Manifest) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        let shown = &self.shown;
        if self.data_type(LOAD_ID_COLUMN).is_none() {
            return Err(not_ours(shown));
        }
        match engine.stream_of_rows(&self.sql)? {
            Some(stream) if stream != manifest.stream.as_str() => Err(Error::destination(format!(
                "table {shown} holds the rows of stream {stream}"
            ))
            .remedy(
                "give each stream a table of its own with `destination_table`; if the stream was renamed, drop the table \
                 and run again",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a table that is missing, or that lacks one of these columns or has it with another type.
    pub(super) fn check_columns<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a Column>,
    ) -> Result<()> {
        let shown = &self.shown;
        if !self.exists() {
            return Err(wrong(format!(
                "table {shown} is missing, though the ledger has it"
            )));
        }
        for column in columns {
            match self.data_type(&column.name) {
                Some(data_type) if self.dialect.holds(column, data_type) => {}
                Some(data_type) => {
                    return Err(wrong(format!(
                        "column `{}` of table {shown} is of type {data_type}, though the ledger has it as {}",
                        column.name,
                        self.dialect.type_of(column)
                    )));
                }
                None => {
                    return Err(wrong(format!(
                        "table {shown} has no column `{}`, though the ledger has it",
                        column.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Refuses a table that is not as the ledger says: a load cannot be added to it.
    pub(super) fn check(&self, schema: &TableSchema, manifest: &Manifest) -> Result<()> {
        self.check_columns(system_columns::stored(schema, manifest.mode))?;
        let shown = &self.shown;
        let has_versions = self.data_type(VALID_TO).is_some() && schema.column(VALID_TO).is_none();
        if has_versions == (manifest.disposition == Disposition::Scd2) {
            return Ok(());
        }
        Err(wrong(if has_versions {
            format!(
                "table {shown} keeps versions of rows, and the stream's disposition is now {}",
                manifest.disposition
            )
        } else {
            format!(
                "table {shown} has no versions of rows, and the stream's disposition is now scd2"
            )
        }))
    }

    /// Rebuilds the table of a load, without rows.
    pub(super) fn create(
        &mut self,
        engine: &mut dyn SqlEngine,
        schema: &TableSchema,
        known: Option<&TableSchema>,
        manifest: &Manifest,
    ) -> Result<Vec<Index>> {
        let own = system_columns::columns(manifest);
        let own = own.iter().map(|own| (own.name, &own.column_type));
        let columns = self.defined(system_columns::stored(schema, manifest.mode), own);
        engine.create(self, columns, known)
    }

    /// Makes a table of changes, without rows.
    pub(super) fn create_changelog(
        &mut self,
        engine: &mut dyn SqlEngine,
        schema: &TableSchema,
    ) -> Result<()> {
        let columns = schema.columns.iter().map(|column| &column.column);
        let columns = self.defined(columns, [(LOAD_ID_COLUMN, &ColumnType::Text)].into_iter());
        engine.create(self, columns, None).map(drop)
    }

    fn defined<'a>(
        &self,
        columns: impl Iterator<Item = &'a Column>,
        own: impl Iterator<Item = (&'a str, &'a ColumnType)>,
    ) -> Vec<(String, String)> {
        columns
            .map(|column| (column.name.clone(), self.dialect.type_of(column)))
            .chain(own.map(|(name, kind)| (name.to_owned(), self.dialect.type_name(kind))))
            .collect()
    }

    /// Changes the table's schema.
    pub(super) fn alter(
        &mut self,
        engine: &mut dyn SqlEngine,
        steps: &[Step],
        mode: Mode,
    ) -> Result<()> {
        for step in steps {
            match step {
                Step::Add(column) if mode == Mode::Cdc && !change::is_stored(&column.name) => {}
                Step::Add(column) => {
                    self.add(engine, &column.name, &self.dialect.type_of(column))?;
                }
                Step::Widen { name, to, .. } => {
                    self.change_type(engine, name, &self.dialect.type_name(to))?;
                }
                Step::Retire(_) | Step::Revive(_) => {}
            }
        }
        Ok(())
    }

    /// Adds columns of acequia's that the table was made without: that which marks deleted rows, where deletes were hard
    /// before.
    pub(super) fn add_missing(
        &mut self,
        engine: &mut dyn SqlEngine,
        manifest: &Manifest,
    ) -> Result<()> {
        for own in system_columns::columns(manifest) {
            if self.data_type(own.name).is_none() {
                self.add(engine, own.name, &self.dialect.type_name(&own.column_type))?;
            }
        }
        Ok(())
    }

    /// Adds a column.
    pub(crate) fn add(
        &mut self,
        engine: &mut dyn SqlEngine,
        name: &str,
        data_type: &str,
    ) -> Result<()> {
        engine.add_column(&self.sql, name, data_type)?;
        self.columns.push((name.to_owned(), data_type.to_owned()));
        Ok(())
    }

    /// Gives a column a type that holds every value that it has.
    pub(crate) fn change_type(
        &mut self,
        engine: &mut dyn SqlEngine,
        name: &str,
        data_type: &str,
    ) -> Result<()> {
        match self.data_type(name) {
            Some(known) if known == data_type => return Ok(()),
            Some(known) if !self.dialect.can_change(known, data_type) => {
                return Err(Error::data(format!(
                    "column `{name}` of table {} is of type {known}, which the destination cannot make {data_type}",
                    self.shown
                ))
                .remedy(
                    "make the table anew: `acequia run STREAM --full-refresh`; a table of changes is begun anew where it \
                     was renamed or dropped",
                ));
            }
            _ => {}
        }
        let value = self.dialect.identifier(name);
        self.change_type_using(engine, name, data_type, &value)
    }

    /// Gives a column a type, and as its values those of an expression, cast to it.
    pub(crate) fn change_type_using(
        &mut self,
        engine: &mut dyn SqlEngine,
        name: &str,
        data_type: &str,
        value: &str,
    ) -> Result<()> {
        engine
            .make_way(&self.sql, name)
            .and_then(|()| engine.change_column(&self.sql, name, data_type, value))
            .map_err(|error| error.context(format!("column `{name}` of table {}", self.shown)))?;
        for (known, of_known) in &mut self.columns {
            if self.dialect.is_same_name(known, name) {
                data_type.clone_into(of_known);
            }
        }
        Ok(())
    }

    /// The columns that it had by the schema `known`, or for acequia itself, and has no more among these; a user's own stay.
    pub(crate) fn gone(
        &self,
        columns: &[(String, String)],
        known: Option<&TableSchema>,
    ) -> Vec<String> {
        self.names()
            .filter(|name| {
                let is_loaded = known.is_some_and(|known| known.column(name).is_some());
                (is_loaded || name.starts_with("_acequia"))
                    && !columns.iter().any(|(kept, _)| kept == name)
            })
            .map(str::to_owned)
            .collect()
    }

    /// Gives a column another name.
    pub(crate) fn rename_column(
        &mut self,
        engine: &mut dyn SqlEngine,
        name: &str,
        to: &str,
    ) -> Result<()> {
        let d = self.dialect;
        self.change(
            engine,
            &format!(
                "RENAME COLUMN {} TO {}",
                d.identifier(name),
                d.identifier(to)
            ),
        )?;
        for (known, _) in &mut self.columns {
            if d.is_same_name(known, name) {
                to.clone_into(known);
            }
        }
        Ok(())
    }

    /// Takes a column away.
    pub(crate) fn drop_column(&mut self, engine: &mut dyn SqlEngine, name: &str) -> Result<()> {
        let column = self.dialect.identifier(name);
        engine
            .make_way(&self.sql, name)
            .and_then(|()| self.change(engine, &format!("DROP COLUMN {column}")))
            .map_err(|error| error.context(format!("column `{name}` of table {}", self.shown)))?;
        self.columns.retain(|(known, _)| known != name);
        Ok(())
    }

    fn change(&self, engine: &mut dyn SqlEngine, change: &str) -> Result<()> {
        engine
            .execute(&format!("ALTER TABLE {} {change}", self.sql))
            .map(drop)
    }
}

/// What is said where something that is no table has a table's name; `what` names it, as in `a view`.
pub(crate) fn not_a_table(dataset: &str, name: &str, what: &str) -> Error {
    Error::destination(format!("{dataset}.{name} is {what}"))
        .remedy("drop or rename it, or give the stream another table with `destination_table`")
}

/// What is said where a table of acequia's own has a stream's table's name.
pub(crate) fn reserved(shown: &str) -> Error {
    Error::config(format!("the name {shown} is kept for acequia's ledger"))
        .remedy("choose another name with `destination_table`")
}

/// What is said of a table that acequia did not make.
pub(crate) fn not_ours(shown: &str) -> Error {
    Error::destination(format!(
        "table {shown} exists and was not made by acequia, which does not overwrite it"
    ))
    .remedy("give the stream another table with `destination_table`, or rename or drop that one")
}

/// A table that is not as the ledger says.
fn wrong(what: String) -> Error {
    Error::destination(what).remedy("make the table anew: `acequia run STREAM --full-refresh`")
}
