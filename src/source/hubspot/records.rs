//! Reads records: all of them, or those that changed. Live ones come first, then archived ones, then those that were merged
//! or deleted for good.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::builder::{Fate, Head, MERGED_IDS, RecordBuilder};
use super::error::RequestError;
use super::ids::IdSet;
use super::json::Flaw;
use super::listing::{Listing, RecordState};
use super::object_client::{BatchOf, IdSource, LIST_PAGE, ObjectClient};
use super::page::{IdHead, PageEnd};
use super::properties::PropertyColumn;
use crate::error::{Error, Result};
use crate::schema::Schema;

/// Reads the records of an object.
#[derive(Debug)]
pub struct Records {
    reader: ObjectClient,
    builder: RecordBuilder,
    batches: mpsc::Sender<RecordBatch>,
    asked: BatchOf,
    seen: Seen,
}

/// Where reading begins.
#[derive(Debug)]
pub enum Start {
    /// At the beginning: all records are read.
    Beginning,
    /// At a time: records that changed since then are read.
    Since {
        /// Milliseconds since 1970.
        since: i64,
        /// The records that were archived at the time of the position. `None` if the archive was not read.
        archived: Option<IdSet>,
        /// Set if all ids are compared with those of the table.
        compare: Option<Box<Compare>>,
    },
}

/// The comparison of all ids with those of the table.
#[derive(Debug)]
pub struct Compare {
    /// The time of the last comparison, milliseconds since 1970: live records that changed since then are read. `None` for
    /// all.
    pub since: Option<i64>,
    /// The table's ids of records that are not archived.
    pub known: IdSet,
    /// Records that were last changed before that time, milliseconds since 1970, do not belong to the stream.
    pub floor: Option<i64>,
    /// The time of the comparison (RFC 3339), for records that are missing.
    pub now: String,
}

/// The result of reading.
#[derive(Debug)]
pub struct Read {
    /// The archived records.
    pub archived: IdSet,
    /// The number of values that did not fit their columns: column, column beside it, number.
    pub misfits: Vec<(String, String, u64)>,
    /// Whether there are rows that only mark a record.
    pub marks: bool,
}

/// The records that were sent, so that none is sent twice.
#[derive(Debug, Default)]
struct Seen {
    /// Those that are live, after the archive is read.
    live: IdSet,
    ids: IdSet,
    /// All records that exist, whether they were sent or not.
    listed: IdSet,
    /// The ids that were requested and do not exist.
    missing: IdSet,
    /// Records that were last changed before that time, microseconds since 1970, are skipped.
    floor: Option<i64>,
    /// The ids of the current page, which count only when the page is complete.
    page: Vec<u64>,
    page_listed: Vec<u64>,
    /// The records that were merged, and into which.
    merged: BTreeMap<u64, u64>,
    page_merged: Vec<(u64, u64)>,
}

impl Records {
    /// Creates a reader of records with these properties, into batches of `schema`.
    pub fn new(
        reader: ObjectClient,
        schema: &Schema,
        properties: &[PropertyColumn],
        batches: mpsc::Sender<RecordBatch>,
    ) -> Result<Self> {
        let mut names: Vec<String> = properties
            .iter()
            .map(|property| property.property.clone())
            .collect();
        if !names.iter().any(|name| name == MERGED_IDS) {
            names.push(MERGED_IDS.to_owned());
        }
        Ok(Self {
            reader,
            builder: RecordBuilder::new(schema, properties)?,
            batches,
            asked: BatchOf {
                properties: names,
                history: Vec::new(),
            },
            seen: Seen::default(),
        })
    }

    /// Reads all.
    pub async fn read(mut self, start: Start) -> Result<Read> {
        let mut marks = false;
        let archived = match start {
            Start::Beginning => self.read_all().await?,
            Start::Since {
                since,
                archived,
                compare: None,
            } => {
                self.batches(IdSource::changed(since), RecordState::Live, |_| Ok(true))
                    .await?;
                self.sweep(since, archived).await?
            }
            Start::Since {
                since,
                archived,
                compare: Some(compare),
            } => {
                self.compare(&compare).await?;
                let since = compare.since.map_or(since, |last| last.min(since));
                let archived = self.sweep(since, archived).await?;
                marks |= self.mark_deleted(&compare, &archived).await?;
                archived
            }
        };
        marks |= self.mark_merged(&archived).await?;
        self.flush().await?;
        Ok(Read {
            archived,
            misfits: self
                .builder
                .misfits()
                .map(|(column, beside, count)| (column.to_owned(), beside.to_owned(), count))
                .collect(),
            marks,
        })
    }

    /// Reads all records. Returns the ids of archived ones.
    ///
    /// A record that is restored after the live ones were read, and before the archive is, would be found in neither.
    /// Therefore the ids that exist at the beginning are looked for at the end.
    async fn read_all(&mut self) -> Result<IdSet> {
        let mut before = IdSet::default();
        let mut ids = IdSource::list(RecordState::Archived);
        while let Some(heads) = ids.next(&self.reader).await? {
            for head in heads {
                before.insert(head.number()?);
            }
        }
        self.list(RecordState::Live).await?;
        self.seen.turn_to_archive();
        self.list(RecordState::Archived).await?;
        let archived = self.seen.ids.clone();
        let back: Vec<u64> = before
            .iter()
            .filter(|id| !self.seen.contains(*id))
            .collect();
        self.given(back, RecordState::Live).await?;
        Ok(archived)
    }

    /// Reads the records of a state page by page, with the properties in the address; or, if that would be too long, their
    /// ids, and the records by batch.
    async fn list(&mut self, which: RecordState) -> Result<()> {
        let mut listing = Listing::new(which, LIST_PAGE);
        let names: Vec<String> = self.asked.properties.clone();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if self.reader.fits_an_address(&names) {
            loop {
                let request = self
                    .reader
                    .list_request(which, LIST_PAGE, &names, listing.after());
                let Self {
                    reader,
                    builder,
                    seen,
                    ..
                } = &mut *self;
                let page = |body: &[u8]| -> Result<PageEnd, Flaw> {
                    let end = decode(builder, seen, body)?;
                    listing.check(&end)?;
                    Ok(end)
                };
                match reader.client.ask(&request, &reader.stop, page).await {
                    Ok(end) => {
                        self.send_batch().await?;
                        if !self.reader.turn(&mut listing, end).await? {
                            return Ok(());
                        }
                    }
                    Err(RequestError::TooLong) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.batches(IdSource::List(listing), which, |_| Ok(true))
            .await
    }

    async fn given(&mut self, ids: Vec<u64>, which: RecordState) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.batches(IdSource::Given(ids), which, |_| Ok(true))
            .await
    }

    /// Reads the records of ids.
    async fn batches(
        &mut self,
        ids: IdSource,
        which: RecordState,
        keep: impl FnMut(&IdHead) -> Result<bool> + Send,
    ) -> Result<()> {
        let Self {
            reader,
            builder,
            seen,
            asked,
            batches,
        } = &mut *self;
        let (reader, asked) = (&*reader, &*asked);
        let answers = reader.batches(ids, which, asked, keep);
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            let inputs = answer.0.inputs;
            let whole = |body: &[u8]| -> Result<(), Flaw> {
                let end = decode(builder, seen, body)?;
                let told = end.records + end.missing.len();
                if told < inputs {
                    let silent = inputs - told;
                    return Err(Flaw::Odd(format!(
                        "{silent} of {inputs} records neither come nor are said to be missing"
                    )));
                }
                Ok(())
            };
            match reader.decode(answer, whole).await {
                Ok(()) => {}
                Err(RequestError::Odd(why, _)) => reader.notes.add(format!(
                    "HubSpot's answer for a batch of {} is not whole: {why}",
                    reader.object
                )),
                Err(error) => return Err(error.into()),
            }
            if builder.is_full() {
                send_batch(builder, batches).await?;
            }
        }
        Ok(())
    }

    /// Pages through the list of all live records, and reads those that changed since the last comparison, and those that
    /// the table does not have.
    async fn compare(&mut self, compare: &Compare) -> Result<()> {
        let Some(since) = compare.since else {
            self.seen.floor = compare.floor.map(|floor| floor.saturating_mul(1_000));
            self.list(RecordState::Live).await?;
            self.seen.floor = None;
            return Ok(());
        };
        let mut listed = IdSet::default();
        self.batches(
            IdSource::list(RecordState::Live),
            RecordState::Live,
            |head| {
                let id = head.number()?;
                listed.insert(id);
                let is_ours = compare.floor.is_none_or(|floor| head.is_since(floor));
                Ok(head.is_since(since) || (is_ours && !compare.known.contains(id)))
            },
        )
        .await?;
        for id in listed.iter() {
            self.seen.listed.insert(id);
        }
        Ok(())
    }

    /// Reads the archive for what search never finds: records that were archived or restored since. Returns the ids that
    /// are archived now.
    ///
    /// Archiving or restoring a record does not change its time of change. Therefore the archived ids are remembered: a new
    /// id was archived; a missing one was restored, merged, or deleted for good.
    async fn sweep(&mut self, since: i64, before: Option<IdSet>) -> Result<IdSet> {
        let mut now = IdSet::default();
        let live = self.seen.ids.clone();
        self.seen.turn_to_archive();
        let known = before.as_ref();
        self.batches(
            IdSource::list(RecordState::Archived),
            RecordState::Archived,
            |head| {
                let id = head.number()?;
                // The record was read as live a moment ago: it counts as archived from the next run on.
                if live.contains(id) {
                    return Ok(false);
                }
                now.insert(id);
                Ok(head.is_since(since) || known.is_some_and(|known| !known.contains(id)))
            },
        )
        .await?;
        let gone: Vec<u64> = known
            .into_iter()
            .flat_map(IdSet::iter)
            .filter(|id| !now.contains(*id) && !self.seen.contains(*id))
            .collect();
        self.given(gone, RecordState::Live).await?;
        Ok(now)
    }

    /// Marks the records that the table has and HubSpot does not: records that were deleted for good leave no other trace.
    /// Returns whether there are any.
    async fn mark_deleted(&mut self, compare: &Compare, archived: &IdSet) -> Result<bool> {
        let lacking = |seen: &Seen| -> Vec<u64> {
            let ids = compare.known.iter();
            ids.filter(|id| {
                !seen.listed.contains(*id)
                    && !archived.contains(*id)
                    && !seen.contains(*id)
                    && !seen.merged.contains_key(id)
            })
            .collect()
        };
        // A list may be wrong, or may have changed meanwhile: each id is requested, as live and as archived.
        for which in [RecordState::Live, RecordState::Archived] {
            let ids = lacking(&self.seen);
            self.seen.missing = IdSet::default();
            self.given(ids, which).await?;
        }
        let ids = lacking(&self.seen);
        let mut silent = 0_u64;
        let mut any = false;
        for id in ids {
            if self.seen.missing.contains(id) {
                self.builder.mark(id, &Fate::DeletedAt(&compare.now))?;
                any = true;
                self.send_batch().await?;
            } else {
                silent += 1;
            }
        }
        if silent > 0 {
            self.reader.notes.add(format!(
                "{silent} record(s) of the table are in no list of HubSpot's, which does not say either that they are gone: they \
                 stay as they are"
            ));
        }
        Ok(any)
    }

    /// Marks records that were merged, unless they were read as records of their own. Returns whether there are any.
    async fn mark_merged(&mut self, archived: &IdSet) -> Result<bool> {
        let mut any = false;
        for (id, into) in std::mem::take(&mut self.seen.merged) {
            if !archived.contains(id) && !self.seen.contains(id) {
                self.builder
                    .mark(id, &Fate::MergedInto(&into.to_string()))?;
                any = true;
                self.send_batch().await?;
            }
        }
        Ok(any)
    }

    async fn send_batch(&mut self) -> Result<()> {
        if self.builder.is_full() {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        send_batch(&mut self.builder, &self.batches).await
    }
}

/// Collects the records of a page that were not sent before.
fn decode(builder: &mut RecordBuilder, seen: &mut Seen, body: &[u8]) -> Result<PageEnd, Flaw> {
    seen.begin();
    let end = builder.page(body, |head| seen.admit(head))?;
    seen.commit(&end);
    Ok(end)
}

async fn send_batch(
    builder: &mut RecordBuilder,
    batches: &mpsc::Sender<RecordBatch>,
) -> Result<()> {
    if let Some(batch) = builder.take()? {
        // If the receiver was dropped because landing failed, that error is the one to report.
        batches.send(batch).await.map_err(|_| Error::Interrupted)?;
    }
    Ok(())
}

impl Seen {
    fn turn_to_archive(&mut self) {
        self.live = std::mem::take(&mut self.ids);
    }

    fn contains(&self, id: u64) -> bool {
        self.live.contains(id) || self.ids.contains(id)
    }

    fn begin(&mut self) {
        self.page.clear();
        self.page_listed.clear();
        self.page_merged.clear();
    }

    fn admit(&mut self, head: &Head<'_>) -> bool {
        if self.contains(head.id) || self.page.contains(&head.id) {
            return false;
        }
        self.page_listed.push(head.id);
        let merged = head
            .merged_ids
            .split(';')
            .filter_map(|id| id.trim().parse().ok());
        self.page_merged.extend(merged.map(|id: u64| (id, head.id)));
        let is_ours = self
            .floor
            .is_none_or(|floor| head.updated_at.is_none_or(|at| at >= floor));
        if is_ours {
            self.page.push(head.id);
        }
        is_ours
    }

    fn commit(&mut self, end: &PageEnd) {
        for id in self.page.drain(..) {
            self.ids.insert(id);
        }
        for id in self.page_listed.drain(..) {
            self.listed.insert(id);
        }
        for id in &end.missing {
            self.missing.insert(*id);
        }
        self.merged.extend(self.page_merged.drain(..));
    }
}
