//! The log, on standard error; and what takes the spans that tell what a run is at, where somebody wants them.

use std::io::IsTerminal;

use acequia::spans;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::printer::{Notices, colour_is_wanted};
use super::{Global, LogFormat};

/// What takes spans or events.
pub(super) type Taker = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts the log. `RUST_LOG` decides where `-v` is not given.
///
/// `-v` is about acequia alone: at these levels the libraries below it may log statements, and with them cell values. The spans are
/// for `others`: in the log each line has its subject already.
pub(crate) fn start(global: &Global, notices: &Notices, others: Option<Taker>) {
    let filter = match global.verbose {
        0 => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        1 => EnvFilter::new("warn,acequia=info"),
        2 => EnvFilter::new("warn,acequia=debug"),
        _ => EnvFilter::new("warn,acequia=trace"),
    };
    let without_spans = format!("{}=off", spans::TARGET).parse::<Directive>();
    let filter = without_spans
        .into_iter()
        .fold(filter, EnvFilter::add_directive);
    let notices = notices.clone();
    let log = fmt::layer()
        .with_ansi(std::io::stderr().is_terminal() && colour_is_wanted())
        .with_writer(move || notices.clone());
    let log: Taker = match global.log_format {
        LogFormat::Text => Box::new(log.with_target(false).with_filter(filter)),
        LogFormat::Json => Box::new(log.json().with_filter(filter)),
    };
    let takers: Vec<Taker> = others.into_iter().chain([log]).collect();
    // It fails only where a log has been started already.
    let _ = tracing_subscriber::registry().with(takers).try_init();
}
