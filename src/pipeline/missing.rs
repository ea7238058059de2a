//! Rows of an incremental stream's table that its source has no more are deleted, or marked: found by comparing keys.
//!
//! The keys of the source are read after the stream's load is committed, in a snapshot of their own. Every row of the table was
//! read in an earlier one, and no other run loads meanwhile: so a key that the table has and the snapshot does not was deleted in
//! between. What the snapshot has and the table does not, as it came late or meanwhile, is the next run's, and nothing is done
//! about it. Before a key is deleted the source is read once more, and one that is there again stays.

use std::sync::Arc;

use chrono::Utc;

use super::compare::Comparison;
use super::compare::amend::Amendment;
use super::compare::side::{Side, SourceRows, describe, opener};
use super::report::StreamReport;
use super::stream::{Landed, StreamRun, Then};
use crate::config::postgres::ColumnSelection;
use crate::config::{Pipeline, PostgresRows, RowsRead, StreamSource};
use crate::destination::{Living, TableRows};
use crate::error::{Error, Result};
use crate::mode::{Amends, Deletes, FullLoad};
use crate::position::{CursorPosition, Position};
use crate::schema::{Column, Schema};
use crate::verify::codec::Codec;

/// Refuses to look for missing rows where no stream has any deleted.
pub(super) fn refuse_none(pipeline: &Pipeline) -> Result<()> {
    let has = |from: &StreamSource| matches!(from, StreamSource::Rows(rows) if rows.delete_missing.is_some());
    if pipeline.streams.iter().any(|stream| has(&stream.from)) {
        return Ok(());
    }
    Err(
        Error::config("--delete-missing: none of the streams has `delete_missing`").remedy(
            "set delete_missing = \"hard\" or \"soft\" for an incremental stream, or leave the option out",
        ),
    )
}

/// What is done after a stream's load: if the stream says so, and it is time to or is asked for `now`, the rows of its table that
/// its source has no more are deleted.
pub(super) fn after(now: bool) -> Then {
    if now {
        |run, report| Box::pin(delete_missing(run, report, true))
    } else {
        |run, report| Box::pin(delete_missing(run, report, false))
    }
}

async fn delete_missing(run: &mut StreamRun, report: &mut StreamReport, now: bool) -> Result<()> {
    let StreamSource::Rows(rows) = run.stream.from.clone() else {
        return Ok(());
    };
    let Some(missing) = rows.delete_missing else {
        return Ok(());
    };
    // Without a position nothing was ever read.
    let Some(Position::Cursor(before)) = run.position().cloned() else {
        return Ok(());
    };
    let began = Utc::now();
    let is_due = before
        .compared
        .is_none_or(|compared| began - compared >= missing.every);
    if !(now || is_due) {
        return Ok(());
    }
    let comparison = comparison(run, rows, missing.deletes).await?;
    let (found, is_all) = comparison.extra().await?;
    // Where there are more, the next run goes on.
    let after = Position::Cursor(CursorPosition {
        compared: Some(began).filter(|_| is_all).or(before.compared),
        ..before.clone()
    });
    if found.is_nothing() {
        return run
            .apply(Landed::Nothing(Some(Box::new(after))), report)
            .await;
    }
    let amendment = Amendment {
        amends: Amends::DeleteMissing,
        schema: comparison.schema.clone(),
        key: comparison.codec.key_names(),
        position: Position::Cursor(before),
        after: Some(after),
        mark: None,
    };
    Box::pin(amendment.apply(&comparison, &found, run, report)).await
}

/// The comparison of the table's keys with those of the source.
async fn comparison(
    run: &StreamRun,
    mut rows: PostgresRows,
    deletes: Deletes,
) -> Result<Comparison<'static>> {
    let state = run
        .state
        .as_ref()
        .ok_or_else(|| Error::internal("a stream without a state"))?;
    let from = opener(run.stream.from.clone());
    let shaped = describe(&from, &run.stream, &state.schema).await?;
    let own = shaped.schema(Some(&state.schema));
    let key = shaped.description.primary_key;
    let of_source = own.source_names(&key);
    // All keys, whatever the cursor says: a row below `initial_value`, or whose cursor is NULL now, is there.
    rows.read = RowsRead::Full(FullLoad::Replace);
    rows.columns.selected = ColumnSelection::Only(of_source.clone());
    rows.columns
        .types
        .retain(|column, _| of_source.contains(column));
    rows.columns.primary_key = Some(of_source);
    let known = state.schema.columns.iter().filter(|column| !column.retired);
    let schema = Schema {
        columns: known.map(|column| column.column.clone()).collect(),
    };
    let columns: Vec<Column> = schema
        .columns
        .iter()
        .filter(|column| key.contains(&column.name))
        .cloned()
        .collect();
    let table = TableRows {
        table: run.stream.table.clone(),
        columns: columns.clone(),
        living: match deletes {
            Deletes::Hard => Living::All,
            Deletes::Soft => Living::NotDeleted,
        },
        within: None,
    };
    let asking = run
        .loader
        .call(|destination| Ok(destination.keeps_sign_of_zero()));
    let codec = Codec::new(columns, &key, None, asking.await?)?.by_key_alone();
    let shape = Arc::new(shaped.shape);
    Ok(Comparison {
        source: Side::Source(SourceRows {
            opener: opener(StreamSource::Rows(rows)),
            known: state.schema.clone(),
            configuration: run.stream.fingerprint(),
            shape: Arc::clone(&shape),
        }),
        table: Side::Table(run.loader.clone(), table),
        codec: Arc::new(codec),
        shape,
        schema,
        boundary: None,
        counts_only: false,
        stop: run.stop.child_token(),
    })
}
