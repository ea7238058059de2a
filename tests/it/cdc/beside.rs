//! DDL that comes while a run has a table open: neither waits for the other for ever.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::project;
use crate::support::Project;

/// Alters a table once somebody reads another one of the run; the run and the statement must both end.
fn alter_amid(project: &Project, arguments: &[&str], waits_for: &str, ddl: &str) {
    let mut command = project.command(&[&["run", "--output", "json"], arguments].concat());
    let run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut client = project.client();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !client.query_one(waits_for, &[]).unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "the run did not come so far");
        std::thread::sleep(Duration::from_millis(5));
    }
    client
        .batch_execute(&format!("SET statement_timeout = '5min'; {ddl}"))
        .unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// The tables of a first snapshot are held until the last is read, and read one after another.
#[test]
fn a_table_that_is_altered_while_it_waits_for_its_turn_is_read_anew() {
    let project = project(
        "beside",
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);
         INSERT INTO a SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 120000) i; INSERT INTO b VALUES (1, 'x')",
        &["a", "b"],
        "",
    );
    let reading = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'";
    alter_amid(
        &project,
        &["--jobs", "1"],
        reading,
        "ALTER TABLE b ADD n int DEFAULT 7",
    );
    project.run(&[]);
    project.assert_same("a");
    project.assert_same("b");
}
