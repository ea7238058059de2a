//! The table that a load goes into: whether it is acequia's to write, whether it is as the ledger says, and how its
//! schema is changed.
//!
//! A table is never dropped: grants, views and indices on it are the user's. What a change of its schema needs is an ALTER
//! TABLE, which waits for readers and lets none see half of it.

use crate::change;
use crate::destination::LOAD_ID_COLUMN;
use crate::destination::apply::Dialect as _;
use crate::destination::apply::own::{self, VALID_TO};
use crate::error::{Error, Result};
use crate::evolution::{Step, TableSchema};
use crate::landing::manifest::{Disposition, Manifest, Mode};
use crate::schema::{Column, ColumnType};

use super::ledger::{self, value};
use super::session::Session;
use super::sql::{PostgresSql, identifier, is_jsonb, type_name};

/// Names that every table of PostgreSQL has for itself (manual, section 5.5).
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// The longest name that PostgreSQL keeps whole, in bytes (manual, section 4.1.1).
const MAX_NAME: usize = 63;

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
    pub(super) fn find(session: &mut Session, manifest: &Manifest, name: &str) -> Result<Self> {
        let shown = format!("{}.{name}", session.dataset());
        if name.to_ascii_lowercase().starts_with("_acequia") {
            return Err(
                Error::config(format!("the name {shown} is kept for acequia's ledger"))
                    .remedy("choose another name with `destination_table`"),
            );
        }
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
            return Err(Error::destination(format!("{shown} is {what}")).remedy(
                "drop or rename it, or give the stream another table with `destination_table`",
            ));
        }
        let columns = session.rows(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a \
             JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&dataset, &name],
        )?;
        let table = Self {
            sql: session.table(name),
            shown,
            name: name.to_owned(),
            columns: columns
                .iter()
                .map(|row| Ok((value(row, 0)?, value(row, 1)?)))
                .collect::<Result<_>>()?,
        };
        table.check_owner(session, manifest)?;
        Ok(table)
    }

    pub(super) fn exists(&self) -> bool {
        !self.columns.is_empty()
    }

    /// A table is the stream's where it has the load column, and its rows were brought by no other stream.
    fn check_owner(&self, session: &mut Session, manifest: &Manifest) -> Result<()> {
        if !self.exists() {
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
    pub(super) fn check(&self, schema: &TableSchema, manifest: &Manifest) -> Result<()> {
        let wrong = |what: String| {
            Error::destination(what)
                .remedy("make the table anew: `acequia run STREAM --full-refresh`")
        };
        if !self.exists() {
            return Err(wrong(format!(
                "table {} is missing, though the ledger has it",
                self.shown
            )));
        }
        for column in own::stored(schema, manifest.mode) {
            match self.data_type(&column.name) {
                Some(data_type) if holds(column, data_type) => {}
                Some(data_type) => {
                    return Err(wrong(format!(
                        "column `{}` of table {} is of type {data_type}, though the ledger has it as {}",
                        column.name,
                        self.shown,
                        type_name(column)
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
        let has_versions = self.data_type(VALID_TO).is_some() && schema.column(VALID_TO).is_none();
        if has_versions == (manifest.disposition == Disposition::Scd2) {
            return Ok(());
        }
        Err(wrong(if has_versions {
            format!(
                "table {} keeps versions of rows, and the stream's disposition is now {}",
                self.shown, manifest.disposition
            )
        } else {
            format!(
                "table {} has no versions of rows, and the stream's disposition is now scd2",
                self.shown
            )
        }))
    }

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

    /// Makes the table of a load, or makes the one that is there, which is empty now, of that schema. Columns that the
    /// schema does not have go.
    pub(super) fn make(
        &mut self,
        session: &mut Session,
        schema: &TableSchema,
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
        self.make_of(session, columns.collect())
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
        self.make_of(session, columns.collect())
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

    fn make_of(&mut self, session: &mut Session, columns: Vec<(String, String)>) -> Result<()> {
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
            .filter(|name| !columns.iter().any(|(kept, _)| kept == name))
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

    /// Names and types of the table's columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns
            .iter()
            .map(|(name, data_type)| (name.as_str(), data_type.as_str()))
    }

    /// The names of the table's columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns().map(|(name, _)| name.to_owned()).collect()
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

    fn data_type(&self, column: &str) -> Option<&str> {
        self.columns
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, data_type)| data_type.as_str())
    }
}

/// Whether a column of the catalog's type holds what the ledger says. JSON is kept as `jsonb` while it comes from such.
fn holds(column: &Column, data_type: &str) -> bool {
    match &column.column_type {
        ColumnType::Json => matches!(data_type, "json" | "jsonb"),
        ColumnType::List(element) if **element == ColumnType::Json => {
            matches!(data_type, "json[]" | "jsonb[]")
        }
        _ => type_name(column) == data_type,
    }
}

/// Refuses names that PostgreSQL does not take for a column's, or would cut.
pub(super) fn check_names(schema: &TableSchema, manifest: &Manifest) -> Result<()> {
    let own = own::columns(manifest);
    for column in &schema.columns {
        let name = column.column.name.as_str();
        let what = if own.iter().any(|own| own.name == name) {
            format!("the source's column `{name}` has the name of acequia's own column")
        } else if SYSTEM_COLUMNS.contains(&name) {
            format!(
                "the source's column `{name}` has the name of one that every table of PostgreSQL has"
            )
        } else if name.len() > MAX_NAME {
            format!(
                "the column name `{name}` is longer than {MAX_NAME} bytes, where PostgreSQL cuts a name"
            )
        } else if name.is_empty() || name.contains('\0') {
            format!("the source's column {name:?} has a name that PostgreSQL does not take")
        } else {
            continue;
        };
        return Err(Error::data(what).remedy(format!(
            "leave it out with exclude = [{name:?}] for [streams.STREAM], or rename it in a `query`"
        )));
    }
    Ok(())
}
