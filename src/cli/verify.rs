//! `acequia verify`

use std::collections::BTreeMap;

use acequia::config::{Pipeline, Selection};
use acequia::pipeline::verify::{VerifyOptions, verify};
use acequia::position::Position;
use acequia::verify::report::{
    Against, Compared, Counted, Difference, Outcome, ShownRow, StreamVerification, VerifyReport,
};

use acequia::{Result, TablesFrom};

use super::printer::{Mark, Printer};
use super::{AgainstArg, Context, Exit, VerifyArgs, block_on, figures, interrupt};

pub(crate) fn run(args: &VerifyArgs, context: &mut Context) -> Result<Exit> {
    let selection = Selection::from(args.selection.clone());
    let pipeline = match args.against {
        AgainstArg::Source => context
            .document(TablesFrom::Sources(&args.selection.streams))?
            .resolve(&selection)?,
        AgainstArg::Landing => context
            .document(TablesFrom::LastRun)?
            .resolve_without_sources(&selection)?,
    };
    let (report, interrupted) = block_on(compare(pipeline, args, context))?;
    print(&report, &context.printer)?;
    if !context.printer.is_seen() {
        for stream in &report.streams {
            if let Some(error) = &stream.error {
                context.notices.failure(error);
            }
        }
    }
    Ok(match (report.is_ok(), interrupted) {
        (true, _) => Exit::Ok,
        (false, true) => Exit::Interrupted,
        (false, false) => Exit::Failed,
    })
}

async fn compare(
    pipeline: Pipeline,
    args: &VerifyArgs,
    context: &Context,
) -> Result<(VerifyReport, bool)> {
    let interrupt = interrupt::listen(context.notices.clone())?;
    let options = VerifyOptions {
        compared: match (args.counts, args.keys) {
            (true, _) => Compared::Counts,
            (false, true) => Compared::Keys,
            (false, false) => Compared::Rows,
        },
        against: match args.against {
            AgainstArg::Source => Against::Source,
            AgainstArg::Landing => Against::Landing,
        },
        sample: args.sample,
        since: args.since.clone(),
        show: args.show.unwrap_or(0),
        repair: args.repair,
        interrupt: interrupt.clone(),
        ..VerifyOptions::default()
    };
    let report = verify(pipeline, options).await?;
    Ok((report, interrupt.is_cancelled()))
}

fn print(report: &VerifyReport, printer: &Printer) -> Result<()> {
    if printer.is_json() {
        return printer.json(report);
    }
    printer.table(
        &[
            "stream", "mode", "result", ">rows", ">missing", ">extra", ">differ", ">changed", "at",
            ">time",
        ],
        report.streams.iter().map(row),
    )?;
    for stream in &report.streams {
        print_stream(stream, printer)?;
    }
    let equal = report.streams.iter();
    let equal = equal.filter(|stream| stream.result.is_ok()).count();
    printer.line(format!(
        "{equal} of {} equal to the {} in {}, in {}",
        figures::plural(report.streams.len(), "stream"),
        report.against,
        report.destination,
        figures::seconds(report.seconds)
    ))
}

fn row(stream: &StreamVerification) -> Vec<String> {
    let count = |number: u64| {
        if stream.result == Outcome::Failed {
            "-".to_owned()
        } else {
            figures::count(number)
        }
    };
    vec![
        stream.stream.to_string(),
        stream.mode.to_string(),
        stream.result.to_string(),
        count(stream.rows_destination),
        count(stream.missing),
        count(stream.extra),
        count(stream.differ),
        count(stream.changed),
        match &stream.position {
            Some(Position::Lsn(position)) => position.lsn.to_string(),
            _ => "-".to_owned(),
        },
        figures::seconds(stream.seconds),
    ]
}

fn print_stream(stream: &StreamVerification, printer: &Printer) -> Result<()> {
    let name = &stream.stream;
    if let Some(error) = &stream.error {
        return printer.marked(Mark::Bad, error);
    }
    if matches!(stream.result, Outcome::Different | Outcome::Repaired) {
        let mut parts = Vec::new();
        for (number, what) in [
            (stream.missing, "missing"),
            (stream.extra, "extra"),
            (stream.differ, "with other values"),
        ] {
            if number > 0 {
                parts.push(format!("{} {what}", figures::count(number)));
            }
        }
        parts.extend(stream.counted.as_ref().map(uneven).unwrap_or_default());
        let columns: Vec<String> = stream
            .columns
            .iter()
            .map(|(column, rows)| format!("{column} ({rows})"))
            .collect();
        let columns = if columns.is_empty() {
            String::new()
        } else {
            format!("; columns that differ: {}", columns.join(", "))
        };
        let least = if stream.is_complete { "" } else { "at least " };
        let told = format!("stream {name}: {least}{}{columns}", parts.join(", "));
        match &stream.repair {
            Some(load) => printer.marked(Mark::Good, &format!("{told}; mended by load {load}"))?,
            None => printer.marked(Mark::Bad, &told)?,
        }
    }
    if !stream.columns_left_out.is_empty() {
        printer.marked(
            Mark::Warning,
            &format!(
                "stream {name}: not compared, as only one side has them: {}",
                stream.columns_left_out.join(", ")
            ),
        )?;
    }
    for note in &stream.notes {
        printer.marked(Mark::Warning, &format!("stream {name}: {note}"))?;
    }
    for shown in &stream.rows {
        printer.line(format!("  {}", told(shown)))?;
    }
    Ok(())
}

/// What was counted and is not the same on both sides.
fn uneven(counted: &Counted) -> Vec<String> {
    let nulls = counted.nulls.iter().filter(|nulls| !nulls.is_equal);
    let nulls = nulls.map(|nulls| {
        format!(
            "{} is NULL {} times in the source and {} in the table",
            nulls.column,
            figures::count(nulls.source),
            figures::count(nulls.destination)
        )
    });
    let bounds = counted.bounds.iter().filter(|bounds| !bounds.is_equal);
    let bounds = bounds.map(|bounds| {
        let told = |side: &str, values: &[Option<String>]| {
            let values = values.iter();
            let values = values.map(|value| value.as_deref().unwrap_or("NULL"));
            format!("{side} {}", values.collect::<Vec<_>>().join(" to "))
        };
        let values = if bounds.source.is_empty() {
            String::new()
        } else {
            let source = told("source", &bounds.source);
            format!(" ({source}; {})", told("destination", &bounds.destination))
        };
        format!(
            "{} has another lowest or highest value{values}",
            bounds.column
        )
    });
    nulls.chain(bounds).collect()
}

fn told(row: &ShownRow) -> String {
    let what = match row.difference {
        Difference::Missing => "missing",
        Difference::Extra => "extra",
        Difference::Differs => "differs",
    };
    let side = |name: &str, values: &Option<BTreeMap<String, Option<String>>>| {
        let values = values.as_ref();
        values.map_or_else(String::new, |values| format!("; {name}: {}", pairs(values)))
    };
    format!(
        "{what} {}{}{}",
        pairs(&row.key),
        side("source", &row.source),
        side("destination", &row.destination)
    )
}

fn pairs(values: &BTreeMap<String, Option<String>>) -> String {
    let pairs = values.iter().map(|(column, value)| {
        let value = value.as_ref();
        value.map_or_else(
            || format!("{column} NULL"),
            |value| format!("{column}={value}"),
        )
    });
    pairs.collect::<Vec<_>>().join(", ")
}
