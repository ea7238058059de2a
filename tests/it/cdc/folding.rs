//! Changes of one load fold into the last state of each row; the change log keeps every one.

use super::project;
use crate::support::{Project, counts};

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text, grande text);
                 ALTER TABLE t ALTER COLUMN grande SET STORAGE EXTERNAL";

/// A value that is stored out of line.
fn large(letter: char) -> String {
    letter.to_string().repeat(5000)
}

fn after(name: &str, ddl: &str, first: &str, changes: &[&str], keys: &str) -> Project {
    let project = project(name, ddl, &["t"], keys);
    project.source.batch(first).unwrap();
    project.run(&[]);
    for change in changes {
        project.source.batch(change).unwrap();
    }
    project.run(&[]);
    project.assert_same("t");
    project
}

/// Scenario 11.
#[test]
fn large_values_that_did_not_change_are_kept() {
    for identity in ["DEFAULT", "FULL"] {
        let first = format!(
            "ALTER TABLE t REPLICA IDENTITY {identity};
             INSERT INTO t VALUES (1, 'a', '{}'), (2, 'b', '{}'), (3, 'c', NULL)",
            large('x'),
            large('y')
        );
        let project = after(
            "toast",
            T,
            &first,
            &[
                "UPDATE t SET v = v || v",
                "UPDATE t SET v = 'z', grande = NULL WHERE id = 2",
            ],
            "changelog = true",
        );
        let log = project.rows(
            "SELECT _acequia_op || id || coalesce(length(grande)::VARCHAR, 'NULL') FROM replica.t__changes
             WHERE _acequia_op <> 'r' ORDER BY _acequia_lsn, _acequia_seq",
        );
        assert_eq!(log, ["u15000", "u25000", "u3NULL", "u2NULL"], "{identity}");
    }
}

/// Scenario 12.
#[test]
fn an_insert_and_a_partial_update_in_one_load() {
    let first = format!("INSERT INTO t VALUES (1, 'a', '{}')", large('x'));
    after(
        "partial",
        T,
        &first,
        &[
            &format!("INSERT INTO t VALUES (2, 'b', '{}')", large('y')),
            "UPDATE t SET v = 'c' WHERE id = 2",
            "UPDATE t SET v = 'd'",
            &format!("UPDATE t SET grande = '{}' WHERE id = 1", large('w')),
            "UPDATE t SET v = 'e' WHERE id = 1",
        ],
        "",
    );
}

/// Scenarios 13 and 14.
#[test]
fn a_key_changes_and_its_large_value_goes_along() {
    for identity in ["DEFAULT", "FULL"] {
        let first = format!(
            "ALTER TABLE t REPLICA IDENTITY {identity};
             INSERT INTO t VALUES (1, 'a', '{}'), (2, 'b', '{}'), (3, 'c', '{}'), (4, 'd', '{}')",
            large('x'),
            large('y'),
            large('z'),
            large('w')
        );
        let project = after(
            "move",
            T,
            &first,
            &[
                "UPDATE t SET id = 10 WHERE id = 1",
                // A swap by way of a third.
                "BEGIN; UPDATE t SET id = -1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 3; UPDATE t SET id = 3 WHERE id = -1; COMMIT",
                // On and on, changed on the way, and a new row where it was.
                "UPDATE t SET id = 40 WHERE id = 4; UPDATE t SET v = 'camino' WHERE id = 40; UPDATE t SET id = 41 WHERE id = 40",
                "INSERT INTO t VALUES (4, 'otra', 'corta')",
                "UPDATE t SET id = id + 1000",
            ],
            "changelog = true",
        );
        let log = project.log("t", "id");
        assert_eq!(log[4..6], ["d:1", "c:10"], "{identity}");
    }
}

/// Scenario 15.
#[test]
fn inserted_updated_deleted_and_inserted_again_in_one_load() {
    let project = after(
        "fold",
        T,
        "INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL)",
        &[
            "INSERT INTO t VALUES (3, 'c', NULL); UPDATE t SET v = 'cc' WHERE id = 3; DELETE FROM t WHERE id = 3;
             INSERT INTO t VALUES (3, 'ccc', NULL)",
            "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'otra vez', NULL)",
            "UPDATE t SET v = 'adiós' WHERE id = 2; DELETE FROM t WHERE id = 2",
            "INSERT INTO t VALUES (4, 'efímera', NULL); DELETE FROM t WHERE id = 4",
        ],
        "changelog = true",
    );
    assert_eq!(
        project.log("t", "id, v")[2..],
        [
            "c:3,c",
            "u:3,cc",
            "d:3",
            "c:3,ccc",
            "d:1",
            "c:1,otra vez",
            "u:2,adiós",
            "d:2",
            "c:4,efímera",
            "d:4"
        ]
    );
}

/// Scenario 16.
#[test]
fn truncate_then_rows_and_several_tables_at_once() {
    let project = project(
        "truncate",
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT i, 'a' FROM generate_series(1, 50) i; INSERT INTO u SELECT i, 'a' FROM generate_series(1, 60) i;",
        &["t", "u"],
        "changelog = true",
    );
    project.run(&[]);
    project
        .source
        .batch(
            "INSERT INTO t VALUES (51, 'b'); TRUNCATE t; INSERT INTO t VALUES (1, 'nueva'), (52, 'c');
             UPDATE t SET v = 'd' WHERE id = 52;",
        )
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(counts(&report, "t"), (5, 1, 1, 49));
    project.assert_same("t");
    project
        .source
        .batch("TRUNCATE t, u; INSERT INTO u VALUES (7, 'sola')")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    project.assert_same("u");
    assert!(project.log("t", "id").contains(&"t:".to_owned()));
}

/// Scenario 23: savepoints that are rolled back leave nothing.
#[test]
fn what_is_rolled_back_never_comes() {
    let project = after(
        "savepoints",
        T,
        "INSERT INTO t VALUES (1, 'a', NULL)",
        &[
            "BEGIN; INSERT INTO t VALUES (2, 'b', NULL); SAVEPOINT s; INSERT INTO t VALUES (3, 'c', NULL);
             UPDATE t SET v = 'no' WHERE id = 1; ROLLBACK TO s; INSERT INTO t VALUES (4, 'd', NULL); RELEASE s; COMMIT",
            "BEGIN; DELETE FROM t; ROLLBACK",
        ],
        "changelog = true",
    );
    assert_eq!(project.log("t", "id")[1..], ["c:2", "c:4"]);
}

/// Scenario 7: the order is that of the commits, not that of the changes.
#[test]
fn the_order_is_that_of_the_commits() {
    let project = project("order", T, &["t"], "changelog = true");
    project.run(&[]);
    let (mut one, mut other) = (project.client(), project.client());
    let mut first = one.transaction().unwrap();
    first
        .execute("INSERT INTO t VALUES (1, 'empezó antes', NULL)", &[])
        .unwrap();
    other
        .execute("INSERT INTO t VALUES (2, 'terminó antes', NULL)", &[])
        .unwrap();
    project.run(&[]);
    first
        .execute("INSERT INTO t VALUES (3, 'empezó antes', NULL)", &[])
        .unwrap();
    first.commit().unwrap();
    other
        .execute("INSERT INTO t VALUES (4, 'al final', NULL)", &[])
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    assert_eq!(project.log("t", "id"), ["c:2", "c:1", "c:3", "c:4"]);
}

#[test]
fn soft_deletes_keep_the_row() {
    let project = project("soft", T, &["t"], "deletes = \"soft\"");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL)")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("DELETE FROM t WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (2, 'volvió', NULL); UPDATE t SET id = 30 WHERE id = 3")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t").3, 2);
    let rows = "SELECT id || ',' || v || ',' || (_acequia_deleted_at IS NOT NULL) FROM replica.t ORDER BY id";
    assert_eq!(
        project.rows(rows),
        ["1,a,true", "2,volvió,false", "3,c,true", "30,c,false"]
    );
    project.source.batch("TRUNCATE t").unwrap();
    project.run(&[]);
    assert_eq!(
        project.rows("SELECT count(*)::VARCHAR FROM replica.t WHERE _acequia_deleted_at IS NULL"),
        ["0"]
    );
}
