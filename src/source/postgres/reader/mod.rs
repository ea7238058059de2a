//! Lanes: each reads one range of a relation over a connection of its own, in the snapshot that all lanes of an extract
//! share. Two readers produce equal batches: [`copy`], acequia's own, and connectorx.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::connection::Server;
use super::sql::{GIVE_WAY, literal, row_security_setting};
use crate::change::SnapshotMark;
use crate::config::Reader;
use crate::error::{Error, Result};
use crate::postgres::binary::WireType;
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
    /// Whether it contains SQL that a person wrote, whose names are resolved on the role's own search path.
    pub own_path: bool,
    /// The columns of its rows.
    pub schema: Schema,
    /// The binary formats of their fields.
    pub wire_types: Vec<WireType>,
    /// The snapshot's name.
    pub snapshot: String,
    /// The mark of the rows, if the snapshot is one that changes follow.
    pub mark: Option<SnapshotMark>,
    /// Whether row-level security may filter the rows, or the server must refuse to filter.
    pub row_security: bool,
}

/// A lane that is being read: its batches, and its reader.
#[derive(Debug)]
pub struct Lane {
    /// The batches. They are complete only if the reader succeeds.
    pub batches: mpsc::Receiver<RecordBatch>,
    /// What reads.
    pub reader: JoinHandle<Result<()>>,
}

/// The receiver of a lane's batches.
pub struct Sink {
    batches: mpsc::Sender<RecordBatch>,
    watch: Option<Watch>,
    /// Rows that are not sent if the lane reads no others.
    known: Option<KnownRows>,
    /// The first batch, while all its rows may be known.
    held: Option<RecordBatch>,
}

/// A lane that is connected and has its snapshot, ready to be read.
pub enum ReadyLane {
    /// Read by acequia's own reader.
    Copy(Box<copy::ReadyLane>),
    /// Read by connectorx.
    #[cfg(feature = "connectorx")]
    ConnectorX(Box<connectorx::ReadyLane>),
}

impl LaneQuery {
    /// The statements that begin its transaction: none before them may take a snapshot.
    fn beginning(&self) -> String {
        format!(
            "{GIVE_WAY}; {}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
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

    /// Starts to read. `holder`, whose transaction locks the relation, is dropped with the last lane. `stop` stops the
    /// lane, and cancels its query on the server. If all rows that the lane reads are `known`, it sends no batch.
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
    /// Sends a batch, after its cursor values are noted.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the receiver was dropped; the receiver has the error.
    async fn send(&mut self, batch: RecordBatch) -> Result<()> {
        for batch in self.take_on(batch)? {
            let sent = self.batches.send(batch).await;
            sent.map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }

    /// Sends the batch that is still held, unless its rows are known. The caller has no more batches.
    ///
    /// # Errors
    /// As [`Sink::send`].
    async fn finish(&mut self) -> Result<()> {
        if let Some(batch) = self.take_rest()? {
            let sent = self.batches.send(batch).await;
            sent.map_err(|_| Error::Interrupted)?;
        }
        Ok(())
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
        if let Some(batch) = self.take_rest()? {
            let sent = self.batches.blocking_send(batch);
            sent.map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }

    /// Notes a batch, and returns the batches to send now. Known rows fit into one batch, so the first batch is held until a
    /// second one follows.
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

    /// Returns the batch that is held, unless its rows are known.
    fn take_rest(&mut self) -> Result<Option<RecordBatch>> {
        match (self.held.take(), &self.known) {
            (Some(batch), Some(known)) if known.are(&batch)? => Ok(None),
            (held, _) => Ok(held),
        }
    }
}
