//! What an incremental stream has read so far, read again: a range of it, or the whole, as often as is needed and always in the
//! snapshot that the stream was opened in.

use tokio_util::sync::CancellationToken;

use super::catalog;
use super::connection::failed;
use super::cursor::{CursorColumn, ORDERED, is_ordered};
use super::sql::{cursor_condition, read_so_far, within};
use super::stream::{PostgresStream, all_joined};
use super::types::ColumnPlan;
use crate::config::NullCursor;
use crate::error::{Error, Result};
use crate::position::{AskedRange, CursorPosition, CursorValue, ValueRange};
use crate::schema::Schema;
use crate::source::{Extract, ExtractEnd};

/// A range of a stream that stands at a position.
#[derive(Debug, Clone)]
pub struct StreamRange {
    /// The range, of the column's own values.
    pub range: ValueRange,
    /// Where the stream stands, if the range may have rows beyond it: they are left to the next run.
    pub up_to: Option<CursorValue>,
    /// Warnings: what of the range that was asked for is left out.
    pub warnings: Vec<String>,
    /// The conditions that its rows meet.
    conditions: Vec<String>,
    /// Whether an index begins with its column.
    indexed: bool,
}

/// Which rows are read again.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Those of a range.
    Range(&'a StreamRange),
    /// All rows of the relation, whatever their cursor is.
    All,
}

impl PostgresStream {
    /// A range of what the stream has read, up to its position.
    ///
    /// # Errors
    /// The position is not valid any more; there is no such column, or its values have no order that both sides know; the ends are
    /// no values of its type; or nothing can lie in the range.
    pub async fn range(
        &self,
        asked: &AskedRange,
        position: &CursorPosition,
    ) -> Result<StreamRange> {
        let Some(cursor) = &self.cursor else {
            return Err(Error::internal("a range of a stream without a cursor"));
        };
        if let Some(reason) = cursor.invalid(&self.client, position).await? {
            return Err(Error::source(format!(
                "what the stream has read cannot be read again: {reason}"
            ))
            .remedy("run `acequia run STREAM` first, which reads it from its beginning"));
        }
        let name = asked.column.as_ref().unwrap_or(&position.column);
        let plan = self.plans.iter().find(|plan| plan.spec.name == *name);
        let plan = plan.ok_or_else(|| self.relation.no_such_column("--column", &[name]))?;
        if !is_ordered(&self.relation, plan) {
            return Err(Error::config(format!(
                "the column `{name}` of type {} ({}) has no ranges",
                plan.spec.column_type, plan.spec.source_type
            ))
            .remedy(ORDERED));
        }
        let end = |flag: &str, text: &Option<String>| {
            let what = format!("{flag}, for the column `{name}`:");
            let parse = |text| CursorValue::parse(&what, text, &plan.spec.column_type);
            text.as_deref().map(parse).transpose()
        };
        let range = ValueRange {
            column: name.clone(),
            from: end("--from", &asked.from)?,
            to: end("--to", &asked.to)?,
        };
        if range.is_empty() {
            return Err(Error::config(format!("no value lies in the range {range}"))
                .remedy("give --to a higher value than --from: the range ends before it"));
        }
        let mut found = if *name == position.column {
            of_cursor(range, cursor, position)?
        } else {
            StreamRange {
                range,
                up_to: Some(position.value.clone()),
                warnings: Vec::new(),
                conditions: Vec::new(),
                indexed: false,
            }
        };
        found.conditions = self.conditions_of(&found, cursor)?;
        found.indexed = self.relation.is_table
            && catalog::has_index_on(&self.client, &self.relation.from, name)
                .await
                .map_err(|error| failed(format!("cannot look at the column `{name}`"), &error))?;
        Ok(found)
    }

    fn conditions_of(&self, range: &StreamRange, cursor: &CursorColumn) -> Result<Vec<String>> {
        let mut conditions = self.conditions.clone();
        conditions.extend(within(&range.range));
        let column = &cursor.settings.column;
        if *column != range.range.column {
            conditions.extend(cursor_condition(
                column,
                cursor.initial()?.as_ref(),
                cursor.settings.nulls == NullCursor::Include,
                cursor.nullable,
            ));
        }
        let so_far = range.up_to.iter();
        conditions.extend(so_far.map(|position| read_so_far(column, position)));
        Ok(conditions)
    }

    /// The number of rows in a range.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn count_range(&self, range: &StreamRange) -> Result<u64> {
        let statement = format!(
            "SELECT pg_catalog.count(*) FROM {} WHERE {}",
            self.relation.from,
            range.conditions.join(" AND ")
        );
        let counted = self.client.query_one(&statement, &[]).await;
        let counted: i64 = counted
            .map_err(|error| failed(format!("cannot count {}", self.relation.from), &error))?
            .get(0);
        Ok(u64::try_from(counted).unwrap_or_default())
    }

    /// Starts lanes that read the columns of `schema`, of a part of the stream's rows. The stream stays open.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn read_part(
        &self,
        part: Part<'_>,
        schema: &Schema,
        stop: &CancellationToken,
    ) -> Result<Extract> {
        let plans = self.plans.iter();
        let plans = plans.filter(|plan| schema.column(&plan.spec.name).is_some());
        let plans: Vec<ColumnPlan> = plans.cloned().collect();
        let (conditions, by_index) = match part {
            Part::Range(range) => (range.conditions.clone(), range.indexed),
            Part::All => (self.conditions.clone(), false),
        };
        let ready = self.connect(&plans, conditions, by_index, schema).await?;
        let lanes = ready
            .into_iter()
            .map(|lane| lane.start(stop, &self.client, None, None));
        let (lanes, readers) = lanes.map(|lane| (lane.batches, lane.reader)).unzip();
        let stop = stop.clone();
        let end = async move {
            all_joined(readers, &stop).await?;
            Ok(ExtractEnd::Complete(Box::default()))
        };
        Ok(Extract {
            lanes,
            end: Box::pin(end),
        })
    }
}

/// A range of the cursor. It begins where the stream does, and ends where the stream stands.
fn of_cursor(
    mut range: ValueRange,
    cursor: &CursorColumn,
    position: &CursorPosition,
) -> Result<StreamRange> {
    let mut warnings = Vec::new();
    if range.from.as_ref() > Some(&position.value) {
        return Err(Error::config(format!(
            "no run has read the range {range} yet: the stream stands at {}",
            position.value.text()
        ))
        .remedy("`acequia run STREAM` reads what is new"));
    }
    if let Some(initial) = cursor.initial()? {
        if range.to.as_ref().is_some_and(|to| *to <= initial) {
            return Err(Error::config(format!(
                "the range {range} lies below initial_value, where the stream begins: {}",
                initial.text()
            ))
            .remedy("set a lower initial_value for [streams.STREAM] to have these rows"));
        }
        if range.from.as_ref().is_some_and(|from| *from < initial) {
            warnings.push(format!(
                "the stream begins at initial_value, {}: rows below it are left as they are",
                initial.text()
            ));
        }
        range.from = range.from.filter(|from| *from > initial).or(Some(initial));
    }
    let ends_below = range.to.as_ref().is_some_and(|to| *to <= position.value);
    Ok(StreamRange {
        up_to: (!ends_below).then(|| position.value.clone()),
        range,
        warnings,
        conditions: Vec::new(),
        indexed: false,
    })
}
