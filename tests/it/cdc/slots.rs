//! Whose a slot is, and how one comes to be.

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::Cluster;

use super::{cluster, error, project, streams, warnings};
use crate::support::{Project, counts};

const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";

/// E5e: a configuration that was copied to another place.
#[test]
fn the_slot_of_the_pipeline_that_was_copied_is_left_alone() {
    let project = project("copied", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    project.run(&[]);
    let text = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    let copy = Copy::of(&project, &text);
    project
        .source
        .batch("INSERT INTO t VALUES (2, 'b')")
        .unwrap();
    let before = project.confirmed();
    for arguments in [&["run"][..], &["run", "--full-refresh"], &["check"]] {
        let output = copy.acequia(arguments);
        assert_ne!(output.0, Some(0), "{output:?}");
        assert!(output.1.contains("is not this pipeline's"), "{output:?}");
    }
    assert_eq!(project.confirmed(), before);
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    project.assert_same("t");
}

/// A folder with a configuration of its own, on the same source.
struct Copy<'a> {
    project: &'a Project,
    folder: tempfile::TempDir,
}

impl<'a> Copy<'a> {
    fn of(project: &'a Project, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("acequia.toml"), text).unwrap();
        Self { project, folder }
    }

    fn acequia(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.project.command(arguments);
        let output = command.current_dir(self.folder.path()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    }
}

/// E5e: a slot that another program made is neither read nor moved, and so it is with names that clash.
#[test]
fn the_slot_of_another_program_is_left_alone() {
    let project = project("subscribed", T, &["t"], "");
    let slot = project.source.name().to_owned();
    project
        .source
        .batch("CREATE PUBLICATION acequia FOR TABLE t")
        .unwrap();
    let made = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    project.source.batch(&made).unwrap();
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    let before = project.confirmed();
    for arguments in [&["run"][..], &["run", "--full-refresh"], &["check"]] {
        let output = project.acequia(arguments);
        assert_ne!(output.status, Some(0), "{output:?}");
        assert!(
            output.stdout.contains("is not this pipeline's"),
            "{output:?}"
        );
    }
    assert_eq!(project.confirmed(), before);
    // Another pipeline, whose name makes the same slot.
    let (one, other) = (
        format!("[pipeline]\nname = \"{slot}_a-b\""),
        format!("[pipeline]\nname = \"{slot}_a_b\""),
    );
    let text = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    let named = |head: &str| {
        text.replace("[pipeline]\nname = \"formacion\"", head)
            .replace("slot = \"${SLOT}\"\n", "")
    };
    project.configure(&named(&one));
    project.run(&[]);
    let copy = Copy::of(&project, &named(&other));
    let output = copy.acequia(&["run"]);
    assert!(
        output.0 == Some(1) && output.1.contains("is not this pipeline's"),
        "{output:?}"
    );
    project
        .source
        .batch(&format!(
            "SELECT pg_drop_replication_slot('acequia_{slot}_a_b')"
        ))
        .unwrap();
}

/// A pipeline does not call another's slot its own because its name begins alike.
#[test]
fn the_slot_of_a_pipeline_whose_name_begins_alike_is_not_told() {
    let project = project("alike", T, &["t"], "");
    let text = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    let base = project.source.name().to_owned();
    let named = |name: &str| {
        text.replace("name = \"formacion\"", &format!("name = \"{name}\""))
            .replace("slot = \"${SLOT}\"\npublication = \"acequia\"\n", "")
    };
    project.configure(&named(&base));
    project.run(&[]);
    let other = Copy::of(&project, &named(&format!("{base}_norte")));
    let output = other.acequia(&["run"]);
    assert_eq!(output.0, Some(0), "{output:?}");
    assert_eq!(warnings(&project.run(&[]), "t"), "[]");
    project
        .source
        .batch(&format!(
            "SELECT pg_drop_replication_slot('acequia_{base}'), pg_drop_replication_slot('acequia_{base}_norte')"
        ))
        .unwrap();
}

/// Stopped while its slot is being made, which waits for a transaction, and begun again.
#[test]
fn a_first_run_that_was_stopped_while_its_slot_was_made() {
    let project = project("waiting", T, &["t"], "");
    project
        .source
        .batch("INSERT INTO t VALUES (1, 'a')")
        .unwrap();
    let mut writer = project.client();
    let mut transaction = writer.transaction().unwrap();
    transaction
        .batch_execute("INSERT INTO t VALUES (2, 'b')")
        .unwrap();
    let child = project
        .command(&["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while project.slot("count(*)") != "1" && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = ["-INT", &child.id().to_string()];
    std::process::Command::new("kill")
        .args(kill)
        .status()
        .unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    let again = project
        .command(&["run", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    transaction.commit().unwrap();
    let output = again.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    project
        .source
        .batch("INSERT INTO t VALUES (3, 'c')")
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t"), (1, 1, 0, 0));
    project.assert_same("t");
}

/// What a slot waits for is shown by the query that the warning has, prepared transactions too.
#[test]
fn a_slot_that_waits_for_a_prepared_transaction_says_how_to_find_it() {
    let project = project("waiting_prepared", T, &["t"], "");
    let name = project.source.name().to_owned();
    let mut writer = project.client();
    writer
        .batch_execute(&format!(
            "BEGIN; INSERT INTO t VALUES (2, 'b'); PREPARE TRANSACTION '{name}'"
        ))
        .unwrap();
    let child = project
        .command(&["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(7));
    let query = "SELECT pid::text AS pid_or_name, xact_start AS began, query FROM pg_stat_activity WHERE backend_xid IS NOT \
                 NULL UNION ALL SELECT gid, prepared, 'prepared, in ' || database FROM pg_prepared_xacts";
    let shown = project.source_value(&format!(
        "SELECT count(*) FROM ({query}) AS shown WHERE pid_or_name = '{name}'"
    ));
    writer
        .batch_execute(&format!("COMMIT PREPARED '{name}'"))
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(shown, "1");
    assert!(
        told.contains(query) && told.contains("ROLLBACK PREPARED"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(0), "{told}");
    project.assert_same("t");
}

/// B9: the server gave the slot up; a full refresh alone makes it anew.
#[test]
fn a_full_refresh_makes_a_lost_slot_anew() {
    let cluster = Cluster::options()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("max_wal_size", "32MB")
        .setting("min_wal_size", "32MB")
        .start()
        .unwrap();
    let source = cluster.database("perdido").unwrap();
    source
        .batch(&format!("{T}; CREATE TABLE u (id int PRIMARY KEY)"))
        .unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &streams(&["t", "u"], ""));
    project.set("SLOT", &slot);
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
    assert!(
        error(&output.json(), "t").contains("run --full-refresh"),
        "{output:?}"
    );
    project.run(&["t", "--full-refresh"]);
    project.assert_same("t");
    // The other's changes are lost as well, and it says so.
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        error(&output.json(), "u").contains("--full-refresh"),
        "{output:?}"
    );
    project.run(&["--full-refresh"]);
    client
        .batch_execute("INSERT INTO u VALUES (1); DELETE FROM t WHERE id = 1")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    project.assert_same("u");
}

/// As many connections as `--jobs` needs, not one for each table.
#[test]
fn first_runs_of_many_tables_keep_to_their_jobs() {
    let tables: Vec<String> = (0..40).map(|table| format!("t{table}")).collect();
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let server = Cluster::options()
        .setting("max_connections", "16")
        .start()
        .unwrap();
    let source = server.database("muchas").unwrap();
    let ddl: Vec<String> = tables
        .iter()
        .map(|table| format!("CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} SELECT generate_series(1, 5)"))
        .collect();
    source.batch(&ddl.join(";")).unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &streams(&names, ""));
    project.set("SLOT", &slot);
    project.run(&["--jobs", "2"]);
    project.assert_same("t0");
    project.assert_same("t39");
    let _ = cluster();
}
