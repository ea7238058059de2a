//! Memory depends on the configuration, not on the table.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::Seed;

use crate::cdc;
use crate::support::Project;

/// Runs the pipeline and tells the most memory that the process had resident, in KiB.
fn peak(project: &Project, destination: &str) -> u64 {
    let mut command = project.command(&["run", "--destination", destination]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(resident(&child).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak
}

/// `VmHWM` of a process: the most that was ever resident.
fn resident(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_table() {
    let streams =
        "\n[streams.ventas]\nsource = \"operativa\"\ntable = \"public.ventas\"\nmode = \"full\"\n";
    // As batches they are some 250 MB, which neither bound has room for beside what a run needs anyway.
    for (destination, bound) in [("duckdb", 288), ("almacen", 208)] {
        let project = Project::operational("memory", streams).with_warehouse();
        Seed::new(8, 3_600_000)
            .only_ventas()
            .apply(&mut project.source.client().unwrap())
            .unwrap();
        let most = peak(&project, destination) >> 10;
        assert!(most < bound, "{destination}: {most} MiB for 3,600,000 rows");
    }
}

/// A transaction is decoded and landed in pieces, whether the server sends its changes as the rows of a query or as a
/// stream, and loaded within DuckDB's first limit.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_bounded_whatever_the_transaction() {
    let ddl = "CREATE TABLE t (id int8 PRIMARY KEY, v text NOT NULL, n int NOT NULL)";
    let project = cdc::project("transaction", ddl, &["t"], "");
    project.run(&[]);
    let after_insert = |first: u64| {
        let sql = format!(
            "SET temp_file_limit = -1;
             INSERT INTO t SELECT i, repeat(md5(i::text), 4), i % 1000 FROM generate_series({first}, {first} + 1199999) i"
        );
        project.source.batch(&sql).unwrap();
        peak(&project, "duckdb")
    };
    let asked = after_insert(1);
    project.take_room_away();
    let streamed = after_insert(2_000_001);
    for most in [asked, streamed] {
        assert!(most < 400 << 10, "{most} KiB");
    }
    project.assert_same("t");
}

#[test]
fn rows_too_wide_for_the_first_memory_limit_are_loaded_with_more() {
    let streams = "\n[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"full\"\n";
    let project = Project::new("wide", streams);
    let columns: Vec<String> = (0..200)
        .map(|n| format!("md5((i + {n})::text) AS c{n}"))
        .collect();
    project
        .source
        .batch(&format!(
            "CREATE TABLE t AS SELECT i AS id, {} FROM generate_series(1, 60000) AS i",
            columns.join(", ")
        ))
        .unwrap();
    let output = project.acequia(&["run", "-v"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output.stderr.contains("more memory"),
        "the test must need it: {output:?}"
    );
    let rows = project.value("SELECT count(*) FROM replica.t WHERE c199 = md5((id + 199)::text)");
    assert_eq!(rows.as_deref(), Some("60000"));
}

#[test]
fn values_of_a_megabyte_arrive_by_the_hundreds() {
    let streams = "\n[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"full\"\n";
    let project = Project::new("huge", streams).with_warehouse();
    project
        .source
        .batch(
            "CREATE TABLE t (id int, b bytea);
             ALTER TABLE t ALTER COLUMN b SET STORAGE EXTERNAL;
             INSERT INTO t SELECT i, decode(repeat(md5(i::text), 62500), 'hex') FROM generate_series(1, 600) AS i",
        )
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    let most = peak(&project, "almacen");
    assert!(most < 512 << 10, "{most} KiB");
    project.assert_same_in_warehouse("t");
}
