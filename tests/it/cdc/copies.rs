//! A server that is not the one that was read: restored from an older copy, or started again.

use std::path::Path;
use std::process::Command;

use testkit::Cluster;

use super::{error, streams};
use crate::support::{Project, counts};

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text); CREATE TABLE otra (id int8, v text)";

fn on(cluster: &Cluster) -> Project {
    let source = cluster.database("copia").unwrap();
    source.batch(T).unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &streams(&["t"], ""));
    project.set("SLOT", &slot);
    project
}

/// Copies a folder with owners and modes.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

/// E5a: once its log has grown past the position, a restored server looks as if nothing had been.
#[test]
fn a_server_restored_from_an_older_copy_is_refused() {
    let mut cluster = Cluster::start().unwrap();
    let project = on(&cluster);
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    project.run(&[]);
    // What was confirmed is written down with the next checkpoint.
    project.source.batch("CHECKPOINT").unwrap();
    cluster.take_down().unwrap();
    let data = cluster.data_dir().to_owned();
    let kept = data.with_file_name("copia_de_seguridad");
    copy(&data, &kept);
    cluster.bring_up().unwrap();
    project
        .source
        .batch("INSERT INTO t VALUES (2, 'perdida')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    cluster.take_down().unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    cluster.bring_up().unwrap();
    let grow = "INSERT INTO otra SELECT i, repeat('y', 500) FROM generate_series(1, 20000) i; INSERT INTO t VALUES (3, 'nueva')";
    project.source.batch(grow).unwrap();
    for _ in 0..3 {
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        let text = error(&output.json(), "t");
        assert!(
            text.contains("restored from an older copy") && text.contains("--full-refresh"),
            "{text}"
        );
    }
    project.run(&["--full-refresh"]);
    project.assert_same("t");
    project
        .source
        .batch("INSERT INTO t VALUES (4, 'd')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    project.assert_same("t");
}

/// The log of a standby that became the primary is another from there on, and it has no slot; one that is made there for it
/// keeps that other log.
#[test]
fn a_standby_that_became_the_primary_is_refused() {
    let primary = Cluster::start().unwrap();
    let mut project = on(&primary);
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    project.run(&[]);
    let standby = primary.standby(&[]).unwrap();
    standby.catch_up(&primary).unwrap();
    standby.promote().unwrap();
    // What the primary commits last, and a run reads, never comes to the standby.
    project
        .source
        .batch("INSERT INTO t VALUES (2, 'perdida')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    let (slot, database) = (project.source.name().to_owned(), project.source.name());
    let url = standby.cluster().url(database);
    let mut promoted = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    project.set("OPERATIVA_URL", &url);
    let refused = |project: &Project| {
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        let text = error(&output.json(), "t");
        assert!(text.contains("--full-refresh"), "{text}");
        text
    };
    refused(&project);
    promoted
        .execute(
            "SELECT pg_create_logical_replication_slot($1, 'pgoutput')",
            &[&slot],
        )
        .unwrap();
    promoted
        .batch_execute(
            "INSERT INTO otra SELECT i, repeat('y', 500) FROM generate_series(1, 20000) i; INSERT INTO t VALUES (3, 'nueva')",
        )
        .unwrap();
    for _ in 0..2 {
        let text = refused(&project);
        assert!(text.contains("a standby took its place"), "{text}");
    }
    project.run(&["--full-refresh"]);
    assert_eq!(
        project.rows("SELECT id || v FROM replica.t ORDER BY id"),
        ["1a", "3nueva"]
    );
    promoted
        .batch_execute("INSERT INTO t VALUES (4, 'd')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
}

/// A server that was merely started again has the log that was read, though its slot may stand where it stood before.
#[test]
fn a_server_that_was_started_again_is_read_on() {
    let mut cluster = Cluster::start().unwrap();
    let project = on(&cluster);
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    project.run(&[]);
    project.source.batch("CHECKPOINT").unwrap();
    for round in 2..=4_i64 {
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'x')", &[&round])
            .unwrap();
        // Loaded, and not confirmed.
        project.crash_at("cdc.before_confirm", &["run"]);
        if round == 3 {
            project
                .source
                .batch("INSERT INTO otra VALUES (1, 'x')")
                .unwrap();
            project.crash_at("cdc.before_confirm", &["run"]);
        }
        cluster.take_down().unwrap();
        cluster.bring_up().unwrap();
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'y')", &[&(100 + round)])
            .unwrap();
        let report = project.run(&[]);
        assert_eq!(counts(&report, "t"), (1, 1, 0, 0), "{round}");
        assert_eq!(super::warnings(&report, "t"), "[]");
        project.assert_same("t");
    }
}
