//! Killed at any durable step, of the process or of the server's: nothing lost, nothing twice, order kept.

use std::time::Duration;

use super::project;
use crate::support::counts;

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text, n int)";

/// Scenario 2, and the steps up to the first confirmation.
#[test]
fn killed_in_the_snapshot_it_starts_clean() {
    for step in [
        "cdc.published",
        "cdc.slot_made",
        "cdc.snapshot_exported",
        "landing.part_written",
        "landing.before_manifest",
        "landing.after_manifest",
        "duckdb.before_commit",
        "duckdb.after_commit",
        "pipeline.after_load",
        "cdc.before_confirm",
    ] {
        let project = project("snapshot", T, &["t"], "changelog = true");
        let mut client = project.client();
        client
            .batch_execute("INSERT INTO t SELECT i, 'v', i FROM generate_series(1, 300) i")
            .unwrap();
        project.crash_at(step, &["run"]);
        client
            .batch_execute("UPDATE t SET n = -n WHERE id <= 50; DELETE FROM t WHERE id = 300; INSERT INTO t VALUES (301, 'x', 0)")
            .unwrap();
        project.run(&[]);
        project.assert_same("t");
        client
            .batch_execute("UPDATE t SET n = 0 WHERE id = 1")
            .unwrap();
        assert_eq!(counts(&project.run(&[]), "t"), (1, 0, 1, 0), "{step}");
        project.assert_same("t");
    }
}

/// Scenarios 3, 4 and 7: transactions that overlap each other and the crashes.
#[test]
fn killed_at_any_step_of_a_later_run() {
    let project = project("later", T, &["t"], "changelog = true");
    let mut client = project.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v', 0 FROM generate_series(1, 100) i")
        .unwrap();
    project.run(&[]);
    let steps = [
        "landing.part_written",
        "landing.before_manifest",
        "landing.after_manifest",
        "duckdb.before_commit",
        "duckdb.after_commit",
        "pipeline.after_load",
        "cdc.before_confirm",
        "cdc.after_confirm",
    ];
    let mut expected = 100_u64;
    for (round, step) in (1_i32..).zip(steps) {
        let (mut early, mut late) = (project.client(), project.client());
        let mut first = early.transaction().unwrap();
        first
            .execute("UPDATE t SET n = n + 1 WHERE id <= 10", &[])
            .unwrap();
        late.execute(
            "UPDATE t SET v = 'ronda ' || $1::int WHERE id BETWEEN 91 AND 100",
            &[&round],
        )
        .unwrap();
        project.crash_at(step, &["run"]);
        // Nothing is confirmed that the ledger does not have.
        assert!(project.confirmed() <= project.position("t"), "{step}");
        first.commit().unwrap();
        late.execute(
            "INSERT INTO t VALUES ($1, 'nuevo', 0)",
            &[&(1000 + i64::from(round))],
        )
        .unwrap();
        project.run(&[]);
        project.assert_same("t");
        expected += 10 + 10 + 1;
        let log = "SELECT count(*)::VARCHAR FROM replica.t__changes";
        assert_eq!(project.rows(log), [expected.to_string()], "after {step}");
        let twice = "SELECT count(*)::VARCHAR FROM (SELECT 1 FROM replica.t__changes WHERE _acequia_op <> 'r'
                     GROUP BY _acequia_lsn, _acequia_seq HAVING count(*) > 1)";
        assert_eq!(project.rows(twice), ["0"], "after {step}");
    }
}

/// Scenario 8, and 20: a transaction larger than a part, with a change of the table amid it.
#[test]
fn killed_amid_a_transaction_it_resumes() {
    let project = project("amid", T, &["t"], "");
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&config.replace("dataset =", "part_size = \"1MB\"\ndataset ="));
    project.run(&[]);
    let mut client = project.client();
    client
        .batch_execute(
            "BEGIN; INSERT INTO t SELECT i, md5(i::text) || md5((i + 1)::text), i FROM generate_series(1, 60000) i;
             ALTER TABLE t ADD COLUMN extra text; UPDATE t SET extra = 'sí' WHERE id % 2 = 0; COMMIT;",
        )
        .unwrap();
    project.crash_at("landing.part_written", &["run"]);
    assert_eq!(
        project.rows("SELECT count(*)::VARCHAR FROM replica.t"),
        ["0"]
    );
    let report = project.run(&[]);
    assert_eq!(counts(&report, "t").0, 90_000);
    project.assert_same("t");
}

/// The server ends the session that reads. (One that streams: `following.rs`.)
#[test]
fn the_server_ends_the_reader() {
    let project = project("backend", T, &["t"], "");
    project.run(&[]);
    let mut client = project.client();
    client
        .batch_execute(
            "INSERT INTO t SELECT i, repeat('x', 200), i FROM generate_series(1, 400000) i",
        )
        .unwrap();
    let mut child = project
        .command(&["run", "--output", "json"])
        .spawn()
        .unwrap();
    let mut killed = false;
    while child.try_wait().unwrap().is_none() && !killed {
        killed = client
            .query_one(
                "SELECT coalesce(bool_or(pg_terminate_backend(active_pid)), false) FROM pg_replication_slots
                 WHERE slot_name = $1 AND active_pid IS NOT NULL",
                &[&project.source.name()],
            )
            .unwrap()
            .get(0);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(killed, "the run ended before its reader could be ended");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "the run connects again");
    assert_eq!(counts(&project.run(&[]), "t").0, 0);
    project.assert_same("t");
}
