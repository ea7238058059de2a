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
use super::replication::change::SnapshotMark;
use super::sql::literal;
use super::stream::{GIVE_WAY, row_security_setting};
use crate::config::Reader;
use crate::error::{Error, Result};
use crate::schema::Schema;
use crate::source::LANE_CAPACITY;
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

    /// Begins to read. `holder`, whose transaction holds the relation still, ends with the last lane. `stop` ends the lane, and
    /// what it had the server do.
    pub fn start(
        self,
        stop: &CancellationToken,
        holder: &Arc<Client>,
        watch: Option<&Watch>,
    ) -> Lane {
        let (sender, batches) = mpsc::channel(LANE_CAPACITY);
        let stop = stop.clone();
        let holder = Arc::clone(holder);
        let sink = Sink {
            batches: sender,
            watch: watch.cloned(),
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
    async fn send(&self, batch: RecordBatch) -> Result<()> {
        self.note(&batch)?;
        let sent = self.batches.send(batch).await;
        sent.map_err(|_| Error::Interrupted)
    }

    /// As [`Sink::send`]. Blocks.
    #[cfg(feature = "connectorx")]
    fn blocking_send(&self, batch: RecordBatch) -> Result<()> {
        self.note(&batch)?;
        let sent = self.batches.blocking_send(batch);
        sent.map_err(|_| Error::Interrupted)
    }

    fn note(&self, batch: &RecordBatch) -> Result<()> {
        self.watch
            .as_ref()
            .map_or(Ok(()), |watch| watch.note(batch))
    }
}
