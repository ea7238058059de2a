//! A load that was landed and not loaded never stands in its stream's way: what the configuration and the command line say
//! counts first, and what the destination refuses is read anew.

use serde_json::Value;
use testkit::{Changes, Seed};

use crate::support::{Project, stream_report};

const VENTAS: &str = "
[streams.ventas]
source = \"operativa\"
table = \"public.ventas\"
mode = \"incremental\"
cursor = \"updated_at\"
";

/// Both destinations, by the name that the command line gives.
const DESTINATIONS: [&str; 2] = ["duckdb", "almacen"];

fn project(name: &str) -> Project {
    let project = Project::operational(name, VENTAS).with_warehouse();
    Seed::new(5, 120)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

/// Runs a statement in the destination.
fn alter(project: &Project, destination: &str, sql: &str) {
    if destination == "duckdb" {
        project.duckdb().execute_batch(sql).unwrap();
    } else {
        project.warehouse().batch(sql).unwrap();
    }
}

fn run(project: &Project, destination: &str, arguments: &[&str]) -> Value {
    project.run(&[&["--destination", destination], arguments].concat())
}

/// A run, which must fail: the stream's error.
fn refused(project: &Project, destination: &str, arguments: &[&str]) -> String {
    let head = ["run", "--output", "json", "--destination", destination];
    let output = project.acequia(&[&head, arguments].concat());
    assert_eq!(output.status, Some(1), "{output:?}");
    // Whoever throws the results away hears of it.
    assert!(output.stderr.contains(" error: "), "{output:?}");
    let report = output.json();
    let stream = &report["streams"][0]["stream"].as_str().unwrap();
    stream_report(&report, stream)["error"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn assert_same(project: &Project, destination: &str, table: &str) {
    if destination == "duckdb" {
        project.assert_same(table);
    } else {
        project.assert_same_in_warehouse(table);
    }
}

fn change(project: &Project, day: u64) {
    Changes::day(day)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
}

#[test]
fn a_table_that_was_dropped_by_hand_is_made_anew() {
    let project = project("dropped");
    for destination in DESTINATIONS {
        run(&project, destination, &[]);
        alter(&project, destination, "DROP TABLE replica.ventas");
        change(&project, 1);
        let error = refused(&project, destination, &[]);
        assert!(error.contains("--full-refresh"), "{error}");
        // Again and again it is the same, and does not get worse.
        refused(&project, destination, &[]);
        let report = run(&project, destination, &["--full-refresh"]);
        let warnings = stream_report(&report, "ventas")["warnings"].to_string();
        assert!(warnings.contains("is not loaded"), "{warnings}");
        assert_same(&project, destination, "ventas");
        let report = run(&project, destination, &[]);
        let warnings = stream_report(&report, "ventas")["warnings"].to_string();
        assert_eq!(warnings, "[]");
    }
}

#[test]
fn a_disposition_that_is_added_later_is_told_and_the_remedy_helps() {
    let project = project("added_scd2");
    for destination in DESTINATIONS {
        project.streams(VENTAS);
        run(&project, destination, &[]);
        project.streams(&format!("{VENTAS}disposition = \"scd2\"\n"));
        change(&project, 2);
        refused(&project, destination, &[]);
        // Back again: what was landed for versions is not taken for something else.
        project.streams(VENTAS);
        let report = run(&project, destination, &[]);
        let warnings = stream_report(&report, "ventas")["warnings"].to_string();
        assert!(warnings.contains("configuration is another"), "{warnings}");
        assert_same(&project, destination, "ventas");
        project.streams(&format!("{VENTAS}disposition = \"scd2\"\n"));
        change(&project, 3);
        refused(&project, destination, &[]);
        run(&project, destination, &["--full-refresh"]);
        run(&project, destination, &[]);
    }
}

#[test]
fn a_view_in_the_way_is_waited_out_or_walked_around() {
    let project = project("view");
    for destination in DESTINATIONS {
        project.streams(VENTAS);
        alter(
            &project,
            destination,
            "CREATE SCHEMA IF NOT EXISTS replica; CREATE VIEW replica.ventas AS SELECT 1 AS x",
        );
        refused(&project, destination, &[]);
        project.streams(&format!("{VENTAS}destination_table = \"ventas_2\"\n"));
        let report = run(&project, destination, &[]);
        let warnings = stream_report(&report, "ventas")["warnings"].to_string();
        assert!(warnings.contains("is not loaded"), "{warnings}");
        let count = if destination == "duckdb" {
            project.value("SELECT count(*) FROM replica.ventas_2")
        } else {
            let warehouse = project.warehouse();
            warehouse
                .value("SELECT count(*)::text FROM replica.ventas_2")
                .unwrap()
        };
        assert_eq!(count.as_deref(), Some("120"));
    }
}

/// The load is as it was landed, so nothing but reading it anew helps.
#[test]
fn a_load_that_is_refused_is_read_anew_once_the_cause_is_gone() {
    let project = project("constraint");
    project.streams(
        &VENTAS
            .replace("ventas", "cursos")
            .replace("incremental", "full")
            .replace(
                "cursor = \"updated_at\"\n",
                "disposition = \"insert_only\"\nprimary_key = [\"id\"]\n",
            ),
    );
    for destination in DESTINATIONS {
        run(&project, destination, &[]);
        if destination == "duckdb" {
            alter(
                &project,
                destination,
                "CREATE UNIQUE INDEX uno ON replica.cursos (nombre)",
            );
        } else {
            alter(
                &project,
                destination,
                "ALTER TABLE replica.cursos ADD CONSTRAINT uno UNIQUE (nombre)",
            );
        }
        project
            .source
            .batch(
                "INSERT INTO cursos SELECT (jsonb_populate_record(c, \
                 jsonb_build_object('id', (SELECT max(id) + 1 FROM cursos)))).* FROM cursos c ORDER BY id LIMIT 1",
            )
            .unwrap();
        let error = refused(&project, destination, &[]);
        assert!(error.contains("constraint"), "{error}");
        // The source's row is fixed; the landed one would still be refused.
        project
            .source
            .batch("UPDATE cursos SET nombre = nombre || ' ' || id WHERE id = (SELECT max(id) FROM cursos)")
            .unwrap();
        let report = run(&project, destination, &[]);
        let warnings = stream_report(&report, "cursos")["warnings"].to_string();
        assert!(
            warnings.contains("the destination refuses it"),
            "{warnings}"
        );
        assert_same(&project, destination, "cursos");
        let kept = project.path("landing/formacion/_refused/cursos");
        assert_eq!(std::fs::read_dir(kept).unwrap().count(), 1);
    }
}

#[test]
fn names_that_differ_in_case_alone_can_be_excluded() {
    let project = Project::new(
        "case",
        "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n",
    );
    project
        .source
        .batch("CREATE TABLE t (id int PRIMARY KEY, \"Nombre\" text, nombre text); INSERT INTO t VALUES (1, 'a', 'b')")
        .unwrap();
    refused(&project, "duckdb", &[]);
    refused(&project, "duckdb", &[]);
    project.streams(
        "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\nexclude = [\"nombre\"]\n",
    );
    project.run(&[]);
    assert_eq!(
        project.value("SELECT \"Nombre\" FROM replica.t").as_deref(),
        Some("a")
    );
}

/// A table that is made anew with each load can be made with another column.
#[test]
fn a_full_load_takes_a_type_that_its_table_could_not() {
    let stream = "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n";
    let project = Project::new("retyped", stream).with_warehouse();
    for destination in DESTINATIONS {
        project.streams(stream);
        project
            .source
            .batch("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, a int, b int); INSERT INTO t VALUES (1, 2, 3)")
            .unwrap();
        run(&project, destination, &[]);
        project
            .source
            .batch("ALTER TABLE t ALTER a TYPE uuid USING gen_random_uuid(), ALTER b TYPE date USING '2026-11-24'")
            .unwrap();
        project.streams(&format!("{stream}schema_contract = \"freeze\"\n"));
        let error = refused(&project, destination, &[]);
        assert!(error.contains("`a`") && error.contains("`b`"), "{error}");
        project.streams(stream);
        let report = run(&project, destination, &[]);
        let changes = stream_report(&report, "t")["schema_changes"].to_string();
        assert!(
            changes.contains("`a` changed from int32 to uuid"),
            "{changes}"
        );
        assert_same(&project, destination, "t");
        project.source.batch("ALTER TABLE t ADD c text").unwrap();
        let report = run(&project, destination, &[]);
        let changes = stream_report(&report, "t")["schema_changes"].to_string();
        assert!(changes.contains("`c` (text) is new"), "{changes}");
    }
}

/// What a trigger says may be the row that it looks at.
#[test]
fn what_a_trigger_raises_is_not_shown() {
    let project = project("raises");
    run(&project, "almacen", &[]);
    alter(
        &project,
        "almacen",
        "CREATE FUNCTION replica.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'secreto %', NEW.id USING ERRCODE = 'P0001'; END $$; \
         CREATE TRIGGER no BEFORE INSERT OR UPDATE ON replica.ventas FOR EACH ROW EXECUTE FUNCTION replica.no()",
    );
    change(&project, 4);
    let error = refused(&project, "almacen", &[]);
    assert!(!error.contains("secreto"), "{error}");
    assert!(error.contains("SQLSTATE P0001"), "{error}");
    alter(
        &project,
        "almacen",
        "CREATE OR REPLACE FUNCTION replica.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'secreto %', NEW.id USING ERRCODE = '42501'; END $$",
    );
    let error = refused(&project, "almacen", &[]);
    assert!(!error.contains("secreto"), "{error}");
}

#[test]
fn a_run_that_failed_is_remembered_until_one_goes_well() {
    let project = project("remembered");
    run(&project, "duckdb", &[]);
    let status = |words: &[&str], code: i32| {
        let output = project.acequia(&["status"]);
        assert_eq!(output.status, Some(code), "{output:?}");
        for word in words {
            assert!(output.stdout.contains(word), "{word}: {output:?}");
        }
    };
    status(&[], 0);
    alter(&project, "duckdb", "DROP TABLE replica.ventas");
    change(&project, 5);
    refused(&project, "duckdb", &[]);
    refused(&project, "duckdb", &[]);
    status(
        &["its last run failed", "the 1 run before it", "is missing"],
        1,
    );
    run(&project, "duckdb", &["--full-refresh"]);
    status(&[], 0);
    // What cannot begin at all is remembered as well.
    std::fs::rename(project.path("formacion.duckdb"), project.path("away")).unwrap();
    std::fs::create_dir(project.path("formacion.duckdb")).unwrap();
    let output = project.acequia(&["run"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    std::fs::remove_dir(project.path("formacion.duckdb")).unwrap();
    std::fs::rename(project.path("away"), project.path("formacion.duckdb")).unwrap();
    status(&["its last run failed", "a folder stands"], 1);
    // A stream that is gone is named.
    project.streams(&VENTAS.replace(
        "[streams.ventas]",
        "[streams.ventas_b]\ndestination_table = \"b\"",
    ));
    status(&["stream ventas is not in the configuration any more"], 0);
}

/// The changes that wait were landed for another table.
#[test]
fn another_table_for_changes_is_told_and_the_remedy_helps() {
    let streams = |table: &str| {
        format!(
            "[sources.operativa.replication]\nslot = \"${{SLOT}}\"\n[streams.cursos]\nsource = \"operativa\"\ntable = \
             \"public.cursos\"\nmode = \"cdc\"\n{table}"
        )
    };
    for destination in DESTINATIONS {
        let mut project = Project::operational(&format!("other_table_{destination}"), &streams(""))
            .with_warehouse();
        let slot = project.source.name().to_owned();
        project.set("SLOT", &slot);
        let insert =
            "INSERT INTO cursos (nombre, duracion_horas, precio_base) VALUES ('Riego', 4, 10)";
        project.source.batch(insert).unwrap();
        run(&project, destination, &[]);
        project.source.batch(insert).unwrap();
        project.crash_at(
            "landing.after_manifest",
            &["run", "--destination", destination],
        );
        project.streams(&streams("destination_table = \"formaciones\"\n"));
        let error = refused(&project, destination, &[]);
        assert!(error.contains("--full-refresh"), "{error}");
        project.source.batch(insert).unwrap();
        run(&project, destination, &["--full-refresh"]);
        project.source.batch(insert).unwrap();
        run(&project, destination, &[]);
        if destination == "duckdb" {
            project.assert_same_as("public.cursos", "replica.formaciones");
        } else {
            let rows = project
                .warehouse()
                .value("SELECT count(*)::text FROM replica.formaciones")
                .unwrap();
            assert_eq!(rows.as_deref(), Some("4"));
        }
    }
}
