//! What replication needs of the server, what it leaves there, and how it is told.

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::Cluster;

use super::{error, project, streams, warnings};
use crate::support::{Output, Project, counts};

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";

fn on(cluster: &Cluster, name: &str) -> Project {
    let source = cluster.database(name).unwrap();
    source.batch(T).unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &streams(&["t"], ""));
    project.set("SLOT", &slot);
    project
}

/// Scenario 10.
#[test]
fn a_log_that_the_server_has_removed_fails_clearly() {
    let cluster = Cluster::options()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("max_wal_size", "32MB")
        .setting("min_wal_size", "32MB")
        .start()
        .unwrap();
    let project = on(&cluster, "lost");
    project.run(&[]);
    let mut client = project.client();
    for _ in 0..8 {
        client
            .batch_execute("INSERT INTO t SELECT i + (SELECT count(*) FROM t), repeat('x', 500) FROM generate_series(1, 20000) i; SELECT pg_switch_wal(); CHECKPOINT")
            .unwrap();
    }
    assert_eq!(project.slot("wal_status"), "lost");
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let text = error(&output.json(), "t");
    assert!(
        text.contains("max_slot_wal_keep_size") && text.contains("--full-refresh"),
        "{text}"
    );
    let status = project.acequia(&["status"]);
    assert!(status.stdout.contains("(lost)"), "{status:?}");
    let dropped = project.acequia(&["replication", "drop", "operativa", "--yes"]);
    assert_eq!(dropped.status, Some(0), "{dropped:?}");
    project.run(&["t", "--full-refresh"]);
    project.assert_same("t");
}

#[test]
fn a_server_that_does_not_log_changes_is_told() {
    let cluster = Cluster::options()
        .setting("wal_level", "replica")
        .start()
        .unwrap();
    let project = on(&cluster, "level");
    for arguments in [["run"], ["check"]] {
        let output = project.acequia(&arguments);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(output.stdout.contains("wal_level is replica"), "{output:?}");
        assert!(
            output
                .stdout
                .contains("ALTER SYSTEM SET wal_level = 'logical'"),
            "{output:?}"
        );
    }
}

/// From nothing to a stream, by what `check` says alone.
#[test]
fn each_right_that_is_missing_is_named_with_what_grants_it() {
    let mut project = project("rights", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    let role = project.as_newcomer();
    let database = project.source.name().to_owned();
    let check = |project: &Project| project.acequia(&["check"]).stdout;
    let told = check(&project);
    assert!(
        told.contains(&format!("GRANT SELECT ON \"public\".\"t\" TO \"{role}\"")),
        "{told}"
    );
    assert!(
        told.contains(&format!("ALTER ROLE \"{role}\" REPLICATION")),
        "{told}"
    );
    project
        .source
        .batch(&format!("GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON t TO {role}; ALTER ROLE {role} REPLICATION"))
        .unwrap();
    let told = check(&project);
    let publish = "CREATE PUBLICATION \"acequia\" FOR TABLE \"public\".\"t\" WITH (publish_via_partition_root = true)";
    assert!(
        told.contains("cannot be published by") && told.contains(publish),
        "{told}"
    );
    let failed = project.acequia(&["run", "--output", "json"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(error(&failed.json(), "t").contains(publish), "{failed:?}");
    project.source.batch(publish).unwrap();
    let output = project.acequia(&["check"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t VALUES (2, 'b')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t").1, 1);
    project.assert_same("t");
    let _ = database;
}

#[test]
fn status_shows_the_slot_and_drop_takes_it_down() {
    let project = project("status", T, &["t"], "");
    let status = project.acequia(&["status"]);
    assert!(status.stdout.contains("not made yet"), "{status:?}");
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 10000) i")
        .unwrap();
    let status = project.acequia(&["status", "--output", "json"]).json();
    let slot = &status["slots"][0];
    assert_eq!(slot["slot"], project.source.name());
    assert_eq!(slot["wal_status"], "reserved");
    assert!(slot["lag_bytes"].as_u64().unwrap() > 1_000_000, "{status}");
    assert!(
        slot["retained_bytes"].as_u64().unwrap() > 1_000_000,
        "{status}"
    );
    let asked = project.acequia(&["replication", "drop", "operativa"]);
    assert_eq!(asked.status, Some(2), "{asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    assert_eq!(project.slot("count(*)"), "1");
    let dropped = project.acequia(&["replication", "drop", "operativa", "--yes"]);
    assert!(
        dropped.stdout.contains("dropped the replication slot"),
        "{dropped:?}"
    );
    assert_eq!(project.slot("count(*)"), "0");
    assert_eq!(
        project.source_value("SELECT count(*) FROM pg_publication"),
        "0"
    );
    let again = project.acequia(&["replication", "drop", "operativa", "--yes"]);
    assert_eq!(again.status, Some(0), "{again:?}");
    assert!(again.stdout.contains("nothing to drop"), "{again:?}");
}

/// Names clash: what carries the pipeline's names is its own only where that was noted.
#[test]
fn what_another_uses_is_not_dropped() {
    let project = project("not_ours", T, &["t"], "");
    let name = project.source.name();
    let drop = || project.acequia(&["replication", "drop", "operativa", "--yes"]);
    let refused = |what: &str| {
        let refused = drop();
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(what), "{refused:?}");
    };
    project
        .source
        .batch("CREATE PUBLICATION acequia FOR TABLE t")
        .unwrap();
    refused("left alone");
    project
        .source
        .batch(&format!(
            "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
        ))
        .unwrap();
    refused("is not this pipeline's");
    assert_eq!(project.slot("count(*)"), "1");
    let publications = "SELECT count(*) FROM pg_publication";
    assert_eq!(project.source_value(publications), "1");

    project
        .source
        .batch(&format!("SELECT pg_drop_replication_slot('{name}')"))
        .unwrap();
    project.run(&[]);
    let dropped = drop();
    assert_eq!(dropped.status, Some(0), "{dropped:?}");
    assert_eq!(project.slot("count(*)"), "0");
    assert_eq!(project.source_value(publications), "0");
    // Nothing is noted any more: what comes now under the names is another's.
    project
        .source
        .batch("CREATE PUBLICATION acequia FOR TABLE t")
        .unwrap();
    refused("left alone");
}

/// A slot that nothing reads any more warns in every run, with what it keeps.
#[test]
fn a_slot_left_behind_warns() {
    let project = project("behind", T, &["t"], "");
    let other = format!("{}_viejo", project.source.name());
    project
        .source
        .batch(&format!(
            "SELECT pg_create_logical_replication_slot('{other}', 'pgoutput')"
        ))
        .unwrap();
    project
        .source
        .batch("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 10000) i")
        .unwrap();
    for _ in 0..2 {
        let report = project.run(&[]);
        let told = warnings(&report, "t");
        assert!(
            told.contains(&other) && told.contains(" MB of its write-ahead log"),
            "{told}"
        );
        assert!(told.contains("pg_drop_replication_slot"), "{told}");
        assert!(
            !told.contains(&format!("`{}`", project.source.name())),
            "{told}"
        );
    }
    // Once no stream of the source reads changes, that of the pipeline itself is left behind as well.
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&config.replace("mode = \"cdc\"", "mode = \"full\""));
    let told = warnings(&project.run(&["--full-refresh"]), "t");
    for slot in [other.as_str(), project.source.name()] {
        assert!(told.contains(&format!("`{slot}` is not read")), "{told}");
    }
}

/// A server whose slot bears the same name, with a ledger of another: its slot is not ours to move.
#[test]
fn the_slot_of_another_server_is_not_moved() {
    let project = project("foreign", T, &["t"], "");
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'x')")
        .unwrap();
    // It stands further than the slot: what would be confirmed.
    let end = project.source_value("SELECT pg_current_wal_flush_lsn()::text");
    let foreign = format!(
        "UPDATE replica._acequia_state
         SET position = json_merge_patch(position::JSON, '{{\"system\": \"1\", \"lsn\": \"{end}\"}}')"
    );
    project.duckdb().execute(&foreign, []).unwrap();
    let before = project.confirmed();
    let output = project.acequia(&["run"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output
            .stdout
            .contains("is not the one that the stream was read from"),
        "{output:?}"
    );
    assert_eq!(project.confirmed(), before);
}

/// Sessions that wait while others work, as long as that may take.
#[test]
fn time_limits_of_the_server_do_not_end_a_run() {
    let project = project("limits", T, &["t"], "");
    let name = project.source.name();
    project
        .source
        .batch(&format!(
            "ALTER DATABASE \"{name}\" SET statement_timeout = '300ms'; ALTER DATABASE \"{name}\" SET idle_session_timeout = '300ms';
             ALTER DATABASE \"{name}\" SET idle_in_transaction_session_timeout = '300ms'"
        ))
        .unwrap();
    let insert = |first: u32| {
        let sql = format!(
            "SET statement_timeout = 0; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series({first}, {first} + 599999) i"
        );
        project.source.batch(&sql).unwrap();
    };
    insert(1);
    project.run(&[]);
    insert(600_001);
    assert_eq!(counts(&project.run(&[]), "t").0, 600_000);
    project
        .source
        .batch(&format!("ALTER DATABASE \"{name}\" RESET ALL"))
        .unwrap();
    project.assert_same("t");
}

/// Scenario 25: two runs at once, of which the slot allows one.
#[test]
fn two_runs_at_once() {
    let project = project("two", T, &["t"], "");
    project.run(&[]);
    // As a stream, so that the slot is held long enough to be seen.
    project.take_room_away();
    project
        .source
        .batch("SET temp_file_limit = -1; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 600000) i")
        .unwrap();
    let first = project
        .command(&["run", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while project.slot("active") != "true" && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Whoever comes to the slot then is told so; a run that comes to the destination waits for its turn.
    let mut other = project.client();
    let refused = other
        .query(
            "SELECT 1 FROM pg_logical_slot_get_binary_changes($1, NULL, 1, 'proto_version', '1', 'publication_names', 'acequia')",
            &[&project.source.name()],
        )
        .unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "55006");
    let third = project.acequia(&["run", "--output", "json"]);
    assert_eq!(third.status, Some(0), "{third:?}");
    assert_eq!(counts(&third.json(), "t").0, 0, "{third:?}");
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    project.run(&[]);
    project.assert_same("t");
}

/// A server that may keep no answer in temporary files sends the log as a stream.
#[test]
fn a_server_without_room_for_an_answer_streams() {
    let project = project("room", T, &["t"], "");
    project.run(&[]);
    let insert = "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 50000) i";
    project.source.batch(insert).unwrap();
    let output = project.acequia(&["run", "-v"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        !output.stderr.contains("does not give all changes at once"),
        "{output:?}"
    );
    project.take_room_away();
    project
        .source
        .batch("UPDATE t SET v = repeat('y', 200)")
        .unwrap();
    let output = project.acequia(&["run", "-v"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output.stderr.contains("does not give all changes at once"),
        "{output:?}"
    );
    project.assert_same("t");
}

/// Scenario 25: stopped by Ctrl-C amid the log.
#[test]
fn stopped_by_ctrl_c_nothing_is_lost() {
    let project = project("ctrlc", T, &["t"], "");
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 500000) i")
        .unwrap();
    let child = project
        .command(&["run", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while project.slot("active") != "true" && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let output = Output {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(output.status, Some(130), "{output:?}");
    project.run(&[]);
    project.assert_same("t");
}
