//! `acequia.toml` as it is written. [`super::resolve`] makes a pipeline of it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::{Value, json};

use super::hubspot::ApiVersion;
use super::metrics::MetricsConfig;
use super::notify::NotifyConfig;
use super::openlineage::OpenLineageConfig;
use super::report::ReportConfig;
use super::units::{duration_pattern, size_pattern};
use crate::evolution::SchemaContract;
use crate::mode::{Deletes, Disposition, Mode};
use crate::names::StreamName;
use crate::schema::ColumnType;

/// The configuration of an acequia pipeline. In every text, `${NAME}` is taken from the environment or from a `.env`
/// file beside the configuration.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The pipeline as a whole.
    pub pipeline: PipelineConfig,
    /// The destinations of loads, by name.
    pub destinations: BTreeMap<String, DestinationConfig>,
    /// The sources of rows, by name.
    pub sources: BTreeMap<String, SourceConfig>,
    /// Keys that every stream has unless it gives them itself, where they mean something to it.
    #[serde(default)]
    pub defaults: Option<DefaultsConfig>,
    /// The streams, by name. The name is also the table's, unless `destination_table` gives another.
    #[serde(default)]
    pub streams: BTreeMap<StreamName, StreamConfig>,
    /// Tables and views that are made of the streams' tables, each one SELECT in a file.
    #[serde(default)]
    pub models: Option<ModelsConfig>,
    /// The report page that is made of what the destination has.
    #[serde(default)]
    pub report: Option<ReportConfig>,
    /// Who is told when runs fail.
    #[serde(default)]
    pub notify: Option<NotifyConfig>,
    /// Metrics for Prometheus.
    #[serde(default)]
    pub metrics: Option<MetricsConfig>,
    /// Where events of `OpenLineage` go, which tell what each run read and wrote.
    #[serde(default)]
    pub openlineage: Option<OpenLineageConfig>,
}

/// Tables and views that are made of the streams' tables in the destination, after the loads of a run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// The folder of the models, relative to the configuration file: a file `NAME.sql` for each, in subfolders too.
    pub path: String,
    /// The folder of the tests: queries that must return no row. Default: `tests` beside the folder of the models.
    #[serde(default)]
    pub tests: Option<String>,
    /// The schema in the destination that the models' tables are made in. Default: "analysis".
    #[serde(default)]
    pub dataset: Option<String>,
}

/// The pipeline as a whole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Its name, also the name of its folder in the landing area.
    pub name: StreamName,
    /// The schema in the destination that its tables are made in.
    pub dataset: String,
    /// The landing area: a folder (relative to the configuration file), or `s3://bucket/prefix`, `gs://…` or
    /// `az://…`. Credentials for the latter come from the usual variables of the environment (`AWS_ACCESS_KEY_ID`, …).
    #[serde(default = "default_landing")]
    pub landing: String,
    /// The destination that is used unless `--destination` names another.
    pub destination: String,
    /// Size at which a Parquet part is closed and the next begun, as in "256MB".
    #[serde(default)]
    #[schemars(transform = size_pattern)]
    pub part_size: Option<String>,
    /// How long loads stay in the landing area, as in "30d"; those from which the destination can be built anew stay
    /// longer. Default: for ever.
    #[serde(default)]
    #[schemars(transform = duration_pattern)]
    pub retention: Option<String>,
}

fn default_landing() -> String {
    "landing".to_owned()
}

/// What kind of place a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DestinationKind {
    /// A DuckDB database file.
    DuckDb,
    /// A PostgreSQL database.
    Postgres,
    /// Tables of Apache Iceberg behind a REST catalog.
    Iceberg,
}

/// A place that loads go to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = destination_keys)]
pub struct DestinationConfig {
    /// What kind of place it is.
    pub kind: DestinationKind,
    /// DuckDB: the database file, relative to the configuration file.
    #[serde(default)]
    pub path: Option<String>,
    /// PostgreSQL: the connection URI, as in `postgres://user@host:5432/database?sslmode=verify-full`.
    #[serde(default)]
    pub url: Option<String>,
    /// PostgreSQL: a shell command that prints the password, such as a token of a cloud's IAM. It is run again when that expires.
    #[serde(default)]
    pub password_command: Option<String>,
    /// Iceberg: the REST catalog's address, without `/v1`, as in `https://catalog.example.com/api/catalog`.
    #[serde(default)]
    pub catalog: Option<String>,
    /// Iceberg: the warehouse, as the catalog calls it.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// Iceberg: OAuth2 client credentials, as in `"${LAKE_ID}:${LAKE_SECRET}"`.
    #[serde(default)]
    pub credential: Option<String>,
    /// Iceberg: a bearer token, instead of `credential`.
    #[serde(default)]
    pub token: Option<String>,
    /// Iceberg: a shell command that prints the bearer token, instead of `token`. It is run again when that expires.
    #[serde(default)]
    pub token_command: Option<String>,
    /// Iceberg: where tokens are had for `credential`. Default: the catalog's own `/v1/oauth/tokens`.
    #[serde(default)]
    pub oauth2_uri: Option<String>,
    /// Iceberg: the scope of the tokens that are had for `credential`. Default: `"PRINCIPAL_ROLE:ALL"`.
    #[serde(default)]
    pub scope: Option<String>,
    /// Iceberg: whether `catalog` and `oauth2_uri` may be plain `http://` to another host than this machine: tokens then travel in
    /// clear.
    #[serde(default)]
    pub insecure_http: Option<bool>,
    /// Iceberg: who writes the rows: "duckdb" (default), within acequia itself; or the address of a Spark or Sail that
    /// speaks Spark Connect, as in `sc://spark.example.com:15002/;use_ssl=true;token=${SPARK_TOKEN}`.
    #[serde(default)]
    pub engine: Option<String>,
    /// Iceberg, with an engine elsewhere: a shell command that prints the engine's token, instead of `token` in `engine`.
    #[serde(default)]
    pub engine_token_command: Option<String>,
    /// Iceberg, with an engine elsewhere: what the engine calls the catalog. Default: the destination's name.
    #[serde(default)]
    pub engine_catalog: Option<String>,
    /// Iceberg: a folder with DuckDB's extensions `httpfs`, `avro` and `iceberg`, relative to the configuration file. Default: those
    /// that DuckDB has installed.
    #[serde(default)]
    pub extensions: Option<String>,
    /// DuckDB, which also writes Iceberg: how much memory it may use, as in "512MB". Default: 96 MB (Iceberg: 384 MB), and up to 6 GB
    /// for a load that needs it.
    #[serde(default)]
    #[schemars(transform = size_pattern)]
    pub memory_limit: Option<String>,
    /// How long to wait for others that have the database open, as in "5m": programs that have a DuckDB file open, or
    /// another run. Default: "1m".
    #[serde(default)]
    #[schemars(transform = duration_pattern)]
    pub wait: Option<String>,
}

/// What kind of place a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A PostgreSQL database.
    Postgres,
    /// A HubSpot account.
    HubSpot,
}

/// A place that rows come from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = source_keys)]
pub struct SourceConfig {
    /// What kind of place it is.
    pub kind: SourceKind,
    /// PostgreSQL: the connection URI, as in `postgres://user@host:5432/database?sslmode=verify-full`.
    #[serde(default)]
    pub url: Option<String>,
    /// PostgreSQL: a shell command that prints the password, such as a token of a cloud's IAM. It is run again when that expires.
    #[serde(default)]
    pub password_command: Option<String>,
    /// PostgreSQL: the names that streams with mode = "cdc" use on the server.
    #[serde(default)]
    pub replication: Option<ReplicationConfig>,
    /// PostgreSQL: which reader reads tables and queries. Default: "copy".
    #[serde(default)]
    pub reader: Option<Reader>,
    /// HubSpot: the token of a private app or a service key, as in `"${HUBSPOT_TOKEN}"`.
    #[serde(default)]
    pub token: Option<String>,
    /// HubSpot: a shell command that prints the token, instead of `token`. It is run again when that expires.
    #[serde(default)]
    pub token_command: Option<String>,
    /// HubSpot: the API's address. Default: `https://api.hubapi.com`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// HubSpot: whether `base_url` may be plain `http://` to another host than this machine: the token then travels in clear.
    #[serde(default)]
    pub insecure_http: Option<bool>,
    /// HubSpot: which paths of the API are used. Default: "2026-03"; "v3" for the older ones, which end in 2027.
    #[serde(default)]
    pub api_version: Option<ApiVersion>,
}

/// Which reader reads a PostgreSQL source's tables and queries. Both give the same rows; in the tests, each checks the
/// other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// acequia's own reader of `COPY … (FORMAT binary)`.
    #[default]
    Copy,
    /// connectorx.
    ConnectorX,
}

/// The names that logical replication uses on the server. The first run creates both.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicationConfig {
    /// The replication slot. Default: `acequia_` and the pipeline's name. A destination other than the pipeline's own has
    /// a slot of its own: this name, `_` and the destination's.
    #[serde(default)]
    pub slot: Option<String>,
    /// The publication. Default: `acequia_` and the pipeline's name.
    #[serde(default)]
    pub publication: Option<String>,
}

/// Keys that every stream has unless it gives them itself. A key that means nothing to a stream, such as `cursor` to one that
/// is read in full, is left out for it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefaultsConfig {
    /// The source, by its name under `sources`.
    #[serde(default)]
    pub source: Option<String>,
    /// How streams are read.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Incremental: the column that grows with each change.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Incremental: how far below the last position each run begins.
    #[serde(default)]
    pub lag: Option<Scalar>,
    /// Incremental: what to do with rows whose cursor is NULL.
    #[serde(default)]
    pub null_cursor: Option<NullCursor>,
    /// Cdc: what is done with rows that the source deletes.
    #[serde(default)]
    pub deletes: Option<Deletes>,
    /// Cdc: whether every change is also kept.
    #[serde(default)]
    pub changelog: Option<bool>,
    /// How many connections read a large table at once.
    #[serde(default)]
    pub parallel: Option<NonZeroUsize>,
    /// Whether row-level security may filter the rows that are read.
    #[serde(default)]
    pub row_security: Option<bool>,
    /// Which changes of the source's schema are allowed.
    #[serde(default)]
    pub schema_contract: Option<SchemaContract>,
}

/// One stream, or one for each table that `tables` finds: rows of one kind, from a source to a table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = stream_keys)]
pub struct StreamConfig {
    /// The source, by its name under `sources`.
    pub source: String,
    /// The table or view to read, as in "public.ventas". A part with a dot in it stands between double quotes. Letters
    /// keep their case.
    #[serde(default)]
    pub table: Option<String>,
    /// Many tables, each a stream of its own: patterns such as "public.*" and "ventas_*.pedidos", in which `*` stands for any
    /// text. A table that an ordinary stream reads is left to that one.
    #[serde(default)]
    pub tables: Vec<String>,
    /// With `tables`: patterns of tables that are left out.
    #[serde(default)]
    pub exclude_tables: Vec<String>,
    /// A query to read instead of a table.
    #[serde(default)]
    pub query: Option<String>,
    /// HubSpot: what to read: "companies", "contacts", "deals", "tickets" or any other object by its plural name, a custom
    /// object by its type id ("2-123") or full name, "owners", "pipelines" (of deals and tickets), or the pipelines of one
    /// object ("pipelines/2-123").
    #[serde(default)]
    pub object: Option<String>,
    /// HubSpot: the properties to take, by name or pattern (`hs_analytics_*`). Default: all.
    #[serde(default)]
    pub properties: Option<Columns>,
    /// HubSpot: properties, by name or pattern, whose every value goes to the table of that name and `__history`.
    #[serde(default)]
    pub history: Option<Columns>,
    /// HubSpot: other objects; what is associated with them goes to tables of that name, `__` and the object's name.
    #[serde(default)]
    pub associations: Option<Columns>,
    /// HubSpot, incremental: how often the ids of all records are compared with those of the table, so that records which
    /// were deleted for good are marked and none is missing: "1d"; "never". Default: "7d".
    #[serde(default)]
    pub compare: Option<String>,
    /// HubSpot, incremental: what is done about calculated properties, whose changes HubSpot does not report: "full" reads
    /// all records again in each run, "1d" at that interval, "ignore" leaves them as they are. Default: they stay, and each
    /// run warns.
    #[serde(default)]
    pub calculated: Option<String>,
    /// HubSpot: whether the definitions of the object's properties go to the table of that name and `__properties`, and the
    /// labels of their choices to that of that name and `__options`.
    #[serde(default)]
    pub definitions: Option<bool>,
    /// How the stream is read: "full", "incremental" or "cdc".
    pub mode: Mode,
    /// How loads are applied. Default: "replace" for full, "merge" for incremental and cdc.
    #[serde(default)]
    pub disposition: Option<Disposition>,
    /// Cdc: what is done with rows that the source deletes. "hard" (default): they are deleted; "soft": they stay, with the
    /// time of their deletion in `_acequia_deleted_at`.
    #[serde(default)]
    pub deletes: Option<Deletes>,
    /// Cdc: whether every change is also kept, in order, in the table of that name and `__changes`.
    #[serde(default)]
    pub changelog: Option<bool>,
    /// Incremental, merged: what is done with rows that the source has no more, which are found by comparing keys: "hard"
    /// deletes them; "soft" marks them in `_acequia_deleted_at`. Default: they stay.
    #[serde(default)]
    pub delete_missing: Option<Deletes>,
    /// Incremental, with `delete_missing`: how often keys are compared: "1d", "12h"; "0s" in each run. Default: "1d".
    #[serde(default)]
    pub delete_missing_every: Option<String>,
    /// Incremental: the column that grows with each change.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Incremental: where the first run begins (closed). Default: at the beginning.
    #[serde(default)]
    pub initial_value: Option<Scalar>,
    /// Incremental: how far below the last position each run begins: "10m" for dates and times, a number for numbers.
    #[serde(default)]
    pub lag: Option<Scalar>,
    /// Incremental: what to do with rows whose cursor is NULL. Default: "error".
    #[serde(default)]
    pub null_cursor: Option<NullCursor>,
    /// The key columns. Default: the table's primary key.
    #[serde(default)]
    pub primary_key: Option<Columns>,
    /// The columns to take. Default: all.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// The columns to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// A condition that rows must meet, in the source's SQL.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// The table's name in the destination. Default: the stream's name. With `tables`: a pattern of the streams' and their
    /// tables' names, as in "{schema}_{table}". Default: "{table}".
    #[serde(default)]
    pub destination_table: Option<String>,
    /// Iceberg: by what a table is partitioned when it is made, as in `["bucket(16, id)", "day(created_at)"]`.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// Iceberg, with an engine elsewhere: in which order the files of a table keep rows, given to it when it is made, as in
    /// `["id", "created_at desc"]`.
    #[serde(default)]
    pub sort_by: Vec<String>,
    /// How many connections read a large table at once. Default: the number of processors, 4 at most.
    #[serde(default)]
    pub parallel: Option<NonZeroUsize>,
    /// Whether row-level security may filter the rows that are read. By default, a stream that it would filter is refused,
    /// because a subset would be taken for the whole.
    #[serde(default)]
    pub row_security: Option<bool>,
    /// Which changes of the source's schema are allowed.
    #[serde(default)]
    pub schema_contract: SchemaContract,
    /// Types to use instead of the source's, by column, as in precio = "decimal(12,4)".
    #[serde(default)]
    pub types: BTreeMap<String, ColumnType>,
    /// What takes the place of values before anything is written, by column: "hmac:${KEY}", "sha256", "redact", "null",
    /// "keep-last:4", "email" (keeps the domain), or "none" for values that are copied as they are.
    #[serde(default)]
    pub mask: BTreeMap<String, String>,
    /// Names of columns in the destination, by their names in the source.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// Statements that are run at the destination before a load, in its transaction. `{table}` is the stream's table.
    #[serde(default)]
    pub pre_sql: Option<Columns>,
    /// Statements that are run at the destination after a load, in its transaction. `{table}` is the stream's table.
    #[serde(default)]
    pub post_sql: Option<Columns>,
}

impl StreamConfig {
    /// Whether it stands for many tables, each of which is a stream of its own.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.tables.is_empty() || !self.exclude_tables.is_empty()
    }
}

/// What to do with rows whose cursor is NULL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NullCursor {
    /// Fail, and say how many there are.
    #[default]
    Error,
    /// Read them in every run.
    Include,
    /// Leave them out.
    Exclude,
}

/// A text or a whole number. A date or a time of TOML counts as its text.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Scalar {
    /// A whole number.
    Integer(i64),
    /// Any other value, as text.
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, a whole number or a date")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }

            // This is how the toml crate hands over its dates and times.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar, A::Error> {
                toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))
                    .map(|time| Scalar::Text(time.to_string()))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// One column or several.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Columns {
    /// One.
    One(String),
    /// Several, in order.
    Several(Vec<String>),
}

impl Columns {
    /// Their names, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Each kind of destination requires a key of its own.
fn destination_keys(schema: &mut Schema) {
    let keys = [
        ("duckdb", "path"),
        ("postgres", "url"),
        ("iceberg", "catalog"),
        ("iceberg", "warehouse"),
    ];
    require_by_kind(schema, &keys);
}

/// Each kind of source requires a key of its own.
fn source_keys(schema: &mut Schema) {
    require_by_kind(schema, &[("postgres", "url")]);
    let either = ["token", "token_command"].map(|key| json!({"required": [key]}));
    let hubspot = json!({
        "if": {"properties": {"kind": {"const": "hubspot"}}},
        "then": {"oneOf": either},
    });
    if let Some(Value::Array(rules)) = schema.get_mut("allOf") {
        rules.push(hubspot);
    }
}

fn require_by_kind(schema: &mut Schema, keys: &[(&str, &str)]) {
    let rules: Vec<Value> = keys
        .iter()
        .map(|(kind, key)| {
            json!({"if": {"properties": {"kind": {"const": kind}}}, "then": {"required": [key]}})
        })
        .collect();
    schema.insert("allOf".to_owned(), rules.into());
}

/// A stream has exactly one of the keys that say what it reads.
fn stream_keys(schema: &mut Schema) {
    let one_of = ["table", "tables", "query", "object"].map(|key| json!({"required": [key]}));
    schema.insert("oneOf".to_owned(), one_of.to_vec().into());
    // Both may stand under [defaults].
    schema.remove("required");
}
