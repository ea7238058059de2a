//! `delete_missing`: rows that the source has no more are deleted, or marked, and no others.

use std::sync::atomic::{AtomicBool, Ordering};

use testkit::Seed;

use crate::support::{Project, VENTAS, counts, stream_report};
use crate::verify::found;

/// Sales that are read by what changed, with these keys besides.
fn project(name: &str, keys: &str) -> Project {
    let project = Project::operational(name, &format!("{VENTAS}{keys}"));
    Seed::new(6, 1_000)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

const HARD: &str = "delete_missing = \"hard\"\n";
const SOFT: &str = "delete_missing = \"soft\"\ndelete_missing_every = \"0s\"\n";

#[test]
fn rows_that_were_deleted_go_when_it_is_time_and_a_replay_gives_the_same() {
    let project = project("missing_hard", HARD).with_warehouse();
    project.run(&[]);
    project
        .source
        .batch("DELETE FROM ventas WHERE id BETWEEN 10 AND 14")
        .unwrap();
    // Keys were compared a moment ago.
    assert_eq!(counts(&project.run(&[]), "ventas"), (0, 0, 0, 0));
    let run = project.run(&["--delete-missing"]);
    assert_eq!(counts(&run, "ventas"), (5, 0, 0, 5), "{run}");
    project.assert_same("ventas");
    assert_eq!(
        counts(&project.run(&["--delete-missing"]), "ventas"),
        (0, 0, 0, 0)
    );
    let load = stream_report(&run, "ventas")["load_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let folder = project
        .loads("ventas")
        .into_iter()
        .find(|path| path.ends_with(&load))
        .unwrap();
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(
        manifest.contains("\"amends\": \"delete_missing\""),
        "{manifest}"
    );
    // The stream goes on.
    project.source.batch("INSERT INTO ventas SELECT (jsonb_populate_record(v, '{\"id\": 5000}')).* FROM ventas v WHERE id = 1; \
        UPDATE ventas SET updated_at = now() + interval '1 day' WHERE id = 5000").unwrap();
    assert_eq!(counts(&project.run(&[]), "ventas").1, 1);
    project.assert_same("ventas");
    let replayed = project.acequia(&["replay", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    project.assert_same_in_warehouse("ventas");
    let report = project.verify(&["--against", "landing"]);
    assert_eq!(found(&stream_report(&report, "ventas")), [0, 0, 0]);
}

#[test]
fn rows_that_were_deleted_are_marked_and_live_again() {
    let project = project("missing_soft", SOFT).with_warehouse();
    for destination in ["duckdb", "almacen"] {
        let arguments = ["--destination", destination];
        let marked = || {
            let sql = "SELECT CAST(count(*) AS text) FROM replica.ventas WHERE _acequia_deleted_at IS NOT NULL";
            match destination {
                "duckdb" => project.value(sql),
                _ => project.warehouse().value(sql).unwrap(),
            }
        };
        project.run(&arguments);
        project
            .source
            .batch("CREATE TABLE antes AS SELECT * FROM ventas WHERE id <= 3; DELETE FROM ventas WHERE id <= 3")
            .unwrap();
        let run = project.run(&arguments);
        assert_eq!(counts(&run, "ventas").3, 3, "{destination}: {run}");
        assert_eq!(marked().as_deref(), Some("3"));
        // What is marked is not found again.
        assert_eq!(counts(&project.run(&arguments), "ventas").3, 0);
        project.verify(&arguments);
        project
            .source
            .batch("INSERT INTO ventas SELECT * FROM antes; DROP TABLE antes; \
                    UPDATE ventas SET updated_at = (SELECT max(updated_at) FROM ventas) WHERE id <= 3")
            .unwrap();
        project.run(&arguments);
        assert_eq!(marked().as_deref(), Some("0"), "{destination}");
        project.verify(&arguments);
    }
}

#[test]
fn rows_that_a_run_does_not_read_are_not_taken_for_deleted() {
    let project = project(
        "missing_kept",
        "delete_missing = \"hard\"\nnull_cursor = \"exclude\"\n",
    );
    project
        .source
        .batch("ALTER TABLE ventas ALTER updated_at DROP NOT NULL")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("ALTER TABLE ventas DISABLE TRIGGER USER; UPDATE ventas SET updated_at = NULL WHERE id <= 5; \
                UPDATE ventas SET updated_at = '1999-01-01' WHERE id BETWEEN 6 AND 9; DELETE FROM ventas WHERE id = 100")
        .unwrap();
    let later = format!(
        "{VENTAS}{HARD}null_cursor = \"exclude\"\ninitial_value = \"2020-01-01T00:00:00Z\"\n"
    );
    project.streams(&later);
    let run = project.run(&["--delete-missing"]);
    assert_eq!(counts(&run, "ventas").3, 1, "{run}");
    assert_eq!(
        project
            .value("SELECT count(*) FROM replica.ventas")
            .as_deref(),
        Some("999")
    );
}

#[test]
fn nothing_that_is_written_meanwhile_is_deleted() {
    let project = Project::new(
        "missing_writers",
        "[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"incremental\"\ncursor = \"cambio\"\n\
         delete_missing = \"hard\"\ndelete_missing_every = \"0s\"\n",
    );
    project
        .source
        .batch("CREATE TABLE t (id int PRIMARY KEY, n int, cambio timestamptz NOT NULL DEFAULT now()); \
                CREATE INDEX ON t (cambio); INSERT INTO t SELECT i, 0 FROM generate_series(1, 5000) i")
        .unwrap();
    project.run(&[]);
    let stop = AtomicBool::new(false);
    let mut deleted = 0;
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let mut client = project.source.client().unwrap();
            let stop = &stop;
            scope.spawn(move || {
                let mut i = writer;
                while !stop.load(Ordering::Relaxed) {
                    i += 3;
                    // Rows come, are deleted and come again, some in transactions that commit late.
                    client
                        .batch_execute(&format!(
                            "BEGIN; INSERT INTO t VALUES ({0}, {0}) ON CONFLICT (id) DO UPDATE SET n = t.n + 1, cambio = now(); \
                             DELETE FROM t WHERE id = {1}; SELECT pg_sleep({2}); COMMIT",
                            10_000 * (writer + 1) + i % 700,
                            10_000 * (writer + 1) + (i * 7 + 13) % 700,
                            if i % 50 == writer { "0.3" } else { "0" }
                        ))
                        .unwrap();
                }
            });
        }
        for _ in 0..8 {
            deleted += counts(&project.run(&[]), "t").3;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(deleted > 0, "no run met a row that was deleted");
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_deletion_that_was_landed_and_not_loaded_is_looked_for_anew() {
    let project = project("missing_crash", SOFT.replace("soft", "hard").as_str());
    project.run(&[]);
    project.source.batch("CREATE TABLE antes AS SELECT * FROM ventas WHERE id IN (7, 8); DELETE FROM ventas WHERE id IN (7, 8)").unwrap();
    project.crash_at("duckdb.before_commit", &["run"]);
    // One is there again, as it was.
    project
        .source
        .batch("INSERT INTO ventas SELECT * FROM antes WHERE id = 7; DROP TABLE antes")
        .unwrap();
    let run = project.run(&[]);
    assert!(run.to_string().contains("is not loaded"), "{run}");
    assert_eq!(counts(&run, "ventas").3, 1);
    project.assert_same("ventas");
}

#[test]
fn keys_that_make_no_sense_are_refused_with_the_remedy() {
    for (keys, word) in [
        ("delete_missing_every = \"1d\"\n", "delete_missing = "),
        (
            "delete_missing = \"hard\"\ndelete_missing_every = \"a veces\"\n",
            "this is no interval",
        ),
        (
            "delete_missing = \"hard\"\ndisposition = \"append\"\n",
            "disposition = \\\"merge\\\"",
        ),
    ] {
        let project = Project::new("missing_refused", &format!("{VENTAS}{keys}"));
        let output = project.acequia(&["check"]);
        assert_eq!(output.status, Some(2), "{keys}: {output:?}");
        assert!(format!("{output:?}").contains(word), "{word}: {output:?}");
    }
    let project = Project::new("missing_none", VENTAS);
    let output = project.acequia(&["run", "--delete-missing"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output
            .stderr
            .contains("none of the streams has `delete_missing`"),
        "{output:?}"
    );
}

#[test]
fn rows_with_a_masked_key_are_verified_mended_and_deleted() {
    let mut project = Project::new(
        "missing_masked",
        "[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"incremental\"\ncursor = \"cambio\"\n\
         delete_missing = \"hard\"\ndelete_missing_every = \"0s\"\n\
         [streams.t.mask]\nid = \"hmac:${CLAVE}\"\nemail = \"sha256\"\n",
    );
    project.set("CLAVE", "una clave de más de treinta y dos letras");
    project
        .source
        .batch(
            "CREATE TABLE t (id text PRIMARY KEY, email text, n int, cambio timestamptz NOT NULL DEFAULT '2026-01-31'); \
             INSERT INTO t SELECT 'c' || i, 'p' || i || '@example.com', i FROM generate_series(1, 300) i",
        )
        .unwrap();
    project.run(&[]);
    project.verify(&[]);
    project.duckdb().execute_batch("UPDATE replica.t SET email = 'otro', n = NULL WHERE n = 7; DELETE FROM replica.t WHERE n = 8").unwrap();
    let told = project.verify_differing("t", &[]);
    assert_eq!(found(&told), [1, 0, 1], "{told}");
    assert_eq!(told["columns"]["email"], 1);
    assert_eq!(
        stream_report(&project.verify(&["--repair"]), "t")["result"],
        "repaired"
    );
    project.source.batch("DELETE FROM t WHERE n <= 4").unwrap();
    assert_eq!(counts(&project.run(&[]), "t").3, 4);
    let told = stream_report(&project.verify(&[]), "t");
    assert_eq!(told["rows_destination"], 296);
    let plain =
        project.value("SELECT count(*) FROM replica.t WHERE length(id) < 10 OR email LIKE '%@%'");
    assert_eq!(plain.as_deref(), Some("0"));
}

/// A row that the source deletes while a full refresh is under way is found right after it, and the table stays whole.
#[test]
fn a_full_refresh_is_followed_by_its_deletes_and_not_replaced_by_them() {
    let project = project("missing_refresh", HARD);
    project.run(&[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut client = project.source.client().unwrap();
        let stop = &stop;
        scope.spawn(move || {
            let mut id = 1;
            while !stop.load(Ordering::Relaxed) && id < 400 {
                client
                    .execute("DELETE FROM ventas WHERE id = $1", &[&id])
                    .unwrap();
                id += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        project.run(&["--full-refresh"]);
        stop.store(true, Ordering::Relaxed);
    });
    let whole = "SELECT count(*) > 500 AND bool_and(precio_total IS NOT NULL) FROM replica.ventas";
    assert_eq!(project.value(whole).as_deref(), Some("true"));
    project.run(&["--delete-missing"]);
    project.assert_same("ventas");
}

/// Only keys are compared: a row that is not deleted is not written either.
#[test]
fn a_row_that_the_table_has_twice_keeps_its_values() {
    let project = project("missing_twice", HARD);
    project.run(&[]);
    // As somebody has who writes to the table.
    project
        .duckdb()
        .execute_batch(
            "CREATE TABLE replica.copia AS FROM replica.ventas; DROP TABLE replica.ventas; \
             ALTER TABLE replica.copia RENAME TO ventas; INSERT INTO replica.ventas FROM replica.ventas WHERE id = 7",
        )
        .unwrap();
    let run = project.run(&["--delete-missing"]);
    assert_eq!(counts(&run, "ventas").2, 0, "{run}");
    let whole = "SELECT count(*) = 1001 AND bool_and(precio_total IS NOT NULL) FROM replica.ventas";
    assert_eq!(project.value(whole).as_deref(), Some("true"));
}
