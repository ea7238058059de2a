//! DuckDB as a destination: one file, one writer.
//!
//! A load is read by DuckDB itself from its Parquet parts and applied, with its ledger row and the stream's new position,
//! in one transaction ([`load`]). Nothing passes through Rust but SQL.
//!
//! [`open`] opens the file; [`session`] runs SQL on it and tells its failures ([`failure`]); [`ledger`] keeps what was
//! loaded; [`indices`] keeps what people made; [`load`] applies a load to its [`table`]: by [`merge`] or [`append`], by [`changes`], or as
//! [`crate::destination::apply`] says for all destinations; [`sql`], [`rows`] and [`overlap`] write the SQL that they need.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::destination::apply::marks;
use crate::destination::{
    Destination, Interrupter, LedgerRow, LoadOutcome, StagedLoad, StreamState, place,
};
use crate::error::{Error, Result};
use crate::landing::manifest::Disposition;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;

mod append;
mod changes;
mod failure;
mod indices;
mod ledger;
mod load;
mod merge;
mod open;
mod overlap;
mod rows;
mod session;
pub(crate) mod sql;
mod table;
#[cfg(test)]
mod tests;

use session::Session;

/// How much memory DuckDB may use, in bytes: so much at first, and so much at most where a load cannot do with it.
///
/// What a load needs grows with the width of its rows (DuckDB gathers 122,880 of them for each thread before it writes
/// them out), not with their number. A wide table is thus taken with more memory, rather than not at all. What DuckDB is
/// allowed it also fills, with blocks that it may need again: the limit begins low, because more of it makes a load no faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    now: u64,
    most: u64,
}

impl MemoryLimit {
    /// Four times as much, where that is allowed.
    fn raised(self) -> Option<Self> {
        let now = self.now.checked_mul(4).filter(|now| *now <= self.most)?;
        Some(Self { now, ..self })
    }
}

/// From 96 MB to 6 GB.
impl Default for MemoryLimit {
    fn default() -> Self {
        Self {
            now: 96_000_000,
            most: 6_144_000_000,
        }
    }
}

/// So many bytes and no more.
impl From<u64> for MemoryLimit {
    fn from(bytes: u64) -> Self {
        Self {
            now: bytes,
            most: bytes,
        }
    }
}

/// A DuckDB database file.
#[derive(Debug)]
pub struct DuckDb {
    session: Session,
    memory_limit: MemoryLimit,
    id: DestinationId,
    /// What is to be known where its ledger was made at another place.
    moved: Option<String>,
    read_only: bool,
}

impl DuckDb {
    /// Opens the file, made where it is missing, and sees to the dataset's schema and ledger.
    ///
    /// `name` is the destination's name in the configuration, for messages; `memory_limit` may be in bytes. What does not
    /// fit into memory goes to the folder `<path>.tmp`.
    ///
    /// # Errors
    /// [`Error::Destination`] where the file is held by another program, is no DuckDB file, was written by a newer
    /// DuckDB, or cannot be read and written.
    pub fn open(
        name: &str,
        path: &Path,
        memory_limit: impl Into<MemoryLimit>,
        dataset: &str,
    ) -> Result<Self> {
        let memory_limit = memory_limit.into();
        let session = open::writable(name, path, memory_limit.now, dataset)?;
        let prepared = ledger::prepare(&session, &place::of_file(path));
        let (id, moved) = prepared.map_err(|error| error.on(open::subject(name, path)))?;
        Ok(Self {
            session,
            memory_limit,
            id,
            moved,
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
        let id = ledger::seen_id(&session, &place::of_file(path))
            .map_err(|error| error.on(open::subject(name, path)))?;
        Ok(id.map(|id| Self {
            session,
            memory_limit: MemoryLimit::default(),
            id,
            moved: None,
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

    fn warnings(&self) -> Vec<String> {
        self.moved.iter().cloned().collect()
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

    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()> {
        self.session
            .transaction(|| ledger::advance(&self.session, stream, before, after))
    }

    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>> {
        let table = self.session.table(table);
        marks::live_ids(&mut &self.session, &table, disposition)
    }

    fn load(&mut self, load: &StagedLoad) -> Result<LoadOutcome> {
        if self.read_only {
            return Err(Error::internal(
                "a load on a destination that was opened to be read",
            ));
        }
        let mut limit = self.memory_limit;
        let outcome = loop {
            let outcome = load::load(&self.session, load);
            if outcome.as_ref().is_err_and(failure::is_disk_full) {
                // What was written is undone, but keeps its room in the file until a checkpoint.
                let given_back = self.session.execute("CHECKPOINT", []);
                tracing::debug!(?given_back, "the disk is full");
            }
            let (Err(error), Some(raised)) = (&outcome, limit.raised()) else {
                break outcome;
            };
            if !failure::is_out_of_memory(error) {
                break outcome;
            }
            // The transaction was rolled back: the load begins anew. One thread needs half as much as two.
            tracing::info!(bytes = raised.now, "DuckDB needs more memory for this load");
            self.session.allow(raised.now, 1)?;
            limit = raised;
        };
        if limit != self.memory_limit
            && let Err(error) = self.session.allow(self.memory_limit.now, open::threads())
        {
            tracing::debug!(%error, "DuckDB keeps the memory that it was given");
        }
        outcome
    }
}
