//! `<table>__changes`: every change, one by one.

use super::log::{HARD, Log, SOFT, apply, log};
use super::*;
use crate::mode::Changes;

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
    expected.push("t|NULL|NULL|NULL|NULL|3000|-1|whole");
    expected.push("r|7|7|g|h|3000|0|whole");
    assert_eq!(fixture.query(query), expected);
    // So does a full refresh, and a snapshot without rows.
    let mut afresh = Log::new("s", stream.changes);
    apply(
        &mut fixture,
        &afresh.load(&log(4_000, "r 8 8 i j")).full_refresh(),
    );
    expected.push("t|NULL|NULL|NULL|NULL|4000|-1|whole");
    expected.push("r|8|8|i|j|4000|0|whole");
    assert_eq!(fixture.query(query), expected);
    let mut emptied = Log::new("s", stream.changes);
    apply(&mut fixture, &emptied.load(&log(5_000, "")).full_refresh());
    // It has no row to tell its place by: that is the load's, which is 0/1 here.
    expected.insert(0, "t|NULL|NULL|NULL|NULL|1|-1|whole");
    assert_eq!(fixture.query(query), expected);
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
    // A column of another type becomes text, which holds both.
    apply(&mut fixture, &again.load(&log(4_000, "c 8 8 g h")));
    assert_eq!(
        fixture.query("SELECT b FROM replica.s__changes WHERE id = 8"),
        ["h"]
    );
    let mut retyped = Log::new("s", changes);
    let load = retyped
        .load(&log(5_000, "r 7 7 g h"))
        .with("a", "int32", ints([1]));
    apply(&mut fixture, &load);
    let values = "SELECT a FROM replica.s__changes WHERE _acequia_op <> 't' ORDER BY _acequia_lsn, _acequia_seq";
    assert_eq!(fixture.query(values), ["x", "x", "g", "g", "1"]);
    let load = retyped
        .load(&log(6_000, "c 9 9 g h"))
        .with("a", "int32", ints([2]));
    apply(&mut fixture, &load);
    assert_eq!(fixture.query(values), ["x", "x", "g", "g", "1", "2"]);
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
