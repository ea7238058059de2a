//! Records: all of them, or those that changed. Live ones first, then those in the archive, then what was merged away.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::client::NoAnswer;
use super::ids::IdSet;
use super::json::Malformed;
use super::page::{Head, MERGED_IDS, PageEnd, RecordBuilder, RowBuilder};
use super::properties::PropertyColumn;
use super::reading::{BatchOf, IdSource, LIST_PAGE, Reader, Shelf};
use crate::error::{Error, Result};
use crate::schema::Schema;

/// Reads the records of an object.
#[derive(Debug)]
pub struct Records {
    reader: Reader,
    builder: RecordBuilder,
    batches: mpsc::Sender<RecordBatch>,
    asked: BatchOf,
    seen: Seen,
}

/// From where records are read.
#[derive(Debug)]
pub enum Start {
    /// From the beginning: all of them.
    Beginning,
    /// What was changed since then.
    Since {
        /// Milliseconds since 1970.
        since: i64,
        /// The records that were in the archive when that was read; none where it was not.
        archived: Option<IdSet>,
    },
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// The records that are in the archive.
    pub archived: IdSet,
    /// How many values did not fit their columns: column, column beside it, number.
    pub misfits: Vec<(String, String, u64)>,
}

/// The records that were handed on, so that none is twice.
#[derive(Debug, Default)]
struct Seen {
    /// Those of the live shelf, once the archive is read.
    live: IdSet,
    ids: IdSet,
    /// The ids of the page under way, which count only once the page is found whole.
    page: Vec<u64>,
    /// Which records were merged into which.
    merged: BTreeMap<u64, u64>,
    page_merged: Vec<(u64, u64)>,
}

impl Records {
    /// Reads records with these properties, into batches of `schema`.
    pub fn new(
        reader: Reader,
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

    /// Reads, to the end.
    pub async fn read(mut self, start: Start) -> Result<Read> {
        let archived = match start {
            Start::Beginning => {
                self.list(Shelf::Live).await?;
                self.seen.turn_to_archive();
                self.list(Shelf::Archived).await?;
                self.seen.ids.clone()
            }
            Start::Since { since, archived } => {
                self.batches(IdSource::changed(since), Shelf::Live, |_| Ok(true))
                    .await?;
                self.sweep(since, archived).await?
            }
        };
        self.write_merged(&archived).await?;
        self.flush().await?;
        Ok(Read {
            archived,
            misfits: self
                .builder
                .misfits()
                .map(|(column, beside, count)| (column.to_owned(), beside.to_owned(), count))
                .collect(),
        })
    }

    /// Reads a shelf page by page, with the properties in the address; or, where that would be too long, its ids, and the
    /// records by batch.
    async fn list(&mut self, which: Shelf) -> Result<()> {
        let mut after: Option<String> = None;
        let names: Vec<String> = self.asked.properties.clone();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if self.reader.fits_an_address(&names) {
            loop {
                let request = self
                    .reader
                    .list_request(which, LIST_PAGE, &names, after.as_deref());
                let Self {
                    reader,
                    builder,
                    seen,
                    ..
                } = &mut *self;
                let asked = reader
                    .client
                    .ask(&request, &reader.stop, |body| decode(builder, seen, body))
                    .await;
                match asked {
                    Ok(end) => {
                        self.hand_on().await?;
                        match end.after {
                            Some(next) => after = Some(next),
                            None => return Ok(()),
                        }
                    }
                    Err(NoAnswer::TooLong) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.batches(IdSource::List { which, after }, which, |_| Ok(true))
            .await
    }

    /// Reads the records of ids.
    async fn batches(
        &mut self,
        ids: IdSource,
        which: Shelf,
        keep: impl FnMut(&super::reading::IdHead) -> Result<bool> + Send,
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
            reader
                .decode(answer?, |body| decode(builder, seen, body))
                .await?;
            if builder.is_full() {
                hand_on(builder, batches).await?;
            }
        }
        Ok(())
    }

    /// Looks through the archive for what search never finds: what was archived meanwhile, and what came back. Gives the
    /// ids that are there now.
    ///
    /// Archiving a record does not change when it was changed, and neither does taking it back. So the ids that were there
    /// the last time are remembered: what is new among them was archived, what is no longer was restored, merged, or
    /// removed for good.
    async fn sweep(&mut self, since: i64, before: Option<IdSet>) -> Result<IdSet> {
        let mut now = IdSet::default();
        let live = self.seen.ids.clone();
        self.seen.turn_to_archive();
        let known = before.as_ref();
        self.batches(IdSource::list(Shelf::Archived), Shelf::Archived, |head| {
            let id = head.number()?;
            // Read as live a moment ago: it counts as archived from the next run on.
            if live.contains(id) {
                return Ok(false);
            }
            now.insert(id);
            Ok(head.is_since(since) || known.is_some_and(|known| !known.contains(id)))
        })
        .await?;
        let gone: Vec<u64> = known
            .into_iter()
            .flat_map(IdSet::iter)
            .filter(|id| !now.contains(*id) && !self.seen.contains(*id))
            .collect();
        if !gone.is_empty() {
            self.batches(IdSource::Given(gone), Shelf::Live, |_| Ok(true))
                .await?;
        }
        Ok(now)
    }

    /// Marks what was merged away, unless it was read as a record of its own.
    async fn write_merged(&mut self, archived: &IdSet) -> Result<()> {
        for (id, into) in std::mem::take(&mut self.seen.merged) {
            if !archived.contains(id) && !self.seen.contains(id) {
                self.builder.merged(id, &into.to_string())?;
                self.hand_on().await?;
            }
        }
        Ok(())
    }

    async fn hand_on(&mut self) -> Result<()> {
        if self.builder.is_full() {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        hand_on(&mut self.builder, &self.batches).await
    }
}

/// Gathers the records of a page that were not handed on before.
fn decode(builder: &mut RecordBuilder, seen: &mut Seen, body: &[u8]) -> Result<PageEnd, Malformed> {
    seen.begin();
    let end = builder.page(body, |head| seen.admit(head))?;
    seen.commit();
    Ok(end)
}

async fn hand_on(builder: &mut RecordBuilder, batches: &mpsc::Sender<RecordBatch>) -> Result<()> {
    if let Some(batch) = builder.take()? {
        // Nobody takes them any more where landing them failed, and that error is the one to tell.
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
        self.page_merged.clear();
    }

    fn admit(&mut self, head: &Head<'_>) -> bool {
        if self.contains(head.id) || self.page.contains(&head.id) {
            return false;
        }
        self.page.push(head.id);
        let merged = head
            .merged_ids
            .split(';')
            .filter_map(|id| id.trim().parse().ok());
        self.page_merged.extend(merged.map(|id: u64| (id, head.id)));
        true
    }

    fn commit(&mut self) {
        for id in self.page.drain(..) {
            self.ids.insert(id);
        }
        self.merged.extend(self.page_merged.drain(..));
    }
}

/// Hands rows on, where there are enough of them or there come no more.
pub(super) async fn hand_on_rows(
    builder: &mut RowBuilder,
    batches: &mpsc::Sender<RecordBatch>,
    is_end: bool,
) -> Result<()> {
    if (is_end || builder.is_full())
        && let Some(batch) = builder.take()?
    {
        batches.send(batch).await.map_err(|_| Error::Interrupted)?;
    }
    Ok(())
}
