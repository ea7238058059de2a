//! The rows of one side as sums in buckets. No I/O.

use super::codec::Entry;

/// How many buckets there are.
pub(crate) const BUCKETS: usize = 1 << 16;

/// How many rows each bucket has, and the sum of their hashes. A sum, not an exclusive or: a row that comes twice counts twice.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    counts: Vec<u64>,
    sums: Vec<u128>,
}

/// Some of the buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    chosen: Vec<bool>,
    /// The first bucket after them that differs as well.
    pub(crate) next: Option<usize>,
}

/// The bucket of a key.
#[allow(clippy::cast_possible_truncation, reason = "it is the highest 16 bits")]
pub(crate) fn bucket(key: u128) -> usize {
    (key >> 112) as usize
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            sums: vec![0; BUCKETS],
        }
    }
}

impl Buckets {
    /// Adds a row.
    pub(crate) fn add(&mut self, entry: &Entry) {
        let bucket = bucket(entry.key);
        if let (Some(count), Some(sum)) = (self.counts.get_mut(bucket), self.sums.get_mut(bucket)) {
            *count += 1;
            *sum = sum.wrapping_add(entry.row);
        }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets in which two sides differ, from a bucket on: as many as have at most `most` rows on both sides together, and
    /// one in any case.
    pub(crate) fn differing(&self, other: &Self, from: usize, most: u64) -> Option<Chosen> {
        let mut chosen = vec![false; BUCKETS];
        let (mut rows, mut any) = (0_u64, false);
        let mine = self.counts.iter().zip(&self.sums);
        let others = other.counts.iter().zip(&other.sums);
        let sides = mine.zip(others).zip(&mut chosen).enumerate().skip(from);
        let mut next = None;
        for (place, ((mine, others), chosen)) in sides {
            if mine == others {
                continue;
            }
            rows += mine.0 + others.0;
            if any && rows > most {
                next = Some(place);
                break;
            }
            (any, *chosen) = (true, true);
        }
        any.then_some(Chosen { chosen, next })
    }
}

impl Chosen {
    /// Whether the bucket of a row is one of them.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        self.chosen.get(bucket(entry.key)).copied() == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bucket: u128, row: u128) -> Entry {
        Entry {
            key: (bucket << 112) | row,
            row,
            cursor: 0,
            comes_again: false,
        }
    }

    fn buckets(rows: &[(u128, u128)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (bucket, row) in rows {
            buckets.add(&entry(*bucket, *row));
        }
        buckets
    }

    #[test]
    fn the_same_rows_in_any_order_do_not_differ() {
        let one = buckets(&[(1, 5), (65_535, 7), (1, 9)]);
        let other = buckets(&[(65_535, 7), (1, 9), (1, 5)]);
        assert_eq!(one.differing(&other, 0, 100), None);
        assert_eq!(one.rows(), 3);
    }

    #[test]
    fn a_row_that_comes_twice_two_that_cancel_out_and_another_value_differ() {
        let one = buckets(&[(1, 5)]);
        for other in [
            buckets(&[(1, 5), (1, 5)]),
            buckets(&[(1, 6)]),
            buckets(&[]),
            buckets(&[(1, 5), (1, 0)]),
            buckets(&[(2, 5)]),
        ] {
            assert!(one.differing(&other, 0, 100).is_some());
        }
        let found = one.differing(&buckets(&[(1, 6)]), 0, 100).unwrap();
        assert!(found.next.is_none() && found.has(&entry(1, 0)) && !found.has(&entry(2, 0)));
    }

    #[test]
    fn not_more_rows_are_chosen_than_fit() {
        let one = buckets(&[(1, 5), (2, 6), (3, 7)]);
        let none = buckets(&[]);
        let found = one.differing(&none, 0, 2).unwrap();
        assert_eq!(found.next, Some(3));
        assert!(found.has(&entry(2, 0)) && !found.has(&entry(3, 0)));
        let rest = one.differing(&none, 3, 2).unwrap();
        assert!(rest.next.is_none() && rest.has(&entry(3, 0)) && !rest.has(&entry(2, 0)));
        let first = one.differing(&none, 0, 0).unwrap();
        assert!(first.has(&entry(1, 0)) && first.next == Some(2));
    }
}
