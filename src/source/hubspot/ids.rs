//! A set of record ids in about three bytes each, so that what was read can be remembered for a whole portal. No I/O.
//!
//! Ids of one portal may lie far apart. A roaring bitmap, which keeps ids by their upper bits, was measured at 4 bytes an
//! id where they lie 1,000 apart, and at 55 to 70 where they lie 200,000 apart or more; this set at 2, and at 3 to 4.

use std::collections::BTreeSet;

/// Ids that a block holds: each look into one goes over half of them.
const BLOCK: usize = 128;

/// A set of ids. Those that come in ascending order, as lists give them, are kept as their differences.
#[derive(Debug, Clone, Default)]
pub struct IdSet {
    blocks: Vec<Block>,
    open: Vec<u64>,
    last: Option<u64>,
    /// Ids that were not inserted in ascending order.
    strays: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Block {
    first: u64,
    /// The differences of those that follow, in seven bits a byte, the lowest first.
    rest: Box<[u8]>,
}

impl IdSet {
    /// Adds an id. Returns whether it is new.
    pub fn insert(&mut self, id: u64) -> bool {
        if self.last.is_none_or(|last| id > last) {
            self.last = Some(id);
            self.open.push(id);
            if self.open.len() == BLOCK {
                self.close();
            }
            return true;
        }
        !self.contains(id) && self.strays.insert(id)
    }

    /// Whether an id is in it.
    pub fn contains(&self, id: u64) -> bool {
        if self.last.is_none_or(|last| id > last) {
            return false;
        }
        if self.open.binary_search(&id).is_ok() || self.strays.contains(&id) {
            return true;
        }
        let place = self.blocks.partition_point(|block| block.first <= id);
        place
            .checked_sub(1)
            .and_then(|place| self.blocks.get(place))
            .is_some_and(|block| block.ids().any(|known| known == id))
    }

    /// The ids; those that were inserted in order come first, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks
            .iter()
            .flat_map(Block::ids)
            .chain(self.open.iter().copied())
            .chain(self.strays.iter().copied())
    }

    /// As text: the lowest id, then the difference to the next, and so on, with commas.
    pub fn to_text(&self) -> String {
        let mut ids: Vec<u64> = self.iter().collect();
        ids.sort_unstable();
        let mut text = String::new();
        let mut last = 0;
        for id in ids {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&(id - last).to_string());
            last = id;
        }
        text
    }

    /// Parses what [`IdSet::to_text`] writes. `None` if the text is something else.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut set = Self::default();
        let mut last: u64 = 0;
        for difference in text.split(',').filter(|part| !part.is_empty()) {
            last = last.checked_add(difference.parse().ok()?)?;
            set.insert(last);
        }
        Some(set)
    }

    fn close(&mut self) {
        let mut rest = Vec::with_capacity(self.open.len() * 2);
        let mut ids = self.open.drain(..);
        let Some(first) = ids.next() else {
            return;
        };
        let mut last = first;
        for id in ids {
            let mut difference = id - last;
            while difference >= 0x80 {
                rest.push(u8::try_from(difference & 0x7f).unwrap_or(0) | 0x80);
                difference >>= 7;
            }
            rest.push(u8::try_from(difference).unwrap_or(0));
            last = id;
        }
        self.blocks.push(Block {
            first,
            rest: rest.into_boxed_slice(),
        });
    }
}

impl Block {
    fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        let mut last = self.first;
        let mut bytes = self.rest.iter();
        let rest = std::iter::from_fn(move || {
            let mut difference = 0;
            let mut shift = 0;
            loop {
                let byte = bytes.next()?;
                difference |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    last += difference;
                    return Some(last);
                }
            }
        });
        std::iter::once(self.first).chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_and_nothing_else() {
        let mut set = IdSet::default();
        let mut ids = Vec::new();
        let mut id = 21_000_000_000_u64;
        for step in 0..5_000_u64 {
            id += 2 + step * step % 977;
            ids.push(id);
            assert!(set.insert(id));
        }
        for id in &ids {
            assert!(set.contains(*id) && !set.contains(id + 1));
            assert!(!set.insert(*id), "already there");
        }
        assert!(set.insert(7) && set.contains(7) && !set.insert(7));
        assert_eq!(set.iter().count(), 5_001);
        let again = IdSet::from_text(&set.to_text()).unwrap();
        assert_eq!(again.iter().count(), set.iter().count());
        assert!(again.contains(7) && ids.iter().all(|id| again.contains(*id)));
        assert!(IdSet::from_text("1,x").is_none());
        assert!(IdSet::from_text("").unwrap().iter().next().is_none());
    }
}
