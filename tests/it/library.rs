//! The library, as a program uses it: through its face alone, on tasks of a runtime of many threads.

use acequia::pipeline::check::Verdict;
use acequia::pipeline::report::{RunReport, Status};
use acequia::progress::Phase;
use acequia::{Document, Progress, ReplayOptions, RunOptions, Selection};
use testkit::Seed;
use tokio::runtime::Runtime;

use crate::support::{CURSOS_AND_VENTAS, Project};

fn document(project: &Project) -> Document {
    let variables = format!("OPERATIVA_URL={}\n", project.source.url());
    std::fs::write(project.path(".env"), variables).unwrap();
    Document::read(&project.path("acequia.toml")).unwrap()
}

fn inserted(report: &RunReport) -> Vec<u64> {
    assert!(
        report
            .streams
            .iter()
            .all(|stream| stream.status == Status::Ok),
        "{report:?}"
    );
    let streams = report.streams.iter();
    streams.map(|stream| stream.inserted).collect()
}

#[test]
fn a_program_checks_runs_watches_and_replays() {
    let project = Project::operational("library", CURSOS_AND_VENTAS);
    Seed::new(3, 2_000)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let document = document(&project);
    let pipeline = document.resolve(&Selection::default()).unwrap();
    let runtime = Runtime::new().unwrap();

    let findings = runtime.block_on(acequia::check(&pipeline));
    assert!(
        findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Failed),
        "{findings:?}"
    );
    let plans = runtime
        .block_on(acequia::plan(&pipeline, &RunOptions::default()))
        .unwrap();
    assert_eq!(plans.len(), 2);

    let progress = Progress::default();
    let options = RunOptions {
        progress: progress.clone(),
        ..RunOptions::default()
    };
    let run = runtime.spawn(acequia::run(pipeline.clone(), options));
    let report = runtime.block_on(run).unwrap().unwrap();
    assert_eq!(inserted(&report)[1], 2_000);
    let streams = progress.snapshot();
    assert!(
        streams.iter().all(|stream| stream.phase == Phase::Done),
        "{streams:?}"
    );
    assert_eq!(streams[1].rows, 2_000);

    let stands = runtime.block_on(acequia::status(&pipeline, true)).unwrap();
    assert!(stands.is_ok());
    assert_eq!(stands.streams[1].rows_extracted, 2_000);

    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    let replay = runtime.spawn(acequia::replay(pipeline, ReplayOptions::default()));
    let replayed = runtime.block_on(replay).unwrap().unwrap();
    assert_eq!(inserted(&replayed), inserted(&report));
    project.assert_same("ventas");
}

#[test]
fn a_program_stops_a_run() {
    let project = Project::operational("library_stops", CURSOS_AND_VENTAS);
    let pipeline = document(&project).resolve(&Selection::default()).unwrap();
    let options = RunOptions::default();
    options.interrupt.cancel();
    let runtime = Runtime::new().unwrap();
    let stopped = runtime.block_on(acequia::run(pipeline, options));
    assert!(
        matches!(stopped, Err(acequia::Error::Interrupted)),
        "{stopped:?}"
    );
}
