//! Loads of changes: folded by key, with hard and with soft deletes.

use super::log::{HARD, Log, SOFT, apply, at, kept, log, rows, seconds};
use super::*;
use crate::change;

/// A snapshot, changes, and what the table then holds and how many rows came, changed and went.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    (u64, u64, u64),
);

const CASES: &[Case] = &[
    (
        "a row comes",
        "r 1 1 x y",
        "c 2 2 p q",
        &["1|1|x|y", "2|2|p|q"],
        (1, 0, 0),
    ),
    (
        "a row changes",
        "r 1 1 x y",
        "u 1 2 z w",
        &["1|2|z|w"],
        (0, 1, 0),
    ),
    (
        "a row goes",
        "r 1 1 x y\nr 2 2 x y",
        "d 1",
        &["2|2|x|y"],
        (0, 0, 1),
    ),
    (
        "insert, update, delete and insert again come to the last row",
        "r 9 9 x y",
        "c 1 1 a b\nu 1 2 a b\nd 1\nc 1 3 c d",
        &["1|3|c|d", "9|9|x|y"],
        (1, 0, 0),
    ),
    (
        "a row that comes and goes leaves nothing",
        "r 9 9 x y",
        "c 1 1 a b\nu 1 2 = b\nd 1",
        &["9|9|x|y"],
        (0, 0, 0),
    ),
    (
        "the order is that of the log",
        "r 1 1 x y",
        "u 1 2 a b\n+ u 1 3 c d\n+ u 1 4 e f\nu 1 5 g h",
        &["1|5|g|h"],
        (0, 1, 0),
    ),
    (
        "a value that was not sent is the table's",
        "r 1 1 x y",
        "u 1 2 = z",
        &["1|2|x|z"],
        (0, 1, 0),
    ),
    (
        "NULL that was not sent is NULL",
        "r 1 1 NULL y",
        "u 1 2 = =",
        &["1|2|NULL|y"],
        (0, 1, 0),
    ),
    (
        "a value that was sent as NULL is NULL",
        "r 1 1 x y",
        "u 1 2 NULL =\nu 1 3 = =",
        &["1|3|NULL|y"],
        (0, 1, 0),
    ),
    (
        "a value is that of an earlier change",
        "r 1 1 x y",
        "u 1 2 z =\nu 1 3 = w\nu 1 4 = =",
        &["1|4|z|w"],
        (0, 1, 0),
    ),
    (
        "a row that came in the load has its own values",
        "r 9 9 x y",
        "c 1 1 a b\nu 1 2 = c\nu 1 3 d =",
        &["1|3|d|c", "9|9|x|y"],
        (1, 0, 0),
    ),
    (
        "a key that is used again takes nothing of the row before",
        "r 1 1 x y",
        "u 1 2 p q\nd 1\nc 1 3 NULL b\nu 1 4 = =",
        &["1|4|NULL|b"],
        (0, 1, 0),
    ),
    (
        "a row moves and keeps its values",
        "r 1 1 x y",
        "d 1\n+ c 2 1 = =",
        &["2|1|x|y"],
        (1, 0, 1),
    ),
    (
        "a row that moves takes those of an earlier change",
        "r 1 1 x y",
        "u 1 2 z =\nd 1\n+ c 2 2 = =\nu 2 3 = =",
        &["2|3|z|y"],
        (1, 0, 1),
    ),
    (
        "a row moves through several keys",
        "r 1 1 x y\nr 9 9 p q",
        "u 1 1 z =\nd 1\n+ c 2 2 = =\nd 2\n+ c 3 3 = =\nu 3 4 = w\nd 3\n+ c 4 5 = =",
        &["4|5|z|w", "9|9|p|q"],
        (1, 0, 1),
    ),
    (
        "rows change places by way of a third key",
        "r 1 1 x y\nr 2 2 p q",
        "d 1\n+ c 3 1 = =\n+ d 2\n+ c 1 2 = =\n+ d 3\n+ c 2 1 = =",
        &["1|2|p|q", "2|1|x|y"],
        (0, 2, 0),
    ),
    (
        "a row comes back to its key",
        "r 1 1 x y",
        "d 1\n+ c 2 2 = =\nd 2\n+ c 1 3 = z",
        &["1|3|x|z"],
        (0, 1, 0),
    ),
    (
        "a key that a row left is taken by another",
        "r 1 1 x y\nr 2 2 p q",
        "d 1\n+ c 3 3 = =\nd 2\n+ c 1 4 = =\nc 2 5 NULL NULL\nu 2 6 = =",
        &["1|4|p|q", "2|6|NULL|NULL", "3|3|x|y"],
        (1, 2, 0),
    ),
    (
        "a truncate takes all rows",
        "r 1 1 x y\nr 2 2 x y",
        "t",
        &[],
        (0, 0, 2),
    ),
    (
        "what comes after a truncate stays, and what came before does not",
        "r 1 1 x y\nr 2 2 x y",
        "c 3 3 a b\nt\nc 2 4 c d\n+ c 4 5 e f\nu 2 6 = =",
        &["2|6|c|d", "4|5|e|f"],
        (1, 1, 1),
    ),
    (
        "the last of several truncates counts",
        "r 1 1 x y",
        "t\nc 1 2 a b\nt\nc 5 5 e f\n+ u 5 6 = g",
        &["5|6|e|g"],
        (1, 0, 1),
    ),
    (
        "a truncate in the midst of a transaction",
        "r 1 1 x y\nr 2 2 p q",
        "u 1 2 = =\n+ d 2\n+ c 3 2 = =\n+ t\n+ c 1 3 p NULL\n+ u 1 4 = =",
        &["1|4|p|NULL"],
        (0, 1, 1),
    ),
    (
        "a delete of a row that is not there does nothing",
        "r 1 1 x y",
        "d 7",
        &["1|1|x|y"],
        (0, 0, 0),
    ),
    (
        "an update of a row that is not there brings it",
        "r 1 1 x y",
        "u 7 7 a b",
        &["1|1|x|y", "7|7|a|b"],
        (1, 0, 0),
    ),
];

pub(crate) fn changes_fold_by_key<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    for (place, (name, snapshot, changes, expected, counts)) in CASES.iter().enumerate() {
        let mut stream = Log::new(&format!("s{place}"), HARD);
        apply(&mut fixture, &stream.load(&log(100, snapshot)));
        let load = stream.load(&log(1_000, changes));
        assert_eq!(apply(&mut fixture, &load), *counts, "{name}");
        assert_eq!(rows(&fixture, &stream.stream), *expected, "{name}");
    }
}

/// Values that cannot be found are never invented.
pub(crate) fn a_value_that_nothing_has_is_refused<S: Subject>() {
    for (snapshot, changes) in [
        ("r 1 1 x y", "u 7 7 = b"),
        ("r 1 1 x y", "d 1\nu 1 2 = b"),
        ("r 1 1 x y", "u 1 2 = =\n+ t\n+ c 1 3 p ="),
        ("r 1 1 x y", "t\nu 1 3 = b"),
        ("r 1 1 x y", "c 2 2 a ="),
        ("r 1 1 x y", "d 5\n+ c 2 2 = y"),
    ] {
        for kind in [HARD, SOFT] {
            let mut fixture = Fixture::<S>::new();
            let mut stream = Log::new("s", kind);
            apply(&mut fixture, &stream.load(&log(100, snapshot)));
            let before = fixture.everything();
            let error = fixture
                .try_load(&stream.load(&log(1_000, changes)))
                .unwrap_err()
                .report();
            assert!(
                error.contains("stream s") && error.contains("--full-refresh"),
                "{changes}: {error}"
            );
            assert_eq!(fixture.everything(), before);
        }
    }
}

pub(crate) fn a_snapshot_makes_the_table_with_the_columns_of_its_changes<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let of_rows = [
        ("id", "int64"),
        ("n", "int32"),
        ("a", "text"),
        ("b", "text"),
        (change::LSN, "int64"),
        (change::SEQ, "int64"),
        (change::COMMIT_TS, "timestamptz"),
        ("_acequia_load_id", "text"),
    ];
    let mut stream = Log::new("s", HARD);
    let snapshot = log(100, "r 1 1 x y\nr 2 2 x y");
    assert_eq!(apply(&mut fixture, &stream.load(&snapshot)), (2, 0, 0));
    assert_eq!(fixture.columns("s"), columns::<S>(&of_rows));
    // Made anew, with deletes that leave a mark.
    let mut again = Log::new("s", SOFT);
    assert_eq!(apply(&mut fixture, &again.load(&snapshot[..1])), (1, 0, 0));
    let mut marked = of_rows.to_vec();
    marked.push((change::DELETED_AT, "timestamptz"));
    assert_eq!(fixture.columns("s"), columns::<S>(&marked));
    assert_eq!(rows(&fixture, "s"), ["1|1|x|y"]);
    // Without a row.
    let mut empty = Log::new("e", HARD);
    assert_eq!(apply(&mut fixture, &empty.load(&[])), (0, 0, 0));
    assert_eq!(fixture.columns("e"), columns::<S>(&of_rows));
    assert_eq!(
        apply(&mut fixture, &empty.load(&log(1_000, "c 1 1 a b"))),
        (1, 0, 0)
    );
}

pub(crate) fn a_row_tells_which_change_made_it_what_it_is<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", SOFT);
    apply(
        &mut fixture,
        &stream.load(&log(100, "r 1 1 x y\nr 2 2 x y\nr 3 3 x y")),
    );
    let load = stream.load(&log(1_000, "u 1 2 = =\n+ u 1 3 = =\nc 4 4 a b\nd 2\nd 4"));
    assert_eq!(apply(&mut fixture, &load), (0, 1, 1));
    let query = format!(
        "SELECT id, n, a, _acequia_lsn, _acequia_seq, {}, {} FROM replica.s ORDER BY id",
        seconds::<S>(change::COMMIT_TS),
        seconds::<S>(change::DELETED_AT)
    );
    assert_eq!(
        fixture.query(&query),
        [
            "1|3|x|1010|2|1010|NULL",
            "2|2|x|1030|1|1030|1030",
            "3|3|x|100|0|100|NULL",
            "4|4|a|1040|1|1040|1040",
        ]
    );
    let load = stream.load(&log(2_000, "c 2 9 p q\nt\nc 3 3 r s"));
    assert_eq!(apply(&mut fixture, &load), (0, 1, 1));
    assert_eq!(
        fixture.query(&query),
        [
            "1|3|x|2020|1|2020|2020",
            "2|9|p|2020|1|2020|2020",
            "3|3|r|2030|1|2030|NULL",
            "4|4|a|1040|1|1040|1040",
        ]
    );
}

pub(crate) fn deletes_become_soft_from_one_load_to_the_next<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", HARD);
    apply(
        &mut fixture,
        &stream.load(&log(100, "r 1 1 x y\nr 2 2 x y\nr 3 3 x y")),
    );
    stream.changes = SOFT;
    assert_eq!(
        apply(&mut fixture, &stream.load(&log(1_000, "d 1"))),
        (0, 0, 1)
    );
    stream.changes = HARD;
    assert_eq!(
        apply(&mut fixture, &stream.load(&log(2_000, "d 2"))),
        (0, 0, 1)
    );
    assert_eq!(
        fixture.query(
            "SELECT id, CAST(_acequia_deleted_at IS NULL AS VARCHAR) FROM replica.s ORDER BY id"
        ),
        ["3|true"]
    );
    // The column goes once no row is marked.
    apply(&mut fixture, &stream.load(&log(3_000, "c 4 4 a b")));
    assert_eq!(
        fixture.query("SELECT id FROM replica.s ORDER BY id"),
        ["3", "4"]
    );
}

pub(crate) fn a_load_of_changes_is_applied_once_and_in_turn<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", HARD);
    apply(&mut fixture, &stream.load(&log(100, "r 1 1 x y")));
    let mut load = stream.load(&log(1_000, "c 2 2 a b\nd 1"));
    load.id = Some(LoadId::new(fixture.db.id()));
    apply(&mut fixture, &load);
    let before = fixture.everything();
    assert!(fixture.try_load(&load).unwrap().already_loaded);
    load.id = None;
    let error = fixture.try_load(&load).unwrap_err().to_string();
    assert!(
        error.contains("does not stand where the load begins"),
        "{error}"
    );
    assert_eq!(fixture.everything(), before);
}

pub(crate) fn a_table_of_changes_follows_its_source<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", HARD);
    apply(
        &mut fixture,
        &stream.load(&log(100, "r 1 1 x y\nr 2 2 p q")),
    );
    let wide = stream
        .load(&log(1_000, "u 1 2 = z"))
        .with("n", "int64", longs([5_000_000_000]))
        .with("extra", "text", texts(["e"]));
    assert_eq!(apply(&mut fixture, &wide), (0, 1, 0));
    assert_eq!(
        fixture.query("SELECT id, n, a, b, extra FROM replica.s ORDER BY id"),
        ["1|5000000000|x|z|e", "2|2|p|q|NULL"]
    );
    let mut frozen = stream
        .load(&log(2_000, "u 1 3 = z"))
        .with("other", "text", texts(["e"]));
    frozen.contract = SchemaContract::Freeze;
    let error = fixture.try_load(&frozen).unwrap_err().report();
    assert!(error.contains("freeze"), "{error}");
}

/// A column that comes in the midst of a load is in some of its parts only.
pub(crate) fn parts_of_one_load_may_differ_in_their_columns<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", kept(HARD));
    apply(&mut fixture, &stream.load(&log(100, "r 1 1 x y")));
    let from = stream.at.unwrap();
    let mut later = stream
        .load(&log(2_000, "u 1 3 = =\nc 3 3 p q"))
        .with("extra", "text", texts(["e", "f"]))
        .without("n");
    later.before = Some(at(from));
    let mut earlier = Log {
        at: Some(from),
        ..stream.clone()
    };
    let first = fixture.stage(&earlier.load(&log(1_000, "c 2 2 s t\nu 1 2 w =")));
    let mut staged = fixture.stage(&later);
    let mut schema = staged.manifest.schema.clone();
    schema
        .columns
        .extend(first.manifest.schema.column("n").cloned());
    staged.manifest.schema = schema;
    staged.manifest.rows += first.manifest.rows;
    let files = [&staged.parts, &first.parts].map(Parts::written);
    staged.parts = Parts::Local(files.concat()).seen_by(fixture.db.reads());
    staged.manifest.parts.extend(first.manifest.parts);
    let outcome = fixture.db.load(&staged).unwrap().outcome;
    assert_eq!((outcome.inserted, outcome.updated), (2, 1));
    assert_eq!(
        fixture.query("SELECT id, n, a, b, extra FROM replica.s ORDER BY id"),
        ["1|NULL|w|y|f", "2|2|s|t|NULL", "3|NULL|p|q|e"]
    );
}

pub(crate) fn a_key_of_changes_is_never_null<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", HARD);
    apply(&mut fixture, &stream.load(&log(100, "r 1 1 x y")));
    let mut changes = log(1_000, "c 2 2 x y");
    changes[0].id = None;
    let error = fixture
        .try_load(&stream.load(&changes))
        .unwrap_err()
        .report();
    assert!(error.contains("NULL stands in the key"), "{error}");
    let mut twice = Log::new("t", HARD);
    let load = twice
        .load(&log(100, "r 1 1 x y\nr 1 2 x y"))
        .key_not_unique();
    let error = fixture.try_load(&load).unwrap_err().report();
    assert!(error.contains("same key"), "{error}");
}

/// Positions that take more than 64 bits together with their place in a transaction.
pub(crate) fn positions_may_lie_far_apart<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", SOFT);
    apply(
        &mut fixture,
        &stream.load(&log(100, "r 1 1 x y\nr 2 2 p q")),
    );
    let mut changes = log(
        1_000,
        "u 1 2 = =\nd 2\n+ c 3 3 = =\nt\nc 1 5 a b\nu 1 6 = =",
    );
    for change in changes.iter_mut().skip(3) {
        change.lsn += 1 << 62;
        change.seq = i64::from(i32::MAX) * 1_000;
    }
    let load = stream.load(&changes);
    assert_eq!(apply(&mut fixture, &load), (0, 1, 1));
    assert_eq!(
        fixture.query("SELECT id, n, a, b FROM replica.s WHERE _acequia_deleted_at IS NULL"),
        ["1|6|a|b"]
    );
    assert_eq!(rows(&fixture, "s"), ["1|6|a|b", "2|2|p|q", "3|3|p|q"]);
}

/// Names that the statements use themselves, or that must be quoted.
pub(crate) fn a_key_of_changes_may_have_several_columns_of_any_name<S: Subject>() {
    const NAMES: [(&str, &str); 4] = [
        ("id", "n"),
        ("n", "place"),
        ("a", "quote\"d"),
        ("b", "it's"),
    ];
    let mut fixture = Fixture::<S>::new();
    for kind in [HARD, SOFT] {
        let stream_name = format!("s{}", usize::from(kind == SOFT));
        let mut stream = Log::new(&stream_name, kept(kind));
        let mut load = |changes: &[super::log::Change]| {
            let mut changes = changes.to_vec();
            // A delete has the whole key.
            for change in &mut changes {
                change.n = change.n.or(change.id.map(|_| 1));
                for lacking in &mut change.unchanged {
                    *lacking = NAMES.iter().find(|name| name.0 == *lacking).unwrap().1;
                }
            }
            let mut load = stream.load(&changes);
            for column in &mut load.columns {
                if let Some((_, name)) = NAMES.iter().find(|name| name.0 == column.0) {
                    (*name).clone_into(&mut column.0);
                }
            }
            load.key = vec!["place".to_owned(), "n".to_owned()];
            load
        };
        apply(
            &mut fixture,
            &load(&log(100, "r 1 1 x y\nr 1 2 p q\nr 2 1 s t")),
        );
        let changes = log(
            1_000,
            "u 1 1 = z\nu 1 2 w =\nd 2\n+ c 2 2 = =\nc 3 1 a b\nd 3",
        );
        assert_eq!(apply(&mut fixture, &load(&changes)), (1, 2, 1));
        let living = if kind == SOFT {
            "WHERE _acequia_deleted_at IS NULL"
        } else {
            ""
        };
        assert_eq!(
            fixture.query(&format!(
                "SELECT n, place, \"quote\"\"d\", \"it's\" FROM replica.{stream_name} {living} ORDER BY 1, 2"
            )),
            ["1|1|x|z", "1|2|w|q", "2|2|s|t"]
        );
        assert_eq!(
            fixture.query(&format!(
                "SELECT \"quote\"\"d\", \"it's\" FROM replica.{stream_name}__changes WHERE _acequia_op = 'u' ORDER BY 1"
            )),
            ["w|q", "x|z"]
        );
    }
}
