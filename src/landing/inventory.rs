//! The loads of a stream in the landing area, and whether each load's files are those that its manifest names.
//!
//! Loaders read manifests, never listings. A listing shows which loads exist, how large they are, and which can be removed;
//! checksums are verified when a load is applied.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::folder::Found;
use super::manifest::{MANIFEST, Manifest};
use super::{Aside, Landing, LoadAddress};
use crate::error::{Error, Result};
use crate::names::{LoadId, StreamName};

/// How many manifests are read at the same time: an object store has a latency for each.
pub(super) const READS: usize = 16;

/// A load's folder.
#[derive(Debug, Clone)]
pub struct StoredLoad {
    /// The load's address.
    pub address: LoadAddress,
    /// The contents of the folder.
    pub content: LoadContent,
    /// The size of all files in the folder, in bytes.
    pub bytes: u64,
}

/// The contents of a load's folder.
#[derive(Debug, Clone)]
pub enum LoadContent {
    /// An extract that has not ended, or never will: there is no manifest.
    Unfinished,
    /// A load with all its parts, each of the size that the manifest says.
    Complete(Box<Manifest>),
    /// A load that cannot be applied.
    Damaged {
        /// The load's manifest, if it can be read.
        manifest: Option<Box<Manifest>>,
        /// What is wrong.
        fault: String,
    },
}

impl StoredLoad {
    /// The load's id.
    pub fn load_id(&self) -> &LoadId {
        &self.address.load_id
    }

    /// The load's manifest, if there is one that can be read.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.content {
            LoadContent::Unfinished => None,
            LoadContent::Complete(manifest) => Some(manifest),
            LoadContent::Damaged { manifest, .. } => manifest.as_deref(),
        }
    }
}

/// Names and sizes of the files in a folder.
type Files = BTreeMap<String, u64>;

impl Landing {
    /// The loads of a stream, oldest first.
    ///
    /// # Errors
    /// [`Error::Landing`] if the landing area cannot be read, or a newer version of acequia wrote a load.
    pub async fn inventory(
        &self,
        pipeline: &StreamName,
        stream: &StreamName,
    ) -> Result<Vec<StoredLoad>> {
        let prefix = Path::from_iter([pipeline.as_str(), stream.as_str()]);
        let folders = self.folders_with_files(&prefix).await?;
        stream::iter(folders)
            .map(|(load_id, files)| self.holding(pipeline, stream, load_id, files))
            .buffered(READS)
            .try_collect()
            .await
    }

    async fn holding(
        &self,
        pipeline: &StreamName,
        stream: &StreamName,
        load_id: LoadId,
        files: Files,
    ) -> Result<StoredLoad> {
        let address = LoadAddress {
            pipeline: pipeline.clone(),
            stream: stream.clone(),
            load_id,
        };
        Ok(StoredLoad {
            content: self.content(&address, &files).await?,
            bytes: files.values().sum(),
            address,
        })
    }

    /// The loads of a stream that were set aside, oldest first.
    pub async fn set_aside_loads(
        &self,
        pipeline: &StreamName,
        stream: &StreamName,
        aside: Aside,
    ) -> Result<Vec<StoredLoad>> {
        let place = aside.folder();
        let prefix = Path::from_iter([pipeline.as_str(), place, stream.as_str()]);
        let folders = self.folders_with_files(&prefix).await?;
        let holding = |(load_id, files): (LoadId, Files)| StoredLoad {
            content: LoadContent::Damaged {
                manifest: None,
                fault: format!("it was moved to {place}/{stream}"),
            },
            address: LoadAddress {
                pipeline: pipeline.clone(),
                stream: stream.clone(),
                load_id,
            },
            bytes: files.values().sum(),
        };
        Ok(folders.into_iter().map(holding).collect())
    }

    async fn content(&self, address: &LoadAddress, files: &Files) -> Result<LoadContent> {
        if let Err(error) = self.own(address) {
            return damage(error);
        }
        if !files.contains_key(MANIFEST) {
            return Ok(LoadContent::Unfinished);
        }
        let manifest = match self.manifest(address).await {
            Ok(Some(manifest)) => Box::new(manifest),
            Ok(None) => return Ok(LoadContent::Unfinished),
            Err(error) => return damage(error),
        };
        let fault = manifest.parts.iter().find_map(|part| {
            let place = self.describe_file(&address.file(&part.path));
            match files.get(&part.path) {
                None => Some(format!("the part {place} is missing")),
                Some(bytes) if *bytes != part.bytes => Some(format!(
                    "the part {place} has {bytes} bytes and the manifest says {}",
                    part.bytes
                )),
                Some(_) => None,
            }
        });
        Ok(match fault {
            None => LoadContent::Complete(manifest),
            Some(fault) => LoadContent::Damaged {
                manifest: Some(manifest),
                fault,
            },
        })
    }

    /// The folders directly below `prefix` that are loads, with their files, by one listing.
    async fn folders_with_files(&self, prefix: &Path) -> Result<BTreeMap<LoadId, Files>> {
        let mut folders: BTreeMap<LoadId, Files> = BTreeMap::new();
        if let Some(folder) = &self.folder {
            self.refuse_links(prefix)?;
            let entries = |path: &Path| {
                let entries = folder.entries(path);
                entries.map_err(|error| self.unread(path, error))
            };
            for (name, found) in entries(prefix)? {
                let Ok(load_id) = name.parse::<LoadId>() else {
                    continue;
                };
                let files = match found {
                    Found::Folder => entries(&prefix.clone().join(name.as_str()))?,
                    // The reader of the entry reports its kind.
                    Found::Nothing | Found::File(_) | Found::Foreign => BTreeMap::new(),
                };
                let file = |(name, found)| match found {
                    Found::File(bytes) => Some((name, bytes)),
                    Found::Nothing | Found::Folder | Found::Foreign => None,
                };
                folders.insert(load_id, files.into_iter().filter_map(file).collect());
            }
            return Ok(folders);
        }
        let mut listing = self.store.list(Some(prefix));
        while let Some(file) = listing
            .try_next()
            .await
            .map_err(|error| self.fault("cannot list", prefix, error))?
        {
            let names: Option<Vec<_>> = file.location.prefix_match(prefix).map(Iterator::collect);
            let Some([folder, name]) = names.as_deref() else {
                continue;
            };
            if let Ok(load_id) = folder.as_ref().parse() {
                folders
                    .entry(load_id)
                    .or_default()
                    .insert(name.as_ref().to_owned(), file.size);
            }
        }
        Ok(folders)
    }
}

/// A damaged load is a kind of contents; any other error is returned.
fn damage(error: Error) -> Result<LoadContent> {
    match error {
        Error::Damaged(_) => Ok(LoadContent::Damaged {
            manifest: None,
            fault: error.to_string(),
        }),
        error => Err(error),
    }
}
