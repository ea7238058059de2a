//! `acequia completions SHELL`

use acequia::{Error, Result};
use clap::CommandFactory;

use super::{Cli, CompletionsArgs, Context, Exit};

pub(crate) fn run(args: &CompletionsArgs, context: &mut Context) -> Result<Exit> {
    // clap_complete panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "acequia", &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| Error::internal("the completion script is not UTF-8").cause(error))?;
    context.printer.raw(&script)?;
    Ok(Exit::Ok)
}
