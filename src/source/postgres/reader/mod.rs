//! Lanes: each reads one range of a relation over a connection of its own, under the snapshot that all lanes of an extract
//! share. Two readers do it, to equal batches: [`copy`], our own, and connectorx.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::binary::WireType;
use super::connection::Server;
use super::sql::{literal, row_security_setting};
use crate::change::SnapshotMark;
use crate::config::Reader;
use crate::error::{Error, Result};
use crate::schema::Schema;
use crate::source::LANE_CAPACITY;
use crate::source::postgres::boundary::KnownRows;
use crate::source::postgres::watermark::Watch;

#[cfg(feature = "connectorx")]
mod connectorx;
mod copy;

/// One lane to read.
#[derive(Debug)]
pub struct LaneQuery {
    /// The SELECT.
    pub query: String,
    /// Whether it has SQL in it that a person wrote, whose names are looked for on the role's own path.
    pub own_path: bool,
    /// The columns that it gives.
    pub schema: Schema,
    /// How their fields come.
    pub wire_types: Vec<WireType>,
    /// The snapshot to read under.
    pub snapshot: String,
    /// What marks the rows as those of a snapshot that a stream of changes begins with.
    pub mark: Option<SnapshotMark>,
    /// Whether row-level security may filter what is read, rather than make the server refuse it.
    pub row_security: bool,
}

/// A lane that is read: its batches, and what reads them.
#[derive(Debug)]
pub struct Lane {
    /// The batches. They are complete only once the reader has ended well.
    pub batches: mpsc::Receiver<RecordBatch>,
    /// What reads.
    pub reader: JoinHandle<Result<()>>,
}

/// Where a lane's batches go.
pub struct Sink {
    batches: mpsc::Sender<RecordBatch>,
    watch: Option<Watch>,
    /// The rows that, where the lane brings no others, are not sent.
    known: Option<KnownRows>,
    /// The first batch, while it may be them.
    held: Option<RecordBatch>,
}

/// A lane that is connected and under its snapshot, ready to be read.
pub enum ReadyLane {
    /// Read by us.
    Copy(Box<copy::ReadyLane>),
    /// Read by connectorx.
    #[cfg(feature = "connectorx")]
    ConnectorX(Box<connectorx::ReadyLane>),
}

impl LaneQuery {
    /// What begins its transaction: nothing before it may take a snapshot.
    fn beginning(&self) -> String {
        format!(
            "{}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
            row_security_setting(self.row_security),
            literal(&self.snapshot)
        )
    }
}

impl ReadyLane {
    /// Connects.
    pub async fn connect(reader: Reader, server: &Server, lane: LaneQuery) -> Result<Self> {
        if lane.wire_types.is_empty() {
            return Err(Error::internal("a lane without columns"));
        }
        match reader {
            Reader::Copy => {
                let ready = copy::ReadyLane::connect(server, lane).await?;
                Ok(Self::Copy(Box::new(ready)))
            }
            #[cfg(feature = "connectorx")]
            Reader::ConnectorX => {
                let server = server.clone();
                let connecting = tokio::task::spawn_blocking(move || {
                    connectorx::ReadyLane::connect(&server, lane)
                });
                let ready = connecting.await.map_err(|error| {
                    Error::internal("a connecting thread ended unexpectedly").cause(error)
                })??;
                Ok(Self::ConnectorX(Box::new(ready)))
            }
            #[cfg(not(feature = "connectorx"))]
            Reader::ConnectorX => Err(Error::config(
                "reader = \"connectorx\" is not part of this build",
            )
            .remedy("use reader = \"copy\", or build with the feature connectorx")),
        }
    }

    /// Begins to read. `holder`, whose transaction holds the relation still, ends with the last lane. `stop` ends the lane, and
    /// what it had the server do. Where all that it reads is `known`, no batch comes.
    pub fn start(
        self,
        stop: &CancellationToken,
        holder: &Arc<Client>,
        watch: Option<&Watch>,
        known: Option<KnownRows>,
    ) -> Lane {
        let (sender, batches) = mpsc::channel(LANE_CAPACITY);
        let stop = stop.clone();
        let holder = Arc::clone(holder);
        let sink = Sink {
            batches: sender,
            watch: watch.cloned(),
            known,
            held: None,
        };
        let reader = tokio::spawn(async move {
            let _holder = holder;
            match self {
                Self::Copy(lane) => lane.run(sink, &stop).await,
                #[cfg(feature = "connectorx")]
                Self::ConnectorX(lane) => lane.run(sink, &stop).await,
            }
        });
        Lane { batches, reader }
    }
}

impl Sink {
    /// Hands a batch on, once its cursor values are noted.
    ///
    /// # Errors
    /// [`Error::Interrupted`] where whoever received the batches is gone, and knows why.
    async fn send(&mut self, batch: RecordBatch) -> Result<()> {
        for batch in self.take_on(batch)? {
            let sent = self.batches.send(batch).await;
            sent.map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }

    /// Hands on what is still held: no more batches come.
    ///
    /// # Errors
    /// As [`Sink::send`].
    async fn finish(&mut self) -> Result<()> {
        let Some(batch) = self.held.take() else {
            return Ok(());
        };
        if self.is_known(&batch)? {
            return Ok(());
        }
        let sent = self.batches.send(batch).await;
        sent.map_err(|_| Error::Interrupted)
    }

    /// As [`Sink::send`]. Blocks.
    #[cfg(feature = "connectorx")]
    fn blocking_send(&mut self, batch: RecordBatch) -> Result<()> {
        for batch in self.take_on(batch)? {
            let sent = self.batches.blocking_send(batch);
            sent.map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }

    /// As [`Sink::finish`]. Blocks.
    #[cfg(feature = "connectorx")]
    fn blocking_finish(&mut self) -> Result<()> {
        let Some(batch) = self.held.take() else {
            return Ok(());
        };
        if self.is_known(&batch)? {
            return Ok(());
        }
        let sent = self.batches.blocking_send(batch);
        sent.map_err(|_| Error::Interrupted)
    }

    /// Notes a batch. What is to be sent now: rows that are known are no more than one batch, so the first waits for another.
    fn take_on(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        if let Some(watch) = &self.watch {
            watch.note(&batch)?;
        }
        if self.known.is_some() && self.held.is_none() {
            self.held = Some(batch);
            return Ok(Vec::new());
        }
        self.known = None;
        Ok(self.held.take().into_iter().chain([batch]).collect())
    }

    fn is_known(&self, batch: &RecordBatch) -> Result<bool> {
        self.known
            .as_ref()
            .map_or(Ok(false), |known| known.are(batch))
    }
}
