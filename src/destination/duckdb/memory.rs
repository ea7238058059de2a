//! How much memory and how many threads DuckDB may use.

use std::thread;

/// Bytes for each thread of a load: DuckDB gathers 122,880 rows for each before it writes them out.
const LOAD_BYTES: u64 = 40_000_000;
/// Bytes for each thread of a query, which keeps groups, sorted rows and one side of a join.
const QUERY_BYTES: u64 = 160_000_000;
/// Threads of a load at most: four write rows several times as fast as a source sends them.
const LOAD_THREADS: usize = 4;
const MOST: u64 = 5_120_000_000;

/// How much memory DuckDB may use, in bytes, with how many threads: so much at first, and so much at most where work cannot do with it.
///
/// What a load needs grows with the width of its rows and with its threads, not with the number of rows, but where it changes or
/// deletes rows all over a large table (which DuckDB marks in memory). Such a load is taken with more memory, rather than not at
/// all. What DuckDB is allowed it also fills, with blocks that it may need again: the limit begins low, because more of it makes a
/// load no faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    pub(super) now: u64,
    pub(super) most: u64,
    pub(super) threads: usize,
}

impl MemoryLimit {
    /// What loads begin with on a machine of so many processors.
    fn of_loads(processors: usize) -> Self {
        Self::of(processors.min(LOAD_THREADS), LOAD_BYTES)
    }

    /// What queries begin with on a machine of so many processors: each of them, and more memory than a load.
    fn of_queries(processors: usize) -> Self {
        Self::of(processors, QUERY_BYTES)
    }

    /// Never less than two threads need: one alone is no reason to have less.
    fn of(threads: usize, bytes: u64) -> Self {
        let now = bytes.saturating_mul(threads.max(2) as u64).min(MOST);
        Self {
            now,
            most: MOST,
            threads,
        }
    }

    /// The limit for queries, where this one is for loads: as much as before if that is all there may be.
    pub(in crate::destination) fn for_queries(self) -> Self {
        let threads = processors();
        if self.now == self.most {
            Self { threads, ..self }
        } else {
            Self::of_queries(threads)
        }
    }

    /// Four times as much, as far as that is allowed, for one thread, which needs half as much as two. `None` if that is no more.
    pub(super) fn raised(self) -> Option<Self> {
        let raised = Self {
            now: self.now.saturating_mul(4).min(self.most),
            threads: 1,
            ..self
        };
        (raised != self).then_some(raised)
    }
}

/// What loads begin with on this machine.
impl Default for MemoryLimit {
    fn default() -> Self {
        Self::of_loads(processors())
    }
}

/// So many bytes and no more.
impl From<u64> for MemoryLimit {
    fn from(bytes: u64) -> Self {
        Self {
            now: bytes,
            most: bytes,
            threads: processors().min(LOAD_THREADS),
        }
    }
}

/// The processors that this process may use.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits that work is tried with, one after the other: megabytes, and threads.
    fn tries(limit: MemoryLimit) -> Vec<(u64, usize)> {
        let limits = std::iter::successors(Some(limit), |limit| limit.raised());
        limits
            .map(|limit| (limit.now / 1_000_000, limit.threads))
            .collect()
    }

    #[test]
    fn a_load_begins_with_little_for_each_of_a_few_threads_and_ends_with_much_for_one() {
        let two = [(80, 2), (320, 1), (1280, 1), (5120, 1)];
        assert_eq!(tries(MemoryLimit::of_loads(2)), two);
        let one = [(80, 1), (320, 1), (1280, 1), (5120, 1)];
        assert_eq!(tries(MemoryLimit::of_loads(1)), one);
        let many = [(160, 4), (640, 1), (2560, 1), (5120, 1)];
        assert_eq!(tries(MemoryLimit::of_loads(64)), many);
    }

    #[test]
    fn queries_have_every_processor_and_more_for_each() {
        assert_eq!(
            tries(MemoryLimit::of_queries(2)),
            [(320, 2), (1280, 1), (5120, 1)]
        );
        assert_eq!(tries(MemoryLimit::of_queries(8)), [(1280, 8), (5120, 1)]);
        assert_eq!(tries(MemoryLimit::of_queries(64)), [(5120, 64), (5120, 1)]);
        assert_eq!(
            MemoryLimit::default().for_queries(),
            MemoryLimit::of_queries(processors())
        );
    }

    #[test]
    fn a_limit_that_was_set_stays_and_only_threads_go() {
        let set = MemoryLimit::from(256_000_000);
        for limit in [set, set.for_queries()] {
            assert!(tries(limit).iter().all(|(megabytes, _)| *megabytes == 256));
            assert_eq!(tries(limit).last(), Some(&(256, 1)));
        }
    }
}
