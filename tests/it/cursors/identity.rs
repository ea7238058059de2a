//! Tables, columns, partitions and servers that are not what they were when the position was taken.

use std::time::Duration;

use testkit::Cluster;

use super::clocks::change_position;
use super::{client, insert, project, stream, warnings};
use crate::support::{Project, counts};

fn told_to_begin_again(told: &[String], why: &str) {
    assert!(
        matches!(told, [one] if one.contains(why) && one.contains("--full-refresh") && !one.contains("STREAM")),
        "{told:?}"
    );
}

#[test]
fn a_table_that_was_made_anew_is_read_from_its_beginning() {
    for declared in ["timestamptz DEFAULT now()", "bigint NOT NULL DEFAULT 900"] {
        let project = project("anew", declared);
        let mut writer = client(&project);
        insert(&mut writer, 1);
        insert(&mut writer, 2);
        project.run(&[]);
        let old = if declared.starts_with("big") {
            "5"
        } else {
            "'2020-01-01'"
        };
        writer
            .batch_execute(&format!(
                "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, c {declared});
                 INSERT INTO t VALUES (1, {old}), (2, {old}), (3, {old})"
            ))
            .unwrap();
        let mut told = warnings(&project.run(&[]));
        told.retain(|warning| !warning.contains("is no time"));
        told_to_begin_again(&told, "public.t is not the table that was read so far");
        project.assert_same("t");
        // The position is one of the new table: what comes below the old one's is read.
        writer
            .batch_execute(&format!("INSERT INTO t VALUES (4, {old})"))
            .unwrap();
        let mut told = warnings(&project.run(&[]));
        told.retain(|warning| !warning.contains("is no time"));
        assert_eq!(told, Vec::<String>::new());
        project.assert_same("t");
    }
}

#[test]
fn a_table_that_was_made_anew_and_is_empty_yet_is_not_forgotten() {
    let project = project("anew_empty", "bigint NOT NULL DEFAULT 900");
    let mut writer = client(&project);
    insert(&mut writer, 1);
    project.run(&[]);
    writer
        .batch_execute("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, c bigint NOT NULL)")
        .unwrap();
    project.run(&[]);
    writer.batch_execute("INSERT INTO t VALUES (1, 5)").unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_cursor_column_that_was_made_anew_is_read_from_its_beginning() {
    let project = project("column_anew", "timestamptz DEFAULT now()");
    let mut writer = client(&project);
    insert(&mut writer, 1);
    project.run(&[]);
    writer
        .batch_execute(
            "ALTER TABLE t RENAME c TO d; ALTER TABLE t ADD c timestamptz DEFAULT '2020-01-01';
             INSERT INTO t (id) VALUES (2)",
        )
        .unwrap();
    told_to_begin_again(&warnings(&project.run(&[])), "the cursor `c` of public.t");
    project.assert_same("t");
}

#[test]
fn rows_that_come_with_a_partition_arrive() {
    let project = Project::new("attached", &stream(""));
    let mut writer = client(&project);
    writer
        .batch_execute(
            "CREATE TABLE t (id int, c timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id, c)) PARTITION BY RANGE (c);
             CREATE TABLE t_now PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2100-01-01');
             CREATE TABLE t_2023 (LIKE t INCLUDING ALL);
             INSERT INTO t_2023 VALUES (1, '2023-05-05'), (2, '2023-06-06')",
        )
        .unwrap();
    insert(&mut writer, 3);
    // Until the row is old enough to resume at.
    std::thread::sleep(Duration::from_secs(4));
    project.run(&[]);
    // One that brings nothing costs nothing.
    writer
        .batch_execute(
            "CREATE TABLE t_2022 PARTITION OF t FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')",
        )
        .unwrap();
    assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
    writer
        .batch_execute("ALTER TABLE t ATTACH PARTITION t_2023 FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')")
        .unwrap();
    told_to_begin_again(
        &warnings(&project.run(&[])),
        "has partitions or heirs that it did not have",
    );
    project.assert_same("t");
    assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
}

#[test]
fn a_standby_that_became_the_primary_is_read_from_the_beginning() {
    let primary = Cluster::start().unwrap();
    let mut project = Project::on(primary.database("failover").unwrap(), &stream(""));
    let mut writer = client(&project);
    writer
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, c timestamptz DEFAULT now(), v int)")
        .unwrap();
    insert(&mut writer, 1);
    insert(&mut writer, 2);
    project.run(&[]);
    let standby = primary.standby(&[]).unwrap();
    standby.catch_up(&primary).unwrap();
    // What the primary commits last, and a run reads, never comes to the standby.
    let mut admin = standby.cluster().admin().unwrap();
    admin
        .batch_execute("ALTER SYSTEM SET primary_conninfo = ''")
        .unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").unwrap();
    while admin
        .query_one("SELECT count(*) FROM pg_stat_wal_receiver", &[])
        .unwrap()
        .get::<_, i64>(0)
        > 0
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    writer
        .batch_execute("UPDATE t SET v = 7, c = now() WHERE id = 1")
        .unwrap();
    project.run(&[]);
    standby.promote().unwrap();
    project.set(
        "OPERATIVA_URL",
        &standby.cluster().url(project.source.name()),
    );
    let report = project.run(&[]);
    told_to_begin_again(&warnings(&report), "failed over");
    assert_eq!(
        counts(&report, "t"),
        (2, 0, 1, 0),
        "the row is again what it was"
    );
    assert_eq!(project.value("SELECT v FROM replica.t WHERE id = 1"), None);
    assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
}

#[test]
fn another_server_is_read_from_the_beginning() {
    let project = project("other_server", "bigint NOT NULL DEFAULT 900");
    let mut writer = client(&project);
    insert(&mut writer, 1);
    project.run(&[]);
    change_position(&project, |position| {
        position["seen"]["server"]["system"] = "7000000000000000001".into();
    });
    writer.batch_execute("INSERT INTO t VALUES (2, 5)").unwrap();
    let mut told = warnings(&project.run(&[]));
    told.retain(|warning| !warning.contains("is no time"));
    told_to_begin_again(&told, "the source is another server");
    project.assert_same("t");
}

#[test]
fn a_run_that_would_fail_for_its_cursor_is_not_approved() {
    let project = project("refused", "timestamptz DEFAULT now()");
    insert(&mut client(&project), 1);
    project.run(&[]);
    for (other, told) in [
        (
            stream("").replace("cursor = \"c\"", "cursor = \"id\""),
            "read by the cursor `id`",
        ),
        (
            stream("")
                .replace("incremental", "cdc")
                .replace("cursor = \"c\"", ""),
            "read by the write-ahead log",
        ),
    ] {
        project.streams(&other);
        let run = project.acequia(&["run"]);
        assert_eq!(run.status, Some(1), "{run:?}");
        for command in [&["check"][..], &["run", "--dry-run"]] {
            let output = project.acequia(command);
            assert!(
                output.stdout.contains(told) || output.stderr.contains(told),
                "{output:?}"
            );
            assert_ne!(output.status, Some(0), "{output:?}");
        }
    }
}
