//! acequia carries rows from PostgreSQL and HubSpot, through a Parquet landing area, into
//! DuckDB or PostgreSQL.
//!
//! Every row takes one path: source -> `RecordBatch` stream -> landing (Parquet parts and a manifest) -> destination
//! (data, ledger and position in one transaction). The modules are the stations of that path; `ARCHITECTURE.md` draws
//! it.

pub mod change;
pub mod config;
pub mod destination;
pub mod error;
pub mod evolution;
mod exact;
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
pub mod landing;
pub mod mode;
pub mod names;
pub mod pipeline;
pub mod position;
pub mod postgres;
pub mod progress;
pub mod schema;
pub mod seen;
pub mod shape;
pub mod size;
pub mod source;
pub mod watermark;

pub use error::{Error, Result};
