//! `acequia check`

use acequia::config::Selection;
use acequia::pipeline::check::{Finding, Verdict, check};
use acequia::{Result, TablesFrom};
use serde::Serialize;

use super::printer::{Mark, Printer};
use super::{Context, Exit, SelectionArgs, block_on, figures};

/// What `--output json` prints.
#[derive(Serialize)]
struct CheckReport<'a> {
    pipeline: &'a str,
    destination: &'a str,
    ok: bool,
    findings: &'a [Finding],
}

pub(crate) fn run(args: SelectionArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::Sources(&args.streams))?;
    let pipeline = document.resolve(&Selection::from(args))?;
    let findings = block_on(async { Ok(check(&pipeline).await) })?;

    let printer = &context.printer;
    let failed = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Failed)
        .count();
    if printer.is_json() {
        printer.json(&CheckReport {
            pipeline: pipeline.name.as_str(),
            destination: &pipeline.destination.name,
            ok: failed == 0,
            findings: &findings,
        })?;
    } else {
        let streams = figures::plural(pipeline.streams.len(), "stream");
        printer.marked(
            Mark::Good,
            &format!("{}: {streams}", document.path().display()),
        )?;
        for finding in &findings {
            print(finding, printer)?;
        }
        if failed > 0 {
            printer.line(format!("{} to fix", figures::plural(failed, "problem")))?;
        }
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Ok })
}

fn print(finding: &Finding, printer: &Printer) -> Result<()> {
    let mark = match finding.verdict {
        Verdict::Ok => Mark::Good,
        Verdict::Warning => Mark::Warning,
        Verdict::Failed => Mark::Bad,
    };
    printer.marked(mark, &format!("{}: {}", finding.subject, finding.message))?;
    match &finding.remedy {
        // On lines of their own, so that SQL can be copied.
        Some(remedy) => printer.line(format!("    {}", remedy.replace('\n', "\n    "))),
        None => Ok(()),
    }
}
