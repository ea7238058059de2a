//! What others see of runs: metrics for Prometheus, telemetry of OpenTelemetry, and lineage. Each is judged by what reads it.

mod judges;
mod openlineage;
mod otlp;
mod prometheus;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use testkit::Seed;

use crate::support::{CURSOS_AND_VENTAS, Output, Project};

/// How long a run may take longer, at its end, where nobody takes what it sends: docs/observability.md says 5 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a run of a few rows takes on a busy machine.
const RUN: Duration = Duration::from_secs(20);

/// What no event may hold: a value of a row, and secrets.
const PLANTED: [&str; 3] = ["valor-sembrado", "cl4ve-s3cr3ta", "t0k3n-s3cr3to"];

/// A pipeline of two streams with a few rows, one of which has a planted value.
fn seeded(name: &str) -> Project {
    let project = Project::operational(name, CURSOS_AND_VENTAS);
    let mut source = project.source.client().unwrap();
    Seed::new(6, 30).apply(&mut source).unwrap();
    source
        .batch_execute(&format!(
            "UPDATE cursos SET nombre = '{}' WHERE id = 1",
            PLANTED[0]
        ))
        .unwrap();
    project
}

/// An address that takes connections, and never answers.
fn hanging() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// An address where nobody is.
fn nobody() -> String {
    hanging().1
}

/// Runs to the end, which must come, well, and in time.
fn in_time(project: &Project, arguments: &[&str]) -> Output {
    let began = Instant::now();
    let run = project.acequia(arguments);
    assert_eq!(run.status, Some(0), "{run:?}");
    let took = began.elapsed();
    assert!(took < PATIENCE + RUN, "{took:?}: {run:?}");
    run
}

/// How often a text has another in it.
fn times(text: &str, part: &str) -> usize {
    text.matches(part).count()
}
