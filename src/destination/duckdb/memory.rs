//! How much memory DuckDB may use, and a load that needs more.

use crate::destination::sql::{Engine as _, Transactional as _, ledger};
use crate::destination::{Loaded, StagedLoad};
use crate::error::{Error, Kind, Result};
use crate::failpoint;

use super::open;
use super::session::Session;

/// How much memory DuckDB may use, in bytes: so much at first, and so much at most where a load cannot do with it.
///
/// What a load needs grows with the width of its rows (DuckDB gathers 122,880 of them for each thread before it writes
/// them out), not with their number. A wide table is thus taken with more memory, rather than not at all. What DuckDB is
/// allowed it also fills, with blocks that it may need again: the limit begins low, because more of it makes a load no faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    pub(super) now: u64,
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

/// Applies a load in one transaction, again with more memory where it cannot do with what there is.
pub(super) fn load(session: &mut Session, load: &StagedLoad) -> Result<Loaded> {
    let first = session.memory_limit();
    let mut limit = first;
    let loaded = loop {
        let loaded = load_once(session, load);
        let kind = loaded.as_ref().err().map(Error::kind);
        if kind == Some(Kind::DiskFull) {
            // What was written is undone, but keeps its room in the file until a checkpoint.
            let given_back = session.execute("CHECKPOINT");
            tracing::debug!(?given_back, "the disk is full");
        }
        let raised = limit.raised();
        let Some(raised) = raised.filter(|_| kind == Some(Kind::OutOfMemory)) else {
            break loaded;
        };
        // The transaction was rolled back: the load begins anew. One thread needs half as much as two.
        tracing::info!(bytes = raised.now, "DuckDB needs more memory for this load");
        session.allow(raised.now, 1)?;
        limit = raised;
    };
    if limit != first
        && let Err(error) = session.allow(first.now, open::threads())
    {
        tracing::debug!(%error, "DuckDB keeps the memory that it was given");
    }
    loaded
}

fn load_once(session: &mut Session, load: &StagedLoad) -> Result<Loaded> {
    let loaded = session.transaction(|session| {
        let loaded = ledger::load(session, load)?;
        fail::fail_point!("duckdb.before_commit", failpoint::abort);
        Ok(loaded)
    })?;
    fail::fail_point!("duckdb.after_commit", failpoint::abort);
    Ok(loaded)
}
