//! Changes into PostgreSQL: the same as into DuckDB.

use super::{cluster, project, streams};
use crate::support::{Project, counts};

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text, grande text);
                 ALTER TABLE t ALTER COLUMN grande SET STORAGE EXTERNAL";

const TO_WAREHOUSE: [&str; 2] = ["--destination", "almacen"];

fn into_warehouse(name: &str, ddl: &str, tables: &[&str], keys: &str) -> Project {
    project(name, ddl, tables, keys).with_warehouse()
}

/// The rows of a query on the destination, each as text.
fn rows(project: &Project, sql: &str) -> Vec<String> {
    let mut client = project.warehouse().client().unwrap();
    let rows = client.query(sql, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn every_kind_of_change_arrives() {
    let project = into_warehouse("al_clases", T, &["t"], "changelog = true");
    let large = |letter: char| letter.to_string().repeat(5000);
    let mut client = project.client();
    client
        .batch_execute(&format!(
            "INSERT INTO t SELECT i, 'v' || i, repeat('{}', 5000) FROM generate_series(1, 50) AS i",
            'x'
        ))
        .unwrap();
    project.run(&TO_WAREHOUSE);
    project.assert_same_in_warehouse("t");
    for changes in [
        // The large value is not sent, is, and goes along with its row to other keys.
        "UPDATE t SET v = v || '!' WHERE id <= 20".to_owned(),
        format!(
            "UPDATE t SET grande = '{}' WHERE id = 3; UPDATE t SET v = 'otra' WHERE id = 3",
            large('y')
        ),
        "UPDATE t SET id = 103 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 4; UPDATE t SET id = 4 WHERE id = 103"
            .to_owned(),
        "DELETE FROM t WHERE id BETWEEN 40 AND 45; INSERT INTO t VALUES (41, NULL, '')".to_owned(),
        "BEGIN; INSERT INTO t VALUES (200, 'a', 'b'); UPDATE t SET v = 'c' WHERE id = 200; \
         DELETE FROM t WHERE id = 200; INSERT INTO t VALUES (200, 'd', NULL); COMMIT"
            .to_owned(),
        "TRUNCATE t; INSERT INTO t VALUES (1, 'tras', 'todo'), (2, NULL, NULL)".to_owned(),
    ] {
        client.batch_execute(&changes).unwrap();
        project.run(&TO_WAREHOUSE);
        project.assert_same_in_warehouse("t");
    }
    assert_eq!(counts(&project.run(&TO_WAREHOUSE), "t"), (0, 0, 0, 0));
    let kept = rows(
        &project,
        "SELECT string_agg(_acequia_op, '' ORDER BY _acequia_lsn, _acequia_seq) FROM replica.t__changes
         WHERE _acequia_op <> 'r' AND (id IS NULL OR id IN (200, 1) AND _acequia_op <> 'u')",
    );
    assert_eq!(kept, ["cdctc"]);
    let lost = "SELECT count(*)::text FROM replica.t__changes WHERE _acequia_unchanged IS NOT NULL AND grande IS NULL";
    assert_eq!(rows(&project, lost), ["0"]);
}

#[test]
fn a_table_without_a_key_holds_each_row_as_often_as_its_source() {
    let project = into_warehouse(
        "al_sin_clave",
        "CREATE TABLE t (a int, b text, f float8); ALTER TABLE t REPLICA IDENTITY FULL",
        &["t"],
        "",
    );
    let mut client = project.client();
    client
        .batch_execute(
            "INSERT INTO t SELECT i % 3, NULLIF(i % 2, 0)::text, 'NaN' FROM generate_series(1, 30) i",
        )
        .unwrap();
    project.run(&TO_WAREHOUSE);
    for changes in [
        "INSERT INTO t SELECT 1, '1', 'NaN' FROM generate_series(1, 3)",
        "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 1 LIMIT 4)",
        "UPDATE t SET f = '-0' WHERE a = 2; UPDATE t SET f = 0 WHERE ctid IN (SELECT ctid FROM t WHERE a = 2 LIMIT 2)",
    ] {
        client.batch_execute(changes).unwrap();
        project.run(&TO_WAREHOUSE);
        project.assert_same_in_warehouse("t");
    }
}

#[test]
fn deleted_rows_may_stay_marked() {
    let project = into_warehouse("al_suaves", T, &["t"], "deletes = \"soft\"");
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v', NULL FROM generate_series(1, 4) i")
        .unwrap();
    project.run(&TO_WAREHOUSE);
    client
        .batch_execute("DELETE FROM t WHERE id < 3; INSERT INTO t VALUES (2, 'vuelve', NULL)")
        .unwrap();
    assert_eq!(counts(&project.run(&TO_WAREHOUSE), "t").3, 1);
    let marked = "SELECT id || ':' || v || ':' || (_acequia_deleted_at IS NOT NULL) FROM replica.t ORDER BY id";
    assert_eq!(
        rows(&project, marked),
        ["1:v:true", "2:vuelve:false", "3:v:false", "4:v:false"]
    );
}

#[test]
fn a_table_follows_its_source_through_changes_of_its_columns() {
    let project = into_warehouse("al_columnas", T, &["t"], "changelog = true");
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t VALUES (1, 'a', NULL)")
        .unwrap();
    project.run(&TO_WAREHOUSE);
    client
        .batch_execute(
            "INSERT INTO t VALUES (2, 'b', 'x');
             ALTER TABLE t ADD COLUMN nota jsonb, ADD COLUMN n int2;
             INSERT INTO t VALUES (3, 'c', NULL, '{\"a\": 1}', 5);
             UPDATE t SET n = 7 WHERE id = 1",
        )
        .unwrap();
    project.run(&TO_WAREHOUSE);
    project.assert_same_in_warehouse("t");
    client
        .batch_execute("ALTER TABLE t ALTER n TYPE int8; UPDATE t SET n = 5000000000 WHERE id = 3")
        .unwrap();
    project.run(&TO_WAREHOUSE);
    project.assert_same_in_warehouse("t");
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attname) FROM pg_attribute
                 WHERE attrelid = 'replica.t'::regclass AND attname IN ('n', 'nota')";
    assert_eq!(rows(&project, types), ["bigint jsonb"]);
}

#[test]
fn killed_at_any_step_nothing_is_lost_and_nothing_comes_twice() {
    let project = into_warehouse("al_caidas", T, &["t"], "changelog = true");
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v', NULL FROM generate_series(1, 100) i")
        .unwrap();
    for (round, step) in (1..).zip([
        "cdc.slot_made",
        "landing.after_manifest",
        "postgres.before_commit",
        "postgres.after_commit",
        "cdc.before_confirm",
        "landing.part_written",
        "landing.after_manifest",
        "postgres.before_commit",
        "postgres.after_commit",
        "pipeline.after_load",
        "cdc.before_confirm",
    ]) {
        client
            .batch_execute(&format!(
                "UPDATE t SET v = v || '{round}' WHERE id % 7 = {round} % 7; \
                 DELETE FROM t WHERE id = {round}; INSERT INTO t VALUES (1000 + {round}, 'n', NULL)"
            ))
            .unwrap();
        project.crash_at(step, &[&["run"], &TO_WAREHOUSE[..]].concat());
        client
            .batch_execute(&format!(
                "UPDATE t SET v = 'tras' WHERE id = 1000 + {round}"
            ))
            .unwrap();
        if round % 2 == 0 {
            project.run(&TO_WAREHOUSE);
            project.assert_same_in_warehouse("t");
        }
    }
    project.run(&TO_WAREHOUSE);
    project.assert_same_in_warehouse("t");
    let twice = "SELECT count(*)::text FROM (SELECT FROM replica.t__changes WHERE _acequia_op <> 'r' \
                 GROUP BY _acequia_lsn, _acequia_seq HAVING count(*) > 1) AS q";
    assert_eq!(rows(&project, twice), ["0"]);
}

#[test]
fn both_destinations_follow_the_log_at_their_own_pace() {
    let project = into_warehouse("al_ambos", T, &["t"], "");
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v', NULL FROM generate_series(1, 100) i")
        .unwrap();
    project.run(&[]);
    client
        .batch_execute("UPDATE t SET v = 'w' WHERE id < 10; DELETE FROM t WHERE id > 90")
        .unwrap();
    project.run(&TO_WAREHOUSE);
    project.assert_same_in_warehouse("t");
    client
        .batch_execute("INSERT INTO t VALUES (500, 'x', NULL)")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (20, 1, 9, 10));
    assert_eq!(counts(&project.run(&TO_WAREHOUSE), "t"), (1, 1, 0, 0));
    project.assert_same("t");
    project.assert_same_in_warehouse("t");
}

#[test]
fn the_destination_may_be_another_schema_of_the_database_whose_changes_are_read() {
    let mut project = project("al_mismo", T, &["t"], "");
    let url = project.source.url().to_owned();
    project.set("ALMACEN_URL", &url);
    project.streams(&streams(&["t"], "changelog = true"));
    assert!(url.contains(&cluster().port().to_string()));
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v', NULL FROM generate_series(1, 100) i")
        .unwrap();
    project.run(&TO_WAREHOUSE);
    for round in 1..4 {
        client
            .batch_execute(&format!("UPDATE t SET v = '{round}' WHERE id % 3 = 0"))
            .unwrap();
        // What acequia writes itself passes through the log, and is no change of the source.
        assert_eq!(counts(&project.run(&TO_WAREHOUSE), "t"), (33, 0, 33, 0));
        project.assert_same_in(&mut client, "t");
    }
}
