//! `acequia status`

use acequia::config::Selection;
use acequia::landing::failures::Failure;
use acequia::mode::Mode;
use acequia::pipeline::status::{SlotStatus, StatusReport, StreamStatus, slots, status};
use acequia::{Result, TablesFrom};
use chrono::{DateTime, TimeDelta, Utc};

use super::printer::{Mark, Printer};
use super::{Context, Exit, StatusArgs, block_on, figures};

pub(crate) fn run(args: StatusArgs, context: &mut Context) -> Result<Exit> {
    let document = context.document(TablesFrom::LastRun)?;
    let selection = Selection::from(args.selection);
    let pipeline = document.resolve_without_sources(&selection)?;
    let every_stream = selection.streams.is_empty();
    let follows = pipeline
        .streams
        .iter()
        .any(|stream| stream.mode() == Mode::Cdc);
    let report = block_on(async {
        let mut report = status(&pipeline, every_stream).await?;
        // The sources are asked where they can be; what the ledger says needs none.
        if follows && let Ok(pipeline) = document.resolve(&selection) {
            report.slots = slots(&pipeline).await;
        }
        if let Some(allowed) = args.max_age {
            report.check_ages(&pipeline, allowed).await;
        }
        Ok(report)
    })?;
    print(&report, &context.printer)?;
    Ok(if report.is_ok() {
        Exit::Ok
    } else {
        Exit::Failed
    })
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
        if let Some(failure) = &stream.failure {
            printer.marked(Mark::Bad, &failed(stream, failure, now))?;
        }
        if stream.stale == Some(true) {
            printer.marked(Mark::Bad, &stale(stream, report.max_age_seconds, now))?;
        }
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
    for left in &report.left_behind {
        let mut what = Vec::new();
        if let Some(load_id) = &left.load_id {
            what.push(format!(
                "its table and its place in the ledger (last load {load_id})"
            ));
        }
        if let Some(folder) = &left.folder {
            what.push(format!("its folder {folder}"));
        }
        let text = format!(
            "stream {} is not in the configuration any more and has left {}",
            left.stream,
            what.join(", and ")
        );
        printer.marked(Mark::Warning, &text)?;
    }
    if !report.left_behind.is_empty() {
        printer.line(
            "    to be rid of such a stream: drop its table, DELETE its row from _acequia_state in the destination's dataset, and \
             remove its folder",
        )?;
    }
    for slot in &report.slots {
        print_slot(slot, printer)?;
    }
    Ok(())
}

/// How old a stream is that is older than it may be.
fn stale(stream: &StreamStatus, allowed: Option<i64>, now: DateTime<Utc>) -> String {
    let allowed = figures::age(TimeDelta::seconds(allowed.unwrap_or_default()));
    match stream.synced_at {
        Some(synced) => format!(
            "stream {}: last brought up to date {} ago, which is more than {allowed}",
            stream.stream,
            figures::age(now - synced)
        ),
        None => format!("stream {}: never brought up to date", stream.stream),
    }
}

/// How a stream's last run failed.
fn failed(stream: &StreamStatus, failure: &Failure, now: DateTime<Utc>) -> String {
    let ago = figures::age(now - failure.failed_at);
    let times = match failure.runs {
        0 | 1 => String::new(),
        runs => format!(
            ", and so did the {} before it, since {}",
            figures::plural(runs - 1, "run"),
            figures::moment(failure.since)
        ),
    };
    format!(
        "stream {}: its last run failed {ago} ago{times}: {}",
        stream.stream, failure.error
    )
}

fn print_slot(slot: &SlotStatus, printer: &Printer) -> Result<()> {
    let name = format!("source {}, replication slot `{}`", slot.source, slot.slot);
    let bytes = |bytes: Option<u64>| figures::bytes(bytes.unwrap_or(0));
    if let Some(error) = &slot.error {
        let text = format!("{name}: {error}");
        return printer.marked(Mark::Bad, &text);
    }
    if !slot.exists {
        return printer.marked(Mark::Warning, &format!("{name}: not made yet, or dropped"));
    }
    let status = slot.wal_status.as_deref().unwrap_or("unknown");
    let text = format!(
        "{name}: {} written since it was confirmed, {} of the write-ahead log kept for it ({status}), {}",
        bytes(slot.lag_bytes),
        bytes(slot.retained_bytes),
        if slot.active {
            "being read"
        } else {
            "not being read"
        },
    );
    let mark = if status == "reserved" {
        Mark::Good
    } else {
        Mark::Warning
    };
    printer.marked(mark, &text)
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
        stream.loaded_at.map_or_else(none, figures::moment),
        stream
            .synced_at
            .map_or_else(none, |time| figures::age(now - time)),
        stream
            .loaded_at
            .map_or_else(none, |_| figures::count(stream.rows_extracted)),
        figures::count(u64::try_from(stream.pending.len()).unwrap_or(u64::MAX)),
        figures::position(stream.position.as_ref()),
    ]
}
