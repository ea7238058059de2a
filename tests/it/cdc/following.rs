//! `run --follow`: changes arrive while it runs, and between them the database is free.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::project;
use crate::support::{Project, counts};

pub struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    pub fn start(project: &Project) -> Self {
        let mut child = project
            .command(&["run", "--follow", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let follower = Self { child, lines };
        follower.line("caught up");
        follower
    }

    /// The next line that has a word in it.
    pub fn line(&self, word: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap();
            if line.contains(word) {
                return line;
            }
        }
    }

    pub fn stop(self) -> serde_json::Value {
        self.stop_with(0)
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it, which must exit with that status.
    pub fn stop_with(mut self, expected: i32) -> serde_json::Value {
        std::process::Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        let mut stdout = self.child.stdout.take().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(expected), "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// Reads the destination, which is free but for moments.
pub fn eventually(project: &Project, sql: &str, expected: &str) -> Duration {
    let began = Instant::now();
    let deadline = began + Duration::from_secs(20);
    let path = project.path("formacion.duckdb");
    loop {
        let config = duckdb::Config::default()
            .access_mode(duckdb::AccessMode::ReadOnly)
            .unwrap();
        if let Ok(connection) = duckdb::Connection::open_with_flags(&path, config) {
            let value = connection.query_row(sql, [], |row| row.get::<_, String>(0));
            if value.as_deref() == Ok(expected) {
                return began.elapsed();
            }
        }
        assert!(Instant::now() < deadline, "{expected} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn changes_arrive_within_two_seconds_and_the_database_is_free_between() {
    let project = project(
        "follow",
        "CREATE TABLE t (id int8 PRIMARY KEY, v text)",
        &["t"],
        "",
    );
    project
        .source
        .batch("INSERT INTO t VALUES (0, 'antes')")
        .unwrap();
    project.run(&[]);
    let follower = Follower::start(&project);
    let mut times = Vec::new();
    for id in 1..=5_i64 {
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'x')", &[&id])
            .unwrap();
        let count = (id + 1).to_string();
        times.push(eventually(
            &project,
            "SELECT count(*)::VARCHAR FROM replica.t",
            &count,
        ));
        assert!(
            follower
                .line("in the destination")
                .starts_with("1 change, ")
        );
    }
    times.sort();
    assert!(times[2] < Duration::from_secs(2), "{times:?}");
    // A table that changes is followed on the way.
    project
        .source
        .batch("ALTER TABLE t ADD COLUMN n int DEFAULT 7; INSERT INTO t VALUES (9, 'y', 1)")
        .unwrap();
    eventually(&project, "SELECT sum(n)::VARCHAR FROM replica.t", "43");
    let report = follower.stop();
    assert_eq!(report["streams"][0]["status"], "ok");
    project.assert_same("t");
    project.source.batch("DELETE FROM t WHERE id = 1").unwrap();
    project.run(&[]);
    project.assert_same("t");
}

/// The server ends the session that streams, in the midst of a transaction.
#[test]
fn the_server_ends_the_stream() {
    let project = project(
        "stream_ended",
        "CREATE TABLE t (id int8 PRIMARY KEY, v text)",
        &["t"],
        "",
    );
    project.run(&[]);
    let follower = Follower::start(&project);
    let insert = "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 400000) i";
    project.source.batch(insert).unwrap();
    let end = format!(
        "SELECT pg_terminate_backend(active_pid)::text FROM pg_replication_slots WHERE slot_name = '{}'",
        project.source.name()
    );
    assert_eq!(project.source_value(&end), "true");
    follower.line("trying again in 1");
    follower.line("connected to the source again");
    eventually(
        &project,
        "SELECT count(*)::VARCHAR FROM replica.t",
        "400000",
    );
    follower.stop();
    project.assert_same("t");
    assert_eq!(counts(&project.run(&[]), "t").0, 0);
}

/// C6: the server restarts, and is away for a while; then its table changes, too.
#[test]
fn the_server_restarts() {
    let mut cluster = testkit::Cluster::start().unwrap();
    let source = cluster.database("reinicio").unwrap();
    source
        .batch("CREATE TABLE t (id int8 PRIMARY KEY, v text)")
        .unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &super::streams(&["t"], ""));
    project.set("SLOT", &slot);
    let follower = Follower::start(&project);
    for round in 1..=2_i64 {
        let insert = |id: i64| {
            project
                .source
                .execute("INSERT INTO t (id) VALUES ($1)", &[&id])
                .unwrap();
        };
        insert(round * 10);
        follower.line("in the destination");
        cluster.take_down().unwrap();
        follower.line("trying again in 2");
        cluster.bring_up().unwrap();
        insert(round * 10 + 1);
        follower.line("connected to the source again");
        let sql = "SELECT count(*)::VARCHAR FROM replica.t";
        eventually(&project, sql, &(round * 2).to_string());
    }
    project
        .source
        .batch("ALTER TABLE t RENAME v TO w; INSERT INTO t VALUES (99, 'w')")
        .unwrap();
    eventually(
        &project,
        "SELECT count(*)::VARCHAR FROM duckdb_columns() WHERE table_name = 't' AND column_name = 'w'",
        "1",
    );
    let report = follower.stop();
    assert!(
        super::warnings(&report, "t").contains("renamed"),
        "{report}"
    );
    project.assert_same("t");
}

#[test]
fn follow_wants_a_stream_of_changes() {
    let project = project(
        "nofollow",
        "CREATE TABLE t (id int PRIMARY KEY)",
        &["t"],
        "",
    );
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&config.replace("mode = \"cdc\"", "mode = \"full\""));
    let output = project.acequia(&["run", "--follow"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output
            .stderr
            .contains("none of the streams has mode = \"cdc\""),
        "{output:?}"
    );
}
