//! After a crash at any durable step, the next run makes the destination equal to the source.

use testkit::{Changes, Seed};

use crate::support::{Project, counts, files_below, stream_report};

const STREAMS: &str = r#"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"

[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"
"#;

/// Every durable step, in the order of the path.
pub const STEPS: [&str; 6] = [
    "landing.part_written",
    "landing.before_manifest",
    "landing.after_manifest",
    "duckdb.before_commit",
    "duckdb.after_commit",
    "pipeline.after_load",
];

#[test]
fn killed_at_any_step_of_the_first_load_the_next_run_is_right() {
    for step in STEPS {
        let project = Project::operational("first", STREAMS);
        Seed::new(9, 3_000)
            .only_ventas()
            .apply(&mut project.source.client().unwrap())
            .unwrap();
        project.crash_at(step, &["run", "--jobs", "1"]);
        project.run(&[]);
        project.assert_same("ventas");
        project.assert_same("cursos");
        assert_no_unfinished_load(&project, step);
    }
}

#[test]
fn killed_at_any_step_of_a_later_load_the_next_run_is_right() {
    let project = Project::operational("later", STREAMS);
    let mut client = project.source.client().unwrap();
    Seed::new(9, 3_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    project.run(&[]);
    for (round, step) in (1..).zip(STEPS) {
        Changes::day(round).apply(&mut client).unwrap();
        project.crash_at(step, &["run", "ventas"]);
        // The source goes on while acequia is down.
        Changes::day(round + 100).apply(&mut client).unwrap();
        project.run(&[]);
        project.assert_same("ventas");
        project.assert_same("cursos");
        assert_no_unfinished_load(&project, step);
    }
}

#[test]
fn killed_again_and_again_it_still_ends_well() {
    let project = Project::operational("again", STREAMS);
    let mut client = project.source.client().unwrap();
    Seed::new(9, 2_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    for (round, step) in (1..).zip(STEPS.iter().rev().cycle().take(12)) {
        project.crash_at(step, &["run"]);
        Changes::day(round).apply(&mut client).unwrap();
    }
    project.run(&[]);
    project.assert_same("ventas");
    project.assert_same("cursos");
}

#[test]
fn a_landed_load_is_finished_without_the_source() {
    let mut project = Project::operational("offline", STREAMS);
    Seed::new(9, 500)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.crash_at("landing.after_manifest", &["run", "ventas"]);
    let url = project.source.url().to_owned();
    project.set("OPERATIVA_URL", "postgres://nadie@127.0.0.1:1/nada");
    project.acequia(&["run", "ventas"]);
    project.assert_same("ventas");
    project.set("OPERATIVA_URL", &url);
    assert_eq!(counts(&project.run(&["ventas"]), "ventas").1, 0);
    project.assert_same("ventas");
}

#[test]
fn a_damaged_part_is_told_and_its_rows_are_read_anew() {
    for damage in ["flip", "truncate", "remove"] {
        let project = Project::operational("damaged", STREAMS);
        Seed::new(9, 500)
            .only_ventas()
            .apply(&mut project.source.client().unwrap())
            .unwrap();
        project.crash_at("landing.after_manifest", &["run", "ventas"]);
        let part = files_below(&project.loads("ventas")[0])
            .into_iter()
            .find(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "parquet")
            })
            .unwrap();
        let mut bytes = std::fs::read(&part).unwrap();
        match damage {
            "flip" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x40;
                std::fs::write(&part, bytes).unwrap();
            }
            "truncate" => std::fs::write(&part, &bytes[..100]).unwrap(),
            _ => std::fs::remove_file(&part).unwrap(),
        }
        let output = project.acequia(&["run", "ventas"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(output.stdout.contains("part-00000.parquet"), "{output:?}");
        assert!(output.stdout.contains("run again"), "{output:?}");
        project.run(&[]);
        project.assert_same("ventas");
    }
}

#[test]
fn a_truncated_manifest_is_told_and_its_rows_are_read_anew() {
    let project = Project::operational("truncated", STREAMS);
    Seed::new(9, 500)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.crash_at("landing.after_manifest", &["run", "ventas"]);
    let manifest = project.loads("ventas")[0].join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    let output = project.acequia(&["run", "ventas"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("manifest.json is damaged"),
        "{output:?}"
    );
    project.run(&[]);
    project.assert_same("ventas");
}

#[test]
fn a_load_that_no_longer_follows_is_reported_and_kept() {
    let project = Project::operational("aside", STREAMS);
    let mut client = project.source.client().unwrap();
    Seed::new(9, 500).only_ventas().apply(&mut client).unwrap();
    project.run(&["ventas"]);
    Changes::day(1).apply(&mut client).unwrap();
    project.crash_at("landing.after_manifest", &["run", "ventas"]);
    // Its start position is not the one that the ledger has from here on.
    let manifest = project.loads("ventas")[1].join("manifest.json");
    let kept = std::fs::read_to_string(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let hidden = project.path("hidden");
    std::fs::rename(project.loads("ventas")[1].clone(), &hidden).unwrap();
    project.run(&["ventas"]);
    Changes::day(2).apply(&mut client).unwrap();
    project.run(&["ventas"]);
    let back = project
        .path("landing/formacion/ventas")
        .join(load_id(&kept));
    std::fs::rename(&hidden, &back).unwrap();
    std::fs::write(back.join("manifest.json"), kept).unwrap();
    let report = project.run(&["ventas"]);
    let warnings = stream_report(&report, "ventas")["warnings"].to_string();
    assert!(warnings.contains("set aside"), "{warnings}");
    assert!(back.join("manifest.json").exists());
    project.assert_same("ventas");
    let status = project.acequia(&["status", "--output", "json"]).json();
    assert!(
        stream_report(&status, "ventas")["set_aside"]
            .to_string()
            .contains("ventas/2"),
        "{status}"
    );
}

#[test]
fn the_ledger_tells_each_load() {
    let project = Project::operational("ledger", STREAMS);
    let mut client = project.source.client().unwrap();
    Seed::new(9, 500).only_ventas().apply(&mut client).unwrap();
    project.run(&["ventas"]);
    Changes::day(1).apply(&mut client).unwrap();
    let report = stream_report(&project.run(&["ventas"]), "ventas");
    let row = project
        .value(
            "SELECT mode || ' ' || disposition || ' ' || inserted || ' ' || updated || ' ' || deleted
             FROM replica._acequia_loads ORDER BY load_id DESC LIMIT 1",
        )
        .unwrap();
    assert_eq!(
        row,
        format!(
            "incremental merge {} {} 0",
            report["inserted"], report["updated"]
        )
    );
    let state = project.value("SELECT load_id FROM replica._acequia_state WHERE stream = 'ventas'");
    assert_eq!(state.as_deref(), report["load_id"].as_str());
    let rows = project
        .value("SELECT count(DISTINCT _acequia_load_id) FROM replica.ventas")
        .unwrap();
    assert_eq!(rows, "2");
}

#[test]
fn the_manifest_says_what_the_folder_holds() {
    let project = Project::operational("manifest", STREAMS);
    Seed::new(9, 500)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&["ventas"]);
    let folder = &project.loads("ventas")[0];
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["format_version"], 1);
    assert_eq!(manifest["rows"], 500);
    assert_eq!(manifest["primary_key"], serde_json::json!(["id"]));
    assert_eq!(
        manifest["schema"][0],
        serde_json::json!({
            "id": 1, "name": "id", "type": "int32", "nullable": false, "source_type": "integer"
        })
    );
    let named: Vec<String> = manifest["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["path"].as_str().unwrap().to_owned())
        .collect();
    let mut found: Vec<String> = files_below(folder)
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "manifest.json")
        .collect();
    found.sort();
    assert_eq!(named, found);
    assert!(
        !manifest.to_string().contains("postgres://"),
        "no secret in a manifest"
    );
}

fn load_id(manifest: &str) -> String {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap();
    manifest["load_id"].as_str().unwrap().to_owned()
}

fn assert_no_unfinished_load(project: &Project, step: &str) {
    for stream in ["ventas", "cursos"] {
        for load in project.loads(stream) {
            assert!(
                load.join("manifest.json").exists(),
                "{step}: {} was left",
                load.display()
            );
        }
    }
}
