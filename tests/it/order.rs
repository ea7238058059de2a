//! What follows on what is told by the chain of loads, not by clocks; and a copy of a destination is not the destination.

use serde_json::Value;
use testkit::{Changes, Seed};

use crate::support::{Output, Project, stream_report};

const HEAD: &str = r#"
[pipeline]
name = "formacion"
dataset = "replica"
destination = "duckdb"

[destinations.duckdb]
kind = "duckdb"
path = "formacion.duckdb"

[destinations.copia]
kind = "duckdb"
path = "copia.duckdb"

[sources.operativa]
kind = "postgres"
url = "${OPERATIVA_URL}"
"#;

const VENTAS: &str = "
[streams.ventas]
source = \"operativa\"
table = \"public.ventas\"
mode = \"incremental\"
cursor = \"updated_at\"
";

fn project(name: &str, streams: &str) -> Project {
    let project = Project::operational(name, "");
    project.configure(&format!("{HEAD}{streams}"));
    Seed::new(6, 150)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

fn change(project: &Project, day: u64) {
    Changes::day(day)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
}

/// The rows of a table without what differs between runs, as one text.
fn rows(project: &Project, file: &str, sql: &str) -> String {
    let connection = duckdb::Connection::open(project.path(file)).unwrap();
    let sql =
        format!("SELECT md5(string_agg(t::VARCHAR, '|' ORDER BY t::VARCHAR)) FROM ({sql}) AS t");
    connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn replay(project: &Project) -> Value {
    let output = project.acequia(&["replay", "--destination", "copia", "--output", "json"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    output.json()
}

#[test]
fn versions_and_insertions_of_full_loads_are_replayed() {
    for disposition in ["scd2", "insert_only"] {
        let project = project(
            "replay_full",
            &format!(
                "[streams.ventas]\nsource = \"operativa\"\ntable = \"public.ventas\"\nmode = \"full\"\n\
                 disposition = \"{disposition}\"\n"
            ),
        );
        for day in 1..4 {
            project.run(&[]);
            change(&project, day);
        }
        replay(&project);
        let all = "SELECT * FROM replica.ventas";
        assert_eq!(
            rows(&project, "formacion.duckdb", all),
            rows(&project, "copia.duckdb", all)
        );
        // A refresh begins a chain of its own.
        project.run(&["--full-refresh"]);
        change(&project, 7);
        project.run(&[]);
        replay(&project);
        std::fs::remove_file(project.path("copia.duckdb")).unwrap();
        replay(&project);
        assert_eq!(
            rows(&project, "formacion.duckdb", all),
            rows(&project, "copia.duckdb", all)
        );
    }
}

/// As if the clock had been a year ahead so far.
fn put_clock_back(project: &Project) {
    let connection = project.duckdb();
    let id: String = connection
        .query_row(
            "SELECT load_id FROM replica._acequia_state WHERE stream = 'ventas'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let year: u32 = id[..4].parse().unwrap();
    let ahead = format!("{}{}", year + 1, &id[4..]);
    connection
        .execute_batch(&format!(
            "UPDATE replica._acequia_state SET load_id = '{ahead}', updated_at = updated_at + INTERVAL 1 YEAR;
             UPDATE replica._acequia_loads SET load_id = '{ahead}', extracted_at = extracted_at + INTERVAL 1 YEAR,
               loaded_at = loaded_at + INTERVAL 1 YEAR;
             UPDATE replica.ventas SET _acequia_load_id = '{ahead}'",
        ))
        .unwrap();
    let folder = project.path("landing/formacion/ventas");
    let text = std::fs::read_to_string(folder.join(&id).join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["load_id"] = Value::from(ahead.clone());
    let extracted = manifest["extracted_at"].as_str().unwrap();
    manifest["extracted_at"] = Value::from(format!("{}{}", year + 1, &extracted[4..]));
    std::fs::write(folder.join(&id).join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::rename(folder.join(&id), folder.join(&ahead)).unwrap();
}

#[test]
fn loads_follow_on_each_other_though_the_clock_was_put_back() {
    let project = project("clock", &format!("{VENTAS}disposition = \"scd2\"\n"));
    project.run(&[]);
    put_clock_back(&project);
    let connection = project.duckdb();
    connection
        .execute_batch(
            "UPDATE replica.ventas SET _acequia_valid_from = _acequia_valid_from + INTERVAL 1 YEAR",
        )
        .unwrap();
    drop(connection);
    for day in 1..3 {
        change(&project, day);
        project.run(&[]);
    }
    assert_eq!(
        project
            .value(
                "SELECT count(*) FROM replica.ventas WHERE _acequia_valid_to <= _acequia_valid_from"
            )
            .as_deref(),
        Some("0")
    );
    let closed =
        project.value("SELECT count(*) FROM replica.ventas WHERE _acequia_valid_to IS NOT NULL");
    assert_ne!(closed.as_deref(), Some("0"));
    replay(&project);
    let all = "SELECT * FROM replica.ventas";
    assert_eq!(
        rows(&project, "formacion.duckdb", all),
        rows(&project, "copia.duckdb", all)
    );
    let status = project.acequia(&["status", "--output", "json"]).json();
    let last = stream_report(&status, "ventas")["load_id"].clone();
    let loads = project.loads("ventas");
    assert_eq!(
        loads.last().unwrap().file_name().unwrap().to_str(),
        last.as_str()
    );
}

/// Copies the DuckDB file of production to staging, which reads another source into the same landing area.
#[test]
fn a_copy_of_a_destination_is_told_from_its_original() {
    let project = project("copy", VENTAS);
    project.run(&[]);
    std::fs::copy(
        project.path("formacion.duckdb"),
        project.path("copia.duckdb"),
    )
    .unwrap();
    let staging = Project::operational("staging", "");
    Seed::new(99, 90)
        .only_ventas()
        .apply(&mut staging.source.client().unwrap())
        .unwrap();
    let of_staging = |arguments: &[&str], failpoint: Option<&str>| {
        let mut command = project.command(
            &[
                &["run", "--destination", "copia", "--output", "json"],
                arguments,
            ]
            .concat(),
        );
        command.env("OPERATIVA_URL", staging.source.url());
        if let Some(failpoint) = failpoint {
            command.env("FAILPOINTS", format!("{failpoint}=return"));
        }
        Output::of(command)
    };
    staging
        .source
        .batch("UPDATE ventas SET updated_at = now() + interval '1 day'")
        .unwrap();
    // Landed by staging, and not loaded: production may not take it for its own.
    of_staging(&[], Some("landing.after_manifest"));
    change(&project, 1);
    let report = project.run(&[]);
    assert_eq!(
        stream_report(&report, "ventas")["warnings"].to_string(),
        "[]"
    );
    project.assert_same("ventas");
    // Nor may it remove what staging is still writing.
    of_staging(&["--full-refresh"], Some("landing.part_written"));
    let loads = project.loads("ventas");
    project.run(&[]);
    project.assert_same("ventas");
    assert!(loads.iter().all(|load| load.exists()));
    // Staging itself goes on.
    let output = of_staging(&["--full-refresh"], None);
    assert_eq!(output.status, Some(0), "{output:?}");
}

#[test]
fn a_copy_is_told_once_and_an_old_copy_in_its_place_catches_up() {
    let project = project("moved", VENTAS);
    project.run(&[]);
    std::fs::copy(project.path("formacion.duckdb"), project.path("old")).unwrap();
    change(&project, 1);
    project.run(&[]);
    std::fs::rename(project.path("old"), project.path("formacion.duckdb")).unwrap();
    let report = stream_report(&project.run(&[]), "ventas");
    assert_eq!(report["warnings"].to_string(), "[]");
    project.assert_same("ventas");
    std::fs::rename(
        project.path("formacion.duckdb"),
        project.path("copia.duckdb"),
    )
    .unwrap();
    let report = project.run(&["--destination", "copia"]);
    let warnings = stream_report(&report, "ventas")["warnings"].to_string();
    assert!(warnings.contains("copied or moved from"), "{warnings}");
    let report = project.run(&["--destination", "copia"]);
    assert_eq!(
        stream_report(&report, "ventas")["warnings"].to_string(),
        "[]"
    );
}

/// A database made of another's copy has everything of it but its place.
#[test]
fn a_copied_database_is_told_from_its_original() {
    let project = Project::operational("copied_db", VENTAS).with_warehouse();
    Seed::new(6, 50)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&["--destination", "almacen"]);
    let id = "SELECT id FROM replica._acequia_destination";
    let before = project.warehouse().value(id).unwrap();
    let name = project.warehouse().name().to_owned();
    let copy = format!("{name}_copia");
    project
        .source
        .batch(&format!("CREATE DATABASE \"{copy}\" TEMPLATE \"{name}\""))
        .unwrap();
    let url = project.warehouse().url().replace(&name, &copy);
    let mut command = project.command(&["run", "--destination", "almacen", "--output", "json"]);
    command.env("ALMACEN_URL", &url);
    let output = Output::of(command);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(output.stdout.contains("copied or moved from"), "{output:?}");
    project.run(&["--destination", "almacen"]);
    assert_eq!(project.warehouse().value(id).unwrap(), before);
    project
        .source
        .batch(&format!("DROP DATABASE \"{copy}\""))
        .unwrap();
}
