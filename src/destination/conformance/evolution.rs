//! The table follows its source.

use Disposition::{Append, Merge};

use super::*;

const DISPOSITIONS: [Disposition; 2] = [Merge, Append];

fn sales(disposition: Disposition, before: Option<i64>, id: i64) -> Load {
    Load::sales(disposition, before, &[(id, 10, id)])
}

pub(crate) fn columns_are_added_widened_dropped_and_taken_up_again<S: Subject>() {
    for disposition in DISPOSITIONS {
        let mut fixture = Fixture::<S>::new();
        fixture.load(&sales(disposition, None, 1));
        let wide = sales(disposition, Some(1), 2)
            .with("importe", "int64", longs([5_000_000_000]))
            .with("nota", "text", texts(["x"]));
        assert_eq!(fixture.load(&wide), (1, 0));
        assert_eq!(
            fixture.load(&sales(disposition, Some(2), 3).without("importe")),
            (1, 0)
        );
        assert_eq!(
            fixture.load(&sales(disposition, Some(3), 4).with("nota", "text", texts(["y"]))),
            (1, 0)
        );
        assert_eq!(
            fixture.query("SELECT id, importe, version, nota FROM replica.ventas ORDER BY 1"),
            [
                "1|10|1|NULL",
                "2|5000000000|2|x",
                "3|NULL|3|NULL",
                "4|10|4|y"
            ]
        );
        assert_eq!(
            fixture.columns("ventas"),
            columns::<S>(&[
                ("id", "int64"),
                ("importe", "int64"),
                ("version", "int64"),
                ("_acequia_load_id", "text"),
                ("nota", "text"),
            ])
        );
    }
}

pub(crate) fn a_row_met_again_with_a_new_column_is_not_appended_twice<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&sales(Append, None, 1));
    let with_note = sales(Append, Some(1), 1).with("nota", "text", texts(["x"]));
    assert_eq!(fixture.load(&with_note), (0, 0));
    let mut fixture = Fixture::<S>::new();
    fixture.load(&sales(Merge, None, 1));
    let with_note = sales(Merge, Some(1), 1).with("nota", "text", texts(["x"]));
    assert_eq!(
        fixture.load(&with_note),
        (0, 1),
        "a merge brings the new column's value"
    );
}

pub(crate) fn a_full_load_keeps_dropped_columns_and_wide_types<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let load = |columns: &[(&str, &str, ArrayRef)]| Load::full("cursos", columns);
    fixture.load(&load(&[
        ("a", "int64", longs([1])),
        ("b", "json", texts(["{}"])),
        ("c", "text", texts(["x"])),
    ]));
    fixture.load(
        &load(&[
            ("a", "int32", ints([2])),
            ("b", "text", texts(["no json"])),
            ("d", "date", ints([0])),
        ])
        .cast_date("d"),
    );
    assert_eq!(
        fixture.query("SELECT a, b, c, d FROM replica.cursos"),
        ["2|no json|NULL|1970-01-01"]
    );
    assert_eq!(
        fixture.columns("cursos"),
        columns::<S>(&[
            ("a", "int64"),
            ("b", "text"),
            ("c", "text"),
            ("d", "date"),
            ("_acequia_load_id", "text")
        ])
    );
    fixture.load(&load(&[("a", "text", texts(["z"]))]).full_refresh());
    assert_eq!(
        fixture.columns("cursos"),
        columns::<S>(&[("a", "text"), ("_acequia_load_id", "text")])
    );
    assert_eq!(fixture.query("SELECT a FROM replica.cursos"), ["z"]);
}

pub(crate) fn what_the_table_cannot_take_is_refused_until_a_full_refresh<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::full("cursos", &[("a", "int64", longs([1]))]));
    fixture.load(&sales(Merge, None, 1));
    let before = fixture.everything();
    let text = Load::full("cursos", &[("a", "text", texts(["x"]))]);
    for load in [
        &text.clone().frozen(),
        &sales(Merge, Some(1), 2).with("importe", "text", texts(["x"])),
    ] {
        let error = fixture.try_load(load).unwrap_err().report();
        assert!(error.contains("--full-refresh"), "{error}");
    }
    assert_eq!(fixture.everything(), before);
    // What is made anew with each load is made with another column.
    fixture.load(&text);
    assert_eq!(fixture.query("SELECT a FROM replica.cursos"), ["x"]);
    let back = Load::full("cursos", &[("a", "int64", longs([7]))]);
    fixture.load(&back.full_refresh());
    fixture.load(&sales(Merge, None, 2).with("importe", "text", texts(["x"])));
}

pub(crate) fn a_frozen_stream_refuses_a_change_and_takes_the_rest<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::full("cursos", &[("a", "int64", longs([1]))]).frozen());
    fixture.load(&sales(Merge, None, 1).frozen());
    let before = fixture.everything();
    let changed = Load::full(
        "cursos",
        &[("a", "int64", longs([1])), ("b", "int64", longs([1]))],
    )
    .frozen();
    for load in [
        &changed,
        &sales(Merge, Some(1), 2).without("importe").frozen(),
    ] {
        let error = fixture.try_load(load).unwrap_err().report();
        assert!(error.contains("freeze"), "{error}");
    }
    assert_eq!(fixture.everything(), before);
    fixture.load(&sales(Merge, Some(1), 2).frozen());
    fixture.load(&changed.full_refresh());
}

pub(crate) fn a_table_that_is_not_as_the_ledger_says_is_told<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&sales(Merge, None, 1));
    for (sql, told) in [
        (
            "ALTER TABLE replica.ventas ALTER importe TYPE VARCHAR",
            "`importe` of table replica.ventas is of type",
        ),
        (
            "ALTER TABLE replica.ventas DROP importe",
            "no column `importe`",
        ),
        ("DROP TABLE replica.ventas", "is missing"),
    ] {
        fixture.sql(sql);
        let error = fixture
            .try_load(&sales(Merge, Some(1), 2))
            .unwrap_err()
            .report();
        assert!(
            error.contains(told) && error.contains("--full-refresh"),
            "{error}"
        );
    }
    fixture.load(&sales(Merge, None, 2));
}

pub(crate) fn a_unique_index_of_the_users_stands_in_the_way_and_is_named<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let sale = |before, id| Load::sales(Merge, before, &[(id, 987_654_321, id)]);
    fixture.load(&sale(None, 1));
    fixture.sql("CREATE UNIQUE INDEX i ON replica.ventas(importe)");
    let error = fixture.try_load(&sale(Some(1), 2)).unwrap_err().report();
    assert!(
        error.contains("unique index") && !error.contains("987654321"),
        "{error}"
    );
    fixture.sql("DROP INDEX replica.i");
    fixture.load(&sale(Some(1), 2));
}

impl Load {
    /// A column given as days.
    fn cast_date(mut self, name: &str) -> Self {
        for (column, _, array) in &mut self.columns {
            if column == name {
                *array = arrow::compute::cast(array, &arrow::datatypes::DataType::Date32).unwrap();
            }
        }
        self
    }
}
