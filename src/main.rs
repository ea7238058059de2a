//! The command line: parse, run, exit.

use std::process::ExitCode;

use clap::FromArgMatches;

mod cli;

use cli::{Cli, Command, Context};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    acequia::failpoint::arm();
    let cli =
        Cli::from_arg_matches(&cli::command().get_matches()).unwrap_or_else(|error| error.exit());
    let mut context = Context::new(cli.global, cli.command.works());
    let outcome = match cli.command {
        Command::Init(args) => cli::init::run(&args, &mut context),
        Command::Discover(args) => cli::discover::run(&args, &mut context),
        Command::Check(args) => cli::check::run(args, &mut context),
        Command::Run(args) => cli::run::run(&args, &mut context),
        Command::Status(args) => cli::status::run(args, &mut context),
        Command::Runs(args) => cli::runs::run(args, &mut context),
        Command::Inspect(args) => cli::inspect::run(&args, &mut context),
        Command::Replication(command) => cli::replication::run(command, &mut context),
        Command::Replay(args) => cli::replay::run(args, &mut context),
        Command::Models(command) => cli::models::run(command, &mut context),
        Command::Report(args) => cli::report::run(&args, &mut context),
        Command::Landing(command) => cli::landing::run(command, &mut context),
        Command::Verify(args) => cli::verify::run(&args, &mut context),
        Command::Completions(args) => cli::completions::run(&args, &mut context),
        Command::ConfigSchema => cli::config_schema::run(&mut context),
    };
    context.exit(outcome)
}
