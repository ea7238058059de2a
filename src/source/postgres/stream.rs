//! An open stream of PostgreSQL: its relation is looked up and locked, and its lanes share one snapshot.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use super::boundary::KnownRows;
use super::catalog::{self, CatalogRelation};
use super::connection::{Server, failed, version};
use super::cursor::{CursorColumn, advise};
use super::horizon;
use super::identity;
use super::reader::{LaneQuery, ReadyLane};
use super::settings::{KeyUse, ReadSettings, column_plans, key};
use super::snapshot::SnapshotContext;
use super::sql::{
    GIVE_WAY, Range, Selection, below, cursor_condition, key_ranges, literal, page_ranges, quote,
    row_security_setting,
};
use super::types::ColumnPlan;
use super::watermark::Watch;
use crate::change::{self, SnapshotMark};
use crate::config::postgres::Relation;
use crate::config::{NullCursor, Reader};
use crate::error::{Error, Result};
use crate::identity::RelationIdentity;
use crate::position::{CursorPosition, CursorValue, LsnPosition, Position};
use crate::postgres::binary::WireType;
use crate::row_set::RowHasher;
use crate::schema::{ColumnSpec, Schema};
use crate::source::{Complete, Description, Extract, ExtractEnd, joined};
use crate::verify::counts::Counting;

/// The number of pages below which one connection reads a table: 64 MiB.
const PARALLEL_PAGES: u32 = 8 << 10;
/// The number of rows from which several connections read a relation without pages of its own.
const PARALLEL_ROWS: u64 = 500_000;
/// The most connections for one table, unless the stream says otherwise.
const MAX_LANES: usize = 4;
/// The first server version that can read a range of pages without reading the others.
const TID_RANGE_VERSION: i32 = 140_000;

/// An open stream of PostgreSQL. Its transaction keeps the tables locked until this value is dropped.
#[derive(Debug)]
pub struct PostgresStream {
    server: Server,
    reader: Reader,
    pub(super) client: Arc<Client>,
    pub(super) relation: CatalogRelation,
    pub(super) plans: Vec<ColumnPlan>,
    pub(super) conditions: Vec<String>,
    pub(super) cursor: Option<CursorColumn>,
    /// What is to be said of a key that nothing in the source keeps unique, and what fixes it.
    doubtful_key: Option<(String, String)>,
    row_security: bool,
    lanes: u32,
    server_version: i32,
    /// Whether the query contains SQL that a person wrote: a query, a view, or a condition.
    own_path: bool,
    /// For a snapshot of a stream of changes: the mark of its rows, and the position that the changes begin at.
    follows: Option<(SnapshotMark, LsnPosition)>,
    description: Description,
}

impl PostgresStream {
    /// Connects, looks up the stream's relation and locks it: in a new snapshot, or in the given one.
    pub async fn open(
        server: &Server,
        reader: Reader,
        settings: &ReadSettings<'_>,
        follow: Option<&SnapshotContext<'_>>,
    ) -> Result<Self> {
        let client = server.connect().await?;
        Self::open_in(client, server, reader, settings, follow).await
    }

    /// The same in a session that is not in a transaction.
    pub(super) async fn open_in(
        client: Client,
        server: &Server,
        reader: Reader,
        settings: &ReadSettings<'_>,
        follow: Option<&SnapshotContext<'_>>,
    ) -> Result<Self> {
        let place = server.place();
        let begin = |error| failed(format!("cannot begin to read at {place}"), &error);
        if follow.is_some() {
            // The tables of a snapshot are locked by another session of acequia already. A look at a table's size locks it, too.
            client.batch_execute(GIVE_WAY).await.map_err(begin)?;
        }
        let relation = look_up(&client, &settings.relation, place).await?;
        // This comes before the snapshot: transactions that begin in between are above the low watermark.
        let activity = match settings.cursor {
            Some(_) => Some(horizon::look(&client).await.map_err(begin)?),
            None => None,
        };
        client
            .batch_execute(&beginning(follow, settings.row_security))
            .await
            .map_err(begin)?;
        // The lock comes before the snapshot: a snapshot older than a TRUNCATE or a rewriting ALTER would see the table
        // empty.
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
        // The relation may have changed before it was locked; now it cannot.
        let mut relation = look_up(&client, &settings.relation, place).await?;
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

        let mut plans = column_plans(&relation, settings)?;
        if relation.is_table {
            refuse_unreadable(&client, &relation, &plans).await?;
        }
        refuse_filtered(&client, &relation, settings.row_security).await?;
        if let Some(filter) = settings.filter {
            conditions.push(format!("({filter}\n)"));
        }
        let read = (plans.as_slice(), conditions.as_slice());
        let cursor = CursorColumn::of(&client, &relation, settings.cursor, read, activity).await?;
        let own_path = !relation.is_table || !conditions.is_empty();
        let (primary_key, key_is_unique) = match follow {
            Some(follow) => (follow.table.key.clone(), follow.table.key_is_unique),
            None => key(&relation, settings, &plans)?,
        };
        let identity = identity_where_hidden(&client, &relation, settings).await?;
        let doubtful_key = doubtful_key(&client, &relation, settings, &primary_key).await?;
        let lanes = settings.parallel.map_or_else(
            || std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_LANES)),
            NonZeroUsize::get,
        );
        let columns = specs(&mut plans, follow.is_some());
        let mut session = Self {
            server: server.clone(),
            reader,
            client: Arc::new(client),
            follows,
            description: Description {
                identity,
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
            doubtful_key,
            row_security: settings.row_security,
            lanes: u32::try_from(lanes).unwrap_or(1),
            server_version,
            own_path,
        };
        let ranges = session.ranges(false).await?;
        session.description.reading = match ranges.first() {
            Some(Range::Pages { .. }) => format!("{} ranges of pages at once", ranges.len()),
            Some(Range::Keys { .. }) => format!("{} ranges of keys at once", ranges.len()),
            _ => "one connection".to_owned(),
        };
        Ok(session)
    }

    /// Unlocks the relation, and returns the session for another stream, unless it is of no use any more.
    pub(super) async fn close(self) -> Option<Client> {
        let ended = self.client.batch_execute("ROLLBACK").await;
        ended.ok().and_then(|()| Arc::into_inner(self.client))
    }

    /// The description of the stream.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Recommendations: rows that could be missed, and reads that are slow.
    pub fn recommendations(&self) -> Vec<(String, String)> {
        let Some(cursor) = &self.cursor else {
            return Vec::new();
        };
        let mut recommendations = cursor.recommendations();
        recommendations.extend(cursor.concerns());
        recommendations.extend(self.doubtful_key.clone());
        recommendations
    }

    /// Starts the lanes.
    pub async fn read(
        self,
        schema: &Schema,
        from: Option<&CursorPosition>,
        configuration: &str,
        stop: &CancellationToken,
    ) -> Result<Extract> {
        let start = match &self.cursor {
            Some(cursor) => Some(cursor.start(&self.client, from).await?),
            None => None,
        };
        let (lower, low_watermark, mut warnings) = match start {
            Some(start) => (start.lower, Some(start.low_watermark), start.warnings),
            None => (None, None, Vec::new()),
        };
        warnings.extend(self.doubtful_key.clone().map(advise));
        let hasher = RowHasher::new(configuration);
        let cursor = self.cursor.as_ref().zip(low_watermark);
        let cursor = cursor.map(|(cursor, low_watermark)| {
            let settings = &cursor.settings;
            let watch = Watch::new(
                settings,
                &cursor.column_type,
                &low_watermark,
                hasher.clone(),
            );
            (settings.column.clone(), low_watermark, watch)
        });
        let conditions = self.conditions_from(lower.as_ref());
        let by_index = lower.is_some() && self.cursor.as_ref().is_some_and(|cursor| cursor.indexed);
        let ready = self.connect(&self.plans, conditions, by_index, schema);
        let ready = ready.await?;
        let goes_on = cursor
            .as_ref()
            .is_some_and(|(_, low_watermark, _)| !low_watermark.again);
        let from_resume = |from: &&CursorPosition| lower.as_ref() == Some(&from.resume);
        let known = from
            .filter(|from| goes_on && ready.len() == 1 && from_resume(from))
            .and_then(|from| from.boundary)
            .map(|rows| KnownRows::new(rows, hasher));
        let watch = cursor.as_ref().map(|(.., watch)| watch);
        let lanes = ready
            .into_iter()
            .map(|lane| lane.start(stop, &self.client, watch, known.clone()));
        let (lanes, readers): (Vec<_>, Vec<_>) =
            lanes.map(|lane| (lane.batches, lane.reader)).unzip();
        let follows = self.follows.map(|(_, position)| Position::Lsn(position));
        let before = from.cloned();
        let stop = stop.clone();
        let end = async move {
            all_joined(readers, &stop).await?;
            let by_cursor = cursor.and_then(|(column, low_watermark, watch)| {
                low_watermark.position(&column, before.as_ref(), lower.as_ref(), watch.noted())
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

    /// The conditions that rows meet from a cursor value on.
    fn conditions_from(&self, lower: Option<&CursorValue>) -> Vec<String> {
        let mut conditions = self.conditions.clone();
        if let Some(cursor) = &self.cursor {
            conditions.extend(cursor_condition(
                &cursor.settings.column,
                lower,
                cursor.settings.nulls == NullCursor::Include,
                cursor.nullable,
            ));
        }
        conditions
    }

    /// Connects the lanes that read these columns of the rows that meet all conditions, in the stream's snapshot. The transaction
    /// that keeps the tables locked ends with the last lane.
    pub(super) async fn connect(
        &self,
        plans: &[ColumnPlan],
        conditions: Vec<String>,
        by_index: bool,
        schema: &Schema,
    ) -> Result<Vec<ReadyLane>> {
        let selection = Selection {
            from: self.relation.from.clone(),
            conditions,
        };
        let snapshot = self.export_snapshot().await?;
        let ranges = self.ranges(by_index).await?;
        let wire_types: Vec<WireType> = plans.iter().map(|plan| plan.wire).collect();
        let mut ready = Vec::with_capacity(ranges.len());
        for range in &ranges {
            let lane = LaneQuery {
                query: selection.select(plans, range),
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
        Ok(ready)
    }

    async fn export_snapshot(&self) -> Result<String> {
        let exported = self.client.query_one("SELECT pg_export_snapshot()", &[]);
        let exported = exported.await;
        Ok(exported
            .map_err(|error| failed("cannot export a snapshot", &error))?
            .get(0))
    }

    /// Has the server count the rows that an extract from the beginning would read: one row of [`Counting::answer`], in which the
    /// bounds have the type that their column is read as.
    pub async fn count(self, counting: &Counting, stop: &CancellationToken) -> Result<RecordBatch> {
        let settled = counting.next_run.as_ref().map_or_else(String::new, |next| {
            format!(" FILTER (WHERE {})", below(&next.column, &next.from))
        });
        let count = "pg_catalog.count";
        let mut list = vec![format!("{count}(*)"), format!("{count}(*){settled}")];
        let mut wire_types = vec![WireType::Int8; list.len()];
        let bounds = match &counting.bounds {
            Some(column) => {
                let mut plans = self.plans.iter();
                let plan = plans.find(|plan| plan.spec.name == column.name);
                let plan = plan.ok_or_else(|| Error::internal("the bounds are not read"))?;
                for bound in ["min", "max"] {
                    list.push(format!("pg_catalog.{bound}({}){settled}", plan.expression));
                    wire_types.push(plan.wire);
                }
                Some(&plan.spec.column_type)
            }
            None => None,
        };
        for column in &counting.columns {
            list.push(format!("{count}({}){settled}", quote(&column.name)));
            wire_types.push(WireType::Int8);
        }
        let selection = Selection {
            from: self.relation.from.clone(),
            conditions: self.conditions_from(None),
        };
        let lane = LaneQuery {
            query: selection.select_list(&list, &Range::All),
            own_path: self.own_path,
            schema: Schema {
                columns: counting.answer(bounds),
            },
            wire_types,
            snapshot: self.export_snapshot().await?,
            mark: None,
            row_security: self.row_security,
        };
        let ready = ReadyLane::connect(Reader::Copy, &self.server, lane).await?;
        let mut lane = ready.start(stop, &self.client, None, None);
        let counted = lane.batches.recv().await;
        joined(lane.reader).await?;
        counted.ok_or_else(|| Error::internal("the server counted nothing"))
    }

    /// Divides the relation among connections, unless its rows are found by an index.
    async fn ranges(&self, by_index: bool) -> Result<Vec<Range>> {
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

/// Awaits all lanes. The first failure stops the others.
pub(super) async fn all_joined(
    readers: Vec<JoinHandle<Result<()>>>,
    stop: &CancellationToken,
) -> Result<()> {
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

/// The statements that begin the reading transaction, in a new snapshot or in the given one.
fn beginning(follow: Option<&SnapshotContext<'_>>, row_security: bool) -> String {
    let snapshot = follow.map_or_else(String::new, |follow| {
        let name = literal(&follow.snapshot.name);
        format!("; SET TRANSACTION SNAPSHOT {name}")
    });
    let security = row_security_setting(row_security);
    format!("{security}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY{snapshot}")
}

async fn look_up(client: &Client, relation: &Relation, place: &str) -> Result<CatalogRelation> {
    match relation {
        Relation::Table(table) => {
            catalog::table(client, table.schema.as_deref(), &table.name, place).await
        }
        Relation::Query(text) => catalog::query(client, text, place).await,
    }
}

/// Refuses a relation whose rows row-level security would filter. The server would refuse it as well, but only while it is
/// read; and it never refuses the changes of a table, which are not filtered.
async fn refuse_filtered(
    client: &Client,
    relation: &CatalogRelation,
    row_security: bool,
) -> Result<()> {
    if row_security {
        return Ok(());
    }
    if relation.row_security {
        return Err(relation.filtered());
    }
    // For a query, the server was asked already.
    if relation.kind == 'v' && relation.oid.is_some() {
        let statement = format!("SELECT FROM {}", relation.from);
        client
            .prepare(&statement)
            .await
            .map_err(|error| failed(format!("cannot read {}", relation.from), &error))?;
    }
    Ok(())
}

/// The columns of batches; with those of changes, where changes are to follow.
fn specs(plans: &mut [ColumnPlan], changes_follow: bool) -> Vec<ColumnSpec> {
    for plan in plans.iter_mut() {
        // A deleted row will have values only in the key columns.
        plan.spec.nullable |= changes_follow;
    }
    let of_changes = changes_follow.then(change::columns);
    let specs = plans.iter().map(|plan| plan.spec.clone());
    specs.chain(of_changes.into_iter().flatten()).collect()
}

/// The relation and its columns, where the stream hides some of them by their names.
async fn identity_where_hidden(
    client: &Client,
    relation: &CatalogRelation,
    settings: &ReadSettings<'_>,
) -> Result<Option<RelationIdentity>> {
    match relation.oid.filter(|_| settings.columns.hides()) {
        Some(oid) => identity::relation_identity(client, oid).await.map(Some),
        None => Ok(None),
    }
}

/// What is to be said of the key of a table that is read by a cursor, if nothing in the table keeps its rows apart by it.
async fn doubtful_key(
    client: &Client,
    relation: &CatalogRelation,
    settings: &ReadSettings<'_>,
    key: &[String],
) -> Result<Option<(String, String)>> {
    let (Some(cursor), Some(table), true) = (settings.cursor, relation.oid, relation.is_table)
    else {
        return Ok(None);
    };
    if settings.key != KeyUse::Needed || *key == relation.primary_key {
        return Ok(None);
    }
    let is_unique = catalog::is_unique_but_for_nulls(client, table, key)
        .await
        .map_err(|error| {
            failed(
                format!("cannot look at the keys of {}", relation.from),
                &error,
            )
        })?;
    Ok((!is_unique).then(|| {
        (
            format!(
                "primary_key is ({}), and nothing in {} sees to it that no two rows have the same: of such rows one alone is \
                 kept, by disposition = \"merge\" that with the highest `{}`",
                key.join(", "),
                relation.from,
                cursor.column
            ),
            "make a unique index of these columns, or name columns that are unique together with `primary_key`".to_owned(),
        )
    }))
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
            if error.code() == Some(&SqlState::UNDEFINED_COLUMN) {
                // The relation was looked up in a snapshot that is older than the lock, and functions see the columns of now.
                return Error::source(format!(
                    "{} was altered while its snapshot was taken",
                    relation.from
                ))
                .remedy("run again: the snapshot begins anew")
                .until_released();
            }
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
