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
use serde::{Deserialize, Serialize};

use super::Landing;
use crate::error::Result;
use crate::names::StreamName;

/// No stream can have this name.
const FAILED: &str = "_acequia_failed";
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
            let path = place.clone().join(file.as_str());
            if let Some(failure) = self.own_file::<Failure>(&path).await? {
                failures.insert(stream, failure);
            }
        }
        Ok(failures)
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
        match failure {
            Some(failure) => self.put_own_file(&path, failure).await,
            None => self.remove_own_file(&path).await,
        }
    }
}

fn place(pipeline: &StreamName, destination: &str) -> Path {
    Path::from_iter([pipeline.as_str(), FAILED, destination])
}
