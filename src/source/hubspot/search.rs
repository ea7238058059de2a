//! The answers of a search, and whether they can be trusted. No I/O.
//!
//! A search pages by key: hits are sorted by id, and each page begins after the last id. An answer that is not sorted, that
//! has fewer hits than it claims, or that ends too early would lose changes for good. Therefore each answer is checked: its
//! ids ascend, are above the last one, and are as many as `total` says a page has.

use serde::Deserialize;
use serde_json::json;

use super::json::{self, Flaw};
use super::page::{IdHead, Paging};

/// The most hits of a page.
pub const SEARCH_PAGE: u64 = 200;

/// A page of a search.
#[derive(Debug, Deserialize)]
pub struct SearchPage {
    /// The number of hits from here on, including those on further pages.
    total: u64,
    /// The hits of this page.
    pub results: Vec<IdHead>,
    #[serde(default)]
    paging: Option<Paging>,
}

/// A search that pages by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// The time since which records were changed, milliseconds since 1970.
    pub since: i64,
    /// The last id that was seen.
    pub last: u64,
    /// How many hits were seen, and how many the first page claimed.
    seen: u64,
    promised: Option<u64>,
    /// How often the search began anew.
    again: u32,
}

/// What follows a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another page.
    Page(Walk),
    /// Nothing: all hits were seen.
    End,
    /// Nothing, although fewer hits were seen than the search claimed, as this says.
    Short(String),
}

impl Walk {
    /// A search for records that were changed since then.
    pub fn new(since: i64) -> Self {
        Self {
            since,
            last: 0,
            seen: 0,
            promised: None,
            again: 0,
        }
    }

    /// A search for all live records above an id.
    pub fn above(id: u64) -> Self {
        Self {
            last: id,
            ..Self::new(0)
        }
    }

    /// The request body for the next page.
    pub fn body(&self, modified: &str) -> String {
        json!({
            "filterGroups": [{"filters": [
                {"propertyName": modified, "operator": "GTE", "value": self.since.to_string()},
                {"propertyName": "hs_object_id", "operator": "GT", "value": self.last.to_string()},
            ]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": ["hs_object_id"],
            "limit": SEARCH_PAGE,
            "after": "0",
        })
        .to_string()
    }

    /// Parses a page, and checks it.
    ///
    /// # Errors
    /// What is implausible.
    pub fn page(&self, body: &[u8]) -> Result<SearchPage, Flaw> {
        let page: SearchPage = json::parse(body)?;
        let mut last = self.last;
        for head in &page.results {
            let id = head
                .number()
                .map_err(|_| Flaw::Odd("a hit's id is no number".to_owned()))?;
            if id <= last {
                return Err(Flaw::Odd(format!(
                    "hits are not sorted by id ({id} comes after {last})"
                )));
            }
            last = id;
        }
        let shown = page.shown();
        if shown != page.total.min(SEARCH_PAGE) {
            return Err(Flaw::Odd(format!(
                "it says that there are {} hits, and shows {shown}",
                page.total
            )));
        }
        if page.has_next() && page.total <= shown {
            return Err(Flaw::Odd(format!(
                "it says that there are {shown} hits, and that a page comes after them"
            )));
        }
        Ok(page)
    }

    /// What follows a page.
    pub fn after(self, page: &SearchPage) -> Next {
        let shown = page.shown();
        let last = page
            .results
            .last()
            .and_then(|head| head.number().ok())
            .unwrap_or(self.last);
        let seen = self.seen + shown;
        let promised = self.promised.unwrap_or(page.total);
        // A full page is never taken for the last, whatever it claims.
        if shown > 0 && (page.total > shown || page.has_next() || shown >= SEARCH_PAGE) {
            return Next::Page(Self {
                last,
                seen,
                promised: Some(promised),
                ..self
            });
        }
        if seen >= promised {
            return Next::End;
        }
        // Records that were archived meanwhile are not hits any more; then the second attempt is consistent.
        if self.again == 0 {
            return Next::Page(Self {
                again: 1,
                ..Self::new(self.since)
            });
        }
        Next::Short(format!(
            "it said that there are {promised} hits, and came to {seen}"
        ))
    }
}

impl SearchPage {
    fn shown(&self) -> u64 {
        self.results.len() as u64
    }

    fn has_next(&self) -> bool {
        self.paging
            .as_ref()
            .is_some_and(|paging| paging.after().is_some())
    }

    /// The number of hits that it claims.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(total: u64, ids: &[u64], next: bool) -> String {
        let results: Vec<String> = ids
            .iter()
            .map(|id| format!("{{\"id\":\"{id}\"}}"))
            .collect();
        let paging = if next {
            ",\"paging\":{\"next\":{\"after\":\"200\"}}"
        } else {
            ""
        };
        format!(
            "{{\"total\":{total},\"results\":[{}]{paging}}}",
            results.join(",")
        )
    }

    fn refused(walk: &Walk, body: &str) -> String {
        match walk.page(body.as_bytes()).unwrap_err() {
            Flaw::Odd(why) | Flaw::Incomplete(why) => why,
            Flaw::Malformed(malformed) => malformed.to_string(),
        }
    }

    #[test]
    fn pages_that_cannot_be_are_refused() {
        let walk = Walk {
            last: 50,
            ..Walk::new(0)
        };
        for (body, told) in [
            (page(2, &[60, 55], false), "not sorted"),
            (page(2, &[100, 99], false), "not sorted"),
            (page(2, &[60, 60], false), "not sorted"),
            (page(1, &[50], false), "not sorted"),
            (page(3, &[60, 61], false), "3 hits, and shows 2"),
            (page(810, &[], true), "810 hits, and shows 0"),
            (page(0, &[], true), "a page comes after"),
            (page(2, &[60, 61], true), "a page comes after"),
            ("{\"results\":[]}".to_owned(), "not the JSON"),
        ] {
            let why = refused(&walk, &body);
            assert!(why.contains(told), "{body}: {why}");
        }
        assert!(walk.page(page(2, &[60, 61], false).as_bytes()).is_ok());
    }

    #[test]
    fn a_walk_ends_only_when_all_was_seen() {
        let ids = |from: u64, count: u64| (from..from + count).collect::<Vec<u64>>();
        let step = |walk: Walk, total: u64, from: u64, count: u64| {
            let body = page(total, &ids(from, count), false);
            walk.after(&walk.page(body.as_bytes()).unwrap())
        };
        // A full page without `paging`, and none that says that more come.
        let Next::Page(walk) = step(Walk::new(0), 200, 1, 200) else {
            panic!("a full page was taken for the last")
        };
        assert_eq!(walk.last, 200);
        assert_eq!(step(walk, 0, 0, 0), Next::End);
        // There are fewer hits than claimed: the search begins once more, and then this is reported.
        let Next::Page(walk) = step(Walk::new(0), 900, 1, 200) else {
            panic!("it ended too early")
        };
        let Next::Page(again) = step(walk, 10, 201, 10) else {
            panic!("it did not begin anew")
        };
        assert_eq!((again.last, again.again), (0, 1));
        let Next::Page(walk) = step(again, 900, 1, 200) else {
            panic!("it ended too early")
        };
        assert!(matches!(step(walk, 10, 201, 10), Next::Short(_)));
    }
}
