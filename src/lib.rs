//! acequia copies tables and queries of PostgreSQL and objects of HubSpot, through a Parquet landing area, into DuckDB or
//! PostgreSQL. This library offers to programs what the command `acequia` offers to people.
//!
//! ```no_run
//! use acequia::{Document, RunOptions, Selection};
//!
//! # async fn nightly() -> acequia::Result<()> {
//! let document = Document::read("acequia.toml".as_ref())?;
//! let pipeline = document.resolve(&Selection::default())?;
//! let report = acequia::run(pipeline, RunOptions::default()).await?;
//! for stream in &report.streams {
//!     println!("{}: {} rows, {} inserted", stream.stream, stream.rows_extracted, stream.inserted);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`run`] extracts each stream from its source as `RecordBatch`es, lands them as Parquet parts with a manifest, and loads
//! them into the destination: rows, ledger and position in one transaction. [`check`] finds what would keep a run from
//! succeeding, [`plan`] says what a run would do, [`status`] reports the state of each stream, and [`replay`] builds a
//! destination from the landing area alone. These functions need a tokio runtime with time and I/O enabled; their futures
//! are `Send`.
//!
//! If one stream fails, the others continue, and `run` returns `Ok`: the [report](pipeline::report::RunReport) has the
//! failure. An [`Error`] says what failed, on what, and how to fix it; [`Error::report`] returns all of that as text.
//!
//! [`Progress`] shows how far a run is, and [`RunOptions::interrupt`] stops it; changes that are not committed by then are
//! undone.

mod allocator;
mod array_form;
mod change;
pub mod config;
mod destination;
pub mod discovery;
mod error;
mod evolution;
mod exact;
#[doc(hidden)]
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod http;
mod http_server;
mod identity;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod known_tables;
pub mod landing;
pub mod layout;
mod mask;
pub mod metrics;
pub mod mode;
pub mod models;
pub mod names;
pub mod notify;
mod openlineage;
pub mod pipeline;
pub mod position;
mod postgres;
pub mod progress;
pub mod renames;
mod replacement;
pub mod report;
mod row_set;
pub mod runs;
pub mod schema;
mod seen;
mod shape;
mod shell;
pub mod size;
mod source;
pub mod spans;
#[cfg(feature = "otel")]
pub mod telemetry;
pub mod verify;

pub use config::{Document, Pipeline, Selection};
pub use error::{Error, Result};
pub use pipeline::check::check;
pub use pipeline::discover::discover;
pub use pipeline::plan::plan;
pub use pipeline::replay::{ReplayOptions, replay};
pub use pipeline::runs::runs;
pub use pipeline::status::status;
pub use pipeline::tables::{TablesFrom, look_up_tables};
pub use pipeline::{RunOptions, run};
pub use progress::Progress;
