//! The application of a load in SQL, written once for all destinations that are databases.
//!
//! [`load`] is the plan of a load. It receives what the ledger has of the stream and returns the result, without knowing
//! where the ledger is kept: [`ledger`] keeps it in tables of the dataset, which is one way. The plan asks [`sequence`]
//! whether the load follows, looks up its [`table`] and brings the schema up to date; then rows are inserted into a new
//! table, added ([`append`], [`insert_only`]), merged, kept in versions ([`scd2`]), say themselves what becomes of them
//! ([`amend`]), take the place of what the table has in a [`range`], or are changes that are reduced to rows ([`changes`]).
//!
//! Statements are made here, as SQL or as a value that stands for it ([`statement`], [`mod@write`]); a destination's
//! [`SqlEngine`] runs them, in the transaction that also writes the ledger, and its [`Dialect`] has the differences. Only
//! the dialect quotes names and literals. The SQL is the common subset of DuckDB and PostgreSQL 14: no `QUALIFY`, no `ANTI
//! JOIN`, no `IGNORE NULLS`; a subquery in `FROM` always has an alias, and every alias is one of [`dialect`]'s, which
//! cannot be confused with a column.
//!
//! [`database`] makes a destination of an engine whose dataset keeps the ledger itself.
//!
//! [`read`] hands a table's rows over as Arrow. [`rows`] is a load as a relation, [`dedup`] makes its keys unique, [`marks`] keeps the values of rows that only mark a
//! record, [`system_columns`] names acequia's own columns. [`place`] distinguishes a copy of a ledger from its original.

use arrow::array::RecordBatch;

use crate::destination::StagedLoad;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::schema::Column;

mod amend;
mod append;
pub(crate) mod changes;
pub(crate) mod database;
mod dedup;
pub(crate) mod dialect;
pub(crate) mod given;
mod insert_only;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod loads;
mod marks;
pub(crate) mod models;
pub(crate) mod place;
pub(crate) mod query;
mod range;
pub(crate) mod read;
mod rows;
pub(crate) mod runs;
mod scd2;
mod sequence;
pub(crate) mod statement;
pub(crate) mod system_columns;
pub(crate) mod table;
mod table_row;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod verifications;
mod write;

pub(crate) use append::Overlap;
pub(crate) use database::{Database, Transactional};
pub(crate) use dialect::Dialect;
pub(crate) use marks::live_ids;
pub(crate) use rows::{Rows, check_rows};
pub(crate) use statement::Missing;
use statement::{Exchange, Exchanged, Insert, Merge, Written};
pub(crate) use system_columns::keeps_deleted;
pub(crate) use table::Table;
pub(crate) use write::filter;

/// What runs statements: a destination's connection, within its transaction.
pub(crate) trait Engine {
    /// How it writes SQL.
    fn dialect(&self) -> &'static dyn Dialect;

    /// Runs a statement; the number of rows that it wrote, but for `CREATE TABLE … AS`: see [`make`](Self::make).
    fn execute(&mut self, sql: &str) -> Result<u64>;

    /// Runs a `CREATE TABLE … AS`; the number of the table's rows.
    fn make(&mut self, sql: &str) -> Result<u64>;

    /// Runs a query whose columns are integers or text, and hands each row over as text.
    fn query(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()>;

    /// The rows of such a query.
    fn rows(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        let mut rows = Vec::new();
        self.query(sql, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Makes a temporary table of a query: its full name and, where that is asked for, its number of rows.
    fn make_temporary(&mut self, name: &str, query: &str, _counted: bool) -> Result<(String, u64)> {
        let table = self.dialect().temporary(name);
        self.execute(&format!("DROP TABLE IF EXISTS {table}"))?;
        let rows = self.make(&format!("CREATE TEMPORARY TABLE {table} AS {query}"))?;
        if let Some(analyze) = self.dialect().analyze(&table) {
            self.execute(&analyze)?;
        }
        Ok((table, rows))
    }

    /// Drops a temporary table.
    fn drop_temporary(&mut self, table: &str) -> Result<()> {
        self.execute(&format!("DROP TABLE IF EXISTS {table}"))
            .map(drop)
    }

    /// Adds rows to a table; how many.
    fn insert(&mut self, table: &str, insert: &Insert) -> Result<u64> {
        let sql = insert.sql(self.dialect(), table);
        self.execute(&sql)
    }

    /// Adds rows to a table, which nobody counts.
    fn add(&mut self, table: &str, insert: &Insert) -> Result<()> {
        self.insert(table, insert).map(drop)
    }

    /// Carries out an exchange; how many rows each part of it wrote.
    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Exchanged> {
        let mut exchanged = Exchanged::default();
        for (part, sql) in exchange.statements(self.dialect()) {
            let rows = self.execute(&sql)?;
            exchanged.count(part, rows);
        }
        Ok(exchanged)
    }

    /// Carries out a merge; how many rows each part of it wrote.
    fn write(&mut self, merge: &Merge<'_>) -> Result<Written> {
        let mut written = merge.nothing();
        for (clause, sql) in merge.statements(self.dialect()) {
            let rows = self.execute(&sql)?;
            written.count(clause, rows);
        }
        Ok(written)
    }

    /// Whether all that a load does to a table is one statement, so that none finds what another wrote.
    fn writes_once(&self) -> bool {
        false
    }

    /// The only column of a query, text without NULL.
    fn texts(&mut self, sql: &str) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        self.query(sql, &mut |row| {
            texts.push(row.into_iter().next().flatten().ok_or_else(unreadable)?);
            Ok(())
        })?;
        Ok(texts)
    }
}

/// A row whose values are text; NULL is none.
pub(crate) type TextRow = Vec<Option<String>>;

/// The database of a destination, as the plan of a load and the ledger need it.
pub(crate) trait SqlEngine: Engine {
    /// The dataset that is loaded into, for people.
    fn dataset(&self) -> &str;

    /// The full name of a table of the dataset, in SQL.
    fn table(&self, name: &str) -> String;

    /// Whether the ledger has tables of such a name.
    fn reserves(&self, name: &str) -> bool {
        name.to_ascii_lowercase().starts_with("_acequia")
    }

    /// Runs a query of these columns, and hands its rows over in batches, each column in its type's form in Arrow.
    fn read(
        &mut self,
        sql: &str,
        columns: &[Column],
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()>;

    /// Makes the dataset's schema, where it is missing.
    fn create_schema(&mut self) -> Result<()>;

    /// Names and types of the columns of a table of the dataset, as the catalog writes them. Empty if there is no such
    /// table.
    ///
    /// # Errors
    /// [`table::not_a_table`] if the name is that of something else.
    fn columns_of(&mut self, name: &str) -> Result<Vec<(String, String)>>;

    /// Whether the dataset has a table of that name.
    ///
    /// # Errors
    /// As [`columns_of`](Self::columns_of).
    fn has_table(&mut self, name: &str) -> Result<bool> {
        Ok(!self.columns_of(name)?.is_empty())
    }

    /// The stream that brought the rows of a table, given in SQL, where it holds any that the ledger knows.
    fn stream_of_rows(&mut self, table: &str) -> Result<Option<String>>;

    /// Whether a load of changes deletes rows that earlier ones marked as deleted, where none are kept any more.
    fn forgets_marked(&self) -> bool {
        true
    }

    /// Creates an empty table with these columns (name and type), or replaces the existing one; `known` is the schema that
    /// the ledger had. Sets [`Table::columns`], and returns the indices that must be created again when the rows are there.
    fn create(
        &mut self,
        table: &mut Table,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) -> Result<Vec<Index>>;

    /// Removes those views of models that keep a column of a table, given in SQL, from being dropped and from getting another
    /// type.
    fn make_way(&mut self, _table: &str, _column: &str) -> Result<()> {
        Ok(())
    }

    /// Makes the views again that [`make_way`](Self::make_way) has removed; a warning for each that can no longer be made.
    fn make_views_again(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Adds a column to a table, given in SQL.
    fn add_column(&mut self, table: &str, name: &str, data_type: &str) -> Result<()> {
        let column = self.dialect().identifier(name);
        self.execute(&format!(
            "ALTER TABLE {table} ADD COLUMN {column} {data_type}"
        ))
        .map(drop)
    }

    /// Gives a column of a table, given in SQL, a type, and as its values those of an expression, cast to it.
    fn change_column(
        &mut self,
        table: &str,
        name: &str,
        data_type: &str,
        value: &str,
    ) -> Result<()> {
        let column = self.dialect().identifier(name);
        self.execute(&format!(
            "ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {data_type} USING CAST({value} AS {data_type})"
        ))
        .map(drop)
    }

    /// The columns of a load with the types that the table has for them; `schema` is the table's.
    fn load_columns(
        &mut self,
        _table: &mut Table,
        manifest: &Manifest,
        schema: &TableSchema,
    ) -> Result<Vec<Column>> {
        let columns = manifest.schema.columns.iter();
        Ok(columns
            .map(|column| schema.column(&column.name).unwrap_or(column).clone())
            .collect())
    }

    /// Creates the index on the key that identifies the table's rows, if the destination needs one. If the table is new
    /// (`anew`), so that the index is created faster when the rows are there, it is returned.
    fn index_key(
        &mut self,
        _table: &Table,
        _columns: &[Column],
        _manifest: &Manifest,
        _anew: bool,
    ) -> Result<Option<Index>> {
        Ok(None)
    }

    /// The rows of a load's parts as a relation: these columns, each of the type given.
    fn stage(&mut self, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows>;

    /// Copies a load's rows and its id straight into the empty table, where the destination has a way that is faster than
    /// through a relation: the number of rows.
    fn copy(
        &mut self,
        _table: &Table,
        _load: &StagedLoad,
        _columns: &[Column],
    ) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The merge by which rows replace those with the same key. Rows that are equal in every column are not written, so
    /// that a run without changes writes nothing. The keys of `rows` are unique.
    fn merge<'a>(
        &mut self,
        temp: &mut TempTables,
        table: &'a Table,
        manifest: &'a Manifest,
        schema: &TableSchema,
        rows: &Rows,
    ) -> Result<Merge<'a>>;
}

impl dyn Engine + '_ {
    /// The only row of a query whose columns are 64-bit integers without NULL.
    pub(crate) fn numbers<const N: usize>(&mut self, sql: &str) -> Result<[i64; N]> {
        let rows = self.rows(sql)?;
        let numbers: Option<Vec<i64>> = match rows.as_slice() {
            [row] => row
                .iter()
                .map(|value| value.as_deref()?.parse().ok())
                .collect(),
            _ => None,
        };
        numbers
            .and_then(|numbers| numbers.try_into().ok())
            .ok_or_else(unreadable)
    }

    /// The only row of a query that counts.
    pub(crate) fn counts<const N: usize>(&mut self, sql: &str) -> Result<[u64; N]> {
        let mut counts = [0; N];
        for (count, number) in counts.iter_mut().zip(self.numbers::<N>(sql)?) {
            *count = u64::try_from(number).map_err(|_| unreadable())?;
        }
        Ok(counts)
    }
}

fn unreadable() -> Error {
    Error::internal("the destination's answer could not be read")
}

/// An index that is made once a table has its rows.
#[derive(Debug)]
pub(crate) struct Index {
    /// Its name, where it is not one of acequia's own.
    pub(crate) name: Option<String>,
    /// The statement that makes it.
    pub(crate) sql: String,
}

impl Index {
    /// Makes it on a table, which is named as people write it.
    pub(crate) fn make(&self, engine: &mut dyn Engine, table: &str) -> Result<()> {
        engine.execute(&self.sql).map(drop).map_err(|error| {
            let Some(name) = &self.name else {
                return error;
            };
            let error = error.context(format!("index `{name}` of table {table}"));
            if error.remedy_text().is_some() {
                return error;
            }
            error.remedy("the table as it is now cannot have the index: drop it, then run again")
        })
    }
}

/// Temporary tables, which are dropped when the load is applied.
pub(crate) struct TempTables {
    made: Vec<String>,
}

impl TempTables {
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
        let (table, rows) = engine.make_temporary(name, query, true)?;
        self.made.push(table.clone());
        Ok((table, rows))
    }

    /// Makes a temporary table whose rows nobody counts. Its full name.
    pub(crate) fn put(
        &mut self,
        engine: &mut dyn Engine,
        name: &str,
        query: &str,
    ) -> Result<String> {
        let (table, _) = engine.make_temporary(name, query, false)?;
        self.made.push(table.clone());
        Ok(table)
    }

    /// Drops what was made.
    pub(crate) fn drop_all(self, engine: &mut dyn Engine) -> Result<()> {
        for table in self.made {
            engine.drop_temporary(&table)?;
        }
        Ok(())
    }
}
