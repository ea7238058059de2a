//! Incremental loads: rows are merged or appended.

use std::sync::Arc;

use Disposition::{Append, Merge};
use arrow::array::{Float64Array, Int64Array, TimestampMicrosecondArray};

use super::*;
use crate::mode::{Amends, Changes, Deletes};

const ALL: &str = "SELECT id, importe, version FROM replica.ventas ORDER BY 1, 2, 3";

fn writes<S: Subject>(fixture: &Fixture<S>) -> Vec<String> {
    fixture.query("SELECT _acequia_load_id, count(*) FROM replica.ventas GROUP BY 1 ORDER BY 1")
}

pub(crate) fn a_merge_inserts_new_rows_and_updates_changed_ones<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    assert_eq!(
        fixture.load(&Load::sales(
            Merge,
            None,
            &[(1, 10, 1), (2, 20, 2), (3, 30, 3)]
        )),
        (3, 0)
    );
    let next = Load::sales(Merge, Some(3), &[(3, 30, 3), (2, 21, 4), (4, 40, 5)]);
    assert_eq!(fixture.load(&next), (1, 1));
    assert_eq!(fixture.query(ALL), ["1|10|1", "2|21|4", "3|30|3", "4|40|5"]);
}

pub(crate) fn a_row_of_the_overlap_that_changed_is_updated<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(Merge, None, &[(1, 10, 1), (2, 20, 3)]));
    // Row 1 was committed late, below the position.
    assert_eq!(
        fixture.load(&Load::sales(Merge, Some(3), &[(1, 11, 2), (2, 20, 3)])),
        (0, 1)
    );
    assert_eq!(fixture.query(ALL), ["1|11|2", "2|20|3"]);
}

pub(crate) fn an_idle_run_writes_nothing<S: Subject>() {
    for disposition in [Merge, Append] {
        let mut fixture = Fixture::<S>::new();
        fixture.load(&Load::sales(disposition, None, &[(1, 10, 1), (2, 20, 2)]));
        let before = writes(&fixture);
        assert_eq!(
            fixture.load(&Load::sales(disposition, Some(2), &[(2, 20, 2)])),
            (0, 0)
        );
        assert_eq!(
            fixture.load(&Load::sales(disposition, Some(2), &[])),
            (0, 0)
        );
        assert_eq!(writes(&fixture), before);
        let state = fixture.db.states().unwrap().pop_first().unwrap().1;
        let Some(Position::Cursor(position)) = state.position else {
            panic!()
        };
        assert_eq!(position.value, CursorValue::Integer(2));
    }
}

pub(crate) fn a_load_without_rows_does_not_take_the_position_back<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(Merge, None, &[(1, 10, 1)]));
    let mut idle = Load::sales(Merge, Some(1), &[]);
    idle.after = None;
    fixture.load(&idle);
    assert!(
        fixture
            .db
            .states()
            .unwrap()
            .pop_first()
            .unwrap()
            .1
            .position
            .is_some()
    );
}

pub(crate) fn a_load_out_of_turn_is_refused<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(Merge, None, &[(1, 10, 1)]));
    let before = fixture.everything();
    let error = fixture
        .try_load(&Load::sales(Merge, Some(5), &[(1, 11, 6)]))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not stand where the load begins"),
        "{error}"
    );
    assert_eq!(fixture.everything(), before);
}

pub(crate) fn of_rows_with_the_same_key_the_newest_is_taken<S: Subject>() {
    for before in [None, Some(1)] {
        let mut fixture = Fixture::<S>::new();
        fixture.load(&Load::sales(Merge, None, &[(9, 90, 1)]));
        let rows = [
            (9, 90, 1),
            (1, 10, 2),
            (1, 11, 4),
            (1, 12, 3),
            (2, 20, 2),
            (2, 20, 2),
            (3, 30, 2),
        ];
        let outcome = fixture.load(&Load::sales(Merge, before, &rows).key_not_unique());
        assert_eq!(outcome, if before.is_some() { (3, 0) } else { (4, 0) });
        assert_eq!(fixture.query(ALL), ["1|11|4", "2|20|2", "3|30|2", "9|90|1"]);
    }
}

pub(crate) fn a_key_may_have_several_columns<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let load = |before: Option<i64>, rows: &[(i64, i32, i64)]| {
        let mut load = Load::sales(Merge, before, rows).key_not_unique();
        load.key = vec!["importe".to_owned(), "id".to_owned()];
        load
    };
    assert_eq!(
        fixture.load(&load(None, &[(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 1, 2)])),
        (3, 0)
    );
    assert_eq!(
        fixture.load(&load(Some(2), &[(1, 2, 3), (2, 1, 2), (2, 2, 2)])),
        (1, 1)
    );
    assert_eq!(fixture.query(ALL), ["1|1|1", "1|2|3", "2|1|2", "2|2|2"]);
}

pub(crate) fn a_key_that_settles_nothing_is_refused<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(Merge, None, &[(9, 90, 1)]));
    let before = fixture.everything();
    let rows = [
        (1, 77_777, 2),
        (1, 88_888, 2),
        (2, 1, 2),
        (2, 2, 2),
        (3, 1, 2),
        (3, 1, 2),
    ];
    let error = fixture
        .try_load(&Load::sales(Merge, Some(1), &rows).key_not_unique())
        .unwrap_err()
        .report();
    assert!(
        error.contains("2 key(s) (`id`)") && error.contains("`version`"),
        "{error}"
    );
    assert!(
        !error.contains("77777") && error.contains("primary_key"),
        "{error}"
    );
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    let load =
        Load::sales(Merge, Some(1), &[(1, 1, 2), (1, 1, 3), (1, 1, 4)]).with("id", "int64", nulls);
    for mut load in [load.clone(), load.key_not_unique()] {
        load.key = vec!["id".to_owned()];
        let error = fixture.try_load(&load).unwrap_err().report();
        assert!(error.contains("key (`id`) of 2 row(s)"), "{error}");
    }
    assert_eq!(fixture.everything(), before);
}

pub(crate) fn an_append_adds_what_is_not_there_and_keeps_true_duplicates<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    assert_eq!(
        fixture.load(&Load::sales(
            Append,
            None,
            &[(1, 10, 1), (2, 20, 3), (2, 20, 3)]
        )),
        (3, 0)
    );
    // The overlap again, with a third row like the two, a late row below the position, and new rows, two of them alike.
    let rows = [
        (2, 20, 3),
        (2, 20, 3),
        (2, 20, 3),
        (5, 50, 2),
        (6, 60, 4),
        (6, 60, 4),
    ];
    assert_eq!(fixture.load(&Load::sales(Append, Some(3), &rows)), (4, 0));
    assert_eq!(
        fixture.query(ALL),
        [
            "1|10|1", "2|20|3", "2|20|3", "2|20|3", "5|50|2", "6|60|4", "6|60|4"
        ]
    );
}

pub(crate) fn rows_whose_cursor_is_null_or_infinite_come_each_time_and_are_met_again<S: Subject>() {
    let micros = 1_700_000_000_000_000;
    for zone in [None, Some("UTC")] {
        for disposition in [Merge, Append] {
            let mut fixture = Fixture::<S>::new();
            let load = |before: Option<i64>, ids: &[i64], times: Vec<Option<i64>>| {
                let times = TimestampMicrosecondArray::from(times).with_timezone_opt(zone);
                let (kind, value): (_, fn(i64) -> CursorValue) = match zone {
                    None => ("timestamp", CursorValue::Timestamp),
                    Some(_) => ("timestamptz", CursorValue::TimestampTz),
                };
                Load::full(
                    "ventas",
                    &[
                        ("id", "int64", longs(ids.to_vec())),
                        ("t", kind, Arc::new(times)),
                    ],
                )
                .by_cursor(
                    disposition,
                    "t",
                    before.map(value),
                    Some(value(micros)),
                )
            };
            let times = vec![Some(micros), None, Some(i64::MAX)];
            assert_eq!(fixture.load(&load(None, &[1, 2, 3], times.clone())), (3, 0));
            assert_eq!(fixture.load(&load(Some(micros), &[1, 2, 3], times)), (0, 0));
            let times = vec![None, Some(i64::MAX), Some(micros + 1)];
            assert_eq!(fixture.load(&load(Some(micros), &[2, 4, 5], times)), (2, 0));
        }
    }
}

pub(crate) fn minus_zero_and_nan_are_values<S: Subject>() {
    for disposition in [Merge, Append] {
        let mut fixture = Fixture::<S>::new();
        let load = |before: Option<i64>, values: Vec<f64>| {
            let ids: Vec<(i64, i32, i64)> = (0..).zip(&values).map(|(id, _)| (id, 1, 1)).collect();
            Load::sales(disposition, before, &ids).with(
                "f",
                "float64",
                Arc::new(Float64Array::from(values)),
            )
        };
        fixture.load(&load(None, vec![0.0, f64::NAN, f64::INFINITY]));
        assert_eq!(
            fixture.load(&load(Some(1), vec![0.0, f64::NAN, f64::INFINITY])),
            (0, 0)
        );
        let (inserted, updated) = fixture.load(&load(Some(1), vec![-0.0, f64::NAN, f64::INFINITY]));
        assert_eq!(inserted + updated, u64::from(S::KEEPS_SIGN_OF_ZERO));
    }
}

pub(crate) fn every_type_of_cursor_bounds_the_overlap<S: Subject>() {
    use arrow::array::{Date32Array, Decimal128Array, FixedSizeBinaryArray, Int16Array};
    let uuid = |n: u128| uuid::Uuid::from_u128(n << 64);
    let uuids = |values: [u128; 3]| -> ArrayRef {
        let bytes = values.map(|value| uuid(value).into_bytes());
        Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap())
    };
    let decimal = |values: [i128; 3]| -> ArrayRef {
        Arc::new(
            Decimal128Array::from_iter_values(values)
                .with_precision_and_scale(20, 3)
                .unwrap(),
        )
    };
    let long = |end: &str| format!("{}{end}", "ñ".repeat(200));
    let short = |values: [i16; 3]| -> ArrayRef { Arc::new(Int16Array::from_iter_values(values)) };
    let date = |values: [i32; 3]| -> ArrayRef { Arc::new(Date32Array::from_iter_values(values)) };
    let cases: [(&str, CursorValue, ArrayRef, ArrayRef); 6] = [
        (
            "int16",
            CursorValue::Integer(2),
            short([-1, 1, 2]),
            short([2, 1, 3]),
        ),
        (
            "decimal(20,3)",
            CursorValue::Decimal(2, 3),
            decimal([-1, 1, 2]),
            decimal([2, 1, 3]),
        ),
        (
            "date",
            CursorValue::Date(2),
            date([-800_000, 1, 2]),
            date([2, 1, 3]),
        ),
        (
            "text",
            CursorValue::Text("ñ'".to_owned()),
            texts(["A", "b", "ñ'"]),
            texts(["ñ'", "b", "ó"]),
        ),
        // Longer than what a Parquet part's statistics keep.
        (
            "text",
            CursorValue::Text(long("b")),
            texts([&*long("a"), &*long(""), &*long("b")]),
            texts([&*long("b"), &*long(""), &*long("c")]),
        ),
        (
            "uuid",
            CursorValue::Uuid(uuid(9)),
            uuids([1, 2, 9]),
            uuids([9, 2, u128::from(u64::MAX)]),
        ),
    ];
    for (kind, position, first, second) in cases {
        for disposition in [Merge, Append] {
            let mut fixture = Fixture::<S>::new();
            let load = |before: Option<CursorValue>, ids: [i64; 3], cursor: &ArrayRef| {
                Load::full(
                    "ventas",
                    &[("id", "int64", longs(ids)), ("c", kind, Arc::clone(cursor))],
                )
                .by_cursor(disposition, "c", before, Some(position.clone()))
            };
            assert_eq!(
                fixture.load(&load(None, [1, 2, 3], &first)),
                (3, 0),
                "{kind}"
            );
            assert_eq!(
                fixture.load(&load(Some(position.clone()), [3, 2, 4], &second)),
                (1, 0),
                "{kind}"
            );
        }
    }
}

/// Rows say themselves what becomes of them: `u` replaces whatever has its key, `d` deletes it or, where deletes are soft, marks it.
pub(crate) fn rows_of_an_amending_load_replace_and_delete_by_their_keys<S: Subject>() {
    for deletes in [Deletes::Hard, Deletes::Soft] {
        let mut fixture = Fixture::<S>::new();
        let changes = (deletes == Deletes::Soft).then_some(Changes {
            deletes,
            changelog: false,
        });
        let sales = |before, rows: &[(i64, i32, i64)]| Load {
            changes,
            ..Load::sales(Disposition::Merge, before, rows)
        };
        fixture.load(&sales(
            None,
            &[(1, 10, 1), (2, 20, 2), (3, 30, 3), (4, 40, 4)],
        ));
        let amending = |before, rows: &[(i64, i32, i64)], ops: &[&'static str]| Load {
            amends: Some(Amends::Repair),
            ops: Some(texts(ops.iter().copied())),
            after: None,
            ..sales(Some(before), rows)
        };
        let load = amending(
            4,
            &[(2, 0, 0), (3, 31, 3), (5, 50, 2), (9, 0, 0)],
            &["d", "u", "u", "d"],
        );
        let outcome = fixture.try_load(&load).unwrap();
        assert_eq!(
            (outcome.inserted, outcome.updated, outcome.deleted),
            (1, 1, 1)
        );
        let living = match deletes {
            Deletes::Hard => "",
            Deletes::Soft => " WHERE _acequia_deleted_at IS NULL",
        };
        let rows = format!("SELECT id, importe FROM replica.ventas{living} ORDER BY id");
        assert_eq!(fixture.query(&rows), ["1|10", "3|31", "4|40", "5|50"]);
        let all = fixture.query("SELECT count(*) FROM replica.ventas");
        assert_eq!(all, [if living.is_empty() { "4" } else { "5" }]);
        // The position stays, so that the next load follows; a deleted row lives again, be it as it was.
        fixture.load(&sales(Some(4), &[(2, 20, 2), (4, 40, 4), (6, 60, 6)]));
        assert_eq!(fixture.query(&rows).len(), 6);
        let null: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        let null = amending(6, &[(1, 1, 1)], &["d"]).with("id", "int64", null);
        assert!(matches!(fixture.try_load(&null), Err(Error::Data(_))));
    }
}
