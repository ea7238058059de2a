//! The landing area: a folder a load, with Parquet parts and, written last, a manifest.
//!
//! ```text
//! <landing>/<pipeline>/<stream>/<load_id>/part-00000.parquet …
//!                                        /manifest.json
//! ```
//!
//! A folder without a manifest is an unfinished extract: it is never read, and the next run removes it. The landing area
//! knows nothing of sources and destinations.
//!
//! Files in the landing area are not trusted to be acequia's: a manifest must be that of its folder and name files in that
//! folder only, no link is followed, and no file is read that is larger than acequia writes it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use url::Url;

use crate::error::{Error, Result};
use crate::names::{LoadId, StreamName};

mod columns;
pub mod failures;
mod folder;
pub(crate) mod inventory;
pub(crate) mod lease;
pub(crate) mod lineage;
pub mod manifest;
mod own_file;
pub(crate) mod part;
mod parts;
mod probe;
mod process;
pub(crate) mod runs;
pub(crate) mod slot;
mod tables;
pub(crate) mod told;
pub(crate) mod writer;

use folder::{Folder, Found};
use manifest::{FORMAT_VERSION, MANIFEST, MAX_MANIFEST, Manifest};
pub use parts::LocalParts;

/// The landing area.
#[derive(Clone)]
pub struct Landing {
    store: Arc<dyn ObjectStore>,
    /// The landing area's location, for people.
    location: String,
    /// The landing area's folder, if it is one.
    folder: Option<Folder>,
}

/// Why a load is set aside. Each reason has a folder beside the streams' folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// The load's files differ from its manifest.
    Damaged,
    /// The destination refuses the load, or the configuration has changed since it was landed.
    Refused,
}

impl Aside {
    const ALL: [Self; 2] = [Self::Damaged, Self::Refused];

    /// The folder's name.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Damaged => "_damaged",
            Self::Refused => "_refused",
        }
    }
}

/// The address of a load's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadAddress {
    /// The pipeline's name.
    pub pipeline: StreamName,
    /// The stream's name.
    pub stream: StreamName,
    /// The load's id.
    pub load_id: LoadId,
}

impl Landing {
    /// Opens a landing area: a folder (created if it is missing), or a URL with a scheme that `object_store` knows.
    /// Credentials and settings, such as `AWS_ENDPOINT_URL`, are taken from the environment.
    pub fn open(location: &str) -> Result<Self> {
        let failed = |error: object_store::Error| {
            Error::landing(format!("cannot open the landing area {location}"))
                .cause(error)
                .remedy("see `landing` under [pipeline], and the credentials in the environment")
        };
        if let Some(url) = Url::parse(location)
            .ok()
            .filter(|url| url.scheme() != "file" && location.contains("://"))
        {
            let settings = std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            });
            let (store, prefix) = object_store::parse_url_opts(&url, settings).map_err(failed)?;
            return Ok(Self {
                store: Arc::new(PrefixStore::new(
                    Arc::<dyn ObjectStore>::from(store),
                    prefix,
                )),
                location: location.trim_end_matches('/').to_owned(),
                folder: None,
            });
        }
        let folder = PathBuf::from(location.strip_prefix("file://").unwrap_or(location));
        std::fs::create_dir_all(&folder).map_err(|error| {
            Error::landing(format!(
                "cannot make the landing folder {}",
                folder.display()
            ))
            .cause(error)
            .remedy("see `landing` under [pipeline], and the folder's permissions")
        })?;
        let folder = folder.canonicalize().map_err(|error| {
            Error::landing(format!(
                "cannot find the landing folder {}",
                folder.display()
            ))
            .cause(error)
        })?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(failed)?;
        Ok(Self {
            store: Arc::new(store.with_automatic_cleanup(true)),
            location: folder.display().to_string(),
            folder: Some(Folder::new(folder)),
        })
    }

    /// How many bytes of a part are written at a time.
    fn chunk_bytes(&self) -> usize {
        if self.folder.is_some() {
            part::WRITE_BYTES
        } else {
            part::UPLOAD_BYTES
        }
    }

    /// The location of a load, for people.
    pub fn describe(&self, address: &LoadAddress) -> String {
        format!("{}/{}", self.location, address.path())
    }

    /// The location of the landing area, for people.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Checks that a file can be written and removed.
    pub async fn probe(&self) -> Result<()> {
        self.now().await.map(|_| ())
    }

    /// What time it is in the landing area: a file is written, looked at and removed again.
    async fn now(&self) -> Result<DateTime<Utc>> {
        let path = Path::from(format!("_probe-{}", uuid::Uuid::new_v4().simple()));
        self.store
            .put(&path, PutPayload::from_static(b"acequia"))
            .await
            .map_err(|error| self.fault("cannot write to the landing area", &path, error))?;
        let written = self.store.head(&path).await;
        self.store
            .delete(&path)
            .await
            .map_err(|error| self.fault("cannot remove from the landing area", &path, error))?;
        let written =
            written.map_err(|error| self.fault("cannot read the landing area", &path, error))?;
        Ok(written.last_modified)
    }

    /// The streams of a pipeline that have a folder.
    pub async fn streams(&self, pipeline: &StreamName) -> Result<Vec<StreamName>> {
        let prefix = Path::from(pipeline.as_str());
        let mut streams: Vec<StreamName> = self.folders(&prefix).await?;
        streams.retain(|stream| {
            Aside::ALL
                .iter()
                .all(|aside| aside.folder() != stream.as_str())
        });
        Ok(streams)
    }

    /// The loads of a stream, with or without manifest, oldest first.
    pub async fn loads(&self, pipeline: &StreamName, stream: &StreamName) -> Result<Vec<LoadId>> {
        let prefix = Path::from_iter([pipeline.as_str(), stream.as_str()]);
        self.folders(&prefix).await
    }

    /// Finds a load by its id, in all streams of a pipeline.
    pub async fn find(
        &self,
        pipeline: &StreamName,
        load_id: &LoadId,
    ) -> Result<Option<LoadAddress>> {
        for stream in self.streams(pipeline).await? {
            if self.loads(pipeline, &stream).await?.contains(load_id) {
                return Ok(Some(LoadAddress {
                    pipeline: pipeline.clone(),
                    stream,
                    load_id: load_id.clone(),
                }));
            }
        }
        Ok(None)
    }

    /// The manifest of a load. `None` if the extract was not finished.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the file is no manifest, or not this load's.
    pub async fn manifest(&self, address: &LoadAddress) -> Result<Option<Manifest>> {
        let path = address.file(MANIFEST);
        let damaged = |fault: String| {
            Error::damaged(format!(
                "the manifest {} is damaged: {fault}",
                self.describe_file(&path)
            ))
        };
        self.own(address)?;
        if let Some(folder) = &self.folder {
            match folder
                .look(&path)
                .map_err(|error| self.unread(&path, error))?
            {
                Found::Nothing => return Ok(None),
                Found::File(_) => {}
                Found::Folder | Found::Foreign => return Err(damaged("it is no file".to_owned())),
            }
        }
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.fault("cannot read the manifest", &path, error)),
        };
        if found.meta.size > MAX_MANIFEST {
            return Err(damaged(format!(
                "it has {} bytes, and none has more than {MAX_MANIFEST}",
                found.meta.size
            )));
        }
        let bytes = found
            .bytes()
            .await
            .map_err(|error| self.fault("cannot read the manifest", &path, error))?;
        let manifest = Manifest::read(&bytes).map_err(damaged)?;
        if manifest.format_version > FORMAT_VERSION {
            return Err(Error::landing(format!(
                "the manifest {} has format version {}, and this acequia knows {FORMAT_VERSION} at most",
                self.describe_file(&path),
                manifest.format_version
            ))
            .remedy(format!("use acequia {} or later", manifest.acequia_version)));
        }
        manifest.check(address).map_err(damaged)?;
        Ok(Some(manifest))
    }

    /// Writes the manifest, by which the load begins to exist. Fails if there is a manifest already.
    pub async fn publish(&self, address: &LoadAddress, manifest: &Manifest) -> Result<()> {
        let path = address.file(MANIFEST);
        self.own(address)?;
        let bytes = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::internal("cannot write a manifest as JSON").cause(error))?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Error::landing(format!(
                "the manifest of load {} would have {} bytes, and none may have more than {MAX_MANIFEST}",
                address.load_id,
                bytes.len()
            ))
            .remedy("take larger parts with `part_size` under [pipeline]"));
        }
        let options = PutOptions::from(PutMode::Create);
        self.store
            .put_opts(&path, PutPayload::from(bytes), options)
            .await
            .map_err(|error| self.fault("cannot write the manifest", &path, error))?;
        Ok(())
    }

    /// Removes a load's folder.
    pub async fn discard(&self, address: &LoadAddress) -> Result<()> {
        let path = address.path();
        if let Some(folder) = self.folder.clone() {
            self.stream_folder(address)?;
            let removed = path.clone();
            return blocking(move || folder.remove(&removed))
                .await?
                .map_err(|error| self.io_fault("cannot remove", &path, error));
        }
        // The manifest is removed first: without it, what remains after a crash is an unfinished extract.
        let mut files = self.files(&path).await?;
        files.sort_by_key(|path| path.filename() != Some(MANIFEST));
        for path in files {
            self.store
                .delete(&path)
                .await
                .map_err(|error| self.fault("cannot remove", &path, error))?;
        }
        Ok(())
    }

    /// Sets aside a load that cannot be applied, and returns its new location. Of the refused loads, a stream keeps only
    /// the last: the rows are still in the source.
    pub async fn set_aside(&self, address: &LoadAddress, aside: Aside) -> Result<String> {
        let from = address.path();
        let place = Path::from_iter([
            address.pipeline.as_str(),
            aside.folder(),
            address.stream.as_str(),
        ]);
        if aside == Aside::Refused {
            self.clear(&place).await?;
        }
        let mut to = place.clone().join(address.load_id.as_str());
        if let Some(folder) = self.folder.clone() {
            self.stream_folder(address)?;
            self.refuse_links(&to)?;
            let looked = folder.look(&to).map_err(|error| self.unread(&to, error))?;
            if looked != Found::Nothing {
                let again = uuid::Uuid::new_v4().simple();
                to = place.join(format!("{}-{again}", address.load_id));
            }
            let moved = (from.clone(), to.clone());
            blocking(move || folder.rename(&moved.0, &moved.1))
                .await?
                .map_err(|error| self.io_fault("cannot move the load", &from, error))?;
            return Ok(self.describe_file(&to));
        }
        // The manifest is moved first: without it, what remains after a crash is an unfinished extract.
        let mut files: Vec<Path> = self.files(&from).await?;
        files.sort_by_key(|path| path.filename() != Some(MANIFEST));
        for from in files {
            let name = from.filename().unwrap_or(MANIFEST).to_owned();
            self.store
                .rename(&from, &to.clone().join(name))
                .await
                .map_err(|error| self.fault("cannot move the load's file", &from, error))?;
        }
        Ok(self.describe_file(&to))
    }

    /// Removes a stream's loads that were set aside for that reason.
    async fn clear(&self, place: &Path) -> Result<()> {
        if let Some(folder) = self.folder.clone() {
            self.refuse_links(place)?;
            let removed = place.clone();
            return blocking(move || folder.remove(&removed))
                .await?
                .map_err(|error| self.io_fault("cannot remove", place, error));
        }
        for file in self.files(place).await? {
            self.store
                .delete(&file)
                .await
                .map_err(|error| self.fault("cannot remove", &file, error))?;
        }
        Ok(())
    }

    /// Refuses a load whose folder, or a folder above it, is a link.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the load's folder is the link, [`Error::Landing`] if a folder above it is.
    fn own(&self, address: &LoadAddress) -> Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        self.stream_folder(address)?;
        let path = address.path();
        match folder
            .look(&path)
            .map_err(|error| self.unread(&path, error))?
        {
            Found::Nothing | Found::Folder => Ok(()),
            Found::File(_) | Found::Foreign => Err(Error::damaged(format!(
                "{} is no folder of acequia's",
                self.describe_file(&path)
            ))),
        }
    }

    /// Refuses a stream whose folder, or the pipeline's, is a link.
    fn stream_folder(&self, address: &LoadAddress) -> Result<()> {
        self.refuse_links(&Path::from_iter([
            address.pipeline.as_str(),
            address.stream.as_str(),
        ]))
    }

    /// Refuses a path that leads over a link.
    fn refuse_links(&self, path: &Path) -> Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        match folder.look(path).map_err(|error| self.unread(path, error))? {
            Found::Foreign => Err(Error::landing(format!(
                "{} leads over a symbolic link, or is none of acequia's",
                self.describe_file(path)
            ))
            .remedy(
                "put the folder itself there, or mount it: within the landing area no link is followed. `landing` under \
                 [pipeline] may name one",
            )),
            Found::Nothing | Found::Folder | Found::File(_) => Ok(()),
        }
    }

    /// The names of the folders directly below `prefix` that can be parsed as `T`, in order.
    async fn folders<T: std::str::FromStr + Ord>(&self, prefix: &Path) -> Result<Vec<T>> {
        if let Some(folder) = &self.folder {
            self.refuse_links(prefix)?;
            let entries = folder
                .entries(prefix)
                .map_err(|error| self.unread(prefix, error))?;
            // The reader of an entry that is no folder, for example a link, reports it as damage.
            let names: BTreeSet<T> = entries
                .into_iter()
                .filter(|(_, found)| !matches!(found, Found::File(_)))
                .filter_map(|(name, _)| name.parse().ok())
                .collect();
            return Ok(names.into_iter().collect());
        }
        let listing = self
            .store
            .list_with_delimiter(Some(prefix))
            .await
            .map_err(|error| self.fault("cannot list", prefix, error))?;
        let names: BTreeSet<T> = listing
            .common_prefixes
            .iter()
            .filter_map(|folder| folder.filename()?.parse().ok())
            .collect();
        Ok(names.into_iter().collect())
    }

    async fn files(&self, folder: &Path) -> Result<Vec<Path>> {
        self.store
            .list(Some(folder))
            .map(|entry| entry.map(|meta| meta.location))
            .try_collect()
            .await
            .map_err(|error| self.fault("cannot list", folder, error))
    }

    fn describe_file(&self, path: &Path) -> String {
        format!("{}/{path}", self.location)
    }

    fn fault(&self, what: &str, path: &Path, error: object_store::Error) -> Error {
        let fault = Error::landing(format!("{what}: {}", self.describe_file(path)));
        let text = format!("{error:?}");
        let fault = if text.contains("StorageFull") || text.contains("No space left") {
            full(fault)
        } else if text.contains("PermissionDenied") {
            forbidden(fault)
        } else {
            fault
        };
        fault.cause(error)
    }

    fn io_fault(&self, what: &str, path: &Path, error: std::io::Error) -> Error {
        let fault = Error::landing(format!("{what}: {}", self.describe_file(path)));
        let fault = match error.kind() {
            std::io::ErrorKind::StorageFull => full(fault),
            std::io::ErrorKind::PermissionDenied => forbidden(fault),
            _ => fault,
        };
        fault.cause(error)
    }

    fn unread(&self, path: &Path, error: std::io::Error) -> Error {
        self.io_fault("cannot read", path, error)
    }
}

fn full(fault: Error) -> Error {
    fault.remedy("free some space; nothing was loaded, and the next run starts this load anew")
}

fn forbidden(fault: Error) -> Error {
    fault.remedy("give the user that runs acequia the right to read and write there")
}

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a thread of the landing area ended").cause(error))
}

impl std::fmt::Debug for Landing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Landing").field(&self.location).finish()
    }
}

impl LoadAddress {
    fn path(&self) -> Path {
        Path::from_iter([
            self.pipeline.as_str(),
            self.stream.as_str(),
            self.load_id.as_str(),
        ])
    }

    fn file(&self, name: &str) -> Path {
        self.path().join(name)
    }
}
