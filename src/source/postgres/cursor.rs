//! The cursor column of an incremental stream: whether the column can be a cursor, where an extract begins, where the next
//! extract may have to begin, and recommendations for the stream's owner.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tokio_postgres::Client;

use super::catalog::{self, CatalogRelation};
use super::connection::failed;
use super::horizon::{self, Activity};
use super::identity::{self, Below};
use super::sql::{cursor_comparison, quote};
use super::types::ColumnPlan;
use super::watermark::{Bound, LowWatermark};
use crate::config::NullCursor;
use crate::config::postgres::Cursor;
use crate::error::{Error, Result};
use crate::exact::calendar::DAY_MICROS;
use crate::names::digest;
use crate::position::{CursorPosition, CursorValue, Lag};
use crate::schema::ColumnType;
use crate::seen::{Seen, SetBack, is_prepared};

/// The lowest UTC offset of any time zone, in seconds: the clock of a writer whose session sets its own zone may have it.
const LOWEST_OFFSET: i64 = -12 * 3600;
/// The largest difference that counts as an uneven clock, not as one that was set back.
const UNEVEN: TimeDelta = TimeDelta::seconds(5);

/// A cursor column.
#[derive(Debug)]
pub struct CursorColumn {
    /// The settings of the cursor.
    pub settings: Cursor,
    /// The column's type.
    pub column_type: ColumnType,
    /// Whether the column may hold NULL.
    pub nullable: bool,
    /// Whether an index begins with the column.
    pub indexed: bool,
    /// The relation's name, for people.
    what: String,
    from: String,
    activity: Activity,
    /// The lowest UTC offset, in seconds, that values without a zone may have.
    offset: i64,
    below: Below,
    now: Seen,
}

/// Where an extract begins, and what is known at its beginning about the next.
#[derive(Debug)]
pub struct Start {
    /// The closed lower bound.
    pub lower: Option<CursorValue>,
    /// The low watermark, for the next extract.
    pub low_watermark: LowWatermark,
    /// Warnings: the extract succeeds, but people should know this.
    pub warnings: Vec<String>,
}

/// Which columns have an order that both sides know.
pub(super) const ORDERED: &str = "choose a column of integers, numeric, date, timestamp, timestamptz, text or uuid, with its own type";

/// Whether the server orders a column's values as acequia does. Enums have an order of their own, and char(n) and citext have
/// equal values that differ in bytes.
pub(super) fn is_ordered(relation: &CatalogRelation, plan: &ColumnPlan) -> bool {
    let name = &plan.spec.name;
    let own_type = relation
        .columns
        .iter()
        .find(|column| column.name == *name)
        .map_or("", |column| column.base.name.as_str());
    CursorValue::supports(&plan.spec.column_type)
        && plan.expression == quote(name)
        && (plan.spec.column_type != ColumnType::Text || matches!(own_type, "text" | "varchar"))
}

/// A digest of what says which rows a stream reads.
fn selection(query: Option<&str>, conditions: &[String], cursor: &Cursor) -> String {
    let texts = query
        .into_iter()
        .chain(conditions.iter().map(String::as_str));
    digest(texts.chain(cursor.initial_value.as_deref()))
}

impl CursorColumn {
    /// Looks up a stream's cursor, if it has one.
    ///
    /// # Errors
    /// As [`CursorColumn::look_up`].
    pub async fn of(
        client: &Client,
        relation: &CatalogRelation,
        cursor: Option<&Cursor>,
        read: (&[ColumnPlan], &[String]),
        activity: Option<Activity>,
    ) -> Result<Option<Self>> {
        match (cursor, activity) {
            (Some(settings), Some(activity)) => {
                let looked = Self::look_up(client, relation, settings, read, activity);
                looked.await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Looks up the column, in the transaction that reads the rows.
    ///
    /// # Errors
    /// The column cannot be a cursor; it has NULLs that the stream does not allow; or late rows could not be detected, and
    /// no `lag` says how late they can be.
    async fn look_up(
        client: &Client,
        relation: &CatalogRelation,
        settings: &Cursor,
        (plans, conditions): (&[ColumnPlan], &[String]),
        activity: Activity,
    ) -> Result<Self> {
        let name = &settings.column;
        let plan = plans
            .iter()
            .find(|plan| plan.spec.name == *name)
            .ok_or_else(|| relation.no_such_column("cursor", &[name]))?;
        let column_type = plan.spec.column_type.clone();
        if !is_ordered(relation, plan) {
            return Err(Error::config(format!(
                "cursor = \"{name}\": a column of type {} ({}) cannot be a cursor",
                column_type, plan.spec.source_type
            ))
            .remedy(ORDERED));
        }
        if activity.is_standby && is_time(&column_type) && settings.lag.is_none() {
            return Err(Error::config(format!(
                "the source is a standby, which does not show the transactions that are under way on its primary: rows that \
                 are committed late, below the highest `{name}` read, would be lost"
            ))
            .remedy(
                "set `lag` for [streams.STREAM] to more than the longest transaction takes, as in lag = \"1h\"; or name the \
                 primary in the source's `url`",
            ));
        }
        let checked = |error| failed(format!("cannot look at the cursor column `{name}`"), &error);
        if plan.spec.nullable && settings.nulls == NullCursor::Error {
            let nulls = catalog::count_nulls(client, &relation.from, name, conditions)
                .await
                .map_err(checked)?;
            if nulls > 0 {
                return Err(Error::data(format!(
                    "{nulls} rows have NULL in the cursor column `{name}`, so no run would ever be sure to read them"
                ))
                .remedy(
                    "set null_cursor = \"include\" (they are read in every run) or \"exclude\" (they are left out) for \
                     [streams.STREAM]",
                ));
            }
        }
        let indexed = relation.is_table
            && catalog::has_index_on(client, &relation.from, name)
                .await
                .map_err(checked)?;
        let has_zone = !matches!(column_type, ColumnType::Timestamp | ColumnType::Date);
        let offset = if has_zone {
            0
        } else if settings.lag.is_none() {
            LOWEST_OFFSET
        } else {
            horizon::lowest_offset(client).await.map_err(checked)?
        };
        let below = identity::below(client, relation.oid).await?;
        let mut now = activity.seen(None);
        now.server = identity::server_identity(client).await?;
        now.partitions.clone_from(&below.partitions);
        if let Some(oid) = relation.oid.filter(|_| relation.kind != 'v') {
            let mut identity = identity::relation_identity(client, oid).await?;
            let is_read = |name: &str| plans.iter().any(|plan| plan.spec.name == name);
            now.numbers = identity
                .columns
                .iter()
                .filter(|column| is_read(&column.name))
                .map(|column| (column.name.clone(), column.number))
                .collect();
            identity.columns.retain(|column| column.name == *name);
            now.relation = Some(identity);
        }
        let query = relation.oid.is_none().then_some(relation.from.as_str());
        now.selection = Some(selection(query, conditions, settings));
        Ok(Self {
            settings: settings.clone(),
            column_type,
            nullable: plan.spec.nullable,
            indexed,
            what: relation.name.clone(),
            from: relation.from.clone(),
            activity,
            offset,
            below,
            now,
        })
    }

    /// Determines where an extract from that position on begins.
    ///
    /// # Errors
    /// The server cannot be asked, or `lag` or `initial_value` does not suit the column.
    pub async fn start(&self, client: &Client, from: Option<&CursorPosition>) -> Result<Start> {
        let mut warnings: Vec<String> = self.concerns().into_iter().map(advise).collect();
        let low_watermark = self.low_watermark(from.and_then(|from| from.seen.as_ref()));
        if low_watermark.bound == Bound::Unknown {
            warnings.push(advise(self.unknown()));
        }
        let mut start = Start {
            lower: None,
            low_watermark,
            warnings,
        };
        let Some(from) = from else {
            start.lower = self.initial()?;
            return Ok(start);
        };
        let lower = if from.value.is_of(&self.column_type) {
            Some(self.lower(from, &mut start.warnings)?)
        } else {
            None
        };
        let reason = self.begins_again(client, from, lower.as_ref()).await?;
        start.low_watermark.again = reason.is_some() || from.resume == from.value.lowest();
        start.lower = if start.low_watermark.again {
            self.initial()?
        } else {
            lower
        };
        if let Some(reason) = reason {
            start.warnings.push(format!(
                "{reason}; the stream is read from its beginning, and merged into its table. Rows that are no longer in the \
                 source stay in the table\nremedy: where they should go: acequia run STREAM --full-refresh"
            ));
        }
        Ok(start)
    }

    /// The reason why a position means nothing for some of the relation's rows, if there is one: the next extract begins at the
    /// beginning.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn invalid(&self, client: &Client, from: &CursorPosition) -> Result<Option<String>> {
        let lower = if from.value.is_of(&self.column_type) {
            Some(self.lower(from, &mut Vec::new())?)
        } else {
            None
        };
        self.begins_again(client, from, lower.as_ref()).await
    }

    /// The position, less the time that the clock was set back, and less the lag.
    fn lower(&self, from: &CursorPosition, warnings: &mut Vec<String>) -> Result<CursorValue> {
        let mut lower = from.resume.clone();
        if let Some(back) = self.set_back(from) {
            let jumped = back > UNEVEN;
            if jumped {
                warnings.push(format!(
                    "the server's clock was set back by {} s since the last run, or this machine's forward: rows are read \
                     again from so much further below",
                    back.num_seconds()
                ));
            }
            // The values may be as coarse as a day.
            let grain = if jumped { TimeDelta::days(1) } else { UNEVEN };
            lower = lower.minus(Lag::Time(back + grain))?;
        }
        match self.settings.lag {
            Some(lag) => lower.minus(lag),
            None => Ok(lower),
        }
    }

    /// Where the stream's first extract begins, if the configuration says.
    ///
    /// # Errors
    /// `initial_value` is no value of the column's type.
    pub fn initial(&self) -> Result<Option<CursorValue>> {
        let initial = self.settings.initial_value.as_ref();
        initial
            .map(|text| CursorValue::parse("initial_value", text, &self.column_type))
            .transpose()
    }

    /// By how much the clock of the column's values was set back, if that is known.
    fn set_back(&self, from: &CursorPosition) -> Option<TimeDelta> {
        match from.seen.as_ref()?.set_back(&self.now) {
            SetBack::By(back) if is_time(&self.column_type) => Some(back),
            _ => None,
        }
    }

    /// The reason why the position is not valid for the relation any more.
    async fn begins_again(
        &self,
        client: &Client,
        from: &CursorPosition,
        lower: Option<&CursorValue>,
    ) -> Result<Option<String>> {
        let name = &self.settings.column;
        let Some(lower) = lower else {
            return Ok(Some(format!(
                "the cursor `{name}` is now of type {}",
                self.column_type
            )));
        };
        let Some(before) = &from.seen else {
            return Ok(None);
        };
        if let Some(reason) = before.differs(&self.now, &self.what) {
            return Ok(Some(reason));
        }
        if let (true, SetBack::AtLeast(back)) =
            (is_time(&self.column_type), before.set_back(&self.now))
        {
            return Ok(Some(format!(
                "the server's clock was set back, by {} s or more",
                back.num_seconds()
            )));
        }
        let known: BTreeSet<u32> = before.partitions.iter().copied().collect();
        let mut joined = self.below.partitions.clone();
        joined.retain(|oid| !known.contains(oid));
        if joined.is_empty() {
            return Ok(None);
        }
        let statement = format!(
            "SELECT EXISTS (SELECT FROM {} WHERE tableoid = ANY ($1) AND {})",
            self.from,
            cursor_comparison(name, "<", lower)
        );
        let brought: bool = client
            .query_one(&statement, &[&joined])
            .await
            .map_err(|error| {
                failed(
                    format!("cannot look at the partitions of {}", self.what),
                    &error,
                )
            })?
            .get(0);
        Ok(brought.then(|| {
            format!(
                "{} has partitions or heirs that it did not have, with rows below the position",
                self.what
            )
        }))
    }

    /// The low watermark, as far as it is known.
    fn low_watermark(&self, before: Option<&Seen>) -> LowWatermark {
        let mut seen = self.now.clone();
        let oldest = if self.activity.is_standby || self.settings.lag.is_some() {
            // The server does not show everything, or is not asked: `lag` says how late rows can be.
            seen.oldest = None;
            seen.unseen.clear();
            Some(self.activity.oldest)
        } else {
            seen.remember(before);
            seen.horizon()
        };
        let bound = if is_time(&self.column_type) {
            oldest
                .and_then(|oldest| lowest_value(oldest, self.offset, &self.column_type))
                .map_or(Bound::Unknown, Bound::NotBelow)
        } else {
            Bound::Highest
        };
        LowWatermark {
            bound,
            again: false,
            seen,
        }
    }

    /// The warnings of every run: which rows could be lost, and the remedy.
    pub fn concerns(&self) -> Vec<(String, String)> {
        let name = &self.settings.column;
        let mut concerns = Vec::new();
        if self.settings.lag.is_some() {
            return concerns;
        }
        if !is_time(&self.column_type) {
            let countable = matches!(
                self.column_type,
                ColumnType::Int16
                    | ColumnType::Int32
                    | ColumnType::Int64
                    | ColumnType::Decimal { .. }
            );
            concerns.push((
                format!(
                    "`{name}` is no time, so a row that is committed late, below the highest value read, would be missed"
                ),
                if countable {
                    "set `lag` to more than such rows can lie behind, if the writers' transactions overlap"
                } else {
                    "use a cursor that is a time; or a number, and `lag`"
                }
                .to_owned(),
            ));
            return concerns;
        }
        let lag = "set `lag` to more than such rows can lie behind".to_owned();
        if self.below.materialized {
            concerns.push((
                format!(
                    "{} is, or reads, a materialized view: a row that was committed late comes with a later refresh, below \
                     the highest `{name}` read, and would be missed",
                    self.what
                ),
                lag.clone(),
            ));
        }
        if self.below.foreign {
            concerns.push((
                format!(
                    "{} is, or reads, a foreign table: transactions on its server are not seen, so a row that one of them \
                     commits late, below the highest `{name}` read, would be missed",
                    self.what
                ),
                lag.clone(),
            ));
        }
        if self.below.subscribed {
            concerns.push((
                format!(
                    "a logical subscription writes to {}: its rows come with the publisher's times, however late, and those \
                     below the highest `{name}` read would be missed",
                    self.what
                ),
                format!("{lag}, the subscription's delays included"),
            ));
        }
        for (transaction, since) in &self.activity.forgotten {
            concerns.push((
                format!(
                    "the transaction that was prepared as `{transaction}` has been open since {}: until it ends, each run \
                     reads again what came since it began",
                    since.format("%Y-%m-%d %H:%M:%S UTC")
                ),
                format!("COMMIT PREPARED or ROLLBACK PREPARED {}", super::sql::literal(transaction)),
            ));
        }
        concerns
    }

    /// Further recommendations of `check`.
    pub fn recommendations(&self) -> Vec<(String, String)> {
        let name = &self.settings.column;
        let mut recommendations = Vec::new();
        if !self.indexed {
            recommendations.push((
                format!(
                    "no index begins with the cursor `{name}`: each run reads the whole relation"
                ),
                format!("CREATE INDEX ON {} ({});", self.from, quote(name)),
            ));
        }
        let zoneless = matches!(self.column_type, ColumnType::Timestamp | ColumnType::Date);
        if zoneless && self.settings.lag.is_none() {
            recommendations.push((
                format!(
                    "`{name}` has no time zone, and writers may have any: each run reads again what is up to a day old"
                ),
                "if that is too much, set `lag` to more than the writers' clocks and zones differ and their transactions take"
                    .to_owned(),
            ));
        }
        if is_time(&self.column_type) && self.settings.lag.is_none() && !self.activity.sees_all {
            recommendations.push((
                "this user cannot see when other users' transactions began, so each run reads again what came since the last"
                    .to_owned(),
                "GRANT pg_read_all_stats TO the source's user; or set `lag` to more than the longest transaction takes"
                    .to_owned(),
            ));
        }
        recommendations
    }

    fn unknown(&self) -> (String, String) {
        (
            "transactions are under way of which the server does not tell when they began: the next run reads from the \
             beginning again, lest their rows be missed"
                .to_owned(),
            if self.activity.unseen.keys().any(|name| !is_prepared(name)) {
                "GRANT pg_read_all_stats TO the source's user; or set `lag` to more than the longest transaction takes"
            } else {
                "they are prepared: see pg_prepared_xacts; or set `lag` to more than the longest transaction takes"
            }
            .to_owned(),
        )
    }
}

/// A concern and what fixes it, as one warning.
pub(super) fn advise((message, remedy): (String, String)) -> String {
    format!("{message}\nremedy: {remedy}")
}

fn is_time(column_type: &ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz
    )
}

/// The lowest value that a transaction which began at that time or later writes to the column. Whole seconds, and one less:
/// some writers round or truncate to seconds, others do not. [`Watermark::settled`](super::watermark::Watermark) handles
/// values that are coarser.
fn lowest_value(
    began: DateTime<Utc>,
    offset: i64,
    column_type: &ColumnType,
) -> Option<CursorValue> {
    let whole = began.trunc_subsecs(0) - TimeDelta::seconds(1) + TimeDelta::seconds(offset);
    let micros = whole.timestamp_micros();
    match column_type {
        ColumnType::TimestampTz => Some(CursorValue::TimestampTz(micros)),
        ColumnType::Timestamp => Some(CursorValue::Timestamp(micros)),
        ColumnType::Date => i32::try_from(micros.div_euclid(DAY_MICROS))
            .ok()
            .and_then(CursorValue::date),
        _ => None,
    }
}
