//! What failed last, of each stream into each destination: kept beside the loads, as a destination that cannot be opened
//! keeps nothing.
//!
//! ```text
//! <landing>/<pipeline>/_acequia_failed/<destination>/<stream>.json
//! ```
//!
//! A run that goes well removes the file again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::Landing;
use super::folder::Found;
use crate::error::{Error, Result};
use crate::names::StreamName;

/// No stream has such a name.
const FAILED: &str = "_acequia_failed";
/// The most bytes of such a file.
const MAX_FAILURE: u64 = 1 << 20;
/// The most characters of an error that are kept.
const MAX_ERROR: usize = 16_384;

/// How a stream's last run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it ended.
    pub failed_at: DateTime<Utc>,
    /// When the first of them ended that failed in a row.
    pub since: DateTime<Utc>,
    /// How many failed in a row.
    pub runs: u64,
    /// What went wrong, with causes and remedy.
    pub error: String,
}

impl Failure {
    /// A failure now, after what failed before it.
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
    /// Where the landing area cannot be read. A file that tells no failure is none.
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

    /// Keeps how a stream's last run failed; none where it went well.
    ///
    /// # Errors
    /// Where the landing area cannot be written to.
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
