//! docs/json.md and what the commands print are the same.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cdc;
use crate::support::Project;

/// The keys that the page has below a heading, and those of them that need not be there.
fn documented(heading: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
    let section = page.split("\n## ").find(|section| {
        section
            .lines()
            .next()
            .unwrap()
            .split(", ")
            .any(|title| title == format!("`acequia {heading}`"))
    });
    let section = section.unwrap_or_else(|| panic!("no section of {heading}"));
    let (mut keys, mut optional) = (BTreeSet::new(), BTreeSet::new());
    for line in section.lines() {
        let Some((key, meaning)) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once("` | "))
        else {
            continue;
        };
        assert!(
            keys.insert(key.to_owned()),
            "{heading}: {key} stands there twice"
        );
        if meaning.contains("*optional*") {
            optional.insert(key.to_owned());
        }
    }
    assert!(!keys.is_empty(), "{heading}");
    (keys, optional)
}

/// The paths of all that an object holds. What the page describes elsewhere is not looked into.
fn paths(value: &Value, at: &str, paths_of: &mut BTreeSet<String>) {
    let elsewhere = ["position", "position_before", "position_after", "manifest"];
    let is_elsewhere = at == "runs[].streams"
        || elsewhere.contains(&at.rsplit('.').next().unwrap_or_default())
        || at == "models" && !value.is_array()
        // Their keys are the columns of a table.
        || at == "streams[].columns" && value.is_object()
        || at.starts_with("streams[].rows[].") && (value.is_object() || value.is_null());
    if is_elsewhere {
        paths_of.insert(at.to_owned());
        return;
    }
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let at = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                paths(value, &at, paths_of);
            }
        }
        Value::Array(array) => {
            for value in array {
                paths(value, &format!("{at}[]"), paths_of);
            }
        }
        _ => {
            paths_of.insert(at.to_owned());
        }
    }
}

/// What a command prints.
fn object(project: &Project, command: &[&str]) -> Value {
    let output = project.acequia(&[command, &["--output", "json"][..]].concat());
    let object = output.json();
    assert!(object.is_object(), "{output:?}");
    object
}

/// Compares what the page says of a command with objects that together show every key.
pub fn assert_documented(heading: &str, objects: &[Value]) {
    let (keys, optional) = documented(heading);
    let mut found = BTreeSet::new();
    for object in objects {
        paths(object, "", &mut found);
    }
    let undocumented: Vec<_> = found.difference(&keys).collect();
    assert!(
        undocumented.is_empty(),
        "{heading}: docs/json.md lacks {undocumented:?}"
    );
    let missing: Vec<_> = keys
        .difference(&found)
        .filter(|key| !optional.contains(*key))
        .collect();
    assert!(missing.is_empty(), "{heading} does not show {missing:?}");
}

#[test]
fn every_key_of_every_result_is_documented_and_there() {
    let project = cdc::project(
        "json",
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'); CREATE TABLE u (id int PRIMARY KEY)",
        &["t"],
        "",
    );
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    let stream = |name: &str, table: &str| {
        format!(
            "[streams.{name}]\nsource = \"operativa\"\ntable = \"public.{table}\"\nmode = \"incremental\"\ncursor = \"id\"\n"
        )
    };
    let both = stream("u", "u") + &stream("falta", "falta");
    project.configure(&format!("{config}{both}"));
    project.acequia(&["run"]);
    project
        .source
        .batch("ALTER TABLE u ADD w int; INSERT INTO u VALUES (1, 2)")
        .unwrap();
    assert_documented("run --dry-run", &[object(&project, &["run", "--dry-run"])]);
    let run = object(&project, &["run"]);
    assert_documented("run", std::slice::from_ref(&run));
    assert_documented("replay", &[run.clone(), object(&project, &["replay"])]);
    assert_documented("check", &[object(&project, &["check"])]);
    let load = project.loads("u").pop().unwrap().display().to_string();
    assert_documented("inspect", &[object(&project, &["inspect", &load])]);

    // Landed and not loaded; then damaged. And a stream that is not in the configuration any more.
    project.source.batch("INSERT INTO u VALUES (2, 2)").unwrap();
    project.crash_at("landing.after_manifest", &["run", "u"]);
    let pending = object(&project, &["status"]);
    let manifest = project.loads("u").pop().unwrap().join("manifest.json");
    std::fs::write(manifest, "{").unwrap();
    project.configure(&format!("{config}{both}{}", stream("otra", "u")));
    project.acequia(&["run", "otra"]);
    project.configure(&format!("{config}{both}"));
    assert_documented("status", &[pending, object(&project, &["status"])]);
    assert_documented("runs", &[object(&project, &["runs"])]);
    assert_documented("landing list", &[object(&project, &["landing", "list"])]);

    std::fs::create_dir(project.path("informe")).unwrap();
    std::fs::write(project.path("informe/10-a.md"), "# A\n").unwrap();
    project.configure(&format!("{config}{both}\n[report]\npath = \"informe\"\n"));
    assert_documented("report", &[object(&project, &["report"])]);
    assert_documented("run", &[object(&project, &["run"]), run]);
    project.configure(&format!("{config}{both}"));

    let equal = object(&project, &["verify"]);
    let counted = object(&project, &["verify", "--counts", "--show"]);
    project
        .duckdb()
        .execute_batch("UPDATE replica.u SET w = 9; INSERT INTO replica.u (id) VALUES (9)")
        .unwrap();
    project.source.batch("ALTER TABLE u ADD x int").unwrap();
    let shown = object(&project, &["verify", "u", "--show"]);
    assert_documented("verify", &[equal, counted, shown]);
    for _ in 0..2 {
        project.acequia(&["run", "u", "--full-refresh"]);
    }
    let prune = object(&project, &["landing", "prune", "--older-than", "0s"]);
    assert_documented("landing prune", &[prune]);
    let drop = ["replication", "drop", "operativa", "--yes"];
    assert_documented("replication drop", &[object(&project, &drop)]);
    let folder = project.path("nuevo");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(".env.example"), "").unwrap();
    let folder = folder.display().to_string();
    assert_documented("init", &[object(&project, &["init", &folder])]);
}
