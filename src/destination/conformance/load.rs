//! Loads as the landing area would hand them over, made from a few columns.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray};
use chrono::Utc;
use parquet::arrow::ArrowWriter;

use super::{
    ArrayRef, CursorPosition, CursorValue, Disposition, LoadId, Manifest, Parts, Position,
    SchemaContract, StagedLoad,
};
use crate::change::OP;
use crate::evolution::{TableSchema, assign_field_ids};
use crate::landing::manifest::{FORMAT_VERSION, Part};
use crate::landing::part;
use crate::layout::Layout;
use crate::mode::{Amends, Changes, Mode};
use crate::schema::{Column, ColumnSpec, ColumnType, Schema};

/// A load in the making.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) stream: String,
    pub(crate) table: String,
    pub(crate) mode: Mode,
    pub(crate) disposition: Disposition,
    pub(crate) changes: Option<Changes>,
    pub(crate) full_refresh: bool,
    pub(crate) key: Vec<String>,
    pub(crate) key_is_unique: bool,
    pub(crate) cursor: Option<String>,
    pub(crate) marks: Option<String>,
    pub(crate) amends: Option<Amends>,
    /// The values of `_acequia_op`, which only the parts of an amending load have.
    pub(crate) ops: Option<ArrayRef>,
    pub(crate) before: Option<Position>,
    pub(crate) after: Option<Position>,
    pub(crate) contract: SchemaContract,
    pub(crate) layout: Layout,
    /// Name, type and values of each.
    pub(crate) columns: Vec<(String, String, ArrayRef)>,
    pub(crate) id: Option<LoadId>,
}

impl Load {
    /// A full load into the table of the stream's name.
    pub(crate) fn full(stream: &str, columns: &[(&str, &str, ArrayRef)]) -> Self {
        Self {
            stream: stream.to_owned(),
            table: stream.to_owned(),
            mode: Mode::Full,
            disposition: Disposition::Replace,
            changes: None,
            full_refresh: false,
            key: Vec::new(),
            key_is_unique: true,
            cursor: None,
            marks: None,
            amends: None,
            ops: None,
            before: None,
            after: None,
            contract: SchemaContract::Evolve,
            layout: Layout::default(),
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
    pub(crate) fn sales(
        disposition: Disposition,
        before: Option<i64>,
        rows: &[(i64, i32, i64)],
    ) -> Self {
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

    pub(crate) fn by_cursor(
        mut self,
        disposition: Disposition,
        cursor: &str,
        before: Option<CursorValue>,
        after: Option<CursorValue>,
    ) -> Self {
        let position = |value: CursorValue| {
            Position::Cursor(CursorPosition {
                column: cursor.to_owned(),
                resume: value.clone(),
                value,
                seen: None,
                boundary: None,
                compared: None,
            })
        };
        self.mode = Mode::Incremental;
        self.disposition = disposition;
        self.before = before.map(position);
        self.after = after.map(position);
        self.cursor = Some(cursor.to_owned());
        if disposition.has_key() {
            self.key = vec![self.columns[0].0.clone()];
        }
        self
    }

    pub(crate) fn with(mut self, name: &str, column_type: &str, array: ArrayRef) -> Self {
        self.columns.retain(|column| column.0 != name);
        self.columns
            .push((name.to_owned(), column_type.to_owned(), array));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.columns.retain(|column| column.0 != name);
        self
    }

    pub(crate) fn key_not_unique(mut self) -> Self {
        self.key_is_unique = false;
        self
    }

    pub(crate) fn frozen(mut self) -> Self {
        self.contract = SchemaContract::Freeze;
        self
    }

    pub(crate) fn full_refresh(mut self) -> Self {
        self.full_refresh = true;
        self
    }
}

/// Lands a load in a folder. `known` is the schema of its table, where there is one.
pub(crate) fn stage(
    load: &Load,
    known: Option<&TableSchema>,
    load_id: LoadId,
    landing: &Path,
) -> StagedLoad {
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
    let schema = assign_field_ids(known, specs);
    let rows = load.columns[0].2.len();
    let folder = landing.join(load_id.as_str());
    std::fs::create_dir_all(&folder).unwrap();
    let mut files = Vec::new();
    if rows > 0 {
        // Two parts, so that every test meets the list of files.
        let first = rows.div_ceil(2);
        for (offset, length) in [(0, first), (first, rows - first)] {
            let columns = load.columns.iter().map(|(_, _, array)| array);
            let columns: Vec<ArrayRef> = columns
                .chain(&load.ops)
                .map(|array| array.slice(offset, length))
                .collect();
            let file = folder.join(format!("part-{:05}.parquet", files.len()));
            let mut of_parts = schema.clone();
            if load.ops.is_some() {
                of_parts.columns.push(Column {
                    id: 999,
                    name: OP.to_owned(),
                    column_type: ColumnType::Text,
                    nullable: true,
                    source_type: String::new(),
                    element_id: None,
                    mask: None,
                    renamed_from: None,
                });
            }
            write(&of_parts, &columns, &file);
            files.push(file);
        }
    }
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
            mode: load.mode,
            disposition: load.disposition,
            primary_key: load.key.clone(),
            changes: load.changes,
            previous: None,
            full_refresh: load.full_refresh,
            key_is_unique: load.key_is_unique,
            configuration: None,
            cursor: load.cursor.clone(),
            amends: load.amends.clone(),
            marks: load.marks.clone(),
            schema,
            position_before: load.before.clone(),
            position_after: load.after.clone(),
            rows: rows as u64,
            bytes: 0,
            parts,
            extracted_at: Utc::now(),
            acequia_version: "0.1.0".to_owned(),
        },
        parts: Parts::Local(files),
        contract: load.contract,
        layout: load.layout.clone(),
        pre_sql: Vec::new(),
        post_sql: Vec::new(),
        models: None,
    }
}

/// Writes a part.
pub(crate) fn write(schema: &Schema, columns: &[ArrayRef], path: &Path) {
    let arrow = schema.arrow();
    // List elements take their field ids.
    let columns = columns
        .iter()
        .zip(arrow.fields())
        .map(|(array, field)| arrow::compute::cast(array, field.data_type()).unwrap())
        .collect();
    let batch = RecordBatch::try_new(Arc::clone(&arrow), columns).unwrap();
    // As parts are landed: not every reader knows every encoding.
    let properties = part::properties(&arrow);
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, arrow, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub(crate) fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(crate) fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}
