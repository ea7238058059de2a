//! What the REST catalog is asked: which tables there are, what a table's metadata says, and to change its properties.
//!
//! Nothing of it knows who writes the rows. Its calls block, and are those of Iceberg's REST catalog specification.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::config::{Lake, Secret};
use crate::error::{Error, Result};
use crate::http;
use crate::layout::Layout;

use super::answer::{Answer, encoded};
use super::layout;
use super::schema::TableFields;
use super::token::Tokens;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// How many tables are asked for at once.
const AT_ONCE: usize = 8;
/// How long after a question that was not answered it is asked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Statuses that say that it may be answered in a moment.
const AGAIN: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
/// The call that changes several tables in one commit.
const SEVERAL_TABLES: &str = "POST /v1/{prefix}/transactions/commit";
/// What is told where an answer is none of a catalog.
const NO_CATALOG: &str =
    "correct `catalog` of the destination: the address of an Iceberg REST catalog, without /v1";

/// A REST catalog, and a namespace in it. Blocks.
pub(super) struct Catalog {
    http: Client,
    runtime: Runtime,
    tokens: Tokens,
    /// The catalog's address.
    address: String,
    warehouse: String,
    dataset: String,
    /// Where the warehouse is asked for all that it has.
    root: String,
    /// Where its namespaces are.
    namespaces: String,
    /// Whether it changes several tables in one commit.
    joins_tables: bool,
}

/// What a catalog says of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TableMetadata {
    /// What tells it from another of its name.
    table_uuid: String,
    #[serde(default)]
    schemas: Vec<TableFields>,
    #[serde(default)]
    current_schema_id: i32,
    /// The highest number that one of its columns was given.
    #[serde(default)]
    pub(super) last_column_id: i32,
    /// Branches and tags.
    #[serde(default)]
    pub(super) refs: BTreeMap<String, Reference>,
    /// The snapshots that branches and tags are of.
    #[serde(default)]
    snapshots: Vec<Snapshot>,
    #[serde(default)]
    partition_specs: Vec<LaidOut>,
    #[serde(default)]
    default_spec_id: i32,
    #[serde(default)]
    sort_orders: Vec<LaidOut>,
    #[serde(default)]
    default_sort_order_id: i32,
    /// Its properties.
    #[serde(default)]
    pub(super) properties: BTreeMap<String, String>,
    /// The snapshot that it is now; none or -1 where it has none yet.
    #[serde(default)]
    current_snapshot_id: Option<i64>,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Reference {
    pub(super) snapshot_id: i64,
}

/// Partitions or an order: its number, and the numbers of columns that it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LaidOut {
    #[serde(alias = "spec-id", alias = "order-id")]
    id: i32,
    fields: Vec<LaidOutBy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LaidOutBy {
    #[serde(default)]
    source_id: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Snapshot {
    #[serde(rename = "snapshot-id")]
    id: i64,
    #[serde(default, rename = "parent-snapshot-id")]
    parent: Option<i64>,
    #[serde(default, rename = "schema-id")]
    schema: Option<i32>,
}

/// What is changed of a table in a commit.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) table: &'a str,
    /// The table as it was found.
    pub(super) seen: &'a TableMetadata,
    pub(super) requirements: Vec<Value>,
    pub(super) updates: Vec<Value>,
}

/// What became of a commit.
#[derive(Debug)]
pub(super) enum Committed {
    /// It was done.
    Done,
    /// The table is another than it was when it was looked at: nothing was done.
    Conflict(Error),
    /// Nothing tells whether it was done.
    Unknown(Error),
}

impl Committed {
    /// The error of what was not done, or may not have been.
    pub(super) fn done(self) -> Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Conflict(error) | Self::Unknown(error) => Err(error),
        }
    }
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
    /// The calls that it knows; where it does not say, those of the specification's first version.
    endpoints: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct LoadedTable {
    metadata: TableMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    identifiers: Vec<Identifier>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    name: String,
}

impl Catalog {
    /// Asks a catalog how it wants to be asked.
    ///
    /// # Errors
    /// [`Error::Destination`] where it cannot be reached, is none, does not take the credential or has no such warehouse.
    pub(super) fn open(lake: &Lake, dataset: &str) -> Result<Self> {
        let http = http::client(CONNECT_TIMEOUT, READ_TIMEOUT)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::internal("no thread for the catalog").cause(error))?;
        let mut catalog = Self {
            http,
            runtime,
            tokens: Tokens::new(lake.access.clone()),
            address: lake.catalog.clone(),
            warehouse: lake.warehouse.clone(),
            dataset: dataset.to_owned(),
            root: String::new(),
            namespaces: String::new(),
            joins_tables: true,
        };
        let path = format!(
            "{}/v1/config?warehouse={}",
            catalog.address,
            encoded(&catalog.warehouse)
        );
        let what = format!("the warehouse `{}`", catalog.warehouse);
        let configuration: Configuration = catalog
            .ask(&Method::GET, &path, None)?
            .json(&what, NO_CATALOG)?;
        let prefix = configuration.overrides.get("prefix");
        // A prefix is written as it is to be used.
        let prefix = prefix
            .or_else(|| configuration.defaults.get("prefix"))
            .filter(|prefix| !prefix.is_empty())
            .map_or_else(String::new, |prefix| format!("/{prefix}"));
        catalog.root = format!("{}/v1{prefix}", catalog.address);
        catalog.namespaces = format!("{}/namespaces", catalog.root);
        catalog.joins_tables = configuration
            .endpoints
            .is_none_or(|endpoints| endpoints.iter().any(|call| call == SEVERAL_TABLES));
        Ok(catalog)
    }

    /// The catalog's address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The warehouse.
    pub(super) fn warehouse(&self) -> &str {
        &self.warehouse
    }

    /// Whether it changes several tables in one commit.
    pub(super) fn joins_tables(&self) -> bool {
        self.joins_tables
    }

    /// The token to show it now.
    pub(super) fn token(&mut self) -> Result<Option<Secret>> {
        self.runtime.block_on(self.tokens.current(&self.http))
    }

    /// Whether the dataset's namespace is there.
    pub(super) fn has_namespace(&mut self) -> Result<bool> {
        let path = self.namespace();
        let answer = self.ask(&Method::GET, &path, None)?;
        match answer.status {
            StatusCode::NOT_FOUND => self.look_for_warehouse().map(|()| false),
            _ if answer.is_ok() => Ok(true),
            StatusCode::BAD_REQUEST => Err(self.no_namespace(&answer)),
            _ => Err(answer.refusal(&self.namespace_in_words())),
        }
    }

    /// A namespace that is not there may be one of a warehouse that is not: some catalogs answer for every name of a warehouse.
    fn look_for_warehouse(&mut self) -> Result<()> {
        let path = self.namespaces.clone();
        let answer = self.ask(&Method::GET, &path, None)?;
        match answer.status {
            StatusCode::NOT_FOUND => Err(self.no_warehouse(&answer)),
            // Who may not list them may have the right to make one all the same.
            _ => Ok(()),
        }
    }

    fn no_warehouse(&self, answer: &Answer) -> Error {
        Error::destination(format!(
            "{} has no warehouse `{}`",
            self.address, self.warehouse
        ))
        .cause(answer.told())
        .remedy("make the warehouse in the catalog, or correct `warehouse` of the destination")
    }

    /// Makes the dataset's namespace, where it is missing.
    pub(super) fn create_namespace(&mut self) -> Result<()> {
        let path = self.namespaces.clone();
        let body = json!({"namespace": [&self.dataset], "properties": {}});
        let answer = self.ask(&Method::POST, &path, Some(&body))?;
        match answer.status {
            StatusCode::CONFLICT => Ok(()),
            _ if answer.is_ok() => Ok(()),
            StatusCode::BAD_REQUEST => Err(self.no_namespace(&answer)),
            StatusCode::NOT_FOUND => Err(self.no_warehouse(&answer)),
            _ => Err(answer.refusal(&format!("to make {}", self.namespace_in_words()))),
        }
    }

    fn no_namespace(&self, answer: &Answer) -> Error {
        Error::destination(format!(
            "{} takes no namespace called `{}`",
            self.address, self.dataset
        ))
        .cause(answer.told())
        .remedy("choose another `dataset` under [pipeline]")
    }

    fn namespace_in_words(&self) -> String {
        format!(
            "the namespace `{}` of the warehouse `{}`",
            self.dataset, self.warehouse
        )
    }

    /// The names of the namespace's tables; none where there is no namespace.
    pub(super) fn tables(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut page = String::new();
        loop {
            let path = format!("{}/tables{page}", self.namespace());
            let answer = self.ask(&Method::GET, &path, None)?;
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(names);
            }
            let listed: Listed = answer.json("its tables", NO_CATALOG)?;
            names.extend(listed.identifiers.into_iter().map(|table| table.name));
            match listed.next_page_token.filter(|token| !token.is_empty()) {
                Some(token) => page = format!("?pageToken={}", encoded(&token)),
                None => return Ok(names),
            }
        }
    }

    /// What it says of a table; none where there is none.
    ///
    /// # Errors
    /// Where it cannot be asked, or does not take the name.
    pub(super) fn table(&mut self, name: &str) -> Result<Option<TableMetadata>> {
        let mut found = self.each_table(&[name.to_owned()])?;
        Ok(found.pop().map(|(_, metadata)| metadata))
    }

    /// What it says of each of these tables that is there.
    pub(super) fn each_table(&mut self, names: &[String]) -> Result<Vec<(String, TableMetadata)>> {
        let token = self.token()?;
        let asked = stream::iter(names).map(async |name| {
            let path = self.table_path(name);
            let answer = self
                .send(
                    &Method::GET,
                    &format!("{path}?snapshots=refs"),
                    None,
                    token.as_ref(),
                )
                .await?;
            self.metadata(name, &answer)
        });
        let found: Vec<_> = self
            .runtime
            .block_on(asked.buffered(AT_ONCE).try_collect())?;
        Ok(names
            .iter()
            .cloned()
            .zip(found)
            .filter_map(|(name, metadata): (_, Option<_>)| Some((name, metadata?)))
            .collect())
    }

    fn metadata(&self, name: &str, answer: &Answer) -> Result<Option<TableMetadata>> {
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if answer.status == StatusCode::BAD_REQUEST {
            return Err(Error::destination(format!(
                "{} takes no table called `{name}`",
                self.address
            ))
            .cause(answer.told())
            .remedy(
                "give the stream another name in the catalog with `destination_table`: lower-case letters, digits and `_`, a \
                 letter first, are taken everywhere",
            ));
        }
        let what = format!("the table `{}.{name}`", self.dataset);
        let loaded: LoadedTable = answer.json(&what, NO_CATALOG)?;
        Ok(Some(loaded.metadata))
    }

    /// Whether a table could be made: asks for one, and leaves it at that.
    pub(super) fn may_create(&mut self, name: &str) -> Result<()> {
        let path = format!("{}/tables", self.namespace());
        let fields = json!([{"id": 1, "name": "id", "required": false, "type": "long"}]);
        let body = json!({
            "name": name,
            "stage-create": true,
            "schema": {"type": "struct", "schema-id": 0, "fields": fields},
            "properties": {}
        });
        let answer = self.ask(&Method::POST, &path, Some(&body))?;
        if answer.is_ok() || answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        Err(answer.refusal(&format!("to make a table in {}", self.namespace_in_words())))
    }

    /// Sets properties of a table, if it is still what `seen` says: the same table, at the same snapshot.
    ///
    /// # Errors
    /// Where the catalog refuses: nothing was done.
    pub(super) fn set_properties(
        &mut self,
        name: &str,
        seen: &TableMetadata,
        properties: &BTreeMap<String, String>,
    ) -> Result<Committed> {
        let requirements = vec![asserted("main", seen.snapshot())];
        let updates = vec![json!({"action": "set-properties", "updates": properties})];
        self.commit(name, seen, requirements, updates)
    }

    /// Changes a table, if it is the one that `seen` says and the requirements hold. Sent once.
    ///
    /// # Errors
    /// Where the catalog refuses: nothing was done.
    pub(super) fn commit(
        &mut self,
        name: &str,
        seen: &TableMetadata,
        requirements: Vec<Value>,
        updates: Vec<Value>,
    ) -> Result<Committed> {
        let change = Change {
            table: name,
            seen,
            requirements,
            updates,
        };
        self.commit_all(vec![change])
    }

    /// Changes tables in one commit, each if it is the one that was seen and its requirements hold; nothing where one does not.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(super) fn commit_all(&mut self, changes: Vec<Change<'_>>) -> Result<Committed> {
        let names: Vec<&str> = changes.iter().map(|change| change.table).collect();
        let shown = names.join("`, `");
        let mut bodies: Vec<Value> = changes
            .into_iter()
            .map(|change| {
                let mut requirements = change.requirements;
                let uuid = &change.seen.table_uuid;
                requirements.insert(0, json!({"type": "assert-table-uuid", "uuid": uuid}));
                json!({
                    "identifier": {"namespace": [&self.dataset], "name": change.table},
                    "requirements": requirements,
                    "updates": change.updates
                })
            })
            .collect();
        let (path, body) = match (names.as_slice(), bodies.pop()) {
            ([name], Some(body)) => (self.table_path(name), body),
            (_, last) => {
                bodies.extend(last);
                let path = format!("{}/transactions/commit", self.root);
                (path, json!({"table-changes": bodies}))
            }
        };
        self.post(&shown, &path, &body)
    }

    /// Makes a table.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(super) fn create_table(
        &mut self,
        name: &str,
        schema: &TableFields,
        properties: &BTreeMap<String, String>,
        layout: &Layout,
    ) -> Result<Committed> {
        let (partitions, order) = layout::of_table(layout, name, &schema.fields)?;
        let mut body = serde_json::Map::new();
        body.insert("name".to_owned(), json!(name));
        body.insert("schema".to_owned(), json!(schema));
        body.insert("properties".to_owned(), json!(properties));
        let laid_out = [("partition-spec", partitions), ("write-order", order)];
        for (key, value) in laid_out {
            body.extend(value.map(|value| (key.to_owned(), value)));
        }
        let body = Value::Object(body);
        let path = format!("{}/tables", self.namespace());
        self.post(name, &path, &body)
    }

    fn post(&mut self, name: &str, path: &str, body: &Value) -> Result<Committed> {
        // What a catalog answers before it looks at the request says that nothing was done; a lost answer says nothing.
        let answer = match self.ask(&Method::POST, path, Some(body)) {
            Ok(answer) => answer,
            Err(error) => return Ok(Committed::Unknown(error)),
        };
        if answer.is_ok() {
            return Ok(Committed::Done);
        }
        let error = answer.refusal(&format!("to change the table `{}.{name}`", self.dataset));
        match answer.status {
            StatusCode::CONFLICT => Ok(Committed::Conflict(error)),
            status if status.is_server_error() => Ok(Committed::Unknown(error)),
            _ => Err(error),
        }
    }

    fn namespace(&self) -> String {
        format!("{}/{}", self.namespaces, encoded(&self.dataset))
    }

    fn table_path(&self, name: &str) -> String {
        format!("{}/tables/{}", self.namespace(), encoded(name))
    }

    /// Asks once. Where the token is not taken and another can be had, asks with that one: a catalog looks at the token first.
    fn ask(&mut self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let token = self.token()?;
        let answer = self
            .runtime
            .block_on(self.send(method, path, body, token.as_ref()))?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match self.runtime.block_on(self.tokens.renew(&self.http))? {
            Some(token) => self
                .runtime
                .block_on(self.send(method, path, body, Some(&token))),
            None => Ok(answer),
        }
    }

    /// Sends a request; a question again where it is not answered, and nothing else.
    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Secret>,
    ) -> Result<Answer> {
        for pause in PAUSES {
            let answer = self.send_once(method, path, body, token).await;
            let is_answered = answer
                .as_ref()
                .is_ok_and(|answer| !AGAIN.contains(&answer.status));
            if is_answered || method != Method::GET {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
        self.send_once(method, path, body, token).await
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Secret>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method.clone(), path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await, &self.address).await
    }
}

/// The requirement that a branch or tag is at a snapshot, or is not there.
pub(super) fn asserted(reference: &str, snapshot: Option<i64>) -> Value {
    json!({"type": "assert-ref-snapshot-id", "ref": reference, "snapshot-id": snapshot})
}

impl TableMetadata {
    /// The snapshot that it is now.
    pub(super) fn snapshot(&self) -> Option<i64> {
        self.current_snapshot_id.filter(|id| *id >= 0)
    }

    /// The snapshot that a branch or tag is at.
    pub(super) fn reference(&self, name: &str) -> Option<i64> {
        self.refs.get(name).map(|of| of.snapshot_id)
    }

    /// Whether a snapshot has the schema that the table has now.
    pub(super) fn is_of_this_schema(&self, snapshot: i64) -> bool {
        let schema = self.known(snapshot).and_then(|of| of.schema);
        schema == Some(self.current_schema_id)
    }

    /// The snapshot that one was made from.
    pub(super) fn parent_of(&self, snapshot: i64) -> Option<i64> {
        self.known(snapshot)?.parent
    }

    /// The snapshot that the table's own was made from.
    pub(super) fn parent_of_main(&self) -> Option<i64> {
        self.parent_of(self.snapshot()?)
    }

    fn known(&self, snapshot: i64) -> Option<&Snapshot> {
        self.snapshots.iter().find(|of| of.id == snapshot)
    }

    /// Its schema now.
    pub(super) fn schema(&self) -> Option<&TableFields> {
        let id = self.current_schema_id;
        self.schemas.iter().find(|schema| schema.schema_id == id)
    }

    /// The names of the columns by which it is partitioned or sorted now.
    pub(super) fn laid_out_by(&self) -> Vec<String> {
        let of = |all: &[LaidOut], id: i32| {
            let found = all.iter().find(|of| of.id == id);
            found.map_or_else(Vec::new, |of| of.fields.clone())
        };
        let mut by = of(&self.partition_specs, self.default_spec_id);
        by.extend(of(&self.sort_orders, self.default_sort_order_id));
        let fields = self.schema().map_or(&[][..], |schema| &schema.fields);
        let names = fields.iter().filter(|field| {
            let mut sources = by.iter().filter_map(|of| of.source_id);
            sources.any(|source| source == field.id)
        });
        names.map(|field| field.name.clone()).collect()
    }

    /// The requirement that it has the schema that it has now.
    pub(super) fn assert_schema(&self) -> Value {
        let id = self.current_schema_id;
        json!({"type": "assert-current-schema-id", "current-schema-id": id})
    }
}
