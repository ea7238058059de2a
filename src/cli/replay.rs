//! `acequia replay`

use acequia::config::{Pipeline, Selection};
use acequia::names::LoadId;
use acequia::pipeline::replay::{ReplayOptions, replay};
use acequia::pipeline::report::RunReport;
use acequia::progress::Progress;
use acequia::{Result, TablesFrom};

use super::progress::ProgressDisplay;
use super::run::{exit, print_report, tell_failures};
use super::{Context, Exit, ReplayArgs, block_on, interrupt};

pub(crate) fn run(args: ReplayArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::AllRuns)?;
    let pipeline = document.resolve_without_sources(&Selection::from(args.selection))?;
    let (report, interrupted) = block_on(apply(pipeline, args.loads, context))?;
    let how = format!("replayed from the landing area of {}", report.pipeline);
    print_report(&report, &how, &context.printer)?;
    tell_failures(&report, context);
    Ok(exit(&report, interrupted))
}

/// Replays, while progress is shown and Ctrl-C is listened to. Tells as well whether it was asked to stop.
async fn apply(
    pipeline: Pipeline,
    loads: Vec<LoadId>,
    context: &Context,
) -> Result<(RunReport, bool)> {
    let interrupt = interrupt::listen(context.notices.clone())?;
    let progress = Progress::default();
    let display = ProgressDisplay::start(progress.clone(), &context.global, &context.notices);
    let options = ReplayOptions {
        loads,
        interrupt: interrupt.clone(),
        progress,
        ..ReplayOptions::default()
    };
    let report = replay(pipeline, options).await;
    display.finish().await;
    Ok((report?, interrupt.is_cancelled()))
}
