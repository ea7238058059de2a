//! A destination is built from the landing area alone, and is then what a run would have made of it.

use std::path::Path;

use serde_json::{Value, json};
use testkit::oracle::columns_of;
use testkit::{Changes, S3Server, Seed};

use crate::support::{CURSOS_AND_VENTAS, Output, Project, counts, duckdb_checksums, stream_report};

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

/// Two destinations; the first has what four runs brought, with changes of a day between each.
fn project(name: &str) -> Project {
    let project = Project::operational(name, CURSOS_AND_VENTAS);
    project.configure(&format!("{HEAD}{CURSOS_AND_VENTAS}"));
    let mut client = project.source.client().unwrap();
    Seed::new(7, 800).only_ventas().apply(&mut client).unwrap();
    project.run(&[]);
    for day in 1..4 {
        Changes::day(day).apply(&mut client).unwrap();
        project.run(&[]);
    }
    project
}

/// `acequia replay` into the second destination, with the source out of reach.
fn replay(project: &Project, arguments: &[&str]) -> Output {
    let head = ["replay", "--output", "json", "--destination", "copia"];
    let mut command = project.command(&[&head, arguments].concat());
    command.env_remove("OPERATIVA_URL");
    Output::of(command)
}

fn replayed(project: &Project, arguments: &[&str]) -> Value {
    let output = replay(project, arguments);
    assert_eq!(output.status, Some(0), "{output:?}");
    output.json()
}

/// What a replay, which must fail, reports of a stream.
fn refused(project: &Project, stream: &str, arguments: &[&str]) -> Value {
    let output = replay(project, arguments);
    assert_eq!(output.status, Some(1), "{output:?}");
    stream_report(&output.json(), stream)
}

/// Asserts that a table of the second destination is the source's.
fn assert_copied(project: &Project, table: &str) {
    let source = format!("public.{table}");
    let mut client = project.source.client().unwrap();
    let columns = columns_of(&mut client, &source).unwrap();
    let expected = testkit::oracle::checksums(&mut client, &source, &columns).unwrap();
    let copy = duckdb::Connection::open(project.path("copia.duckdb")).unwrap();
    assert_eq!(
        duckdb_checksums(&copy, &format!("replica.{table}"), &columns),
        expected
    );
}

/// A value of the second destination, as text.
fn copied(project: &Project, sql: &str) -> Option<String> {
    let copy = duckdb::Connection::open(project.path("copia.duckdb")).unwrap();
    let sql = format!("SELECT CAST(x AS VARCHAR) FROM ({sql}) AS q(x)");
    copy.query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn load_id(load: impl AsRef<Path>) -> String {
    load.as_ref()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn what_is_replayed_is_what_was_run_and_the_next_run_goes_on_from_there() {
    let project = project("replay");
    let report = replayed(&project, &[]);
    assert_eq!(report["destination"], "copia");
    assert_copied(&project, "ventas");
    assert_copied(&project, "cursos");
    let loads = project.loads("ventas");
    let ventas = stream_report(&report, "ventas");
    assert_eq!(ventas["load_id"], load_id(&loads[3]).as_str());
    assert_eq!(ventas["status"], "ok");
    assert_eq!(ventas["position_before"], Value::Null);
    assert_eq!(ventas["position_after"]["column"], "updated_at");
    // Of a full stream the last load is all that is needed.
    let ledger = "SELECT stream || ' ' || count(*) FROM replica._acequia_loads GROUP BY stream ORDER BY stream";
    let ledger = format!("SELECT string_agg(s, ', ') FROM ({ledger}) AS l(s)");
    assert_eq!(copied(&project, &ledger).unwrap(), "cursos 1, ventas 4");
    assert_eq!(
        project.value("SELECT position FROM replica._acequia_state WHERE stream = 'ventas'"),
        copied(
            &project,
            "SELECT position FROM replica._acequia_state WHERE stream = 'ventas'"
        )
    );

    let again = replayed(&project, &[]);
    assert_eq!(counts(&again, "ventas"), (0, 0, 0, 0));
    assert_eq!(stream_report(&again, "ventas")["load_id"], Value::Null);

    Changes::day(9)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let run = project.run(&["--destination", "copia"]);
    let (extracted, inserted, updated, _) = counts(&run, "ventas");
    assert!(extracted < 800, "it was read from the position on: {run}");
    assert!(inserted + updated > 0, "{run}");
    assert_copied(&project, "ventas");
    assert_copied(&project, "cursos");
}

/// It takes the position on without a load: what was seen of the source is remembered.
#[test]
fn a_run_that_found_nothing_new_leaves_no_gap_between_loads() {
    let project = project("idle_replay");
    project.run(&[]);
    Changes::day(5)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    replayed(&project, &[]);
    assert_copied(&project, "ventas");
}

#[test]
fn a_destination_that_has_some_loads_is_given_those_that_follow() {
    let project = project("follow");
    replayed(&project, &[]);
    Changes::day(7)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    let report = replayed(&project, &["ventas"]);
    assert_eq!(report["streams"].as_array().unwrap().len(), 1);
    assert_copied(&project, "ventas");
    let loads = copied(
        &project,
        "SELECT count(*) FROM replica._acequia_loads WHERE stream = 'ventas'",
    );
    assert_eq!(loads.unwrap(), "5");

    // From here on each destination has loads of its own.
    Changes::day(8)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&["--destination", "copia"]);
    project.run(&[]);
    let report = stream_report(&replayed(&project, &["ventas"]), "ventas");
    assert_eq!(report["load_id"], Value::Null);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("were left alone"), "{warnings}");
    assert_copied(&project, "ventas");
}

#[test]
fn what_a_full_refresh_made_needless_is_not_replayed() {
    let project = project("refreshed");
    project.run(&["ventas", "--full-refresh"]);
    let loads = project.loads("ventas");
    for load in &loads[..4] {
        std::fs::remove_dir_all(load).unwrap();
    }
    replayed(&project, &["ventas"]);
    assert_copied(&project, "ventas");
}

#[test]
fn a_destination_that_is_lost_is_built_again() {
    let project = project("lost");
    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    let output = project.acequia(&["replay"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .contains("2 of 2 streams replayed from the landing area of formacion into duckdb"),
        "{output:?}"
    );
    project.assert_same("ventas");
    project.assert_same("cursos");
    let (extracted, ..) = counts(&project.run(&[]), "ventas");
    assert!(extracted < 800, "{extracted}");
}

#[test]
fn what_is_missing_is_told_and_what_comes_before_it_is_loaded() {
    let project = project("missing");
    let loads = project.loads("ventas");
    std::fs::remove_dir_all(&loads[2]).unwrap();
    let report = refused(&project, "ventas", &[]);
    let error = report["error"].as_str().unwrap();
    let expected = format!(
        "load {}, on which load {} follows, is not in the landing area",
        load_id(&loads[2]),
        load_id(&loads[3])
    );
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("acequia run ventas"), "{error}");
    assert_eq!(report["load_id"], load_id(&loads[1]).as_str());
    assert_copied(&project, "cursos");
    // The source has it all, and nothing is lost.
    project.run(&["--destination", "copia"]);
    assert_copied(&project, "ventas");
}

#[test]
fn a_part_that_is_missing_or_damaged_is_told_and_left_where_it_is() {
    for damage in ["remove", "cut", "flip"] {
        let project = project("damaged_replay");
        let loads = project.loads("ventas");
        let part = loads[1].join("part-00000.parquet");
        let mut bytes = std::fs::read(&part).unwrap();
        match damage {
            "remove" => std::fs::remove_file(&part).unwrap(),
            "cut" => std::fs::write(&part, &bytes[..100]).unwrap(),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x40;
                std::fs::write(&part, bytes).unwrap();
            }
        }
        let report = refused(&project, "ventas", &[]);
        let error = report["error"].as_str().unwrap();
        assert!(error.contains("part-00000.parquet"), "{damage}: {error}");
        assert!(error.contains("replay again"), "{damage}: {error}");
        assert_eq!(report["load_id"], load_id(&loads[0]).as_str(), "{damage}");
        assert!(loads[1].join("manifest.json").exists(), "{damage}");
    }
}

#[test]
fn a_stream_without_a_load_says_so() {
    let project = project("nothing");
    std::fs::remove_dir_all(project.path("landing/formacion/ventas")).unwrap();
    let report = refused(&project, "ventas", &[]);
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("there is no load of the stream in the landing area"),
        "{error}"
    );
    assert_copied(&project, "cursos");
}

#[test]
fn single_loads_are_applied_in_order_and_refused_where_one_is_missing_between_them() {
    let project = project("single");
    let loads: Vec<String> = project.loads("ventas").iter().map(load_id).collect();
    let report = replayed(&project, &["--load", &loads[1], "--load", &loads[0]]);
    assert_eq!(report["streams"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(
        stream_report(&report, "ventas")["load_id"],
        loads[1].as_str()
    );

    let refusal = refused(&project, "ventas", &["--load", &loads[3]]);
    let error = refusal["error"].as_str().unwrap();
    let expected = format!(
        "load {}, on which load {} follows, is neither loaded nor named",
        loads[2], loads[3]
    );
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains(&format!("--load {}", loads[2])), "{error}");

    replayed(&project, &["--load", &loads[2], "--load", &loads[3]]);
    assert_copied(&project, "ventas");
    // A load that the destination has is no matter.
    let again = replayed(&project, &["--load", &loads[0]]);
    assert_eq!(counts(&again, "ventas"), (0, 0, 0, 0));
    assert_copied(&project, "ventas");

    let unknown = replay(&project, &["--load", "20200101T000000000-00000000-0000"]);
    assert_eq!(unknown.status, Some(2), "{unknown:?}");
    assert!(
        unknown.stderr.contains("acequia landing list"),
        "{unknown:?}"
    );
    let other = replay(&project, &["cursos", "--load", &loads[0]]);
    assert_eq!(other.status, Some(2), "{other:?}");
    let nonsense = replay(&project, &["--load", "ayer"]);
    assert_eq!(nonsense.status, Some(2), "{nonsense:?}");
}

#[test]
fn a_replay_that_is_killed_is_taken_up_by_the_next() {
    for step in ["duckdb.before_commit", "duckdb.after_commit"] {
        let project = project("killed_replay");
        project.crash_at(step, &["replay", "--destination", "copia"]);
        replayed(&project, &[]);
        assert_copied(&project, "ventas");
        assert_copied(&project, "cursos");
    }
}

#[test]
fn a_schema_that_changed_between_loads_is_replayed_as_well() {
    let project = project("evolved");
    project
        .source
        .batch("ALTER TABLE ventas ADD COLUMN canal text; UPDATE ventas SET canal = 'web', updated_at = now() WHERE id % 3 = 0")
        .unwrap();
    project.run(&[]);
    replayed(&project, &[]);
    assert_copied(&project, "ventas");
}

/// Rewrites a load's manifest.
fn edit(load: &Path, change: impl FnOnce(&mut Value)) {
    let path = load.join("manifest.json");
    let mut manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(&path, manifest.to_string()).unwrap();
}

#[test]
fn a_position_in_the_write_ahead_log_is_taken_over_where_runs_found_nothing_in_between() {
    let project = project("slot");
    let loads = project.loads("ventas");
    for load in &loads[2..] {
        std::fs::remove_dir_all(load).unwrap();
    }
    let position = |lsn: &str| {
        json!({
            "kind": "lsn", "lsn": lsn, "slot": "acequia_formacion", "system": "7",
            "relation": 16384, "membership": 16390
        })
    };
    edit(&loads[0], |manifest| {
        manifest["position_after"] = position("0/10");
    });
    // Between the two loads, runs took the position on from 0/10 to 0/20.
    edit(&loads[1], |manifest| {
        manifest["position_before"] = position("0/20");
        manifest["position_after"] = position("0/30");
        manifest["parts"] = json!([]);
        manifest["rows"] = json!(0);
        manifest["bytes"] = json!(0);
    });
    let report = stream_report(&replayed(&project, &["ventas"]), "ventas");
    assert_eq!(report["load_id"], load_id(&loads[1]).as_str());
    assert_eq!(report["position_after"]["lsn"], "0/30");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("slot acequia_formacion"), "{warnings}");
    assert!(warnings.contains("takes a new snapshot"), "{warnings}");

    // Where another load was in between, it is not passed over.
    std::fs::remove_file(project.path("copia.duckdb")).unwrap();
    edit(&loads[1], |manifest| {
        manifest["previous"] = json!("20260101T000000000-00000000-0000");
    });
    let error = refused(&project, "ventas", &["ventas"])["error"].to_string();
    assert!(error.contains("is not in the landing area"), "{error}");
}

#[test]
fn a_landing_area_in_s3_is_replayed_listed_and_pruned() {
    let server = S3Server::start().unwrap();
    let mut project = Project::operational("replay_s3", CURSOS_AND_VENTAS);
    for (name, value) in server.env() {
        project.set(name, &value);
    }
    let head = HEAD.replace(
        "dataset =",
        &format!("landing = \"{}\"\ndataset =", server.url("zona/acequia")),
    );
    project.configure(&format!("{head}{CURSOS_AND_VENTAS}"));
    let mut client = project.source.client().unwrap();
    Seed::new(7, 500).only_ventas().apply(&mut client).unwrap();
    project.run(&[]);
    Changes::day(1).apply(&mut client).unwrap();
    project.run(&[]);
    replayed(&project, &[]);
    assert_copied(&project, "ventas");
    assert_copied(&project, "cursos");

    let list = || {
        project
            .acequia(&["landing", "list", "--output", "json"])
            .json()
    };
    assert_eq!(list()["loads"].as_array().unwrap().len(), 4, "{}", list());
    let pruned = project.acequia(&["landing", "prune", "--older-than", "0s", "--output", "json"]);
    assert_eq!(pruned.status, Some(0), "{pruned:?}");
    let gone = pruned.json();
    assert_eq!(gone["loads"].as_array().unwrap().len(), 1, "{gone}");
    assert_eq!(gone["loads"][0]["stream"], "cursos");
    assert_eq!(list()["loads"].as_array().unwrap().len(), 3, "{}", list());
    std::fs::remove_file(project.path("copia.duckdb")).unwrap();
    replayed(&project, &[]);
    assert_copied(&project, "ventas");
    assert_copied(&project, "cursos");
}
