//! How far the slot moves: never beyond what is durable, and on though nothing comes.

use super::{error, project};
use crate::support::counts;

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text); CREATE TABLE otra (id int8, v text)";

/// Scenario 5.
#[test]
fn an_idle_run_ends_and_the_next_change_is_not_skipped() {
    let project = project("idle", T, &["t"], "");
    project.run(&[]);
    for round in 1..=5_i64 {
        let began = std::time::Instant::now();
        assert_eq!(counts(&project.run(&[]), "t"), (0, 0, 0, 0));
        assert!(began.elapsed().as_secs() < 10);
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'x')", &[&round])
            .unwrap();
        assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    }
    project.assert_same("t");
}

/// Scenario 6.
#[test]
fn a_quiet_table_on_a_busy_database_lets_the_slot_advance() {
    let project = project("quiet", T, &["t"], "");
    project.run(&[]);
    let before = project.confirmed();
    project
        .source
        .batch("INSERT INTO otra SELECT i, repeat('y', 500) FROM generate_series(1, 20000) i")
        .unwrap();
    let loads = project.loads("t").len();
    assert_eq!(counts(&project.run(&[]), "t"), (0, 0, 0, 0));
    assert!(
        project.confirmed() > before + 10_000_000,
        "{} {before}",
        project.confirmed()
    );
    assert_eq!(project.confirmed(), project.position("t"));
    assert_eq!(
        project.loads("t").len(),
        loads,
        "nothing is landed where nothing came"
    );
    // And the server lets go of its log, from where it last wrote down what was running: each checkpoint does so, and
    // every 15 seconds.
    project.source.batch("CHECKPOINT").unwrap();
    project.run(&[]);
    project.run(&[]);
    let kept: u64 = project
        .slot("pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8")
        .parse()
        .unwrap();
    assert!(kept < 10_000_000, "{kept} bytes are kept");
}

/// Scenario 9.
#[test]
fn a_slot_that_was_dropped_or_made_anew_fails_clearly() {
    let project = project("dropped", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    project.run(&[]);
    let slot = project.source.name().to_owned();
    project
        .source
        .batch(&format!(
            "SELECT pg_drop_replication_slot('{slot}'); INSERT INTO t VALUES (2, 'b')"
        ))
        .unwrap();
    let failure = project.acequia(&["run", "--output", "json"]);
    assert_eq!(failure.status, Some(1), "{failure:?}");
    let text = error(&failure.json(), "t");
    assert!(
        text.contains("is gone") && text.contains("acequia run t --full-refresh"),
        "{text}"
    );
    project
        .source
        .batch(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .unwrap();
    let failure = project.acequia(&["run", "--output", "json"]);
    assert_eq!(failure.status, Some(1), "{failure:?}");
    let text = error(&failure.json(), "t");
    assert!(
        text.contains("made anew") && text.contains("--full-refresh"),
        "{text}"
    );
    project.run(&["t", "--full-refresh"]);
    project.assert_same("t");
    project
        .source
        .batch("INSERT INTO t VALUES (3, 'c')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    project.assert_same("t");
}

#[test]
fn a_slot_that_something_else_has_read_fails_clearly() {
    let project = project("stolen", T, &["t"], "");
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'robado')")
        .unwrap();
    let slot = project.source.name().to_owned();
    project
        .source
        .batch(&format!(
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1',
                                                                    'publication_names', 'acequia')"
        ))
        .unwrap();
    let failure = project.acequia(&["run", "--output", "json"]);
    assert_eq!(failure.status, Some(1), "{failure:?}");
    assert!(
        error(&failure.json(), "t").contains("something else has read from it"),
        "{failure:?}"
    );
}

#[test]
fn a_destination_that_was_removed_starts_afresh() {
    let project = project("afresh", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    project.run(&[]);
    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    project
        .source
        .batch("INSERT INTO t VALUES (2, 'b')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (2, 2, 0, 0));
    project.assert_same("t");
}
