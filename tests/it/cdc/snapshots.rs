//! The first run, and streams that join.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{project, streams, warnings};
use crate::support::{counts, postgres_major, stream_report};

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text, n int)";

#[test]
fn the_first_run_takes_a_snapshot_and_later_ones_what_has_changed() {
    let project = project("first", T, &["t"], "");
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 1000) i")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1000, 1000, 0, 0));
    project.assert_same("t");
    client
        .batch_execute(
            "INSERT INTO t VALUES (1001, 'nuevo', 0); UPDATE t SET n = -1 WHERE id <= 10; DELETE FROM t WHERE id > 990 AND id <= 1000;",
        )
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (21, 1, 10, 10));
    project.assert_same("t");
    assert_eq!(counts(&project.run(&[]), "t"), (0, 0, 0, 0));
    let columns = project.rows(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 't' AND column_name LIKE '\\_acequia%' ESCAPE '\\' ORDER BY 1",
    );
    assert_eq!(
        columns,
        [
            "_acequia_commit_ts",
            "_acequia_load_id",
            "_acequia_lsn",
            "_acequia_seq"
        ]
    );
}

/// Scenario 1.
#[test]
fn a_writer_is_active_during_the_snapshot() {
    let project = project("writer", T, &["t"], "");
    project
        .client()
        .batch_execute(
            "INSERT INTO t SELECT i, repeat('x', 100), 0 FROM generate_series(1, 200000) i",
        )
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, mut client) = (Arc::clone(&stop), project.client());
        std::thread::spawn(move || {
            let mut round = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                client
                    .execute(
                        "INSERT INTO t VALUES ($1, 'escritor', 0)",
                        &[&(1_000_000 + round)],
                    )
                    .unwrap();
                client
                    .execute(
                        "UPDATE t SET n = n + 1 WHERE id = $1",
                        &[&(1 + round * 7919 % 200_000)],
                    )
                    .unwrap();
                if round % 3 == 0 {
                    client
                        .execute("DELETE FROM t WHERE id = $1", &[&(1_000_000 + round - 1)])
                        .unwrap();
                }
            }
            round
        })
    };
    for _ in 0..3 {
        project.run(&[]);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 20);
    project.run(&[]);
    project.assert_same("t");
}

/// Scenario 25: a new table joins, while the others go on.
#[test]
fn a_stream_that_joins_is_snapshotted_alone() {
    let project = project(
        "joins",
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);
         INSERT INTO a SELECT i, 'a' FROM generate_series(1, 500) i; INSERT INTO b SELECT i, 'b' FROM generate_series(1, 700) i;",
        &["a"],
        "",
    );
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO a VALUES (501, 'más'); UPDATE b SET v = 'antes' WHERE id = 1")
        .unwrap();
    project.streams(&streams(&["a", "b"], ""));
    let report = project.run(&[]);
    assert_eq!(counts(&report, "a"), (1, 1, 0, 0));
    assert_eq!(counts(&report, "b"), (700, 700, 0, 0));
    project
        .source
        .batch("INSERT INTO a VALUES (502, 'x'); INSERT INTO b VALUES (701, 'y')")
        .unwrap();
    let report = project.run(&[]);
    assert_eq!((counts(&report, "a").1, counts(&report, "b").1), (1, 1));
    project.assert_same("a");
    project.assert_same("b");
}

#[test]
fn full_refresh_of_one_stream_snapshots_it_alone() {
    let project = project(
        "refresh",
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1);",
        &["a", "b"],
        "",
    );
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO a VALUES (3); INSERT INTO b VALUES (2)")
        .unwrap();
    let report = project.run(&["a", "--full-refresh"]);
    assert_eq!(counts(&report, "a").1, 3);
    // What the other stream has not read yet is still kept for it.
    assert!(project.confirmed() <= project.position("b"));
    assert_eq!(counts(&project.run(&[]), "b"), (1, 1, 0, 0));
    project.assert_same("a");
    project.assert_same("b");
}

/// Scenario 25: dropped and created again.
#[test]
fn a_table_made_anew_is_snapshotted_anew() {
    let project = project("again", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'viejo', 1), (2, 'viejo', 2)")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("DROP TABLE t; CREATE TABLE t (id int8 PRIMARY KEY, v text, n int); INSERT INTO t VALUES (7, 'nuevo', 7)")
        .unwrap();
    let report = project.run(&[]);
    assert!(warnings(&report, "t").contains("made anew"), "{report}");
    project.assert_same("t");
    project
        .source
        .batch("INSERT INTO t VALUES (8, 'y sigue', 8)")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    project.assert_same("t");
}

#[test]
fn a_table_that_was_not_published_for_a_while_is_snapshotted_anew() {
    let project = project("unpublished", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a', 1)")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch(
            "ALTER PUBLICATION acequia DROP TABLE t; INSERT INTO t VALUES (2, 'no se ve', 2);
             ALTER PUBLICATION acequia ADD TABLE t; INSERT INTO t VALUES (3, 'se ve', 3)",
        )
        .unwrap();
    let report = project.run(&[]);
    assert!(warnings(&report, "t").contains("not published"), "{report}");
    project.assert_same("t");
    // It was published all the time, and otherwise. Row filters came with PostgreSQL 15.
    if postgres_major() < 15 {
        return;
    }
    project
        .source
        .batch("ALTER PUBLICATION acequia SET TABLE t WHERE (id > 1)")
        .unwrap();
    let report = project.run(&[]);
    let told = warnings(&report, "t");
    assert!(
        told.contains("or its row filter or column list in the publication was altered"),
        "{told}"
    );
}

/// Two streams may follow one table, into two tables.
#[test]
fn two_streams_of_one_table() {
    let project = project("twice", T, &["t"], "");
    let second = "[streams.t2]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"cdc\"\ncolumns = [\"id\", \"n\"]\n";
    project.streams(&format!("{}{second}", streams(&["t"], "")));
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a', 1)")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("UPDATE t SET n = 5; INSERT INTO t VALUES (2, 'b', 2)")
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(stream_report(&report, "t2")["inserted"], 1);
    project.assert_same("t");
    assert_eq!(
        project.rows("SELECT id || ',' || n FROM replica.t2 ORDER BY id"),
        ["1,5", "2,2"]
    );
}
