//! Many tables in one entry: `tables` with patterns, `[defaults]`, and patterns of streams on the command line.

use serde_json::Value;
use testkit::Seed;

use crate::cdc;
use crate::support::{Output, Project, counts, example, stream_report};

const ALL: &str = r#"
[streams.todas]
source = "operativa"
tables = ["public.*"]
mode = "full"
"#;

/// The streams of a report, in order.
fn names(report: &Value) -> Vec<&str> {
    let streams = report["streams"].as_array().unwrap().iter();
    streams
        .map(|stream| stream["stream"].as_str().unwrap())
        .collect()
}

fn warnings(report: &Value, stream: &str) -> String {
    stream_report(report, stream)["warnings"].to_string()
}

#[test]
fn a_whole_schema_is_copied_but_for_what_is_left_out() {
    let project = Project::operational("whole_schema", &example("many-tables.md", 0));
    project
        .source
        .batch(
            "CREATE TABLE tmp_x (a int); CREATE VIEW una_vista AS SELECT 1 AS uno;
             CREATE TABLE sin_clave (a int); INSERT INTO sin_clave VALUES (1), (1);
             CREATE TABLE por_mes (dia date, n int) PARTITION BY RANGE (dia);
             CREATE TABLE por_mes_1 PARTITION OF por_mes FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
             INSERT INTO por_mes VALUES ('2026-01-03', 7);
             CREATE SCHEMA otro; CREATE TABLE otro.nada (a int)",
        )
        .unwrap();
    let checked = project.acequia(&["check"]);
    assert_eq!(checked.status, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains("streams todas: 6 tables"),
        "{checked:?}"
    );
    let report = project.run(&[]);
    assert_eq!(
        names(&report),
        [
            "actividades_participantes",
            "clientes",
            "cursos",
            "participantes",
            "por_mes",
            "sin_clave",
            "ventas"
        ]
    );
    assert_eq!(stream_report(&report, "ventas")["mode"], "incremental");
    assert_eq!(counts(&report, "sin_clave"), (2, 2, 0, 0));
    project.assert_same("por_mes");
    for stream in report["streams"].as_array().unwrap() {
        assert_eq!(stream["warnings"], serde_json::json!([]), "{stream}");
    }
}

#[test]
fn a_new_table_joins_and_is_told_and_one_that_is_gone_stays_as_it_was() {
    let project = Project::operational("tables_come_and_go", ALL);
    project.run(&[]);
    project
        .source
        .batch("CREATE TABLE nueva (a int); INSERT INTO nueva VALUES (3)")
        .unwrap();
    project.source.batch("DROP TABLE ventas CASCADE").unwrap();
    let report = project.run(&[]);
    assert!(
        names(&report).contains(&"nueva") && !names(&report).contains(&"ventas"),
        "{report}"
    );
    assert!(
        warnings(&report, "nueva")
            .contains("public.nueva is new in the source: it has joined by [streams.todas]"),
        "{report}"
    );
    let all = report["streams"].to_string();
    assert!(
        all.contains("public.ventas is gone from the source `operativa`"),
        "{report}"
    );
    assert_eq!(
        project
            .value("SELECT count(*) FROM replica.ventas")
            .as_deref(),
        Some("0")
    );
    project.assert_same("nueva");

    let told = project.run(&[])["streams"].to_string();
    assert!(
        !told.contains("gone from") && !told.contains("is new"),
        "once: {told}"
    );
    let status = project.acequia(&["status"]);
    assert_eq!(status.status, Some(0), "{status:?}");
    assert!(
        status
            .stdout
            .contains("stream ventas is not in the configuration"),
        "{status:?}"
    );

    project
        .source
        .batch("CREATE TABLE ventas (id int PRIMARY KEY); INSERT INTO ventas VALUES (9)")
        .unwrap();
    let report = project.run(&["v*"]);
    assert_eq!(names(&report), ["ventas"]);
    assert!(
        warnings(&report, "ventas").contains("public.ventas is back in the source"),
        "{report}"
    );
    assert_eq!(
        project.value("SELECT id FROM replica.ventas").as_deref(),
        Some("9")
    );
}

#[test]
fn without_the_source_the_streams_are_known_and_the_landing_area_is_enough() {
    let mut project = Project::operational("tables_unreachable", ALL).with_warehouse();
    Seed::new(7, 50)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    let url = project.source.url().to_owned();
    project.set("OPERATIVA_URL", "postgres://nadie@127.0.0.1:1/nada");
    let failed = project.acequia(&["run", "--output", "json"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let report = failed.json();
    assert_eq!(names(&report).len(), 5);
    assert_eq!(stream_report(&report, "cursos")["status"], "failed");
    assert!(
        failed.stderr.matches("cannot connect").count() == 1,
        "the cause is told once: {}",
        failed.stderr
    );
    let status = project.acequia(&["status", "--output", "json"]);
    assert_eq!(names(&status.json()).len(), 5, "{status:?}");
    let replayed = project.acequia(&["replay", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    let landed = project.acequia(&["landing", "list", "cur*", "--output", "json"]);
    assert_eq!(landed.status, Some(0), "{landed:?}");
    assert!(
        landed.stdout.contains("cursos") && !landed.stdout.contains("ventas"),
        "{landed:?}"
    );
    project.set("OPERATIVA_URL", &url);
    project.assert_same_in_warehouse("cursos");
    assert_eq!(
        project.acequia(&["status"]).status,
        Some(1),
        "the failure stays"
    );
    project.run(&[]);
    assert_eq!(project.acequia(&["status"]).status, Some(0));
}

#[test]
fn before_its_first_run_an_entry_says_that_it_does_not_know_its_tables() {
    let mut project = Project::operational("tables_unknown", ALL);
    let status = project.acequia(&["status", "--output", "json"]).json();
    assert_eq!(names(&status), ["todas"]);
    project.set("OPERATIVA_URL", "postgres://nadie@127.0.0.1:1/nada");
    let failed = stream_report(
        &project.acequia(&["run", "--output", "json"]).json(),
        "todas",
    );
    assert_eq!(failed["status"], "failed");
    assert!(
        failed["error"].as_str().unwrap().contains("cannot connect"),
        "{failed}"
    );
}

#[test]
fn tables_of_one_name_are_refused_and_the_others_copied() {
    let project = Project::new(
        "same_names",
        "[streams.todas]\nsource = \"operativa\"\ntables = [\"*.*\"]\nmode = \"full\"\n",
    );
    project
        .source
        .batch("CREATE TABLE a (n int); CREATE SCHEMA b; CREATE TABLE b.c (n int)")
        .unwrap();
    project.run(&[]);
    // The one that was first keeps its name, and another does not take it.
    project
        .source
        .batch("CREATE TABLE c (n int); CREATE TABLE \"C\" (n int)")
        .unwrap();
    let failed = project.acequia(&["run", "--output", "json"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let report = failed.json();
    assert_eq!(names(&report), ["a", "c", "todas"]);
    assert_eq!(stream_report(&report, "c")["status"], "ok");
    let error = stream_report(&report, "todas")["error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        error.contains("public.c would be called `c`, as b.c is"),
        "{error}"
    );
    assert!(
        error.contains("public.C would be called `C`, as b.c is"),
        "{error}"
    );
    assert!(error.contains("destination_table"), "{error}");

    let named = "destination_table = \"{schema}__{table}\"\nexclude_tables = ['public.\"C\"']\n";
    project.streams(&format!(
        "[streams.todas]\nsource = \"operativa\"\ntables = [\"*.*\"]\nmode = \"full\"\n{named}"
    ));
    assert_eq!(names(&project.run(&[])), ["b__c", "public__a", "public__c"]);
}

/// Letters that a stream's name cannot have leave two tables with one.
#[test]
fn a_table_whose_name_meets_another_has_a_stream_of_its_own() {
    let project = Project::new("own_stream", ALL);
    project
        .source
        .batch("CREATE TABLE \"año\" (n int); CREATE TABLE \"aüo\" (n int); INSERT INTO \"año\" VALUES (1)")
        .unwrap();
    let own = "[streams.X] with its `table`, and a `destination_table`";
    for (named, advice) in [
        ("", true),
        ("destination_table = \"{schema}_{table}\"\n", false),
    ] {
        project.streams(&format!("{ALL}{named}"));
        let report = project.acequia(&["run", "--output", "json"]).json();
        let error = stream_report(&report, "todas")["error"].to_string();
        assert!(error.contains("a_o`, as another new table is"), "{error}");
        assert!(error.contains(own), "{error}");
        assert_eq!(error.contains("{schema}_{table}"), advice, "{error}");
    }
    project.streams(&format!(
        "{ALL}\n[streams.anio]\nsource = \"operativa\"\ntable = 'public.\"año\"'\nmode = \"full\"\n\
         destination_table = \"año\"\n"
    ));
    assert_eq!(names(&project.run(&[])), ["a_o", "anio"]);
    let copied = project.value("SELECT count(*) FROM replica.\"año\"");
    assert_eq!(copied.as_deref(), Some("1"));
}

#[test]
fn a_table_may_be_called_as_it_likes() {
    let mut project = Project::new("strange_names", ALL);
    project.set("SECRETO", "nunca");
    project
        .source
        .batch(
            "CREATE TABLE \"${SECRETO}\" (n int); INSERT INTO \"${SECRETO}\" VALUES (5);
             CREATE TABLE \"a.b\"\"c\" (n int); CREATE TABLE \"Años 2026\" (n int); CREATE TABLE \"1\" (n int);
             CREATE TABLE _acequia_mia (n int)",
        )
        .unwrap();
    let output = project.acequia(&["run", "--output", "json"]);
    let report = output.json();
    assert_eq!(
        names(&report),
        ["A_os_2026", "_1", "__SECRETO_", "a_b_c", "todas"]
    );
    assert!(!output.stdout.contains("nunca"), "{output:?}");
    let error = stream_report(&report, "todas")["error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(error.contains("_acequia_mia"), "{error}");
    let value = project.value("SELECT n FROM replica.\"${SECRETO}\"");
    assert_eq!(value.as_deref(), Some("5"));
    assert_eq!(
        project
            .value("SELECT count(*) FROM replica.\"Años 2026\"")
            .as_deref(),
        Some("0")
    );
}

#[test]
fn streams_are_named_by_patterns_and_by_their_entry() {
    let project = Project::operational("stream_patterns", ALL);
    assert_eq!(names(&project.run(&["*a*s", "cursos"])).len(), 4);
    assert_eq!(names(&project.run(&["todas"])).len(), 5);
    for command in ["check", "status", "replay"] {
        let output = project.acequia(&[command, "c*", "--output", "json"]);
        assert!(
            output.stdout.contains("cursos") && !output.stdout.contains("ventas"),
            "{output:?}"
        );
    }
    let unknown: Output = project.acequia(&["run", "x*"]);
    assert_eq!(unknown.status, Some(2), "{unknown:?}");
    assert!(
        unknown.stderr.contains("there is no stream `x*`"),
        "{unknown:?}"
    );
}

#[test]
fn what_is_written_wrongly_is_told_before_anything_is_asked() {
    let project = Project::new("wrong_tables", "");
    for (lines, expected) in [
        ("tables = [\"ventas\"]\n", "a pattern names no schema"),
        (
            "tables = [\"public.*\"]\ntable = \"x\"\n",
            "the stream has `tables` as well",
        ),
        (
            "exclude_tables = [\"public.*\"]\n",
            "it stands without `tables`",
        ),
        (
            "tables = [\"public.*\"]\ndestination_table = \"x\"\n",
            "all of its tables would have one name",
        ),
        (
            "tables = [\"public.*\"]\ndestination_table = \"{tabla}{table}\"\n",
            "all of its tables would have one name",
        ),
    ] {
        project.streams(&format!(
            "[streams.todas]\nsource = \"operativa\"\nmode = \"full\"\n{lines}"
        ));
        let output = project.acequia(&["run"]);
        assert_eq!(output.status, Some(2), "{lines}: {output:?}");
        assert!(output.stderr.contains(expected), "{lines}: {output:?}");
    }
    project.streams(&ALL.replace("public.*", "publico.*"));
    let failed = project.run_failing("todas");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("no table of the source `operativa` is found by `publico.*`"),
        "{error}"
    );
}

#[test]
fn a_schema_is_followed_by_one_slot_and_a_new_table_joins_it() {
    let ddl = "CREATE TABLE primera (id int PRIMARY KEY, n int); INSERT INTO primera VALUES (1, 1)";
    let project = cdc::project("schema_cdc", ddl, &[], "");
    project.streams(&(cdc::streams(&[], "") + &ALL.replace("full", "cdc")));
    project.run(&[]);
    project
        .source
        .batch("CREATE TABLE segunda (id int PRIMARY KEY); INSERT INTO segunda VALUES (4); UPDATE primera SET n = 2")
        .unwrap();
    let report = project.run(&[]);
    assert!(
        warnings(&report, "segunda").contains("is new in the source"),
        "{report}"
    );
    project.assert_same("primera");
    project.assert_same("segunda");
    project
        .source
        .batch("INSERT INTO segunda VALUES (5); DROP TABLE primera")
        .unwrap();
    project.run(&[]);
    project.assert_same("segunda");
    let mut client = project.source.client().unwrap();
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
    assert_eq!(client.query_one(slots, &[]).unwrap().get::<_, i64>(0), 1);
    let dropped = project.acequia(&["replication", "drop", "operativa", "--yes"]);
    assert_eq!(dropped.status, Some(0), "{dropped:?}");
}

/// What a table was called that is gone, no other may be called: its rows and its position are still there.
#[test]
fn a_table_does_not_take_the_place_of_one_that_is_gone() {
    let project = Project::new("tables_taken_over", &ALL.replace("public.*", "*.x"));
    project
        .source
        .batch(
            "CREATE SCHEMA a; CREATE TABLE a.x (id int PRIMARY KEY); INSERT INTO a.x VALUES (1), (2);",
        )
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch(
            "DROP TABLE a.x; CREATE SCHEMA b; CREATE TABLE b.x (id int PRIMARY KEY); INSERT INTO b.x VALUES (7)",
        )
        .unwrap();
    let report = project.run_failing("todas");
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("b.x would be called `x`, as a.x, which is not read any more, is"),
        "{error}"
    );
    let rows = "SELECT string_agg(CAST(id AS VARCHAR), ' ' ORDER BY id) FROM replica.x";
    assert_eq!(project.value(rows).as_deref(), Some("1 2"));
}
