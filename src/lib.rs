//! acequia brings tables and queries of PostgreSQL and objects of HubSpot, through a Parquet landing area, into DuckDB or
//! PostgreSQL. This library is what the command `acequia` does, for programs.
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
//! [`run`] takes every stream along the one path: source, `RecordBatch` stream, landing area (Parquet parts and a manifest),
//! destination (rows, ledger and position in one transaction). [`check`] says beforehand what would keep it from doing so,
//! [`plan`] what it would do, [`status`] how each stream stands, and [`replay`] builds a destination from the landing area
//! alone. They need a tokio runtime with time and I/O enabled, and may run on tasks of their own.
//!
//! One stream's failure does not stop the others and is no `Err`: the [report](pipeline::report::RunReport) has it. An
//! [`Error`] tells what is wrong, with what, and what to do about it; [`Error::report`] has all of that.
//!
//! A run is watched through [`Progress`] and stopped through [`RunOptions::interrupt`]; what was not committed then is as if
//! it had not begun.

mod change;
pub mod config;
mod destination;
mod error;
mod evolution;
mod exact;
#[doc(hidden)]
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod identity;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
pub mod landing;
pub mod mode;
pub mod names;
pub mod pipeline;
pub mod position;
mod postgres;
pub mod progress;
pub mod schema;
mod seen;
mod shape;
pub mod size;
mod source;

pub use config::{Document, Pipeline, Selection};
pub use error::{Error, Result};
pub use pipeline::check::check;
pub use pipeline::plan::plan;
pub use pipeline::replay::{ReplayOptions, replay};
pub use pipeline::status::status;
pub use pipeline::{RunOptions, run};
pub use progress::Progress;
