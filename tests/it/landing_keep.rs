//! What is in the landing area, what goes, and what never does.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Changes, Seed};

use crate::support::{CURSOS_AND_VENTAS, Project, files_below};

/// Three runs, the last of which read `ventas` from the beginning.
fn project(name: &str) -> Project {
    let project = Project::operational(name, CURSOS_AND_VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(7, 300).only_ventas().apply(&mut client).unwrap();
    project.run(&[]);
    Changes::day(1).apply(&mut client).unwrap();
    project.run(&[]);
    Changes::day(2).apply(&mut client).unwrap();
    project.run(&["--full-refresh"]);
    project
}

fn list(project: &Project, arguments: &[&str]) -> Value {
    let output = project.acequia(&[&["landing", "list", "--output", "json"], arguments].concat());
    assert_eq!(output.status, Some(0), "{output:?}");
    output.json()
}

fn prune(project: &Project, arguments: &[&str]) -> Value {
    let output = project.acequia(&[&["landing", "prune", "--output", "json"], arguments].concat());
    assert_eq!(output.status, Some(0), "{output:?}");
    output.json()
}

/// The states of a stream's loads, oldest first.
fn states(list: &Value, stream: &str) -> Vec<String> {
    list["loads"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|load| load["stream"] == stream)
        .map(|load| load["state"].as_str().unwrap().to_owned())
        .collect()
}

fn names(loads: &[PathBuf]) -> Vec<String> {
    loads
        .iter()
        .map(|load| load.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn pruned(report: &Value) -> Vec<String> {
    report["loads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|load| load["load_id"].as_str().unwrap().to_owned())
        .collect()
}

/// Sets `[pipeline] retention`.
fn retain(project: &Project, retention: &str) {
    let text = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    let key = format!("[pipeline]\nretention = \"{retention}\"");
    project.configure(&text.replace("[pipeline]", &key));
}

#[test]
fn the_list_tells_how_each_load_stands() {
    let project = project("list");
    assert_eq!(states(&list(&project, &[]), "ventas"), ["loaded"; 3]);

    // One that is landed and not loaded; one whose extract did not end; one whose part is missing.
    Changes::day(3)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.crash_at("landing.after_manifest", &["run", "ventas"]);
    let loads = project.loads("ventas");
    std::fs::remove_file(loads[0].join("part-00000.parquet")).unwrap();
    std::fs::remove_file(loads[1].join("manifest.json")).unwrap();
    let report = list(&project, &[]);
    assert_eq!(
        states(&report, "ventas"),
        ["damaged", "unfinished", "loaded", "pending"]
    );
    let damaged = &report["loads"][3];
    assert!(
        damaged["fault"].as_str().unwrap().contains("part-00000"),
        "{damaged}"
    );
    let bytes: u64 = files_below(&project.path("landing"))
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert_eq!(report["bytes"], bytes);

    let pending = &report["loads"][6];
    let manifest = std::fs::read(loads[3].join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        *pending,
        json!({
            "stream": "ventas",
            "load_id": manifest["load_id"],
            "mode": "incremental",
            "disposition": "merge",
            "amends": null,
            "rows": manifest["rows"],
            "bytes": pending["bytes"],
            "began_at": pending["began_at"],
            "destination_id": report["destination_id"],
            "state": "pending",
            "fault": null,
        })
    );

    let text = project.acequia(&["landing", "list", "ventas"]);
    assert_eq!(text.status, Some(0), "{text:?}");
    for word in [
        "pending",
        "unfinished",
        "damaged",
        "4 loads of formacion",
        "is missing",
    ] {
        assert!(text.stdout.contains(word), "{word}: {text:?}");
    }
    assert!(!text.stdout.contains("cursos"), "{text:?}");
}

#[test]
fn a_load_that_was_never_applied_and_one_moved_aside_are_listed_as_such() {
    let project = project("aside_list");
    Changes::day(3)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.crash_at("landing.after_manifest", &["run", "ventas"]);
    let waiting = project.loads("ventas")[3].clone();
    std::fs::remove_file(waiting.join("part-00000.parquet")).unwrap();
    assert_eq!(project.acequia(&["run", "ventas"]).status, Some(1));
    let report = list(&project, &[]);
    assert_eq!(
        states(&report, "ventas"),
        ["loaded", "loaded", "loaded", "damaged"]
    );
    // A destination that was made anew knows nothing of the old one's loads.
    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    assert_eq!(list(&project, &[])["destination_id"], Value::Null);
    project.run(&[]);
    let report = list(&project, &["ventas"]);
    assert_eq!(
        states(&report, "ventas"),
        ["other", "other", "other", "damaged", "loaded"]
    );
}

#[test]
fn what_is_old_and_needless_goes_and_the_rest_can_be_replayed() {
    let project = project("prune");
    let (ventas, cursos) = (
        names(&project.loads("ventas")),
        names(&project.loads("cursos")),
    );
    let expected = [&cursos[..2], &ventas[..2]].concat();

    let plan = prune(&project, &["--older-than", "0s", "--dry-run"]);
    assert_eq!(pruned(&plan), expected);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(names(&project.loads("ventas")), ventas, "nothing went yet");

    assert!(pruned(&prune(&project, &["--older-than", "1h"])).is_empty());

    let before: u64 = list(&project, &[])["bytes"].as_u64().unwrap();
    let report = prune(&project, &["--older-than", "0s"]);
    assert_eq!(pruned(&report), expected);
    assert_eq!(report["bytes"], plan["bytes"]);
    let after = list(&project, &[])["bytes"].as_u64().unwrap();
    assert_eq!(before - after, report["bytes"].as_u64().unwrap());
    assert_eq!(names(&project.loads("ventas")), ventas[2..]);
    assert!(pruned(&prune(&project, &["--older-than", "0s"])).is_empty());

    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    let replay = project.acequia(&["replay"]);
    assert_eq!(replay.status, Some(0), "{replay:?}");
    project.assert_same("ventas");
    project.assert_same("cursos");
}

#[test]
fn a_run_removes_at_its_end_what_is_past_its_retention() {
    let project = project("retention");
    retain(&project, "1d");
    project.run(&[]);
    assert_eq!(project.loads("cursos").len(), 4, "all are young");
    let needed = names(&project.loads("ventas"))[2..].to_vec();
    project.streams(CURSOS_AND_VENTAS);
    retain(&project, "0s");
    Changes::day(5)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    assert_eq!(project.loads("cursos").len(), 1);
    let left = names(&project.loads("ventas"));
    assert_eq!(left[..needed.len()], needed);
    project.assert_same("ventas");
}

#[test]
fn what_was_not_loaded_stays_whatever_its_age() {
    let project = project("unloaded");
    Changes::day(3)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.crash_at("landing.after_manifest", &["run", "--jobs", "1"]);
    let cursos = names(&project.loads("cursos"));
    assert_eq!(cursos.len(), 4);
    let report = prune(&project, &["cursos", "--older-than", "0s"]);
    assert_eq!(pruned(&report), cursos[..2]);
}

#[test]
fn loads_of_another_destination_go_only_where_that_is_said() {
    let project = project("others");
    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    project.run(&[]);
    let ventas = names(&project.loads("ventas"));
    let cursos = names(&project.loads("cursos"));
    assert!(pruned(&prune(&project, &["--older-than", "0s"])).is_empty());
    let report = prune(&project, &["--older-than", "0s", "--all-destinations"]);
    assert_eq!(pruned(&report), [&cursos[..3], &ventas[..3]].concat());
    let replay = project.acequia(&["replay"]);
    assert_eq!(replay.status, Some(0), "{replay:?}");
}

#[test]
fn without_an_age_nothing_is_pruned() {
    let project = Project::operational("no_age", CURSOS_AND_VENTAS);
    let output = project.acequia(&["landing", "prune"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(output.stderr.contains("--older-than"), "{output:?}");
    let wrong = project.acequia(&["landing", "prune", "--older-than", "a month"]);
    assert_eq!(wrong.status, Some(2), "{wrong:?}");
    let nothing = project.acequia(&["landing", "prune", "--older-than", "1d"]);
    assert_eq!(nothing.status, Some(0), "{nothing:?}");
    assert!(nothing.stdout.contains("0 loads removed"), "{nothing:?}");
    let empty = project.acequia(&["landing", "list"]);
    assert!(empty.stdout.contains("0 loads of formacion"), "{empty:?}");
}
