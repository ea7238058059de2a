//! Metrics for Prometheus, read by Prometheus' own client.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;
use testkit::Seed;

use super::judges::judged;
use crate::cdc;
use crate::cdc::following::Follower;
use crate::support::{CURSOS_AND_VENTAS, Project, example};

/// Metrics as Prometheus' client reads them.
struct Metrics(Vec<Value>);

impl Metrics {
    fn read(text: &str) -> Self {
        let read = judged("PROMETHEUS_FOLDER", "prometheus.py", text);
        Self(serde_json::from_slice(&read).unwrap())
    }

    /// The value of a metric with that label; a stream or a source, or `formacion`, the pipeline.
    fn get(&self, name: &str, label: &str) -> Option<f64> {
        let found = self.0.iter().find(|sample| {
            let labels = sample[1].as_object().unwrap();
            let own = labels.get("stream").or(labels.get("source"));
            sample[0] == name && own.unwrap_or(&labels["pipeline"]) == label
        })?;
        assert_eq!(found[1]["pipeline"], "formacion");
        assert_eq!(found[1]["destination"], "duckdb");
        found[2].as_f64()
    }
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

#[test]
fn a_run_leaves_its_metrics_in_a_file() {
    let streams =
        format!("{CURSOS_AND_VENTAS}\n[metrics]\ntextfile = \"collector/acequia.prom\"\n");
    let project = Project::operational("metricas", &streams);
    Seed::new(6, 30)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    // A folder that is not there is told, and fails no run.
    let run = project.acequia(&["run"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stderr.contains("[metrics] textfile: "), "{run:?}");
    std::fs::create_dir(project.path("collector")).unwrap();
    let read = || {
        let files = crate::support::files_below(&project.path("collector"));
        assert_eq!(files, [project.path("collector/acequia.prom")]);
        Metrics::read(&std::fs::read_to_string(&files[0]).unwrap())
    };
    let began = now() - 1.0;
    project.run(&["--full-refresh"]);
    let metrics = read();
    assert_eq!(metrics.get("acequia_run_success", "formacion"), Some(1.0));
    assert_eq!(
        metrics.get("acequia_stream_rows_extracted", "ventas"),
        Some(30.0)
    );
    assert_eq!(metrics.get("acequia_stream_success", "cursos"), Some(1.0));
    let synced = metrics.get("acequia_stream_synced_timestamp_seconds", "ventas");
    assert!(synced.unwrap() >= began && synced.unwrap() <= now());
    assert!(
        metrics
            .get("acequia_stream_bytes_landed", "ventas")
            .unwrap()
            > 0.0
    );
    assert!(
        metrics
            .get("acequia_run_ended_timestamp_seconds", "formacion")
            .unwrap()
            >= began
    );
    // A run of one stream leaves the others as they were, and one that fails leaves when it last succeeded.
    project
        .source
        .batch("ALTER TABLE ventas RENAME TO ventas_fuera")
        .unwrap();
    assert_eq!(project.acequia(&["run", "ventas"]).status, Some(1));
    let after = read();
    assert_eq!(after.get("acequia_run_success", "formacion"), Some(0.0));
    assert_eq!(after.get("acequia_stream_success", "ventas"), Some(0.0));
    assert_eq!(
        after.get("acequia_stream_synced_timestamp_seconds", "ventas"),
        synced
    );
    assert_eq!(after.get("acequia_stream_success", "cursos"), Some(1.0));
    assert_eq!(
        after.get("acequia_stream_rows_extracted", "ventas"),
        Some(0.0)
    );
}

/// What is answered at a path: the status line, and the body.
fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: prometheus\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_run_that_follows_answers_with_its_metrics() {
    let project = cdc::project(
        "metricas_sigue",
        "CREATE TABLE t (id int8 PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)",
        &["t"],
        "",
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    // The page's own example, but for the port.
    let page = include_str!("../../../docs/observability.md");
    let example = example("observability.md", 0)
        .replace("9464", &port.to_string())
        .replace("/var/lib/node_exporter/textfile/", "");
    let streams = cdc::streams(&["t"], "");
    project.streams(&format!("{streams}\n{example}"));
    let refused = project.acequia(&["run", "--follow"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("[metrics] listen: cannot listen on 127.0.0.1"),
        "{refused:?}"
    );
    drop(taken);
    let follower = Follower::start(&project);
    let metrics = || Metrics::read(&get(port, "/metrics").1);
    let first = metrics();
    assert_eq!(
        first.get("acequia_stream_rows_landed_total", "t"),
        Some(5.0)
    );
    assert_eq!(
        first.get("acequia_source_connected", "operativa"),
        Some(1.0)
    );
    assert_eq!(
        first.get("acequia_source_batches_total", "operativa"),
        Some(0.0)
    );
    assert_eq!(first.get("acequia_stream_success", "t"), Some(1.0));
    project
        .source
        .batch("INSERT INTO t SELECT generate_series(6, 10)")
        .unwrap();
    follower.line("in the destination");
    let second = metrics();
    assert_eq!(
        second.get("acequia_stream_rows_landed_total", "t"),
        Some(10.0)
    );
    assert_eq!(
        second.get("acequia_source_changes_total", "operativa"),
        Some(5.0)
    );
    let lag = second
        .get("acequia_source_lag_seconds", "operativa")
        .unwrap();
    assert!(lag > 0.0 && lag < 20.0, "{lag}");
    let synced = second
        .get("acequia_stream_synced_timestamp_seconds", "t")
        .unwrap();
    assert!((now() - synced).abs() < 20.0);
    let (head, _) = get(port, "/metrics");
    assert!(
        head.contains("200 OK") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(get(port, "/acequia.toml").0.contains("404"));
    follower.stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let left = std::fs::read_to_string(project.path("acequia.prom")).unwrap();
    assert_eq!(
        Metrics::read(&left).get("acequia_run_success", "formacion"),
        Some(1.0)
    );
    // Every metric that there is stands on the page, and no other.
    let shown = |text: &str| -> std::collections::BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    };
    let mut all = shown(&left);
    all.extend(
        second
            .0
            .iter()
            .map(|sample| sample[0].as_str().unwrap().to_owned()),
    );
    let described = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `acequia_"));
    let described = described.map(|line| format!("acequia_{}", line.split('`').next().unwrap()));
    assert_eq!(all, described.collect());
}
