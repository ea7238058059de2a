//! A standby as the source.

use std::time::Duration;

use testkit::{Cluster, Standby};

use super::{client, insert, stream};
use crate::support::{Project, counts, stream_report};

/// A primary with a table, and a pipeline that reads its standby.
fn standby(settings: &[(&str, &str)]) -> (Cluster, Standby, Project) {
    let primary = Cluster::start().unwrap();
    let mut project = Project::on(primary.database("standby").unwrap(), &stream(""));
    project
        .source
        .batch(
            "CREATE TABLE t (id int PRIMARY KEY, c timestamptz DEFAULT now());
             CREATE TABLE grande AS SELECT i, repeat('x', 500) AS x FROM generate_series(1, 60000) AS i",
        )
        .unwrap();
    let standby = primary.standby(settings).unwrap();
    standby.catch_up(&primary).unwrap();
    project.set(
        "OPERATIVA_URL",
        &standby.cluster().url(project.source.name()),
    );
    (primary, standby, project)
}

#[test]
fn a_standby_is_refused_without_lag_and_loses_nothing_with_it() {
    let (primary, standby, project) = standby(&[]);
    let (mut late, mut early) = (client(&project), client(&project));
    insert(&mut early, 1);
    standby.catch_up(&primary).unwrap();
    let failed = project.run_failing("t");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("standby") && error.contains("`lag` for [streams.t]"),
        "{error}"
    );
    let checked = project.acequia(&["check"]);
    assert_eq!(checked.status, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("standby"), "{checked:?}");

    project.streams(&stream("lag = \"1m\""));
    project.run(&[]);
    late.batch_execute("BEGIN").unwrap();
    insert(&mut late, 2);
    std::thread::sleep(Duration::from_secs(3));
    insert(&mut early, 3);
    standby.catch_up(&primary).unwrap();
    project.run(&[]);
    late.batch_execute("COMMIT").unwrap();
    standby.catch_up(&primary).unwrap();
    project.run(&[]);
    project.assert_same("t");

    // In full, by several connections, nothing is to be said.
    project.streams(
        "[streams.grande]\nsource = \"operativa\"\ntable = \"grande\"\nmode = \"full\"\nparallel = 3\n",
    );
    let report = project.run(&[]);
    assert_eq!(counts(&report, "grande").0, 60_000);
    assert_eq!(
        stream_report(&report, "grande")["warnings"],
        serde_json::json!([])
    );
    project.assert_same("grande");
}

#[test]
fn a_read_that_replay_ends_is_told_with_its_remedy() {
    let (primary, standby, project) = standby(&[("max_standby_streaming_delay", "0")]);
    project.streams("[streams.t]\nsource = \"operativa\"\nquery = \"SELECT g.i, pg_sleep(0.02)::text FROM grande g\"\nmode = \"full\"\n");
    let command = project.command(&["run", "--output", "json"]);
    let running = std::thread::spawn(move || crate::support::Output::of(command));
    // Until it reads: an old row that it could see is removed, and the standby replays that.
    std::thread::sleep(Duration::from_secs(2));
    client(&project)
        .batch_execute("DELETE FROM grande WHERE i < 1000")
        .unwrap();
    client(&project).batch_execute("VACUUM grande").unwrap();
    standby.catch_up(&primary).unwrap();
    let output = running.join().unwrap();
    assert_eq!(output.status, Some(1), "{output:?}");
    let failed = stream_report(&output.json(), "t");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("conflict with recovery") && error.contains("hot_standby_feedback"),
        "{error}"
    );
}
