//! `_acequia_runs`, and `acequia runs`.

use serde_json::Value;
use testkit::Seed;

use crate::support::{CURSOS_AND_VENTAS, Project, files_below};

fn project(name: &str) -> Project {
    let project = Project::operational(name, CURSOS_AND_VENTAS);
    Seed::new(6, 20)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

/// The runs that `acequia runs` lists with these arguments.
fn runs(project: &Project, arguments: &[&str]) -> Vec<Value> {
    let output = project.acequia(&[&["runs", "--output", "json"], arguments].concat());
    assert_eq!(output.status, Some(0), "{output:?}");
    output.json()["runs"].as_array().unwrap().clone()
}

fn statuses(runs: &[Value]) -> Vec<&str> {
    runs.iter()
        .map(|run| run["status"].as_str().unwrap())
        .collect()
}

/// How many runs wait in the landing area.
fn waiting(project: &Project) -> usize {
    let folder = project.path("landing/formacion/_acequia_runs");
    if folder.exists() {
        files_below(&folder).len()
    } else {
        0
    }
}

#[test]
fn every_run_is_kept_with_its_failures() {
    let project = project("corridas");
    let first = project.run(&[]);
    assert_eq!(waiting(&project), 0);
    let kept = runs(&project, &[]);
    assert_eq!(kept.len(), 1);
    let sum = |key: &str| -> u64 {
        let streams = first["streams"].as_array().unwrap();
        streams
            .iter()
            .map(|stream| stream[key].as_u64().unwrap())
            .sum()
    };
    for key in [
        "rows_extracted",
        "inserted",
        "updated",
        "deleted",
        "bytes_landed",
    ] {
        assert_eq!(kept[0][key].as_u64(), Some(sum(key)), "{key}");
    }
    assert_eq!(kept[0]["command"], "run");
    assert_eq!(kept[0]["streams"].as_object().unwrap().len(), 2);
    // A run that finds nothing new is kept without writing to the destination.
    let before = std::fs::metadata(project.path("formacion.duckdb"))
        .unwrap()
        .modified()
        .unwrap();
    project.run(&["ventas"]);
    let after = std::fs::metadata(project.path("formacion.duckdb"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);
    assert_eq!(waiting(&project), 1);
    assert_eq!(statuses(&runs(&project, &[])), ["ok", "ok"]);
    let rename = "ALTER TABLE ventas RENAME TO ventas_fuera";
    project.source.batch(rename).unwrap();
    project.run_failing("ventas");
    assert_eq!(waiting(&project), 0);
    let kept = runs(&project, &[]);
    assert_eq!(statuses(&kept), ["failed", "ok", "ok"]);
    let failed = runs(&project, &["--failed"]);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["streams_failed"], 1);
    assert_eq!(failed[0]["failures"][0]["streams"][0], "ventas");
    assert_eq!(failed[0]["streams"].as_object().unwrap().len(), 1);
    assert_eq!(runs(&project, &["--limit", "1"]).len(), 1);
    // People ask the table itself.
    let asked = "SELECT string_agg(status || ' ' || streams_failed, ', ' ORDER BY run_id) FROM replica._acequia_runs";
    assert_eq!(project.value(asked).unwrap(), "ok 0, ok 0, failed 1");
    let table = project.acequia(&["runs"]).stdout;
    assert!(
        table.contains("✗ ") && table.contains(": stream ventas: "),
        "{table}"
    );
}

#[test]
fn a_run_that_cannot_reach_its_destination_is_kept_and_brought_there_later() {
    let project = project("corrida_sin_destino");
    project.run(&[]);
    let (file, aside) = (project.path("formacion.duckdb"), project.path("aside"));
    std::fs::rename(&file, &aside).unwrap();
    std::fs::write(
        &file,
        "this is no database, and longer than a header of one has to be",
    )
    .unwrap();
    let failed = project.acequia(&["run"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let listed = project.acequia(&["runs", "--output", "json"]);
    assert_eq!(listed.status, Some(1), "{listed:?}");
    let listed = listed.json();
    assert!(
        listed["destination_error"]
            .as_str()
            .unwrap()
            .contains("not a DuckDB database")
    );
    assert_eq!(listed["runs"][0]["status"], "failed");
    assert_eq!(listed["runs"][0]["streams_failed"], 2);
    std::fs::rename(&aside, &file).unwrap();
    project.run(&[]);
    assert_eq!(waiting(&project), 0);
    assert_eq!(statuses(&runs(&project, &[])), ["ok", "failed", "ok"]);
    let count = "SELECT count(*) FROM replica._acequia_runs";
    assert_eq!(project.value(count).unwrap(), "3");
}

#[test]
fn runs_that_wait_are_brought_when_there_are_many() {
    let project = project("corridas_quietas");
    project.run(&["ventas"]);
    // As many as wait at most, made of one that is real.
    project.run(&["ventas"]);
    let folder = project.path("landing/formacion/_acequia_runs/duckdb");
    let one = files_below(&folder).pop().unwrap();
    let text = std::fs::read_to_string(&one).unwrap();
    let id = one.file_stem().unwrap().to_str().unwrap().to_owned();
    for number in 0..99 {
        let other = format!("20200101T000000{number:03}-00000000");
        std::fs::write(
            folder.join(format!("{other}.json")),
            text.replace(&id, &other),
        )
        .unwrap();
    }
    assert_eq!(waiting(&project), 100);
    project.run(&["ventas"]);
    assert_eq!(waiting(&project), 0);
    let count = "SELECT count(*) FROM replica._acequia_runs";
    assert_eq!(project.value(count).unwrap(), "102");
}

#[test]
fn a_run_into_postgres_is_kept_there_at_once() {
    let project = project("corridas_almacen").with_warehouse();
    for _ in 0..2 {
        project.run(&["--destination", "almacen"]);
        project.run(&["ventas", "--destination", "almacen"]);
    }
    assert_eq!(waiting(&project), 0);
    let kept = runs(&project, &["--destination", "almacen"]);
    assert_eq!(statuses(&kept), ["ok"; 4]);
    let count = "SELECT count(*)::text FROM replica._acequia_runs WHERE streams ? 'ventas'";
    let counted = project.warehouse().value(count).unwrap();
    assert_eq!(counted.as_deref(), Some("4"));
    assert!(runs(&project, &[]).is_empty());
}

#[test]
fn a_run_that_is_stopped_is_kept_as_interrupted() {
    let project = project("corrida_parada");
    project.run(&[]);
    let insert = "INSERT INTO ventas SELECT v.* FROM ventas v WHERE false";
    project.source.batch(insert).unwrap();
    let mut client = project.source.client().unwrap();
    let mut held = client.transaction().unwrap();
    held.batch_execute("LOCK TABLE cursos").unwrap();
    let child = project
        .command(&["run", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let waits =
        "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'cursos'::regclass";
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while project.source.value(waits).unwrap().as_deref() == Some("0") {
        assert!(
            std::time::Instant::now() < deadline,
            "the run does not wait"
        );
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    let stopped = crate::support::Output::of_stopped(child);
    assert_eq!(stopped.status, Some(130), "{stopped:?}");
    drop(held);
    let kept = runs(&project, &["--failed"]);
    assert_eq!(statuses(&kept), ["interrupted"]);
    assert_eq!(kept[0]["streams_skipped"], 1);
}
