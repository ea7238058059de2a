//! What every command shares. One file for each command.

use std::process::ExitCode;
use std::time::Duration;

use acequia::config::Document;
use acequia::metrics::Meters;
use acequia::{Error, Result, TablesFrom, look_up_tables};

mod args;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config_schema;
pub(crate) mod discover;
mod figures;
mod help;
pub(crate) mod init;
pub(crate) mod inspect;
mod interrupt;
pub(crate) mod landing;
mod logging;
pub(crate) mod models;
mod observed;
mod printer;
mod progress;
pub(crate) mod replay;
pub(crate) mod replication;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod status;
pub(crate) mod verify;

pub(crate) use args::*;
pub(crate) use help::command;
use observed::Observed;
use printer::{Notices, Printer};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All well.
    Ok = 0,
    /// A stream or a check failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Stopped on request.
    Interrupted = 130,
}

/// What a command works with: the global options, and the two ways out.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) printer: Printer,
    pub(crate) notices: Notices,
    observed: Observed,
}

impl Context {
    /// Starts the log as well, and what else watches a command that works on streams.
    pub(crate) fn new(global: Global, works: bool) -> Self {
        let notices = Notices::new(global.log_format);
        let (observed, taker, problems) = if works {
            Observed::start()
        } else {
            (Observed::default(), None, Vec::new())
        };
        logging::start(&global, &notices, taker);
        for problem in problems {
            tracing::warn!("{problem}");
        }
        Self {
            printer: Printer::new(global.output),
            notices,
            global,
            observed,
        }
    }

    /// What a run measures, for whoever watches.
    pub(crate) fn meters(&self) -> Meters {
        self.observed.meters.clone()
    }

    /// The configuration, with the tables of its patterns.
    pub(crate) fn document(&self, tables: TablesFrom<'_>) -> Result<Document> {
        let document = Document::read(&self.global.config)?;
        if !document.has_patterns() {
            return Ok(document);
        }
        block_on(look_up_tables(document, tables))
    }

    /// The one place where an error is printed.
    pub(crate) fn exit(mut self, outcome: Result<Exit>) -> ExitCode {
        let exit = outcome.unwrap_or_else(|error| {
            self.notices.failure(&error.report());
            match error {
                Error::Config(_) => Exit::Usage,
                Error::Interrupted => Exit::Interrupted,
                _ => Exit::Failed,
            }
        });
        self.observed.finish();
        ExitCode::from(exit as u8)
    }
}

/// How long threads may still take to end once all is done.
const THREADS_END: Duration = Duration::from_secs(1);

/// Runs what the library does asynchronously.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("cannot start the threads").cause(error))?;
    let done = runtime.block_on(future);
    // What was given up may still block a thread: opening a database that others hold, a server that says nothing.
    runtime.shutdown_timeout(THREADS_END);
    done
}
