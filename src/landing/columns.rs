//! The columns that a stream's relation had when it was last read, where the stream hides some of them by their names: what is
//! hidden stays so when a column is renamed. A note beside the streams' folders.
//!
//! ```text
//! <landing>/<pipeline>/_acequia_columns/<stream>.json
//! ```

use object_store::path::Path;

use super::Landing;
use crate::error::Result;
use crate::identity::RelationIdentity;
use crate::names::StreamName;

/// No stream can have this name.
const COLUMNS: &str = "_acequia_columns";

impl Landing {
    /// What a stream's relation was when it was last read. `None` if there is no note.
    ///
    /// # Errors
    /// The landing area cannot be read. A note that cannot be parsed counts as none.
    pub async fn known_columns(
        &self,
        pipeline: &StreamName,
        stream: &StreamName,
    ) -> Result<Option<RelationIdentity>> {
        self.own_file(&note(pipeline, stream)).await
    }

    /// Notes what a stream's relation is.
    ///
    /// # Errors
    /// The landing area cannot be written to.
    pub async fn note_columns(
        &self,
        pipeline: &StreamName,
        stream: &StreamName,
        relation: &RelationIdentity,
    ) -> Result<()> {
        self.put_own_file(&note(pipeline, stream), relation).await
    }
}

fn note(pipeline: &StreamName, stream: &StreamName) -> Path {
    Path::from_iter([pipeline.as_str(), COLUMNS, &format!("{stream}.json")])
}
