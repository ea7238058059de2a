//! How rows are told apart: every replica identity, composite keys, and none.

use super::{error, project};
use crate::support::counts;

/// Scenario 17.
#[test]
fn each_replica_identity_and_composite_keys() {
    let cases = [
        (
            "pk",
            "CREATE TABLE t (a int, b text, v text, PRIMARY KEY (b, a))",
            "",
        ),
        (
            "full",
            "CREATE TABLE t (a int, b text, v text, PRIMARY KEY (a, b)); ALTER TABLE t REPLICA IDENTITY FULL",
            "",
        ),
        (
            "index",
            "CREATE TABLE t (id serial PRIMARY KEY, a int NOT NULL, b text NOT NULL, v text);
             CREATE UNIQUE INDEX t_ab ON t (a, b); ALTER TABLE t REPLICA IDENTITY USING INDEX t_ab",
            "",
        ),
        (
            "chosen",
            "CREATE TABLE t (a int, b text, v text); ALTER TABLE t REPLICA IDENTITY FULL",
            "primary_key = [\"a\", \"b\"]",
        ),
    ];
    for (name, ddl, keys) in cases {
        let project = project(name, ddl, &["t"], keys);
        let mut client = project.client();
        client
            .batch_execute("INSERT INTO t (a, b, v) SELECT i % 10, 'k' || i, 'v' FROM generate_series(1, 100) i")
            .unwrap();
        project.run(&[]);
        client
            .batch_execute(
                "UPDATE t SET v = 'w' WHERE a = 3; UPDATE t SET b = b || '!' WHERE a = 4; DELETE FROM t WHERE a = 5;
                 UPDATE t SET a = a + 100, v = NULL WHERE a = 6; INSERT INTO t (a, b, v) VALUES (5, 'k5', 'otra')",
            )
            .unwrap();
        project.run(&[]);
        project.assert_same("t");
    }
}

/// Scenario 18: whole rows are matched, as many as there are.
#[test]
fn without_a_key_whole_rows_are_matched() {
    let project = project(
        "keyless",
        "CREATE TABLE t (a int, b float8, c text); ALTER TABLE t REPLICA IDENTITY FULL",
        &["t"],
        "",
    );
    let mut client = project.client();
    client
        .batch_execute(
            "INSERT INTO t VALUES (1, 0.5, 'x'), (1, 0.5, 'x'), (1, 0.5, 'x'), (NULL, NULL, NULL), (NULL, NULL, NULL),
                                  (2, 'NaN', ''), (3, '-0', 'y'), (3, '0', 'y')",
        )
        .unwrap();
    project.run(&[]);
    client
        .batch_execute(
            "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 1);
             DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a IS NULL);
             UPDATE t SET c = 'z' WHERE a = 2; UPDATE t SET a = 4 WHERE b::text = '-0';
             INSERT INTO t VALUES (1, 0.5, 'x'), (9, 9, 'nueva'); UPDATE t SET c = c || '!' WHERE a = 9; UPDATE t SET c = 'x' WHERE a = 9",
        )
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    client
        .batch_execute("TRUNCATE t; INSERT INTO t VALUES (1, 1, 'a'), (1, 1, 'a')")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
}

/// Without an identity the server would refuse the application's own updates once the table is published.
#[test]
fn a_table_without_identity_is_refused_before_it_is_published() {
    let by_default = "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY DEFAULT;";
    for (name, ddl, remedy) in [
        (
            "none",
            "CREATE TABLE t (a int, b text)",
            "give it a primary key",
        ),
        (
            "nothing",
            "CREATE TABLE t (a int PRIMARY KEY, b text); ALTER TABLE t REPLICA IDENTITY NOTHING",
            by_default,
        ),
        (
            "indexgone",
            "CREATE TABLE t (a int PRIMARY KEY, b text, c int NOT NULL); CREATE UNIQUE INDEX i ON t (c);
             ALTER TABLE t REPLICA IDENTITY USING INDEX i; DROP INDEX i; ALTER TABLE t ALTER c DROP NOT NULL",
            by_default,
        ),
    ] {
        let project = project(name, ddl, &["t"], "");
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        let text = error(&output.json(), "t");
        assert!(
            text.contains("has no replica identity") && text.contains("REPLICA IDENTITY FULL"),
            "{text}"
        );
        assert!(text.contains(remedy), "{text}");
        assert_eq!(
            project.source_value("SELECT count(*) FROM pg_publication_tables"),
            "0"
        );
        project
            .source
            .batch("INSERT INTO t VALUES (1, 'a'); UPDATE t SET b = 'b'; DELETE FROM t")
            .unwrap();
        let output = project.acequia(&["check"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(
            output.stdout.contains("REPLICA IDENTITY FULL"),
            "{output:?}"
        );
    }
}

/// A publication of inserts alone needs no identity.
#[test]
fn inserts_alone_need_no_identity() {
    let project = project(
        "inserts",
        "CREATE TABLE t (a int, b text); CREATE PUBLICATION acequia FOR TABLE t WITH (publish = 'insert');
         INSERT INTO t VALUES (1, 'a'), (1, 'a')",
        &["t"],
        "",
    );
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (2, 2, 0, 0));
    project.assert_same("t");
}

#[test]
fn a_key_that_the_log_does_not_have_is_refused() {
    let project = project(
        "otherkey",
        "CREATE TABLE t (a int PRIMARY KEY, b text NOT NULL)",
        &["t"],
        "primary_key = \"b\"",
    );
    let output = project.acequia(&["run", "--output", "json"]);
    let text = error(&output.json(), "t");
    assert!(
        text.contains("tells the rows of") && text.contains("REPLICA IDENTITY FULL"),
        "{text}"
    );
}

#[test]
fn null_in_a_key_is_told_with_what_changes_allow() {
    let project = project(
        "nullkey",
        "CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (NULL, 'b')",
        &["t"],
        "primary_key = \"a\"",
    );
    let output = project.acequia(&["run", "--output", "json"]);
    let text = error(&output.json(), "t");
    assert!(
        text.contains("NULL stands in the key") && text.contains("leave `primary_key` out"),
        "{text}"
    );
    assert!(
        !text.contains("`where`") && !text.contains("disposition"),
        "{text}"
    );
    project.streams(&super::streams(&["t"], ""));
    project.run(&[]);
    project.assert_same("t");
}
