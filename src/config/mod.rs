//! The configuration: read as it is written ([`document`], [`model`]), then made into what the pipeline works with
//! ([`resolve`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use crate::error::Result;
pub use crate::evolution::SchemaContract;
use crate::mode::{Changes, Disposition, Mode};
use crate::names::{StreamName, hex};

pub mod document;
pub mod environment;
pub mod hubspot;
pub mod model;
pub mod postgres;
pub mod resolve;
mod suggest;
mod table_name;
mod units;

pub use document::Document;
pub use hubspot::{HubSpotObject, HubSpotSource};
pub use model::{NullCursor, Reader};
pub use postgres::{PostgresChanges, PostgresRows, PostgresSource, RowsRead};
pub use resolve::Selection;
pub use units::duration;

/// A pipeline, ready to run: names looked up, variables filled in, paths made absolute, keys checked against each other.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: StreamName,
    /// The schema in the destination.
    pub dataset: String,
    /// The landing area: an absolute path, or a URL.
    pub landing: String,
    /// Size at which a part is closed, in bytes.
    pub part_size: u64,
    /// How long loads stay in the landing area; for ever where the configuration does not say.
    pub retention: Option<TimeDelta>,
    /// The destination in use.
    pub destination: Destination,
    /// The streams to run, by name.
    pub streams: Vec<Stream>,
}

/// A destination in use.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name under `destinations`.
    pub name: String,
    /// What it is.
    pub target: Target,
    /// How long others are waited for that have it open.
    pub wait: Duration,
}

/// What a destination is.
#[derive(Debug, Clone)]
pub enum Target {
    /// A DuckDB database file.
    DuckDb {
        /// Its absolute path.
        path: PathBuf,
        /// How much memory DuckDB may use, in bytes, where the configuration says.
        memory_limit: Option<u64>,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Its connection URI.
        url: Secret,
    },
}

/// A source in use.
#[derive(Debug, Clone)]
pub enum Source {
    /// A PostgreSQL database.
    Postgres(Arc<PostgresSource>),
    /// A HubSpot account.
    HubSpot(Arc<HubSpotSource>),
}

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(String);

/// A stream, ready to run.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name.
    pub name: StreamName,
    /// Its source's name.
    pub source: String,
    /// What is read of the source, and how.
    pub from: StreamSource,
    /// The destination table's name.
    pub table: String,
    /// What the source's schema may change.
    pub contract: SchemaContract,
}

/// What a stream reads of its source, with the settings that such a stream can have.
#[derive(Debug, Clone)]
pub enum StreamSource {
    /// Rows of a table or query of PostgreSQL.
    Rows(PostgresRows),
    /// Changes of a table of PostgreSQL.
    Changes(PostgresChanges),
    /// An object of HubSpot.
    HubSpot(HubSpotObject),
}

impl Pipeline {
    /// The sources that the streams read, by name: each, or what is wrong with its configuration.
    pub fn sources(&self) -> BTreeMap<&str, Result<Source>> {
        let streams = self.streams.iter();
        streams
            .map(|stream| (stream.source.as_str(), stream.from.source()))
            .collect()
    }
}

impl Stream {
    /// How the stream is read.
    pub fn mode(&self) -> Mode {
        match &self.from {
            StreamSource::Rows(rows) => match rows.read {
                RowsRead::Full(_) => Mode::Full,
                RowsRead::Incremental(..) => Mode::Incremental,
            },
            StreamSource::Changes(_) => Mode::Cdc,
            StreamSource::HubSpot(object) => object.mode(),
        }
    }

    /// How its loads are applied.
    pub fn disposition(&self) -> Disposition {
        match &self.from {
            StreamSource::Rows(rows) => rows.disposition(),
            StreamSource::Changes(_) => Disposition::Merge,
            StreamSource::HubSpot(object) => object.disposition(),
        }
    }

    /// The column that an incremental stream is read by.
    pub fn cursor(&self) -> Option<&str> {
        match &self.from {
            StreamSource::Rows(rows) => rows.cursor().map(|cursor| cursor.column.as_str()),
            StreamSource::Changes(_) => None,
            StreamSource::HubSpot(object) => object.incremental().map(|(column, _)| column),
        }
    }

    /// What a load does with the changes of a stream of changes.
    pub fn changes(&self) -> Option<Changes> {
        match &self.from {
            StreamSource::Changes(changes) => Some(changes.changes),
            StreamSource::Rows(_) | StreamSource::HubSpot(_) => None,
        }
    }

    /// The key, if the configuration names one.
    pub fn primary_key(&self) -> Option<&[String]> {
        match &self.from {
            StreamSource::Rows(rows) => rows.columns.primary_key.as_deref(),
            StreamSource::Changes(changes) => changes.columns.primary_key.as_deref(),
            StreamSource::HubSpot(_) => None,
        }
    }

    /// What tells what it reads and where that goes from other configurations. How fast it reads is no part of it, nor what
    /// it allows its source to change.
    pub fn fingerprint(&self) -> String {
        let Self {
            name,
            source,
            from,
            table,
            contract: _,
        } = self;
        let from = match from {
            StreamSource::Rows(rows) => format!("{:?}", rows.identity()),
            StreamSource::Changes(changes) => format!("{:?}", changes.identity()),
            StreamSource::HubSpot(object) => format!("{:?}", object.identity()),
        };
        let told = format!("{:?}", (name, source, from, table, self.mode()));
        let mut digest = hex(&Sha256::digest(told));
        digest.truncate(16);
        digest
    }
}

impl StreamSource {
    /// The source's settings.
    ///
    /// # Errors
    /// What is wrong with the source's configuration, where the pipeline was resolved
    /// [without its sources](Document::resolve_without_sources).
    pub fn source(&self) -> Result<Source> {
        match self {
            Self::Rows(rows) => rows.source.clone().map(Source::Postgres),
            Self::Changes(changes) => changes.source.clone().map(Source::Postgres),
            Self::HubSpot(object) => object.source.clone().map(Source::HubSpot),
        }
    }
}

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::fmt::Display for StreamSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows(rows) => rows.relation.fmt(f),
            Self::Changes(changes) => write!(f, "table {}", changes.table),
            Self::HubSpot(object) => object.fmt(f),
        }
    }
}
