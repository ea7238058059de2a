//! How fast, and in how much memory: run by hand, with
//! `cargo test --release -- --ignored --exact destination::duckdb::tests::speed::… --nocapture`.

use std::time::Instant;

use arrow::array::{Decimal128Array, TimestampMicrosecondArray};

use super::*;

fn many(rows: i64, from: i64) -> Vec<(&'static str, &'static str, ArrayRef)> {
    let ids = from..from + rows;
    let text: Vec<String> = ids
        .clone()
        .map(|i| format!("cliente {} de la zona {}", i % 50_000, i % 7))
        .collect();
    let amounts =
        Decimal128Array::from_iter_values(ids.clone().map(|i| i128::from(i * 37 % 1_000_000)));
    let times = TimestampMicrosecondArray::from_iter_values(
        ids.clone().map(|i| 1_700_000_000_000_000 + i * 1_000_000),
    );
    vec![
        ("id", "int64", longs(ids.clone())),
        (
            "curso_id",
            "int32",
            ints(ids.clone().map(|i| i32::try_from(i % 1_000).unwrap())),
        ),
        ("cliente", "text", texts(text.iter().map(String::as_str))),
        (
            "importe",
            "decimal(10,2)",
            Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
        ),
        (
            "unidades",
            "int32",
            ints(ids.map(|i| i32::try_from(i * 7 % 50).unwrap())),
        ),
        (
            "updated_at",
            "timestamptz",
            Arc::new(times.with_timezone("UTC")),
        ),
    ]
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap()
        .to_owned()
}

fn set(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// MILLIONS of rows, written by another process (`MAKE=1`), loaded in this one with MEMORY megabytes.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::too_many_lines)]
#[allow(clippy::print_stderr)]
fn how_fast() {
    let folder = PathBuf::from("/tmp/duck-speed");
    let millions = i64::try_from(set("MILLIONS", 5)).unwrap();
    let value = |i: i64| CursorValue::TimestampTz(1_700_000_000_000_000 + i * 1_000_000);
    if set("MAKE", 0) == 1 {
        std::fs::create_dir_all(&folder).unwrap();
        for million in 0..millions {
            let load = Load::full("ventas", &many(1_000_000, million * 1_000_000));
            let specs = load.columns.iter().map(|(name, kind, _)| ColumnSpec {
                name: name.clone(),
                column_type: kind.parse().unwrap(),
                nullable: true,
                source_type: kind.clone(),
            });
            let schema = assign_field_ids(None, specs.collect());
            write(
                &schema,
                &load
                    .columns
                    .into_iter()
                    .map(|column| column.2)
                    .collect::<Vec<_>>(),
                &folder.join(format!("{million}.parquet")),
            );
        }
        return;
    }
    let place = DuckDbFile::new();
    let memory = set("MEMORY", 1024) << 20;
    let mut fixture = Fixture {
        db: DuckDb::open("w", &place.path, memory, "replica").unwrap(),
        folder: tempfile::tempdir().unwrap(),
        place,
    };
    for run in ["first", "again"] {
        let mut staged = fixture.stage(&Load::full("ventas", &many(2, 0)));
        staged.parts = Parts::Local(
            (0..millions)
                .map(|million| folder.join(format!("{million}.parquet")))
                .collect(),
        );
        staged.manifest.rows = millions.unsigned_abs() * 1_000_000;
        let start = Instant::now();
        let outcome = fixture.db.load(&staged).unwrap().outcome;
        eprintln!(
            "full, {run}: {} rows in {:.2?}; {}",
            outcome.inserted,
            start.elapsed(),
            peak()
        );
    }
    let last = millions * 1_000_000;
    let mut staged = fixture.stage(
        &Load::full("ventas2", &many(2, 0))
            .by_cursor(Disposition::Merge, "updated_at", None, Some(value(last)))
            .key_not_unique(),
    );
    staged.parts = Parts::Local(
        (0..millions)
            .map(|million| folder.join(format!("{million}.parquet")))
            .collect(),
    );
    let start = Instant::now();
    let outcome = fixture.db.load(&staged).unwrap().outcome;
    eprintln!(
        "first merge, keys checked: {} rows in {:.2?}; {}",
        outcome.inserted,
        start.elapsed(),
        peak()
    );
    for (what, rows, from, at) in [
        ("idle", 1_000, last - 1_000, last),
        ("100k above", 100_000, last - 50_000, last - 50_001),
        (
            "100k overlap, all the same",
            100_000,
            last - 50_000,
            last + 50_000,
        ),
    ] {
        for disposition in [Disposition::Merge, Disposition::Append] {
            fixture.sql(&format!(
                "UPDATE replica._acequia_state SET position = '{}' WHERE stream = 'ventas2'",
                serde_json::to_string(&Position::Cursor(CursorPosition {
                    column: "updated_at".into(),
                    value: value(at),
                    resume: value(at),
                    seen: None,
                    boundary: None,
                    compared: None,
                }))
                .unwrap()
            ));
            let mut load = Load::full("ventas2", &many(rows, from));
            load = load.by_cursor(
                disposition,
                "updated_at",
                Some(value(at)),
                Some(value(last)),
            );
            let staged = fixture.stage(&load);
            let start = Instant::now();
            let outcome = fixture.db.load(&staged).unwrap().outcome;
            eprintln!(
                "{disposition}, {what}: {outcome:?} in {:.2?}; {}",
                start.elapsed(),
                peak()
            );
        }
    }
}
