//! What was told of a pipeline's runs into a destination ([`crate::notify`]), so that nothing is told in each run.
//!
//! ```text
//! <landing>/<pipeline>/_acequia_told/<destination>.json
//! ```

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::Landing;
use crate::error::Result;
use crate::names::StreamName;

/// No stream can have this name.
const TOLD: &str = "_acequia_told";

/// What was told and has not ended, by stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Failures.
    #[serde(default)]
    pub failures: BTreeMap<String, ToldOnce>,
    /// Streams that are older than they should be.
    #[serde(default)]
    pub stale: BTreeMap<String, ToldOnce>,
}

/// When something was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOnce {
    /// The first time.
    pub since: DateTime<Utc>,
    /// The last time.
    pub told_at: DateTime<Utc>,
}

impl Landing {
    /// What was told.
    ///
    /// # Errors
    /// The landing area cannot be read. A file that cannot be parsed counts as none.
    pub async fn told(&self, pipeline: &StreamName, destination: &str) -> Result<Told> {
        let told = self.own_file(&file(pipeline, destination)).await?;
        Ok(told.unwrap_or_default())
    }

    /// Stores what was told.
    ///
    /// # Errors
    /// The landing area cannot be written to.
    pub async fn note_told(
        &self,
        pipeline: &StreamName,
        destination: &str,
        told: &Told,
    ) -> Result<()> {
        let path = file(pipeline, destination);
        if *told == Told::default() {
            return self.remove_own_file(&path).await;
        }
        self.put_own_file(&path, told).await
    }
}

fn file(pipeline: &StreamName, destination: &str) -> Path {
    Path::from_iter([pipeline.as_str(), TOLD, &format!("{destination}.json")])
}
