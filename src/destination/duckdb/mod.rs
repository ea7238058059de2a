//! DuckDB as a destination: one file, one writer.
//!
//! A load is read by DuckDB itself from its Parquet parts and applied, with its ledger row and the stream's new position,
//! in one transaction ([`load`]). Nothing passes through Rust but SQL.
//!
//! [`open`] opens the file; [`session`] runs SQL on it and tells its failures ([`failure`]); [`ledger`] keeps what was
//! loaded; [`load`] applies a load, by [`merge`] or [`append`] where it adds to a [`table`]; [`sql`], [`rows`] and
//! [`overlap`] write the SQL that they need.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::destination::{
    Destination, Interrupter, LedgerRow, LoadOutcome, StagedLoad, StreamState,
};
use crate::error::{Error, Result};
use crate::names::{DestinationId, LoadId, StreamName};

mod append;
mod failure;
mod ledger;
mod load;
mod merge;
mod open;
mod overlap;
mod rows;
mod session;
mod sql;
mod table;
#[cfg(test)]
mod tests;

use session::Session;

/// A DuckDB database file.
#[derive(Debug)]
pub struct DuckDb {
    session: Session,
    id: DestinationId,
    read_only: bool,
}

impl DuckDb {
    /// Opens the file, made where it is missing, and sees to the dataset's schema and ledger.
    ///
    /// `name` is the destination's name in the configuration, for messages; `memory_limit` is in bytes. What does not
    /// fit into memory goes to the folder `<path>.tmp`.
    ///
    /// # Errors
    /// [`Error::Destination`] where the file is held by another program, is no DuckDB file, was written by a newer
    /// DuckDB, or cannot be read and written.
    pub fn open(name: &str, path: &Path, memory_limit: u64, dataset: &str) -> Result<Self> {
        let session = open::writable(name, path, memory_limit, dataset)?;
        let id = ledger::prepare(&session).map_err(|error| error.on(open::subject(name, path)))?;
        Ok(Self {
            session,
            id,
            read_only: false,
        })
    }

    /// Opens the file only to read its ledger. None where the file or the dataset's ledger does not exist yet: nothing
    /// was ever loaded.
    ///
    /// # Errors
    /// As [`DuckDb::open`].
    pub fn open_read_only(name: &str, path: &Path, dataset: &str) -> Result<Option<Self>> {
        let Some(session) = open::readable(name, path, dataset)? else {
            return Ok(None);
        };
        let id = ledger::find_id(&session).map_err(|error| error.on(open::subject(name, path)))?;
        Ok(id.map(|id| Self {
            session,
            id,
            read_only: true,
        }))
    }
}

impl Destination for DuckDb {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn interrupter(&self) -> Interrupter {
        self.session.interrupter()
    }

    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>> {
        ledger::states(&self.session)
    }

    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>> {
        ledger::loaded(&self.session, stream)
    }

    fn last_loads(&mut self) -> Result<Vec<LedgerRow>> {
        ledger::last_loads(&self.session)
    }

    fn load(&mut self, load: &StagedLoad) -> Result<LoadOutcome> {
        if self.read_only {
            return Err(Error::internal(
                "a load on a destination that was opened to be read",
            ));
        }
        load::load(&self.session, load)
    }
}
