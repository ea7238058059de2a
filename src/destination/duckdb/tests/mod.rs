//! DuckDB against itself: real files, parts written as the landing area writes them. What every destination must do is in
//! [`crate::destination::conformance`]; here is what is DuckDB's alone.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::ArrayRef;
use duckdb::Connection;
use tempfile::TempDir;

use super::*;
use crate::destination::conformance::{
    self, Dialect, Fixture, Load, Subject, conformance, ints, longs, texts, write,
};
use crate::destination::sql::Dialect as _;
use crate::destination::sql::Engine as _;
use crate::destination::{Destination as _, Parts};
use crate::error::Error;
use crate::evolution::assign_field_ids;
use crate::mode::Disposition;
use crate::position::{CursorPosition, CursorValue, Position};
use crate::schema::{ColumnSpec, ColumnType};

mod indices;
mod names;
mod opening;
mod speed;

const MEMORY: u64 = 256 << 20;

conformance!(DuckDbFile);

/// A file in a folder of its own.
struct DuckDbFile {
    path: PathBuf,
    _folder: Option<TempDir>,
}

impl Subject for DuckDbFile {
    type Destination = DuckDb;
    const DIALECT: Dialect = Dialect::DuckDb;
    const NAME: &'static str = "duckdb";
    const TESTS: &'static str = module_path!();
    const COLUMNS: &'static str = "SELECT table_name, column_name, data_type FROM duckdb_columns() \
         WHERE schema_name = 'replica' AND NOT internal ORDER BY table_name, column_index";

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("file.duckdb"),
            _folder: Some(folder),
        }
    }

    #[cfg(feature = "failpoints")]
    fn at(address: &str) -> Self {
        Self {
            path: address.into(),
            _folder: None,
        }
    }

    #[cfg(feature = "failpoints")]
    fn address(&self) -> String {
        self.path.to_str().unwrap().to_owned()
    }

    fn open(&self, dataset: &str) -> Result<DuckDb> {
        DuckDb::open("warehouse", &self.path, MEMORY, dataset)
    }

    fn open_read_only(&self, dataset: &str) -> Result<Option<DuckDb>> {
        DuckDb::open_read_only("warehouse", &self.path, dataset)
    }

    fn execute(&self, db: &DuckDb, sql: &str) {
        db.session.connection.execute_batch(sql).unwrap();
    }

    fn query(&self, db: &DuckDb, sql: &str) -> Vec<String> {
        query(&db.session.connection, sql)
    }

    fn type_name(column_type: &ColumnType) -> String {
        dialect::DuckDbSql.type_name(column_type)
    }
}

/// The rows of a query, each as `a|b|c`.
pub(in crate::destination) fn query(connection: &Connection, sql: &str) -> Vec<String> {
    let sql = format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({sql})");
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let values =
            (0..row.as_ref().column_count()).map(|column| row.get::<_, Option<String>>(column));
        let values: Vec<String> = values
            .map(|value| value.unwrap().unwrap_or_else(|| "NULL".to_owned()))
            .collect();
        Ok(values.join("|"))
    });
    let rows = rows.unwrap();
    rows.collect::<duckdb::Result<_>>().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn how_fast_changes_fold() {
    conformance::speed::how_fast::<DuckDbFile>();
}

/// Under the default memory limit.
#[test]
#[ignore = "a measurement"]
fn how_much_memory_changes_take() {
    let place = DuckDbFile::new();
    let folder = tempfile::tempdir().unwrap();
    let db = DuckDb::open("warehouse", &place.path, MemoryLimit::default(), "replica").unwrap();
    conformance::speed::how_much_memory(Fixture { folder, db, place });
}

/// What the rows of a large table are marked with where they are deleted takes more memory than there is at first. The transaction
/// that ran out of it leaves marks that its rollback does not find.
#[test]
fn a_load_that_runs_out_of_memory_amid_its_deletes_is_applied_with_more() {
    const ROWS: i64 = 6_000_000;
    let place = DuckDbFile::new();
    let folder = tempfile::tempdir().unwrap();
    let limit = MemoryLimit {
        now: 40_000_000,
        most: 2_560_000_000,
        threads: 2,
    };
    let db = DuckDb::open("warehouse", &place.path, limit, "replica").unwrap();
    let mut fixture = Fixture { folder, db, place };
    let handle = fixture.db.interrupter();
    let rows: Vec<_> = (0..ROWS).map(|id| (id, 1, 1)).collect();
    fixture.load(&Load::sales(Disposition::Merge, None, &rows));
    let changed: Vec<_> = (0..ROWS).step_by(100).map(|id| (id, 2, 2)).collect();
    let counts = fixture.load(&Load::sales(Disposition::Merge, Some(1), &changed));
    assert_eq!(counts, (0, u64::try_from(changed.len()).unwrap()));
    let sums = "SELECT count(*), count(DISTINCT id), sum(importe) FROM replica.ventas";
    let sum = ROWS + ROWS / 100;
    assert_eq!(fixture.query(sums), [format!("{ROWS}|{ROWS}|{sum}")]);
    // Who has interrupted the first connection interrupts this one.
    handle();
    let more = fixture.try_load(&Load::sales(Disposition::Merge, Some(2), &[(1, 3, 3)]));
    assert!(matches!(more, Err(Error::Interrupted)), "{more:?}");
}

/// A file of that name, in a folder of its own, loaded into a dataset of that name.
fn fixture(file: &str, dataset: &str) -> Fixture<DuckDbFile> {
    let folder = tempfile::tempdir().unwrap();
    let place = DuckDbFile {
        path: folder.path().join(file),
        _folder: Some(folder),
    };
    Fixture {
        db: place.open(dataset).unwrap(),
        folder: tempfile::tempdir().unwrap(),
        place,
    }
}
