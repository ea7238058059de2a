//! Requests the ids of records, from lists and from search, and the records in batches, several at once.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client, Request};
use super::error::RequestError;
use super::json::{self, Flaw};
use super::listing::{Listing, RecordState, Turn};
use super::object::CrmObject;
use super::page::{IdHead, IdPage, PageEnd, Paging};
use super::rate_limit::Allowance;
use super::search::{Next, SearchPage, Walk};
use crate::error::{Error, Result};

/// The most records of a page of a list.
pub const LIST_PAGE: usize = 100;
/// The most records of a batch.
pub const BATCH: usize = 100;
/// The most records of a batch with history.
pub const HISTORY_BATCH: usize = 50;
/// How many batches are requested at once.
const AT_ONCE: usize = 6;
/// The longest address that is requested: HubSpot refuses addresses from 8,000 characters on.
const MAX_URL_LENGTH: usize = 7_000;

/// A client for one object of an account.
#[derive(Debug, Clone)]
pub struct ObjectClient {
    /// The HTTP client.
    pub client: Client,
    /// The object.
    pub object: CrmObject,
    /// The property that holds the time of a record's last change.
    pub modified: String,
    /// Cancelled to stop reading.
    pub stop: CancellationToken,
    /// Warnings.
    pub notes: Notes,
}

/// The warnings of everything that reads for one stream.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

/// A source of ids.
#[derive(Debug)]
pub enum IdSource {
    /// A list.
    List(Listing),
    /// A search for changed records.
    ///
    /// It pages by key: hits are sorted by id, and each page asks for ids above the last one. Therefore it never reaches
    /// the limit of 10,000 hits, however many records share a time, and a record that changes meanwhile does not move the
    /// others.
    Changed(Walk),
    /// The list, filtered by the time of change (milliseconds since 1970), if search cannot be trusted.
    ChangedByList(i64, Listing),
    /// These ids.
    Given(Vec<u64>),
    /// No more ids.
    End,
}

impl Notes {
    /// Adds a warning, once.
    pub fn add(&self, note: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Takes all warnings.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl IdSource {
    /// All ids of a state.
    pub fn list(which: RecordState) -> Self {
        Self::List(Listing::new(which, LIST_PAGE))
    }

    /// The ids of records that were changed since then, milliseconds since 1970.
    pub fn changed(since: i64) -> Self {
        Self::Changed(Walk::new(since))
    }

    /// The next page of ids. `None` after the last.
    pub async fn next(&mut self, reader: &ObjectClient) -> Result<Option<Vec<IdHead>>> {
        loop {
            match std::mem::replace(self, Self::End) {
                Self::End => return Ok(None),
                Self::Given(ids) => {
                    let heads = ids.into_iter().map(IdHead::of);
                    return Ok(Some(heads.collect()));
                }
                Self::List(mut listing) => {
                    let (heads, goes_on) = reader.ids(&mut listing).await?;
                    if goes_on {
                        *self = Self::List(listing);
                    }
                    return Ok(Some(heads));
                }
                Self::ChangedByList(since, mut listing) => {
                    let (mut heads, goes_on) = reader.ids(&mut listing).await?;
                    heads.retain(|head| head.is_since(since));
                    if goes_on {
                        *self = Self::ChangedByList(since, listing);
                    }
                    return Ok(Some(heads));
                }
                Self::Changed(walk) => match reader.hits(&walk).await {
                    Ok(page) => match walk.after(&page) {
                        Next::Page(walk) => {
                            *self = Self::Changed(walk);
                            return Ok(Some(page.results));
                        }
                        Next::End => return Ok(Some(page.results)),
                        Next::Short(why) => *self = reader.without_search(walk.since, &why),
                    },
                    Err(RequestError::Odd(why, _)) => {
                        *self = reader.without_search(walk.since, &why);
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }
}

impl ObjectClient {
    /// Creates a client for an object.
    pub fn new(client: &Client, object: CrmObject) -> Self {
        Self {
            client: client.clone(),
            modified: object.modified_property().to_owned(),
            object,
            stop: CancellationToken::new(),
            notes: Notes::default(),
        }
    }

    /// The request for a page of a list.
    pub fn list_request(
        &self,
        which: RecordState,
        limit: usize,
        properties: &[&str],
        after: Option<&str>,
    ) -> Request {
        let mut path = format!(
            "{}?limit={limit}&archived={}&properties=",
            self.client.version.objects(&self.object),
            which == RecordState::Archived
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

    /// Whether a list can be requested with these properties at all.
    pub fn fits_an_address(&self, properties: &[&str]) -> bool {
        self.list_request(
            RecordState::Archived,
            LIST_PAGE,
            properties,
            Some(&"9".repeat(40)),
        )
        .path
        .len()
            <= MAX_URL_LENGTH
    }

    /// Returns the records of ids, in batches, in the order of the ids. `keep` chooses among the ids.
    pub fn batches<'a>(
        &'a self,
        ids: IdSource,
        which: RecordState,
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

    /// Decodes an answer; requests it again if it is cut off or implausible.
    pub async fn decode<T, F: Into<Flaw>>(
        &self,
        (request, answer): (Request, Answer),
        mut decode: impl FnMut(&[u8]) -> Result<T, F>,
    ) -> Result<T, RequestError> {
        match decode(&answer.body) {
            Ok(decoded) => Ok(decoded),
            Err(_) => self.client.ask(&request, &self.stop, decode).await,
        }
    }

    /// A request about this object.
    pub fn request(&self, path: String, body: Option<Bytes>, allowance: Allowance) -> Request {
        Request {
            path,
            body,
            subject: format!("the {}", self.object),
            scopes: self.object.scopes(),
            inputs: 0,
            allowance,
        }
    }

    /// The next page of a list of ids, and whether another page follows.
    async fn ids(&self, listing: &mut Listing) -> Result<(Vec<IdHead>, bool)> {
        let request = self.list_request(
            listing.which(),
            LIST_PAGE,
            &["hs_object_id"],
            listing.after(),
        );
        let decode = |body: &[u8]| -> Result<(Vec<IdHead>, PageEnd), Flaw> {
            let page: IdPage = json::parse(body)?;
            let end = PageEnd {
                after: page
                    .paging
                    .as_ref()
                    .and_then(Paging::after)
                    .map(str::to_owned),
                records: page.results.len(),
                highest: page
                    .results
                    .iter()
                    .filter_map(|head| head.number().ok())
                    .max()
                    .unwrap_or(0),
                ..PageEnd::default()
            };
            listing.check(&end)?;
            Ok((page.results, end))
        };
        let (mut heads, end) = self.client.ask(&request, &self.stop, decode).await?;
        listing.leave_new(&mut heads);
        let goes_on = self.turn(listing, end).await?;
        Ok((heads, goes_on))
    }

    /// Goes to the next page of a list. Returns whether another page follows.
    ///
    /// # Errors
    /// The list ended although search finds records after its end.
    pub async fn turn(&self, listing: &mut Listing, page: PageEnd) -> Result<bool> {
        let above = match listing.turn(page) {
            Turn::Page => return Ok(true),
            Turn::End => return Ok(false),
            Turn::EndAbove(highest) => highest,
        };
        let walk = Walk::above(above);
        match self.hits(&walk).await {
            Ok(page) if page.total() > 0 => Err(Error::source(format!(
                "HubSpot's list of {} ended at a full page, and search knows {} more",
                self.object,
                page.total()
            ))
            .remedy(
                "run again: nothing of this run was loaded, and the position stays where it is",
            )),
            // Not every object can be searched.
            Ok(_) | Err(RequestError::Odd(..) | RequestError::Forbidden(_)) => Ok(false),
            Err(RequestError::Failed(Error::Interrupted)) => Err(Error::Interrupted),
            Err(error) => {
                let error = Error::from(error);
                tracing::debug!(%error, "the end of a list could not be compared with search");
                Ok(false)
            }
        }
    }

    async fn hits(&self, walk: &Walk) -> Result<SearchPage, RequestError> {
        let path = format!("{}/search", self.client.version.objects(&self.object));
        let body = walk.body(&self.modified);
        let mut request = self.request(path, Some(body.into()), Allowance::Search);
        request.subject = format!("a search of {}", self.object);
        self.client
            .ask(&request, &self.stop, |body| walk.page(body))
            .await
    }

    /// If search cannot be trusted, the list of all records also has the time of each record's last change.
    fn without_search(&self, since: i64, why: &str) -> IdSource {
        self.notes.add(format!(
            "HubSpot's search of {} cannot be believed ({why}): the list of all records was gone through instead, a request \
             for each {LIST_PAGE} of them",
            self.object
        ));
        IdSource::ChangedByList(since, Listing::new(RecordState::Live, LIST_PAGE))
    }

    fn batch_request(&self, which: RecordState, ids: &[String], asked: &BatchOf) -> Request {
        let inputs: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        let body = json!({
            "inputs": inputs,
            "properties": asked.properties,
            "propertiesWithHistory": asked.history,
        });
        let path = format!(
            "{}/batch/read?archived={}",
            self.client.version.objects(&self.object),
            which == RecordState::Archived
        );
        Request {
            inputs: ids.len(),
            ..self.request(path, Some(body.to_string().into()), Allowance::Window)
        }
    }
}

/// What is requested of each record of a batch.
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

/// The characters that are escaped in an address: all but those that RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Appends a text to an address, escaped.
pub fn encode(address: &mut String, text: &str) {
    address.extend(utf8_percent_encode(text, RESERVED));
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
}
