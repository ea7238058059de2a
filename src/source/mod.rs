//! The sources of rows. A source describes a stream's columns and reads its rows as Arrow batches, in one or several lanes,
//! over bounded channels. Sources know nothing of the landing area and of destinations.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::discovery::Discovery;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::identity::RelationIdentity;
use crate::position::Position;
use crate::schema::{ColumnSpec, Schema};

pub mod hubspot;
pub mod postgres;

/// How many batches a lane's channel holds before its reader waits.
pub(crate) const LANE_CAPACITY: usize = 2;

/// A source. It connects when a stream is opened.
#[derive(Debug, Clone)]
pub enum Source {
    /// A PostgreSQL database.
    Postgres(Box<postgres::Postgres>),
    /// A HubSpot account.
    HubSpot(hubspot::HubSpot),
}

/// An open stream: its columns are described, and its relation is locked until the stream is read or dropped.
#[derive(Debug)]
pub enum OpenStream {
    /// A table or query of PostgreSQL, under one snapshot.
    Postgres(Box<postgres::stream::PostgresStream>),
    /// A HubSpot object, or its history, associations, definitions, owners or pipelines.
    HubSpot(Box<hubspot::stream::HubSpotStream>),
}

/// A source's description of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its columns, in order.
    pub columns: Vec<ColumnSpec>,
    /// The key: the configuration's, or else the source's own.
    pub primary_key: Vec<String>,
    /// Whether the source guarantees that keys are unique.
    pub key_is_unique: bool,
    /// The relation and its columns, where the stream hides some of them by their names and has a relation.
    pub identity: Option<RelationIdentity>,
    /// The number of rows, as the source estimates it.
    pub estimated_rows: Option<u64>,
    /// How the stream would be read, for people.
    pub reading: String,
    /// Columns for values that do not fit their own column's type: for each column that has one, the name of the column
    /// beside it.
    pub misfits: BTreeMap<String, String>,
}

/// What was seen of a stream that is not read.
#[derive(Debug)]
pub struct Looked {
    /// The source's description of the stream.
    pub description: Description,
    /// Recommendations for the stream's owner: what the source found, and what fixes it.
    pub recommendations: Vec<(String, String)>,
}

/// Looks at streams of one source, some at once, without a connection for each.
#[derive(Debug, Default)]
pub struct Looks(postgres::sessions::Sessions);

impl Looks {
    /// Opens a stream, and closes it. It is described with the types of an existing table, if one is given, as
    /// [`keep_types`](OpenStream::keep_types) has it.
    ///
    /// # Errors
    /// As [`OpenStream::open`].
    pub async fn look(
        &self,
        from: &config::StreamSource,
        known: Option<&TableSchema>,
    ) -> Result<Looked> {
        let (source, settings): (_, postgres::settings::ReadSettings<'_>) = match from {
            config::StreamSource::Rows(rows) => (&rows.source, rows.into()),
            config::StreamSource::Changes(changes) => (&changes.source, changes.into()),
            config::StreamSource::HubSpot(_) => {
                let mut opened = OpenStream::open(from).await?;
                if let Some(known) = known {
                    opened.keep_types(known);
                }
                return Ok(Looked {
                    description: opened.description().clone(),
                    recommendations: opened.recommendations(),
                });
            }
        };
        let source = postgres::Postgres::new(source.as_ref().map_err(Error::clone)?)?;
        self.0.look(&source, &settings).await
    }
}

/// Where an extract begins, and what is known of the stream by then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beginning<'a> {
    /// The stream's position, if it has one.
    pub position: Option<&'a Position>,
    /// The ids that the stream's table has for records in use, where they are [compared](OpenStream::compares_ids).
    pub live_ids: &'a [String],
    /// The fingerprint of the stream's configuration: rows that were hashed under another one are not compared.
    pub configuration: &'a str,
}

/// An extract in progress: its batches, and its end. The batches are complete only if the end is [`ExtractEnd::Complete`].
pub struct Extract {
    /// The lanes: each has its batches in an order of its own.
    pub lanes: Vec<mpsc::Receiver<RecordBatch>>,
    /// Resolves when no lane produces batches any more. The caller must poll it together with the lanes: if one lane fails,
    /// it stops the others.
    pub end: BoxFuture<'static, Result<ExtractEnd>>,
}

/// The end of an extract that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtractEnd {
    /// The lanes sent all rows up to the position.
    Complete(Box<Complete>),
    /// The batches must not be loaded: the stream needs a new snapshot.
    Resnapshot {
        /// The reason, as the end of a sentence.
        reason: String,
    },
}

/// What a source knows of a complete extract.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complete {
    /// The stream's new position. `None` if the stream has no position.
    pub position: Option<Position>,
    /// Warnings: the extract succeeded, but people should know this.
    pub warnings: Vec<String>,
    /// The columns for misfits that have at least one value.
    pub used: BTreeSet<String>,
    /// The columns of the batches, if they differ from those that were requested. A stream of changes requests none.
    pub schema: Option<Schema>,
    /// The column that is NULL only in rows that mark a record, if the batches have such rows.
    pub marks: Option<String>,
    /// Whether the table's columns changed. The load must then be applied even if it has no rows.
    pub reshaped: bool,
}

impl Source {
    /// Creates a source from its configuration. It does not connect.
    pub fn new(config: &config::Source) -> Result<Self> {
        match config {
            config::Source::Postgres(source) => {
                postgres::Postgres::new(source).map(|source| Self::Postgres(Box::new(source)))
            }
            config::Source::HubSpot(source) => hubspot::HubSpot::new(source).map(Self::HubSpot),
        }
    }

    /// Connects, and returns a description of the server or account.
    pub async fn connect(&self) -> Result<String> {
        match self {
            Self::Postgres(source) => source.describe().await,
            Self::HubSpot(source) => source.describe().await,
        }
    }

    /// Connects to a source, and returns what there is to copy. `name` is the source's.
    pub async fn discover(name: &str, config: &config::Source) -> Result<Discovery> {
        let (kind, server, (tables, no_changes)) = match config {
            config::Source::Postgres(settings) => {
                let source = postgres::Postgres::new(settings)?;
                (
                    "postgres",
                    source.describe().await?,
                    source.discover().await?,
                )
            }
            config::Source::HubSpot(settings) => {
                let source = hubspot::HubSpot::new(settings)?;
                // A token that is not accepted is no object's own problem.
                let server = source.describe().await?;
                ("hubspot", server, (source.objects(settings).await?, None))
            }
        };
        Ok(Discovery {
            source: name.to_owned(),
            kind,
            server,
            no_changes,
            tables,
        })
    }

    /// Connects, and returns warnings about replication slots of the pipeline that nothing reads.
    pub async fn orphaned_slots(&self) -> Result<Vec<String>> {
        match self {
            Self::Postgres(source) => source.orphaned_slots().await,
            Self::HubSpot(_) => Ok(Vec::new()),
        }
    }
}

impl OpenStream {
    /// Connects to a stream's source and opens the stream: locks its relation, and describes it.
    ///
    /// # Errors
    /// The source's configuration is wrong, the source cannot be reached, or the stream cannot be read as it is configured.
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

    /// The source's description of the stream.
    pub fn description(&self) -> &Description {
        match self {
            Self::Postgres(stream) => stream.description(),
            Self::HubSpot(stream) => stream.description(),
        }
    }

    /// Recommendations for the stream's owner: what the source found, and what fixes it.
    pub fn recommendations(&self) -> Vec<(String, String)> {
        match self {
            Self::Postgres(stream) => stream.recommendations(),
            Self::HubSpot(stream) => stream.recommendations(),
        }
    }

    /// Keeps the types of an existing table for columns whose type differs in the source now, if the source can.
    pub fn keep_types(&mut self, known: &TableSchema) {
        match self {
            Self::Postgres(_) => {}
            Self::HubSpot(stream) => stream.keep_types(known),
        }
    }

    /// Whether reading from a position needs the ids of the records that the table has and that are not archived.
    pub fn compares_ids(&self, from: Option<&Position>) -> bool {
        match self {
            Self::Postgres(_) => false,
            Self::HubSpot(stream) => stream.compares_ids(from),
        }
    }

    /// Starts to read rows of `schema`, from where `beginning` says. `stop` ends the extract early.
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

/// Awaits a reader's task or thread, and returns its result.
pub(crate) async fn joined<T>(reader: JoinHandle<Result<T>>) -> Result<T> {
    reader
        .await
        .map_err(|error| Error::internal("a reader ended unexpectedly").cause(error))?
}
