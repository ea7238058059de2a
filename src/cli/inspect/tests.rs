use std::fs;
use std::sync::Arc;

use acequia::landing::manifest::Part;
use acequia::mode::{Disposition, Mode};
use acequia::schema::{Column, ColumnType, Schema};
use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::*;

fn schema() -> Schema {
    let column = |id, name: &str, column_type, nullable| Column {
        id,
        name: name.to_owned(),
        column_type,
        nullable,
        source_type: String::new(),
        element_id: None,
        mask: None,
        renamed_from: None,
    };
    Schema {
        columns: vec![
            column(1, "id", ColumnType::Int64, false),
            column(4, "nota", ColumnType::Text, true),
            column(3, "clave", ColumnType::Uuid, false),
        ],
    }
}

fn write(path: &Path, ids: &[i64], notas: &[Option<&str>]) {
    let claves: Vec<[u8; 16]> = ids
        .iter()
        .map(|id| [u8::try_from(*id).unwrap(); 16])
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(StringArray::from(notas.to_vec())),
        Arc::new(FixedSizeBinaryArray::try_from_iter(claves.iter()).unwrap()),
    ];
    let batch = RecordBatch::try_new(schema().arrow(), columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A load of two parts.
fn load(folder: &Path) {
    write(
        &folder.join("part-00000.parquet"),
        &[3, 2],
        &[Some("b"), None],
    );
    write(
        &folder.join("part-00001.parquet"),
        &[9],
        &[Some("a\u{1b}[2J\nz")],
    );
    let part = |name: &str, rows| Part {
        path: name.to_owned(),
        rows,
        bytes: 0,
        sha256: String::new(),
    };
    let manifest = Manifest {
        format_version: 1,
        pipeline: "formacion".to_owned(),
        stream: "ventas".parse().unwrap(),
        load_id: "20261124T031300123-5f3a9c01-7b2e".parse().unwrap(),
        table: "ventas".to_owned(),
        mode: Mode::Full,
        changes: None,
        previous: None,
        full_refresh: false,
        disposition: Disposition::Replace,
        primary_key: vec!["id".to_owned()],
        key_is_unique: true,
        amends: None,
        marks: None,
        configuration: None,
        cursor: None,
        schema: schema(),
        position_before: None,
        position_after: None,
        rows: 3,
        bytes: 0,
        parts: vec![part("part-00000.parquet", 2), part("part-00001.parquet", 1)],
        extracted_at: chrono::DateTime::UNIX_EPOCH,
        acequia_version: "0.1.0".to_owned(),
    };
    fs::write(
        folder.join(MANIFEST),
        serde_json::to_vec(&manifest).unwrap(),
    )
    .unwrap();
}

#[test]
fn a_load_is_summed_up_over_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    for what in [folder.path().to_owned(), folder.path().join(MANIFEST)] {
        let target = find(what.to_str().unwrap(), Path::new("none.toml")).unwrap();
        let inspection = inspect(target, 2).unwrap();
        assert_eq!((inspection.rows, inspection.parts.len()), (3, 2));
        let columns: Vec<_> = inspection
            .columns
            .iter()
            .map(|column| {
                (
                    column.field_id,
                    column.column_type.as_str(),
                    column.nulls,
                    column.min.as_deref(),
                    column.max.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            columns,
            [
                (Some(1), "int64", Some(0), Some("2"), Some("9")),
                (Some(4), "text", Some(1), Some("a\u{1b}[2J\nz"), Some("b")),
                (
                    Some(3),
                    "uuid",
                    Some(0),
                    Some("02020202-0202-0202-0202-020202020202"),
                    Some("09090909-0909-0909-0909-090909090909")
                ),
            ]
        );
        assert_eq!(inspection.sample.rows.len(), 2);
        assert_eq!(inspection.sample.rows[1][..2], [Some("2".to_owned()), None]);
    }
}

#[test]
fn a_file_alone_has_field_ids_and_no_more_rows_than_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write(&path, &[1, 2, 3], &[None, None, None]);
    let target = find(path.to_str().unwrap(), Path::new("none.toml")).unwrap();
    let inspection = inspect(target, 0).unwrap();
    assert!(inspection.sample.rows.is_empty());
    let ids: Vec<_> = inspection
        .columns
        .iter()
        .map(|column| column.field_id)
        .collect();
    assert_eq!(ids, [Some(1), Some(4), Some(3)]);
    assert_eq!(inspection.columns[1].min, None);
    assert_eq!(inspection.columns[1].nulls, Some(3));
}

#[test]
fn what_cannot_be_inspected_is_said_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.parquet");
    fs::write(&empty, "PAR").unwrap();
    let config = folder.path().join("none.toml");
    let report = |what: &str| {
        let error = find(what, &config)
            .and_then(|target| inspect(target, 5))
            .map(drop)
            .unwrap_err();
        error.report()
    };
    for (what, expected) in [
        (folder.path().to_str().unwrap(), "an unfinished extract"),
        (empty.to_str().unwrap(), "whole Parquet file"),
        ("nothing", "there is no nothing"),
        ("20261124T031300123-5f3a9c01-7b2e", "acequia init"),
    ] {
        let report = report(what);
        assert!(
            report.contains(expected) && report.contains("remedy: "),
            "{report}"
        );
    }
}

#[test]
fn a_manifest_reaches_no_file_outside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    let path = folder.path().join(MANIFEST);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("part-00000.parquet", "../x.parquet");
    fs::write(&path, text).unwrap();
    let error = find(folder.path().to_str().unwrap(), Path::new("none.toml"))
        .map(drop)
        .unwrap_err();
    assert!(
        error.report().contains("outside its folder"),
        "{}",
        error.report()
    );
}

#[test]
fn a_long_cell_is_cut_to_one_line() {
    assert_eq!(cut("a\nb"), "a\\nb");
    assert_eq!(cut(&"ñ".repeat(61)), format!("{}…", "ñ".repeat(60)));
}

/// PostgreSQL has infinities and the hour 24; Arrow has no text for them.
#[test]
fn values_beyond_what_arrow_writes_are_shown() {
    use arrow::array::{Date32Array, ListArray, Time64MicrosecondArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimestampMicrosecondType;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part-00000.parquet");
    let times = [Some(86_400_000_000), Some(3_723_000_001), Some(0)];
    let instants = [Some(i64::MAX), Some(-i64::MAX), Some(0)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("t", Arc::new(Time64MicrosecondArray::from(times.to_vec()))),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(instants.to_vec())),
        ),
        (
            "tz",
            Arc::new(TimestampMicrosecondArray::from(instants.to_vec()).with_timezone("UTC")),
        ),
        (
            "d",
            Arc::new(Date32Array::from(vec![i32::MAX, -i32::MAX, 0])),
        ),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<
                TimestampMicrosecondType,
                _,
                _,
            >(
                instants.map(|instant| Some(vec![instant, None]))
            )),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut parts = Parts::new(3);
    parts.read(&path).unwrap();
    let (columns, _, sample) = parts.finish();
    let cells = |row: usize| -> Vec<&str> {
        sample.rows[row]
            .iter()
            .map(|cell| cell.as_deref().unwrap())
            .collect()
    };
    assert_eq!(
        cells(0),
        [
            "24:00:00",
            "infinity",
            "infinity",
            "infinity",
            "[infinity, NULL]"
        ]
    );
    assert_eq!(
        cells(1),
        [
            "01:02:03.000001",
            "-infinity",
            "-infinity",
            "-infinity",
            "[-infinity, NULL]"
        ]
    );
    assert_eq!(columns[0].max.as_deref(), Some("24:00:00"));
    assert_eq!(columns[1].min.as_deref(), Some("-infinity"));
}
