//! Which records to read: ids from lists and from search, and their records in batches, several at once.

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

/// Records of a page of a list, at most.
pub const LIST_PAGE: usize = 100;
/// Records of a batch, at most.
pub const BATCH: usize = 100;
/// Records of a batch with their history, at most.
pub const HISTORY_BATCH: usize = 50;
/// Batches that are asked for at once.
const AT_ONCE: usize = 6;
/// The longest address that is asked for: HubSpot refuses them from 8,000 letters on.
const MAX_URL_LENGTH: usize = 7_000;

/// An object of an account, to read from.
#[derive(Debug, Clone)]
pub struct ObjectClient {
    /// Whom to ask.
    pub client: Client,
    /// What for.
    pub object: CrmObject,
    /// The property that tells when a record was last changed.
    pub modified: String,
    /// Ends it.
    pub stop: CancellationToken,
    /// What went well but should be known.
    pub notes: Notes,
}

/// What went well but should be known, from all that read for one stream.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

/// Where ids come from.
#[derive(Debug)]
pub enum IdSource {
    /// A list.
    List(Listing),
    /// A search for what was changed.
    ///
    /// It goes on by key, not by page: sorted by id, and asked for ids above the last one. So it never comes to the 10,000
    /// hits at which a search ends, however many records share a time, and a record that changes meanwhile moves none of
    /// the others.
    Changed(Walk),
    /// The list, for what was changed since then (milliseconds since 1970): where search cannot be believed.
    ChangedByList(i64, Listing),
    /// These ids.
    Given(Vec<u64>),
    /// No more.
    End,
}

impl Notes {
    /// Adds something, once.
    pub fn add(&self, note: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All of them.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl IdSource {
    /// All ids of a state.
    pub fn list(which: RecordState) -> Self {
        Self::List(Listing::new(which, LIST_PAGE))
    }

    /// The ids of what was changed since then, milliseconds since 1970.
    pub fn changed(since: i64) -> Self {
        Self::Changed(Walk::new(since))
    }

    /// The next page; none after the last.
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
    /// Of an object.
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

    /// Whether a list can be asked for these properties at all.
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

    /// Answers with the records of ids, in batches, in the order of the ids. `keep` chooses among the ids.
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

    /// Decodes an answer; where it is cut off or cannot be, asks again.
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

    /// The next page of a list of ids, and whether another comes.
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

    /// Turns a page of a list over; tells whether another comes.
    ///
    /// # Errors
    /// Where the list ended, and search knows of records that come after.
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

    /// Where search cannot be believed, the list of all records tells as well when each was changed.
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

/// What is escaped in an address: all but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Appends a text to an address, with what has a meaning there escaped.
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
