//! Which records to read: ids from lists and from search, and their records in batches, several at once.

use bytes::Bytes;
use chrono::DateTime;
use futures::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client, Request};
use super::json::Malformed;
use super::object::CrmObject;
use super::pacing::Allowance;
use crate::error::{Error, Result};

/// Records of a page of a list, at most.
pub const LIST_PAGE: usize = 100;
/// Records of a batch, at most.
pub const BATCH: usize = 100;
/// Records of a batch with their history, at most.
pub const HISTORY_BATCH: usize = 50;
/// Hits of a page of a search, at most.
const SEARCH_PAGE: usize = 200;
/// Batches that are asked for at once.
const AT_ONCE: usize = 6;
/// The longest address that is asked for: HubSpot refuses them from 8,000 letters on.
const LONGEST_ADDRESS: usize = 7_000;

/// Which records a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Those in use.
    Live,
    /// Those in the archive, where they are kept for 90 days.
    Archived,
}

/// An object of an account, to read from.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Whom to ask.
    pub client: Client,
    /// What for.
    pub object: CrmObject,
    /// Ends it.
    pub stop: CancellationToken,
}

/// What a list says of a record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdHead {
    /// Its id, as text.
    pub id: String,
    /// When it was last changed.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// When it was archived.
    #[serde(default)]
    pub archived_at: Option<String>,
}

/// Where ids come from.
#[derive(Debug)]
pub enum IdSource {
    /// A list.
    List {
        /// Which records.
        which: Shelf,
        /// What to ask for the next page with.
        after: Option<String>,
    },
    /// A search for what was changed since then, milliseconds since 1970.
    ///
    /// It goes on by key, not by page: sorted by id, and asked for ids above the last one. So it never comes to the 10,000
    /// hits at which a search ends, however many records share a time, and a record that changes meanwhile moves none of
    /// the others.
    Changed {
        /// Since when.
        since: i64,
        /// The last id.
        last: u64,
    },
    /// These ids.
    Given(Vec<u64>),
    /// No more.
    End,
}

#[derive(Debug, Deserialize)]
struct IdPage {
    results: Vec<IdHead>,
    #[serde(default)]
    paging: Option<Paging>,
}

/// Whether a page has another behind it. The last one has none of this, or an empty one.
#[derive(Debug, Deserialize)]
pub struct Paging {
    #[serde(default)]
    next: Option<NextPage>,
}

#[derive(Debug, Deserialize)]
struct NextPage {
    after: String,
}

impl Paging {
    /// What to ask the next page by.
    pub fn after(&self) -> Option<&str> {
        self.next.as_ref().map(|next| next.after.as_str())
    }
}

impl IdHead {
    /// The id.
    pub fn number(&self) -> Result<u64> {
        self.id
            .parse()
            .map_err(|_| Error::data("HubSpot gave a record whose id is no number"))
    }

    /// Whether it was changed or archived at or after that time, milliseconds since 1970.
    pub fn is_since(&self, since: i64) -> bool {
        [&self.updated_at, &self.archived_at]
            .into_iter()
            .flatten()
            .any(|time| {
                DateTime::parse_from_rfc3339(time)
                    .is_ok_and(|time| time.timestamp_millis() >= since)
            })
    }
}

impl IdSource {
    /// All ids of a shelf.
    pub fn list(which: Shelf) -> Self {
        Self::List { which, after: None }
    }

    /// The ids of what was changed since then, milliseconds since 1970.
    pub fn changed(since: i64) -> Self {
        Self::Changed { since, last: 0 }
    }

    /// The next page; none after the last.
    pub async fn next(&mut self, reader: &Reader) -> Result<Option<Vec<IdHead>>> {
        let (page, next) = match std::mem::replace(self, Self::End) {
            Self::End => return Ok(None),
            Self::Given(ids) => {
                let heads = ids.iter().map(|id| IdHead {
                    id: id.to_string(),
                    updated_at: None,
                    archived_at: None,
                });
                return Ok(Some(heads.collect()));
            }
            Self::List { which, after } => {
                let request =
                    reader.list_request(which, LIST_PAGE, &["hs_object_id"], after.as_deref());
                let page = reader.ids(&request).await?;
                let after = page.after();
                (
                    page,
                    after.map(|after| Self::List {
                        which,
                        after: Some(after),
                    }),
                )
            }
            Self::Changed { since, last } => {
                let page = reader.ids(&reader.search_request(since, last)).await?;
                let mut highest = last;
                for head in &page.results {
                    highest = highest.max(head.number()?);
                }
                let goes_on = page.after().is_some() && highest > last;
                (
                    page,
                    goes_on.then_some(Self::Changed {
                        since,
                        last: highest,
                    }),
                )
            }
        };
        *self = next.unwrap_or(Self::End);
        Ok(Some(page.results))
    }
}

impl IdPage {
    fn after(&self) -> Option<String> {
        self.paging.as_ref()?.after().map(str::to_owned)
    }
}

impl Reader {
    /// The request for a page of a list.
    pub fn list_request(
        &self,
        which: Shelf,
        limit: usize,
        properties: &[&str],
        after: Option<&str>,
    ) -> Request {
        let mut path = format!(
            "{}?limit={limit}&archived={}&properties=",
            self.client.version.objects(&self.object),
            which == Shelf::Archived
        );
        for (place, name) in properties.iter().enumerate() {
            if place > 0 {
                path.push_str("%2C");
            }
            encode(&mut path, name);
        }
        if let Some(after) = after {
            path.push_str("&after=");
            encode(&mut path, after);
        }
        self.request(path, None, Allowance::Window)
    }

    /// Whether a list can be asked for these properties at all.
    pub fn fits_an_address(&self, properties: &[&str]) -> bool {
        self.list_request(
            Shelf::Archived,
            LIST_PAGE,
            properties,
            Some(&"9".repeat(40)),
        )
        .path
        .len()
            <= LONGEST_ADDRESS
    }

    /// Answers with the records of ids, in batches, in the order of the ids. `keep` chooses among the ids.
    pub fn batches<'a>(
        &'a self,
        ids: IdSource,
        which: Shelf,
        asked: &'a BatchOf,
        keep: impl FnMut(&IdHead) -> Result<bool> + Send + 'a,
    ) -> impl Stream<Item = Result<(Request, Answer)>> + Send + 'a {
        let pages = stream::unfold(Some((ids, keep)), move |state| async move {
            let (mut ids, mut keep) = state?;
            match ids.next(self).await {
                Ok(None) => None,
                Ok(Some(heads)) => {
                    let mut kept = Vec::with_capacity(heads.len());
                    for head in heads {
                        match keep(&head) {
                            Ok(true) => kept.push(head.id),
                            Ok(false) => {}
                            Err(error) => return Some((vec![Err(error)], None)),
                        }
                    }
                    let chunks = kept
                        .chunks(asked.size())
                        .map(|chunk| Ok(chunk.to_vec()))
                        .collect();
                    Some((chunks, Some((ids, keep))))
                }
                Err(error) => Some((vec![Err(error)], None)),
            }
        });
        pages
            .flat_map(stream::iter)
            .map(move |chunk: Result<Vec<String>>| async move {
                let request = self.batch_request(which, &chunk?, asked);
                let answer = self.client.fetch(&request, &self.stop).await?;
                Ok((request, answer))
            })
            .buffered(AT_ONCE)
    }

    /// Decodes an answer; where it is cut off, asks again.
    pub async fn decode<T>(
        &self,
        (request, answer): (Request, Answer),
        mut decode: impl FnMut(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T> {
        match decode(&answer.body) {
            Ok(decoded) => Ok(decoded),
            Err(_) => Ok(self.client.ask(&request, &self.stop, decode).await?),
        }
    }

    /// A request about this object.
    pub fn request(&self, path: String, body: Option<Bytes>, allowance: Allowance) -> Request {
        Request {
            path,
            body,
            subject: format!("the {}", self.object),
            scopes: self.object.scopes(),
            allowance,
        }
    }

    async fn ids(&self, request: &Request) -> Result<IdPage> {
        let decode = |body: &[u8]| {
            serde_json::from_slice(body).map_err(|error| Malformed { at: error.column() })
        };
        Ok(self.client.ask(request, &self.stop, decode).await?)
    }

    fn search_request(&self, since: i64, last: u64) -> Request {
        let body = json!({
            "filterGroups": [{"filters": [
                {"propertyName": self.object.modified_property(), "operator": "GTE", "value": since.to_string()},
                {"propertyName": "hs_object_id", "operator": "GT", "value": last.to_string()},
            ]}],
            "sorts": ["hs_object_id"],
            "properties": ["hs_object_id"],
            "limit": SEARCH_PAGE,
            "after": "0",
        });
        let path = format!("{}/search", self.client.version.objects(&self.object));
        self.request(path, Some(body.to_string().into()), Allowance::Search)
    }

    fn batch_request(&self, which: Shelf, ids: &[String], asked: &BatchOf) -> Request {
        let inputs: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        let body = json!({
            "inputs": inputs,
            "properties": asked.properties,
            "propertiesWithHistory": asked.history,
        });
        let path = format!(
            "{}/batch/read?archived={}",
            self.client.version.objects(&self.object),
            which == Shelf::Archived
        );
        self.request(path, Some(body.to_string().into()), Allowance::Window)
    }
}

/// What is asked of each record of a batch.
#[derive(Debug, Clone, Default)]
pub struct BatchOf {
    /// These properties.
    pub properties: Vec<String>,
    /// These properties with their history.
    pub history: Vec<String>,
}

impl BatchOf {
    fn size(&self) -> usize {
        if self.history.is_empty() {
            BATCH
        } else {
            HISTORY_BATCH
        }
    }
}

/// Appends a text to an address, with what has a meaning there escaped.
fn encode(address: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            address.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            let _ = write!(address, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped() {
        let mut address = String::new();
        encode(&mut address, "a b&ñ_1=");
        assert_eq!(address, "a%20b%26%C3%B1_1%3D");
    }

    #[test]
    fn a_head_is_since_when_it_was_changed_or_archived() {
        let head = IdHead {
            id: "1".to_owned(),
            updated_at: Some("2026-01-01T00:00:00Z".to_owned()),
            archived_at: Some("2026-01-02T00:00:00.000Z".to_owned()),
        };
        let time = |text: &str| {
            DateTime::parse_from_rfc3339(text)
                .unwrap()
                .timestamp_millis()
        };
        assert!(head.is_since(time("2026-01-02T00:00:00Z")));
        assert!(!head.is_since(time("2026-01-02T00:00:01Z")));
    }
}
