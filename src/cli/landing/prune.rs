//! `acequia landing prune`

use acequia::config::Selection;
use acequia::pipeline::prune::{PruneOptions, PruneReport, prune};
use acequia::{Error, Result, TablesFrom};
use chrono::Utc;

use crate::cli::printer::Printer;
use crate::cli::{Context, Exit, PruneArgs, block_on, figures};

pub(super) fn run(args: PruneArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::AllRuns)?;
    let every_stream = args.selection.streams.is_empty();
    let pipeline = document.resolve_without_sources(&Selection::from(args.selection))?;
    let older_than = args.older_than.or(pipeline.retention).ok_or_else(|| {
        Error::config("how old a load must be to go is said nowhere")
            .remedy("give --older-than 30d, or set `retention` under [pipeline]")
    })?;
    let options = PruneOptions {
        older_than,
        all_destinations: args.all_destinations,
        dry_run: args.dry_run,
        every_stream,
    };
    let report = block_on(prune(&pipeline, &options))?;
    print(&report, &context.printer)?;
    Ok(Exit::Ok)
}

fn print(report: &PruneReport, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(report);
    }
    let now = Utc::now();
    printer.table(
        &["stream", "load", ">rows", ">bytes", ">age"],
        report.loads.iter().map(|load| {
            vec![
                load.stream.to_string(),
                load.load_id.to_string(),
                figures::count(load.rows),
                figures::bytes(load.bytes),
                figures::age(now - load.extracted_at),
            ]
        }),
    )?;
    printer.line(format!(
        "{} {}, freeing {}",
        figures::plural(report.loads.len(), "load"),
        if report.dry_run {
            "would be removed"
        } else {
            "removed"
        },
        figures::bytes(report.bytes)
    ))
}
