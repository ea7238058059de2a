//! `acequia landing list`

use acequia::config::Selection;
use acequia::pipeline::landed_loads::{LandedLoad, LandingReport, LoadState, list};
use acequia::{Result, TablesFrom};
use chrono::{DateTime, Utc};

use crate::cli::printer::{Mark, Printer};
use crate::cli::{Context, Exit, SelectionArgs, block_on, figures};

pub(super) fn run(args: SelectionArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::AllRuns)?;
    let every_stream = args.streams.is_empty();
    let pipeline = document.resolve_without_sources(&Selection::from(args))?;
    let report = block_on(list(&pipeline, every_stream))?;
    print(&report, &context.printer)?;
    Ok(Exit::Ok)
}

fn print(report: &LandingReport, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(report);
    }
    let now = Utc::now();
    printer.table(
        &[
            "stream",
            "load",
            "mode",
            ">rows",
            ">bytes",
            ">age",
            "destination",
            "state",
        ],
        report.loads.iter().map(|load| row(load, report, now)),
    )?;
    for load in &report.loads {
        if let Some(fault) = &load.fault {
            let text = format!("stream {}: load {}: {fault}", load.stream, load.load_id);
            printer.marked(Mark::Bad, &text)?;
        }
    }
    printer.line(format!(
        "{} of {}, {}, in {}",
        figures::plural(report.loads.len(), "load"),
        report.pipeline,
        figures::bytes(report.bytes),
        report.location
    ))
}

fn row(load: &LandedLoad, report: &LandingReport, now: DateTime<Utc>) -> Vec<String> {
    let none = || "-".to_owned();
    let own = report
        .destination_id
        .as_ref()
        .is_some_and(|own| load.load_id.is_for(own));
    vec![
        load.stream.to_string(),
        load.load_id.to_string(),
        load.mode.map_or_else(none, |mode| match &load.amends {
            Some(amends) => format!("{mode}, {}", amends.word()),
            None => mode.to_string(),
        }),
        load.rows.map_or_else(none, figures::count),
        figures::bytes(load.bytes),
        load.began_at
            .map_or_else(none, |time| figures::age(now - time)),
        if own {
            report.destination.clone()
        } else {
            load.destination_id.clone()
        },
        word(load.state).to_owned(),
    ]
}

fn word(state: LoadState) -> &'static str {
    match state {
        LoadState::Loaded => "loaded",
        LoadState::Pending => "pending",
        LoadState::SetAside => "set aside",
        LoadState::Unfinished => "unfinished",
        LoadState::Damaged => "damaged",
        LoadState::Other => "of another destination",
    }
}
