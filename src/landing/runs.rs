//! Runs that wait to be brought to the destination: it could not be reached, or writing to it for a run that moved no row
//! would take longer than the run did. The record of a run that follows is here as long as it lasts.
//!
//! ```text
//! <landing>/<pipeline>/_acequia_runs/<destination>/<run id>.json
//! ```

use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::Landing;
use super::inventory::READS;
use crate::error::Result;
use crate::names::{RunId, StreamName};
use crate::runs::RunRecord;

/// No stream can have this name.
const RUNS: &str = "_acequia_runs";
/// How many runs wait at most: where the destination is never reached, the oldest go.
pub const MOST_WAITING: usize = 1_000;

impl Landing {
    /// The ids of the runs that wait, oldest first.
    ///
    /// # Errors
    /// The landing area cannot be read.
    pub async fn waiting_runs(
        &self,
        pipeline: &StreamName,
        destination: &str,
    ) -> Result<Vec<RunId>> {
        let files = self.names_in(&place(pipeline, destination)).await?;
        let ids = files.iter().map(|file| file.strip_suffix(".json"));
        let mut ids: Vec<RunId> = ids.filter_map(|id| id?.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Those of these runs that still wait, as they are now. One that cannot be parsed is left out.
    ///
    /// # Errors
    /// The landing area cannot be read.
    pub async fn waiting_runs_of(
        &self,
        pipeline: &StreamName,
        destination: &str,
        ids: Vec<RunId>,
    ) -> Result<Vec<RunRecord>> {
        let found: Vec<Option<RunRecord>> = stream::iter(ids)
            .map(|id| self.waiting_run(pipeline, destination, id))
            .buffered(READS)
            .try_collect()
            .await?;
        let found = found.into_iter().flatten();
        Ok(found.map(|run| run.seen_at(Utc::now())).collect())
    }

    /// `None` if it waits no more, or cannot be parsed.
    async fn waiting_run(
        &self,
        pipeline: &StreamName,
        destination: &str,
        id: RunId,
    ) -> Result<Option<RunRecord>> {
        let path = file(pipeline, destination, &id);
        let found: Option<RunRecord> = self.own_file(&path).await?;
        Ok(found.filter(|run| run.run_id == id))
    }

    /// Has a run wait, with what it is now.
    ///
    /// # Errors
    /// The landing area cannot be written to.
    pub async fn have_run_wait(
        &self,
        pipeline: &StreamName,
        destination: &str,
        run: &RunRecord,
    ) -> Result<()> {
        let path = file(pipeline, destination, &run.run_id);
        self.put_own_file(&path, run).await
    }

    /// Removes a run that has come to the destination.
    ///
    /// # Errors
    /// The landing area cannot be written to.
    pub async fn forget_waiting_run(
        &self,
        pipeline: &StreamName,
        destination: &str,
        id: &RunId,
    ) -> Result<()> {
        self.remove_own_file(&file(pipeline, destination, id)).await
    }
}

fn place(pipeline: &StreamName, destination: &str) -> Path {
    Path::from_iter([pipeline.as_str(), RUNS, destination])
}

fn file(pipeline: &StreamName, destination: &str, id: &RunId) -> Path {
    place(pipeline, destination).join(format!("{id}.json"))
}
