//! A connection with the names that its SQL needs. Here alone SQL is run, interrupted, and its failures translated.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema as ArrowSchema};
use duckdb::types::ValueRef;
use duckdb::{Connection, InterruptHandle, Params, Row};

use crate::array_form;
#[cfg(test)]
use crate::destination::sql::tests::assert_reserved_aliases;
use crate::destination::sql::{Dialect, Engine, TextRow};
use crate::error::{Error, Result};
use crate::schema::Column;

use super::dialect::DuckDbSql;
use super::error;
use super::memory::MemoryLimit;

/// A connection to a database of DuckDB's, and the dataset in it.
pub(crate) struct Session {
    pub(super) connection: Connection,
    /// What interrupts the connection of now.
    pub(super) handle: Arc<Mutex<Arc<InterruptHandle>>>,
    /// The file that it writes; none where it reads one, or where the database was attached.
    file: Option<PathBuf>,
    /// The database's name: the file's as DuckDB derives it, or that it was attached by. Every name is written with it, as a
    /// dataset may bear the same one.
    catalog: String,
    dataset: String,
    memory_limit: MemoryLimit,
    /// Whether unqualified names are looked up elsewhere than by default.
    pub(super) looks_elsewhere: bool,
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Session {
    pub(super) fn new(
        connection: Connection,
        dataset: &str,
        memory_limit: MemoryLimit,
    ) -> Result<Self> {
        let catalog: String = connection
            .query_row("SELECT current_database()", [], |row| row.get(0))
            .map_err(error::from_duckdb)?;
        Ok(Self::attached(connection, &catalog, dataset, memory_limit))
    }

    /// A session on the database that is, or will be, attached by that name.
    pub(in crate::destination) fn attached(
        connection: Connection,
        catalog: &str,
        dataset: &str,
        memory_limit: MemoryLimit,
    ) -> Self {
        Self {
            handle: Arc::new(Mutex::new(connection.interrupt_handle())),
            connection,
            file: None,
            catalog: catalog.to_owned(),
            dataset: dataset.to_owned(),
            memory_limit,
            looks_elsewhere: false,
            interrupted: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The session as one that writes this file.
    pub(super) fn of_file(self, path: &Path) -> Self {
        Self {
            file: Some(path.to_owned()),
            ..self
        }
    }

    /// The file that it writes.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Goes on with another connection; the one that it has is closed.
    pub(super) fn go_on_with(&mut self, connection: Connection) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = connection.interrupt_handle();
        self.connection = connection;
        self.looks_elsewhere = false;
    }

    pub(super) fn catalog(&self) -> &str {
        &self.catalog
    }

    pub(in crate::destination) fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The dataset's schema, in SQL.
    pub(in crate::destination) fn schema(&self) -> String {
        self.schema_of(&self.dataset)
    }

    /// A schema of the database, in SQL.
    pub(super) fn schema_of(&self, name: &str) -> String {
        format!(
            "{}.{}",
            DuckDbSql.identifier(&self.catalog),
            DuckDbSql.identifier(name)
        )
    }

    /// How much memory DuckDB may use for a load, to begin with.
    pub(in crate::destination) fn memory_limit(&self) -> MemoryLimit {
        self.memory_limit
    }

    /// Sets how much memory and how many threads DuckDB may use now.
    pub(super) fn allow(&self, limit: MemoryLimit) -> Result<()> {
        let MemoryLimit { now, threads, .. } = limit;
        self.batch(&format!(
            "SET threads = {threads}; SET memory_limit = '{now}B'"
        ))
    }

    pub(in crate::destination) fn batch(&self, sql: &str) -> Result<()> {
        self.check()?;
        self.connection
            .execute_batch(sql)
            .map_err(error::from_duckdb)
    }

    /// All rows that a query returns.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare(sql).map_err(error::from_duckdb)?;
        let rows = statement
            .query_map(params, read)
            .map_err(error::from_duckdb)?;
        rows.collect::<duckdb::Result<_>>()
            .map_err(error::from_duckdb)
    }

    /// Hands over the rows of a query of these columns. They are fetched as they are taken: nothing holds all of them.
    pub(in crate::destination) fn read(
        &self,
        sql: &str,
        columns: &[Column],
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.check()?;
        let schema = Arc::new(ArrowSchema::new(
            columns
                .iter()
                .map(|column| {
                    let arrow = column.column_type.arrow(None);
                    Field::new(&column.name, arrow, true)
                })
                .collect::<Vec<_>>(),
        ));
        let mut statement = self.connection.prepare(sql).map_err(error::from_duckdb)?;
        // The iterator that this returns would panic where DuckDB fails.
        drop(statement.stream_arrow([]).map_err(error::from_duckdb)?);
        while let Some(batch) = statement.step().map_err(error::from_duckdb)? {
            self.check()?;
            let arrays = columns.iter().zip(batch.columns()).map(|(column, array)| {
                array_form::of_type(array, &column.column_type).map_err(|_| {
                    Error::data(format!(
                        "column `{}` of the table holds a value that is not one of its type, {}",
                        column.name, column.column_type
                    ))
                })
            });
            let arrays = arrays.collect::<Result<Vec<_>>>()?;
            let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)
                .map_err(|error| Error::internal("a batch does not fit its schema").cause(error))?;
            each(batch)?;
        }
        Ok(())
    }

    /// The connection itself.
    pub(in crate::destination) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::SeqCst) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

impl Engine for Session {
    fn dialect(&self) -> &'static dyn Dialect {
        &DuckDbSql
    }

    fn execute(&mut self, sql: &str) -> Result<u64> {
        #[cfg(test)]
        assert_reserved_aliases(sql);
        self.check()?;
        let rows = self
            .connection
            .execute(sql, [])
            .map_err(error::from_duckdb)?;
        Ok(rows as u64)
    }

    /// The statement returns the number of rows: DuckDB does not report how many rows it changed.
    fn make(&mut self, sql: &str) -> Result<u64> {
        self.check()?;
        let [rows] = (self as &mut dyn Engine).counts(sql)?;
        Ok(rows)
    }

    fn query(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()> {
        #[cfg(test)]
        assert_reserved_aliases(sql);
        let mut statement = self.connection.prepare(sql).map_err(error::from_duckdb)?;
        let mut rows = statement.query([]).map_err(error::from_duckdb)?;
        while let Some(row) = rows.next().map_err(error::from_duckdb)? {
            let columns = 0..row.as_ref().column_count();
            each(
                columns
                    .map(|column| text(row, column))
                    .collect::<Result<_>>()?,
            )?;
        }
        Ok(())
    }
}

/// A value of text or of an integer type, as text.
fn text(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    let value = row.get_ref(column).map_err(error::from_duckdb)?;
    Ok(Some(match value {
        ValueRef::Null => return Ok(None),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Int(number) => number.to_string(),
        ValueRef::BigInt(number) => number.to_string(),
        ValueRef::HugeInt(number) => number.to_string(),
        _ => {
            return Err(Error::internal(
                "a column of a query is neither text nor integer",
            ));
        }
    }))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("catalog", &self.catalog)
            .field("dataset", &self.dataset)
            .finish_non_exhaustive()
    }
}
