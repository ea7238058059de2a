//! How a load is applied, in SQL that every destination understands: changes fold into rows ([`changes`]), versions are
//! kept ([`scd2`]), new rows are added ([`insert_only`]).
//!
//! Here statements are made; a destination's [`Engine`] runs them, in the transaction that also writes the ledger, and its
//! [`Dialect`] says what it writes differently. Written for what DuckDB and PostgreSQL 15 have in common: no `QUALIFY`, no
//! `ANTI JOIN`, no `IGNORE NULLS`; a subquery in `FROM` always has an alias.
//!
//! [`rows`] is a load as a relation, [`keys`] sees to it that a key comes once, [`marks`] that rows which only mark a record
//! keep its values, [`own`] tells which columns of a table
//! are acequia's. Of changes, [`log`] knows their order, [`fold`] applies them by key and [`whole`] without one,
//! [`unchanged`] finds values that were not sent, and [`changelog`] keeps each.

use crate::error::Result;
use crate::schema::ColumnType;

pub(crate) mod changelog;
pub(crate) mod changes;
mod fold;
pub(crate) mod insert_only;
pub(crate) mod keys;
mod log;
pub(crate) mod marks;
pub(crate) mod own;
pub(crate) mod rows;
pub(crate) mod scd2;
pub(crate) mod sql;
mod unchanged;
mod whole;

pub(crate) use rows::Rows;

/// What runs the statements: a destination's connection, within its transaction.
pub(crate) trait Engine {
    /// How it writes SQL.
    fn dialect(&self) -> &'static dyn Dialect;

    /// Runs a statement; the number of rows that it wrote, but for `CREATE TABLE … AS`: see [`make`](Self::make).
    fn execute(&mut self, sql: &str) -> Result<u64>;

    /// Runs a `CREATE TABLE … AS`; the number of the table's rows.
    fn make(&mut self, sql: &str) -> Result<u64>;

    /// The only row of a query whose columns are 64-bit integers without NULL.
    fn numbers(&mut self, sql: &str) -> Result<Vec<i64>>;

    /// The only column of a query, text without NULL.
    fn texts(&mut self, sql: &str) -> Result<Vec<String>>;
}

/// What one destination writes otherwise than another.
pub(crate) trait Dialect {
    /// The name of the type that holds a column.
    fn type_name(&self, column_type: &ColumnType) -> String;

    /// The expressions that are all equal, or all NULL, where two values of that type are the same value.
    fn identity(&self, expression: &str, column_type: &ColumnType) -> Vec<String>;

    /// The condition that expressions are pairwise equal or both NULL, such that a join by it is hashed or sorted.
    fn same(&self, left: &[String], right: &[String]) -> String {
        sql::same(left, right)
    }

    /// The expression by which values of that type are ordered as a source orders its cursor: text by bytes.
    fn ordered(&self, expression: &str, _column_type: &ColumnType) -> String {
        expression.to_owned()
    }

    /// Whether a list of text has that element. NULL or false where the list is NULL.
    fn contains(&self, list: &str, literal: &str) -> String;

    /// An integer type of at least 128 bits.
    fn wide_integer(&self) -> &'static str;

    /// The full name of a temporary table.
    fn temporary(&self, name: &str) -> String;

    /// What tells the planner how large a table is that was just filled, where it does not find out by itself.
    fn analyze(&self, _table: &str) -> Option<String> {
        None
    }
}

/// Temporary tables, gone when the load is applied.
pub(crate) struct Scratch {
    made: Vec<String>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { made: Vec::new() }
    }

    /// Makes a temporary table of a query. Its full name, and its number of rows.
    pub(crate) fn make(
        &mut self,
        engine: &mut dyn Engine,
        name: &str,
        query: &str,
    ) -> Result<(String, u64)> {
        let table = engine.dialect().temporary(name);
        engine.execute(&format!("DROP TABLE IF EXISTS {table}"))?;
        let rows = engine.make(&format!("CREATE TEMPORARY TABLE {table} AS {query}"))?;
        if let Some(analyze) = engine.dialect().analyze(&table) {
            engine.execute(&analyze)?;
        }
        self.made.push(table.clone());
        Ok((table, rows))
    }

    /// Drops what was made.
    pub(crate) fn drop_all(self, engine: &mut dyn Engine) -> Result<()> {
        for table in self.made {
            engine.execute(&format!("DROP TABLE IF EXISTS {table}"))?;
        }
        Ok(())
    }
}
