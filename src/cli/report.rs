//! `acequia report`

use acequia::config::{Pipeline, Selection};
use acequia::pipeline::live_page;
use acequia::pipeline::page::write_page;
use acequia::{Error, Result, TablesFrom};
use serde::Serialize;

use super::printer::Mark;
use super::{Context, Exit, ReportArgs, block_on, figures, interrupt};

/// What was made, for programs.
#[derive(Serialize)]
struct Made {
    page: String,
    bytes: usize,
}

pub(crate) fn run(args: &ReportArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::AllRuns)?;
    let selection = Selection::from(args.destination.clone());
    let pipeline = document.resolve_without_sources(&selection)?;
    if args.serve {
        return serve(&pipeline, args, context);
    }
    let path = match (&args.page, &pipeline.report) {
        (Some(path), _) => std::path::absolute(path).map_err(|error| {
            Error::config(format!("cannot make {} absolute", path.display())).cause(error)
        })?,
        (None, Some(report)) => report.output.clone(),
        (None, None) => std::path::PathBuf::new(),
    };
    let page = block_on(async {
        let stop = interrupt::listen(context.notices.clone())?;
        write_page(&pipeline, Some(&path), &stop).await
    })?;
    let made = Made {
        page: path.display().to_string(),
        bytes: page.html.len(),
    };
    if context.printer.is_json() {
        context.printer.json(&made)?;
    } else {
        let size = figures::bytes(u64::try_from(made.bytes).unwrap_or(u64::MAX));
        let text = format!("{} ({size})", made.page);
        context.printer.marked(Mark::Good, &text)?;
    }
    Ok(Exit::Ok)
}

/// Shows the page until it is told to stop, which is how this ends well.
fn serve(pipeline: &Pipeline, args: &ReportArgs, context: &Context) -> Result<Exit> {
    block_on(async {
        let stop = interrupt::listen(context.notices.clone())?;
        let told = |address: &str| {
            let text = format!("the report is shown at {address} until Ctrl-C");
            context.notices.say(&text);
        };
        match live_page::serve(pipeline, args.port, &stop, told).await {
            Err(Error::Interrupted) | Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(error),
        }
    })
}
