//! A landing area that others can write to: what they put there is told, and nothing outside it is read, written or removed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Seed;

use crate::support::{CURSOS_AND_VENTAS, Output, Project, files_below, stream_report};

/// A pipeline whose two streams are loaded.
fn loaded(name: &str) -> Project {
    let project = Project::operational(name, CURSOS_AND_VENTAS);
    Seed::new(4, 200)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    project
}

fn manifest(load: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(load.join("manifest.json")).unwrap()).unwrap()
}

/// Copies a load as one of a stream, newer than all that it has.
fn plant(project: &Project, load: &Path, stream: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut manifest = manifest(load);
    let last = project.loads(stream).pop().unwrap();
    let last = last.file_name().unwrap().to_str().unwrap().to_owned();
    let id = format!("{}ffff", &last[..last.len() - 4]);
    manifest["load_id"] = json!(id);
    change(&mut manifest);
    let folder = project.path("landing/formacion").join(stream).join(&id);
    std::fs::create_dir_all(&folder).unwrap();
    for file in files_below(load) {
        std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    let text = serde_json::to_vec(&manifest).unwrap();
    std::fs::write(folder.join("manifest.json"), text).unwrap();
    folder
}

/// Runs, which must tell of the damage, and again, which must be right.
fn assert_damage(project: &Project, words: &[&str]) -> Output {
    let began = Instant::now();
    let output = project.acequia(&["run"]);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(output.status, Some(1), "{output:?}");
    for word in words {
        assert!(output.stdout.contains(word), "{word}: {output:?}");
    }
    project.run(&[]);
    project.assert_same("ventas");
    project.assert_same("cursos");
    output
}

#[test]
fn a_part_outside_its_folder_is_never_touched() {
    let project = loaded("outside");
    let outside = project.path("outside.parquet");
    std::fs::write(&outside, "mine").unwrap();
    let cursos = project.loads("cursos")[0].clone();
    let paths = [
        outside.display().to_string(),
        "../../../../outside.parquet".to_owned(),
        "a/part-00000.parquet".to_owned(),
        "part-00000.parquet\u{0}".to_owned(),
        "manifest.json".to_owned(),
        String::new(),
    ];
    for path in paths {
        plant(&project, &cursos, "cursos", |manifest| {
            manifest["parts"][0]["path"] = json!(path);
        });
        assert_damage(&project, &["is damaged", "parts are called"]);
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
    }
}

#[test]
fn a_manifest_of_another_stream_pipeline_or_load_is_damage() {
    let project = loaded("strangers");
    let cursos = project.loads("cursos")[0].clone();
    // As it was written for its own folder, with the table that it names.
    plant(&project, &cursos, "ventas", |_| {});
    assert_damage(&project, &["its stream is `cursos`"]);
    for (key, other) in [("pipeline", "otra"), ("stream", "ventas")] {
        plant(&project, &cursos, "cursos", |manifest| {
            manifest[key] = json!(other);
        });
        assert_damage(&project, &[&format!("its {key} is `{other}`")]);
    }
    let id = manifest(&cursos)["load_id"].clone();
    plant(&project, &cursos, "cursos", |manifest| {
        manifest["load_id"] = id;
    });
    assert_damage(&project, &["its load_id is"]);
    // Set aside, each of them.
    assert!(project.path("landing/formacion/_damaged/ventas").is_dir());
}

#[test]
fn a_manifest_for_another_table_is_not_applied() {
    let project = loaded("other_table");
    let before = project.value("SELECT count(*) FROM replica.ventas");
    let cursos = project.loads("cursos")[0].clone();
    plant(&project, &cursos, "cursos", |manifest| {
        manifest["table"] = json!("ventas");
        manifest.as_object_mut().unwrap().remove("configuration");
    });
    let report = project.run(&[]);
    let warnings = stream_report(&report, "cursos")["warnings"].to_string();
    assert!(
        warnings.contains("landed for the table ventas"),
        "{warnings}"
    );
    assert_eq!(project.value("SELECT count(*) FROM replica.ventas"), before);
    project.assert_same("cursos");
}

#[test]
fn what_is_too_large_or_too_deep_is_damage() {
    let project = loaded("too_deep");
    let cursos = project.loads("cursos")[0].clone();
    let deep = format!("{}int32{}", "list<".repeat(40_000), ">".repeat(40_000));
    let folder = plant(&project, &cursos, "cursos", |manifest| {
        manifest["schema"][0]["type"] = json!(deep);
    });
    let inspected = project.acequia(&["inspect", folder.to_str().unwrap()]);
    assert_eq!(inspected.status, Some(1), "{inspected:?}");
    let listed = project.acequia(&["landing", "list"]);
    assert_eq!(listed.status, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("damaged"), "{listed:?}");
    assert_damage(&project, &["is damaged"]);
    let folder = plant(&project, &cursos, "cursos", |_| {});
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.join("manifest.json"))
        .unwrap();
    file.set_len(300 << 20).unwrap();
    assert_damage(&project, &["none has more than"]);
    // A type in the configuration is no more to be trusted.
    project.streams(&format!(
        "{CURSOS_AND_VENTAS}types = {{ importe = \"{deep}\" }}\n"
    ));
    let output = project.acequia(&["check"]);
    assert_eq!(output.status, Some(2), "{output:?}");
}

#[test]
fn no_link_is_followed() {
    let project = loaded("links");
    let kept = project.path("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("part-00000.parquet"), "mine").unwrap();
    let intact = || std::fs::read_to_string(kept.join("part-00000.parquet")).unwrap() == "mine";
    let ventas = project.path("landing/formacion/ventas");
    let id = manifest(&project.loads("ventas")[0])["load_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let planted = ventas.join(format!("{}beef", &id[..id.len() - 4]));
    // A load's folder: without a manifest it would be an extract that did not end.
    symlink(&kept, &planted).unwrap();
    assert_damage(&project, &["is no folder of acequia's"]);
    assert!(intact());
    // A part.
    let cursos = project.loads("cursos")[0].clone();
    let load = plant(&project, &cursos, "cursos", |_| {});
    let part = load.join("part-00000.parquet");
    std::fs::rename(&part, project.path("elsewhere")).unwrap();
    symlink(project.path("elsewhere"), &part).unwrap();
    assert_damage(&project, &["it is no file"]);
    assert!(project.path("elsewhere").is_file());
    // A folder of an extract that did not end, with a link in it.
    std::fs::create_dir(&planted).unwrap();
    symlink(&kept, planted.join("part-00000.parquet")).unwrap();
    project.run(&[]);
    assert!(!planted.exists() && intact());
    // A stream's folder.
    std::fs::rename(&ventas, project.path("moved")).unwrap();
    symlink(project.path("moved"), &ventas).unwrap();
    let before = files_below(&project.path("moved"));
    let output = project.acequia(&["run"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("symbolic link"), "{output:?}");
    assert_eq!(files_below(&project.path("moved")), before);
}

/// A pipe would be waited for without end, for someone to write to it.
#[test]
fn a_pipe_for_a_file_is_not_waited_for() {
    let project = loaded("pipe");
    let cursos = project.loads("cursos")[0].clone();
    for name in ["manifest.json", "part-00000.parquet"] {
        let load = plant(&project, &cursos, "cursos", |_| {});
        std::fs::remove_file(load.join(name)).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(load.join(name))
            .status()
            .unwrap();
        assert!(made.success());
        assert_damage(&project, &["it is no file"]);
    }
}

#[test]
fn a_replay_takes_nothing_that_is_not_the_streams() {
    let project = loaded("replay_strangers");
    let ventas = project.loads("ventas")[0].clone();
    // Newer than all that the stream has.
    let cursos = project.path("landing/formacion/cursos");
    let name = ventas.file_name().unwrap().to_str().unwrap();
    let year: u32 = name[..4].parse().unwrap();
    let copied = cursos.join(format!("{}{}", year + 1, &name[4..]));
    std::fs::create_dir(&copied).unwrap();
    for file in files_below(&ventas) {
        std::fs::copy(&file, copied.join(file.file_name().unwrap())).unwrap();
    }
    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    let output = project.acequia(&["replay", "--output", "json"]);
    let report = output.json();
    assert_eq!(
        stream_report(&report, "ventas")["status"],
        "ok",
        "{output:?}"
    );
    project.assert_same("ventas");
    project.assert_same("cursos");
    let error = stream_report(&report, "cursos")["error"].to_string();
    assert!(error.contains("its stream is `ventas`"), "{error}");
}
