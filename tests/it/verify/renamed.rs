//! Tables whose columns have other names than their source's, masked besides: verified, mended, and rid of what was deleted.

use super::found;
use crate::cdc;
use crate::support::{Project, counts, stream_report};

const DDL: &str = "CREATE TABLE t (id text PRIMARY KEY, email text, nota text, n int NOT NULL,
                                   cambio timestamptz NOT NULL DEFAULT '2026-01-31');
     CREATE INDEX ON t (cambio);
     INSERT INTO t SELECT 'c' || i, 'p' || i || '@example.com', 'nota ' || i, i FROM generate_series(1, 300) i;";

/// The key and the cursor have other names, two columns each other's, and of those one is masked, as the key is.
const NAMES: &str = "[streams.t.rename]\nid = \"clave\"\nemail = \"nota\"\nnota = \"email\"\ncambio = \"actualizado\"\n\
                     [streams.t.mask]\nid = \"hmac:${CLAVE}\"\nemail = \"sha256\"\n";

const INCREMENTAL: &str = "mode = \"incremental\"\ncursor = \"cambio\"\n";

fn stream(keys: &str) -> String {
    format!("[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\n{keys}{NAMES}")
}

fn project(name: &str, keys: &str) -> Project {
    let mut project = if keys.contains("cdc") {
        let project = cdc::project(name, DDL, &[], "");
        project.streams(&(cdc::streams(&[], "") + &stream(keys)));
        project
    } else {
        let project = Project::new(name, &stream(keys));
        project.source.batch(DDL).unwrap();
        project
    };
    project.set("CLAVE", "una clave de más de treinta y dos letras");
    project
}

/// Alters rows of the table: one has another value in three columns, one is missing, one is there under another key.
const ALTERATIONS: [&str; 3] = [
    "UPDATE replica.t SET nota = 'otra', email = 'distinto', n = -1 WHERE n = 7",
    "DELETE FROM replica.t WHERE n = 8",
    "UPDATE replica.t SET clave = 'ajena' WHERE n = 9",
];

#[test]
fn every_mode_is_verified_and_mended_under_other_names() {
    for (mode, keys) in [
        ("full", "mode = \"full\"\n"),
        ("incremental", INCREMENTAL),
        ("cdc", "mode = \"cdc\"\n"),
        ("soft", "mode = \"cdc\"\ndeletes = \"soft\"\n"),
    ] {
        for destination in ["duckdb", "almacen"] {
            let project = project(&format!("verify_names_{mode}_{destination}"), keys);
            let project = project.with_warehouse();
            let arguments = ["--destination", destination];
            let alter = |sql: &str| match destination {
                "duckdb" => project.alter(sql),
                _ => project.warehouse().batch(sql).unwrap(),
            };
            project.run(&arguments);
            let equal = stream_report(&project.verify(&arguments), "t");
            assert_eq!(equal["rows_source"], 300, "{mode} {destination}: {equal}");
            assert_eq!(equal["columns_left_out"], serde_json::json!([]), "{mode}");
            for sql in ALTERATIONS {
                alter(sql);
            }
            let told = project.verify_differing("t", &arguments);
            assert_eq!(found(&told), [2, 1, 1], "{mode} {destination}: {told}");
            let differing = serde_json::json!({"email": 1, "nota": 1, "n": 1});
            assert_eq!(told["columns"], differing, "{mode}");
            let repaired = project.verify(&[&["--repair"][..], &arguments].concat());
            let repaired = stream_report(&repaired, "t");
            assert_eq!(repaired["result"], "repaired", "{mode} {destination}");
            project.verify(&arguments);
            project.verify(&[&["--against", "landing"][..], &arguments].concat());
            // The stream goes on.
            project
                .source
                .batch("UPDATE t SET nota = 'nueva', cambio = now() WHERE n <= 3")
                .unwrap();
            project.run(&arguments);
            project.verify(&arguments);
            let value = "SELECT CAST(count(*) AS text) FROM replica.t WHERE email = 'nueva' AND length(nota) = 64";
            let value = match destination {
                "duckdb" => project.value(value),
                _ => project.warehouse().value(value).unwrap(),
            };
            assert_eq!(value.as_deref(), Some("3"), "{mode} {destination}");
        }
    }
}

#[test]
fn rows_are_shown_by_the_names_of_the_destination_and_masked() {
    let project = project("verify_names_show", INCREMENTAL);
    project.run(&[]);
    project.alter(ALTERATIONS[0]);
    let told = project.verify_differing("t", &["--show"]);
    let row = &told["rows"][0];
    assert_eq!(
        row["key"]["clave"].as_str().map(str::len),
        Some(64),
        "{row}"
    );
    assert_eq!(row["source"]["email"], "nota 7");
    assert_eq!(row["destination"]["email"], "distinto");
    assert_eq!(
        row["source"]["nota"].as_str().map(str::len),
        Some(64),
        "{row}"
    );
    assert!(!told.to_string().contains("@example.com"), "{told}");
}

/// What the next run reads is told by a cursor of another name, and by the rows at the stream's position.
#[test]
fn what_changed_since_is_told_by_a_cursor_of_another_name() {
    let project = project("verify_names_since", INCREMENTAL);
    project.run(&[]);
    project
        .source
        .batch(
            "UPDATE t SET nota = 'nueva', cambio = now() WHERE n = 5; \
             INSERT INTO t VALUES ('c301', NULL, NULL, 301, now())",
        )
        .unwrap();
    let told = stream_report(&project.verify(&[]), "t");
    assert_eq!(told["changed"], 2, "{told}");
    // With the cursor that was read last, so that no run reads it again.
    project.run(&[]);
    project
        .source
        .batch("UPDATE t SET cambio = '2025-03-01' WHERE n = 5")
        .unwrap();
    project.alter("UPDATE replica.t SET n = -2 WHERE n = 301");
    let told = project.verify_differing("t", &[]);
    assert_eq!(found(&told)[2], 2, "{told}");
    // By keys alone.
    project.alter("DELETE FROM replica.t WHERE n = 5");
    let told = project.verify_differing("t", &["--keys"]);
    assert_eq!(found(&told), [1, 0, 0], "{told}");
}

#[test]
fn rows_that_were_deleted_go_under_other_names() {
    for (deletes, destination) in [("hard", "duckdb"), ("hard", "almacen"), ("soft", "duckdb")] {
        let keys =
            format!("{INCREMENTAL}delete_missing = \"{deletes}\"\ndelete_missing_every = \"0s\"\n");
        let project = project(&format!("missing_names_{deletes}_{destination}"), &keys);
        let project = project.with_warehouse();
        let arguments = ["--destination", destination];
        project.run(&arguments);
        project
            .source
            .batch("DELETE FROM t WHERE n BETWEEN 10 AND 14")
            .unwrap();
        let run = project.run(&arguments);
        let (_, inserted, updated, deleted) = counts(&run, "t");
        assert_eq!((inserted, updated, deleted), (0, 0, 5), "{deletes}: {run}");
        let told = stream_report(&project.verify(&arguments), "t");
        assert_eq!(told["rows_source"], 295, "{deletes}: {told}");
        assert_eq!(counts(&project.run(&arguments), "t").3, 0);
        project.verify(&[&["--against", "landing"][..], &arguments].concat());
    }
}

/// A comparison by other names than those of the rows that are there would find differences everywhere.
#[test]
fn a_table_whose_names_were_others_is_not_compared() {
    let project = project("verify_names_other", INCREMENTAL);
    project.run(&[]);
    project.streams(&stream(INCREMENTAL).replace("nota = \"email\"", "nota = \"observaciones\""));
    let output = project.acequia(&["verify"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("`nota` is `email` there"),
        "{output:?}"
    );
}
