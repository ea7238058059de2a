//! How fast changes fold, and in how much memory: run by hand, with
//! `cargo test --release -- --ignored --nocapture how_fast_changes_fold`.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Decimal128Array, ListBuilder, StringBuilder, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;

use super::*;
use crate::change::{self, Op};
use crate::destination::conformance::log::{HARD, SOFT, at};
use crate::mode::{Changes, Mode};
use crate::schema::Schema;

/// A change in the making: what it does to which row, and whether its large value was not sent.
type Made = (Op, i64, bool);

const BATCH: i64 = 100_000;

/// Changes of a table like `ventas` with a large text, from the number `from` on.
fn batch(
    from: i64,
    rows: i64,
    made: &dyn Fn(i64) -> Made,
) -> Vec<(&'static str, &'static str, ArrayRef)> {
    let numbers = from..from + rows;
    let made: Vec<Made> = numbers.clone().map(made).collect();
    let ids = || made.iter().map(|made| made.1);
    let amounts =
        Decimal128Array::from_iter_values(numbers.clone().map(|i| i128::from(i * 37 % 1_000_000)));
    let client: Vec<String> = ids()
        .map(|i| format!("cliente {} de la zona {}", i % 50_000, i % 7))
        .collect();
    let mut document = StringBuilder::new();
    let mut unchanged = ListBuilder::new(StringBuilder::new());
    for ((_, _, lacks), number) in made.iter().zip(numbers.clone()) {
        if *lacks {
            document.append_null();
            unchanged.values().append_value("documento");
        } else {
            document.append_value(format!("{{\"observaciones\": \"{number:0>200}\"}}"));
        }
        unchanged.append(*lacks);
    }
    let times = || {
        TimestampMicrosecondArray::from_iter_values(
            numbers.clone().map(|i| 1_700_000_000_000_000 + i),
        )
        .with_timezone("UTC")
    };
    vec![
        ("id", "int64", longs(ids())),
        ("cliente", "text", texts(client.iter().map(String::as_str))),
        (
            "importe",
            "decimal(10,2)",
            Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
        ),
        ("documento", "text", Arc::new(document.finish())),
        ("updated_at", "timestamptz", Arc::new(times())),
        (
            change::OP,
            "text",
            texts(made.iter().map(|made| made.0.code())),
        ),
        (
            change::LSN,
            "int64",
            longs(numbers.clone().map(|i| 1_000 + i / 100 * 8_000)),
        ),
        (
            change::SEQ,
            "int64",
            longs(numbers.clone().map(|i| i % 100 + 1)),
        ),
        (change::COMMIT_TS, "timestamptz", Arc::new(times())),
        (
            change::UNCHANGED,
            "list<text>",
            Arc::new(unchanged.finish()),
        ),
    ]
}

/// A load of so many changes, written batch by batch.
fn staged<S: Subject>(
    fixture: &mut Fixture<S>,
    changes: Changes,
    rows: i64,
    from: i64,
    before: Option<i64>,
    made: &dyn Fn(i64) -> Made,
) -> StagedLoad {
    let mut load = Load::full("ventas", &batch(from, 2, made));
    load.mode = Mode::Cdc;
    load.disposition = Disposition::Merge;
    load.changes = Some(changes);
    load.key = vec!["id".to_owned()];
    load.before = before.map(at);
    load.after = Some(at(before.unwrap_or(0) + 1));
    let mut staged = fixture.stage(&load);
    staged.manifest.rows = rows.unsigned_abs();
    let file = staged.parts.local().unwrap()[0].clone();
    let arrow = staged.manifest.schema.arrow();
    let mut writer = ArrowWriter::try_new(File::create(&file).unwrap(), arrow, None).unwrap();
    for start in (0..rows).step_by(usize::try_from(BATCH).unwrap()) {
        let columns = batch(from + start, BATCH.min(rows - start), made);
        writer
            .write(&record(&staged.manifest.schema, &columns))
            .unwrap();
        // A row group each: what the landing area writes is no larger.
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    staged.parts = Parts::Local(vec![file]);
    staged
}

fn record(schema: &Schema, columns: &[(&str, &str, ArrayRef)]) -> RecordBatch {
    let arrow = schema.arrow();
    let columns = columns
        .iter()
        .zip(arrow.fields())
        .map(|(column, field)| arrow::compute::cast(&column.2, field.data_type()).unwrap())
        .collect();
    RecordBatch::try_new(arrow, columns).unwrap()
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap()
        .to_owned()
}

#[allow(clippy::print_stderr)]
fn timed<S: Subject>(fixture: &mut Fixture<S>, what: &str, staged: &StagedLoad) -> LoadOutcome {
    // The peak is counted from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let resident = peak();
    let start = Instant::now();
    let outcome = fixture.db.load(staged).unwrap().outcome;
    eprintln!(
        "{what}: {:.2?}, {resident} before, {} at most; {outcome:?}",
        start.elapsed(),
        peak()
    );
    outcome
}

const MILLION: i64 = 1_000_000;

/// A million changes of each kind.
pub(crate) fn how_fast<S: Subject>() {
    let mixed = |i: i64| match i * 7_919 % 10 {
        0 => (Op::Delete, i * 31 % 100_000, false),
        _ => (Op::Update, i * 31 % 100_000, false),
    };
    let partial = |i: i64| (Op::Update, i * 31 % 100_000, i % 3 > 0);
    let hot = |i: i64| (Op::Update, 5, i % 1_000 > 0);
    let plain = HARD;
    let kept = Changes {
        changelog: true,
        ..HARD
    };
    for (name, changes) in [("hard", plain), ("soft", SOFT), ("changelog", kept)] {
        let mut fixture = Fixture::<S>::new();
        let snapshot = staged(&mut fixture, changes, MILLION, 0, None, &|i| {
            (Op::Snapshot, i, false)
        });
        timed(
            &mut fixture,
            &format!("{name}: snapshot of 1M rows"),
            &snapshot,
        );
        let mut next = 1;
        let mut run = |what: &str, rows: i64, made: &dyn Fn(i64) -> Made| {
            let load = staged(
                &mut fixture,
                changes,
                rows,
                next * MILLION,
                Some(next),
                made,
            );
            timed(&mut fixture, &format!("{name}: {what}"), &load);
            next += 1;
        };
        run("1M inserts into 1M rows", MILLION, &|i| {
            (Op::Insert, i, false)
        });
        run("1M updates and deletes of 100k keys", MILLION, &mixed);
        run(
            "1M inserts that put them back, and 900k others",
            MILLION,
            &|i| (Op::Insert, 7 * MILLION + i, false),
        );
    }
    for (name, changes) in [("hard", plain), ("soft", SOFT), ("changelog", kept)] {
        let mut fixture = Fixture::<S>::new();
        let snapshot = staged(&mut fixture, changes, MILLION, 0, None, &|i| {
            (Op::Snapshot, i, false)
        });
        timed(
            &mut fixture,
            &format!("{name}: snapshot of 1M rows"),
            &snapshot,
        );
        let load = staged(&mut fixture, changes, MILLION, MILLION, Some(1), &partial);
        timed(
            &mut fixture,
            &format!("{name}: 1M updates of 100k keys, a value unchanged in two of three"),
            &load,
        );
        let load = staged(&mut fixture, changes, BATCH, 2 * MILLION, Some(2), &hot);
        timed(
            &mut fixture,
            &format!("{name}: 100k updates of one row, a value unchanged in nearly all"),
            &load,
        );
        let moves = |i: i64| {
            let step = i / 2;
            if i % 2 == 0 {
                (Op::Delete, 50 * MILLION + step - 1, false)
            } else {
                (Op::Insert, 50 * MILLION + step, true)
            }
        };
        let first = move |i: i64| {
            if i == 3 * MILLION {
                (Op::Delete, 77, false)
            } else {
                moves(i)
            }
        };
        let load = staged(&mut fixture, changes, BATCH, 3 * MILLION, Some(3), &first);
        timed(
            &mut fixture,
            &format!("{name}: a row that moves 50k times"),
            &load,
        );
    }
}

/// MILLIONS of changes.
pub(crate) fn how_much_memory<S: Subject>(mut fixture: Fixture<S>) {
    let millions: i64 = std::env::var("MILLIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    let snapshot = staged(&mut fixture, HARD, MILLION, 0, None, &|i| {
        (Op::Snapshot, i, false)
    });
    timed(&mut fixture, "snapshot of 1M rows", &snapshot);
    let rows = millions * MILLION;
    let load = staged(&mut fixture, HARD, rows, MILLION, Some(1), &|i| {
        (Op::Insert, i, false)
    });
    timed(&mut fixture, "inserts", &load);
    let load = staged(&mut fixture, HARD, rows, 10 * MILLION, Some(2), &|i| {
        (Op::Update, i * 31 % 3_000_000, i % 3 > 0)
    });
    timed(
        &mut fixture,
        "updates of 3M keys, a value unchanged in two of three",
        &load,
    );
}
