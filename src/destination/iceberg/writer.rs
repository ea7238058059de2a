//! DuckDB as what writes the rows: the catalog attached to a DuckDB in memory, whose transaction is one commit of the catalog.
//!
//! The plan of a load runs here as it does in a file of DuckDB's. What of it touches tables is one POST at COMMIT: new columns,
//! snapshots and properties, for each table with the snapshot that it was read at.

use std::collections::HashMap;
use std::fmt;

use arrow::array::RecordBatch;
use tempfile::TempDir;

use crate::config::Secret;
use crate::destination::duckdb::session::Session;
use crate::destination::duckdb::{error, merge, stage};
use crate::destination::sql::statement::Merge;
use crate::destination::sql::table::not_ours;
use crate::destination::sql::{
    Dialect, Engine, Index, Rows, SqlEngine, Table, TempTables, TextRow, Transactional as _,
};
use crate::destination::{Interrupter, LOAD_ID_COLUMN, StagedLoad};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::layout::Layout;
use crate::names::{DestinationId, LoadId};
use crate::schema::Column;

use super::catalog::{Catalog, Committed, TableMetadata};
use super::dialect::{self, LakeSql};
use super::layout;
use super::state::{self, Properties};

/// What the catalog is called in SQL.
pub(super) const ATTACHED: &str = "lake";

/// A DuckDB that writes tables of a catalog.
pub(super) struct Writer {
    session: Session,
    pub(super) catalog: Catalog,
    /// Whether the catalog is attached, and the token that DuckDB shows it.
    is_attached: bool,
    shown: Option<Secret>,
    work: Work,
    /// Where DuckDB puts what does not fit into memory.
    _folder: TempDir,
}

/// What a transaction does.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// What a table that it makes is given.
    at_creation: Properties,
    /// Whether tables that it makes are made before it, in commits of their own: DuckDB joins tables in one commit only where
    /// all of them are there.
    made_apart: bool,
    /// The load's table, how it is laid out if it is made, and by which columns it is if it is there.
    laid_out: Option<(String, Layout, Vec<String>)>,
    /// Whether it has changed the catalog's tables so far, but for their rows.
    altered: bool,
    /// Whether it has written rows of the catalog's tables.
    written: bool,
    /// The load's table and its properties, as the catalog had them a moment ago. The transaction finds the same.
    seen: Option<(String, Properties)>,
    /// The streams of the tables that it has looked at, by their names in SQL.
    streams: HashMap<String, String>,
}

impl Work {
    /// A load's, whose table the catalog had as `seen` a moment ago.
    pub(super) fn of_load(
        load: &StagedLoad,
        at_creation: Properties,
        made_apart: bool,
        seen: Option<&TableMetadata>,
    ) -> Self {
        let table = &load.manifest.table;
        let by = seen.map(TableMetadata::laid_out_by).unwrap_or_default();
        Self {
            at_creation,
            made_apart,
            laid_out: Some((table.clone(), load.layout.clone(), by)),
            seen: seen.map(|seen| (table.clone(), seen.properties.clone())),
            ..Self::default()
        }
    }
}

impl Writer {
    pub(super) fn new(session: Session, catalog: Catalog, folder: TempDir) -> Self {
        Self {
            session,
            catalog,
            is_attached: false,
            shown: None,
            work: Work::default(),
            _folder: folder,
        }
    }

    /// Makes a table of acequia's own where it is missing, in a commit of its own.
    pub(super) fn prepare_own(
        &mut self,
        name: &str,
        id: &DestinationId,
        columns: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<()> {
        if let Some(found) = self.catalog.table(name)? {
            return match found.properties.get(state::DESTINATION) {
                Some(_) => Ok(()),
                None => Err(not_ours(&format!("{}.{name}", self.dataset()))),
            };
        }
        let columns: Vec<(String, String)> = columns
            .into_iter()
            .map(|(name, data_type)| (name.to_owned(), data_type))
            .collect();
        self.attach()?;
        let table = self.table(name);
        let made = self.make_table(&table, &columns, &state::at_creation_of_own(id), true);
        // Whether it was made, the catalog knows.
        match (self.catalog.table(name)?, made) {
            (Some(_), _) => Ok(()),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(Error::destination(
                "the catalog took a new table and does not have it",
            )),
        }
    }

    /// Does something in one commit, or nothing.
    pub(super) fn in_one_commit(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.begin(Work::default())?;
        let worked = work(self);
        if worked.is_err() {
            self.rollback();
        }
        worked.and_then(|()| self.commit())?.done()
    }

    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(super) fn interrupter(&self) -> Interrupter {
        self.session.interrupter()
    }

    /// Attaches the catalog; anew where the token that DuckDB has is not the one to show.
    pub(super) fn attach(&mut self) -> Result<()> {
        let token = self.catalog.token()?;
        if self.is_attached && self.shown == token {
            return Ok(());
        }
        if self.is_attached {
            self.session
                .batch(&format!("DETACH {}", LakeSql.identifier(ATTACHED)))?;
            self.is_attached = false;
        }
        let d: &dyn Dialect = &LakeSql;
        let access = match &token {
            Some(token) => format!("TOKEN {}", d.literal(token.reveal())),
            None => "AUTHORIZATION_TYPE 'none'".to_owned(),
        };
        // Without the last, DuckDB deletes the files of a commit whose answer is lost, though the table has them.
        self.session.batch(&format!(
            "ATTACH {} AS {} (TYPE iceberg, ENDPOINT {}, {access}, REMOVE_FILES_ON_DELETE false)",
            d.literal(self.catalog.warehouse()),
            d.identifier(ATTACHED),
            d.literal(self.catalog.address()),
        ))?;
        self.is_attached = true;
        self.shown = token;
        Ok(())
    }

    /// Begins a transaction.
    pub(super) fn begin(&mut self, work: Work) -> Result<()> {
        self.attach()?;
        self.work = work;
        self.session.batch("BEGIN TRANSACTION")
    }

    /// Undoes it.
    pub(super) fn rollback(&mut self) {
        if let Err(error) = self.session.connection().execute_batch("ROLLBACK") {
            // A commit that fails has undone the transaction.
            tracing::debug!(%error, "no rollback");
        }
    }

    /// Whether the transaction has changed anything in the catalog, so far.
    pub(super) fn has_changes(&self) -> bool {
        self.work.altered || self.work.written
    }

    /// Commits.
    ///
    /// # Errors
    /// Where the catalog refuses it: nothing was done, unless the table says otherwise.
    pub(super) fn commit(&mut self) -> Result<Committed> {
        let Err(failed) = self.session.connection().execute_batch("COMMIT") else {
            return Ok(Committed::Done);
        };
        self.rollback();
        let Some(message) = error::message(&failed).map(str::to_owned) else {
            return Err(error::from_duckdb(failed));
        };
        // What DuckDB tells here is of addresses, requirements and statuses.
        let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let error = Error::destination("the catalog did not take the commit")
            .cause(line)
            .for_now()
            .remedy("run again; see the catalog's own log where it comes back");
        if !message.contains("Failed to commit Iceberg transaction") {
            return Err(error::from_duckdb(failed));
        }
        if message.contains("Conflict_409") || message.contains("HTTP 409") {
            return Ok(Committed::Conflict(error));
        }
        let is_refused = ["_400", "_401", "_403", "_404", "_405", "_406", "_422"];
        if is_refused.iter().any(|status| message.contains(status)) {
            return Err(error);
        }
        Ok(Committed::Unknown(error))
    }

    /// The properties of a table, as the transaction has it.
    pub(super) fn properties(&mut self, name: &str) -> Result<Properties> {
        let table = self.table(name);
        let rows = self.rows(&format!(
            "SELECT key, value FROM iceberg_table_properties({table})"
        ))?;
        rows.into_iter()
            .map(|row| match <[Option<String>; 2]>::try_from(row) {
                Ok([Some(key), value]) => Ok((key, value.unwrap_or_default())),
                _ => Err(Error::internal("a table's properties could not be read")),
            })
            .collect()
    }

    /// Sets properties of a table, at the commit.
    pub(super) fn set_properties(&mut self, name: &str, properties: &Properties) -> Result<()> {
        let d = self.dialect();
        let pairs: Vec<String> = properties
            .iter()
            .map(|(key, value)| format!("{}: {}", d.literal(key), d.literal(value)))
            .collect();
        let table = self.table(name);
        self.rows(&format!(
            "CALL set_iceberg_table_properties({table}, {{{}}})",
            pairs.join(", ")
        ))
        .map(drop)
    }

    /// Sees to it that the commit names the snapshot of a table that was read, where it would not: one that changes columns and
    /// no row. A row is added, and taken away again.
    pub(super) fn bind(&mut self, name: &str, load_id: &LoadId) -> Result<()> {
        if self.work.written {
            return Ok(());
        }
        let (d, table) = (self.dialect(), self.table(name));
        let (column, value) = (d.identifier(LOAD_ID_COLUMN), d.literal(load_id.as_str()));
        for sql in [
            format!("INSERT INTO {table} ({column}) VALUES ({value})"),
            format!("DELETE FROM {table} WHERE {column} = {value}"),
        ] {
            self.execute(&sql)?;
        }
        Ok(())
    }

    /// Makes a table without rows.
    pub(super) fn make_table(
        &mut self,
        table: &str,
        columns: &[(String, String)],
        properties: &Properties,
        apart: bool,
    ) -> Result<()> {
        let d = self.dialect();
        let partitions = match &self.work.laid_out {
            Some((name, layout, _)) if self.table(name) == table => {
                layout::for_duckdb(d, layout, name, columns)?
            }
            _ => String::new(),
        };
        let defined = columns.iter().map(|(name, kind)| (&**name, &**kind));
        let given: Vec<String> = properties
            .iter()
            .map(|(key, value)| format!("{} = {}", d.literal(key), d.literal(value)))
            .collect();
        let sql = format!(
            "CREATE TABLE {table} ({}){partitions} WITH ({})",
            d.definitions(defined),
            given.join(", ")
        );
        if !apart {
            self.work.altered = true;
            return self.session.batch(&sql);
        }
        let connection = self.session.connection().try_clone();
        connection
            .and_then(|connection| connection.execute_batch(&sql))
            .map_err(error::from_duckdb)
    }
}

impl Engine for Writer {
    fn dialect(&self) -> &'static dyn Dialect {
        &LakeSql
    }

    fn execute(&mut self, sql: &str) -> Result<u64> {
        let rows = self.session.execute(sql)?;
        let schema = self.session.schema();
        let of_table = |verb: &str| {
            sql.strip_prefix(verb)
                .is_some_and(|rest| rest.starts_with(&schema))
        };
        self.work.altered |= of_table("ALTER TABLE ");
        self.work.written |= rows > 0
            && ["INSERT INTO ", "DELETE FROM ", "UPDATE "]
                .into_iter()
                .any(of_table);
        Ok(rows)
    }

    fn make(&mut self, sql: &str) -> Result<u64> {
        self.session.make(sql)
    }

    fn query(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()> {
        self.session.query(sql, each)
    }
}

impl SqlEngine for Writer {
    /// A load writes what it brings, and a lake's tables keep their columns.
    fn forgets_marked(&self) -> bool {
        false
    }

    fn dataset(&self) -> &str {
        self.session.dataset()
    }

    fn table(&self, name: &str) -> String {
        SqlEngine::table(&self.session, name)
    }

    fn reserves(&self, name: &str) -> bool {
        state::reserves(name)
    }

    fn read(
        &mut self,
        sql: &str,
        columns: &[Column],
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.session.read(sql, columns, each)
    }

    fn create_schema(&mut self) -> Result<()> {
        self.catalog.create_namespace()
    }

    fn columns_of(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        let properties = match &self.work.seen {
            Some((table, properties)) if table == name => Some(properties.clone()),
            _ => self.catalog.table(name)?.map(|table| table.properties),
        };
        let Some(properties) = properties else {
            return Ok(Vec::new());
        };
        let table = SqlEngine::table(self, name);
        let Some(stream) = state::stream_of(&properties) else {
            return Err(not_ours(&format!("{}.{name}", self.session.dataset())));
        };
        self.work.streams.insert(table.clone(), stream.to_owned());
        let rows = self.rows(&format!(
            "SELECT column_name, column_type FROM (DESCRIBE {table})"
        ))?;
        rows.into_iter()
            .map(|row| match <[Option<String>; 2]>::try_from(row) {
                Ok([Some(name), Some(data_type)]) => Ok((name, data_type)),
                _ => Err(Error::internal("a table's columns could not be read")),
            })
            .collect()
    }

    fn stream_of_rows(&mut self, table: &str) -> Result<Option<String>> {
        Ok(self.work.streams.get(table).cloned())
    }

    /// A table that is there stays, so that readers never find none: its rows go, and columns that have other types now are
    /// others.
    fn create(
        &mut self,
        table: &mut Table,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) -> Result<Vec<Index>> {
        if !table.exists() {
            let (given, apart) = (self.work.at_creation.clone(), self.work.made_apart);
            self.make_table(&table.sql, &columns, &given, apart)?;
            table.columns = columns;
            return Ok(Vec::new());
        }
        self.execute(&format!("DELETE FROM {}", table.sql))?;
        let mut away = table.gone(&columns, known);
        let others = columns.iter().filter(|(name, data_type)| {
            table
                .data_type(name)
                .is_some_and(|known| known != data_type)
        });
        away.extend(others.map(|(name, _)| name.clone()));
        if let Some((name, _, by)) = &self.work.laid_out
            && SqlEngine::table(self, name) == table.sql
        {
            layout::refuse_to_drop(by, name, away.iter().map(String::as_str))?;
        }
        // A schema that the table had before would be taken up by its number, and DuckDB numbers the next one from that: it
        // could never add a column again. With another load column, no schema is one of before. A column that goes is first
        // renamed, for the same reason.
        if !away.is_empty() && !away.iter().any(|name| name == LOAD_ID_COLUMN) {
            away.push(LOAD_ID_COLUMN.to_owned());
        }
        let renamed: Vec<String> = (0..away.len())
            .map(|number| format!("_acequia_gone_{number}"))
            .collect();
        for (name, to) in away.iter().zip(&renamed) {
            table.rename_column(self, name, to)?;
        }
        for (name, data_type) in columns {
            if table.data_type(&name).is_none() {
                table.add(self, &name, &data_type)?;
            }
        }
        for name in &renamed {
            table.drop_column(self, name)?;
        }
        Ok(Vec::new())
    }

    fn stage(&mut self, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows> {
        stage::of_parts(load, columns, dialect::value)
    }

    fn merge<'a>(
        &mut self,
        temp: &mut TempTables,
        table: &'a Table,
        manifest: &'a Manifest,
        _schema: &TableSchema,
        rows: &Rows,
    ) -> Result<Merge<'a>> {
        merge::merge(self, temp, table, manifest, rows)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("catalog", &self.catalog.address())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
