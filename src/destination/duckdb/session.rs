//! A connection with the names that its SQL needs. Here alone SQL is run, interrupted, and its failures translated.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use duckdb::{Connection, Params, Row};

use crate::destination::Interrupter;
use crate::destination::apply::{Dialect, Engine};
use crate::error::{Error, Result};

use super::failure;
use super::sql::{DuckDbSql, identifier};

/// A connection to the file, and the dataset in it.
pub(super) struct Session {
    connection: Connection,
    /// The file's name as DuckDB derives it. Every name is written with it, as a dataset may bear the same one.
    catalog: String,
    dataset: String,
    interrupted: Arc<AtomicBool>,
}

impl Session {
    pub(super) fn new(connection: Connection, dataset: &str) -> Result<Self> {
        let catalog = connection
            .query_row("SELECT current_database()", [], |row| row.get(0))
            .map_err(failure::told)?;
        Ok(Self {
            connection,
            catalog,
            dataset: dataset.to_owned(),
            interrupted: Arc::new(AtomicBool::new(false)),
        })
    }

    /// What stops the statement that runs now, and every later transaction: a stop is for good.
    ///
    /// A statement that begins in this very instant is not stopped, but what follows it in its transaction is.
    pub(super) fn interrupter(&self) -> Interrupter {
        let interrupted = Arc::clone(&self.interrupted);
        let connection = self.connection.interrupt_handle();
        Arc::new(move || {
            interrupted.store(true, Ordering::SeqCst);
            connection.interrupt();
        })
    }

    pub(super) fn catalog(&self) -> &str {
        &self.catalog
    }

    pub(super) fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The dataset's schema, in SQL.
    pub(super) fn schema(&self) -> String {
        format!(
            "{}.{}",
            identifier(&self.catalog),
            identifier(&self.dataset)
        )
    }

    /// A table of the dataset, in SQL.
    pub(super) fn table(&self, name: &str) -> String {
        format!("{}.{}", self.schema(), identifier(name))
    }

    /// Does `work` in one transaction: all of it, or nothing.
    pub(super) fn transaction<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        let transaction = self
            .connection
            .unchecked_transaction()
            .map_err(failure::told)?;
        let done = work()?;
        self.check()?;
        transaction.commit().map_err(failure::told)?;
        Ok(done)
    }

    /// Runs a statement; the number of rows that it wrote.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<u64> {
        self.check()?;
        let rows = self
            .connection
            .execute(sql, params)
            .map_err(failure::told)?;
        Ok(rows as u64)
    }

    /// Sets how much memory DuckDB may use, in bytes, and how many threads.
    pub(super) fn allow(&self, memory: u64, threads: usize) -> Result<()> {
        self.execute(&format!("SET threads = {threads}"), [])?;
        self.execute(&format!("SET memory_limit = '{memory}B'"), [])?;
        Ok(())
    }

    /// Runs a statement that answers with the number of rows that it wrote, as `CREATE TABLE … AS` does: of it DuckDB does not
    /// tell how many rows it changed.
    pub(super) fn counted(&self, sql: &str) -> Result<u64> {
        self.check()?;
        let rows: i64 = self.row(sql, [], |row| row.get(0))?;
        u64::try_from(rows)
            .map_err(|error| Error::internal("a number of rows below 0").cause(error))
    }

    /// The only row that a query returns.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<T> {
        self.connection
            .query_row(sql, params, read)
            .map_err(failure::told)
    }

    /// All rows that a query returns.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare(sql).map_err(failure::told)?;
        let rows = statement.query_map(params, read).map_err(failure::told)?;
        rows.collect::<duckdb::Result<_>>().map_err(failure::told)
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
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

impl Engine for &Session {
    fn dialect(&self) -> &'static dyn Dialect {
        &DuckDbSql
    }

    fn execute(&mut self, sql: &str) -> Result<u64> {
        Session::execute(self, sql, [])
    }

    fn make(&mut self, sql: &str) -> Result<u64> {
        self.counted(sql)
    }

    fn numbers(&mut self, sql: &str) -> Result<Vec<i64>> {
        self.row(sql, [], |row| {
            (0..row.as_ref().column_count())
                .map(|column| row.get(column))
                .collect()
        })
    }

    fn texts(&mut self, sql: &str) -> Result<Vec<String>> {
        self.rows(sql, [], |row| row.get(0))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("catalog", &self.catalog)
            .field("dataset", &self.dataset)
            .finish_non_exhaustive()
    }
}
