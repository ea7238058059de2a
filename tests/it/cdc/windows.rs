//! A backlog that is too long for one query is read in windows, each loaded and confirmed before the next.

use testkit::Cluster;

use crate::cdc;
use crate::support::{Output, Project};

/// A window of 1 MiB, where it is 1 GiB otherwise.
const WINDOW: &str = "cdc.window=return(1048576)";

fn run_in_windows(project: &Project) -> Output {
    let mut command = project.command(&["run", "-vv", "--output", "json"]);
    command.env("FAILPOINTS", WINDOW);
    let output = Output::of(command);
    assert_eq!(output.status, Some(0), "{output:?}");
    output
}

fn backlog(project: &Project, rounds: std::ops::Range<u64>) {
    for round in rounds {
        let first = 1000 * round;
        let sql = format!(
            "INSERT INTO t SELECT i, md5(i::text) FROM generate_series({first}, {first} + 999) AS i;
             UPDATE t SET v = upper(v) WHERE id % 7 = {round} % 7 AND id >= {first}::int8 - 500;
             DELETE FROM t WHERE id % 97 = {round}"
        );
        project.source.batch(&sql).unwrap();
        // What a server writes every 15 s into the log, so that a slot can be decoded from there.
        project.source.batch("CHECKPOINT").unwrap();
    }
}

const TABLE: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text NOT NULL)";

fn project(name: &str) -> Project {
    let project = cdc::project(name, TABLE, &["t"], "changelog = true");
    project.run(&[]);
    project
}

#[test]
fn a_long_backlog_is_loaded_window_by_window() {
    // A server of its own: what is open in other databases keeps a slot's beginning where it is.
    let cluster = Cluster::start().unwrap();
    let source = cluster.database("windows").unwrap();
    source.batch(TABLE).unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &cdc::streams(&["t"], "changelog = true"));
    project.set("SLOT", &slot);
    project.run(&[]);
    backlog(&project, 0..20);
    let before = project.loads("t").len();
    let output = run_in_windows(&project);
    let loads = project.loads("t").len() - before;
    assert!(loads >= 4, "{loads} loads: {output:?}");
    project.assert_same("t");
    // Every change came once, in the order of commits.
    let twice = project.value(
        "SELECT count(*) - count(DISTINCT (_acequia_lsn, _acequia_seq)) FROM replica.t__changes",
    );
    assert_eq!(twice.as_deref(), Some("0"));
    // The server decodes from near the end: the next window does not cost what this one did.
    let behind: i64 = project
        .slot("(confirmed_flush_lsn - restart_lsn)::int8")
        .parse()
        .unwrap();
    assert!(behind < 1 << 20, "{behind} bytes");
    project.run(&[]);
    assert_eq!(project.loads("t").len() - before, loads);
}

#[test]
fn a_transaction_longer_than_a_window_comes_whole() {
    let project = project("long_transaction");
    backlog(&project, 0..3);
    let sql =
        "INSERT INTO t SELECT i, repeat(md5(i::text), 4) FROM generate_series(100000, 120000) AS i";
    project.source.batch(sql).unwrap();
    backlog(&project, 3..5);
    let output = run_in_windows(&project);
    project.assert_same("t");
    assert!(output.stderr.contains("a window of the write-ahead log"));
}

#[test]
fn a_transaction_that_stays_open_holds_no_window_up() {
    let project = project("open_transaction");
    let mut client = project.source.client().unwrap();
    let mut open = client.transaction().unwrap();
    open.execute("INSERT INTO t VALUES (-1, 'open')", &[])
        .unwrap();
    backlog(&project, 0..12);
    run_in_windows(&project);
    project.assert_same("t");
    backlog(&project, 12..24);
    open.commit().unwrap();
    run_in_windows(&project);
    project.assert_same("t");
    assert_eq!(
        project
            .value("SELECT v FROM replica.t WHERE id = -1")
            .as_deref(),
        Some("open")
    );
}

#[test]
fn a_run_that_is_killed_between_windows_is_gone_on_with() {
    let project = project("killed_window");
    backlog(&project, 0..20);
    for _ in 0..3 {
        let mut command = project.command(&["run"]);
        let failpoints = format!("{WINDOW};cdc.after_confirm=return");
        command.env("FAILPOINTS", failpoints);
        let output = Output::of(command);
        assert_eq!(output.status, None, "it should have died: {output:?}");
    }
    run_in_windows(&project);
    project.assert_same("t");
}
