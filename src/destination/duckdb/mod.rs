//! DuckDB as a destination: one file, one writer.
//!
//! A load is read by DuckDB itself from its Parquet parts and applied, with its ledger row and the stream's new position,
//! in one transaction. Nothing passes through Rust but SQL.
//!
//! [`open`] opens the file; [`session`] runs SQL on it and translates errors ([`error`]); [`transaction`] applies a load in
//! one transaction; [`catalog`] reads the catalog, [`comments`] those of people. Loads and the ledger are [`crate::destination::sql`]'s; [`engine`]
//! implements what they need, with its own way to [`merge`] and to [`stage`] rows, its own [`dialect`], and its own parser for a
//! [`query`] that people wrote. The writer of
//! Iceberg tables uses all of it but the catalog and the engine.

use std::path::Path;

use crate::destination::sql::{Database, place};
use crate::error::Result;

mod catalog;
mod comments;
pub(crate) mod dialect;
mod engine;
pub(in crate::destination) mod error;
pub(in crate::destination) mod memory;
pub(in crate::destination) mod merge;
mod models;
pub(in crate::destination) mod open;
mod query;
pub(in crate::destination) mod session;
pub(in crate::destination) mod stage;
#[cfg(test)]
pub(in crate::destination) mod tests;
pub(in crate::destination) mod transaction;
mod tree;

use session::Session;

pub use memory::MemoryLimit;

/// A dataset in a DuckDB database file.
pub(crate) type DuckDb = Database<Session>;

impl DuckDb {
    /// Opens the file, created if it is missing, and creates the dataset's schema and ledger if they are missing.
    ///
    /// `name` is the destination's name in the configuration, for messages; `memory_limit` may be in bytes. Data that do
    /// not fit into memory go to the folder `<path>.tmp`.
    ///
    /// # Errors
    /// [`Error::Destination`](crate::Error::Destination) if another program holds the file, it is not a DuckDB file, a
    /// newer DuckDB wrote it, or it cannot be read and written.
    pub fn open(
        name: &str,
        path: &Path,
        memory_limit: impl Into<MemoryLimit>,
        dataset: &str,
    ) -> Result<Self> {
        let session = open::writable(name, path, memory_limit.into(), dataset)?;
        Self::writable(session, &place::of_file(path))
            .map_err(|error| error.context(open::subject(name, path)))
    }

    /// Opens the file only to read its ledger. `None` if the file or the dataset's ledger does not exist yet: nothing was
    /// ever loaded.
    ///
    /// # Errors
    /// As [`DuckDb::open`].
    pub fn open_read_only(name: &str, path: &Path, dataset: &str) -> Result<Option<Self>> {
        match open::readable(name, path, dataset)? {
            Some(session) => Self::readable(session, &place::of_file(path))
                .map_err(|error| error.context(open::subject(name, path))),
            None => Ok(None),
        }
    }
}
