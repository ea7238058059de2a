//! DuckDB as a destination: one file, one writer.
//!
//! A load is read by DuckDB itself from its Parquet parts and applied, with its ledger row and the stream's new position,
//! in one transaction. Nothing passes through Rust but SQL.
//!
//! [`open`] opens the file; [`session`] runs SQL on it and tells its failures ([`failure`]); [`catalog`] says what is there.
//! Loads and the ledger are [`crate::destination::sql`]'s; [`engine`] is what DuckDB is to them, with its own way to [`merge`]
//! and to [`stage`] rows, and its own [`dialect`].

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::destination::sql::{Engine as _, SqlEngine as _, ledger, live_ids, place};
use crate::destination::{Destination, Interrupter, LedgerRow, Loaded, StagedLoad, StreamState};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::mode::Disposition;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;

mod catalog;
pub(crate) mod dialect;
mod engine;
mod failure;
mod merge;
mod open;
mod session;
mod stage;
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
        let mut session = open::writable(name, path, memory_limit.now, dataset)?;
        let here = place::of_file(path);
        let prepared = session.transaction(|session| ledger::prepare(session, &here));
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
        let Some(mut session) = open::readable(name, path, dataset)? else {
            return Ok(None);
        };
        let id = ledger::seen_id(&mut session, &place::of_file(path))
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

impl DuckDb {
    /// Applies a load with the memory that there is now.
    fn load_once(&mut self, load: &StagedLoad) -> Result<Loaded> {
        let loaded = self
            .session
            .transaction(|session| {
                let loaded = ledger::load(session, load)?;
                fail::fail_point!("duckdb.before_commit", failpoint::abort);
                Ok(loaded)
            })
            .map_err(|error| error.on(format!("load {}", load.manifest.load_id)))?;
        fail::fail_point!("duckdb.after_commit", failpoint::abort);
        Ok(loaded)
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
        ledger::states(&mut self.session)
    }

    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>> {
        ledger::loaded(&mut self.session, stream)
    }

    fn last_loads(&mut self) -> Result<Vec<LedgerRow>> {
        ledger::last_loads(&mut self.session)
    }

    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()> {
        self.session
            .transaction(|session| ledger::advance(session, stream, before, after))
    }

    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>> {
        let table = self.session.table(table);
        live_ids(&mut self.session, &table, disposition)
    }

    fn load(&mut self, load: &StagedLoad) -> Result<Loaded> {
        if self.read_only {
            return Err(Error::internal(
                "a load on a destination that was opened to be read",
            ));
        }
        let mut limit = self.memory_limit;
        let loaded = loop {
            let loaded = self.load_once(load);
            let kind = loaded.as_ref().err().map(Error::kind);
            if kind == Some(Kind::DiskFull) {
                // What was written is undone, but keeps its room in the file until a checkpoint.
                let given_back = self.session.execute("CHECKPOINT");
                tracing::debug!(?given_back, "the disk is full");
            }
            let raised = limit.raised();
            let Some(raised) = raised.filter(|_| kind == Some(Kind::OutOfMemory)) else {
                break loaded;
            };
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
        loaded
    }
}
