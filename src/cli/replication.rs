//! `acequia replication`

use std::io::{IsTerminal, stdin};

use acequia::config::{self, Document, Selection};
use acequia::mode::Mode;
use acequia::source::postgres::Postgres;
use acequia::source::postgres::replication::survey::{self, Standing};
use acequia::{Error, Result};

use super::printer::Mark;
use super::{Context, Exit, ReplicationCommand, ReplicationDropArgs, block_on};

pub(crate) fn run(command: ReplicationCommand, context: &mut Context) -> Result<Exit> {
    match command {
        ReplicationCommand::Drop(args) => drop(&args, context),
    }
}

fn drop(args: &ReplicationDropArgs, context: &Context) -> Result<Exit> {
    let source = source(args, context)?;
    let (server, names) = source.replication();
    let standing = block_on(survey::standing(server, names))?;
    let printer = &context.printer;
    if standing.slot.is_none() && standing.publication.is_none() {
        if printer.is_json() {
            printer.json(&standing)?;
        } else {
            let what = format!(
                "there is nothing to drop: neither the slot `{}` nor the publication `{}` is there for this pipeline alone",
                names.slot, names.publication
            );
            printer.line(what)?;
        }
        return Ok(Exit::Ok);
    }
    if standing.active {
        return Err(Error::source(format!(
            "the replication slot `{}` is being read",
            names.slot
        ))
        .remedy("stop the run that reads it, then drop it"));
    }
    if !args.yes && !agreed(&standing, context)? {
        printer.line("nothing was dropped")?;
        return Ok(Exit::Ok);
    }
    block_on(survey::drop(server, &standing))?;
    if printer.is_json() {
        printer.json(&standing)?;
    } else {
        printer.marked(Mark::Good, &format!("dropped {}", named(&standing)))?;
    }
    Ok(Exit::Ok)
}

/// The source that is named, with the names that it has for the destination.
fn source(args: &ReplicationDropArgs, context: &Context) -> Result<Postgres> {
    let document = Document::read(&context.global.config)?;
    let name = &args.source;
    let streams = &document.config().streams;
    let of_source = streams.iter().filter(|(_, stream)| stream.source == *name);
    let (cdc, others): (Vec<_>, Vec<_>) =
        of_source.partition(|(_, stream)| stream.mode == Mode::Cdc);
    // Where no stream of changes is left, the source is found by any of its streams.
    let stream = cdc.first().or(others.first()).ok_or_else(|| {
        Error::config(format!("no stream has the source `{name}`"))
            .remedy("name a source of the configuration that a stream reads")
    })?;
    let pipeline = document.resolve(&Selection {
        streams: vec![stream.0.to_string()],
        destination: args.destination.clone(),
    })?;
    match pipeline.sources.get(name) {
        Some(config::Source::Postgres {
            url,
            replication,
            reader,
        }) => Postgres::new(url, replication, *reader),
        _ => Err(
            Error::config(format!("the source `{name}` is no PostgreSQL database"))
                .remedy("only a PostgreSQL database has a replication slot"),
        ),
    }
}

fn named(standing: &Standing) -> String {
    let slot = standing
        .slot
        .iter()
        .map(|slot| format!("the replication slot `{slot}`"));
    let publication = standing.publication.iter();
    let publication = publication.map(|name| format!("the publication `{name}`"));
    slot.chain(publication).collect::<Vec<_>>().join(" and ")
}

/// Asks, where there is somebody to ask.
fn agreed(standing: &Standing, context: &Context) -> Result<bool> {
    let what = format!(
        "This drops {}. Changes that were not carried yet are lost to acequia: the next run of the source's cdc streams \
         needs --full-refresh.",
        named(standing)
    );
    if !stdin().is_terminal() {
        return Err(Error::config(what).remedy("add --yes to do it"));
    }
    context.notices.say(&what);
    context.notices.say("Drop? Type yes:");
    let mut answer = String::new();
    stdin()
        .read_line(&mut answer)
        .map_err(|error| Error::config("the answer cannot be read").cause(error))?;
    Ok(answer.trim() == "yes")
}
