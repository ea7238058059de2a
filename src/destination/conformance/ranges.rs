//! Loads of a range: their rows take the place of those that the table has there, and of no others.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, FixedSizeBinaryArray, Int16Array,
    TimestampMicrosecondArray,
};

use super::*;
use crate::mode::{Amends, Changes, Deletes};
use crate::position::ValueRange;
use Disposition::{Append, InsertOnly, Merge, Scd2};

fn range(column: &str, from: Option<CursorValue>, to: Option<CursorValue>) -> Amends {
    Amends::Range(ValueRange {
        column: column.to_owned(),
        from,
        to,
    })
}

/// The rows of the range `version >= from and < to`, of a stream that stands at `position`.
fn sales(
    disposition: Disposition,
    position: i64,
    (from, to): (Option<i64>, Option<i64>),
    rows: &[(i64, i32, i64)],
) -> Load {
    let end = |end: Option<i64>| end.map(CursorValue::Integer);
    Load {
        amends: Some(range("version", end(from), end(to))),
        after: None,
        ..Load::sales(disposition, Some(position), rows)
    }
}

fn apply<S: Subject>(fixture: &mut Fixture<S>, load: &Load) -> (u64, u64, u64) {
    let outcome = fixture
        .try_load(load)
        .unwrap_or_else(|error| panic!("{}", error.report()));
    (outcome.inserted, outcome.updated, outcome.deleted)
}

const ROWS: &str = "SELECT id, importe, version FROM replica.ventas ORDER BY id, importe, version";
const CURRENT: &str =
    "SELECT id, importe, version FROM replica.ventas WHERE _acequia_valid_to IS NULL ORDER BY id";

pub(crate) fn rows_of_a_range_take_the_place_of_those_with_their_keys<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let all = [
        (1, 10, 1),
        (2, 20, 2),
        (3, 30, 3),
        (4, 40, 4),
        (5, 50, 5),
        (6, 60, 6),
    ];
    fixture.load(&Load::sales(Merge, None, &all));
    let loads = "SELECT DISTINCT _acequia_load_id FROM replica.ventas WHERE id IN (1, 2, 6)";
    let first = fixture.query(loads);
    // 2 is as it was, 3 is gone, 4 has another value, 5 lies below the range by now and 6 comes into it; 7 is new.
    let rows = [(2, 20, 2), (4, 41, 4), (5, 50, 1), (7, 70, 3)];
    let load = sales(Merge, 6, (Some(2), Some(6)), &rows);
    assert_eq!(apply(&mut fixture, &load), (1, 2, 1));
    assert_eq!(
        fixture.query(ROWS),
        ["1|10|1", "2|20|2", "4|41|4", "5|50|1", "6|60|6", "7|70|3"]
    );
    assert_eq!(
        fixture.query(loads),
        first,
        "what is as it was is not written"
    );
    // Once more, it changes nothing: what moved out of the range stays where it is.
    let rows = [(2, 20, 2), (4, 41, 4), (7, 70, 3)];
    let again = sales(Merge, 6, (Some(2), Some(6)), &rows);
    assert_eq!(apply(&mut fixture, &again), (0, 0, 0));
    let open = sales(Merge, 6, (None, Some(2)), &[(1, 11, 1)]);
    assert_eq!(apply(&mut fixture, &open), (0, 1, 1));
    let none = sales(Merge, 6, (Some(3), None), &[]);
    assert_eq!(apply(&mut fixture, &none), (0, 0, 3));
    assert_eq!(fixture.query(ROWS), ["1|11|1", "2|20|2"]);
    // The position stays, so that the next load follows.
    fixture.load(&Load::sales(Merge, Some(6), &[(8, 80, 8)]));
}

pub(crate) fn rows_that_a_range_lacks_are_marked_where_deletes_are_soft<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let soft = |load: Load| Load {
        changes: Some(Changes {
            deletes: Deletes::Soft,
            changelog: false,
        }),
        ..load
    };
    let all = [(1, 10, 1), (2, 20, 2), (3, 30, 3)];
    fixture.load(&soft(Load::sales(Merge, None, &all)));
    let ends = (Some(2), Some(9));
    let load = soft(sales(Merge, 3, ends, &[(3, 31, 3)]));
    assert_eq!(apply(&mut fixture, &load), (0, 1, 1));
    let marked = "SELECT id FROM replica.ventas WHERE _acequia_deleted_at IS NOT NULL";
    assert_eq!(fixture.query(marked), ["2"]);
    assert_eq!(apply(&mut fixture, &load), (0, 0, 0));
    // A row lives again, be it as it was.
    let load = soft(sales(Merge, 3, ends, &[(2, 20, 2), (3, 31, 3)]));
    assert_eq!(apply(&mut fixture, &load), (0, 1, 0));
    assert!(fixture.query(marked).is_empty());
    let none = soft(sales(Merge, 3, ends, &[]));
    assert_eq!(apply(&mut fixture, &none), (0, 0, 2));
    assert_eq!(fixture.query(ROWS), ["1|10|1", "2|20|2", "3|31|3"]);
}

pub(crate) fn rows_without_a_key_take_the_place_of_all_in_their_range<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let all = [(1, 10, 1), (2, 20, 2), (2, 20, 2), (3, 30, 3), (4, 40, 4)];
    fixture.load(&Load::sales(Append, None, &all));
    let rows = [(2, 20, 2), (3, 31, 3), (3, 31, 3)];
    let load = sales(Append, 4, (Some(2), Some(4)), &rows);
    assert_eq!(apply(&mut fixture, &load), (3, 0, 3));
    let seen = ["1|10|1", "2|20|2", "3|31|3", "3|31|3", "4|40|4"];
    assert_eq!(fixture.query(ROWS), seen);
    // The next load meets them again, and adds what is new alone.
    let next = [(3, 31, 3), (3, 31, 3), (3, 31, 3), (4, 40, 4), (5, 50, 5)];
    assert_eq!(fixture.load(&Load::sales(Append, Some(4), &next)), (2, 0));
    let none = sales(Append, 5, (None, None), &[]);
    assert_eq!(apply(&mut fixture, &none), (0, 0, 7));
    assert!(fixture.query(ROWS).is_empty());
}

pub(crate) fn versions_of_a_range_are_closed_and_first_rows_stay<S: Subject>() {
    let all = [(1, 10, 1), (2, 20, 2), (3, 30, 3), (4, 40, 4)];
    let rows = [(2, 21, 2), (4, 40, 4), (5, 50, 3)];
    let ends = (Some(2), Some(5));
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(Scd2, None, &all));
    let load = sales(Scd2, 4, ends, &rows);
    assert_eq!(apply(&mut fixture, &load), (1, 1, 1));
    assert_eq!(
        fixture.query(CURRENT),
        ["1|10|1", "2|21|2", "4|40|4", "5|50|3"]
    );
    // The versions that were stay, and are not closed again.
    assert_eq!(fixture.query(ROWS).len(), 6);
    assert_eq!(apply(&mut fixture, &load), (0, 0, 0));
    assert_eq!(apply(&mut fixture, &sales(Scd2, 4, ends, &[])), (0, 0, 3));
    assert_eq!(fixture.query(CURRENT), ["1|10|1"]);

    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(InsertOnly, None, &all));
    let load = sales(InsertOnly, 4, ends, &rows);
    assert_eq!(apply(&mut fixture, &load), (1, 0, 0));
    assert_eq!(
        fixture.query(ROWS),
        ["1|10|1", "2|20|2", "3|30|3", "4|40|4", "5|50|3"]
    );
}

pub(crate) fn every_type_has_ranges<S: Subject>() {
    let decimal = |values: [i128; 4]| -> ArrayRef {
        Arc::new(
            Decimal128Array::from_iter_values(values)
                .with_precision_and_scale(20, 3)
                .unwrap(),
        )
    };
    let uuids = |values: [u128; 4]| -> ArrayRef {
        let bytes = values.map(u128::to_be_bytes);
        Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap())
    };
    let uuid = |value: u128| CursorValue::Uuid(uuid::Uuid::from_u128(value));
    let times = |values: [i64; 4]| TimestampMicrosecondArray::from_iter_values(values);
    let time = 1_704_067_200_000_000;
    let stamps = [time - 1, time, time + 1, time + 2];
    // Of four values the second and the third lie in the range.
    let cases: [(&str, ArrayRef, CursorValue, CursorValue); 8] = [
        (
            "int16",
            Arc::new(Int16Array::from_iter_values([-3, -2, 7, 8])),
            CursorValue::Integer(-2),
            CursorValue::Integer(8),
        ),
        (
            "int32",
            ints([-3, -2, i32::MAX, -4]),
            CursorValue::Integer(-2),
            CursorValue::Integer(i64::MAX),
        ),
        (
            "decimal(20,3)",
            decimal([-1, 1, 1_499, 1_500]),
            CursorValue::Decimal(1, 3),
            CursorValue::Decimal(15, 1),
        ),
        (
            "date",
            Arc::new(Date32Array::from_iter_values([-1, 0, 1, 2])),
            CursorValue::Date(0),
            CursorValue::Date(2),
        ),
        (
            "timestamp",
            Arc::new(times(stamps)),
            CursorValue::Timestamp(time),
            CursorValue::Timestamp(time + 2),
        ),
        (
            "timestamptz",
            Arc::new(times(stamps).with_timezone("UTC")),
            CursorValue::TimestampTz(time),
            CursorValue::TimestampTz(time + 2),
        ),
        (
            "text",
            texts(["Z", "a", "z'", "ñ"]),
            CursorValue::Text("a".to_owned()),
            CursorValue::Text("é".to_owned()),
        ),
        (
            "uuid",
            uuids([1, 2, 1 << 127, u128::MAX]),
            uuid(2),
            uuid(u128::MAX),
        ),
    ];
    for (kind, values, from, to) in cases {
        for disposition in [Merge, Append] {
            let mut fixture = Fixture::<S>::new();
            let load = |ids: [i64; 4]| {
                Load::full(
                    "ventas",
                    &[
                        ("id", "int64", longs(ids)),
                        ("c", kind, Arc::clone(&values)),
                    ],
                )
            };
            let at = Some(to.clone());
            fixture.load(&load([1, 2, 3, 4]).by_cursor(disposition, "c", None, at.clone()));
            let mut none = load([1, 2, 3, 4]).by_cursor(disposition, "c", at, None);
            none.amends = Some(range("c", Some(from.clone()), Some(to.clone())));
            for (_, _, array) in &mut none.columns {
                *array = array.slice(0, 0);
            }
            assert_eq!(apply(&mut fixture, &none), (0, 0, 2), "{kind}");
            let left = fixture.query("SELECT id FROM replica.ventas ORDER BY id");
            assert_eq!(left, ["1", "4"], "{kind}");
        }
    }
}
