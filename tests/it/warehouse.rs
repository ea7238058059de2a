//! PostgreSQL as the destination.

use testkit::{Changes, Cluster, Seed};

use crate::support::{Project, counts, stream_report};

const STREAMS: &str = r#"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"

[streams.clientes]
source = "operativa"
table = "public.clientes"
mode = "full"

[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"

[streams.participantes]
source = "operativa"
table = "public.participantes"
mode = "full"

[streams.actividades_participantes]
source = "operativa"
table = "public.actividades_participantes"
mode = "full"
"#;

const TABLES: [&str; 5] = [
    "ventas",
    "clientes",
    "cursos",
    "participantes",
    "actividades_participantes",
];

const TO_WAREHOUSE: [&str; 2] = ["--destination", "almacen"];

fn project(name: &str, rows: u64) -> Project {
    let project = Project::operational(name, STREAMS).with_warehouse();
    Seed::new(5, rows)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

#[test]
fn the_five_tables_arrive_and_follow_their_source() {
    let project = project("almacen", 5_000);
    let mut client = project.source.client().unwrap();
    let report = project.run(&TO_WAREHOUSE);
    assert_eq!(report["destination"], "almacen");
    assert_eq!(counts(&report, "ventas"), (5_000, 5_000, 0, 0));
    for table in TABLES {
        project.assert_same_in_warehouse(table);
    }
    assert_eq!(counts(&project.run(&TO_WAREHOUSE), "ventas").1, 0);
    for day in 1..4 {
        Changes::day(day).apply(&mut client).unwrap();
        let report = project.run(&TO_WAREHOUSE);
        let (_, inserted, updated, deleted) = counts(&report, "ventas");
        assert!(inserted > 0 && updated > 0 && deleted == 0, "{report}");
        for table in TABLES {
            project.assert_same_in_warehouse(table);
        }
    }
    assert!(
        !project.path("formacion.duckdb").exists(),
        "the other destination is not touched"
    );
}

#[test]
fn an_appended_stream_has_each_row_once() {
    let project = Project::operational(
        "anexada",
        r#"
[streams.actividades_participantes]
source = "operativa"
table = "public.actividades_participantes"
mode = "incremental"
cursor = "timestamp"
disposition = "append"
"#,
    )
    .with_warehouse();
    let mut client = project.source.client().unwrap();
    Seed::new(5, 2_000).apply(&mut client).unwrap();
    project.run(&TO_WAREHOUSE);
    for day in 1..4 {
        Changes::day(day).apply(&mut client).unwrap();
        project.run(&TO_WAREHOUSE);
        project.assert_same_in_warehouse("actividades_participantes");
    }
}

#[test]
fn one_configuration_feeds_both_destinations() {
    let project = project("ambos", 2_000);
    let mut client = project.source.client().unwrap();
    project.run(&[]);
    Changes::day(1).apply(&mut client).unwrap();
    let first = project.run(&TO_WAREHOUSE);
    // Each has its own position: what one has read, the other has yet to.
    assert!(counts(&first, "ventas").0 >= 2_000, "{first}");
    for table in TABLES {
        project.assert_same_in_warehouse(table);
    }
    Changes::day(2).apply(&mut client).unwrap();
    project.run(&[]);
    project.run(&TO_WAREHOUSE);
    for table in TABLES {
        project.assert_same(table);
        project.assert_same_in_warehouse(table);
    }
}

#[test]
fn the_destination_may_be_another_schema_of_the_source() {
    let mut project = Project::operational("mismo", STREAMS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 2_000).apply(&mut client).unwrap();
    let url = project.source.url().to_owned();
    project.set("ALMACEN_URL", &url);
    project.run(&TO_WAREHOUSE);
    for day in 1..4 {
        Changes::day(day).apply(&mut client).unwrap();
        project.run(&TO_WAREHOUSE);
        for table in TABLES {
            project.assert_same_in(&mut client, table);
        }
    }
}

/// Every durable step, in the order of the path.
const STEPS: [&str; 6] = [
    "landing.part_written",
    "landing.before_manifest",
    "landing.after_manifest",
    "postgres.before_commit",
    "postgres.after_commit",
    "pipeline.after_load",
];

const TWO_STREAMS: [&str; 4] = ["ventas", "cursos", "--destination", "almacen"];

#[test]
fn killed_at_any_step_of_the_first_load_the_next_run_is_right() {
    for step in STEPS {
        let project = project("primera", 1_000);
        project.crash_at(step, &[&["run"], &TWO_STREAMS[..]].concat());
        project.run(&TWO_STREAMS);
        project.assert_same_in_warehouse("ventas");
        project.assert_same_in_warehouse("cursos");
    }
}

#[test]
fn killed_at_any_step_of_a_later_load_the_next_run_is_right() {
    let project = project("siguiente", 1_000);
    let mut client = project.source.client().unwrap();
    project.run(&TWO_STREAMS);
    for (round, step) in (1..).zip(STEPS) {
        Changes::day(round).apply(&mut client).unwrap();
        project.crash_at(step, &[&["run"], &TWO_STREAMS[..]].concat());
        // The source goes on while acequia is down.
        Changes::day(round + 100).apply(&mut client).unwrap();
        project.run(&TWO_STREAMS);
        project.assert_same_in_warehouse("ventas");
        project.assert_same_in_warehouse("cursos");
        let loads = project
            .warehouse()
            .value("SELECT count(*) = count(DISTINCT load_id) FROM replica._acequia_loads")
            .unwrap();
        assert_eq!(loads.as_deref(), Some("true"), "{step}");
    }
}

#[test]
fn the_commands_that_look_tell_of_it() {
    let project = project("miradas", 500);
    let look = |command: &str| {
        let output = project.acequia(&[command, "--destination", "almacen"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        output.stdout
    };
    let checked = look("check");
    assert!(
        checked.contains("destination almacen: PostgreSQL 1")
            && checked.contains("ready for its first load"),
        "{checked}"
    );
    let plan = project.acequia(&["run", "--dry-run", "--destination", "almacen"]);
    assert_eq!(plan.status, Some(0), "{plan:?}");
    look("status");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'replica'";
    assert_eq!(
        project.warehouse().value(schemas).unwrap().as_deref(),
        Some("0"),
        "looking makes nothing"
    );
    let report = project.run(&TO_WAREHOUSE);
    let load_id = stream_report(&report, "ventas")["load_id"].to_string();
    let load_id = load_id.trim_matches('"');
    assert!(look("status").contains(load_id));
    assert!(look("check").contains("holds 5 streams"));
    let inspected = project.acequia(&["inspect", load_id]);
    assert_eq!(inspected.status, Some(0), "{inspected:?}");
    project
        .source
        .batch("ALTER TABLE ventas ADD COLUMN canal text")
        .unwrap();
    let plan = project.acequia(&["run", "--dry-run", "--destination", "almacen"]);
    assert!(
        plan.stdout.contains("column `canal` (text) is new"),
        "{plan:?}"
    );
}

#[test]
fn check_says_which_grant_is_missing() {
    let mut project = project("permisos", 10);
    let role = format!("cargador_{}", project.warehouse().name());
    project
        .warehouse()
        .batch(&format!("CREATE ROLE {role} LOGIN"))
        .unwrap();
    let url = Cluster::shared()
        .unwrap()
        .url_as(project.warehouse().name(), &role, "x");
    project.set("ALMACEN_URL", &url);
    let output = project.acequia(&["check", "--destination", "almacen"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let mend = format!("CREATE SCHEMA \"replica\" AUTHORIZATION \"{role}\";");
    assert!(output.stdout.contains(&mend), "{output:?}");
    let refused = project.acequia(&["run", "--destination", "almacen"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("permission denied"), "{refused:?}");
    project.warehouse().batch(&mend).unwrap();
    let output = project.acequia(&["check", "--destination", "almacen"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    project.run(&TO_WAREHOUSE);
    project
        .warehouse()
        .batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .unwrap();
}

#[test]
fn a_server_that_is_away_is_told_as_the_destinations() {
    let mut project = project("ausente", 10);
    project.set("ALMACEN_URL", "postgres://nadie:clave@127.0.0.1:1/nada");
    for command in ["run", "check", "status"] {
        let output = project.acequia(&[command, "--destination", "almacen"]);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(
            all.contains("destination almacen") && all.contains("the destination's `url`"),
            "{all}"
        );
        assert!(!all.contains("clave"), "{all}");
    }
}

#[test]
fn versions_of_rows_are_kept() {
    let project = Project::operational(
        "versiones",
        r#"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"
disposition = "scd2"
"#,
    )
    .with_warehouse();
    Seed::new(5, 100)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let courses = counts(&project.run(&TO_WAREHOUSE), "cursos").1;
    project
        .source
        .batch("UPDATE cursos SET precio_base = precio_base + 1 WHERE id = 1")
        .unwrap();
    assert_eq!(
        counts(&project.run(&TO_WAREHOUSE), "cursos"),
        (courses, 0, 1, 0)
    );
    assert_eq!(counts(&project.run(&TO_WAREHOUSE), "cursos").2, 0);
    let versions = project
        .warehouse()
        .value(
            "SELECT count(*) || ' ' || count(*) FILTER (WHERE _acequia_valid_to IS NULL) || ' '
                 || bool_and(_acequia_valid_to IS NOT DISTINCT FROM next)
             FROM (SELECT *, lead(_acequia_valid_from) OVER (PARTITION BY id ORDER BY _acequia_valid_from) AS next
                   FROM replica.cursos) AS v WHERE id = 1",
        )
        .unwrap();
    assert_eq!(versions.as_deref(), Some("2 1 true"));
}
