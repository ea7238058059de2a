//! `acequia landing`

use acequia::Result;

use super::{Context, Exit, LandingCommand};

mod list;
mod prune;

pub(crate) fn run(command: LandingCommand, context: &mut Context) -> Result<Exit> {
    match command {
        LandingCommand::List(args) => list::run(args, context),
        LandingCommand::Prune(args) => prune::run(args, context),
    }
}
