//! How a table's schema is made and changed.
//!
//! A table is never dropped: grants, views and indices on it are the user's. What a change of its schema needs is an ALTER
//! TABLE, which waits for readers and lets none see half of it.

use crate::change;
use crate::destination::LOAD_ID_COLUMN;
use crate::destination::apply::Dialect as _;
use crate::destination::apply::own;
use crate::destination::found::Found;
use crate::error::Result;
use crate::evolution::{Step, TableSchema};
use crate::landing::manifest::{Manifest, Mode};
use crate::schema::Column;

use super::session::Session;
use super::sql::{PostgresSql, identifier, is_jsonb, type_name};
use super::table::Table;

impl Table {
    /// Takes all rows away, if there is a table.
    ///
    /// By DELETE: to readers whose snapshot is older, a table after TRUNCATE, or one that takes its place, is empty (manual,
    /// section 13.6). So whoever reads sees the rows from before until the commit, and then the new ones.
    pub(super) fn empty(&self, session: &mut Session) -> Result<()> {
        if self.exists() {
            session.execute(&format!("DELETE FROM {}", self.sql), &[])?;
        }
        Ok(())
    }

    /// Changes the table's schema.
    pub(super) fn alter(
        &mut self,
        session: &mut Session,
        steps: &[Step],
        manifest: &Manifest,
    ) -> Result<()> {
        for step in steps {
            match step {
                Step::Add(column)
                    if manifest.mode == Mode::Cdc && !change::is_stored(&column.name) => {}
                Step::Add(column) => self.add(session, &column.name, &type_name(column))?,
                Step::Widen { name, to, .. } => {
                    let wide = Column {
                        id: 0,
                        name: name.to_owned(),
                        column_type: to.clone(),
                        nullable: true,
                        source_type: String::new(),
                        element_id: None,
                    };
                    self.widen(session, &wide)?;
                }
                Step::Retire(_) | Step::Revive(_) => {}
            }
        }
        Ok(())
    }

    /// Makes the table of a load, or makes the one that is there, which is empty now, of that schema. Columns that it had by
    /// the schema `known` and has no more go; a user's own stay.
    pub(super) fn make(
        &mut self,
        session: &mut Session,
        schema: &TableSchema,
        known: Option<&TableSchema>,
        manifest: &Manifest,
    ) -> Result<()> {
        let own = own::columns(manifest);
        let own = own
            .iter()
            .map(|own| (own.name, PostgresSql.type_name(&own.column_type)));
        let columns = own::stored(schema, manifest.mode)
            .map(|column| (column.name.as_str(), type_name(column)))
            .chain(own);
        let columns = columns.map(|(name, data_type)| (name.to_owned(), data_type));
        self.make_of(session, columns.collect(), known)
    }

    /// As [`Self::make`], for a table of changes.
    pub(super) fn make_changelog(
        &mut self,
        session: &mut Session,
        schema: &TableSchema,
    ) -> Result<()> {
        let columns = schema.columns.iter().map(|column| &column.column);
        let columns = columns
            .map(|column| (column.name.clone(), type_name(column)))
            .chain([(LOAD_ID_COLUMN.to_owned(), "text".to_owned())]);
        self.make_of(session, columns.collect(), None)
    }

    /// Adds columns of acequia's that the table was made without: that which marks deleted rows, where deletes were hard
    /// before.
    pub(super) fn add_missing(&mut self, session: &mut Session, manifest: &Manifest) -> Result<()> {
        for own in own::columns(manifest) {
            if self.data_type(own.name).is_none() {
                let data_type = PostgresSql.type_name(&own.column_type);
                self.add(session, own.name, &data_type)?;
            }
        }
        Ok(())
    }

    fn make_of(
        &mut self,
        session: &mut Session,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) -> Result<()> {
        if !self.exists() {
            let defined: Vec<String> = columns
                .iter()
                .map(|(name, data_type)| format!("{} {data_type}", identifier(name)))
                .collect();
            session.batch(&format!(
                "CREATE TABLE {} ({})",
                self.sql,
                defined.join(", ")
            ))?;
            self.columns = columns;
            return Ok(());
        }
        let gone: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| {
                let is_loaded = known.is_some_and(|known| known.column(name).is_some());
                (is_loaded || name.starts_with("_acequia"))
                    && !columns.iter().any(|(kept, _)| kept == name)
            })
            .collect();
        for name in gone {
            self.drop_column(session, &name)?;
        }
        for (name, data_type) in columns {
            match self.data_type(&name) {
                None => self.add(session, &name, &data_type)?,
                Some(known) if known != data_type => {
                    // No row is left whose value could be lost.
                    let using = format!("CAST(NULL AS {data_type})");
                    self.change_type(session, &name, &data_type, &using)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The load's columns with the types that the table has for them. A column of `jsonb` becomes `json` before it gets
    /// text that is not `jsonb`'s own.
    pub(super) fn target(
        &mut self,
        session: &mut Session,
        manifest: &Manifest,
        schema: &TableSchema,
    ) -> Result<Vec<Column>> {
        let mut columns = Vec::with_capacity(manifest.schema.columns.len());
        for incoming in &manifest.schema.columns {
            let known = schema.column(&incoming.name).unwrap_or(incoming);
            let mut column = known.clone();
            let data_type = self.data_type(&column.name).unwrap_or_default().to_owned();
            if let Some(array) = data_type.strip_prefix("jsonb") {
                if is_jsonb(incoming) {
                    column.source_type.clone_from(&data_type);
                } else {
                    let json = format!("json{array}");
                    let using = format!("CAST({} AS {json})", identifier(&column.name));
                    self.change_type(session, &incoming.name, &json, &using)?;
                    column.source_type = json;
                }
            } else if data_type.starts_with("json") {
                column.source_type = data_type;
            }
            columns.push(column);
        }
        Ok(columns)
    }

    /// Makes `json` of columns of `jsonb` whose source has other JSON now.
    pub(super) fn make_json(&mut self, session: &mut Session, schema: &TableSchema) -> Result<()> {
        for column in schema.columns.iter().map(|column| &column.column) {
            let is_jsonb_here = self
                .data_type(&column.name)
                .is_some_and(|data_type| data_type.starts_with("jsonb"));
            if is_jsonb_here && !is_jsonb(column) {
                self.widen(session, column)?;
            }
        }
        Ok(())
    }

    /// Gives a column a type that holds every value it has.
    pub(super) fn widen(&mut self, session: &mut Session, column: &Column) -> Result<()> {
        let data_type = type_name(column);
        let using = format!("CAST({} AS {data_type})", identifier(&column.name));
        self.change_type(session, &column.name, &data_type, &using)
    }

    /// Adds a column.
    pub(super) fn add(&mut self, session: &mut Session, name: &str, data_type: &str) -> Result<()> {
        session.batch(&format!(
            "ALTER TABLE {} ADD COLUMN {} {data_type}",
            self.sql,
            identifier(name)
        ))?;
        self.columns.push((name.to_owned(), data_type.to_owned()));
        Ok(())
    }

    fn drop_column(&mut self, session: &mut Session, name: &str) -> Result<()> {
        session
            .batch(&format!(
                "ALTER TABLE {} DROP COLUMN {}",
                self.sql,
                identifier(name)
            ))
            .map_err(|error| error.on(format!("column `{name}` of table {}", self.shown)))?;
        self.columns.retain(|(known, _)| known != name);
        Ok(())
    }

    fn change_type(
        &mut self,
        session: &mut Session,
        name: &str,
        data_type: &str,
        using: &str,
    ) -> Result<()> {
        session
            .batch(&format!(
                "ALTER TABLE {} ALTER COLUMN {} SET DATA TYPE {data_type} USING {using}",
                self.sql,
                identifier(name)
            ))
            .map_err(|error| error.on(format!("column `{name}` of table {}", self.shown)))?;
        for (known, of_known) in &mut self.columns {
            if known == name {
                data_type.clone_into(of_known);
            }
        }
        Ok(())
    }
}
