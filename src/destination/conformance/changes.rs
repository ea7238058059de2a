//! Loads of changes: folded by key and without one, with soft deletes, and kept one by one.

use std::sync::Arc;

use arrow::array::{
    Float64Array, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};

use super::*;
use crate::change::{self, Op};
use crate::evolution::SchemaContract;
use crate::landing::manifest::{Changes, Deletes, Mode};
use crate::position::{Lsn, LsnPosition};

/// A change of a table of (id, n, a, b), of which `id` is the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) op: Op,
    pub(crate) lsn: i64,
    pub(crate) seq: i64,
    pub(crate) id: Option<i64>,
    pub(crate) n: Option<i32>,
    pub(crate) a: Option<String>,
    pub(crate) b: Option<String>,
    pub(crate) unchanged: Vec<&'static str>,
}

/// Of what a stream of changes is made, in the order of commits.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) stream: String,
    pub(crate) changes: Changes,
    pub(crate) at: Option<i64>,
    pub(crate) has_key: bool,
}

pub(crate) const HARD: Changes = Changes {
    deletes: Deletes::Hard,
    changelog: false,
};
pub(crate) const SOFT: Changes = Changes {
    deletes: Deletes::Soft,
    changelog: false,
};

impl Change {
    pub(crate) fn new(op: Op, lsn: i64, seq: i64) -> Self {
        Self {
            op,
            lsn,
            seq,
            id: None,
            n: None,
            a: None,
            b: None,
            unchanged: Vec::new(),
        }
    }

    fn values(mut self, n: i32, a: &str, b: &str) -> Self {
        self.n = Some(n);
        for (value, place, name) in [(a, &mut self.a, "a"), (b, &mut self.b, "b")] {
            match value {
                "=" => self.unchanged.push(name),
                "NULL" => {}
                value => *place = Some(value.to_owned()),
            }
        }
        self
    }
}

/// Changes as `op id n a b`, one a line, one after the other from that position on. `=` is a value that was not sent. A
/// line that begins with `+` is of the same transaction as the one before.
fn log(from: i64, text: &str) -> Vec<Change> {
    let (mut lsn, mut seq) = (from, 0);
    let mut changes = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.trim_start_matches("+ ").split(' ').collect();
        if line.starts_with('+') {
            seq += 1;
        } else {
            lsn += 10;
            seq = 1;
        }
        let op = match words[0] {
            "r" => Op::Snapshot,
            "c" => Op::Insert,
            "u" => Op::Update,
            "d" => Op::Delete,
            "t" => Op::Truncate,
            other => panic!("{other}"),
        };
        let seq = if op == Op::Snapshot { 0 } else { seq };
        let mut change = Change::new(op, if op == Op::Snapshot { from } else { lsn }, seq);
        change.id = words.get(1).map(|id| id.parse().unwrap());
        if let [_, _, n, a, b] = words.as_slice() {
            change = change.values(n.parse().unwrap(), a, b);
        }
        changes.push(change);
    }
    changes
}

pub(crate) fn at(lsn: i64) -> Position {
    Position::Lsn(LsnPosition {
        lsn: Lsn(lsn.unsigned_abs()),
        slot: "acequia".to_owned(),
        system: "1".to_owned(),
        relation: 1,
        membership: Some(1),
        partitions: Vec::new(),
    })
}

/// The columns that every change has, from their operation, place and the columns that it lacks.
fn columns_of_changes(
    load: Load,
    ops: Vec<Op>,
    places: &[(i64, i64)],
    unchanged: &[&[&str]],
) -> Load {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for unchanged in unchanged {
        for column in *unchanged {
            lists.values().append_value(column);
        }
        lists.append(!unchanged.is_empty());
    }
    let times = places.iter().map(|place| place.0 % 1_000_000 * 1_000_000);
    load.with(change::OP, "text", texts(ops.into_iter().map(Op::code)))
        .with(
            change::LSN,
            "int64",
            longs(places.iter().map(|place| place.0)),
        )
        .with(
            change::SEQ,
            "int64",
            longs(places.iter().map(|place| place.1)),
        )
        .with(
            change::COMMIT_TS,
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        )
        .with(change::UNCHANGED, "list<text>", Arc::new(lists.finish()))
}

impl Log {
    pub(crate) fn new(stream: &str, changes: Changes) -> Self {
        Self {
            stream: stream.to_owned(),
            changes,
            at: None,
            has_key: true,
        }
    }

    /// The next load. Its rows are not in the order of commits.
    pub(crate) fn load(&mut self, changes: &[Change]) -> Load {
        let mut changes = changes.to_vec();
        let after = changes
            .iter()
            .map(|change| change.lsn + 1)
            .max()
            .or(self.at)
            .unwrap_or(1);
        changes.reverse();
        let each = || changes.iter();
        let load = Load::full(
            &self.stream,
            &[
                (
                    "id",
                    "int64",
                    Arc::new(each().map(|change| change.id).collect::<Int64Array>()),
                ),
                (
                    "n",
                    "int32",
                    Arc::new(each().map(|change| change.n).collect::<Int32Array>()),
                ),
                (
                    "a",
                    "text",
                    Arc::new(
                        each()
                            .map(|change| change.a.as_deref())
                            .collect::<StringArray>(),
                    ),
                ),
                (
                    "b",
                    "text",
                    Arc::new(
                        each()
                            .map(|change| change.b.as_deref())
                            .collect::<StringArray>(),
                    ),
                ),
            ],
        );
        let places: Vec<(i64, i64)> = each().map(|change| (change.lsn, change.seq)).collect();
        let unchanged: Vec<&[&str]> = each().map(|change| change.unchanged.as_slice()).collect();
        let load = columns_of_changes(
            load,
            each().map(|change| change.op).collect(),
            &places,
            &unchanged,
        );
        self.position(load, after)
    }

    fn position(&mut self, mut load: Load, after: i64) -> Load {
        load.mode = Mode::Cdc;
        load.disposition = Disposition::Merge;
        load.changes = Some(self.changes);
        if self.has_key {
            load.key = vec!["id".to_owned()];
        }
        load.before = self.at.map(at);
        load.after = Some(at(after));
        self.at = Some(after);
        load
    }
}

/// Inserted, updated and deleted.
fn apply<S: Subject>(fixture: &mut Fixture<S>, load: &Load) -> (u64, u64, u64) {
    let outcome = fixture
        .try_load(load)
        .unwrap_or_else(|error| panic!("{}", error.report()));
    (outcome.inserted, outcome.updated, outcome.deleted)
}

/// The rows of a table, and when they were deleted where that is marked.
fn rows<S: Subject>(fixture: &Fixture<S>, stream: &str) -> Vec<String> {
    fixture.query(&format!(
        "SELECT id, n, a, b FROM replica.\"{stream}\" ORDER BY id"
    ))
}

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
        fixture.query("SELECT id, _acequia_deleted_at IS NULL FROM replica.s ORDER BY id"),
        ["1|false", "3|true"]
    );
}

pub(crate) fn the_changelog_keeps_every_change<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new(
        "s",
        Changes {
            changelog: true,
            ..HARD
        },
    );
    let query = "SELECT _acequia_op, id, n, a, b, _acequia_lsn, _acequia_seq, \
         CASE WHEN _acequia_unchanged IS NULL THEN 'whole' ELSE 'filled' END FROM replica.s__changes ORDER BY \
         _acequia_lsn, _acequia_seq, id";
    apply(
        &mut fixture,
        &stream.load(&log(100, "r 1 1 x y\nr 2 2 p q")),
    );
    let load = stream.load(&log(
        1_000,
        "u 1 2 = z\n+ u 1 3 w =\nd 1\n+ c 3 4 = =\nd 2\nt\nc 5 5 a b",
    ));
    apply(&mut fixture, &load);
    let mut expected = vec![
        "r|1|1|x|y|100|0|whole",
        "r|2|2|p|q|100|0|whole",
        "u|1|2|x|z|1010|1|filled",
        "u|1|3|w|z|1010|2|filled",
        "d|1|NULL|NULL|NULL|1020|1|whole",
        "c|3|4|w|z|1020|2|filled",
        "d|2|NULL|NULL|NULL|1030|1|whole",
        "t|NULL|NULL|NULL|NULL|1040|1|whole",
        "c|5|5|a|b|1050|1|whole",
    ];
    assert_eq!(fixture.query(query), expected);
    // A second snapshot adds to it.
    let mut again = Log::new("s", stream.changes);
    apply(&mut fixture, &again.load(&log(3_000, "r 7 7 g h")));
    expected.push("r|7|7|g|h|3000|0|whole");
    assert_eq!(fixture.query(query), expected);
    // A full refresh begins it anew.
    let mut afresh = Log::new("s", stream.changes);
    apply(
        &mut fixture,
        &afresh.load(&log(4_000, "r 8 8 i j")).full_refresh(),
    );
    assert_eq!(fixture.query(query), ["r|8|8|i|j|4000|0|whole"]);
    let ids = fixture.query("SELECT DISTINCT _acequia_load_id FROM replica.s__changes");
    assert_eq!(
        ids,
        fixture.query("SELECT load_id FROM replica._acequia_state")
    );
}

pub(crate) fn the_changelog_follows_the_source<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let changes = Changes {
        changelog: true,
        ..HARD
    };
    let mut stream = Log::new("s", changes);
    apply(&mut fixture, &stream.load(&log(100, "r 1 1 x y")));
    let wide = stream
        .load(&log(1_000, "c 2 2 x y"))
        .with("n", "int64", longs([5_000_000_000]))
        .with("extra", "text", texts(["e"]))
        .without("b");
    apply(&mut fixture, &wide);
    for table in ["s", "s__changes"] {
        assert_eq!(
            fixture.query(&format!(
                "SELECT id, n, a, b, extra FROM replica.{table} ORDER BY id"
            )),
            ["1|1|x|y|NULL", "2|5000000000|x|NULL|e"]
        );
    }
    // A second snapshot forgets what the source no longer has, but the changelog does not.
    let mut again = Log::new("s", changes);
    apply(
        &mut fixture,
        &again.load(&log(3_000, "r 7 7 g h")).without("b"),
    );
    assert_eq!(
        fixture.query("SELECT count(*) FROM replica.s__changes WHERE b = 'y'"),
        ["1"]
    );
    // It takes what it can, and refuses the rest.
    apply(&mut fixture, &again.load(&log(4_000, "c 8 8 g h")));
    assert_eq!(
        fixture.query("SELECT b FROM replica.s__changes WHERE id = 8"),
        ["h"]
    );
    let before = fixture.everything();
    let mut retyped = Log::new("s", changes);
    let load = retyped
        .load(&log(5_000, "r 7 7 g h"))
        .with("a", "int32", ints([1]));
    let error = fixture.try_load(&load).unwrap_err().report();
    assert!(
        error.contains("s__changes") && error.contains("--full-refresh"),
        "{error}"
    );
    assert_eq!(fixture.everything(), before);
    apply(&mut fixture, &load.full_refresh());
}

pub(crate) fn the_changelog_begins_when_it_is_asked_for<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut stream = Log::new("s", SOFT);
    apply(&mut fixture, &stream.load(&log(100, "r 1 1 x y")));
    stream.changes.changelog = true;
    apply(&mut fixture, &stream.load(&log(1_000, "u 1 2 = z")));
    assert_eq!(
        fixture.query("SELECT _acequia_op, id, n, a, b FROM replica.s__changes"),
        ["u|1|2|x|z"]
    );
    // The table of another stream is not written to.
    let mut other = Log::new("t", HARD);
    let mut load = other.load(&log(100, "r 1 1 x y"));
    "s__changes".clone_into(&mut load.table);
    let error = fixture.try_load(&load).unwrap_err().report();
    assert!(error.contains("destination_table"), "{error}");
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
    let mut stream = Log::new(
        "s",
        Changes {
            changelog: true,
            ..HARD
        },
    );
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
    staged.files.extend(first.files);
    staged.manifest.parts.extend(first.manifest.parts);
    let outcome = fixture.db.load(&staged).unwrap();
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
    let mut table = |fixture: &Fixture<S>| {
        let mut rows = fixture.query("SELECT f, t FROM replica.s");
        rows.sort();
        rows.iter()
            .map(|row| row.to_lowercase().replace(".0", ""))
            .collect::<Vec<_>>()
    };
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
        ["-0|x", "0|x", "0|x", "1.5|x", "null|null", "null|null"]
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

/// A point in time in whole seconds.
pub(crate) fn seconds<S: Subject>(column: &str) -> String {
    either::<S, _>(
        format!("epoch_us({column}) // 1000000"),
        format!("CAST(extract(epoch FROM {column}) AS BIGINT)"),
    )
}
