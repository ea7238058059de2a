//! A relation of a statement is never taken for a column, nor a column for a relation.

use super::log::{HARD, Log, SOFT, apply, log};
use super::*;

/// Names that a statement could give to relations.
const NAMES: [&str; 12] = [
    "n", "o", "l", "e", "r", "t", "s", "d", "c", "k", "new", "old",
];

/// The names of fields that could be meant where a column of a relation is.
const FIELDS: [&str; 9] = [
    "id",
    "n",
    "importe",
    "version",
    "_acequia_load_id",
    "_acequia_valid_to",
    "_acequia_deleted_at",
    "_acequia_ordinal",
    "_acequia_op",
];

/// Adds columns of records to a table, as its user may: each of a name of [`NAMES`] that it does not have, with the fields
/// of [`FIELDS`], all NULL.
fn add_records<S: Subject>(fixture: &Fixture<S>, table: &str) {
    let has: Vec<String> = fixture.columns(table);
    let fields: Vec<String> = FIELDS
        .iter()
        .map(|field| format!("\"{field}\" {}", either::<S, _>("BIGINT", "bigint")))
        .collect();
    let fields = fields.join(", ");
    let record = either::<S, _>(
        format!("STRUCT({fields})"),
        format!("{DATASET}.\"record of {table}\""),
    );
    if S::DIALECT == Dialect::Postgres {
        fixture.sql(&format!("CREATE TYPE {record} AS ({fields})"));
    }
    for name in NAMES {
        if !has
            .iter()
            .any(|column| column.split('|').next() == Some(name))
        {
            fixture.sql(&format!(
                "ALTER TABLE {DATASET}.{table} ADD COLUMN \"{name}\" {record}"
            ));
        }
    }
}

pub(crate) fn a_column_of_records_is_not_taken_for_a_relation<S: Subject>() {
    for disposition in [
        Disposition::Merge,
        Disposition::InsertOnly,
        Disposition::Scd2,
    ] {
        let mut fixture = Fixture::<S>::new();
        fixture.load(&Load::sales(disposition, None, &[(1, 10, 1), (2, 20, 2)]));
        add_records(&fixture, "ventas");
        let rows = [(2, 21, 3), (3, 29, 2), (3, 30, 3)];
        let outcome = fixture.load(&Load::sales(disposition, Some(2), &rows).key_not_unique());
        let (updated, then) = match disposition {
            Disposition::InsertOnly => (0, ["1|10", "2|20", "3|30"]),
            _ => (1, ["1|10", "2|21", "3|30"]),
        };
        assert_eq!(outcome, (1, updated), "{disposition}");
        let current = match disposition {
            Disposition::Scd2 => " WHERE _acequia_valid_to IS NULL",
            _ => "",
        };
        assert_eq!(
            fixture.query(&format!(
                "SELECT id, importe FROM replica.ventas{current} ORDER BY id"
            )),
            then,
            "{disposition}"
        );
    }
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::sales(
        Disposition::Append,
        None,
        &[(1, 10, 1), (2, 20, 2)],
    ));
    add_records(&fixture, "ventas");
    let again = [(2, 20, 2), (2, 20, 2), (3, 30, 3)];
    let outcome = fixture.load(&Load::sales(Disposition::Append, Some(2), &again));
    assert_eq!(outcome, (2, 0));
}

pub(crate) fn a_column_of_records_is_not_taken_for_changes<S: Subject>() {
    for kind in [HARD, SOFT] {
        for has_key in [true, false] {
            if !has_key && kind == SOFT {
                continue;
            }
            let mut fixture = Fixture::<S>::new();
            let mut stream = Log::new("s", kind);
            stream.has_key = has_key;
            apply(
                &mut fixture,
                &stream.load(&log(100, "r 1 1 x y\nr 2 1 p q\nr 3 1 s t")),
            );
            add_records(&fixture, "s");
            let changes = if has_key {
                "u 1 2 = z\nd 2\n+ c 4 1 = =\nt\nc 5 1 a b\nu 5 2 = c"
            } else {
                "d 1 1 x y\nc 4 1 a b"
            };
            apply(&mut fixture, &stream.load(&log(1_000, changes)));
            let living = match kind {
                SOFT => " WHERE _acequia_deleted_at IS NULL",
                _ => "",
            };
            let rows = fixture.query(&format!(
                "SELECT id, a, b FROM replica.s{living} ORDER BY id"
            ));
            if has_key {
                assert_eq!(rows, ["5|a|c"]);
            } else {
                assert_eq!(rows, ["2|p|q", "3|s|t", "4|a|b"]);
            }
            let changes = if has_key {
                "c 6 1 k l\nu 6 2 = m\nd 5"
            } else {
                "d 2 1 p q"
            };
            apply(&mut fixture, &stream.load(&log(2_000, changes)));
            let rows = fixture.query(&format!(
                "SELECT id, a, b FROM replica.s{living} ORDER BY id"
            ));
            if has_key {
                assert_eq!(rows, ["6|k|m"]);
            } else {
                assert_eq!(rows, ["3|s|t", "4|a|b"]);
            }
        }
    }
}

/// Columns of the stream's own of such names, and of names that look like fields of them.
pub(crate) fn columns_may_be_named_as_relations_and_their_fields_are<S: Subject>() {
    let names = [
        "o",
        "l",
        "r",
        "k",
        "n.id",
        "o.id",
        "new",
        "old",
        "n.n",
        "_acequia_x",
    ];
    for disposition in [
        Disposition::Merge,
        Disposition::Append,
        Disposition::InsertOnly,
        Disposition::Scd2,
    ] {
        let mut fixture = Fixture::<S>::new();
        let load = |before: Option<i64>, rows: &[i64]| {
            let values = || longs(rows.iter().copied());
            let mut columns: Vec<(&str, &str, ArrayRef)> = vec![("n", "int64", values())];
            columns.extend(names.iter().map(|name| (*name, "int64", values())));
            Load::full("x", &columns).by_cursor(
                disposition,
                "o",
                before.map(CursorValue::Integer),
                rows.iter().max().copied().map(CursorValue::Integer),
            )
        };
        assert_eq!(fixture.load(&load(None, &[1, 2])), (2, 0));
        assert_eq!(fixture.load(&load(Some(2), &[2, 3])), (1, 0));
        let rows = fixture.query("SELECT n, o, \"n.id\", \"_acequia_x\" FROM replica.x ORDER BY n");
        assert_eq!(rows, ["1|1|1|1", "2|2|2|2", "3|3|3|3"], "{disposition}");
    }
}
