//! How much memory DuckDB may use.

/// How much memory DuckDB may use, in bytes: so much at first, and so much at most where a load cannot do with it.
///
/// What a load needs grows with the width of its rows (DuckDB gathers 122,880 of them for each thread before it writes
/// them out), not with their number, but where it changes or deletes rows all over a large table (which DuckDB marks in memory).
/// Such a load is taken with more memory, rather than not at all. What DuckDB is
/// allowed it also fills, with blocks that it may need again: the limit begins low, because more of it makes a load no faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    pub(in crate::destination) now: u64,
    pub(super) most: u64,
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
