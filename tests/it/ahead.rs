//! First loads into PostgreSQL that begin while the source is still read.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Output, Project, counts};

const TO_WAREHOUSE: [&str; 2] = ["--destination", "almacen"];
const ROWS: i64 = 40_000;
/// The row that the source does not hand over before it may.
const LAST: i64 = 39_000;

/// A source whose rows are of no use to compression, so that a few thousand of them are a part, and which waits at one of them
/// for as long as somebody holds the advisory lock of that number.
fn project(name: &str, streams: &[&str]) -> Project {
    let streams = streams.iter().map(|stream| {
        format!(
            "[streams.{stream}]\nsource = \"operativa\"\nquery = \"SELECT espera(id, {lock}) AS id, texto FROM grande\"\n\
             mode = \"full\"\n",
            lock = lock(stream)
        )
    });
    let project = Project::operational(name, &streams.collect::<String>()).with_warehouse();
    let configuration = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&configuration.replacen(
        "[pipeline]\n",
        "[pipeline]\npart_size = \"1MB\"\n",
        1,
    ));
    project
        .source
        .batch(&format!(
            "CREATE TABLE grande AS SELECT id, (SELECT string_agg(md5(id::text || i), '') FROM generate_series(1, 8) AS i) AS texto \
             FROM generate_series(1::int8, {ROWS}) AS id; \
             CREATE FUNCTION espera(id int8, candado int8) RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN \
             IF id = {LAST} THEN PERFORM pg_advisory_lock(candado); PERFORM pg_advisory_unlock(candado); \
             IF EXISTS (SELECT FROM defecto) THEN RAISE EXCEPTION 'no se puede leer'; END IF; END IF; RETURN id; END $$; \
             CREATE TABLE defecto (que text)"
        ))
        .unwrap();
    project
}

/// The number of the lock that a stream waits for.
fn lock(stream: &str) -> i64 {
    stream.bytes().map(i64::from).sum()
}

/// Has the source wait, as long as the connection lives.
fn hold(project: &Project, stream: &str) -> postgres::Client {
    let mut client = project.source.client().unwrap();
    client
        .execute("SELECT pg_advisory_lock($1)", &[&lock(stream)])
        .unwrap();
    client
}

/// How many rows a load has copied that is under way.
fn copied(project: &Project) -> i64 {
    let sql = "SELECT sum(tuples_processed)::text FROM pg_stat_progress_copy WHERE command = 'COPY FROM' \
               AND datname = current_database()";
    let rows = project.warehouse().value(sql).unwrap();
    rows.map_or(0, |rows| rows.parse().unwrap())
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn begin(project: &Project) -> std::process::Child {
    project
        .command(&[&["run", "--output", "json"], &TO_WAREHOUSE[..]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A run that has copied rows ahead, and whose source waits as long as the connection lives.
fn begin_ahead(project: &Project) -> (postgres::Client, std::process::Child) {
    let held = hold(project, "a");
    let run = begin(project);
    wait_until("no row was copied ahead", || copied(project) > 10_000);
    (held, run)
}

fn ended(child: std::process::Child) -> Value {
    let output = Output::from(child.wait_with_output().unwrap());
    assert_eq!(output.status, Some(0), "{output:?}");
    output.json()
}

/// How many tables of these streams the destination has.
fn tables(project: &Project, stream: &str) -> Option<String> {
    let sql = format!(
        "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'replica' AND tablename = '{stream}'"
    );
    project.warehouse().value(&sql).unwrap()
}

fn assert_all_there(project: &Project, stream: &str) {
    let digest = |table: &str| {
        format!(
            "SELECT count(*) || ' ' || sum(id) || ' ' || md5(string_agg(texto, '' ORDER BY id)) FROM {table}"
        )
    };
    let loaded = digest(&format!("replica.{stream}"));
    assert_eq!(
        project.warehouse().value(&loaded).unwrap(),
        project.source.value(&digest("grande")).unwrap()
    );
    // The ledger knows of each load what it brought, once.
    let loads = "SELECT min(rows_extracted) || ' ' || max(inserted) || ' ' || count(*) - count(DISTINCT load_id) \
                 FROM replica._acequia_loads WHERE stream = ";
    assert_eq!(
        project
            .warehouse()
            .value(&format!("{loads}'{stream}'"))
            .unwrap(),
        Some(format!("{ROWS} {ROWS} 0"))
    );
}

#[test]
fn a_first_load_begins_while_the_source_is_read_and_is_seen_when_it_is_whole() {
    let project = project("antes", &["a"]);
    let (held, run) = begin_ahead(&project);
    assert_eq!(tables(&project, "a").as_deref(), Some("0"));
    let [load] = project.loads("a").try_into().unwrap();
    assert!(!load.join("manifest.json").exists());
    drop(held);
    let report = ended(run);
    assert_eq!(
        counts(&report, "a"),
        (ROWS.unsigned_abs(), ROWS.unsigned_abs(), 0, 0)
    );
    assert_all_there(&project, "a");
    // What was landed is what was loaded: another destination is made of it.
    let replayed = project.acequia(&["replay", "--destination", "duckdb"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    assert_eq!(
        project.value("SELECT count(*) || ' ' || sum(id) FROM replica.a"),
        project
            .source
            .value("SELECT count(*) || ' ' || sum(id) FROM grande")
            .unwrap()
    );
}

#[test]
fn a_source_that_fails_leaves_nothing_of_what_was_loaded_ahead() {
    let project = project("fallida", &["a"]);
    project
        .source
        .batch("INSERT INTO defecto VALUES ('no se puede leer')")
        .unwrap();
    let (held, run) = begin_ahead(&project);
    drop(held);
    let output = Output::from(run.wait_with_output().unwrap());
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("SQLSTATE P0001"), "{output:?}");
    assert_eq!(tables(&project, "a").as_deref(), Some("0"));
    assert!(project.loads("a").is_empty());
    project.source.batch("DELETE FROM defecto").unwrap();
    project.run(&TO_WAREHOUSE);
    assert_all_there(&project, "a");
}

#[test]
fn a_stop_ends_what_is_loaded_ahead_and_the_next_run_loads_all() {
    let project = project("parada", &["a"]);
    let (held, run) = begin_ahead(&project);
    let stopped = Output::of_stopped(run);
    assert_eq!(stopped.status, Some(130), "{stopped:?}");
    assert_eq!(tables(&project, "a").as_deref(), Some("0"));
    drop(held);
    project.run(&TO_WAREHOUSE);
    assert_all_there(&project, "a");
}

#[test]
fn a_load_ahead_that_the_server_cancels_is_made_once_all_is_landed() {
    let project = project("cancelada", &["a"]);
    let (held, run) = begin_ahead(&project);
    project
        .warehouse()
        .batch("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_copy WHERE datname = current_database()")
        .unwrap();
    wait_until("the load goes on", || copied(&project) == 0);
    drop(held);
    ended(run);
    assert_all_there(&project, "a");
}

#[test]
fn nothing_is_loaded_ahead_while_another_stream_would_have_to_wait() {
    let project = project("dos", &["a", "b"]);
    let (a, b) = (hold(&project, "a"), hold(&project, "b"));
    let run = begin(&project);
    wait_until("not both are read", || {
        project.loads("a").len() == 1 && project.loads("b").len() == 1
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(copied(&project), 0);
    drop(b);
    // The other's load goes first, and is seen.
    wait_until("the stream that ended is not loaded", || {
        tables(&project, "b").as_deref() == Some("1")
    });
    drop(a);
    ended(run);
    assert_all_there(&project, "a");
    assert_all_there(&project, "b");
}

#[test]
fn killed_before_and_after_the_commit_of_what_was_loaded_ahead_it_is_there_once() {
    for step in [
        "landing.before_manifest",
        "landing.after_manifest",
        "postgres.before_commit",
        "postgres.after_commit",
        "pipeline.after_load",
    ] {
        let project = project("muerta", &["a"]);
        project.crash_at(step, &["run", "--destination", "almacen"]);
        project.run(&TO_WAREHOUSE);
        assert_all_there(&project, "a");
    }
}
