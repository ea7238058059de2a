//! Going through a list page by page, without being led round and round or being stopped too early. No I/O.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::json::Flaw;
use super::page::{IdHead, PageEnd};

/// Which records a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Those in use.
    Live,
    /// Those in the archive, where they are kept for 90 days.
    Archived,
}

/// The cursors by which pages were asked for. One that comes again would lead round and round for ever.
#[derive(Debug, Clone, Default)]
pub struct Trail(HashSet<u64>);

/// A list under way.
#[derive(Debug, Clone)]
pub struct Listing {
    which: RecordState,
    limit: usize,
    after: Option<String>,
    trail: Trail,
    highest: u64,
    /// The ids of the page that is asked for once more.
    again: Vec<u64>,
    /// Whether the last page was full and said that no other comes: it is asked for once more.
    doubted: bool,
}

/// What comes after a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another page, or the same once more.
    Page,
    /// Nothing, if there is no live record above this id.
    EndAbove(u64),
    /// Nothing.
    End,
}

impl Trail {
    /// Whether a cursor leads on.
    ///
    /// # Errors
    /// Where it was followed already.
    pub fn check(&self, after: Option<&str>) -> Result<(), Flaw> {
        match after {
            Some(after) if self.0.contains(&fingerprint(after)) => Err(Flaw::Odd(
                "the next page is one that was read already (`after` comes again)".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Follows a cursor.
    pub fn follow(&mut self, after: &str) {
        self.0.insert(fingerprint(after));
    }
}

impl Listing {
    /// A list, from its first page on; pages have `limit` records at most.
    pub fn new(which: RecordState, limit: usize) -> Self {
        Self {
            which,
            limit,
            after: None,
            trail: Trail::default(),
            highest: 0,
            again: Vec::new(),
            doubted: false,
        }
    }

    /// Takes out of a page what was given of it already, where it was asked for once more.
    pub fn leave_new(&mut self, heads: &mut Vec<IdHead>) {
        let ids = heads.iter().filter_map(|head| head.number().ok()).collect();
        if self.doubted {
            heads.retain(|head| head.number().is_ok_and(|id| !self.again.contains(&id)));
        }
        self.again = ids;
    }

    /// Which records it shows.
    pub fn which(&self) -> RecordState {
        self.which
    }

    /// What to ask for the next page with.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Whether a page leads on.
    ///
    /// # Errors
    /// Where it leads back to one that was read.
    pub fn check(&self, page: &PageEnd) -> Result<(), Flaw> {
        self.trail.check(page.after.as_deref())
    }

    /// Turns a page over.
    pub fn turn(&mut self, page: PageEnd) -> Turn {
        self.highest = self.highest.max(page.highest);
        if let Some(after) = page.after {
            self.trail.follow(&after);
            self.after = Some(after);
            self.doubted = false;
            return Turn::Page;
        }
        if page.records < self.limit {
            return Turn::End;
        }
        if !self.doubted {
            self.doubted = true;
            return Turn::Page;
        }
        match self.which {
            RecordState::Live => Turn::EndAbove(self.highest),
            RecordState::Archived => Turn::End,
        }
    }
}

fn fingerprint(after: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(after: Option<&str>, records: usize) -> PageEnd {
        PageEnd {
            after: after.map(str::to_owned),
            records,
            highest: 7,
            ..PageEnd::default()
        }
    }

    #[test]
    fn a_cursor_that_comes_again_is_refused() {
        let mut listing = Listing::new(RecordState::Live, 100);
        for after in ["a", "b"] {
            let page = page(Some(after), 100);
            listing.check(&page).unwrap();
            assert_eq!(listing.turn(page), Turn::Page);
        }
        assert!(listing.check(&page(Some("a"), 100)).is_err());
        assert!(listing.check(&page(Some("c"), 0)).is_ok());
    }

    #[test]
    fn a_page_that_is_asked_for_once_more_gives_what_is_new() {
        let heads = |ids: &[u64]| -> Vec<IdHead> { ids.iter().map(|id| IdHead::of(*id)).collect() };
        let mut listing = Listing::new(RecordState::Live, 2);
        let mut first = heads(&[1, 2]);
        listing.leave_new(&mut first);
        assert_eq!((first.len(), listing.turn(page(None, 2))), (2, Turn::Page));
        let mut again = heads(&[2, 3]);
        listing.leave_new(&mut again);
        assert_eq!(again.first().map(|head| head.id.as_str()), Some("3"));
        assert_eq!(again.len(), 1);
    }

    #[test]
    fn a_full_page_is_the_last_only_when_it_says_so_twice() {
        let mut listing = Listing::new(RecordState::Live, 100);
        assert_eq!(listing.turn(page(None, 100)), Turn::Page);
        assert_eq!(listing.turn(page(Some("a"), 100)), Turn::Page);
        assert_eq!(listing.turn(page(None, 100)), Turn::Page);
        assert_eq!(listing.turn(page(None, 100)), Turn::EndAbove(7));
        let mut listing = Listing::new(RecordState::Archived, 100);
        assert_eq!(listing.turn(page(None, 99)), Turn::End);
    }
}
