//! A stream open in PostgreSQL: its relation looked up and held still, and its lanes begun under one snapshot.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::binary::WireType;
use super::catalog::{self, CatalogRelation};
use super::connection::{Server, failed, version};
use super::cursor::CursorColumn;
use super::horizon;
use super::reader::{LaneQuery, ReadyLane};
use super::replication::Snapshot;
use super::replication::change::SnapshotMark;
use super::replication::publication::Table;
use super::replication::shapes;
use super::sql::{Range, Selection, cursor_condition, key_ranges, literal, page_ranges, quote};
use super::types::{ColumnPlan, plan};
use super::watermark::Watch;
use crate::change;
use crate::config::{NullCursor, Reader, Relation, Stream};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::position::{CursorPosition, CursorValue, LsnPosition, Position};
use crate::schema::{ColumnSpec, ColumnType, Schema};
use crate::shape::TableShape;
use crate::source::{Complete, Description, Extract, ExtractEnd, joined};

/// Pages below which a table is read by one connection: 64 MiB.
const PARALLEL_PAGES: u32 = 8 << 10;
/// Rows from which a relation without pages of its own is read by several connections.
const PARALLEL_ROWS: u64 = 500_000;
/// Connections for one table, unless the stream says otherwise.
const MAX_LANES: usize = 4;
/// The first server version that can read a range of pages without reading the others.
const TID_RANGE_VERSION: i32 = 140_000;

/// A stream open in PostgreSQL. Its transaction holds the tables still until this is dropped.
#[derive(Debug)]
pub struct PostgresStream {
    server: Server,
    reader: Reader,
    client: Client,
    relation: CatalogRelation,
    plans: Vec<ColumnPlan>,
    conditions: Vec<String>,
    cursor: Option<CursorColumn>,
    row_security: bool,
    lanes: u32,
    server_version: i32,
    /// Whether what it reads has SQL in it that a person wrote: a query, a view, a condition.
    own_path: bool,
    /// Where the changes begin that follow, and what marks the rows before.
    follows: Option<(SnapshotMark, LsnPosition)>,
    description: Description,
}

/// What a snapshot that changes follow on reads.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotContext<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The table, as its changes will come.
    pub table: &'a Table,
    /// Where the changes begin.
    pub position: &'a LsnPosition,
    /// The publication that they come by.
    pub publication: &'a str,
}

impl PostgresStream {
    /// Connects, looks the stream's relation up and holds it still: as it is now, or as a snapshot has it.
    pub async fn open(
        server: &Server,
        reader: Reader,
        stream: &Stream,
        follow: Option<&SnapshotContext<'_>>,
    ) -> Result<Self> {
        let client = server.connect().await?;
        let place = server.place();
        let begin = |error| failed(format!("cannot begin to read at {place}"), &error);
        if follow.is_some() {
            // The tables of a snapshot are held by another session of ours already; to look at one's size locks it as well.
            client.batch_execute(GIVE_WAY).await.map_err(begin)?;
        }
        let relation = look_up(&client, &stream.relation, place).await?;
        // Looked at before the snapshot is taken: what begins in between is above the low watermark.
        let activity = match stream.cursor {
            Some(_) => Some(horizon::look(&client).await.map_err(begin)?),
            None => None,
        };
        client
            .batch_execute(&beginning(follow, stream.row_security))
            .await
            .map_err(begin)?;
        // The lock before the snapshot: a snapshot older than a TRUNCATE or a rewriting ALTER sees the table empty.
        if relation.lockable {
            client
                .batch_execute(&format!(
                    "LOCK TABLE {} IN ACCESS SHARE MODE",
                    relation.from
                ))
                .await
                .map_err(|error| {
                    failed(format!("cannot lock {} at {place}", relation.from), &error)
                })?;
        }
        // What was looked up before the lock may have changed; now it cannot.
        let mut relation = look_up(&client, &stream.relation, place).await?;
        let mut conditions = Vec::new();
        let follows = match follow {
            Some(follow) => {
                let published = &follow.table.columns;
                relation
                    .columns
                    .retain(|column| published.contains(&column.name));
                conditions.extend(follow.table.filter.clone());
                Some(follow.beginning(&client).await?)
            }
            None => None,
        };
        let server_version = version(&client).await?;

        let mut plans = column_plans(&relation, stream)?;
        if relation.is_table {
            refuse_unreadable(&client, &relation, &plans).await?;
        }
        refuse_filtered(&client, &relation, stream).await?;
        if let Some(filter) = &stream.filter {
            conditions.push(format!("({filter}\n)"));
        }
        let read = (plans.as_slice(), conditions.as_slice());
        let cursor = CursorColumn::of(&client, &relation, stream, read, activity).await?;
        let own_path = !relation.is_table || !conditions.is_empty();
        let (primary_key, key_is_unique) = match follow {
            Some(follow) => (follow.table.key.clone(), follow.table.key_is_unique),
            None => key(&relation, stream, &plans)?,
        };
        let lanes = stream.parallel.map_or_else(
            || std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_LANES)),
            std::num::NonZeroUsize::get,
        );
        if follow.is_some() {
            // A deleted row will have values in the key columns alone.
            for plan in &mut plans {
                plan.spec.nullable = true;
            }
        }
        let mut columns: Vec<ColumnSpec> = plans.iter().map(|plan| plan.spec.clone()).collect();
        if follow.is_some() {
            columns.extend(change::columns());
        }
        let mut session = Self {
            server: server.clone(),
            reader,
            client,
            follows,
            description: Description {
                columns,
                primary_key,
                key_is_unique,
                estimated_rows: relation.estimated_rows,
                reading: String::new(),
                misfits: std::collections::BTreeMap::new(),
            },
            relation,
            plans,
            conditions,
            cursor,
            row_security: stream.row_security,
            lanes: u32::try_from(lanes).unwrap_or(1),
            server_version,
            own_path,
        };
        let ranges = session.ranges(None).await?;
        session.description.reading = match ranges.first() {
            Some(Range::Pages { .. }) => format!("{} ranges of pages at once", ranges.len()),
            Some(Range::Keys { .. }) => format!("{} ranges of keys at once", ranges.len()),
            _ => "one connection".to_owned(),
        };
        Ok(session)
    }

    /// What the source says of the stream.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What the stream's owner should know: rows that could be missed, and reads that are slow.
    pub fn recommendations(&self) -> Vec<(String, String)> {
        let Some(cursor) = &self.cursor else {
            return Vec::new();
        };
        let mut recommendations = cursor.recommendations();
        recommendations.extend(cursor.concerns());
        recommendations
    }

    /// Begins the lanes.
    pub async fn read(
        self,
        schema: &Schema,
        from: Option<&CursorPosition>,
        stop: &CancellationToken,
    ) -> Result<Extract> {
        let start = match &self.cursor {
            Some(cursor) => Some(cursor.start(&self.client, from).await?),
            None => None,
        };
        let (lower, low_watermark, warnings) = match start {
            Some(start) => (start.lower, Some(start.low_watermark), start.warnings),
            None => (None, None, Vec::new()),
        };
        let cursor = self.cursor.as_ref().zip(low_watermark);
        let cursor = cursor.map(|(cursor, low_watermark)| {
            let column = &cursor.settings.column;
            let watch = Watch::new(column, &cursor.column_type, &low_watermark);
            (column.clone(), low_watermark, watch)
        });
        let mut selection = Selection {
            from: self.relation.from.clone(),
            conditions: self.conditions.clone(),
        };
        if let Some(cursor) = &self.cursor {
            selection.conditions.extend(cursor_condition(
                &cursor.settings.column,
                cursor.column_type == ColumnType::Text,
                lower.as_ref(),
                cursor.settings.nulls == NullCursor::Include,
                cursor.nullable,
            ));
        }
        let snapshot: String = self
            .client
            .query_one("SELECT pg_export_snapshot()", &[])
            .await
            .map_err(|error| failed("cannot export a snapshot", &error))?
            .get(0);
        let ranges = self.ranges(lower.as_ref()).await?;
        let wire_types: Vec<WireType> = self.plans.iter().map(|plan| plan.wire).collect();
        let mut ready = Vec::with_capacity(ranges.len());
        for range in &ranges {
            let lane = LaneQuery {
                query: selection.select(&self.plans, range),
                own_path: self.own_path,
                schema: schema.clone(),
                wire_types: wire_types.clone(),
                snapshot: snapshot.clone(),
                mark: self.follows.as_ref().map(|(mark, _)| *mark),
                row_security: self.row_security,
            };
            tracing::debug!(query = lane.query, "lane");
            ready.push(ReadyLane::connect(self.reader, &self.server, lane).await?);
        }
        // The transaction that holds the tables still ends with the last lane.
        let holder = Arc::new(self.client);
        let watch = cursor.as_ref().map(|(.., watch)| watch);
        let lanes = ready
            .into_iter()
            .map(|lane| lane.start(stop, &holder, watch));
        let (lanes, readers): (Vec<_>, Vec<_>) =
            lanes.map(|lane| (lane.batches, lane.reader)).unzip();
        let follows = self.follows.map(|(_, position)| Position::Lsn(position));
        let before = from.cloned();
        let stop = stop.clone();
        let end = async move {
            all_joined(readers, &stop).await?;
            let by_cursor = cursor.and_then(|(column, low_watermark, watch)| {
                low_watermark.position(&column, before.as_ref(), watch.noted())
            });
            Ok(ExtractEnd::Complete(Box::new(Complete {
                position: follows.or(by_cursor.map(Position::Cursor)),
                warnings,
                ..Complete::default()
            })))
        };
        Ok(Extract {
            lanes,
            end: Box::pin(end),
        })
    }

    /// How the relation is divided among connections. A lower bound on an indexed column is left to the index.
    async fn ranges(&self, lower: Option<&CursorValue>) -> Result<Vec<Range>> {
        let by_index = lower.is_some() && self.cursor.as_ref().is_some_and(|cursor| cursor.indexed);
        if by_index || self.lanes == 1 {
            return Ok(vec![Range::All]);
        }
        if let Some(heap) = self.relation.heap {
            let divides = heap.pages >= PARALLEL_PAGES && self.server_version >= TID_RANGE_VERSION;
            return Ok(if divides {
                page_ranges(heap.pages, self.lanes)
            } else {
                vec![Range::All]
            });
        }
        let large = self.relation.estimated_rows.unwrap_or(0) >= PARALLEL_ROWS;
        match self.relation.primary_key.as_slice() {
            [key, ..] if large && self.is_integer(key) => {
                let statement = format!(
                    "SELECT pg_catalog.min({0})::int8, pg_catalog.max({0})::int8 FROM {1}",
                    quote(key),
                    self.relation.from
                );
                let row = self
                    .client
                    .query_one(&statement, &[])
                    .await
                    .map_err(|error| {
                        failed(format!("cannot divide {}", self.relation.from), &error)
                    })?;
                Ok(match (row.get(0), row.get(1)) {
                    (Some(lowest), Some(highest)) => key_ranges(key, lowest, highest, self.lanes),
                    _ => vec![Range::All],
                })
            }
            _ => Ok(vec![Range::All]),
        }
    }

    fn is_integer(&self, name: &str) -> bool {
        self.relation.columns.iter().any(|column| {
            column.name == name && matches!(column.base.name.as_str(), "int2" | "int4" | "int8")
        })
    }
}

/// Waits for all lanes. The first that fails stops the others.
async fn all_joined(readers: Vec<JoinHandle<Result<()>>>, stop: &CancellationToken) -> Result<()> {
    let mut readers: FuturesUnordered<_> = readers.into_iter().map(joined).collect();
    let mut failure = None;
    while let Some(ended) = readers.next().await {
        let Err(error) = ended else { continue };
        stop.cancel();
        if failure
            .as_ref()
            .is_none_or(|known| matches!(known, Error::Interrupted))
        {
            failure = Some(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// What begins the reading transaction: in a snapshot of its own, or in the one that changes follow on.
fn beginning(follow: Option<&SnapshotContext<'_>>, row_security: bool) -> String {
    let snapshot = follow.map_or_else(String::new, |follow| {
        let name = literal(&follow.snapshot.name);
        format!("; SET TRANSACTION SNAPSHOT {name}")
    });
    let security = row_security_setting(row_security);
    format!("{security}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY{snapshot}")
}

/// For a session that reads what another of ours holds still. Where it has to wait for a lock all the same, somebody waits before
/// it to alter the table, and for the session that holds it: each would wait for the other for ever, which no server notices, as
/// ours wait for each other outside of it. So the read is given up, that one has its turn, and the read begins anew.
pub(super) const GIVE_WAY: &str = "SET lock_timeout = '2s'";

/// Unless a stream asks for it, the server refuses a read that row-level security would filter (manual, section 5.9).
pub(super) fn row_security_setting(row_security: bool) -> &'static str {
    if row_security {
        "SET row_security = on"
    } else {
        "SET row_security = off"
    }
}

impl SnapshotContext<'_> {
    /// What marks the snapshot's rows, and where the changes begin, with the table as the snapshot has it.
    async fn beginning(&self, client: &Client) -> Result<(SnapshotMark, LsnPosition)> {
        refuse_rewritten(client, self.table).await?;
        let position = LsnPosition {
            shape: Some(shape(client, self).await?),
            ..self.position.clone()
        };
        Ok((self.snapshot.mark, position))
    }
}

/// The table as the catalog had it when the snapshot was taken.
async fn shape(client: &Client, follow: &SnapshotContext<'_>) -> Result<TableShape> {
    let oid = follow.table.oid;
    shapes::make_room(client).await?;
    let seen = shapes::look(client, &[oid], follow.publication).await?;
    let shape = seen.into_values().next().map(|seen| seen.shape);
    shape.ok_or_else(|| {
        Error::source(format!(
            "{} was dropped while its snapshot was taken",
            follow.table.from
        ))
        .remedy("run again: the snapshot begins anew")
    })
}

/// A table that was truncated or rewritten after a snapshot was taken looks empty in it.
async fn refuse_rewritten(client: &Client, table: &Table) -> Result<()> {
    let mut oids = table.partitions.clone();
    oids.push(table.oid);
    let rewritten: bool = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'r'
                            AND c.relfilenode <> pg_relation_filenode(c.oid))",
            &[&oids],
        )
        .await
        .map_err(|error| failed(format!("cannot look at {}", table.from), &error))?
        .get(0);
    if rewritten {
        return Err(Error::source(format!(
            "{} was truncated or rewritten while its snapshot was taken",
            table.from
        ))
        .remedy("run again: the snapshot begins anew")
        .until_released());
    }
    Ok(())
}

async fn look_up(client: &Client, relation: &Relation, place: &str) -> Result<CatalogRelation> {
    match relation {
        Relation::Table { schema, name } => {
            catalog::table(client, schema.as_deref(), name, place).await
        }
        Relation::Query(text) => catalog::query(client, text, place).await,
        Relation::Crm(_) => Err(Error::internal(
            "a stream of PostgreSQL reads something else",
        )),
    }
}

/// The columns that the stream takes, in the relation's order, and how each is read.
fn column_plans(relation: &CatalogRelation, stream: &Stream) -> Result<Vec<ColumnPlan>> {
    let known = |name: &str| relation.columns.iter().any(|column| column.name == name);
    let named = [
        ("columns", stream.columns.iter().flatten().collect()),
        ("exclude", stream.exclude.iter().collect()),
        ("types", stream.types.keys().collect::<Vec<_>>()),
    ];
    for (key, names) in named {
        let unknown: Vec<&str> = names
            .into_iter()
            .map(String::as_str)
            .filter(|name| !known(name))
            .collect();
        if !unknown.is_empty() {
            return Err(no_such_column(key, &unknown, relation));
        }
    }
    let (mut plans, mut refused) = (Vec::new(), Vec::new());
    let taken = relation.columns.iter().filter(|column| {
        let taken = stream
            .columns
            .as_ref()
            .is_none_or(|names| names.contains(&column.name));
        taken && !stream.exclude.contains(&column.name)
    });
    for column in taken {
        match plan(column, stream.types.get(&column.name)) {
            Ok(plan) => plans.push(plan),
            Err(error) => refused.push(error),
        }
    }
    if let Some(error) = all_at_once(refused) {
        return Err(error);
    }
    if plans.is_empty() {
        return Err(
            Error::config(format!("{} has no columns to read", stream.relation))
                .remedy("see `columns` and `exclude` of [streams.STREAM]"),
        );
    }
    let mut sorted: Vec<&str> = plans.iter().map(|plan| plan.spec.name.as_str()).collect();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    }) {
        return Err(Error::config(format!(
            "{} gives the column `{twice}` twice",
            stream.relation
        ))
        .remedy("give each column of the query a name of its own, with AS"));
    }
    Ok(plans)
}

/// What is wrong with several columns, as one error.
fn all_at_once(errors: Vec<Error>) -> Option<Error> {
    let whats: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut remedies: Vec<&str> = errors.iter().filter_map(Error::remedy_text).collect();
    remedies.dedup();
    let remedies = remedies.join("\n    ");
    match errors.len() {
        0 => None,
        1 => errors.into_iter().next(),
        _ => Some(Error::config(whats.join("\n    ")).remedy(remedies)),
    }
}

/// The key that loads are merged by, and whether the source guarantees it.
fn key(
    relation: &CatalogRelation,
    stream: &Stream,
    plans: &[ColumnPlan],
) -> Result<(Vec<String>, bool)> {
    let key = stream.primary_key.as_ref().unwrap_or(&relation.primary_key);
    if let Some(name) = key
        .iter()
        .find(|name| !plans.iter().any(|plan| plan.spec.name == **name))
    {
        return if stream.disposition.has_key() {
            Err(no_such_column("primary_key", &[name], relation))
        } else {
            Ok((Vec::new(), false))
        };
    }
    if key.is_empty() && stream.disposition.has_key() && stream.mode != Mode::Cdc {
        return Err(Error::config(format!(
            "{} has no primary key, so its rows cannot be merged",
            stream.relation
        ))
        .remedy(
            "name the columns that tell its rows apart with `primary_key`, or set disposition = \"append\", for \
             [streams.STREAM]",
        ));
    }
    let unique = !key.is_empty() && *key == relation.primary_key;
    Ok((key.clone(), unique))
}

/// Refuses to read what row-level security lets through, for the whole. The server would refuse it as well, but only once it
/// is read; and never the changes of a table, which are not filtered.
async fn refuse_filtered(
    client: &Client,
    relation: &CatalogRelation,
    stream: &Stream,
) -> Result<()> {
    if relation.row_security && (!stream.row_security || stream.mode == Mode::Cdc) {
        return Err(relation.filtered());
    }
    // Of a query the server was asked already.
    if relation.kind == 'v' && relation.oid.is_some() && !stream.row_security {
        let statement = format!("SELECT FROM {}", relation.from);
        client
            .prepare(&statement)
            .await
            .map_err(|error| failed(format!("cannot read {}", relation.from), &error))?;
    }
    Ok(())
}

async fn refuse_unreadable(
    client: &Client,
    relation: &CatalogRelation,
    plans: &[ColumnPlan],
) -> Result<()> {
    let names: Vec<String> = plans.iter().map(|plan| plan.spec.name.clone()).collect();
    let unreadable = catalog::unreadable_columns(client, &relation.from, &names)
        .await
        .map_err(|error| {
            failed(
                format!("cannot look at the privileges on {}", relation.from),
                &error,
            )
        })?;
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(Error::source(format!(
        "the source's user may not read column {} of {}",
        unreadable.join(", "),
        relation.from
    ))
    .remedy(format!(
        "GRANT SELECT ON {} TO that user, or leave the columns out with `exclude` for [streams.STREAM]",
        relation.from
    )))
}

pub(super) fn no_such_column(key: &str, names: &[&str], relation: &CatalogRelation) -> Error {
    let known: Vec<&str> = relation
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    Error::config(match names {
        [name] => {
            format!("`{key}` names the column `{name}`, which is not read or does not exist")
        }
        names => format!(
            "`{key}` names the columns `{}`, which are not read or do not exist",
            names.join("`, `")
        ),
    })
    .remedy(format!("the columns are {}", known.join(", ")))
}
