//! Streams whose configuration, or whose table in the source, is another between two runs: nothing of it is passed over in silence.

use crate::cdc;
use crate::support::{Project, counts, stream_report};

const TABLE: &str = "
    CREATE TABLE t (id int PRIMARY KEY, v text, w text, x int, u timestamptz NOT NULL DEFAULT now());
    INSERT INTO t SELECT i, 'v' || i, 'w' || i, i, timestamptz '2026-01-10Z' - i * interval '1 day' FROM generate_series(1, 6) AS i";

const BOTH: [&[&str]; 2] = [&[], &["--destination", "almacen"]];

fn stream(rest: &str) -> String {
    format!(
        "[streams.t]\nsource = \"operativa\"\nmode = \"incremental\"\ncursor = \"u\"\nprimary_key = [\"id\"]\n{rest}"
    )
}

fn incremental(name: &str, rest: &str) -> Project {
    let project = Project::new(name, &stream(rest)).with_warehouse();
    project.source.batch(TABLE).unwrap();
    project
}

impl Project {
    fn run_into_both(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let run = |destination: &&[&str]| self.run(&[arguments, destination].concat());
        BOTH.iter().map(run).collect()
    }

    fn assert_same_in_both(&self, table: &str) {
        self.assert_same(table);
        self.assert_same_in_warehouse(table);
    }
}

fn warnings(report: &serde_json::Value) -> String {
    stream_report(report, "t")["warnings"].to_string()
}

#[test]
fn rows_that_a_wider_selection_has_are_read() {
    let whole = "table = \"public.t\"\n";
    let since = "initial_value = \"2026-01-07T00:00:00Z\"\n";
    for (name, narrow, wide) in [
        ("where", format!("{whole}where = \"id % 2 = 0\"\n"), whole),
        ("initial", format!("{whole}{since}"), whole),
        (
            "query",
            "query = \"SELECT * FROM public.t WHERE id > 4\"\n".to_owned(),
            "query = \"SELECT * FROM public.t\"\n",
        ),
    ] {
        let project = incremental(&format!("wider_{name}"), &narrow);
        project.run_into_both(&[]);
        project.streams(&stream(wide));
        project
            .source
            .batch("INSERT INTO t VALUES (7, 'v7', 'w7', 7)")
            .unwrap();
        for report in project.run_into_both(&[]) {
            let told = warnings(&report);
            assert!(told.contains("is configured otherwise"), "{name}: {told}");
        }
        project.assert_same_in_both("t");
        for report in project.run_into_both(&[]) {
            assert!(!warnings(&report).contains("otherwise"), "{report}");
        }
    }
}

#[test]
fn columns_that_are_others_by_their_names_are_read_again() {
    for (name, altered) in [
        (
            "swapped",
            "ALTER TABLE t RENAME v TO s; ALTER TABLE t RENAME w TO v; ALTER TABLE t RENAME s TO w",
        ),
        ("remade", "ALTER TABLE t DROP x; ALTER TABLE t ADD x int"),
    ] {
        let project = incremental(name, "table = \"public.t\"\n");
        project.run_into_both(&[]);
        project.source.batch(altered).unwrap();
        project
            .source
            .batch("INSERT INTO t (id, v) VALUES (7, 'v7')")
            .unwrap();
        for report in project.run_into_both(&[]) {
            assert!(
                warnings(&report).contains("is not the column that it was"),
                "{report}"
            );
        }
        project.assert_same_in_both("t");
        // One that is only renamed, or new, is not.
        project
            .source
            .batch("ALTER TABLE t ADD nueva text; INSERT INTO t (id) VALUES (8)")
            .unwrap();
        for report in project.run_into_both(&[]) {
            assert!(!warnings(&report).contains("it was"), "{report}");
        }
    }
}

#[test]
fn a_table_that_was_left_is_not_gone_on_with() {
    let of = |mode: &str, table: &str| match mode {
        "cdc" => cdc::streams(&["t"], table),
        _ => stream(&format!("table = \"public.t\"\n{table}")),
    };
    for mode in ["incremental", "cdc"] {
        let project = match mode {
            "cdc" => cdc::project("left_cdc", TABLE, &["t"], "").with_warehouse(),
            _ => incremental("left_incremental", "table = \"public.t\"\n"),
        };
        let other = "destination_table = \"otra\"\n";
        project.run_into_both(&[]);
        let refused = |from: &str, to: &str| {
            for destination in BOTH {
                let output = project.acequia(&[&["run", "--output", "json"], destination].concat());
                assert_eq!(output.status, Some(1), "{output:?}");
                let told = stream_report(&output.json(), "t")["error"].to_string();
                let expected =
                    format!("into the table `{from}` so far, and is to be loaded into `{to}` now");
                assert!(told.contains(&expected), "{mode}: {told}");
            }
        };
        project.streams(&of(mode, other));
        refused("t", "otra");
        project.run_into_both(&["--full-refresh"]);
        project
            .source
            .batch("UPDATE t SET v = 'otra', u = now() WHERE id = 1; DELETE FROM t WHERE id = 2")
            .unwrap();
        project.run_into_both(&[]);
        project.streams(&of(mode, ""));
        refused("otra", "t");
        project.run_into_both(&["--full-refresh"]);
        project.assert_same_in_both("t");
    }
}

#[test]
fn rows_that_were_marked_as_deleted_go_where_none_are_kept() {
    let project = cdc::project("marked", TABLE, &["t"], "deletes = \"soft\"").with_warehouse();
    project.run_into_both(&[]);
    let delete = |id: u32| {
        let sql = format!("DELETE FROM t WHERE id = {id}");
        project.source.batch(&sql).unwrap();
    };
    delete(1);
    project.run_into_both(&[]);
    assert_eq!(
        project.value("SELECT count(*) FROM replica.t").unwrap(),
        "6"
    );
    project.streams(&cdc::streams(&["t"], ""));
    delete(2);
    project.run_into_both(&[]);
    project.assert_same_in_both("t");
    delete(3);
    project.run_into_both(&[]);
    project.assert_same_in_both("t");
}

/// The table that a new snapshot replaces takes the marks with it, and the changelog goes on at the snapshot: the run says so.
#[test]
fn what_a_new_snapshot_does_not_keep_is_told() {
    let keys = "deletes = \"soft\"\nchangelog = true";
    let project = cdc::project("unkept", TABLE, &["t"], keys);
    project.run(&[]);
    project
        .source
        .batch("DELETE FROM t WHERE id = 1; ALTER TABLE t ADD n int NOT NULL DEFAULT 0")
        .unwrap();
    let told = warnings(&project.run(&[]));
    assert!(
        told.contains("marked as deleted are gone")
            && told.contains("The changelog goes on with it"),
        "{told}"
    );
}

#[test]
fn a_partition_is_not_followed_beside_its_table() {
    let ddl = "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
               CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
               CREATE TABLE sola (id int PRIMARY KEY, v text);
               INSERT INTO p VALUES (1, 'a'); INSERT INTO sola VALUES (101, 'b')";
    let project = cdc::project("parts", ddl, &["p", "p1", "sola"], "");
    for _ in 0..2 {
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        let report = output.json();
        let told = stream_report(&report, "p1")["error"].to_string();
        assert!(told.contains("is a partition of"), "{told}");
        for other in ["p", "sola"] {
            assert_eq!(stream_report(&report, other)["status"], "ok", "{report}");
        }
        let output = project.acequia(&["check"]);
        assert!(output.stdout.contains("is a partition of"), "{output:?}");
    }
    // A table that is attached becomes one.
    project.streams(&cdc::streams(&["p", "sola"], ""));
    project
        .source
        .batch("ALTER TABLE p ATTACH PARTITION sola FOR VALUES FROM (100) TO (200); UPDATE sola SET v = 'c'")
        .unwrap();
    let report = project.run_failing("sola");
    assert!(
        report["error"].to_string().contains("is a partition of"),
        "{report}"
    );
}

/// A table of versions is never made anew: it follows the source's columns in a full refresh, too.
#[test]
fn a_full_refresh_of_versions_follows_the_columns() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, p numeric(6,2), u timestamptz NOT NULL DEFAULT now());
               INSERT INTO t VALUES (1, 1.25, now() - interval '1 hour'), (2, 2.25, now() - interval '2 hours')";
    for mode in ["incremental", "full"] {
        let cursor = if mode == "full" {
            ""
        } else {
            "cursor = \"u\"\n"
        };
        let text = format!(
            "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"{mode}\"\n{cursor}disposition = \"scd2\"\n"
        );
        let project = Project::new(&format!("versions_{mode}"), &text).with_warehouse();
        project.source.batch(ddl).unwrap();
        project.run_into_both(&[]);
        project
            .source
            .batch(
                "ALTER TABLE t ALTER p TYPE numeric(10,4), ADD z text; \
                 UPDATE t SET p = 1.2399, z = 'nueva', u = now() WHERE id = 1",
            )
            .unwrap();
        for report in project.run_into_both(&["--full-refresh"]) {
            assert_eq!(counts(&report, "t").0, 2, "{report}");
        }
        let current = "SELECT string_agg(concat_ws(' ', id, p, z), ', ' ORDER BY id) FROM replica.t WHERE _acequia_valid_to IS NULL";
        let expected = "1 1.2399 nueva, 2 2.2500";
        assert_eq!(project.value(current).unwrap(), expected, "{mode}");
        let mut warehouse = project.warehouse().client().unwrap();
        let told: String = warehouse.query_one(current, &[]).unwrap().get(0);
        assert_eq!(told, expected, "{mode}");
        project
            .source
            .batch("UPDATE t SET p = 7, u = now() WHERE id = 2")
            .unwrap();
        project.run_into_both(&[]);
        let versions = "SELECT count(*) FROM replica.t";
        assert_eq!(project.value(versions).unwrap(), "4", "{mode}");
        for destination in BOTH {
            let output = project.acequia(&[&["verify"], destination].concat());
            assert_eq!(output.status, Some(0), "{mode}: {output:?}");
        }
    }
}

/// A key that was renamed in the source, or is another by the configuration, would double the rows.
#[test]
fn rows_are_not_matched_by_another_key() {
    let keyed = |mode: &str, rest: &str| {
        let cursor = if mode == "full" {
            ""
        } else {
            "cursor = \"u\"\n"
        };
        format!(
            "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"{mode}\"\n{cursor}{rest}"
        )
    };
    for (mode, rest) in [
        ("incremental", ""),
        ("incremental", "disposition = \"insert_only\"\n"),
        ("incremental", "disposition = \"scd2\"\n"),
        ("full", "disposition = \"insert_only\"\n"),
    ] {
        let project = Project::new("key_renamed", &keyed(mode, rest)).with_warehouse();
        project.source.batch(TABLE).unwrap();
        project.run_into_both(&[]);
        let refused = |told: &str| {
            for destination in BOTH {
                let output = project.acequia(&[&["run", "--output", "json"], destination].concat());
                assert_eq!(output.status, Some(1), "{output:?}");
                let error = stream_report(&output.json(), "t")["error"].to_string();
                assert!(error.contains(told), "{mode} {rest}: {error}");
            }
            let output = project.acequia(&["check"]);
            assert!(output.stdout.contains(told), "{output:?}");
        };
        project
            .source
            .batch("ALTER TABLE t RENAME id TO numero; UPDATE t SET v = 'otro', u = now() WHERE numero = 2")
            .unwrap();
        refused("by the key (id) so far, and would be by (numero) now");
        project
            .source
            .batch("ALTER TABLE t RENAME numero TO id")
            .unwrap();
        project.streams(&keyed(mode, &format!("primary_key = [\"v\"]\n{rest}")));
        refused("by the key (id) so far, and would be by (v) now");
        project.streams(&keyed(mode, rest));
        project.run_into_both(&[]);
    }
}

/// Another database of the server has the same identifiers where it was copied from this one.
#[test]
fn a_copy_of_the_source_on_its_server_is_another_source() {
    let mut project = incremental("copied", "table = \"public.t\"\n");
    project.run_into_both(&[]);
    let name = project.source.name().to_owned();
    let copy = format!("{name}_copia");
    testkit::Cluster::shared()
        .unwrap()
        .admin()
        .unwrap()
        .batch_execute(&format!("CREATE DATABASE \"{copy}\" TEMPLATE \"{name}\""))
        .unwrap();
    let url = project.source.url().replace(&name, &copy);
    project.set("OPERATIVA_URL", &url);
    for report in project.run_into_both(&[]) {
        assert!(
            warnings(&report).contains("another database of the server"),
            "{report}"
        );
    }
}
