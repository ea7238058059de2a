//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::printer::{Notices, colour_is_wanted};
use super::{Global, LogFormat};

/// Starts the log. `RUST_LOG` decides where `-v` is not given.
///
/// `-v` is about acequia alone: at these levels the libraries below it may log statements, and with them cell values.
pub(crate) fn start(global: &Global, notices: &Notices) {
    let filter = match global.verbose {
        0 => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        1 => EnvFilter::new("warn,acequia=info"),
        2 => EnvFilter::new("warn,acequia=debug"),
        _ => EnvFilter::new("warn,acequia=trace"),
    };
    let notices = notices.clone();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && colour_is_wanted())
        .with_writer(move || notices.clone());
    // It fails only where a log has been started already.
    let _ = match global.log_format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
