//! Small files of JSON that acequia keeps beside the loads, for itself: how runs failed and ended, and what was told of it.

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Landing;
use super::folder::Found;
use crate::error::{Error, Result};

/// The largest size of such a file, in bytes.
const MOST: u64 = 1 << 20;

impl Landing {
    /// What a file says. `None` if it is not there, or is not what this version writes.
    pub(super) async fn own_file<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        self.refuse_links(path)?;
        let found = match self.store.get(path).await {
            Ok(found) if found.meta.size <= MOST => found,
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.fault("cannot read", path, error)),
        };
        let bytes = found
            .bytes()
            .await
            .map_err(|error| self.fault("cannot read", path, error))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Writes a file, in place of the one that is there.
    pub(super) async fn put_own_file(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        self.refuse_links(path)?;
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::internal("a file of JSON cannot be written").cause(error))?;
        self.store
            .put(path, PutPayload::from(bytes))
            .await
            .map(drop)
            .map_err(|error| self.fault("cannot write", path, error))
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove_own_file(&self, path: &Path) -> Result<()> {
        self.refuse_links(path)?;
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fault("cannot remove", path, error)),
        }
    }

    /// The names of the files in a folder.
    pub(super) async fn names_in(&self, place: &Path) -> Result<Vec<String>> {
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
