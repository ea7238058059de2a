//! `acequia run`

use std::fmt::Write as _;

use acequia::config::{Document, Pipeline, Selection};
use acequia::mode::Mode;
use acequia::pipeline::plan::{StreamPlan, plan};
use acequia::pipeline::report::{RunReport, Status, StreamReport};
use acequia::pipeline::{self, FollowEvent, FollowObserver, RunOptions};
use acequia::progress::Progress;
use acequia::{Error, Result, TablesFrom};

use super::printer::{Mark, Printer};
use super::progress::ProgressDisplay;
use super::{Context, Exit, RunArgs, block_on, figures, interrupt, models};

pub(crate) fn run(args: &RunArgs, context: &mut Context) -> Result<Exit> {
    let asked = TablesFrom::Sources(&args.selection.streams);
    let pipeline = context
        .document(asked)
        .and_then(|document| document.resolve(&Selection::from(args.selection.clone())))
        .map_err(|error| told_of(error, context, args))?;
    if args.follow
        && pipeline
            .streams
            .iter()
            .all(|stream| stream.mode() != Mode::Cdc)
    {
        return Err(
            Error::config("--follow: none of the streams has mode = \"cdc\"")
                .remedy("leave --follow out, or name a cdc stream"),
        );
    }
    if args.dry_run {
        let options = RunOptions {
            full_refresh: args.full_refresh,
            range: args.range.asked(),
            ..RunOptions::default()
        };
        let plans = block_on(plan(&pipeline, &options))?;
        print_plans(&plans, &context.printer)?;
        let failed = plans.iter().any(|plan| plan.error.is_some());
        return Ok(if failed { Exit::Failed } else { Exit::Ok });
    }
    let (report, interrupted) = block_on(run_pipeline(pipeline, args, context))?;
    let how = format!("loaded from {}", report.pipeline);
    print_report(&report, &how, &context.printer)?;
    tell_failures(&report, context);
    Ok(exit(&report, interrupted))
}

/// A configuration that is wrong, of which those are told whom it names: a run by cron that nobody looks at.
fn told_of(error: Error, context: &Context, args: &RunArgs) -> Error {
    let document = Document::read(&context.global.config);
    if let (false, Ok(document)) = (args.dry_run, document) {
        let telling = async {
            pipeline::notice_of_configuration(&document, &error).await;
            Ok(())
        };
        // Only the threads could fail, and the error is told in any case.
        let _ = block_on(telling);
    }
    error
}

/// Failures are written to standard error as well, for people who discard the results, as in cron. On a terminal that shows
/// both, they would appear twice.
pub(super) fn tell_failures(report: &RunReport, context: &Context) {
    if context.printer.is_seen() {
        return;
    }
    let of_models = report.models.iter().flat_map(models::failures);
    let of_streams = report.failures();
    let of_streams = of_streams.iter().map(ToString::to_string);
    for failure in of_streams.chain(of_models) {
        context.notices.failure(&failure);
    }
    if let Some(error) = report.page_error() {
        context
            .notices
            .failure(&format!("the report page: {error}"));
    }
}

/// Runs the pipeline, while progress is shown and Ctrl-C is listened to. Tells as well whether it was asked to stop.
async fn run_pipeline(
    pipeline: Pipeline,
    args: &RunArgs,
    context: &Context,
) -> Result<(RunReport, bool)> {
    let interrupt = interrupt::listen(context.notices.clone())?;
    let progress = Progress::default();
    let display = ProgressDisplay::start(progress.clone(), &context.global, &context.notices);
    let notices = context.notices.clone();
    let told = FollowObserver::new(move |followed: &FollowEvent| notices.say(&told(followed)));
    let defaults = RunOptions::default();
    let options = RunOptions {
        full_refresh: args.full_refresh,
        jobs: args.jobs.unwrap_or(defaults.jobs),
        interrupt: interrupt.clone(),
        progress,
        meters: context.meters(),
        follow: args.follow.then_some(told),
        models: !args.no_models,
        delete_missing: args.delete_missing,
        range: args.range.asked(),
    };
    let report = pipeline::run(pipeline, options).await;
    display.finish().await;
    Ok((report?, interrupt.is_cancelled()))
}

/// What a run that follows has to say.
fn told(followed: &FollowEvent) -> String {
    match followed {
        FollowEvent::CaughtUp => "caught up; following the changes until Ctrl-C".to_owned(),
        FollowEvent::Broken { wait } => format!(
            "the connection to the source was lost; trying again in {}",
            figures::elapsed(*wait)
        ),
        FollowEvent::Failed { stream, error } => {
            format!("stream {stream} is followed no more: {error}")
        }
        FollowEvent::Models { built, failures } => models::told(*built, failures),
        FollowEvent::Connected => "connected to the source again; following the changes".to_owned(),
        FollowEvent::Batch { changes, lag } => format!(
            "{}, in the destination {} after {} committed",
            figures::plural(*changes, "change"),
            figures::elapsed(*lag),
            if *changes == 1 {
                "it was"
            } else {
                "the first of them was"
            },
        ),
        FollowEvent::Page { error: Some(error) } => {
            format!("the report page stays as it was: {error}")
        }
        FollowEvent::Page { error: None } => "the report page is made again".to_owned(),
    }
}

/// A run that was asked to stop when all was done already has ended well.
pub(super) fn exit(report: &RunReport, interrupted: bool) -> Exit {
    let all = |status: Status| report.streams.iter().all(|stream| stream.status == status);
    let any = |status: Status| report.streams.iter().any(|stream| stream.status == status);
    let of_models = report.models.as_ref();
    if interrupted && !all(Status::Ok) {
        Exit::Interrupted
    } else if any(Status::Failed)
        || of_models.is_some_and(|models| !models.is_ok())
        || report.page_error().is_some()
    {
        Exit::Failed
    } else {
        Exit::Ok
    }
}

/// `how` says what was done, and from where.
pub(super) fn print_report(report: &RunReport, how: &str, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(report);
    }
    printer.table(
        &[
            "stream",
            "mode",
            "status",
            ">extracted",
            ">inserted",
            ">updated",
            ">deleted",
            ">landed",
            ">time",
            "position",
        ],
        report.streams.iter().map(row),
    )?;
    for stream in &report.streams {
        if stream.retries > 0 {
            let text = format!(
                "stream {}: read again {}, as its source broke off or its table was altered",
                stream.stream,
                figures::plural(stream.retries, "time"),
            );
            printer.marked(Mark::Warning, &text)?;
        }
        if let Some(range) = &stream.range
            && stream.status == Status::Ok
        {
            let text = format!(
                "stream {}: {} read again: {}, {} deleted",
                stream.stream,
                figures::range(range),
                figures::plural(stream.rows_extracted, "row"),
                figures::count(stream.deleted),
            );
            printer.marked(Mark::Good, &text)?;
        }
        for change in &stream.schema_changes {
            printer.marked(
                Mark::Warning,
                &format!("stream {}: {change}", stream.stream),
            )?;
        }
        for warning in &stream.warnings {
            printer.marked(
                Mark::Warning,
                &format!("stream {}: {}", stream.stream, warning),
            )?;
        }
    }
    for failure in report.failures() {
        printer.marked(Mark::Bad, &failure.to_string())?;
    }
    if let Some(page) = &report.page {
        let name = page.path.display();
        match &page.error {
            Some(error) => {
                let text = format!("the report page {name} stays as it was: {error}");
                printer.marked(Mark::Bad, &text)?;
            }
            None => printer.marked(Mark::Good, &format!("the report page {name}"))?,
        }
    }
    let count = |status: Status| {
        let streams = report
            .streams
            .iter()
            .filter(|stream| stream.status == status);
        streams.count()
    };
    let mut summary = format!(
        "{} of {} {how} into {} in {}",
        count(Status::Ok),
        figures::plural(report.streams.len(), "stream"),
        report.destination,
        figures::seconds(report.seconds),
    );
    for (status, word) in [(Status::Failed, "failed"), (Status::Skipped, "skipped")] {
        let number = count(status);
        if number > 0 {
            // Writing to a String does not fail.
            let _ = write!(summary, ", {number} {word}");
        }
    }
    printer.line(summary)?;
    match &report.models {
        Some(models) => models::print_report(models, printer),
        None => Ok(()),
    }
}

fn row(stream: &StreamReport) -> Vec<String> {
    vec![
        stream.stream.to_string(),
        stream.mode.to_string(),
        stream.status.as_str().to_owned(),
        figures::count(stream.rows_extracted),
        figures::count(stream.inserted),
        figures::count(stream.updated),
        figures::count(stream.deleted),
        figures::bytes(stream.bytes_landed),
        figures::seconds(stream.seconds),
        figures::position(stream.position_after.as_ref()),
    ]
}

fn print_plans(plans: &[StreamPlan], printer: &Printer) -> Result<()> {
    if printer.is_json() {
        #[derive(serde::Serialize)]
        struct Plan<'a> {
            streams: &'a [StreamPlan],
        }
        return printer.json(&Plan { streams: plans });
    }
    printer.table(
        &[
            "stream",
            "mode",
            "disposition",
            "table",
            ">columns",
            ">rows, about",
            "read by",
            "from",
        ],
        plans.iter().map(|plan| {
            vec![
                plan.stream.to_string(),
                plan.mode.to_string(),
                plan.disposition.to_string(),
                plan.table.clone(),
                plan.columns.len().to_string(),
                plan.estimated_rows
                    .map_or_else(|| "-".to_owned(), figures::count),
                plan.reading.clone(),
                figures::start(plan.position.as_ref()),
            ]
        }),
    )?;
    for plan in plans {
        if let Some(range) = &plan.range {
            let text = format!(
                "stream {}: {} would be read again",
                plan.stream,
                figures::range(range)
            );
            printer.marked(Mark::Good, &text)?;
        }
        for change in &plan.changes {
            printer.marked(Mark::Warning, &format!("stream {}: {change}", plan.stream))?;
        }
        if let Some(error) = &plan.error {
            printer.marked(Mark::Bad, &format!("stream {}: {}", plan.stream, error))?;
        }
    }
    printer.line("this is the plan; nothing was touched")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_tells_how_the_run_ended() {
        let report = |statuses: &[Status]| RunReport {
            pipeline: "formacion".parse().unwrap(),
            destination: "duckdb".to_owned(),
            streams: statuses
                .iter()
                .map(|status| StreamReport {
                    status: *status,
                    ..StreamReport::skipped(&"ventas".parse().unwrap(), Mode::Full)
                })
                .collect(),
            models: None,
            page: None,
            notices: Vec::new(),
            seconds: 1.0,
        };
        for (statuses, interrupted, expected) in [
            (vec![Status::Ok, Status::Ok], false, Exit::Ok),
            (vec![Status::Ok, Status::Failed], false, Exit::Failed),
            (vec![Status::Ok, Status::Skipped], true, Exit::Interrupted),
            (
                vec![Status::Failed, Status::Skipped],
                true,
                Exit::Interrupted,
            ),
            (vec![Status::Ok, Status::Ok], true, Exit::Ok),
        ] {
            assert_eq!(
                exit(&report(&statuses), interrupted),
                expected,
                "{statuses:?}"
            );
        }
    }
}
