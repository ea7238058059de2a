//! `acequia runs`

use acequia::config::Selection;
use acequia::pipeline::runs::{RunsReport, runs};
use acequia::runs::{RunRecord, RunStatus};
use acequia::{Result, TablesFrom};
use chrono::{DateTime, Utc};

use super::printer::{Mark, Printer};
use super::{Context, Exit, RunsArgs, block_on, figures};

pub(crate) fn run(args: RunsArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::LastRun)?;
    let pipeline = document.resolve_without_sources(&Selection::from(args.destination))?;
    let report = block_on(runs(&pipeline, args.limit, args.failed))?;
    print(&report, &context.printer)?;
    Ok(if report.destination_error.is_some() {
        Exit::Failed
    } else {
        Exit::Ok
    })
}

fn print(report: &RunsReport, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(report);
    }
    printer.line(format!("{} into {}", report.pipeline, report.destination))?;
    let now = Utc::now();
    printer.table(
        &[
            "began at",
            ">age",
            "command",
            "status",
            ">time",
            ">ok",
            ">failed",
            ">extracted",
            ">inserted",
            ">updated",
            ">deleted",
        ],
        report.runs.iter().map(|run| row(run, now)),
    )?;
    for run in &report.runs {
        for failure in &run.failures {
            let text = format!("{}: {failure}", began(run));
            printer.marked(Mark::Bad, &text)?;
        }
    }
    if let Some(error) = &report.destination_error {
        let text = format!("only runs that wait in the landing area are known: {error}");
        printer.marked(Mark::Bad, &text)?;
    }
    Ok(())
}

fn began(run: &RunRecord) -> String {
    figures::moment(run.started_at)
}

fn row(run: &RunRecord, now: DateTime<Utc>) -> Vec<String> {
    let took = run.ended_at - run.started_at;
    let ok = match run.status {
        // What has come to its end is not known before the run has.
        RunStatus::Running | RunStatus::Lost => "-".to_owned(),
        RunStatus::Ok | RunStatus::Failed | RunStatus::Interrupted => run.streams.len().to_string(),
    };
    vec![
        began(run),
        figures::age(now - run.started_at),
        run.command.clone(),
        run.status.as_str().to_owned(),
        figures::elapsed(took.to_std().unwrap_or_default()),
        ok,
        figures::count(run.streams_failed),
        figures::count(run.rows_extracted),
        figures::count(run.inserted),
        figures::count(run.updated),
        figures::count(run.deleted),
    ]
}
