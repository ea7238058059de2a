//! Servers that are frozen, or whose tables another has locked, amid every step: a stop ends the run all the same.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::Cluster;

use crate::cdc;
use crate::support::{Output, Project};

/// A server whose every process stands still until this is dropped.
pub struct Frozen(Vec<u32>);

impl Frozen {
    pub fn freeze(cluster: &Cluster) -> Self {
        let mut pids: Vec<u32> = cluster
            .admin()
            .unwrap()
            .query(
                "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
                &[],
            )
            .unwrap()
            .iter()
            .map(|row| u32::try_from(row.get::<_, i32>(0)).unwrap())
            .collect();
        pids.extend(cluster.postmaster_pid());
        for pid in &pids {
            signal("STOP", *pid);
        }
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            signal("CONT", *pid);
        }
    }
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

fn begin(project: &Project, arguments: &[&str]) -> Child {
    let mut command = project.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until a server has something under way whose text is like this.
fn wait_for(cluster: &Cluster, like: &str) {
    let mut admin = cluster.admin().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE $1";
    while admin.query_one(sql, &[&like]).unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "nothing like {like}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_destination_that_is_frozen_amid_a_load_does_not_hold_a_stop_up() {
    let cluster = Cluster::start().unwrap();
    let warehouse = cluster.database("helado").unwrap();
    let streams = "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n";
    let mut project = Project::new("frozen_destination", streams);
    project.set("ALMACEN_URL", warehouse.url());
    project
        .source
        .batch("CREATE TABLE t AS SELECT i AS id, repeat(md5(i::text), 8) AS v FROM generate_series(1, 600000) AS i")
        .unwrap();
    let arguments = ["run", "--destination", "almacen", "--output", "json"];
    let run = begin(&project, &arguments);
    wait_for(&cluster, "COPY%");
    let frozen = Frozen::freeze(&cluster);
    std::thread::sleep(Duration::from_millis(300));
    let stopped = Output::of_stopped(run);
    drop(frozen);
    assert_eq!(stopped.status, Some(130), "{stopped:?}");
    let output = project.acequia(&arguments);
    assert_eq!(output.status, Some(0), "{output:?}");
    let rows = warehouse
        .value("SELECT count(*)::text FROM replica.t")
        .unwrap();
    assert_eq!(rows.as_deref(), Some("600000"));
}

#[test]
fn a_table_of_the_destination_that_another_has_locked_does_not_hold_a_stop_up() {
    let streams = "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n";
    let project = Project::new("locked_destination", streams).with_warehouse();
    project
        .source
        .batch("CREATE TABLE t AS SELECT 1 AS id")
        .unwrap();
    project.run(&["--destination", "almacen"]);
    let mut other = project.warehouse().client().unwrap();
    let mut lock = other.transaction().unwrap();
    lock.batch_execute("LOCK TABLE replica.t IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let run = begin(&project, &["run", "--destination", "almacen"]);
    std::thread::sleep(Duration::from_secs(7));
    let stopped = Output::of_stopped(run);
    assert_eq!(stopped.status, Some(130), "{stopped:?}");
    assert!(
        stopped.stderr.contains("still waiting") && stopped.stderr.contains("almacen"),
        "{stopped:?}"
    );
    lock.rollback().unwrap();
    project.run(&["--destination", "almacen"]);
}

fn changes(cluster: &Cluster) -> Project {
    let source = cluster.database("cambios").unwrap();
    source
        .batch("CREATE TABLE t (id int8 PRIMARY KEY, v text); CREATE TABLE u (id int8 PRIMARY KEY)")
        .unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &cdc::streams(&["t", "u"], ""));
    project.set("SLOT", &slot);
    project
}

#[test]
fn a_source_that_is_frozen_amid_its_log_does_not_hold_a_stop_up() {
    let cluster = Cluster::start().unwrap();
    let project = changes(&cluster);
    project.run(&[]);
    // While it follows, and while it reads a long backlog.
    for follows in [true, false] {
        project
            .source
            .batch(
                "INSERT INTO t SELECT i + (SELECT count(*) FROM t), repeat('x', 300) FROM generate_series(1, 400000) AS i",
            )
            .unwrap();
        let run = if follows {
            begin(&project, &["run", "--follow"])
        } else {
            let run = begin(&project, &["run"]);
            wait_for(&cluster, "%pg_logical_slot%");
            run
        };
        if follows {
            std::thread::sleep(Duration::from_secs(4));
        }
        let frozen = Frozen::freeze(&cluster);
        std::thread::sleep(Duration::from_millis(300));
        Output::of_stopped(run);
        drop(frozen);
        project.run(&[]);
        project.assert_same("t");
    }
}

#[test]
fn a_source_that_is_frozen_or_locked_amid_its_snapshot_does_not_hold_a_stop_up() {
    let cluster = Cluster::start().unwrap();
    let project = changes(&cluster);
    project
        .source
        .batch("INSERT INTO t SELECT i, repeat('x', 300) FROM generate_series(1, 1500000) AS i")
        .unwrap();
    let mut other = project.source.client().unwrap();
    let mut lock = other.transaction().unwrap();
    lock.batch_execute("LOCK TABLE u IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let run = begin(&project, &["run"]);
    std::thread::sleep(Duration::from_secs(10));
    let stopped = Output::of_stopped(run);
    assert_eq!(stopped.status, Some(130), "{stopped:?}");
    assert!(stopped.stderr.contains("still waiting"), "{stopped:?}");
    lock.rollback().unwrap();
    let run = begin(&project, &["run"]);
    wait_for(&cluster, "COPY%");
    let frozen = Frozen::freeze(&cluster);
    std::thread::sleep(Duration::from_millis(300));
    let stopped = Output::of_stopped(run);
    drop(frozen);
    assert_eq!(stopped.status, Some(130), "{stopped:?}");
    project.run(&[]);
    project.assert_same("t");
}
