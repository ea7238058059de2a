//! Where rows come from. A source describes a stream's columns and reads its rows as Arrow batches, in one or several
//! lanes, over bounded channels. Sources know nothing of the landing area and of destinations.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::position::Position;
use crate::schema::{ColumnSpec, Schema};

pub mod hubspot;
pub mod postgres;

/// Batches that a lane may hold ready before its reader waits.
pub(crate) const LANE_CAPACITY: usize = 2;

/// A source, connected to when a stream is opened.
#[derive(Debug, Clone)]
pub enum Source {
    /// A PostgreSQL database.
    Postgres(Box<postgres::Postgres>),
    /// A HubSpot account.
    HubSpot(hubspot::HubSpot),
}

/// A stream that is open in its source: described, and held still until it is read or dropped.
#[derive(Debug)]
pub enum OpenStream {
    /// A table or query of PostgreSQL, under one snapshot.
    Postgres(Box<postgres::stream::PostgresStream>),
    /// Records of HubSpot, or what belongs to them.
    HubSpot(Box<hubspot::stream::HubSpotStream>),
}

/// What a source says of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its columns, in order.
    pub columns: Vec<ColumnSpec>,
    /// The key: the configuration's, or else the source's own.
    pub primary_key: Vec<String>,
    /// Whether the source guarantees that no key comes twice.
    pub key_is_unique: bool,
    /// How many rows there are, roughly.
    pub estimated_rows: Option<u64>,
    /// How it would be read, for people.
    pub reading: String,
    /// Columns beside others, for values that are not of their type: a column's name, and that of the one beside it.
    pub misfits: BTreeMap<String, String>,
}

/// Where an extract begins, and what is known then.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// The stream's position, if it has one.
    pub position: Option<&'a Position>,
    /// The ids that the stream's table has for records in use, where they are [compared](OpenStream::compares_ids).
    pub live_ids: &'a [String],
    /// What tells the stream's configuration from others: what was known of rows by another counts no more.
    pub configuration: &'a str,
}

/// An extract under way: its batches, and how it ends. The batches are complete only once it has ended well.
pub struct Extract {
    /// Its lanes: the batches of each in an order of their own.
    pub lanes: Vec<mpsc::Receiver<RecordBatch>>,
    /// Comes once nothing produces batches any more. It has to be awaited beside the lanes: where one fails, it stops the
    /// others.
    pub end: BoxFuture<'static, Result<ExtractEnd>>,
}

/// How an extract ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtractEnd {
    /// All rows up to its position were sent.
    Complete(Box<Complete>),
    /// What was sent is of no use: the stream needs a new snapshot.
    Resnapshot {
        /// Why, as the end of a sentence.
        reason: String,
    },
}

/// What a source tells of an extract that is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complete {
    /// Where the stream stands; none where it has no position.
    pub position: Option<Position>,
    /// What went well but should be known.
    pub warnings: Vec<String>,
    /// The columns for misfits that have values.
    pub used: BTreeSet<String>,
    /// The columns of the batches, where they are not those that were asked for. A stream of changes asks for none.
    pub schema: Option<Schema>,
    /// The column that is NULL only in rows that mark a record, where there are any.
    pub marks: Option<String>,
    /// Whether the columns themselves are news, though no row came.
    pub reshaped: bool,
}

impl Source {
    /// Makes a source of its configuration. Does not connect.
    pub fn new(config: &config::Source) -> Result<Self> {
        match config {
            config::Source::Postgres(source) => {
                postgres::Postgres::new(source).map(|source| Self::Postgres(Box::new(source)))
            }
            config::Source::HubSpot(source) => hubspot::HubSpot::new(source).map(Self::HubSpot),
        }
    }

    /// Connects, and says to what.
    pub async fn connect(&self) -> Result<String> {
        match self {
            Self::Postgres(source) => source.describe().await,
            Self::HubSpot(source) => source.describe().await,
        }
    }

    /// Connects, and tells of what the pipeline left there that costs the source something, as warnings.
    pub async fn orphaned_slots(&self) -> Result<Vec<String>> {
        match self {
            Self::Postgres(source) => source.orphaned_slots().await,
            Self::HubSpot(_) => Ok(Vec::new()),
        }
    }
}

impl OpenStream {
    /// Connects to a stream's source and opens the stream: looks at its relation, holds it still, and describes it.
    ///
    /// # Errors
    /// Where the source's configuration is wrong, the source cannot be reached, or the stream cannot be read as it is
    /// configured.
    pub async fn open(from: &config::StreamSource) -> Result<Self> {
        match from {
            config::StreamSource::Rows(rows) => {
                let source = postgres::Postgres::new(rows.source.as_ref().map_err(Error::clone)?)?;
                Ok(Self::Postgres(Box::new(source.open(rows).await?)))
            }
            config::StreamSource::Changes(changes) => {
                let source = changes.source.as_ref().map_err(Error::clone)?;
                let source = postgres::Postgres::new(source)?;
                Ok(Self::Postgres(Box::new(source.open_table(changes).await?)))
            }
            config::StreamSource::HubSpot(object) => {
                let source = hubspot::HubSpot::new(object.source.as_ref().map_err(Error::clone)?)?;
                Ok(Self::HubSpot(Box::new(source.open(object).await?)))
            }
        }
    }

    /// What the source says of it.
    pub fn description(&self) -> &Description {
        match self {
            Self::Postgres(stream) => stream.description(),
            Self::HubSpot(stream) => stream.description(),
        }
    }

    /// What its owner should know of it: what was found, and what fixes it.
    pub fn recommendations(&self) -> Vec<(String, String)> {
        match self {
            Self::Postgres(stream) => stream.recommendations(),
            Self::HubSpot(stream) => stream.recommendations(),
        }
    }

    /// Takes the types of a table that is there already for columns of which the source has another now, where it can.
    pub fn keep_types(&mut self, known: &TableSchema) {
        match self {
            Self::Postgres(_) => {}
            Self::HubSpot(stream) => stream.keep_types(known),
        }
    }

    /// Whether reading from a position takes the ids that the table has for records in use.
    pub fn compares_ids(&self, from: Option<&Position>) -> bool {
        match self {
            Self::Postgres(_) => false,
            Self::HubSpot(stream) => stream.compares_ids(from),
        }
    }

    /// Begins to read: rows of `schema`, from where `beginning` says. `stop` ends the extract early.
    pub async fn read(
        self,
        schema: &Schema,
        beginning: Beginning<'_>,
        stop: &CancellationToken,
    ) -> Result<Extract> {
        let Beginning {
            position,
            live_ids,
            configuration,
        } = beginning;
        match self {
            Self::Postgres(stream) => {
                let position = position.and_then(Position::cursor);
                stream.read(schema, position, configuration, stop).await
            }
            Self::HubSpot(stream) => stream.read(schema, position, live_ids, stop),
        }
    }
}

impl std::fmt::Debug for Extract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lanes = self.lanes.len();
        f.debug_struct("Extract")
            .field("lanes", &lanes)
            .finish_non_exhaustive()
    }
}

/// Waits for what reads on a task or thread of its own, and says how that went.
pub(crate) async fn joined<T>(reader: JoinHandle<Result<T>>) -> Result<T> {
    reader
        .await
        .map_err(|error| Error::internal("a reader ended unexpectedly").cause(error))?
}
