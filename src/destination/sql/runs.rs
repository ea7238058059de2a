//! The table of runs, which people read: a row for each, with what failed.

use crate::error::{Error, Result};
use crate::names::RunId;
use crate::runs::{KEPT, RunRecord};
use crate::schema::ColumnType;

use super::loads::{bigint, json, time};
use super::table_row::Row;
use super::{Dialect, Engine, SqlEngine};

/// The table's name in a dataset that keeps its ledger itself.
pub(crate) const RUNS: &str = "_acequia_runs";
/// How many more than are kept there may be, so that not every run has some removed.
const SLACK: usize = 500;

/// The columns of the table of runs, in order.
pub(crate) fn columns(d: &dyn Dialect) -> [(&'static str, String); 15] {
    let [text, bigint, time] = [ColumnType::Text, ColumnType::Int64, ColumnType::TimestampTz]
        .map(|column_type| d.type_name(&column_type));
    let column = |name, data_type: &str| (name, data_type.to_owned());
    [
        column("run_id", &text),
        column("command", &text),
        column("status", &text),
        column("started_at", &time),
        column("ended_at", &time),
        column("streams_failed", &bigint),
        column("streams_skipped", &bigint),
        column("rows_extracted", &bigint),
        column("inserted", &bigint),
        column("updated", &bigint),
        column("deleted", &bigint),
        column("bytes_landed", &bigint),
        column("streams", d.json()),
        column("failures", d.json()),
        column("acequia_version", &text),
    ]
}

/// Makes the table where it is missing.
pub(crate) fn prepare(engine: &mut dyn SqlEngine) -> Result<()> {
    let d = engine.dialect();
    let columns = columns(d).map(|(name, data_type)| format!("{name} {data_type} NOT NULL"));
    engine.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {} ({})",
        engine.table(RUNS),
        columns.join(", ")
    ))?;
    Ok(())
}

/// Writes runs into the table, given in SQL, each in place of one of its id, and removes the oldest where there are many more
/// than are kept.
pub(crate) fn keep(engine: &mut dyn Engine, table: &str, runs: &[RunRecord]) -> Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let d = engine.dialect();
    let ids: Vec<String> = runs
        .iter()
        .map(|run| d.literal(run.run_id.as_str()))
        .collect();
    let known = engine.texts(&format!(
        "SELECT run_id FROM {table} WHERE run_id IN ({})",
        ids.join(", ")
    ))?;
    if !known.is_empty() {
        let known: Vec<String> = known.iter().map(|id| d.literal(id)).collect();
        engine.execute(&format!(
            "DELETE FROM {table} WHERE run_id IN ({})",
            known.join(", ")
        ))?;
    }
    let rows: Vec<String> = runs
        .iter()
        .map(|run| Ok(format!("({})", values(d, run)?.join(", "))))
        .collect::<Result<_>>()?;
    let names = columns(d).map(|(name, _)| name);
    engine.execute(&format!(
        "INSERT INTO {table} ({}) VALUES {}",
        names.join(", "),
        rows.join(", ")
    ))?;
    remove_oldest(engine, table)
}

fn remove_oldest(engine: &mut dyn Engine, table: &str) -> Result<()> {
    let [rows] = engine.numbers(&format!("SELECT count(*) FROM {table}"))?;
    if usize::try_from(rows).unwrap_or(0) <= KEPT + SLACK {
        return Ok(());
    }
    let order = engine.dialect().ordered("run_id", &ColumnType::Text);
    let oldest = engine.texts(&format!(
        "SELECT run_id FROM {table} ORDER BY {order} DESC LIMIT 1 OFFSET {}",
        KEPT - 1
    ))?;
    if let Some(oldest) = oldest.first() {
        let d = engine.dialect();
        engine.execute(&format!(
            "DELETE FROM {table} WHERE {order} < {}",
            d.ordered(&d.literal(oldest), &ColumnType::Text)
        ))?;
    }
    Ok(())
}

/// At most so many runs of the table, given in SQL, newest first: those that began before another one, or the newest.
pub(crate) fn read(
    engine: &mut dyn Engine,
    table: &str,
    before: Option<&RunId>,
    most: usize,
) -> Result<Vec<RunRecord>> {
    let d = engine.dialect();
    let text = |column| d.cast(column, &ColumnType::Text);
    let order = d.ordered("run_id", &ColumnType::Text);
    let condition = before.map(|before| {
        let before = d.ordered(&d.literal(before.as_str()), &ColumnType::Text);
        format!(" WHERE {order} < {before}")
    });
    let rows = engine.rows(&format!(
        "SELECT run_id, command, status, {}, {}, streams_failed, streams_skipped, rows_extracted, inserted, updated, deleted, \
         bytes_landed, {}, {}, acequia_version FROM {table}{} ORDER BY {order} DESC LIMIT {most}",
        d.microseconds("started_at"),
        d.microseconds("ended_at"),
        text("streams"),
        text("failures"),
        condition.unwrap_or_default(),
    ))?;
    rows.into_iter()
        .map(|row| record(&Row::new(row, RUNS)))
        .collect()
}

fn record(row: &Row) -> Result<RunRecord> {
    Ok(RunRecord {
        run_id: row.parse(0)?,
        command: row.some(1)?.to_owned(),
        status: row.parse(2)?,
        started_at: row.time(3)?,
        ended_at: row.time(4)?,
        streams_failed: row.count(5)?,
        streams_skipped: row.count(6)?,
        rows_extracted: row.count(7)?,
        inserted: row.count(8)?,
        updated: row.count(9)?,
        deleted: row.count(10)?,
        bytes_landed: row.count(11)?,
        streams: row.json(12)?,
        failures: row.json(13)?,
        acequia_version: row.some(14)?.to_owned(),
    })
}

/// The values of a run, in SQL, in the order of [`columns`].
fn values(d: &dyn Dialect, run: &RunRecord) -> Result<[String; 15]> {
    // PostgreSQL's text has no NUL, and its JSON none that is escaped either.
    let failures = serde_json::to_string(&run.failures)
        .map_err(|error| Error::internal("a run cannot be written").cause(error))?
        .replace("\\u0000", "\u{fffd}");
    Ok([
        d.literal(run.run_id.as_str()),
        d.literal(&run.command),
        d.literal(run.status.as_str()),
        time(d, run.started_at),
        time(d, run.ended_at),
        bigint(run.streams_failed),
        bigint(run.streams_skipped),
        bigint(run.rows_extracted),
        bigint(run.inserted),
        bigint(run.updated),
        bigint(run.deleted),
        bigint(run.bytes_landed),
        json(d, &run.streams)?,
        super::dialect::cast_to(&d.literal(&failures), d.json()),
        d.literal(&run.acequia_version),
    ])
}
