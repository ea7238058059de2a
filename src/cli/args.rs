//! The arguments of the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use acequia::config::{Selection, duration};
use acequia::names::LoadId;
use acequia::position::AskedRange;
use chrono::TimeDelta;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::help;

/// Copies rows from PostgreSQL and HubSpot, through a Parquet landing area, into DuckDB, PostgreSQL or an Iceberg lake.
#[derive(Debug, Parser)]
#[command(name = "acequia", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The configuration file
    #[arg(
        short,
        long,
        global = true,
        env = "ACEQUIA_CONFIG",
        hide_env_values = true,
        value_name = "PATH",
        default_value = "acequia.toml"
    )]
    pub(crate) config: PathBuf,
    /// How results are written to standard output
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// Tell more on standard error; twice or three times for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How the log is written to standard error; json also turns the progress display off
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented acequia.toml, for your own source with --from
    #[command(after_help = help::INIT)]
    Init(InitArgs),
    /// List what a source has: tables or objects, sizes, keys, and how each is best read
    #[command(after_help = help::DISCOVER)]
    Discover(DiscoverArgs),
    /// See whether the configuration, its connections and their privileges work
    ///
    /// Prints the SQL or the setting that fixes each problem. Changes nothing.
    #[command(after_help = help::CHECK)]
    Check(SelectionArgs),
    /// Copy the streams from their sources into the destination
    ///
    /// First finishes what an earlier run left in the landing area, then extracts and loads each stream. A stream that
    /// fails does not stop the others. Ctrl-C stops cleanly: the next run takes it up.
    Run(RunArgs),
    /// Show how far each stream is: its last load, rows, position and pending loads
    ///
    /// Exits with 1 where a stream's last run failed, or it is older than --max-age allows.
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// List the runs, newest first: when they were, how they ended and what failed
    #[command(after_help = help::RUNS)]
    Runs(RunsArgs),
    /// Show what a load or a Parquet file consists of: schema, sizes, ranges, sample rows
    Inspect(InspectArgs),
    /// Manage what replication uses on a source's server
    #[command(subcommand)]
    Replication(ReplicationCommand),
    /// Build a destination from the landing area alone, without the sources
    ///
    /// Of each stream, applies the newest complete chain of loads, from the last one that made the table anew, or what
    /// follows on the loads that the destination has. The next run goes on from there.
    Replay(ReplayArgs),
    /// Compare the tables with their sources, row by row, and exit with 1 if they differ
    ///
    /// Rows of both sides are hashed and added up in buckets; only where those differ are rows compared. Streams of changes
    /// are compared at one LSN, while others write. docs/verify.md tells what holds for which stream.
    Verify(VerifyArgs),
    /// Build, test and show the models: tables that are made of the streams' tables
    ///
    /// `acequia run` builds them after its loads. docs/models.md tells how they are written.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Make the report: one HTML page of what the destination has
    ///
    /// The page is made of the folder that [report] names: texts (.md), charts of Vega-Lite (.vl.json) and tables (.sql). It
    /// holds all it needs and opens offline.
    Report(ReportArgs),
    /// See what is in the landing area, and remove what is not needed
    #[command(subcommand)]
    Landing(LandingCommand),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the JSON Schema of acequia.toml, for editors
    #[command(after_help = help::CONFIG_SCHEMA)]
    ConfigSchema,
}

impl Command {
    /// Whether it works on streams or models, and not only looks.
    pub(crate) fn works(&self) -> bool {
        matches!(
            self,
            Self::Run(_) | Self::Replay(_) | Self::Verify(_) | Self::Models(ModelsCommand::Run(_))
        )
    }
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to write them into; made if it is missing
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    #[arg(
        long,
        value_name = "URL",
        help = "Look at this source and write a configuration that runs: postgres://…, or hubspot://TOKEN@ (or hubspot:// with the \
                token in HUBSPOT_TOKEN). What is secret goes to .env alone"
    )]
    pub(crate) from: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    #[arg(
        value_name = "SOURCE",
        help = "The source, by its name in the configuration or by its address: postgres://…, hubspot://TOKEN@"
    )]
    pub(crate) source: String,
    /// List partitions and the tables of extensions, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicationCommand {
    /// Drop a source's replication slot, and its publication where nothing else of this pipeline needs it
    ///
    /// The server then keeps no write-ahead log for the slot any more. The next run of the source's cdc streams needs
    /// --full-refresh: it takes a new snapshot.
    #[command(after_help = help::REPLICATION_DROP)]
    Drop(ReplicationDropArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplicationDropArgs {
    /// The source, by its name in the configuration
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// The destination whose slot it is, instead of the one that [pipeline] names
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Which streams, into which destination.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArgs {
    /// The streams, by name or by a pattern such as 'v*'; all of them if none is named
    #[arg(value_name = "STREAM")]
    pub(crate) streams: Vec<String>,
    /// The destination, instead of the one that [pipeline] names
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::RUN)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Forget the positions: read incremental streams from the beginning, and make their tables anew
    #[arg(long)]
    pub(crate) full_refresh: bool,
    /// Go on with the cdc streams, in small batches, until Ctrl-C; other streams are copied once
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) follow: bool,
    /// Print the plan and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Look now for rows that their source has no more, in streams with `delete_missing`
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) delete_missing: bool,
    /// Leave the models as they are
    #[arg(long)]
    pub(crate) no_models: bool,
    /// How many streams are copied at once [default: the number of processors, 4 at most]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

/// A range of incremental streams that is read again.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "A range, read again and replaced; the position stays")]
pub(crate) struct RangeArgs {
    /// Read the rows again whose cursor is VALUE or higher, as in 2024-01-31T00:00:00Z
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) from: Option<String>,
    /// Read the rows again whose cursor is lower than VALUE
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) to: Option<String>,
    /// The column that --from and --to are values of, where it is not the cursor
    #[arg(long, value_name = "COLUMN")]
    pub(crate) column: Option<String>,
}

impl RangeArgs {
    /// The range, if one is asked for.
    pub(crate) fn asked(&self) -> Option<AskedRange> {
        let Self { from, to, column } = self.clone();
        let is_asked = from.is_some() || to.is_some() || column.is_some();
        is_asked.then_some(AskedRange { column, from, to })
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// How long ago a stream may last have been brought up to date, as in 6h; a run that finds nothing new counts
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) max_age: Option<TimeDelta>,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// How many runs to list at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Leave out those that succeeded
    #[arg(long)]
    pub(crate) failed: bool,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
}

#[derive(Debug, Args)]
#[command(after_help = help::INSPECT)]
pub(crate) struct InspectArgs {
    /// A Parquet file, a load's folder, a manifest.json, or a load's id
    #[arg(value_name = "PATH|LOAD_ID")]
    pub(crate) what: String,
    /// How many sample rows to show
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) rows: usize,
}

#[derive(Debug, Args)]
#[command(after_help = help::REPLAY)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Apply this load alone; may be given several times
    #[arg(long = "load", value_name = "ID")]
    pub(crate) loads: Vec<LoadId>,
}

#[derive(Debug, Args)]
#[command(after_help = help::VERIFY)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// What the tables are compared with
    #[arg(long, value_name = "SIDE", default_value = "source")]
    pub(crate) against: AgainstArg,
    /// Compare what the databases count: rows, NULLs of each column, lowest and highest value of the cursor or key
    #[arg(long, conflicts_with_all = ["keys", "sample"])]
    pub(crate) counts: bool,
    /// Compare only the keys or, of tables without a key, the numbers of rows
    #[arg(long)]
    pub(crate) keys: bool,
    /// Compare a part of the rows, chosen by their keys, as in 1%
    #[arg(long, value_name = "PART", value_parser = part)]
    pub(crate) sample: Option<f64>,
    /// Compare the rows of incremental streams whose cursor is at or after T: a value of it, or how long ago, as in 7d
    #[arg(long, value_name = "T")]
    pub(crate) since: Option<String>,
    /// Show up to N rows that differ, with their values [default: 10]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    pub(crate) show: Option<usize>,
    /// Mend what differs: by a load of the rows that were found, which lands and is replayed as any other
    #[arg(long, conflicts_with_all = ["counts", "keys", "sample", "since", "against"])]
    pub(crate) repair: bool,
}

/// What tables are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AgainstArg {
    Source,
    Landing,
}

fn part(text: &str) -> std::result::Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|text| text.trim().parse::<f64>().ok());
    number
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "write a percentage above 0 and up to 100, as in 1%".to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = help::REPORT)]
pub(crate) struct ReportArgs {
    /// The page's file [default: `output` under [report], or report.html beside the configuration]
    #[arg(long, value_name = "PATH")]
    pub(crate) page: Option<PathBuf>,
    /// Show the page on this machine's loopback address until Ctrl-C, and keep it fresh; no file is written
    #[arg(long, conflicts_with = "page")]
    pub(crate) serve: bool,
    /// The port to show it on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080, requires = "serve")]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Build the models that are new or changed, or that read what has changed, and run their tests
    ///
    /// In one transaction: where a model cannot be built or a test fails, all tables stay as they were. Models that are named
    /// are built in any case, after those that they read and that have changed.
    #[command(after_help = help::MODELS_RUN)]
    Run(ModelsArgs),
    /// Run all tests on the models as they are
    Test(ModelsArgs),
    /// List the models: when they were built, their rows and tests, and whether the next run builds them
    List(DestinationArgs),
    /// Show what each model reads
    Graph(GraphArgs),
}

/// Which models, in which destination.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// The models; all of them if none is named
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
}

/// In which destination.
#[derive(Debug, Clone, Args)]
pub(crate) struct DestinationArgs {
    /// The destination, instead of the one that [pipeline] names
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    /// As a flowchart of Mermaid
    #[arg(long)]
    pub(crate) mermaid: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LandingCommand {
    /// List the loads, and whether the destination has them
    #[command(after_help = help::LANDING_LIST)]
    List(SelectionArgs),
    /// Remove loads that are old and that no destination need be built from
    ///
    /// Never removes a load that the destination has not loaded, nor a stream's last load that made its table anew and
    /// what came after it.
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
#[command(after_help = help::LANDING_PRUNE)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// How old a load must be, as in 30d or 12h [default: `retention` under [pipeline]]
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<TimeDelta>,
    /// Also remove loads made for other destinations; whether those have loaded them is not known
    #[arg(long)]
    pub(crate) all_destinations: bool,
    /// Tell what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn age(text: &str) -> std::result::Result<TimeDelta, String> {
    duration(text).ok_or_else(|| "write a whole number and a unit, as in 30d or 12h".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

impl From<SelectionArgs> for Selection {
    fn from(args: SelectionArgs) -> Self {
        Self {
            streams: args.streams,
            destination: args.destination,
        }
    }
}

impl From<DestinationArgs> for Selection {
    fn from(args: DestinationArgs) -> Self {
        Self {
            streams: Vec::new(),
            destination: args.destination,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_options_of_every_command_may_stand_behind_it() {
        let cli = Cli::try_parse_from([
            "acequia", "run", "ventas", "-vv", "-c", "x.toml", "--output", "json",
        ])
        .unwrap();
        assert_eq!(cli.global.verbose, 2);
        assert_eq!(cli.global.config, PathBuf::from("x.toml"));
        assert_eq!(cli.global.output, Output::Json);
    }
}
