//! Paging through a list, with protection against lists that repeat or that end too early. No I/O.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::json::Flaw;
use super::page::{IdHead, PageEnd};

/// The state of the records that a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Records that are not archived.
    Live,
    /// Archived records, which HubSpot keeps for 90 days.
    Archived,
}

/// The cursors of the pages so far. A cursor that repeats would lead in a circle for ever.
#[derive(Debug, Clone, Default)]
pub struct Trail(HashSet<u64>);

/// The state of paging through a list.
#[derive(Debug, Clone)]
pub struct Listing {
    which: RecordState,
    limit: usize,
    after: Option<String>,
    trail: Trail,
    highest: u64,
    /// The ids of the page that is requested once more.
    again: Vec<u64>,
    /// Whether the last page was full and claimed to be the last: it is requested once more.
    doubted: bool,
}

/// What follows a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another page, or the same page once more.
    Page,
    /// Nothing, if there is no live record above this id.
    EndAbove(u64),
    /// Nothing.
    End,
}

impl Trail {
    /// Checks that a cursor is new.
    ///
    /// # Errors
    /// The cursor was followed already.
    pub fn check(&self, after: Option<&str>) -> Result<(), Flaw> {
        match after {
            Some(after) if self.0.contains(&fingerprint(after)) => Err(Flaw::Odd(
                "the next page is one that was read already (`after` comes again)".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Notes that a cursor is followed.
    pub fn follow(&mut self, after: &str) {
        self.0.insert(fingerprint(after));
    }
}

impl Listing {
    /// Creates a list that begins at its first page; pages have at most `limit` records.
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

    /// Removes from a page what was returned already, if the page was requested once more.
    pub fn leave_new(&mut self, heads: &mut Vec<IdHead>) {
        let ids = heads.iter().filter_map(|head| head.number().ok()).collect();
        if self.doubted {
            heads.retain(|head| head.number().is_ok_and(|id| !self.again.contains(&id)));
        }
        self.again = ids;
    }

    /// The state of the records that the list shows.
    pub fn which(&self) -> RecordState {
        self.which
    }

    /// The cursor of the next page.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Checks that a page leads to a new page.
    ///
    /// # Errors
    /// The page leads back to one that was read.
    pub fn check(&self, page: &PageEnd) -> Result<(), Flaw> {
        self.trail.check(page.after.as_deref())
    }

    /// Goes to the next page.
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
