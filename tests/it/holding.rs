//! A destination that others have open is waited for, and a stop ends every wait.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::Cluster;

use crate::cdc;
use crate::support::{Output, Project, Random, number};

const FULL: &str =
    "[streams.cursos]\nsource = \"operativa\"\ntable = \"public.cursos\"\nmode = \"full\"\n";

/// A process other than acequia that has the DuckDB file open, until it is dropped: this test's own binary.
struct Reader(Child);

impl Reader {
    fn of(project: &Project) -> Self {
        let ready = project.path("ready");
        let _ = std::fs::remove_file(&ready);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "holding::reader", "--ignored", "--nocapture"])
            .env("READER_OF", project.path("formacion.duckdb"))
            .env("READER_READY", &ready)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ready.exists() {
            assert!(Instant::now() < deadline, "no reader");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(child)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No test: what [`Reader`] starts.
#[test]
#[ignore = "it is run by the others"]
fn reader() {
    let (Ok(path), Ok(ready)) = (std::env::var("READER_OF"), std::env::var("READER_READY")) else {
        return;
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while Instant::now() < deadline {
        let config = duckdb::Config::default()
            .access_mode(duckdb::AccessMode::ReadOnly)
            .unwrap();
        if let Ok(_connection) = duckdb::Connection::open_with_flags(&path, config) {
            std::fs::write(&ready, "").unwrap();
            std::thread::sleep(Duration::from_mins(1));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, signal: &str) {
    Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
}

fn wait(project: &Project, wait: &str) {
    let path = project.path("acequia.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace(
        "path = \"formacion.duckdb\"\n",
        &format!("path = \"formacion.duckdb\"\nwait = \"{wait}\"\n"),
    );
    std::fs::write(path, text).unwrap();
}

/// How long a process takes to end; it must within five seconds.
fn ends(child: &mut Child) -> Duration {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "it did not stop: {}",
            child.id()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

#[test]
fn a_file_that_is_read_is_waited_for() {
    let project = Project::operational("waits", FULL);
    project.run(&[]);
    let reader = Reader::of(&project);
    let pid = reader.0.id().to_string();
    let waiting = project
        .command(&["run"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    drop(reader);
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("waiting for the destination"), "{told}");
    assert!(told.contains(&pid), "{told}");
    // As long as it says and no longer.
    wait(&project, "1s");
    let _reader = Reader::of(&project);
    let output = project.acequia(&["run"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stderr.contains("has the file open"), "{output:?}");
    assert!(output.stderr.contains("waited for 1 s"), "{output:?}");
}

#[test]
fn a_stop_ends_the_wait() {
    let project = Project::operational("stops", FULL);
    project.run(&[]);
    let _reader = Reader::of(&project);
    for name in ["-INT", "-TERM"] {
        let mut waiting = project
            .command(&["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(400));
        signal(&waiting, name);
        ends(&mut waiting);
        assert_eq!(waiting.wait().unwrap().code(), Some(130));
    }
}

fn follower(project: &Project) -> Child {
    project
        .command(&["run", "--follow"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

const TABLE: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";

fn followed(name: &str) -> Project {
    begun(cdc::project(name, TABLE, &["t"], ""))
}

/// As [`followed`], on a server that the test may take down.
fn followed_on(cluster: &Cluster, name: &str) -> Project {
    let source = cluster.database(name).unwrap();
    source.batch(TABLE).unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &cdc::streams(&["t"], ""));
    project.set("SLOT", &slot);
    begun(project)
}

fn begun(project: Project) -> Project {
    project
        .source
        .batch("INSERT INTO t VALUES (0, 'antes')")
        .unwrap();
    project.run(&[]);
    project
}

/// The stop comes while the file is to be opened again and somebody reads it.
#[test]
fn a_stop_ends_following_while_the_file_is_held() {
    let project = followed("held");
    for (id, name) in (1_i64..).zip(["-INT", "-TERM"]) {
        let mut following = follower(&project);
        std::thread::sleep(Duration::from_millis(1500));
        let reader = Reader::of(&project);
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'x')", &[&id])
            .unwrap();
        std::thread::sleep(Duration::from_millis(700));
        signal(&following, name);
        ends(&mut following);
        drop(reader);
        project.run(&[]);
        project.assert_same("t");
    }
}

/// What a follower has landed and not loaded yet is not what a dead run left.
#[test]
fn a_run_beside_a_follower_leaves_its_extract_alone() {
    let project = followed("beside");
    let streams = cdc::streams(&["t"], "");
    project
        .source
        .batch("CREATE TABLE cursos (id int)")
        .unwrap();
    project.streams(&format!("{streams}{FULL}"));
    let mut command = project.command(&["run", "t", "--follow"]);
    command
        .env("FAILPOINTS", "landing.before_manifest=sleep(3000)")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut following = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    project
        .source
        .batch("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 100) AS i")
        .unwrap();
    std::thread::sleep(Duration::from_millis(800));
    let unfinished: Vec<_> = project
        .loads("t")
        .into_iter()
        .filter(|load| !load.join("manifest.json").exists())
        .collect();
    assert_eq!(unfinished.len(), 1, "the extract is not under way");
    // It waits for the follower to let go, and finds nothing to remove.
    let output: Output = project.acequia(&["run", "cursos", "t"]);
    assert!(unfinished[0].join("manifest.json").exists(), "{output:?}");
    signal(&following, "-TERM");
    ends(&mut following);
    project.run(&[]);
    project.assert_same("t");
}

/// Following under fire: readers on the file, restarts of the source, and stops and kills, all at random. Each stop ends within
/// five seconds, and nothing is lost. `ACEQUIA_SOAK=minutes` goes on for so long.
#[test]
fn following_is_stopped_at_random() {
    let mut cluster = Cluster::start().unwrap();
    let project = followed_on(&cluster, "stopped");
    let minutes = number("ACEQUIA_SOAK").unwrap_or(0);
    let began = Instant::now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut next = move |below: u64| random.below(below);
    let mut id = 1_000_i64;
    let mut slowest = Duration::ZERO;
    let (mut stops, mut restarts) = (0, 0);
    while stops < 6 || began.elapsed() < Duration::from_secs(60 * minutes) {
        let mut following = follower(&project);
        std::thread::sleep(Duration::from_millis(300 + next(600)));
        let mut reader = None;
        for _ in 0..=next(4) {
            project
                .source
                .execute(
                    "INSERT INTO t SELECT $1::int8 + i, 'x' FROM generate_series(1, 50) AS i",
                    &[&id],
                )
                .unwrap();
            id += 50;
            match next(3) {
                0 => reader = Some(Reader::of(&project)),
                1 => reader = None,
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(next(300)));
        }
        // The stop may come while the server is away, while it is asked for again, or once it was found again.
        let away = stops % 3 == 2;
        if away {
            cluster.take_down().unwrap();
            restarts += 1;
            std::thread::sleep(Duration::from_millis(next(600)));
            if next(2) == 0 {
                cluster.bring_up().unwrap();
                std::thread::sleep(Duration::from_millis(next(3000)));
            }
        }
        let name = ["-TERM", "-INT", "-KILL"][usize::try_from(next(3)).unwrap()];
        signal(&following, name);
        slowest = slowest.max(ends(&mut following));
        drop(reader);
        if away {
            cluster.bring_up().unwrap();
        }
        stops += 1;
        if stops % 5 == 0 {
            project.run(&[]);
            project.assert_same("t");
        }
    }
    project.run(&[]);
    project.assert_same("t");
    eprintln!(
        "{stops} stops and {restarts} restarts of the source, the slowest stop took {slowest:?}"
    );
}
