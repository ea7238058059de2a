//! The tables that a pipeline's patterns have found, as the last run knew them: a note beside the streams' folders. It tells
//! which streams there are without the sources, and which tables are new or gone.
//!
//! ```text
//! <landing>/<pipeline>/_acequia_tables.json
//! ```

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::Landing;
use crate::error::{Error, Result};
use crate::known_tables::KnownTable;
use crate::names::StreamName;

/// No stream can have this name.
const TABLES: &str = "_acequia_tables.json";
/// The largest size of the note, in bytes.
const MAX_TABLES: u64 = 64 << 20;

impl Landing {
    /// The tables that the pipeline's patterns have found. Empty if there is no note.
    ///
    /// # Errors
    /// The landing area cannot be read, or the note is damaged.
    pub async fn known_tables(&self, pipeline: &StreamName) -> Result<Vec<KnownTable>> {
        let path = note(pipeline);
        self.refuse_links(&path)?;
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.fault("cannot read", &path, error)),
        };
        let damaged = || {
            Error::landing(format!(
                "the note {} of the tables that were found is damaged",
                self.describe_file(&path)
            ))
            .remedy("remove it: the next run writes it anew, and takes all tables for known")
        };
        if found.meta.size > MAX_TABLES {
            return Err(damaged());
        }
        let bytes = found
            .bytes()
            .await
            .map_err(|error| self.fault("cannot read", &path, error))?;
        serde_json::from_slice(&bytes).map_err(|_| damaged())
    }

    /// Notes the tables that the pipeline's patterns have found.
    ///
    /// # Errors
    /// The landing area cannot be written to.
    pub async fn note_tables(&self, pipeline: &StreamName, tables: &[KnownTable]) -> Result<()> {
        self.put_own_file(&note(pipeline), &tables).await
    }
}

fn note(pipeline: &StreamName) -> Path {
    Path::from_iter([pipeline.as_str(), TABLES])
}
