//! The last failure of each stream into each destination. It is stored beside the loads, because a destination that cannot
//! be opened cannot store it.
//!
//! ```text
//! <landing>/<pipeline>/_acequia_failed/<destination>/<stream>.json
//! ```
//!
//! A successful run removes the file.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::Landing;
use super::folder::Found;
use crate::error::{Error, Result};
use crate::names::StreamName;

/// No stream can have this name.
const FAILED: &str = "_acequia_failed";
/// The largest size of such a file, in bytes.
const MAX_FAILURE: u64 = 1 << 20;
/// How many characters of an error are stored at most.
const MAX_ERROR: usize = 16_384;

/// The failure of a stream's last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When the run ended.
    pub failed_at: DateTime<Utc>,
    /// When the first of the consecutive failed runs ended.
    pub since: DateTime<Utc>,
    /// The number of consecutive failed runs.
    pub runs: u64,
    /// The error, with its causes and the remedy.
    pub error: String,
}

impl Failure {
    /// A failure that happened now, after an earlier one.
    pub fn after(before: Option<&Self>, error: &str) -> Self {
        let now = Utc::now();
        Self {
            failed_at: now,
            since: before.map_or(now, |before| before.since),
            runs: before.map_or(0, |before| before.runs).saturating_add(1),
            error: error.chars().take(MAX_ERROR).collect(),
        }
    }
}

impl Landing {
    /// The streams whose last run into a destination failed.
    ///
    /// # Errors
    /// The landing area cannot be read. A file that cannot be parsed counts as no failure.
    pub async fn failures(
        &self,
        pipeline: &StreamName,
        destination: &str,
    ) -> Result<BTreeMap<StreamName, Failure>> {
        let place = place(pipeline, destination);
        let mut failures = BTreeMap::new();
        for file in self.names_in(&place).await? {
            let stream = file.strip_suffix(".json").map(str::parse::<StreamName>);
            let Some(Ok(stream)) = stream else {
                continue;
            };
            if let Some(failure) = self.failure(&place.clone().join(file.as_str())).await? {
                failures.insert(stream, failure);
            }
        }
        Ok(failures)
    }

    async fn failure(&self, path: &Path) -> Result<Option<Failure>> {
        let found = match self.store.get(path).await {
            Ok(found) if found.meta.size <= MAX_FAILURE => found,
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.fault("cannot read", path, error)),
        };
        let bytes = found
            .bytes()
            .await
            .map_err(|error| self.fault("cannot read", path, error))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Stores the failure of a stream's last run, or removes it if the run succeeded.
    ///
    /// # Errors
    /// The landing area cannot be written to.
    pub async fn note_failure(
        &self,
        pipeline: &StreamName,
        destination: &str,
        stream: &StreamName,
        failure: Option<&Failure>,
    ) -> Result<()> {
        let path = place(pipeline, destination).join(format!("{stream}.json"));
        self.refuse_links(&path)?;
        let Some(failure) = failure else {
            return match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.fault("cannot remove", &path, error)),
            };
        };
        let bytes = serde_json::to_vec_pretty(failure)
            .map_err(|error| Error::internal("cannot write a failure as JSON").cause(error))?;
        self.store
            .put(&path, PutPayload::from(bytes))
            .await
            .map(drop)
            .map_err(|error| self.fault("cannot write", &path, error))
    }

    /// The names of the files in a folder.
    async fn names_in(&self, place: &Path) -> Result<Vec<String>> {
        if let Some(folder) = &self.folder {
            self.refuse_links(place)?;
            let entries = folder
                .entries(place)
                .map_err(|error| self.unread(place, error))?;
            let file = |(name, found)| matches!(found, Found::File(_)).then_some(name);
            return Ok(entries.into_iter().filter_map(file).collect());
        }
        let files = self.files(place).await?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(files.iter().filter_map(name).collect())
    }
}

fn place(pipeline: &StreamName, destination: &str) -> Path {
    Path::from_iter([pipeline.as_str(), FAILED, destination])
}
