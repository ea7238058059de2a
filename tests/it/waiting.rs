//! Whatever is waited for, a stop ends it at once, and one that takes long says what it is for.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use testkit::Cluster;

use crate::frozen::Frozen;
use crate::support::{Output, Project};

const CURSOS: &str = r#"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"
"#;

/// Stops a run, which must end at once as an interrupted one does. Returns what it said.
fn stop(child: Child) -> Output {
    let output = Output::of_stopped(child);
    assert_eq!(output.status, Some(130), "{output:?}");
    output
}

fn begin(project: &Project) -> Child {
    let mut command = project.command(&["run"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_table_that_another_has_locked_is_waited_for_aloud_and_until_a_stop() {
    let project = Project::operational("cerrada", CURSOS);
    let mut other = project.source.client().unwrap();
    let mut lock = other.transaction().unwrap();
    lock.batch_execute("LOCK TABLE cursos IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let run = begin(&project);
    std::thread::sleep(Duration::from_secs(7));
    let said = stop(run).stderr;
    assert!(
        said.contains("still waiting") && said.contains("cursos"),
        "{said}"
    );
    lock.rollback().unwrap();
    project.run(&[]);
    project.assert_same("cursos");
}

#[test]
fn a_server_that_says_nothing_ends_the_attempt_by_connect_timeout() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let streams = "[streams.cambios]\nsource = \"operativa\"\ntable = \"cursos\"\nmode = \"cdc\"\n";
    let mut project = Project::operational("callada", &format!("{CURSOS}{streams}"));
    let url = format!("postgres://ana@127.0.0.1:{port}/operativa");
    project.set("OPERATIVA_URL", &format!("{url}?connect_timeout=1"));
    for command in ["check", "run"] {
        let began = Instant::now();
        let output = project.acequia(&[command]);
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{command}: {output:?}"
        );
        assert_eq!(output.status, Some(1), "{command}: {output:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(said.contains("does not answer"), "{command}: {said}");
    }
    project.set("OPERATIVA_URL", &format!("{url}?connect_timeout=300"));
    let run = begin(&project);
    std::thread::sleep(Duration::from_secs(1));
    stop(run);
}

#[test]
fn a_server_that_is_frozen_amid_an_extract_does_not_hold_a_stop_up() {
    let cluster = Cluster::start().unwrap();
    let source = cluster.database("helada").unwrap();
    let query = "[streams.lento]\nsource = \"operativa\"\nmode = \"full\"\n
                 query = \"SELECT g, repeat('x', 100) AS t FROM generate_series(1, 100000000) AS g\"\n";
    let project = Project::on(source, query);
    let run = begin(&project);
    project.wait_for_extract();
    let _frozen = Frozen::freeze(&cluster);
    stop(run);
}
