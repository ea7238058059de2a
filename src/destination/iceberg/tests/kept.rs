//! What a table keeps of values that Iceberg has no type for, and of its stream.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int16Array, ListArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Date32Type;

use super::*;

fn load(column_type: &str, array: ArrayRef) -> Load {
    let ids = longs(0..i64::try_from(array.len()).unwrap());
    Load::full("x", &[("id", "int64", ids), ("v", column_type, array)])
}

fn kept(column_type: &str, array: ArrayRef) -> Vec<String> {
    let mut fixture = Fixture::<Namespace>::new();
    fixture.load(&load(column_type, array));
    fixture.query("SELECT v FROM replica.x ORDER BY id")
}

#[test]
fn times_have_six_digits_so_that_text_orders_them() {
    let second = 1_000_000;
    let times = [
        0,
        1,
        12 * 3600 * second + 500_000,
        86_399 * second,
        24 * 3600 * second,
    ];
    assert_eq!(
        kept(
            "time",
            Arc::new(Time64MicrosecondArray::from(times.to_vec()))
        ),
        [
            "00:00:00.000000",
            "00:00:00.000001",
            "12:00:00.500000",
            "23:59:59.000000",
            "24:00:00.000000"
        ]
    );
}

#[test]
fn finite_dates_and_times_are_kept_and_infinite_ones_refused_by_their_column() {
    let days = vec![Some(-719_162), Some(2_932_896), Some(-2_440_588), None];
    assert_eq!(
        kept("date", Arc::new(Date32Array::from(days))),
        ["0001-01-01", "9999-12-31", "4714-11-24 (BC)", "NULL"]
    );
    let times = vec![Some(0), Some(253_402_300_799_999_999), None];
    assert_eq!(
        kept(
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(times.clone()))
        ),
        ["1970-01-01 00:00:00", "9999-12-31 23:59:59.999999", "NULL"]
    );
    let infinite: [(&str, ArrayRef); 4] = [
        ("date", Arc::new(Date32Array::from(vec![0, i32::MAX]))),
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![0, -i64::MAX])),
        ),
        (
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC")),
        ),
        (
            "list<date>",
            Arc::new(ListArray::from_iter_primitive::<Date32Type, _, _>([Some(
                [Some(0), Some(i32::MAX)],
            )])),
        ),
    ];
    for (column_type, array) in infinite {
        let mut fixture = Fixture::<Namespace>::new();
        let before = fixture.everything();
        let error = fixture
            .try_load(&load(column_type, array))
            .unwrap_err()
            .report();
        assert!(
            error.contains("column `v` has an infinite date or time")
                && error.contains("v = \"text\""),
            "{error}"
        );
        assert_eq!(fixture.everything(), before);
    }
}

#[test]
fn rows_without_a_cursor_come_each_time_and_are_met_again() {
    for disposition in [Disposition::Merge, Disposition::Append] {
        let mut fixture = Fixture::<Namespace>::new();
        let micros = 1_700_000_000_000_000;
        let load = |before: Option<i64>, ids: &[i64], times: Vec<Option<i64>>| {
            let times = TimestampMicrosecondArray::from(times);
            Load::full(
                "ventas",
                &[
                    ("id", "int64", longs(ids.to_vec())),
                    ("t", "timestamp", Arc::new(times)),
                ],
            )
            .by_cursor(
                disposition,
                "t",
                before.map(CursorValue::Timestamp),
                Some(CursorValue::Timestamp(micros)),
            )
        };
        let times = vec![Some(micros), None];
        assert_eq!(fixture.load(&load(None, &[1, 2], times.clone())), (2, 0));
        assert_eq!(fixture.load(&load(Some(micros), &[1, 2], times)), (0, 0));
        let times = vec![None, Some(micros + 1)];
        assert_eq!(fixture.load(&load(Some(micros), &[2, 4], times)), (1, 0));
    }
}

/// DuckDB's Parquet dictionaries would make all of these the zero that comes first.
#[test]
fn zero_has_no_sign_whichever_comes_first() {
    for first in [0.0, -0.0] {
        let mut floats = vec![first; 5];
        floats.extend([-0.0, 0.0, f64::NAN]);
        let kept = kept("float64", Arc::new(Float64Array::from(floats)));
        assert_eq!(
            kept,
            ["0.0", "0.0", "0.0", "0.0", "0.0", "0.0", "0.0", "nan"]
        );
    }
}

#[test]
fn short_integers_and_json_and_uuids_are_told_as_what_they_became() {
    let mut fixture = Fixture::<Namespace>::new();
    let id = uuid::Uuid::from_u128(7);
    let ids = arrow::array::FixedSizeBinaryArray::try_from_iter([*id.as_bytes()].iter()).unwrap();
    fixture.load(
        &Load::full("x", &[("a", "int16", Arc::new(Int16Array::from(vec![-3])))])
            .with("j", "json", texts(["{\"a\" : 1}"]))
            .with("u", "uuid", Arc::new(ids)),
    );
    assert_eq!(
        fixture.query("SELECT a, j, u FROM replica.x"),
        [format!("-3|{{\"a\" : 1}}|{id}")]
    );
    assert_eq!(
        fixture.columns("x"),
        [
            "_acequia_load_id|VARCHAR",
            "a|INTEGER",
            "j|VARCHAR",
            "u|VARCHAR"
        ]
    );
}

/// DuckDB numbers a schema from the one before, which may have been taken up from among older ones.
#[test]
fn columns_can_be_added_after_a_table_was_made_anew_with_fewer_and_with_other_types() {
    let mut fixture = Fixture::<Namespace>::new();
    let load = |columns: &[(&str, &str, ArrayRef)]| Load::full("cursos", columns);
    let (one, x) = (longs([1]), texts(["x"]));
    let steps: [&[(&str, &str, ArrayRef)]; 6] = [
        &[("a", "int64", one.clone())],
        &[("a", "int64", one.clone()), ("b", "text", x.clone())],
        &[("a", "int64", one.clone())],
        &[("a", "text", x.clone())],
        &[("a", "int64", one.clone())],
        &[
            ("a", "int64", one.clone()),
            ("b", "text", x.clone()),
            ("c", "text", x),
        ],
    ];
    for columns in steps {
        assert_eq!(fixture.load(&load(columns).full_refresh()), (1, 0));
        assert_eq!(fixture.columns("cursos").len(), columns.len() + 1);
    }
    fixture.load(&load(steps[5]).with("d", "int64", longs([2])));
    assert_eq!(
        fixture.query("SELECT a, b, c, d FROM replica.cursos"),
        ["1|x|x|2"]
    );
}

#[test]
fn a_schema_of_many_columns_is_kept_whole() {
    let mut fixture = Fixture::<Namespace>::new();
    let columns: Vec<(String, ArrayRef)> = (0..300)
        .map(|number| (format!("column_{number}"), ints([number])))
        .collect();
    let columns: Vec<(&str, &str, ArrayRef)> = columns
        .iter()
        .map(|(name, array)| (name.as_str(), "int32", Arc::clone(array)))
        .collect();
    fixture.load(&Load::full("ancha", &columns));
    let states = fixture.db.states().unwrap();
    let mut fixture = fixture.reopen();
    assert_eq!(fixture.db.states().unwrap(), states);
}
