//! `run --from --to`: a range of what a stream has read is read again and replaced, and nothing else changes.

mod dispositions;
mod recovered;
mod refused;
mod shapes;
mod writers;

use std::path::Path;

use serde_json::Value;

use crate::support::{Project, VENTAS, stream_report};

/// A stream of `t` by its column `c`, with these keys besides.
pub fn stream(keys: &str) -> String {
    format!(
        "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"incremental\"\ncursor = \"c\"\n{keys}"
    )
}

/// A row for each hour of forty days, from the beginning of 2024 on.
pub const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, dia date, c timestamptz NOT NULL); CREATE INDEX ON t (c);
    INSERT INTO t SELECT i, i, date '2024-01-01' + i / 24, timestamptz '2024-01-01 00:00Z' + i * interval '1 hour'
    FROM generate_series(0, 959) AS i";

/// The second ten days of January: the rows 240 to 479.
pub const RANGE: [&str; 4] = [
    "--from",
    "2024-01-11T00:00:00Z",
    "--to",
    "2024-01-21T00:00:00Z",
];
/// All that was read.
pub const ALL: [&str; 2] = ["--from", "1900-01-01T00:00:00Z"];

/// A project whose stream was run once.
pub fn project(name: &str, keys: &str) -> Project {
    let project = Project::new(name, &stream(keys)).with_warehouse();
    project.source.batch(ROWS).unwrap();
    project.run(&[]);
    project
}

/// What a report says of the stream: rows extracted, inserted, updated and deleted.
pub fn counts(report: &Value) -> (u64, u64, u64, u64) {
    crate::support::counts(report, "t")
}

/// Everything that differs between the table of the source and that of the destination.
fn differences(project: &Project) -> Vec<String> {
    let mut client = project.source.client().unwrap();
    let rows = client.query(
        "SELECT concat_ws(' ', id, n, to_char(c AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24')) FROM t",
        &[],
    );
    let source: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
    let connection = project.duckdb();
    let mut statement = connection
        .prepare("SELECT concat_ws(' ', id, n, strftime(c AT TIME ZONE 'UTC', '%Y-%m-%d %H')) FROM replica.t")
        .unwrap();
    let table = statement.query_map([], |row| row.get(0)).unwrap();
    let table: Vec<String> = table.map(Result::unwrap).collect();
    let lacking = |one: &[String], other: &[String], sign: char| {
        let lacking = one.iter().filter(|row| !other.contains(row));
        lacking.map(|row| format!("{sign}{row}")).collect()
    };
    let mut all: Vec<String> = lacking(&source, &table, '+');
    all.extend(lacking(&table, &source, '-') as Vec<String>);
    all.sort();
    all
}

#[test]
fn a_range_is_replaced_by_what_the_source_has_and_nothing_else_is_touched() {
    let project = project("range", "");
    project
        .source
        .batch(
            "UPDATE t SET n = -1 WHERE id IN (1, 300, 301); DELETE FROM t WHERE id IN (2, 310, 311, 312);
             UPDATE t SET c = '2024-01-02 12:00Z' WHERE id = 320; UPDATE t SET c = '2024-01-30 12:00Z' WHERE id = 321;
             UPDATE t SET c = '2025-06-01 00:00Z' WHERE id = 322; UPDATE t SET c = '2024-01-15 12:00Z' WHERE id = 5;
             INSERT INTO t VALUES (5000, 1, NULL, '2024-01-11 00:00Z'), (5001, 1, NULL, '2024-01-21 00:00Z')",
        )
        .unwrap();
    let before = stream_report(&project.run(&["--dry-run"]), "t");
    assert_eq!(
        before["position"]["value"]["value"],
        "2024-02-09T23:00:00.000000Z"
    );
    let plan = stream_report(&project.run(&[&["--dry-run"][..], &RANGE].concat()), "t");
    assert_eq!(plan["estimated_rows"], 236, "{plan}");
    assert_eq!(
        plan["range"]["from"]["value"],
        "2024-01-11T00:00:00.000000Z"
    );
    let run = project.run(&RANGE);
    // The rows of the range, and three that are elsewhere by now.
    assert_eq!(counts(&run), (239, 1, 6, 3), "{run}");
    let report = stream_report(&run, "t");
    assert_eq!(report["position_before"], report["position_after"]);
    assert_eq!(report["range"]["column"], "c");
    assert_eq!(report["range"]["up_to"], Value::Null);
    // What lies outside the range, and was not in it, waits.
    assert_eq!(
        differences(&project),
        [
            "+1 -1 2024-01-01 01",
            "+5001 1 2024-01-21 00",
            "-1 1 2024-01-01 01",
            "-2 2 2024-01-01 02"
        ]
    );
    // Once more there is nothing to do; and the next run reads what is new, which the range has brought already.
    assert_eq!(counts(&project.run(&RANGE)), (236, 0, 0, 0));
    assert_eq!(counts(&project.run(&[])).1, 0);
    assert_eq!(counts(&project.run(&[])), (0, 0, 0, 0));
    // Without an end it goes on to the position, and without a beginning it begins with the first.
    let run = project.run(&["--to", "2024-01-05T00:00:00Z"]);
    assert_eq!((counts(&run).2, counts(&run).3), (1, 1), "{run}");
    let run = project.run(&["--from", "2024-01-21T00:00:00Z"]);
    assert_eq!(counts(&run).1, 1, "{run}");
    project.assert_same("t");
    let replayed = project.acequia(&["replay", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    project.assert_same_in_warehouse("t");
    project.verify(&["--against", "landing"]);
}

#[test]
fn a_range_of_a_table_of_postgres_is_replaced() {
    let project = project("range_pg", "");
    let into = ["--destination", "almacen"];
    project.run(&into);
    project
        .source
        .batch(
            "UPDATE t SET n = -1 WHERE id = 300; DELETE FROM t WHERE id BETWEEN 310 AND 319;
             UPDATE t SET c = '2023-06-01' WHERE id = 320; INSERT INTO t VALUES (5000, 1, NULL, '2024-01-11 00:00Z')",
        )
        .unwrap();
    let run = project.run(&[&RANGE[..], &into].concat());
    // One of them is below the range by now.
    assert_eq!(counts(&run), (231, 1, 2, 10), "{run}");
    project.assert_same_in_warehouse("t");
    assert_eq!(counts(&project.run(&into)), (0, 0, 0, 0));
}

#[test]
fn rows_that_no_run_has_read_are_neither_lost_nor_doubled() {
    for keys in ["", "disposition = \"append\"\n"] {
        let project = project("range_beyond", keys);
        project
            .source
            .batch(
                "INSERT INTO t VALUES (5000, 1, NULL, '2024-03-01 00:00Z'), (5001, 1, NULL, '2024-02-09 23:00Z');
                 UPDATE t SET n = -1 WHERE id = 900",
            )
            .unwrap();
        let run = project.run(&["--from", "2024-02-01T00:00:00Z"]);
        let report = stream_report(&run, "t");
        assert_eq!(report["range"]["to"], Value::Null);
        assert_eq!(
            report["range"]["up_to"]["value"],
            "2024-02-09T23:00:00.000000Z"
        );
        // The row at the position is there, and the one beyond it is not.
        assert_eq!(counts(&run).0, 217, "{keys}: {run}");
        assert_eq!(differences(&project), ["+5000 1 2024-03-01 00"], "{keys}");
        assert_eq!(counts(&project.run(&[])).1, 1, "{keys}");
        project.assert_same("t");
        assert_eq!(counts(&project.run(&[])), (0, 0, 0, 0), "{keys}");
        // What lies beyond the position altogether is told to be new.
        let output = project.acequia(&["run", "t", "--from", "2030-01-01T00:00:00Z"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(
            output.stdout.contains("no run has read the range"),
            "{output:?}"
        );
    }
}

#[test]
fn people_are_told_what_became_of_the_range() {
    let project = project("range_told", "");
    project
        .source
        .batch("DELETE FROM t WHERE id = 300")
        .unwrap();
    let output = project.acequia(&[&["run"][..], &RANGE].concat());
    let told = "✓ stream t: c >= 2024-01-11T00:00:00.000000Z and < 2024-01-21T00:00:00.000000Z read again: 239 rows, 1 deleted";
    assert!(output.stdout.contains(told), "{output:?}");
    let output = project.acequia(&["run", "--from", "2024-02-09T00:00:00Z", "--dry-run"]);
    let told = "c >= 2024-02-09T00:00:00.000000Z, up to the position 2024-02-09T23:00:00.000000Z would be read again";
    assert!(output.stdout.contains(told), "{output:?}");
    let output = project.acequia(&["landing", "list"]);
    assert!(output.stdout.contains("incremental, range"), "{output:?}");
    let load = project.loads("t").pop().unwrap();
    let output = project.acequia(&["inspect", load.to_str().unwrap()]);
    assert!(
        output.stdout.contains("amends      range c >= 2024-01-11"),
        "{output:?}"
    );
    let runs = project.acequia(&["runs", "--output", "json"]).json();
    assert_eq!(runs["runs"][0]["command"], "run --from --to");
    assert_eq!(runs["runs"][0]["streams"], serde_json::json!({}));
}

/// What a block of a page shows, without what differs from run to run.
fn shown(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_measured = |at: usize| {
            let unit = words.get(at + 1).copied().unwrap_or_default();
            ["B", "kB", "s"].contains(&unit)
        };
        let words = words.iter().enumerate();
        let kept = words.filter(|(at, word)| !is_measured(*at) && **word != "B" && **word != "kB");
        kept.map(|(_, word)| (*word).to_owned()).collect()
    });
    lines.collect()
}

#[test]
fn the_page_shows_what_a_run_of_a_range_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/incremental.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("$ acequia run ventas --from").nth(1).unwrap();
    let (arguments, rest) = block.split_once('\n').unwrap();
    let expected = rest.split("```").next().unwrap();
    let project = Project::new("range_page", VENTAS);
    project
        .source
        .batch(
            "CREATE TABLE ventas (id int PRIMARY KEY, importe int, updated_at timestamptz NOT NULL); INSERT INTO ventas SELECT i, i, \
             timestamptz '2024-01-01 00:00Z' + i * interval '1 hour' FROM generate_series(0, 182 * 24 - 1) AS i",
        )
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch(
            "UPDATE ventas SET importe = 0 WHERE id IN (10, 11, 12, 2000); DELETE FROM ventas WHERE id IN (20, 21, 2001); \
             INSERT INTO ventas VALUES (10000, 1, '2024-01-31 23:59Z'), (10001, 1, '2024-02-01 00:00Z')",
        )
        .unwrap();
    let asked = format!("run ventas --from{arguments}");
    let asked: Vec<&str> = asked.split(' ').collect();
    let output = project.acequia(&asked);
    assert_eq!(shown(&output.stdout), shown(expected), "{output:?}");
}

/// A range says nothing of whether the stream is up to date.
#[test]
fn neither_a_range_that_fails_nor_one_that_succeeds_is_a_streams_last_run() {
    let project = project("range_status", "");
    let status = || {
        stream_report(
            &project.acequia(&["status", "--output", "json"]).json(),
            "t",
        )
    };
    // Of a run the second is kept, of a load its fraction too.
    let synced = || status()["synced_at"].as_str().unwrap()[..19].to_owned();
    let before = synced();
    let output = project.acequia(&["run", "--from", "ayer"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert_eq!(status()["failure"], Value::Null);
    std::thread::sleep(std::time::Duration::from_secs(2));
    project.run(&RANGE);
    assert_eq!(synced(), before);
    project
        .source
        .batch("ALTER TABLE t RENAME TO otra")
        .unwrap();
    project.run_failing("t");
    project
        .source
        .batch("ALTER TABLE otra RENAME TO t")
        .unwrap();
    project.run(&RANGE);
    assert_ne!(status()["failure"], Value::Null);
    project.run(&[]);
    assert_eq!(status()["failure"], Value::Null);
}
