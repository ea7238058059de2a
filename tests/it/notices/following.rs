//! A run that follows tells what changes while it lasts.

use super::{SOON, Watched};
use crate::cdc;
use crate::cdc::following::Follower;

#[test]
fn a_run_that_follows_is_seen_at_work_and_tells_when_a_stream_fails() {
    let project = cdc::project(
        "aviso_sigue",
        "CREATE TABLE t (id int8 PRIMARY KEY); CREATE TABLE u (id int8 PRIMARY KEY)",
        &["t", "u"],
        "",
    );
    let streams = cdc::streams(&["t", "u"], "schema_contract = \"freeze\"\n");
    let watched = Watched::of(project, &streams, "");
    watched.project.run(&[]);
    assert!(watched.receiver.take().is_empty());
    let follower = Follower::start(&watched.project);
    watched
        .project
        .source
        .batch(
            "ALTER TABLE u ADD COLUMN v int; INSERT INTO u VALUES (1, 1); INSERT INTO t VALUES (1)",
        )
        .unwrap();
    follower.line("stream u is followed no more");
    let received = watched.receiver.wait(SOON).unwrap();
    let text = received[0].json().unwrap()["text"].to_string();
    assert!(text.contains("failed\\nstream u: "), "{text}");
    // It is at work for others to see, and `t` is up to date.
    let runs = watched.acequia(&["runs", "--output", "json"]).json()["runs"].clone();
    assert_eq!(runs[0]["status"], "running", "{runs}");
    assert_eq!(runs[0]["command"], "run --follow");
    assert_eq!(runs[0]["failures"][0]["streams"][0], "u");
    assert!(runs[0]["streams"]["t"].is_string() && runs[0]["streams"]["u"].is_null());
    watched
        .project
        .source
        .batch("INSERT INTO t VALUES (2)")
        .unwrap();
    follower.line("in the destination");
    // As after any run that is stopped before all was well.
    let report = follower.stop_with(130);
    assert_eq!(report["streams"][1]["status"], "failed", "{report}");
    // It was told already.
    assert!(watched.receiver.take().is_empty());
    let runs = watched.acequia(&["runs", "--output", "json"]).json()["runs"].clone();
    assert_eq!(runs[0]["status"], "failed", "{runs}");
    watched
        .project
        .source
        .batch("ALTER TABLE u DROP COLUMN v")
        .unwrap();
    let run = watched.acequia(&["run", "u", "--full-refresh"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(watched.texts()[0].contains("is well again: u"));
}

#[test]
fn a_run_that_follows_and_is_killed_is_lost() {
    let project = cdc::project(
        "aviso_muere",
        "CREATE TABLE t (id int8 PRIMARY KEY)",
        &["t"],
        "",
    );
    let watched = Watched::of(project, &cdc::streams(&["t"], ""), "");
    let follower = Follower::start(&watched.project);
    let folder = watched
        .project
        .path("landing/formacion/_acequia_runs/duckdb");
    let deadline = std::time::Instant::now() + SOON;
    while !folder.exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    follower.kill();
    // An hour later.
    let file = crate::support::files_below(&folder).pop().unwrap();
    let mut run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    run["ended_at"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(&file, run.to_string()).unwrap();
    let runs = watched.acequia(&["runs", "--output", "json"]).json()["runs"].clone();
    assert_eq!(runs[0]["status"], "lost", "{runs}");
    watched
        .project
        .source
        .batch("INSERT INTO t VALUES (1)")
        .unwrap();
    watched.project.run(&[]);
    let kept = "SELECT string_agg(status, ' ' ORDER BY run_id) FROM replica._acequia_runs";
    assert_eq!(watched.project.value(kept).unwrap(), "lost ok");
}
