//! `acequia verify --repair`: what differs is mended by a load like any other.

use serde_json::Value;

use super::{found, loaded};
use crate::cdc;
use crate::support::{Project, VENTAS, counts, stream_report};

/// Everything that can differ at once: missing, doubled, extra, altered and swapped rows.
const ALTERED: [&str; 5] = [
    "DELETE FROM replica.ventas WHERE id = 7",
    "INSERT INTO replica.ventas SELECT * FROM replica.ventas WHERE id = 8",
    "UPDATE replica.ventas SET id = 99999999 WHERE id = 9",
    "UPDATE replica.ventas SET precio_total = precio_total + 0.01, estado = NULL WHERE id = 10",
    "UPDATE replica.ventas SET id = CASE id WHEN 11 THEN 12 ELSE 11 END WHERE id IN (11, 12)",
];

/// `acequia verify --repair`, which must succeed: what it reports of a stream.
fn repair(project: &Project, stream: &str, arguments: &[&str]) -> Value {
    let report = project.verify(&[&["--repair"], arguments].concat());
    stream_report(&report, stream)
}

#[test]
fn what_differs_is_mended_and_a_replay_gives_the_same() {
    let project = loaded("repair", 1_000, VENTAS).with_warehouse();
    project.alter(&ALTERED.join(";"));
    project
        .source
        .batch("DELETE FROM ventas WHERE id IN (20, 21)")
        .unwrap();
    let told = repair(&project, "ventas", &[]);
    assert_eq!(told["result"], "repaired", "{told}");
    assert_eq!(found(&told), [2, 4, 3]);
    project.verify(&[]);
    project.assert_same("ventas");
    // It is in the ledger and the landing area, and the position stays.
    let load = told["repair"].as_str().unwrap();
    let ledger = project.value(&format!(
        "SELECT concat_ws(' ', rows_extracted, deleted, position_before = position_after) FROM replica._acequia_loads \
         WHERE load_id = '{load}'"
    ));
    assert_eq!(ledger.as_deref(), Some("9 3 true"));
    assert!(
        project
            .loads("ventas")
            .iter()
            .any(|path| path.ends_with(load))
    );
    assert_eq!(counts(&project.run(&[]), "ventas").0, 0);
    // Nothing is left to be mended.
    let told = repair(&project, "ventas", &[]);
    assert_eq!(
        (&told["result"], &told["repair"]),
        (&"equal".into(), &Value::Null)
    );
    let replayed = project.acequia(&["replay", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    project.verify(&["--destination", "almacen"]);
    project.assert_same_in_warehouse("ventas");
    project.verify(&["--against", "landing"]);
}

#[test]
fn what_differs_in_postgres_is_mended() {
    let project = loaded("repair_pg", 500, VENTAS).with_warehouse();
    let destination = ["--destination", "almacen"];
    project.run(&destination);
    for sql in ALTERED
        .iter()
        .filter(|sql| !sql.contains("CASE") && !sql.starts_with("INSERT"))
    {
        project.warehouse().batch(sql).unwrap();
    }
    let told = repair(&project, "ventas", &destination);
    assert_eq!(found(&told), [2, 1, 1], "{told}");
    project.verify(&destination);
    project.assert_same_in_warehouse("ventas");
}

#[test]
fn a_repair_that_was_landed_and_not_loaded_is_not_believed_later() {
    let project = loaded("repair_crash", 300, VENTAS);
    project.alter(ALTERED[0]);
    project.crash_at("duckdb.before_commit", &["verify", "--repair"]);
    // What it deletes may be there again by then, with a cursor value that no later run reads.
    let report = project.run(&[]);
    let warnings = stream_report(&report, "ventas")["warnings"].to_string();
    assert!(warnings.contains("verify again"), "{warnings}");
    repair(&project, "ventas", &[]);
    project.assert_same("ventas");
}

#[test]
fn a_table_that_is_replaced_is_loaded_anew() {
    let streams = VENTAS
        .replace("incremental", "full")
        .replace("cursor = \"updated_at\"\n", "");
    let project = loaded("repair_full", 300, &streams);
    project.alter(&ALTERED.join(";"));
    let told = repair(&project, "ventas", &[]);
    assert_eq!(told["result"], "repaired", "{told}");
    project.verify(&[]);
    project.assert_same("ventas");
}

#[test]
fn tables_of_changes_are_mended() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, texto text, lista int[]);
        INSERT INTO t SELECT i, repeat('x', i), ARRAY[i, NULL] FROM generate_series(1, 300) i";
    for (keys, deleted) in [
        ("", ""),
        ("deletes = \"soft\"", " WHERE _acequia_deleted_at IS NULL"),
    ] {
        let project = cdc::project("repair_cdc", ddl, &["t"], keys);
        project.run(&[]);
        project.alter(
            "UPDATE replica.t SET texto = NULL WHERE id = 5; DELETE FROM replica.t WHERE id = 6; \
             INSERT INTO replica.t SELECT * FROM replica.t WHERE id = 7; \
             INSERT INTO replica.t SELECT * REPLACE (9999 AS id) FROM replica.t WHERE id = 8",
        );
        let told = repair(&project, "t", &["t"]);
        assert_eq!(found(&told), [1, 2, 1], "{told}");
        project.verify(&[]);
        let living = project.value(&format!("SELECT count(*) FROM replica.t{deleted}"));
        assert_eq!(living.as_deref(), Some("300"));
        // The stream goes on.
        project
            .source
            .batch("UPDATE t SET texto = 'nuevo' WHERE id <= 10; DELETE FROM t WHERE id = 20")
            .unwrap();
        project.run(&[]);
        project.verify(&[]);
        project.verify(&["t", "--against", "landing"]);
    }
}

/// A row more or a row less would be wrong where the loads before it are replayed, whose table had no such fault.
#[test]
fn a_table_of_changes_without_a_key_is_mended_by_a_new_snapshot() {
    let ddl =
        "CREATE TABLE t (id int PRIMARY KEY, texto text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
        CREATE TABLE u (a int, b text); ALTER TABLE u REPLICA IDENTITY FULL;
        INSERT INTO u SELECT i % 5, NULL FROM generate_series(1, 50) i";
    let project = cdc::project("repair_keyless", ddl, &["t", "u"], "").with_warehouse();
    project.run(&[]);
    project.alter(
        "UPDATE replica.t SET texto = NULL WHERE id = 2; \
         INSERT INTO replica.u SELECT * FROM replica.u WHERE a = 3 LIMIT 2; \
         DELETE FROM replica.u WHERE rowid = (SELECT min(rowid) FROM replica.u WHERE a = 4)",
    );
    let report = project.verify(&["--repair"]);
    let [t, u] = ["t", "u"].map(|stream| stream_report(&report, stream));
    assert_eq!((found(&t), found(&u)), ([0, 0, 1], [1, 2, 0]), "{report}");
    for told in [&t, &u] {
        assert_eq!(told["result"], "repaired", "{told}");
    }
    let load = u["repair"].as_str().unwrap();
    let is_it = |path: &std::path::PathBuf| path.ends_with(load);
    assert!(project.loads("u").iter().any(is_it));
    assert_eq!(repair(&project, "u", &[])["result"], "equal");
    project.assert_same("u");
    // The stream goes on, and a replay gives the same.
    project
        .source
        .batch("INSERT INTO u VALUES (3, 'x'); DELETE FROM u WHERE a = 4")
        .unwrap();
    project.run(&[]);
    project.verify(&["--against", "landing"]);
    let replayed = project.acequia(&["replay", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    for stream in ["t", "u"] {
        project.assert_same(stream);
        project.assert_same_in_warehouse(stream);
    }
}

#[test]
fn tables_that_keep_more_than_their_source_are_not_repaired() {
    let streams = VENTAS.to_owned() + "disposition = \"scd2\"\n";
    let project = loaded("repair_scd2", 50, &streams);
    let output = project.acequia(&["verify", "--repair"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("verify it without --repair"),
        "{output:?}"
    );
    let output = project.acequia(&["verify", "--repair", "--counts"]);
    assert_eq!(output.status, Some(2), "{output:?}");
}
