//! Partitions, and what a publication leaves out.

use super::{project, streams, warnings};
use crate::support::{counts, postgres_major};

const PARTITIONED: &str =
    "CREATE TABLE t (id int, mes int, v text, PRIMARY KEY (id, mes)) PARTITION BY LIST (mes);
     CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
     CREATE TABLE t_2 (v text, mes int NOT NULL, id int NOT NULL, PRIMARY KEY (id, mes));
     ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES IN (2);
     INSERT INTO t SELECT i, 1 + i % 2, 'v' FROM generate_series(1, 100) i;";

/// Scenario 21.
#[test]
fn a_partitioned_table_by_its_root_or_by_its_partitions() {
    for root in ["true", "false"] {
        let publication = format!(
            "CREATE PUBLICATION acequia FOR TABLE t WITH (publish_via_partition_root = {root})"
        );
        let project = project(
            "partitions",
            &format!("{PARTITIONED}{publication}"),
            &["t"],
            "",
        );
        assert_eq!(counts(&project.run(&[]), "t").1, 100);
        project
            .source
            .batch(
                "UPDATE t SET v = 'w' WHERE id <= 10; UPDATE t SET mes = 1 WHERE id = 21; DELETE FROM t WHERE id > 90;
                 INSERT INTO t VALUES (200, 1, 'x'), (201, 2, 'y')",
            )
            .unwrap();
        project.run(&[]);
        project.assert_same("t");
        project
            .source
            .batch("CREATE TABLE t_3 PARTITION OF t FOR VALUES IN (3); INSERT INTO t VALUES (300, 3, 'z')")
            .unwrap();
        let report = project.run(&[]);
        assert!(
            warnings(&report, "t").contains("1 partition(s) were attached"),
            "{report}"
        );
        project.assert_same("t");
        project
            .source
            .batch("ALTER TABLE t DETACH PARTITION t_1")
            .unwrap();
        let report = project.run(&[]);
        assert!(warnings(&report, "t").contains("1 detached"), "{report}");
        project.run(&["t", "--full-refresh"]);
        project.assert_same("t");
        project
            .source
            .batch("TRUNCATE t; INSERT INTO t VALUES (1, 2, 'sola')")
            .unwrap();
        project.run(&[]);
        project.assert_same("t");
    }
}

/// A partition that is truncated by itself takes rows away that the log does not name.
#[test]
fn a_truncated_partition_is_read_anew() {
    let publication =
        "CREATE PUBLICATION acequia FOR TABLE t WITH (publish_via_partition_root = false)";
    let project = project(
        "truncated",
        &format!("{PARTITIONED}{publication}"),
        &["t"],
        "",
    );
    project.run(&[]);
    project
        .source
        .batch("TRUNCATE t_1; INSERT INTO t VALUES (500, 1, 'tras')")
        .unwrap();
    let report = project.run(&[]);
    assert!(
        warnings(&report, "t").contains("partitions was truncated"),
        "{report}"
    );
    project.assert_same("t");
}

/// What happens to a partition while it is detached is not in the log, and afterwards nothing of the table tells that it was.
#[test]
fn a_partition_that_was_detached_for_a_while_is_read_anew() {
    for root in ["true", "false"] {
        let publication = format!(
            "CREATE PUBLICATION acequia FOR TABLE t WITH (publish_via_partition_root = {root})"
        );
        let ddl = format!("{PARTITIONED}{publication}");
        let project = project("detached", &ddl, &["t"], "");
        project.run(&[]);
        project
            .source
            .batch(
                "ALTER TABLE t DETACH PARTITION t_1; UPDATE t_1 SET v = 'w';
                 ALTER TABLE t ATTACH PARTITION t_1 FOR VALUES IN (1)",
            )
            .unwrap();
        let report = project.run(&[]);
        assert!(
            warnings(&report, "t").contains("detached for a while"),
            "{report}"
        );
        project.assert_same("t");
        let report = project.run(&[]);
        assert_eq!(warnings(&report, "t"), "[]", "{report}");
    }
}

#[test]
fn a_partition_that_writes_no_log_is_refused_and_a_foreign_one_is_told() {
    let publication = "CREATE PUBLICATION acequia FOR TABLE t";
    let ddl = format!("{PARTITIONED}{publication}");
    let project = project("unlogged", &ddl, &["t"], "");
    project.run(&[]);
    project
        .source
        .batch("CREATE UNLOGGED TABLE t_3 PARTITION OF t FOR VALUES IN (3); INSERT INTO t VALUES (300, 3, 'z')")
        .unwrap();
    let report = project.run_failing("t");
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("t_3") && error.contains("SET LOGGED"),
        "{error}"
    );
    project.source.batch("ALTER TABLE t_3 SET LOGGED").unwrap();
    project.run(&["--full-refresh"]);
    project.assert_same("t");
    let foreign = "CREATE EXTENSION postgres_fdw;
                   CREATE SERVER otro FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'postgres');
                   CREATE FOREIGN TABLE f (id int NOT NULL, mes int NOT NULL, v text) SERVER otro;
                   ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t_1 REPLICA IDENTITY FULL;
                   ALTER TABLE t_2 REPLICA IDENTITY FULL; ALTER TABLE t_3 REPLICA IDENTITY FULL;
                   ALTER TABLE t ATTACH PARTITION f FOR VALUES IN (4);";
    project.source.batch(foreign).unwrap();
    let output = project.acequia(&["check"]);
    assert!(
        format!("{output:?}").contains("rows of public.f, partitions of"),
        "{output:?}"
    );
}

/// Scenario 22.
#[test]
fn column_lists_row_filters_and_generated_columns() {
    // They came with PostgreSQL 15.
    if postgres_major() < 15 {
        return;
    }
    let project = project(
        "filters",
        "CREATE TABLE t (id int PRIMARY KEY, activo bool NOT NULL, secreto text, v text,
                         doble int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE t REPLICA IDENTITY DEFAULT;
         INSERT INTO t (id, activo, secreto, v) SELECT i, i % 2 = 0, 's', 'v' FROM generate_series(1, 40) i;
         CREATE PUBLICATION acequia FOR TABLE t (id, v) WHERE (id > 10);",
        &["t"],
        "",
    );
    assert_eq!(counts(&project.run(&[]), "t").1, 30);
    project
        .source
        .batch(
            "UPDATE t SET v = 'w' WHERE id < 20; INSERT INTO t (id, activo, v) VALUES (5000, true, 'x');
             UPDATE t SET id = 1 + 100 WHERE id = 1; UPDATE t SET id = 9 - 9 WHERE id = 30; DELETE FROM t WHERE id = 31",
        )
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("CREATE VIEW visto AS SELECT id, v FROM t WHERE id > 10")
        .unwrap();
    project.assert_same_as("public.visto", "replica.t");
    let columns = project.rows(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 't' AND column_name NOT LIKE '\\_acequia%' ESCAPE '\\' ORDER BY 1",
    );
    assert_eq!(columns, ["id", "v"]);
}

#[test]
fn generated_columns_are_left_out_of_both_snapshot_and_changes() {
    let project = project(
        "generated",
        "CREATE TABLE t (id int PRIMARY KEY, v text, doble int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t (id, v) VALUES (1, 'a')",
        &["t"],
        "",
    );
    let report = project.run(&[]);
    assert!(warnings(&report, "t").contains("`doble`"), "{report}");
    project
        .source
        .batch("INSERT INTO t (id, v) VALUES (2, 'b'); CREATE VIEW visto AS SELECT id, v FROM t")
        .unwrap();
    let report = project.run(&[]);
    assert!(warnings(&report, "t").contains("`doble`"), "{report}");
    project.assert_same_as("public.visto", "replica.t");
    // Who leaves it out need not be told.
    project.streams(&streams(&["t"], "exclude = [\"doble\"]"));
    assert_eq!(warnings(&project.run(&[]), "t"), "[]");
}
