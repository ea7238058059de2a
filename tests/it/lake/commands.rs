//! What is asked of the lake besides a run.

use std::time::{Duration, Instant};

use testkit::Changes;

use super::{Shore, load_of};
use crate::cdc::following::Follower;
use crate::support::{CURSOS_AND_VENTAS, counts, stream_report};

#[test]
fn check_and_status_tell_how_it_stands() {
    let shore = Shore::operational("lago_estado", 100, CURSOS_AND_VENTAS);
    let check = shore.acequia(&["check"]);
    assert_eq!(check.status, Some(0), "{check:?}");
    assert!(
        shore.lake.tables(&shore.dataset).unwrap().is_empty(),
        "nothing is made by looking"
    );
    let status = shore.acequia(&["status"]);
    assert_eq!(status.status, Some(0), "{status:?}");
    let report = shore.run(&[]);
    assert_eq!(report["destination"], "lago");
    let load = load_of(&shore, "ventas");
    assert_eq!(stream_report(&report, "ventas")["load_id"], load.as_str());
    let status = shore.acequia(&["status", "--output", "json"]);
    assert_eq!(status.status, Some(0), "{status:?}");
    let ventas = stream_report(&status.json(), "ventas");
    assert!(ventas.to_string().contains(&load), "{ventas}");
    assert_eq!(shore.acequia(&["check"]).status, Some(0));
    let inspected = shore.acequia(&["inspect", &load]);
    assert_eq!(inspected.status, Some(0), "{inspected:?}");
    assert!(inspected.stdout.contains("updated_at"), "{inspected:?}");
}

#[test]
fn check_tells_of_names_that_the_catalog_does_not_take() {
    let streams = format!("{CURSOS_AND_VENTAS}destination_table = \"Ventas Ñ\"\n");
    let shore = Shore::operational("lago_nombres", 10, &streams);
    shore.run(&["cursos"]);
    let check = shore.acequia(&["check"]);
    assert_eq!(check.status, Some(1), "{check:?}");
    let told = format!("{}{}", check.stdout, check.stderr);
    for word in ["Ventas Ñ", "destination_table"] {
        assert!(told.contains(word), "{word}: {check:?}");
    }
}

#[test]
fn everything_can_be_read_anew() {
    let shore = Shore::operational("lago_anew", 200, CURSOS_AND_VENTAS);
    shore.run(&[]);
    shore.source.batch("UPDATE ventas SET estado = 'cancelado' WHERE id <= 5; DELETE FROM ventas WHERE id > 190").unwrap();
    let report = shore.run(&["--full-refresh"]);
    assert_eq!(counts(&report, "ventas").0, 190);
    shore.assert_same("ventas");
    shore.assert_same("cursos");
    assert_eq!(counts(&shore.run(&["ventas"]), "ventas").1, 0);
}

#[test]
fn the_lake_is_built_from_the_landing_area_alone() {
    let mut shore = Shore::operational("lago_replay", 200, CURSOS_AND_VENTAS);
    let mut client = shore.source.client().unwrap();
    shore.run(&[]);
    for day in 1..3 {
        Changes::day(day).apply(&mut client).unwrap();
        shore.run(&[]);
    }
    let landing = shore.landing.clone();
    shore.anew();
    shore.landing = landing;
    shore.write();
    let mut replay = shore.command(&["replay"]);
    replay.env("OPERATIVA_URL", "postgres://nadie@127.0.0.1:1/nada");
    let replayed = crate::support::Output::of(replay);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    shore.assert_same("ventas");
    shore.assert_same("cursos");
    Changes::day(3).apply(&mut client).unwrap();
    let (extracted, ..) = counts(&shore.run(&[]), "ventas");
    assert!(extracted < 200, "it goes on from there: {extracted}");
    shore.assert_same("ventas");
}

#[test]
fn a_table_that_was_dropped_takes_its_state_along() {
    let shore = Shore::operational("lago_sin_tabla", 100, CURSOS_AND_VENTAS);
    shore.run(&[]);
    shore.lake.drop_table(&shore.dataset, "ventas").unwrap();
    let report = shore.run(&[]);
    assert_eq!(counts(&report, "ventas"), (100, 100, 0, 0));
    shore.assert_same("ventas");
}

#[test]
fn changes_arrive_while_it_follows() {
    let ddl = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";
    let shore = Shore::of_changes("lago_sigue", ddl, &["t"], "");
    let follower = Follower::start(&shore);
    shore
        .client()
        .batch_execute("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50) i")
        .unwrap();
    eventually(&shore, "SELECT count(*) FROM replica.t", "50");
    shore
        .client()
        .batch_execute("DELETE FROM t WHERE id <= 10; UPDATE t SET v = 'w' WHERE id = 11")
        .unwrap();
    eventually(
        &shore,
        "SELECT count(*) || ' ' || count(*) FILTER (WHERE v = 'w') FROM replica.t",
        "40 1",
    );
    follower.stop();
    shore.assert_same("t");
    // What it had brought is in the ledger, and the destination is free.
    shore.run(&[]);
    let twice = "SELECT count(*) - count(DISTINCT load_id) FROM replica.acequia_loads";
    assert_eq!(shore.value(twice), "0");
}

fn eventually(shore: &Shore, sql: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while shore.value(sql) != expected {
        assert!(Instant::now() < deadline, "{sql} never gave {expected}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn runs_are_kept_in_a_table_of_the_lake() {
    let shore = Shore::operational("lago_corridas", 50, CURSOS_AND_VENTAS);
    shore.run(&[]);
    shore.run(&["ventas"]);
    let listed = |arguments: &[&str]| {
        let output = shore.acequia(&[&["runs", "--output", "json"], arguments].concat());
        assert_eq!(output.status, Some(0), "{output:?}");
        let runs = output.json()["runs"].as_array().unwrap().clone();
        let status = |run: &serde_json::Value| run["status"].as_str().unwrap().to_owned();
        runs.iter().map(status).collect::<Vec<String>>()
    };
    assert_eq!(listed(&[]), ["ok", "ok"]);
    let rename = "ALTER TABLE ventas RENAME TO ventas_fuera";
    shore.source.batch(rename).unwrap();
    assert_eq!(shore.acequia(&["run"]).status, Some(1));
    assert_eq!(listed(&[]), ["failed", "ok", "ok"]);
    assert_eq!(listed(&["--failed"]), ["failed"]);
    let waiting = shore.path("landing/formacion/_acequia_runs/lago");
    assert!(!waiting.exists() || crate::support::files_below(&waiting).is_empty());
    let tables = shore.lake.tables(&shore.dataset).unwrap();
    assert!(
        tables.iter().any(|table| table == "acequia_runs"),
        "{tables:?}"
    );
    let fresh = shore.acequia(&["status", "cursos", "--max-age", "1h"]);
    assert_eq!(fresh.status, Some(0), "{fresh:?}");
}

#[test]
fn a_token_for_the_catalog_is_printed_anew_where_it_is_not_taken() {
    let shore = Shore::operational("lago_token", 50, CURSOS_AND_VENTAS);
    let config = std::fs::read_to_string(shore.path("acequia.toml")).unwrap();
    std::fs::write(shore.path("token"), shore.lake.token().unwrap()).unwrap();
    let with = |command: &str| {
        let key = format!("token_command = \"\"\"{command}\"\"\"");
        shore.configure(&config.replace("credential = \"${LAGO}\"", &key));
    };
    with("echo run >> runs; if [ $(wc -l < runs) = 1 ]; then echo caducado; else cat token; fi");
    shore.run(&[]);
    shore.assert_same("ventas");
    let runs = std::fs::read_to_string(shore.path("runs")).unwrap();
    assert_eq!(runs.lines().count(), 2);
    with("echo s3cr3t");
    let output = shore.acequia(&["run"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let shown = format!("{}{}", output.stdout, output.stderr);
    assert!(
        shown.contains("does not take what it is shown") && !shown.contains("s3cr3t"),
        "{shown}"
    );
}
