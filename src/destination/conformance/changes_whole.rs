//! Loads of changes to tables without a key: whole rows come and go.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::log::{HARD, Log, apply, columns_of_changes};
use super::*;
use crate::change::Op;
use crate::mode::Changes;

/// A table without a key, of (f, t): what came, and what went.
fn whole_rows(stream: &mut Log, from: i64, changes: &[(Op, Option<f64>, Option<&str>)]) -> Load {
    stream.has_key = false;
    let load = Load::full(
        &stream.stream,
        &[
            (
                "f",
                "float64",
                Arc::new(
                    changes
                        .iter()
                        .map(|change| change.1)
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "t",
                "text",
                Arc::new(
                    changes
                        .iter()
                        .map(|change| change.2)
                        .collect::<StringArray>(),
                ),
            ),
        ],
    );
    let places: Vec<(i64, i64)> = (0..)
        .zip(changes)
        .map(|(seq, change)| {
            let seq = if change.0 == Op::Snapshot { 0 } else { seq + 1 };
            (from, seq)
        })
        .collect();
    let ops = changes.iter().map(|change| change.0).collect();
    let unchanged = vec![[].as_slice(); changes.len()];
    let load = columns_of_changes(load, ops, &places, &unchanged);
    stream.position(load, from + 1)
}

pub(crate) fn rows_without_a_key_come_and_go_as_a_whole<S: Subject>() {
    use Op::{Delete, Insert, Snapshot, Truncate};
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new(
        "s",
        Changes {
            changelog: true,
            ..HARD
        },
    );
    let (x, zero, minus, nan) = (Some("x"), Some(0.0), Some(-0.0), Some(f64::NAN));
    let first = [
        (Snapshot, zero, x),
        (Snapshot, zero, x),
        (Snapshot, zero, x),
        (Snapshot, minus, x),
        (Snapshot, nan, None),
        (Snapshot, None, None),
    ];
    assert_eq!(
        apply(&mut fixture, &whole_rows(&mut stream, 100, &first)),
        (6, 0, 0)
    );
    let table = |fixture: &Fixture<S>| shown::<S>(&fixture.query("SELECT f, t FROM replica.s"));
    let second = [
        (Delete, zero, x),
        (Delete, nan, None),
        (Insert, None, None),
        (Insert, Some(1.5), x),
        (Insert, Some(1.5), x),
        (Delete, Some(1.5), x),
        (Delete, minus, x),
        (Insert, minus, x),
    ];
    assert_eq!(
        apply(&mut fixture, &whole_rows(&mut stream, 200, &second)),
        (2, 0, 2)
    );
    assert_eq!(
        table(&fixture),
        shown::<S>(&["-0|x", "0|x", "0|x", "1.5|x", "null|null", "null|null"].map(str::to_owned))
    );
    // Rows that stay are as they were.
    assert_eq!(
        fixture.query("SELECT _acequia_lsn, count(*) FROM replica.s GROUP BY 1 ORDER BY 1"),
        ["100|4", "200|2"]
    );
    let third = [
        (Insert, zero, x),
        (Truncate, None, None),
        (Insert, nan, x),
        (Insert, nan, x),
        (Delete, nan, x),
    ];
    assert_eq!(
        apply(&mut fixture, &whole_rows(&mut stream, 300, &third)),
        (1, 0, 6)
    );
    assert_eq!(table(&fixture), ["nan|x"]);
    assert_eq!(
        fixture.query("SELECT count(*) FROM replica.s__changes"),
        ["19"]
    );
    let before = fixture.everything();
    let unknown = whole_rows(&mut stream, 400, &[(Delete, zero, x)]);
    let error = fixture.try_load(&unknown).unwrap_err().report();
    assert!(error.contains("--full-refresh"), "{error}");
    assert_eq!(fixture.everything(), before);
}

/// What is done in a source whose rows have no key. Rows are drawn from few.
#[derive(Debug, Clone)]
enum Act {
    Insert(usize),
    /// The row at that place, counted round and round, goes.
    Delete(usize),
    Truncate,
    Load,
}

const FLOATS: [Option<f64>; 4] = [Some(0.0), Some(-0.0), Some(f64::NAN), None];
const TEXTS: [Option<&str>; 2] = [Some("x"), None];

fn row(number: usize) -> (Option<f64>, Option<&'static str>) {
    (FLOATS[number % 4], TEXTS[number / 4 % 2])
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0_usize..8).prop_map(Act::Insert),
        5 => (0_usize..100).prop_map(Act::Delete),
        1 => Just(Act::Truncate),
        2 => Just(Act::Load),
    ];
    proptest::collection::vec(act, 1..60)
}

pub(crate) fn a_table_without_a_key_is_what_its_source_was<S: Subject>() {
    let mut runner = runner::<S>();
    let fixture = std::cell::RefCell::new(Fixture::<S>::new());
    let number = std::cell::Cell::new(0);
    let property = |acts: Vec<Act>| {
        number.set(number.get() + 1);
        let mut fixture = fixture.borrow_mut();
        let mut stream = Log::new(&format!("s{}", number.get()), HARD);
        let mut try_load = |changes: &[(Op, Option<f64>, Option<&str>)], from| {
            let load = whole_rows(&mut stream, from, changes);
            let outcome = fixture
                .try_load(&load)
                .map_err(|error| TestCaseError::fail(error.report()))?;
            let table = fixture.query(&format!("SELECT f, t FROM replica.\"{}\"", stream.stream));
            Ok::<_, TestCaseError>((outcome, shown::<S>(&table)))
        };
        try_load(&[], 1)?;
        let (mut rows, mut changes, mut before): (Vec<usize>, Vec<_>, usize) = Default::default();
        for (from, act) in (2..).zip(acts.iter().chain([&Act::Load])) {
            let change = match *act {
                Act::Insert(new) => {
                    rows.push(new);
                    (Op::Insert, row(new))
                }
                Act::Delete(place) if !rows.is_empty() => {
                    let place = place % rows.len();
                    (Op::Delete, row(rows.swap_remove(place)))
                }
                Act::Truncate => {
                    rows.clear();
                    (Op::Truncate, (None, None))
                }
                Act::Delete(_) => continue,
                Act::Load => {
                    let (outcome, table) = try_load(&std::mem::take(&mut changes), from)?;
                    let expected = rows.iter().map(|number| row(*number));
                    let expected = expected.map(|(f, t)| {
                        let f = f.map_or("NULL".to_owned(), |f| f.to_string());
                        format!("{f}|{}", t.unwrap_or("NULL"))
                    });
                    prop_assert_eq!(table, shown::<S>(&expected.collect::<Vec<_>>()));
                    prop_assert_eq!(
                        before as u64 + outcome.inserted - outcome.deleted,
                        rows.len() as u64
                    );
                    before = rows.len();
                    continue;
                }
            };
            let (op, (f, t)) = change;
            changes.push((op, f, t));
        }
        Ok(())
    };
    runner.run(&acts(), property).unwrap();
}

/// Rows as every destination shows them, sorted.
fn shown<S: Subject>(rows: &[String]) -> Vec<String> {
    let mut rows: Vec<String> = rows
        .iter()
        .map(|row| row.to_lowercase().replace(".0", ""))
        .map(|row| match row.strip_prefix("-0|") {
            Some(rest) if !S::KEEPS_SIGN_OF_ZERO => format!("0|{rest}"),
            _ => row,
        })
        .collect();
    rows.sort();
    rows
}
