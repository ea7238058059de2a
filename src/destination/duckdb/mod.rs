//! DuckDB as a destination: one file, one writer.
//!
//! A load is read by DuckDB itself from its Parquet parts and applied, with its ledger row and the stream's new position,
//! in one transaction. Nothing passes through Rust but SQL.
//!
//! [`open`] opens the file; [`session`] runs SQL on it and tells its failures ([`error`]); [`catalog`] says what is there.
//! Loads and the ledger are [`crate::destination::sql`]'s; [`engine`] is what DuckDB is to them, with its own way to [`merge`]
//! and to [`stage`] rows, and its own [`dialect`]. What writes tables of Iceberg by DuckDB shares all but the catalog and the
//! engine.

use std::path::Path;

use crate::destination::sql::{Database, place};
use crate::error::Result;

mod catalog;
pub(crate) mod dialect;
mod engine;
pub(in crate::destination) mod error;
pub(in crate::destination) mod memory;
pub(in crate::destination) mod merge;
pub(in crate::destination) mod open;
pub(in crate::destination) mod session;
pub(in crate::destination) mod stage;
#[cfg(test)]
pub(in crate::destination) mod tests;
pub(in crate::destination) mod transaction;

use session::Session;

pub use memory::MemoryLimit;

/// A dataset in a DuckDB database file.
pub(crate) type DuckDb = Database<Session>;

impl DuckDb {
    /// Opens the file, made where it is missing, and sees to the dataset's schema and ledger.
    ///
    /// `name` is the destination's name in the configuration, for messages; `memory_limit` may be in bytes. What does not
    /// fit into memory goes to the folder `<path>.tmp`.
    ///
    /// # Errors
    /// [`Error::Destination`](crate::Error::Destination) where the file is held by another program, is no DuckDB file, was written by a newer
    /// DuckDB, or cannot be read and written.
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

    /// Opens the file only to read its ledger. None where the file or the dataset's ledger does not exist yet: nothing
    /// was ever loaded.
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
