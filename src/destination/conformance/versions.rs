//! Dispositions that keep what the table has: `insert_only` adds, and `scd2` keeps every version.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray};

use super::log::seconds;
use super::*;
use Disposition::{InsertOnly, Merge, Scd2};

/// A load of everything.
fn all(disposition: Disposition, rows: &[(i64, i32, i64)]) -> Load {
    let mut load = Load::sales(disposition, None, rows);
    load.mode = crate::mode::Mode::Full;
    load.cursor = None;
    load.after = None;
    load
}

fn apply<S: Subject>(fixture: &mut Fixture<S>, load: &Load) -> (u64, u64, u64) {
    let outcome = fixture
        .try_load(load)
        .unwrap_or_else(|error| panic!("{}", error.report()));
    (outcome.inserted, outcome.updated, outcome.deleted)
}

/// Applies a load whose extract ended at that second.
fn apply_at<S: Subject>(fixture: &mut Fixture<S>, load: &Load, second: i64) -> (u64, u64, u64) {
    let mut staged = fixture.stage(load);
    staged.manifest.extracted_at = chrono::DateTime::from_timestamp(second, 0).unwrap();
    let outcome = fixture
        .db
        .load(&staged)
        .unwrap_or_else(|error| panic!("{}", error.report()))
        .outcome;
    (outcome.inserted, outcome.updated, outcome.deleted)
}

fn versions<S: Subject>(fixture: &Fixture<S>) -> Vec<String> {
    versions_of(fixture, "ventas")
}

/// The versions of all rows of a table, with the seconds from which and to which each held.
pub(super) fn versions_of<S: Subject>(fixture: &Fixture<S>, table: &str) -> Vec<String> {
    fixture.query(&format!(
        "SELECT id, importe, {}, {} FROM replica.{table} ORDER BY id, _acequia_valid_from",
        seconds::<S>("_acequia_valid_from"),
        seconds::<S>("_acequia_valid_to")
    ))
}

/// Rows that only mark a record, as `importe` alone is set: the rest stays as it was.
pub(crate) fn marks_leave_the_rest_as_it_was<S: Subject>() {
    for disposition in [Merge, Scd2] {
        let mut fixture = Fixture::<S>::new();
        let first = Load::sales(disposition, None, &[(1, 10, 1), (2, 20, 2), (3, 30, 3)]);
        apply_at(&mut fixture, &first, 100);
        let mut marks = Load::sales(disposition, Some(3), &[(2, 21, 4), (1, -1, 0), (9, -1, 0)]);
        marks = marks.with(
            "version",
            "int64",
            Arc::new(arrow::array::Int64Array::from(vec![Some(4), None, None])),
        );
        marks.marks = Some("version".to_owned());
        apply_at(&mut fixture, &marks, 200);
        let current = match disposition {
            Scd2 => " WHERE _acequia_valid_to IS NULL",
            _ => "",
        };
        let query = format!("SELECT id, importe, version FROM replica.ventas{current} ORDER BY id");
        assert_eq!(
            fixture.query(&query),
            ["1|-1|1", "2|21|4", "3|30|3", "9|-1|NULL"],
            "{disposition}"
        );
        // The same once more changes nothing.
        let mut again = marks.clone();
        again.before = marks.after.clone();
        assert_eq!(
            apply_at(&mut fixture, &again, 300),
            (0, 0, 0),
            "{disposition}"
        );
    }
}

pub(crate) fn insert_only_adds_new_keys_and_leaves_the_others<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    assert_eq!(
        apply(&mut fixture, &all(InsertOnly, &[(1, 10, 1), (2, 20, 2)])),
        (2, 0, 0)
    );
    assert_eq!(
        apply(&mut fixture, &all(InsertOnly, &[(2, 21, 3), (3, 30, 3)])),
        (1, 0, 0)
    );
    assert_eq!(apply(&mut fixture, &all(InsertOnly, &[])), (0, 0, 0));
    let query = "SELECT id, importe, version FROM replica.ventas ORDER BY id";
    assert_eq!(fixture.query(query), ["1|10|1", "2|20|2", "3|30|3"]);
    let refresh = all(InsertOnly, &[(4, 40, 4)]).full_refresh();
    assert_eq!(apply(&mut fixture, &refresh), (1, 0, 0));
    assert_eq!(fixture.query(query), ["4|40|4"]);

    let mut fixture = Fixture::<S>::new();
    let first = Load::sales(InsertOnly, None, &[(1, 10, 1), (2, 20, 2)]);
    assert_eq!(apply(&mut fixture, &first), (2, 0, 0));
    // Of rows with the same key the newest is taken, whatever the table has.
    let next = [(2, 21, 3), (3, 30, 3), (3, 31, 5), (3, 32, 4)];
    let next = Load::sales(InsertOnly, Some(2), &next).key_not_unique();
    assert_eq!(apply(&mut fixture, &next), (1, 0, 0));
    assert_eq!(fixture.query(query), ["1|10|1", "2|20|2", "3|31|5"]);
    let tied = Load::sales(InsertOnly, Some(5), &[(4, 1, 6), (4, 2, 6)]).key_not_unique();
    let error = fixture.try_load(&tied).unwrap_err().report();
    assert!(error.contains("come more than once"), "{error}");
}

pub(crate) fn insert_only_follows_its_source<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    apply(&mut fixture, &all(InsertOnly, &[(1, 10, 1)]));
    let wide = all(InsertOnly, &[(1, 11, 1), (2, 20, 2)])
        .with("importe", "int64", longs([11, 5_000_000_000]))
        .with("nota", "text", texts(["x", "y"]));
    assert_eq!(apply(&mut fixture, &wide), (1, 0, 0));
    assert_eq!(
        fixture.query("SELECT id, importe, nota FROM replica.ventas ORDER BY id"),
        ["1|10|NULL", "2|5000000000|y"]
    );
}

pub(crate) fn scd2_keeps_every_version<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let first = all(Scd2, &[(1, 10, 1), (2, 20, 1), (3, 30, 1)]);
    assert_eq!(apply_at(&mut fixture, &first, 100), (3, 0, 0));
    // The same, changed, gone, and new.
    let second = all(Scd2, &[(1, 10, 1), (2, 21, 1), (4, 40, 1)]);
    assert_eq!(apply_at(&mut fixture, &second, 200), (1, 1, 1));
    let seen = [
        "1|10|100|NULL",
        "2|20|100|200",
        "2|21|200|NULL",
        "3|30|100|200",
        "4|40|200|NULL",
    ];
    assert_eq!(versions(&fixture), seen);
    // The same again: nothing is written.
    assert_eq!(apply_at(&mut fixture, &second, 300), (0, 0, 0));
    assert_eq!(versions(&fixture), seen);
    // A key comes back, and all others go.
    assert_eq!(
        apply_at(&mut fixture, &all(Scd2, &[(3, 30, 1)]), 400),
        (1, 0, 3)
    );
    assert_eq!(
        versions(&fixture),
        [
            "1|10|100|400",
            "2|20|100|200",
            "2|21|200|400",
            "3|30|100|200",
            "3|30|400|NULL",
            "4|40|200|400",
        ]
    );
    // Nothing is left.
    assert_eq!(apply_at(&mut fixture, &all(Scd2, &[]), 500), (0, 0, 1));
    assert_eq!(
        fixture.query("SELECT count(*), count(_acequia_valid_to) FROM replica.ventas"),
        ["6|6"]
    );
    // A full refresh keeps the versions, and closes those that the source does not have.
    apply_at(&mut fixture, &all(Scd2, &[(1, 10, 1), (2, 22, 1)]), 600);
    let refresh = all(Scd2, &[(1, 10, 1)]).full_refresh();
    assert_eq!(apply_at(&mut fixture, &refresh, 700), (0, 0, 1));
    assert_eq!(
        versions(&fixture)[1..],
        [
            "1|10|600|NULL",
            "2|20|100|200",
            "2|21|200|400",
            "2|22|600|700",
            "3|30|100|200",
            "3|30|400|500",
            "4|40|200|400",
        ]
    );
    let mut by_cursor = Fixture::<S>::new();
    apply_at(
        &mut by_cursor,
        &Load::sales(Scd2, None, &[(1, 10, 1), (2, 20, 2)]),
        100,
    );
    let refresh = Load::sales(Scd2, None, &[(2, 21, 3)]).full_refresh();
    assert_eq!(apply_at(&mut by_cursor, &refresh, 200), (0, 1, 1));
    assert_eq!(
        versions(&by_cursor),
        ["1|10|100|200", "2|20|100|200", "2|21|200|NULL"]
    );
}

pub(crate) fn scd2_by_cursor_closes_nothing_that_is_not_there<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let first = Load::sales(Scd2, None, &[(1, 10, 1), (2, 20, 2)]);
    assert_eq!(apply_at(&mut fixture, &first, 100), (2, 0, 0));
    // Of several versions in one load the newest is taken. The row of the overlap is the same.
    let next = [(2, 20, 2), (1, 11, 3), (1, 12, 4), (3, 30, 4)];
    let next = Load::sales(Scd2, Some(2), &next).key_not_unique();
    assert_eq!(apply_at(&mut fixture, &next, 200), (1, 1, 0));
    let seen = [
        "1|10|100|200",
        "1|12|200|NULL",
        "2|20|100|NULL",
        "3|30|200|NULL",
    ];
    assert_eq!(versions(&fixture), seen);
    assert_eq!(
        apply_at(&mut fixture, &Load::sales(Scd2, Some(4), &[]), 300),
        (0, 0, 0)
    );
    assert_eq!(versions(&fixture), seen);
}

pub(crate) fn scd2_compares_what_the_load_has<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let rows = [(1, 10, 1), (2, 20, 1), (3, 30, 1)];
    apply_at(&mut fixture, &all(Scd2, &rows), 100);
    // A column that is new is NULL in old versions; one that is gone does not count.
    let notes = StringArray::from(vec![None, Some("x"), None]);
    let with_notes = all(Scd2, &rows)
        .with("nota", "text", Arc::new(notes))
        .without("importe");
    assert_eq!(apply_at(&mut fixture, &with_notes, 200), (0, 1, 0));
    assert_eq!(
        versions(&fixture),
        [
            "1|10|100|NULL",
            "2|20|100|200",
            "2|NULL|200|NULL",
            "3|30|100|NULL"
        ]
    );
    let wide = all(Scd2, &rows).with("importe", "int64", longs([10, 20, 30]));
    assert_eq!(apply_at(&mut fixture, &wide, 300), (0, 1, 0));
    // Minus zero and NaN are values, and the same as themselves.
    let others = if S::KEEPS_SIGN_OF_ZERO { 2 } else { 0 };
    let mut fixture = Fixture::<S>::new();
    for (second, values, expected) in [
        (100, [0.0, -0.0, f64::NAN], (3, 0, 0)),
        (200, [0.0, -0.0, f64::NAN], (0, 0, 0)),
        (300, [-0.0, 0.0, f64::NAN], (0, others, 0)),
    ] {
        let floats: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let load = all(Scd2, &rows).with("f", "float64", floats);
        assert_eq!(apply_at(&mut fixture, &load, second), expected);
    }
}

pub(crate) fn a_table_of_versions_is_no_other_table<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    apply(&mut fixture, &Load::sales(Scd2, None, &[(1, 10, 1)]));
    let error = fixture
        .try_load(&Load::sales(Merge, Some(1), &[(1, 11, 2)]))
        .unwrap_err()
        .report();
    assert!(
        error.contains("versions of rows") && error.contains("--full-refresh"),
        "{error}"
    );
    let mut fixture = Fixture::<S>::new();
    apply(&mut fixture, &Load::sales(Merge, None, &[(1, 10, 1)]));
    let error = fixture
        .try_load(&Load::sales(Scd2, Some(1), &[(1, 11, 2)]))
        .unwrap_err()
        .report();
    assert!(
        error.contains("versions of rows") && error.contains("--full-refresh"),
        "{error}"
    );
    // A source may not have a column of that name.
    let named = all(Scd2, &[(1, 10, 1)]).with("_acequia_valid_to", "int64", longs([1]));
    let mut fixture = Fixture::<S>::new();
    let error = fixture.try_load(&named).unwrap_err().report();
    assert!(error.contains("acequia's own column"), "{error}");
}
