//! The two sides of a comparison, read batch by batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, StreamSource};
use crate::destination::{self, TableRows};
use crate::error::{Error, Result};
use crate::evolution::{TableSchema, assign_field_ids, with_misfits};
use crate::mask::Masks;
use crate::pipeline::loader::Loader;
use crate::schema::Schema;
use crate::source::{Beginning, Description, ExtractEnd, OpenStream};

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

/// One side.
pub(in crate::pipeline) enum Side<'a> {
    /// The rows of the source.
    Source(SourceRows<'a>),
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
    /// What takes the place of values: a column that never holds NULL may be masked by it.
    pub(in crate::pipeline) masks: Arc<Masks>,
}

impl SourceRows<'_> {
    /// Opens the stream. Its columns are those of an extract.
    async fn open(&self) -> Result<(OpenStream, Schema)> {
        let mut opened = (self.opener)().await?;
        opened.keep_types(&self.known);
        let description = opened.description();
        let mut columns = description.columns.clone();
        for column in &mut columns {
            column.nullable |= self.masks.hides(&column.name);
        }
        let schema = assign_field_ids(Some(&self.known), columns);
        let schema = with_misfits(Some(&self.known), &schema, &description.misfits);
        Ok((opened, schema))
    }

    /// The stream's description, and its columns.
    pub(in crate::pipeline) async fn describe(&self) -> Result<(Description, Schema)> {
        let (opened, schema) = self.open().await?;
        Ok((opened.description().clone(), schema))
    }

    /// Hands all rows over, from several lanes at once.
    async fn read(&self, each: &Each, stop: &CancellationToken) -> Result<()> {
        let (opened, schema) = self.open().await?;
        let beginning = Beginning {
            configuration: &self.configuration,
            ..Beginning::default()
        };
        let stop = stop.child_token();
        let extract = opened.read(&schema, beginning, &stop).await?;
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
}

impl Side<'_> {
    /// Hands all rows over.
    pub(in crate::pipeline) async fn read(
        &self,
        each: &Each,
        stop: &CancellationToken,
    ) -> Result<()> {
        match self {
            Self::Source(source) => source.read(each, stop).await,
            Self::Table(loader, rows) => {
                let (rows, each) = (rows.clone(), Arc::clone(each));
                let reading = loader.call_until(stop, move |destination| {
                    destination.read_rows(&rows, &mut |batch| each(&batch))
                });
                reading.await
            }
            Self::Built(built, dataset, rows) => {
                let (built, dataset) = (built.clone(), dataset.clone());
                let (rows, each) = (rows.clone(), Arc::clone(each));
                let reading = tokio::task::spawn_blocking(move || {
                    destination::open(&built, &dataset)?.read_rows(&rows, &mut |batch| each(&batch))
                });
                reading.await.map_err(|error| {
                    Error::internal("a reading thread ended unexpectedly").cause(error)
                })?
            }
        }
    }
}
