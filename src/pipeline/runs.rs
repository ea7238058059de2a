//! The runs of a pipeline into a destination: those that the destination keeps, and those that wait in the landing area.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::reading::reading;
use crate::config::Pipeline;
use crate::destination::Destination;
use crate::error::Result;
use crate::landing::Landing;
use crate::names::StreamName;
use crate::runs::{RunRecord, RunStatus};

/// How many runs are read at once.
const PAGE: usize = 100;

/// The runs of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct RunsReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// The runs, newest first.
    pub runs: Vec<RunRecord>,
    /// Why the destination could not be asked: the runs are those that wait in the landing area.
    pub destination_error: Option<String>,
}

/// At most so many of the newest runs of a pipeline, or of those that did not succeed.
///
/// # Errors
/// The landing area cannot be read. A destination that cannot be is told in the report.
pub async fn runs(pipeline: &Pipeline, most: usize, only_failed: bool) -> Result<RunsReport> {
    let landing = super::open_landing(pipeline)?;
    let is_wanted = move |run: &RunRecord| {
        !only_failed || !matches!(run.status, RunStatus::Ok | RunStatus::Running)
    };
    let kept = reading(pipeline, move |destination| {
        let mut kept: Vec<RunRecord> = Vec::new();
        each_page(destination, |page| {
            kept.extend(page.into_iter().filter(|run| is_wanted(run)));
            kept.len() < most
        })?;
        Ok(kept)
    });
    let (mut runs, destination_error) = match kept.await {
        Ok(kept) => (kept.unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(error.report())),
    };
    let waiting = waiting(pipeline, &landing).await?;
    let ids: BTreeSet<_> = waiting.iter().map(|run| run.run_id.clone()).collect();
    runs.retain(|run| !ids.contains(&run.run_id));
    runs.extend(waiting.into_iter().filter(is_wanted));
    runs.sort_by(|a, b| b.run_id.cmp(&a.run_id));
    runs.truncate(most);
    Ok(RunsReport {
        pipeline: pipeline.name.clone(),
        destination: pipeline.destination.name.clone(),
        runs,
        destination_error,
    })
}

/// The runs that wait in the landing area.
pub(super) async fn waiting(pipeline: &Pipeline, landing: &Landing) -> Result<Vec<RunRecord>> {
    let (name, destination) = (&pipeline.name, &pipeline.destination.name);
    let ids = landing.waiting_runs(name, destination).await?;
    landing.waiting_runs_of(name, destination, ids).await
}

/// When each of these streams was last brought up to date, as far as the destination keeps that.
pub(super) fn synced(
    destination: &mut dyn Destination,
    streams: &BTreeSet<StreamName>,
) -> Result<BTreeMap<StreamName, DateTime<Utc>>> {
    let mut synced = BTreeMap::new();
    each_page(destination, |page| {
        for run in &page {
            note_synced(&mut synced, run);
        }
        !streams.iter().all(|stream| synced.contains_key(stream))
    })?;
    Ok(synced)
}

/// Notes what a run has brought up to date.
pub(super) fn note_synced(synced: &mut BTreeMap<StreamName, DateTime<Utc>>, run: &RunRecord) {
    for (stream, at) in &run.streams {
        let known = synced.entry(stream.clone()).or_insert(*at);
        *known = (*known).max(*at);
    }
}

/// Hands over the runs that a destination keeps, newest first, as long as more are wanted.
fn each_page(
    destination: &mut dyn Destination,
    mut wants_more: impl FnMut(Vec<RunRecord>) -> bool,
) -> Result<()> {
    let mut before = None;
    loop {
        let page = destination.runs(before.as_ref(), PAGE)?;
        let last = page.last().map(|run| run.run_id.clone());
        let is_last = page.len() < PAGE;
        if !wants_more(page) || is_last {
            return Ok(());
        }
        before = last;
    }
}
