//! The two sides of a comparison, read batch by batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::destination::{self, TableRows};
use crate::error::{Error, Result};
use crate::evolution::{TableSchema, assign_field_ids, with_misfits};
use crate::mask::Masks;
use crate::pipeline::loader::Loader;
use crate::schema::Schema;
use crate::source::{Beginning, Description, ExtractEnd, OpenStream};

/// What is done with each batch, from any thread.
pub(super) type Each = Arc<dyn Fn(&RecordBatch) -> Result<()> + Send + Sync>;

/// Opens a stream of the source, anew for each reading.
pub(super) type Opener<'a> = Box<dyn Fn() -> BoxFuture<'a, Result<OpenStream>> + Send + Sync + 'a>;

/// One side.
pub(super) enum Side<'a> {
    /// The rows of the source.
    Source(SourceRows<'a>),
    /// The rows of the stream's table.
    Table(Loader, TableRows),
    /// The rows of a table that was built of the stream's loads.
    Built(config::Destination, String, TableRows),
}

/// The rows of the source.
pub(super) struct SourceRows<'a> {
    pub(super) opener: Opener<'a>,
    /// The schema of the stream's table.
    pub(super) known: TableSchema,
    /// The fingerprint of the stream's configuration.
    pub(super) configuration: String,
    /// What takes the place of columns' values in the table.
    pub(super) masks: Arc<Masks>,
}

impl SourceRows<'_> {
    /// Opens the stream. Its columns are those of an extract.
    async fn open(&self) -> Result<(OpenStream, Description, Schema)> {
        let mut opened = (self.opener)().await?;
        opened.keep_types(&self.known);
        let mut description = opened.description().clone();
        self.masks
            .describe(&mut description.columns, &description.primary_key)?;
        let schema = assign_field_ids(Some(&self.known), description.columns.clone());
        let schema = with_misfits(Some(&self.known), &schema, &description.misfits);
        Ok((opened, description, schema))
    }

    /// The stream's description, and its columns.
    pub(super) async fn describe(&self) -> Result<(Description, Schema)> {
        let (_, description, schema) = self.open().await?;
        Ok((description, schema))
    }

    /// Hands all rows over, from several lanes at once.
    async fn read(&self, each: &Each, stop: &CancellationToken) -> Result<()> {
        let (opened, _, schema) = self.open().await?;
        let beginning = Beginning {
            configuration: &self.configuration,
            ..Beginning::default()
        };
        let stop = stop.child_token();
        let extract = opened.read(&schema, beginning, &stop).await?;
        let mut lanes = JoinSet::new();
        for mut batches in extract.lanes {
            let (each, masks) = (Arc::clone(each), Arc::clone(&self.masks));
            lanes.spawn_blocking(move || {
                while let Some(batch) = batches.blocking_recv() {
                    each(&masks.apply(batch)?)?;
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
    pub(super) async fn read(&self, each: &Each, stop: &CancellationToken) -> Result<()> {
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
