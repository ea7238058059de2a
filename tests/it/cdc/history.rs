//! What a stream's history becomes where it begins anew: the changelog keeps what it has, and folds to the table.

use super::{project, warnings};
use crate::support::Project;

/// The rows that the changelog folds to, by `id`: each key's last change since the last truncation.
fn folded(project: &Project) -> Vec<String> {
    project.rows(
        "WITH c AS (SELECT *, row_number() OVER (ORDER BY _acequia_lsn, _acequia_seq) AS place FROM replica.t__changes),
              alive AS (SELECT * FROM c WHERE place > coalesce((SELECT max(place) FROM c WHERE _acequia_op = 't'), 0)),
              last AS (SELECT *, row_number() OVER (PARTITION BY id ORDER BY place DESC) AS back FROM alive)
         SELECT id || ':' || coalesce(v, 'NULL') FROM last WHERE back = 1 AND _acequia_op <> 'd' ORDER BY id",
    )
}

fn table(project: &Project) -> Vec<String> {
    project.rows("SELECT id || ':' || coalesce(v, 'NULL') FROM replica.t ORDER BY id")
}

/// B8, and the remedy of a lost slot.
#[test]
fn the_changelog_folds_to_the_table_after_new_snapshots() {
    let project = project(
        "history",
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        &["t"],
        "changelog = true",
    );
    project.run(&[]);
    let first = project.rows("SELECT _acequia_op FROM replica.t__changes");
    assert_eq!(first, ["r", "r", "r"], "a first snapshot needs no mark");
    // By DDL; a row goes in what is not read.
    project
        .source
        .batch("DELETE FROM t WHERE id = 1; ALTER TABLE t ALTER n TYPE bigint; UPDATE t SET v = 'bb' WHERE id = 2")
        .unwrap();
    assert!(warnings(&project.run(&[]), "t").contains("a new snapshot"));
    assert_eq!(folded(&project), ["2:bb", "3:c"]);
    // By a full refresh.
    project
        .source
        .batch("DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (4, 'd', 4)")
        .unwrap();
    project.run(&["--full-refresh"]);
    assert_eq!(folded(&project), ["3:c", "4:d"]);
    assert_eq!(folded(&project), table(&project));
    let kept = project
        .value("SELECT count(*) FROM replica.t__changes WHERE id = 1")
        .unwrap();
    assert_eq!(kept, "1", "what was known of rows that are no more stays");
    // An empty one.
    project.source.batch("DELETE FROM t").unwrap();
    project.run(&["--full-refresh"]);
    assert!(folded(&project).is_empty());
    project
        .source
        .batch("INSERT INTO t VALUES (5, 'e', 5)")
        .unwrap();
    project.run(&[]);
    assert_eq!(folded(&project), table(&project));
}

/// A column of another type does not stop the stream: in the changelog it becomes text.
#[test]
fn the_changelog_takes_a_column_of_another_type() {
    let mut project = project(
        "retyped_log",
        "CREATE TABLE t (id int PRIMARY KEY, v int, w bytea); INSERT INTO t VALUES (1, 10, 'a')",
        &["t"],
        "changelog = true",
    )
    .with_warehouse();
    let url = project.warehouse().url().to_owned();
    project.set("ALMACEN_URL", &url);
    let both = |project: &Project| {
        for destination in ["duckdb", "almacen"] {
            project.run(&["--destination", destination]);
        }
        project.assert_same("t");
        project.assert_same_in_warehouse("t");
    };
    both(&project);
    project
        .source
        .batch("ALTER TABLE t ALTER v TYPE date USING date '2024-01-01' + v; ALTER TABLE t ALTER w TYPE int[] USING ARRAY[1, 2]")
        .unwrap();
    both(&project);
    project
        .source
        .batch("UPDATE t SET v = v + 1; INSERT INTO t VALUES (2, '2025-05-05', '{3}')")
        .unwrap();
    both(&project);
    let log = project.log("t", "id, v");
    assert_eq!(
        log,
        [
            "r:1,10",
            "t:",
            "r:1,2024-01-11",
            "u:1,2024-01-12",
            "c:2,2025-05-05"
        ]
    );
}
