//! The configuration: read as it is written ([`document`], [`model`]), then made into what the pipeline works with
//! ([`resolve`]).

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::evolution::SchemaContract;
use crate::mode::{Changes, Disposition, Mode};
use crate::names::{StreamName, hex};
use crate::position::Lag;
use crate::schema::ColumnType;

pub mod document;
pub mod environment;
pub mod model;
pub mod resolve;
mod suggest;
mod table_name;
mod units;

pub use document::Document;
pub use model::{NullCursor, Reader};
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
    /// The sources that its streams use, by name.
    pub sources: BTreeMap<String, Source>,
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
    /// Tables of Apache Iceberg behind a REST catalog.
    Iceberg(Box<Lake>),
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
    /// The folder of DuckDB's extensions, where not those that DuckDB has installed.
    pub extensions: Option<PathBuf>,
    /// How much memory DuckDB may use, in bytes, where the configuration says.
    pub memory_limit: Option<u64>,
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
    Token(Secret),
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

/// Which paths are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The dated paths, `/crm/objects/2026-03/…`.
    #[default]
    #[serde(rename = "2026-03")]
    Dated202603,
    /// The older paths, `/crm/v3/objects/…`, which HubSpot supports until 2027.
    #[serde(rename = "v3")]
    V3,
}

/// A source in use.
#[derive(Debug, Clone)]
pub enum Source {
    /// A PostgreSQL database.
    Postgres {
        /// Its connection URI.
        url: Secret,
        /// What streams of changes use on the server.
        replication: Replication,
        /// Who reads its tables and queries.
        reader: Reader,
    },
    /// A HubSpot account.
    HubSpot {
        /// Where it is asked.
        base_url: String,
        /// The token of a private app or a service key.
        token: Secret,
        /// Which paths are asked.
        api_version: ApiVersion,
    },
}

/// What streams of changes use on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The slot's name without that of a destination: with it begin the names of all slots of this pipeline.
    pub base: String,
    /// The slots of the other destinations in the configuration.
    pub others: Vec<String>,
    /// All streams of changes of the source, whether they are selected or not: what the slot is kept for.
    pub streams: Vec<StreamName>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A stream, ready to run.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its name.
    pub name: StreamName,
    /// Its source's name.
    pub source: String,
    /// What is read.
    pub relation: Relation,
    /// How it is read.
    pub mode: Mode,
    /// How loads are applied.
    pub disposition: Disposition,
    /// Incremental: by which column, and from where.
    pub cursor: Option<Cursor>,
    /// Cdc: what is done with changes.
    pub changes: Option<Changes>,
    /// The key, where the configuration gives one.
    pub primary_key: Option<Vec<String>>,
    /// The columns to take, where not all.
    pub columns: Option<Vec<String>>,
    /// The columns to leave out.
    pub exclude: Vec<String>,
    /// A condition in the source's SQL.
    pub filter: Option<String>,
    /// The destination table's name.
    pub table: String,
    /// How many connections read at once, where the configuration says.
    pub parallel: Option<NonZeroUsize>,
    /// Whether row-level security may filter what is read.
    pub row_security: bool,
    /// What the source's schema may change.
    pub contract: SchemaContract,
    /// Types to use instead of the source's.
    pub types: BTreeMap<String, ColumnType>,
}

impl Stream {
    /// What tells what it reads and where that goes from other configurations. How fast it reads is no part of it, nor what
    /// it allows its source to change.
    pub fn fingerprint(&self) -> String {
        let told = Self {
            parallel: None,
            contract: SchemaContract::default(),
            ..self.clone()
        };
        let mut digest = hex(&Sha256::digest(format!("{told:?}")));
        digest.truncate(16);
        digest
    }
}

/// What a stream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table, view, materialized view, foreign or partitioned table.
    Table {
        /// Its schema; none where the search path finds it.
        schema: Option<String>,
        /// Its name.
        name: String,
    },
    /// The rows of a query.
    Query(String),
    /// Records of HubSpot, or what belongs to them.
    Crm(CrmRelation),
}

/// What a stream reads of HubSpot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmRelation {
    /// The object: `companies`.
    pub object: String,
    /// What of it.
    pub part: CrmPart,
    /// The properties to take, by name or pattern, where not all.
    pub properties: Option<Vec<String>>,
    /// How often the ids of all records are compared with those of the table; none for never.
    pub compare: Option<TimeDelta>,
    /// What is done about properties that HubSpot calculates.
    pub calculated: Calculated,
}

/// What is done about properties that HubSpot calculates, whose change moves no time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calculated {
    /// Nothing, and every run says so.
    Warn,
    /// Nothing.
    Ignore,
    /// All records are read again so often; zero for in every run.
    Every(TimeDelta),
}

/// What a stream reads of an object of HubSpot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrmPart {
    /// Its records.
    Records,
    /// Every value that these properties (names or patterns) had.
    History(Vec<String>),
    /// What is associated with that other object.
    Associations(String),
    /// The definitions of its properties.
    Properties,
    /// The choices of its properties.
    Options,
    /// The owners.
    Owners,
    /// The pipelines of these objects.
    Pipelines(Vec<String>),
}

/// By which column an incremental stream is read, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The column.
    pub column: String,
    /// Where the first run begins, as it is written.
    pub initial_value: Option<String>,
    /// How far below the position each run begins.
    pub lag: Option<Lag>,
    /// What to do with NULL.
    pub nulls: NullCursor,
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

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table {
                schema: Some(schema),
                name,
            } => write!(f, "table {schema}.{name}"),
            Self::Table { schema: None, name } => write!(f, "table {name}"),
            Self::Query(_) => f.write_str("its query"),
            Self::Crm(relation) => match &relation.part {
                CrmPart::Records | CrmPart::Owners => write!(f, "{} of HubSpot", relation.object),
                CrmPart::History(_) => write!(f, "the history of {}", relation.object),
                CrmPart::Properties => write!(f, "the properties of {}", relation.object),
                CrmPart::Options => write!(f, "the choices of properties of {}", relation.object),
                CrmPart::Associations(to) => {
                    write!(f, "associations of {} with {to}", relation.object)
                }
                CrmPart::Pipelines(objects) => write!(f, "pipelines of {}", objects.join(", ")),
            },
        }
    }
}
