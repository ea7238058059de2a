//! How much memory DuckDB may use, and a load that needs more.

use crate::destination::sql::Engine as _;
use crate::error::{Error, Kind, Result};

use super::open;
use super::session::Session;

/// How much memory DuckDB may use, in bytes: so much at first, and so much at most where a load cannot do with it.
///
/// What a load needs grows with the width of its rows (DuckDB gathers 122,880 of them for each thread before it writes
/// them out), not with their number. A wide table is thus taken with more memory, rather than not at all. What DuckDB is
/// allowed it also fills, with blocks that it may need again: the limit begins low, because more of it makes a load no faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    pub(in crate::destination) now: u64,
    most: u64,
}

impl MemoryLimit {
    /// Four times as much, where that is allowed.
    pub(in crate::destination) fn raised(self) -> Option<Self> {
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

/// Does `work`, which is one transaction, and does it again with more memory where it cannot do with what there is. `session`
/// is the session that it works with.
pub(in crate::destination) fn with_enough<E, T>(
    engine: &mut E,
    session: impl Fn(&mut E) -> &mut Session,
    mut work: impl FnMut(&mut E) -> Result<T>,
) -> Result<T> {
    let first = session(engine).memory_limit();
    let mut limit = first;
    let done = loop {
        let done = work(engine);
        let kind = done.as_ref().err().map(Error::kind);
        if kind == Some(Kind::DiskFull) {
            // What was written is undone, but keeps its room in the file until a checkpoint.
            let given_back = session(engine).execute("CHECKPOINT");
            tracing::debug!(?given_back, "the disk is full");
        }
        let raised = limit.raised();
        let Some(raised) = raised.filter(|_| kind == Some(Kind::OutOfMemory)) else {
            break done;
        };
        // The transaction was rolled back: it begins anew. One thread needs half as much as two.
        tracing::info!(bytes = raised.now, "DuckDB needs more memory for this load");
        session(engine).allow(raised.now, 1)?;
        limit = raised;
    };
    if limit != first
        && let Err(error) = session(engine).allow(first.now, open::threads())
    {
        tracing::debug!(%error, "DuckDB keeps the memory that it was given");
    }
    done
}
