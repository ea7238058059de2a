//! `acequia status`

use acequia::Result;
use acequia::config::{Document, Selection};
use acequia::pipeline::status::{StatusReport, StreamStatus, status};
use chrono::{DateTime, Utc};

use super::printer::{Mark, Printer};
use super::{Context, Exit, SelectionArgs, block_on, figures};

pub(crate) fn run(args: SelectionArgs, context: &mut Context) -> Result<Exit> {
    let document = Document::read(&context.global.config)?;
    let pipeline = document.resolve_without_sources(&Selection::from(args))?;
    let report = block_on(status(&pipeline))?;
    print(&report, &context.printer)?;
    Ok(Exit::Ok)
}

fn print(report: &StatusReport, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(report);
    }
    printer.line(format!("{} into {}", report.pipeline, report.destination))?;
    let now = Utc::now();
    printer.table(
        &[
            "stream",
            "mode",
            "last load",
            "loaded at",
            ">age",
            ">rows",
            ">pending",
            "position",
        ],
        report.streams.iter().map(|stream| row(stream, now)),
    )?;
    for stream in &report.streams {
        for load in &stream.pending {
            let text = format!(
                "stream {}: landed, and loaded first by the next run: {load}",
                stream.stream
            );
            printer.marked(Mark::Warning, &text)?;
        }
        for load in &stream.set_aside {
            let text = format!(
                "stream {}: set aside, as it does not follow on what is loaded: {load}",
                stream.stream
            );
            printer.marked(Mark::Warning, &text)?;
        }
    }
    Ok(())
}

fn row(stream: &StreamStatus, now: DateTime<Utc>) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        stream.stream.to_string(),
        stream.mode.to_string(),
        stream
            .load_id
            .as_ref()
            .map_or_else(none, ToString::to_string),
        stream
            .loaded_at
            .map_or_else(none, |time| time.format("%Y-%m-%d %H:%M:%SZ").to_string()),
        stream
            .loaded_at
            .map_or_else(none, |time| figures::age(now - time)),
        stream
            .loaded_at
            .map_or_else(none, |_| figures::count(stream.rows_extracted)),
        figures::count(u64::try_from(stream.pending.len()).unwrap_or(u64::MAX)),
        figures::position(stream.position.as_ref()),
    ]
}
