//! `acequia replication`

use std::io::{IsTerminal, stdin};

use acequia::pipeline::teardown::{Found, Teardown};
use acequia::{Error, Result, TablesFrom};

use super::printer::Mark;
use super::{Context, Exit, ReplicationCommand, ReplicationDropArgs, block_on};

pub(crate) fn run(command: ReplicationCommand, context: &mut Context) -> Result<Exit> {
    match command {
        ReplicationCommand::Drop(args) => drop(&args, context),
    }
}

fn drop(args: &ReplicationDropArgs, context: &Context) -> Result<Exit> {
    let document = context.document(TablesFrom::LastRun)?;
    let teardown = block_on(Teardown::look(
        &document,
        &args.source,
        args.destination.clone(),
    ))?;
    let printer = &context.printer;
    let found = teardown.found().clone();
    if found.slot.is_none() && found.publication.is_none() {
        if printer.is_json() {
            printer.json(&found)?;
        } else {
            let (slot, publication) = teardown.names();
            let what = format!(
                "there is nothing to drop: neither the slot `{slot}` nor the publication `{publication}` is there for this \
                 pipeline alone"
            );
            printer.line(what)?;
        }
        return Ok(Exit::Ok);
    }
    if found.active {
        let (slot, _) = teardown.names();
        return Err(
            Error::source(format!("the replication slot `{slot}` is being read"))
                .remedy("stop the run that reads it, then drop it"),
        );
    }
    if !args.yes && !agreed(&found, context)? {
        printer.line("nothing was dropped")?;
        return Ok(Exit::Ok);
    }
    block_on(teardown.drop())?;
    if printer.is_json() {
        printer.json(&found)?;
    } else {
        printer.marked(Mark::Good, &format!("dropped {}", named(&found)))?;
    }
    Ok(Exit::Ok)
}

fn named(found: &Found) -> String {
    let slot = found
        .slot
        .iter()
        .map(|slot| format!("the replication slot `{slot}`"));
    let publication = found.publication.iter();
    let publication = publication.map(|name| format!("the publication `{name}`"));
    slot.chain(publication).collect::<Vec<_>>().join(" and ")
}

/// Asks for confirmation, if a person can answer.
fn agreed(found: &Found, context: &Context) -> Result<bool> {
    let what = format!(
        "This drops {}. Changes that were not loaded yet are lost to acequia: the next run of the source's cdc streams \
         needs --full-refresh.",
        named(found)
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
