//! The configuration: it is parsed as it is written ([`document`], [`model`]), and then resolved to a pipeline
//! ([`resolve`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use crate::error::Result;
pub use crate::evolution::SchemaContract;
use crate::layout::Layout;
use crate::mask::Masks;
use crate::mode::{Changes, Deletes, Disposition, Mode};
use crate::names::{StreamName, hex};
use crate::renames::Renames;

mod defaults;
pub mod document;
pub mod environment;
pub mod expansion;
pub mod hubspot;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod openlineage;
pub mod postgres;
pub mod report;
pub mod resolve;
pub mod secret_command;
pub mod source_url;
pub(crate) mod suggest;
pub mod table_name;
mod units;

pub use document::Document;
pub use expansion::Expansion;
pub use hubspot::{HubSpotObject, HubSpotSource};
pub use metrics::Metrics;
pub use model::{NullCursor, Reader};
pub use notify::{NoticeFormat, Notify, Occasion};
pub use openlineage::OpenLineage;
pub use postgres::{PostgresChanges, PostgresRows, PostgresSource, PostgresUrl, RowsRead};
pub use report::{Language, Report};
pub use resolve::Selection;
pub use secret_command::{SecretCommand, Token};
pub use units::duration;

/// A pipeline, ready to run: its names are looked up, its variables expanded, its paths absolute, and its keys checked.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The pipeline's name.
    pub name: StreamName,
    /// The schema of the destination's tables.
    pub dataset: String,
    /// The landing area: an absolute path, or a URL.
    pub landing: String,
    /// The size at which a part is closed, in bytes.
    pub part_size: u64,
    /// How long loads stay in the landing area. `None` means for ever.
    pub retention: Option<TimeDelta>,
    /// The destination in use.
    pub destination: Destination,
    /// The streams to run, in the order of their names.
    pub streams: Vec<Stream>,
    /// The models that are built of the streams' tables.
    pub models: Option<Models>,
    /// The report page, if the configuration has one.
    pub report: Option<Report>,
    /// What became of entries with `tables`.
    pub expansion: Expansion,
    /// Who is told when runs fail, if the configuration says.
    pub notify: Option<Notify>,
    /// Where metrics are had, if the configuration says.
    pub metrics: Option<Metrics>,
    /// Where events of `OpenLineage` go, if the configuration or the environment says.
    pub openlineage: Option<OpenLineage>,
}

/// Where a pipeline's models are, and what they are made of.
#[derive(Debug, Clone)]
pub struct Models {
    /// The configuration file's folder.
    pub root: PathBuf,
    /// The folder of the models.
    pub path: PathBuf,
    /// The folder of the tests.
    pub tests: PathBuf,
    /// Whether the configuration names the folder of the tests.
    pub tests_are_named: bool,
    /// The schema of the destination that their tables are in.
    pub dataset: String,
    /// The tables of all streams, selected or not, each with the stream that is loaded into it.
    pub tables: BTreeMap<String, StreamName>,
}

/// A destination in use.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The destination's name under `destinations`.
    pub name: String,
    /// The kind of destination, and its settings.
    pub target: Target,
    /// How long a run waits for another process that has the destination open.
    pub wait: Duration,
}

/// The kind of a destination, and its settings.
#[derive(Debug, Clone)]
pub enum Target {
    /// A DuckDB database file.
    DuckDb {
        /// The file's absolute path.
        path: PathBuf,
        /// How much memory DuckDB may use, in bytes. `None` for acequia's default.
        memory_limit: Option<u64>,
    },
    /// A PostgreSQL database.
    Postgres {
        /// How it is reached.
        url: PostgresUrl,
    },
    /// Tables of Apache Iceberg behind a REST catalog.
    Iceberg(Box<Lake>),
}

impl Target {
    /// Its kind, as in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DuckDb { .. } => "duckdb",
            Self::Postgres { .. } => "postgres",
            Self::Iceberg(_) => "iceberg",
        }
    }

    /// The file that it is, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::DuckDb { path, .. } => Some(path),
            Self::Postgres { .. } | Self::Iceberg(_) => None,
        }
    }
}

/// Tables of Apache Iceberg behind a REST catalog.
#[derive(Debug, Clone)]
pub struct Lake {
    /// The catalog's address, without `/v1` and without a `/` at its end.
    pub catalog: String,
    /// The warehouse, as the catalog calls it.
    pub warehouse: String,
    /// What the catalog is shown.
    pub access: CatalogAccess,
    /// Where its files are, for what the catalog vends no credentials for.
    pub storage: Option<ObjectStorage>,
    /// Who writes the rows, where that is not DuckDB.
    pub engine: Option<Engine>,
    /// The folder of DuckDB's extensions, where not those that DuckDB has installed.
    pub extensions: Option<PathBuf>,
    /// How much memory DuckDB may use, in bytes, where the configuration says.
    pub memory_limit: Option<u64>,
}

/// An engine that writes a lake's rows elsewhere.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Its address, as Spark Connect writes it: it may have a token.
    pub url: Secret,
    /// What prints its token, where the address has none.
    pub token: Option<SecretCommand>,
    /// What it calls the catalog, where not as the destination is called.
    pub catalog: Option<String>,
}

/// S3, or what speaks as it does, as the usual variables of the environment tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStorage {
    /// The access key's id.
    pub key_id: String,
    /// The access key.
    pub secret: Secret,
    /// The token of a session, where the key is that of one.
    pub session_token: Option<Secret>,
    /// The region.
    pub region: String,
    /// Its address, where it is not AWS's own.
    pub endpoint: Option<String>,
    /// Whether buckets are named in the path, not in the host's name.
    pub by_path: bool,
}

/// What a REST catalog is shown.
#[derive(Debug, Clone)]
pub enum CatalogAccess {
    /// Nothing.
    Open,
    /// A bearer token.
    Token(Token),
    /// Bearer tokens that are had for client credentials of OAuth2.
    Credential {
        /// The client's id.
        id: String,
        /// Its secret.
        secret: Secret,
        /// Where tokens are had.
        oauth2_uri: String,
        /// What they are for.
        scope: String,
    },
}

impl Target {
    /// Whether it can be held open by one run alone. One that cannot is held by a lease in the landing area.
    pub fn locks_itself(&self) -> bool {
        match self {
            // The file is locked, or an advisory lock is.
            Self::DuckDb { .. } | Self::Postgres { .. } => true,
            // A catalog knows of no sessions.
            Self::Iceberg(_) => false,
        }
    }
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
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A stream, ready to run.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The stream's name.
    pub name: StreamName,
    /// The source's name.
    pub source: String,
    /// What the stream reads, and how.
    pub from: StreamSource,
    /// The destination table's name.
    pub table: String,
    /// Which changes of the source's schema are allowed.
    pub contract: SchemaContract,
    /// How its table is laid out, where the destination has a choice.
    pub layout: Layout,
    /// How its columns are called in the destination.
    pub renames: Renames,
    /// What is run at the destination with each load.
    pub hooks: Hooks,
}

/// Statements that are run at the destination in the transaction of each load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the load.
    pub pre_sql: Vec<String>,
    /// After the load.
    pub post_sql: Vec<String>,
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
    /// The sources that the streams read, by name: each, or the error in its configuration.
    pub fn sources(&self) -> BTreeMap<&str, Result<Source>> {
        let mut sources: BTreeMap<&str, Result<Source>> = BTreeMap::new();
        for stream in &self.streams {
            let known = sources.get(stream.source.as_str());
            // A stream may be refused for a reason of its own.
            if known.is_none_or(Result::is_err) {
                sources.insert(&stream.source, stream.from.source());
            }
        }
        sources
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

    /// How the stream's loads are applied.
    pub fn disposition(&self) -> Disposition {
        match &self.from {
            StreamSource::Rows(rows) => rows.disposition(),
            StreamSource::Changes(_) => Disposition::Merge,
            StreamSource::HubSpot(object) => object.disposition(),
        }
    }

    /// What is set for the columns of a relation of PostgreSQL.
    pub fn column_settings(&self) -> Option<&postgres::ColumnSettings> {
        match &self.from {
            StreamSource::Rows(rows) => Some(&rows.columns),
            StreamSource::Changes(changes) => Some(&changes.columns),
            StreamSource::HubSpot(_) => None,
        }
    }

    /// Columns that its settings may name without the source having them.
    pub fn may_lack(&self) -> BTreeSet<String> {
        let columns = self.column_settings();
        columns.map_or_else(BTreeSet::new, |columns| columns.may_lack.clone())
    }

    /// The cursor column of an incremental stream.
    pub fn cursor(&self) -> Option<&str> {
        match &self.from {
            StreamSource::Rows(rows) => rows.cursor().map(|cursor| cursor.column.as_str()),
            StreamSource::Changes(_) => None,
            StreamSource::HubSpot(object) => object.incremental().map(|(column, _)| column),
        }
    }

    /// The name of the cursor column in the destination.
    pub fn table_cursor(&self) -> Option<&str> {
        self.cursor().map(|cursor| self.renames.name(cursor))
    }

    /// What a load does with its changes, for a stream of changes; and for one whose deleted rows are kept.
    pub fn changes(&self) -> Option<Changes> {
        match &self.from {
            StreamSource::Changes(changes) => Some(changes.changes),
            StreamSource::Rows(rows) => {
                let deletes = rows.delete_missing?.deletes;
                (deletes == Deletes::Soft).then_some(Changes {
                    deletes,
                    changelog: false,
                })
            }
            StreamSource::HubSpot(_) => None,
        }
    }

    /// What takes the place of columns' values.
    pub fn masks(&self) -> &Masks {
        match &self.from {
            StreamSource::Rows(rows) => &rows.columns.masks,
            StreamSource::Changes(changes) => &changes.columns.masks,
            StreamSource::HubSpot(object) => &object.masks,
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

    /// A hash of what the stream reads and which table it fills. How fast it reads is no part of it, nor which changes of
    /// the source's schema it allows.
    pub fn fingerprint(&self) -> String {
        let Self {
            name,
            source,
            from,
            table,
            contract: _,
            layout: _,
            renames,
            hooks: _,
        } = self;
        let from = match from {
            StreamSource::Rows(rows) => format!("{:?}", rows.identity()),
            StreamSource::Changes(changes) => format!("{:?}", changes.identity()),
            StreamSource::HubSpot(object) => format!("{:?}", object.identity()),
        };
        let mut told = format!("{:?}", (name, source, from, table, self.mode()));
        if !renames.is_empty() {
            told = format!("{told}{renames:?}");
        }
        let mut digest = hex(&Sha256::digest(told));
        digest.truncate(16);
        digest
    }
}

impl StreamSource {
    /// The source's settings.
    ///
    /// # Errors
    /// The error in the source's configuration, if the pipeline was resolved [without its
    /// sources](Document::resolve_without_sources).
    pub fn source(&self) -> Result<Source> {
        match self {
            Self::Rows(rows) => rows.source.clone().map(Source::Postgres),
            Self::Changes(changes) => changes.source.clone().map(Source::Postgres),
            Self::HubSpot(object) => object.source.clone().map(Source::HubSpot),
        }
    }
}

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the place that needs it.
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
