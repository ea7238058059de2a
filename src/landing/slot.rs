//! The owner of a replication slot: a note beside the streams' folders, written before the slot is created. A server stores
//! only the name of a slot, and names can clash.
//!
//! ```text
//! <landing>/<pipeline>/_slot-<slot>.json
//! ```

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::Landing;
use crate::error::{Error, Result};
use crate::names::StreamName;

/// The destination that a replication slot is read for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotOwner {
    /// The destination's id.
    pub destination: String,
    /// The destination's place. A destination that was removed and made anew at the same place may continue with the slot.
    pub place: String,
}

impl Landing {
    /// The owner of a slot, if there is a note.
    pub async fn slot_owner(&self, pipeline: &StreamName, slot: &str) -> Result<Option<SlotOwner>> {
        let path = note(pipeline, slot);
        let bytes = match self.store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes =
            bytes.map_err(|error| self.fault("cannot read whose a slot is", &path, error))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Error::landing(format!("the note {} is damaged", self.describe_file(&path)))
                .remedy("remove it, if the replication slot is this pipeline's and destination's")
        })
    }

    /// Writes the note of a slot's owner.
    pub async fn note_slot_owner(
        &self,
        pipeline: &StreamName,
        slot: &str,
        owner: &SlotOwner,
    ) -> Result<()> {
        let path = note(pipeline, slot);
        let bytes = serde_json::to_vec(owner)
            .map_err(|error| Error::internal("cannot write a note as JSON").cause(error))?;
        self.store
            .put(&path, PutPayload::from(bytes))
            .await
            .map_err(|error| self.fault("cannot note whose a slot is", &path, error))?;
        Ok(())
    }

    /// Removes the note of a slot that was dropped.
    pub async fn forget_slot_owner(&self, pipeline: &StreamName, slot: &str) -> Result<()> {
        let path = note(pipeline, slot);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fault("cannot forget whose a slot was", &path, error)),
        }
    }
}

fn note(pipeline: &StreamName, slot: &str) -> Path {
    Path::from_iter([pipeline.as_str(), &format!("_slot-{slot}.json")])
}
