//! The two sides of a comparison, read batch by batch.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::config::{self, Stream, StreamSource};
use crate::destination::{self, Destination, Living, TableRows};
use crate::error::{Error, Result};
use crate::evolution::{TableSchema, assign_field_ids, with_misfits};
use crate::mode::{Deletes, Disposition};
use crate::pipeline::loader::Loader;
use crate::pipeline::shape_step::{Shape, Shaped, shaped};
use crate::schema::Schema;
use crate::source::postgres::range::{Part, StreamRange};
use crate::source::postgres::stream::PostgresStream;
use crate::source::{Beginning, Extract, ExtractEnd, OpenStream};
use crate::verify::codec::Codec;
use crate::verify::counts::{Counting, Tally};

/// What is done with each batch, from any thread.
pub(in crate::pipeline) type Each = Arc<dyn Fn(&RecordBatch) -> Result<()> + Send + Sync>;

/// Opens a stream of the source, anew for each reading.
pub(in crate::pipeline) type Opener<'a> =
    Box<dyn Fn() -> BoxFuture<'a, Result<OpenStream>> + Send + Sync + 'a>;

/// Opens a stream on its own.
pub(in crate::pipeline) fn opener(from: StreamSource) -> Opener<'static> {
    let from = Arc::new(from);
    Box::new(move || {
        let from = Arc::clone(&from);
        Box::pin(async move { OpenStream::open(&from).await })
    })
}

/// Which rows of a stream's table are rows of its source.
pub(in crate::pipeline) fn living(stream: &Stream) -> Living {
    let changes = stream.changes();
    if stream.disposition() == Disposition::Scd2 {
        Living::Current
    } else if changes.is_some_and(|changes| changes.deletes == Deletes::Soft) {
        Living::NotDeleted
    } else {
        Living::All
    }
}

/// A stream as an extract would have it: its description, by the names of its table, and what is done to its rows.
pub(in crate::pipeline) async fn describe(
    open: &Opener<'_>,
    stream: &Stream,
    known: &TableSchema,
) -> Result<Shaped> {
    let mut opened = open().await?;
    opened.keep_types(&known.as_source());
    shaped(stream, opened.description())
}

/// One side.
pub(in crate::pipeline) enum Side<'a> {
    /// The rows of the source.
    Source(SourceRows<'a>),
    /// The rows that a stream of the source has in a range.
    Range(RangeRows),
    /// The rows of the stream's table.
    Table(Loader, TableRows),
    /// The rows of a table that was built of the stream's loads.
    Built(config::Destination, String, TableRows),
}

/// The rows of the source.
pub(in crate::pipeline) struct SourceRows<'a> {
    pub(in crate::pipeline) opener: Opener<'a>,
    /// The schema of the stream's table.
    pub(in crate::pipeline) known: TableSchema,
    /// The fingerprint of the stream's configuration.
    pub(in crate::pipeline) configuration: String,
    /// What is done to the rows before they are compared: a column that never holds NULL may be masked by it.
    pub(in crate::pipeline) shape: Arc<Shape>,
}

impl SourceRows<'_> {
    /// Opens the stream. Its columns are those of an extract, by the source's own names.
    async fn open(&self) -> Result<(OpenStream, Schema)> {
        let known = &self.known.as_source();
        let mut opened = (self.opener)().await?;
        opened.keep_types(known);
        let description = opened.description();
        let mut columns = description.columns.clone();
        for column in &mut columns {
            column.nullable |= self.shape.masks.hides(&column.name);
        }
        let schema = assign_field_ids(Some(known), columns);
        let schema = with_misfits(Some(known), &schema, &description.misfits);
        Ok((opened, schema))
    }

    /// Hands all rows over, from several lanes at once, as the source has them.
    async fn read(&self, each: &Each, stop: &CancellationToken) -> Result<()> {
        let (opened, schema) = self.open().await?;
        self.read_opened(opened, &schema, each, stop).await
    }

    async fn read_opened(
        &self,
        opened: OpenStream,
        schema: &Schema,
        each: &Each,
        stop: &CancellationToken,
    ) -> Result<()> {
        let beginning = Beginning {
            configuration: &self.configuration,
            ..Beginning::default()
        };
        let stop = stop.child_token();
        let extract = opened.read(schema, beginning, &stop).await?;
        hand_over(extract, each, &stop).await
    }

    /// Has the source count its rows, or counts them as they are read.
    async fn count(
        &self,
        counting: &Counting,
        codec: &Arc<Codec>,
        stop: &CancellationToken,
    ) -> Result<Tally> {
        let (opened, schema) = self.open().await?;
        let of_source = counting.as_source(&self.shape.renames.to_table(schema.clone()));
        let opened = match opened {
            OpenStream::Postgres(opened) => {
                let answer = opened.count(&of_source, stop).await?;
                let mut tally = Tally::of_answer(counting, &answer)?;
                for (place, column) in of_source.columns.iter().enumerate() {
                    if self.shape.masks.empties(&column.name) {
                        tally.empty(place);
                    }
                }
                return Ok(tally);
            }
            OpenStream::HubSpot(_) => opened,
        };
        let tally = Arc::new(Mutex::new(Tally::none(counting)));
        let (all, counting, codec) = (Arc::clone(&tally), counting.clone(), Arc::clone(codec));
        let shape = Arc::clone(&self.shape);
        let each: Each = Arc::new(move |batch| {
            let batch = codec.canonical(&shape.of(batch.clone())?)?;
            let entries = codec.entries(&batch)?;
            lock(&all).add(&counting, &batch, &entries)
        });
        self.read_opened(opened, &schema, &each, stop).await?;
        let tally = lock(&tally).clone();
        Ok(tally)
    }
}

/// The rows of a range, as the stream's table has them. Each reading is of the same snapshot.
pub(in crate::pipeline) struct RangeRows {
    pub(in crate::pipeline) stream: Arc<PostgresStream>,
    pub(in crate::pipeline) range: Arc<StreamRange>,
    /// The columns to read.
    pub(in crate::pipeline) schema: Schema,
    pub(in crate::pipeline) shape: Arc<Shape>,
}

impl RangeRows {
    async fn read(&self, each: &Each, stop: &CancellationToken) -> Result<()> {
        let (each, shape) = (Arc::clone(each), Arc::clone(&self.shape));
        let shaping: Each = Arc::new(move |batch| each(&shape.of(batch.clone())?));
        let stop = stop.child_token();
        let part = Part::Range(&self.range);
        let extract = self.stream.read_part(part, &self.schema, &stop).await?;
        hand_over(extract, &shaping, &stop).await
    }
}

/// Hands all rows of an extract over, from several lanes at once.
pub(in crate::pipeline) async fn hand_over(
    extract: Extract,
    each: &Each,
    stop: &CancellationToken,
) -> Result<()> {
    let mut lanes = JoinSet::new();
    for mut batches in extract.lanes {
        let each = Arc::clone(each);
        lanes.spawn_blocking(move || {
            while let Some(batch) = batches.blocking_recv() {
                each(&batch)?;
            }
            Ok(())
        });
    }
    let consuming = async {
        let mut failure = None;
        while let Some(lane) = lanes.join_next().await {
            let lane = lane.unwrap_or_else(|error| {
                Err(Error::internal("a lane ended unexpectedly").cause(error))
            });
            if let Err(error) = lane {
                stop.cancel();
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    };
    let (consumed, end) = tokio::join!(consuming, extract.end);
    consumed?;
    match end? {
        ExtractEnd::Complete(_) => Ok(()),
        ExtractEnd::Resnapshot { reason } => Err(Error::source(format!(
            "what was read cannot be compared, as {reason}"
        ))
        .remedy("run the stream, and verify again")),
    }
}

impl Side<'_> {
    /// Counts the rows.
    pub(super) async fn count(
        &self,
        counting: &Counting,
        codec: &Arc<Codec>,
        stop: &CancellationToken,
    ) -> Result<Tally> {
        if let Self::Source(source) = self {
            return source.count(counting, codec, stop).await;
        }
        let asked = counting.clone();
        let answer = self.ask(stop, move |table, rows| table.count_rows(rows, &asked));
        Tally::of_answer(counting, &answer.await?)
    }

    /// Hands all rows over.
    pub(in crate::pipeline) async fn read(
        &self,
        each: &Each,
        stop: &CancellationToken,
    ) -> Result<()> {
        match self {
            Self::Source(source) => source.read(each, stop).await,
            Self::Range(range) => range.read(each, stop).await,
            Self::Table(..) | Self::Built(..) => {
                let each = Arc::clone(each);
                self.ask(stop, move |table, rows| {
                    table.read_rows(rows, &mut |batch| each(&batch))
                })
                .await
            }
        }
    }

    /// Asks the destination that has the rows.
    async fn ask<T: Send + 'static>(
        &self,
        stop: &CancellationToken,
        question: impl FnOnce(&mut dyn Destination, &TableRows) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Source(_) | Self::Range(_) => Err(Error::internal(
                "rows of a source are asked for as a table's",
            )),
            Self::Table(loader, rows) => {
                let rows = rows.clone();
                let asking = loader.call_until(stop, move |table| question(table, &rows));
                asking.await
            }
            Self::Built(built, dataset, rows) => {
                let (built, dataset, rows) = (built.clone(), dataset.clone(), rows.clone());
                let asking = tokio::task::spawn_blocking(move || {
                    question(destination::open(&built, &dataset)?.as_mut(), &rows)
                });
                asking.await.map_err(|error| {
                    Error::internal("a reading thread ended unexpectedly").cause(error)
                })?
            }
        }
    }
}
