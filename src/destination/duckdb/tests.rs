//! DuckDB against itself: real files, parts written as the landing area writes them.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use chrono::Utc;
use duckdb::Connection;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::*;
use crate::evolution::{SchemaContract, TableSchema, number};
use crate::landing::manifest::{Disposition, FORMAT_VERSION, Manifest, Mode, Part};
use crate::position::{CursorPosition, CursorValue, Position};
use crate::schema::{ColumnSpec, Schema};

mod additions;
#[cfg(feature = "failpoints")]
mod crashes;
mod evolution;
mod opening;
mod replacements;
mod speed;
mod values;

const MEMORY: u64 = 256 << 20;

/// A destination in a folder of its own.
struct Fixture {
    folder: TempDir,
    db: DuckDb,
}

/// A load in the making.
#[derive(Clone)]
struct Load {
    stream: String,
    table: String,
    disposition: Disposition,
    full_refresh: bool,
    key: Vec<String>,
    key_is_unique: bool,
    cursor: Option<String>,
    before: Option<CursorValue>,
    after: Option<CursorValue>,
    contract: SchemaContract,
    columns: Vec<(String, String, ArrayRef)>,
    id: Option<LoadId>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = DuckDb::open(
            "warehouse",
            &folder.path().join("file.duckdb"),
            MEMORY,
            "replica",
        )
        .unwrap();
        Self { folder, db }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.duckdb")
    }

    fn stage(&mut self, load: &Load) -> StagedLoad {
        let known = self
            .db
            .states()
            .unwrap()
            .remove(&load.stream.parse().unwrap())
            .map(|state| state.schema);
        let load_id = load.id.clone().unwrap_or_else(|| LoadId::new(self.db.id()));
        stage(
            load,
            known.as_ref(),
            load_id,
            &self.folder.path().join("landing"),
        )
    }

    fn try_load(&mut self, load: &Load) -> Result<LoadOutcome> {
        let staged = self.stage(load);
        self.db.load(&staged)
    }

    fn load(&mut self, load: &Load) -> (u64, u64) {
        let outcome = self.try_load(load).unwrap();
        assert!(!outcome.already_loaded && outcome.deleted == 0);
        (outcome.inserted, outcome.updated)
    }

    fn sql(&self, sql: &str) {
        self.db.session.connection().execute_batch(sql).unwrap();
    }

    /// Rows of a query, each as `a|b|c`.
    fn query(&self, sql: &str) -> Vec<String> {
        query(self.db.session.connection(), sql)
    }

    /// Everything in the dataset but the ledger's times, to see that nothing changed.
    fn everything(&self) -> Vec<String> {
        let mut all =
            self.query("SELECT schema_name, table_name, sql FROM duckdb_tables() ORDER BY ALL");
        let tables = self.query("SELECT table_name FROM duckdb_tables() ORDER BY 1");
        for table in tables {
            all.extend(self.query(&format!(
                "SELECT * FROM file.replica.\"{}\" ORDER BY ALL",
                table.replace('"', "\"\"")
            )));
        }
        all
    }
}

fn query(connection: &Connection, sql: &str) -> Vec<String> {
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

fn stage(load: &Load, known: Option<&TableSchema>, load_id: LoadId, landing: &Path) -> StagedLoad {
    let specs = load
        .columns
        .iter()
        .map(|(name, column_type, _)| ColumnSpec {
            name: name.clone(),
            column_type: column_type.parse().unwrap(),
            nullable: true,
            source_type: column_type.clone(),
        })
        .collect();
    let schema = number(known, specs);
    let rows = load.columns[0].2.len();
    let folder = landing.join(load_id.as_str());
    std::fs::create_dir_all(&folder).unwrap();
    let mut files = Vec::new();
    if rows > 0 {
        // Two parts, so that every test meets the list of files.
        let first = rows.div_ceil(2);
        for (offset, length) in [(0, first), (first, rows - first)] {
            let columns: Vec<ArrayRef> = load
                .columns
                .iter()
                .map(|(_, _, array)| array.slice(offset, length))
                .collect();
            let file = folder.join(format!("part-{:05}.parquet", files.len()));
            write(&schema, &columns, &file);
            files.push(file);
        }
    }
    let position = |value: &Option<CursorValue>| {
        value.clone().map(|value| {
            Position::Cursor(CursorPosition {
                column: load.cursor.clone().unwrap(),
                resume: value.clone(),
                value,
            })
        })
    };
    let parts = files
        .iter()
        .map(|file| Part {
            path: file.file_name().unwrap().to_str().unwrap().to_owned(),
            rows: 0,
            bytes: 0,
            sha256: String::new(),
        })
        .collect();
    StagedLoad {
        manifest: Manifest {
            format_version: FORMAT_VERSION,
            pipeline: "test".to_owned(),
            stream: load.stream.parse().unwrap(),
            load_id,
            table: load.table.clone(),
            mode: if load.cursor.is_some() {
                Mode::Incremental
            } else {
                Mode::Full
            },
            disposition: load.disposition,
            primary_key: load.key.clone(),
            changes: None,
            previous: None,
            full_refresh: load.full_refresh,
            key_is_unique: load.key_is_unique,
            cursor: load.cursor.clone(),
            schema,
            position_before: position(&load.before),
            position_after: position(&load.after),
            rows: rows as u64,
            bytes: 0,
            parts,
            extracted_at: Utc::now(),
            acequia_version: "0.1.0".to_owned(),
        },
        files,
        contract: load.contract,
    }
}

fn write(schema: &Schema, columns: &[ArrayRef], path: &Path) {
    let arrow = schema.arrow();
    // List elements take their field ids.
    let columns = columns
        .iter()
        .zip(arrow.fields())
        .map(|(array, field)| arrow::compute::cast(array, field.data_type()).unwrap())
        .collect();
    let batch = RecordBatch::try_new(Arc::clone(&arrow), columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), arrow, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

impl Load {
    /// A full load into the table of the stream's name.
    fn full(stream: &str, columns: &[(&str, &str, ArrayRef)]) -> Self {
        Self {
            stream: stream.to_owned(),
            table: stream.to_owned(),
            disposition: Disposition::Replace,
            full_refresh: false,
            key: Vec::new(),
            key_is_unique: true,
            cursor: None,
            before: None,
            after: None,
            contract: SchemaContract::Evolve,
            columns: columns
                .iter()
                .map(|(name, column_type, array)| {
                    (
                        (*name).to_owned(),
                        (*column_type).to_owned(),
                        Arc::clone(array),
                    )
                })
                .collect(),
            id: None,
        }
    }

    /// A load of `ventas`: rows of (id, importe, version), of which the last is the cursor.
    fn sales(disposition: Disposition, before: Option<i64>, rows: &[(i64, i32, i64)]) -> Self {
        Self::full(
            "ventas",
            &[
                ("id", "int64", longs(rows.iter().map(|row| row.0))),
                ("importe", "int32", ints(rows.iter().map(|row| row.1))),
                ("version", "int64", longs(rows.iter().map(|row| row.2))),
            ],
        )
        .by_cursor(
            disposition,
            "version",
            before.map(CursorValue::Integer),
            rows.iter()
                .map(|row| row.2)
                .max()
                .or(before)
                .map(CursorValue::Integer),
        )
    }

    fn by_cursor(
        mut self,
        disposition: Disposition,
        cursor: &str,
        before: Option<CursorValue>,
        after: Option<CursorValue>,
    ) -> Self {
        self.disposition = disposition;
        self.cursor = Some(cursor.to_owned());
        self.before = before;
        self.after = after;
        if disposition == Disposition::Merge {
            self.key = vec![self.columns[0].0.clone()];
        }
        self
    }

    fn with(mut self, name: &str, column_type: &str, array: ArrayRef) -> Self {
        self.columns.retain(|column| column.0 != name);
        self.columns
            .push((name.to_owned(), column_type.to_owned(), array));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.columns.retain(|column| column.0 != name);
        self
    }

    fn key_not_unique(mut self) -> Self {
        self.key_is_unique = false;
        self
    }

    fn frozen(mut self) -> Self {
        self.contract = SchemaContract::Freeze;
        self
    }

    fn full_refresh(mut self) -> Self {
        self.full_refresh = true;
        self
    }
}

fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}
