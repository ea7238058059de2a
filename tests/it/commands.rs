//! The commands other than a plain run, as a person meets them.

use testkit::{Changes, Seed};

use crate::support::{CURSOS_AND_VENTAS, Project, assert_in_no_file, files_below, stream_report};

fn project(name: &str) -> Project {
    let project = Project::operational(name, CURSOS_AND_VENTAS);
    Seed::new(6, 300)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

#[test]
fn what_init_writes_is_understood_and_never_overwrites() {
    let project = project("init");
    let nueva = project.path("nueva");
    let output = project.acequia(&["init", nueva.to_str().unwrap()]);
    assert_eq!(output.status, Some(0), "{output:?}");
    let config = nueva.join("acequia.toml").display().to_string();
    assert!(nueva.join(".env.example").exists());
    let mut check = project.command(&["check", "-c", &config]);
    check.env("OPERATIVA_URL", project.source.url());
    let output = crate::support::Output::of(check);
    assert_eq!(output.status, Some(0), "{output:?}");
    let again = project.acequia(&["init", nueva.to_str().unwrap()]);
    assert_ne!(again.status, Some(0), "{again:?}");
    assert!(again.stderr.contains("acequia.toml"), "{again:?}");
}

#[test]
fn a_dry_run_tells_the_plan_and_touches_nothing() {
    let project = project("dry");
    let output = project.acequia(&["run", "--dry-run"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    for word in ["ventas", "cursos", "merge", "replace", "one connection"] {
        assert!(output.stdout.contains(word), "{word}: {output:?}");
    }
    assert_eq!(
        files_below(project.folder.path()),
        [project.path("acequia.toml")]
    );
}

#[test]
fn status_tells_each_stream_before_and_after_its_loads() {
    let project = project("status");
    let before = project.acequia(&["status", "--output", "json"]).json();
    assert_eq!(
        stream_report(&before, "ventas")["load_id"],
        serde_json::Value::Null
    );
    assert!(
        !project.path("formacion.duckdb").exists(),
        "looking makes no database"
    );
    project.run(&[]);
    let after = project.acequia(&["status", "--output", "json"]).json();
    assert_eq!(stream_report(&after, "ventas")["rows_extracted"], 300);
    assert_eq!(
        stream_report(&after, "ventas")["position"]["column"],
        "updated_at"
    );
    Changes::day(1)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.crash_at("landing.after_manifest", &["run", "ventas"]);
    let pending = project.acequia(&["status"]);
    assert_eq!(pending.status, Some(0), "{pending:?}");
    assert!(pending.stdout.contains("pending"), "{pending:?}");
}

#[test]
fn check_finds_all_well_and_advises() {
    let project = project("check");
    let output = project.acequia(&["check"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    for word in [
        "source operativa",
        "PostgreSQL 1",
        "stream ventas",
        "destination duckdb",
        "landing",
    ] {
        assert!(output.stdout.contains(word), "{word}: {output:?}");
    }
    project
        .source
        .batch("DROP INDEX ventas_updated_at_idx")
        .unwrap();
    let output = project.acequia(&["check"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .contains("CREATE INDEX ON \"public\".\"ventas\" (\"updated_at\");"),
        "{output:?}"
    );
}

#[test]
fn a_user_who_cannot_see_other_transactions_is_told() {
    let mut project = project("sees");
    project
        .source
        .batch("GRANT SELECT ON ventas, cursos TO con_clave")
        .unwrap();
    let url = project.source.password_url().to_owned();
    project.set("OPERATIVA_URL", &url);
    let output = project.acequia(&["check"]);
    assert!(output.stdout.contains("pg_read_all_stats"), "{output:?}");
}

#[test]
fn inspect_shows_a_load_its_parts_and_rows() {
    let project = project("inspect");
    let report = project.run(&["ventas"]);
    let load_id = stream_report(&report, "ventas")["load_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let folder = project.loads("ventas")[0].clone();
    let paths = [
        load_id.clone(),
        folder.display().to_string(),
        folder.join("manifest.json").display().to_string(),
        folder.join("part-00000.parquet").display().to_string(),
    ];
    for what in &paths {
        let output = project.acequia(&["inspect", what, "--rows", "2"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        for word in ["precio_total", "updated_at", "300"] {
            assert!(output.stdout.contains(word), "{word}: {output:?}");
        }
    }
    let output = project.acequia(&["inspect", "20200101T000000000-00000000-0000"]);
    assert_ne!(output.status, Some(0));
    assert!(
        output.stderr.contains("20200101T000000000-00000000-0000"),
        "{output:?}"
    );
}

#[test]
fn the_shells_and_editors_are_served() {
    let project = project("shells");
    let output = project.acequia(&["completions", "bash"]);
    assert!(output.stdout.contains("full-refresh"), "{output:?}");
    let schema = project.acequia(&["config-schema"]).json();
    assert!(schema["properties"]["streams"].is_object(), "{schema}");
}

#[test]
fn a_run_prints_results_to_standard_output_and_nothing_else() {
    let project = project("printed");
    let output = project.acequia(&["run"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .contains("2 of 2 streams loaded from formacion into duckdb"),
        "{output:?}"
    );
    let json = project.acequia(&["run", "--output", "json"]);
    assert!(json.json()["seconds"].is_number());
    let unknown = project.acequia(&["run", "venta"]);
    assert_eq!(unknown.status, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("ventas"), "{unknown:?}");
    assert_eq!(unknown.stdout, "");
}

#[test]
fn no_secret_is_in_anything_that_is_written() {
    let mut project = project("secrets");
    project
        .source
        .batch("GRANT SELECT ON ventas, cursos TO con_clave")
        .unwrap();
    let url = project.source.password_url().to_owned();
    project.set("OPERATIVA_URL", &url);
    let output = project.acequia(&["run", "-vvv", "--log-format", "json"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(!format!("{output:?}").contains(testkit::PASSWORD));
    assert_in_no_file(project.folder.path(), testkit::PASSWORD);
}
