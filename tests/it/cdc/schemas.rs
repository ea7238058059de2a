//! Tables that change while they are followed.

use super::{error, project, warnings};
use crate::support::{Project, counts};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, b int)";

fn begun(name: &str, keys: &str) -> Project {
    let project = project(name, T, &["t"], keys);
    project
        .source
        .batch("INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 20) i")
        .unwrap();
    project.run(&[]);
    project
}

/// Scenario 19: added, and dropped.
#[test]
fn columns_are_added_and_dropped() {
    let project = begun("columns", "changelog = true");
    project
        .source
        .batch(
            "INSERT INTO t VALUES (21, 'antes', 21); ALTER TABLE t ADD COLUMN c numeric(8,2);
             INSERT INTO t VALUES (22, 'después', 22, 1.5); UPDATE t SET c = 2 WHERE id <= 3;",
        )
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(counts(&report, "t"), (5, 2, 3, 0));
    assert_eq!(warnings(&report, "t"), "[]");
    project.assert_same("t");
    project
        .source
        .batch("UPDATE t SET b = 0 WHERE id = 1; ALTER TABLE t DROP COLUMN b; INSERT INTO t VALUES (23, 'sin b', 3)")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    let b = project.rows("SELECT id || ':' || coalesce(b::VARCHAR, 'NULL') FROM replica.t WHERE id IN (1, 2, 23) ORDER BY id");
    assert_eq!(
        b,
        ["1:0", "2:2", "23:NULL"],
        "what was dropped stays as it was"
    );
}

/// Scenario 20: a table changes within a transaction.
#[test]
fn a_table_changes_between_rows_of_a_transaction() {
    let project = begun("within", "");
    project
        .source
        .batch(
            "BEGIN; INSERT INTO t VALUES (30, 'uno', 1); ALTER TABLE t ADD COLUMN c text; INSERT INTO t VALUES (31, 'dos', 2, 'c');
             ALTER TABLE t DROP COLUMN a; UPDATE t SET c = 'cc' WHERE id < 5; INSERT INTO t (id, b, c) VALUES (32, 3, 'ccc'); COMMIT;
             DELETE FROM t WHERE id = 31",
        )
        .unwrap();
    for step in ["landing.after_manifest", "duckdb.after_commit"] {
        project.crash_at(step, &["run"]);
        if step == "duckdb.after_commit" {
            break;
        }
    }
    project.run(&[]);
    project.assert_same("t");
}

/// Scenario 19: what the log does not tell makes the stream begin anew.
#[test]
fn renames_new_types_and_defaults_are_read_anew() {
    for (name, ddl, word) in [
        ("rename", "ALTER TABLE t RENAME COLUMN a TO alfa", "renamed"),
        (
            "retype",
            "ALTER TABLE t ALTER COLUMN b TYPE text USING 'n' || b",
            "changed from integer to text",
        ),
        (
            "widen",
            "ALTER TABLE t ALTER COLUMN b TYPE int8 USING b * 1000",
            "changed from integer to bigint",
        ),
        (
            "default",
            "ALTER TABLE t ADD COLUMN c int DEFAULT 5",
            "has a default",
        ),
        (
            "volatile",
            "ALTER TABLE t ADD COLUMN c float8 NOT NULL DEFAULT random()",
            "has a default",
        ),
    ] {
        let project = begun(name, "");
        project
            .source
            .batch("UPDATE t SET a = 'z' WHERE id = 2")
            .unwrap();
        project.source.batch(ddl).unwrap();
        project.source.batch("DELETE FROM t WHERE id = 1").unwrap();
        let report = project.run(&[]);
        assert!(warnings(&report, "t").contains(word), "{name}: {report}");
        project.assert_same("t");
        project.source.batch("DELETE FROM t WHERE id = 3").unwrap();
        assert_eq!(counts(&project.run(&[]), "t"), (1, 0, 0, 1), "{name}");
        project.assert_same("t");
    }
}

#[test]
fn a_frozen_stream_refuses_a_new_column_and_loses_nothing() {
    let project = begun("frozen", "schema_contract = \"freeze\"");
    project
        .source
        .batch("ALTER TABLE t ADD COLUMN c int; INSERT INTO t VALUES (40, 'x', 1, 2)")
        .unwrap();
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let text = error(&output.json(), "t");
    assert!(
        text.contains("column `c` (integer) is new") && text.contains("freeze"),
        "{text}"
    );
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&config.replace("freeze", "evolve"));
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn columns_that_are_left_out_may_change() {
    let project = begun("leftout", "exclude = [\"b\"]");
    project
        .source
        .batch("ALTER TABLE t ALTER COLUMN b TYPE text; ALTER TABLE t RENAME COLUMN b TO bb; ALTER TABLE t DROP COLUMN bb; UPDATE t SET a = 'q'")
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(counts(&report, "t"), (20, 0, 20, 0));
    project.assert_same("t");
}
