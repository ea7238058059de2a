//! The landing area: a folder a load, with Parquet parts and, written last, a manifest.
//!
//! ```text
//! <landing>/<pipeline>/<stream>/<load_id>/part-00000.parquet …
//!                                        /manifest.json
//! ```
//!
//! A folder without a manifest is an unfinished extract: it is never read, and the next run removes it. The landing area
//! knows nothing of sources and destinations.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;

use crate::error::{Error, Result};
use crate::names::{LoadId, StreamName, hex};

pub mod chain;
pub mod inventory;
pub mod manifest;
pub mod part;
pub mod slot;
pub mod writer;

use manifest::{FORMAT_VERSION, MANIFEST, Manifest, Part};

/// Folder, beside the streams', for loads whose files are not what their manifest says.
const DAMAGED: &str = "_damaged";

/// Bytes of a local part that are hashed at a time.
const HASH_BUFFER: usize = 1 << 20;

/// The landing area.
#[derive(Clone)]
pub struct Landing {
    store: Arc<dyn ObjectStore>,
    /// Where it is, for people.
    location: String,
    /// Its folder, where it is one.
    folder: Option<PathBuf>,
}

/// Which load: the folder's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadAddress {
    /// The pipeline's name.
    pub pipeline: StreamName,
    /// The stream's name.
    pub stream: StreamName,
    /// The load's id.
    pub load_id: LoadId,
}

/// The parts of a load as local files, checked against the manifest's checksums. Copies of remote parts go when this is
/// dropped.
#[derive(Debug)]
pub struct LocalParts {
    /// The files, in the manifest's order.
    pub files: Vec<PathBuf>,
    _copies: Option<tempfile::TempDir>,
}

impl Landing {
    /// Opens a landing area: a folder (made if it is missing), or a URL with a scheme that `object_store` knows. Its
    /// credentials and settings, such as `AWS_ENDPOINT_URL`, are taken from the environment.
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
            folder: Some(folder),
        })
    }

    /// Where a load is, for people.
    pub fn describe(&self, address: &LoadAddress) -> String {
        format!("{}/{}", self.location, address.path())
    }

    /// Where the landing area is, for people.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether a file can be written and removed again.
    pub async fn probe(&self) -> Result<()> {
        let path = Path::from(format!("_probe-{}", uuid::Uuid::new_v4().simple()));
        self.store
            .put(&path, PutPayload::from_static(b"acequia"))
            .await
            .map_err(|error| self.fault("cannot write to the landing area", &path, error))?;
        self.store
            .delete(&path)
            .await
            .map_err(|error| self.fault("cannot remove from the landing area", &path, error))
    }

    /// The streams of a pipeline that have a folder.
    pub async fn streams(&self, pipeline: &StreamName) -> Result<Vec<StreamName>> {
        let prefix = Path::from(pipeline.as_str());
        let mut streams: Vec<StreamName> = self.folders(&prefix).await?;
        streams.retain(|stream| stream.as_str() != DAMAGED);
        Ok(streams)
    }

    /// The loads of a stream, with or without manifest, oldest first.
    pub async fn loads(&self, pipeline: &StreamName, stream: &StreamName) -> Result<Vec<LoadId>> {
        let prefix = Path::from_iter([pipeline.as_str(), stream.as_str()]);
        self.folders(&prefix).await
    }

    /// Looks a load up by its id, in every stream of a pipeline.
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

    /// The manifest of a load; none where the extract was not finished.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is a manifest that is none.
    pub async fn manifest(&self, address: &LoadAddress) -> Result<Option<Manifest>> {
        let path = address.file(MANIFEST);
        let bytes = match self.store.get(&path).await {
            Ok(found) => found
                .bytes()
                .await
                .map_err(|error| self.fault("cannot read the manifest", &path, error))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.fault("cannot read the manifest", &path, error)),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
            Error::damaged(format!(
                "the manifest {} is damaged",
                self.describe_file(&path)
            ))
            .cause(error)
        })?;
        if manifest.format_version > FORMAT_VERSION {
            return Err(Error::landing(format!(
                "the manifest {} has format version {}, and this acequia knows {FORMAT_VERSION} at most",
                self.describe_file(&path),
                manifest.format_version
            ))
            .remedy(format!("use acequia {} or later", manifest.acequia_version)));
        }
        Ok(Some(manifest))
    }

    /// Writes the manifest, which makes the load exist. It fails if there is one already.
    pub async fn publish(&self, address: &LoadAddress, manifest: &Manifest) -> Result<()> {
        let path = address.file(MANIFEST);
        let bytes = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::internal("cannot write a manifest as JSON").cause(error))?;
        let options = PutOptions::from(PutMode::Create);
        self.store
            .put_opts(&path, PutPayload::from(bytes), options)
            .await
            .map_err(|error| self.fault("cannot write the manifest", &path, error))?;
        Ok(())
    }

    /// Removes a load's folder.
    pub async fn discard(&self, address: &LoadAddress) -> Result<()> {
        let folder = address.path();
        // The manifest goes first: without it, what remains after a crash here is an unfinished extract.
        let mut files = self.files(&folder).await?;
        files.sort_by_key(|path| path.filename() != Some(MANIFEST));
        for path in files {
            self.store
                .delete(&path)
                .await
                .map_err(|error| self.fault("cannot remove", &path, error))?;
        }
        self.remove_empty_folder(&folder).await;
        Ok(())
    }

    /// Moves a load whose files are not what its manifest says out of the way, to `_damaged`. Returns where it is now.
    pub async fn quarantine(&self, address: &LoadAddress) -> Result<String> {
        let folder = address.path();
        let aside = Path::from_iter([
            address.pipeline.as_str(),
            DAMAGED,
            address.stream.as_str(),
            address.load_id.as_str(),
        ]);
        // The manifest goes first: without it, what remains after a crash here is an unfinished extract.
        let mut files: Vec<Path> = self.files(&folder).await?;
        files.sort_by_key(|path| path.filename() != Some(MANIFEST));
        for from in files {
            let name = from.filename().unwrap_or(MANIFEST).to_owned();
            self.store
                .rename(&from, &aside.clone().join(name))
                .await
                .map_err(|error| self.fault("cannot move a damaged load's file", &from, error))?;
        }
        self.remove_empty_folder(&folder).await;
        Ok(self.describe_file(&aside))
    }

    /// The load's parts as local files whose checksums are right. Remote parts are copied to a temporary folder.
    ///
    /// # Errors
    /// [`Error::Damaged`] that names the part which is missing or not as the manifest says.
    pub async fn local_parts(
        &self,
        address: &LoadAddress,
        manifest: &Manifest,
    ) -> Result<LocalParts> {
        let copies = match self.folder {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(|error| {
                Error::landing("cannot make a temporary folder for the load's parts").cause(error)
            })?),
        };
        let mut files = Vec::with_capacity(manifest.parts.len());
        for part in &manifest.parts {
            let path = address.file(&part.path);
            let (file, found) = match (&self.folder, &copies) {
                (Some(folder), _) => {
                    let file = folder.join(path.as_ref());
                    (file.clone(), self.hash_file(file, &path).await?)
                }
                (None, Some(copies)) => {
                    let file = copies.path().join(&part.path);
                    let found = self.download(&path, &file).await?;
                    (file, found)
                }
                (None, None) => return Err(Error::internal("no folder for remote parts")),
            };
            self.check(part, &path, &found)?;
            files.push(file);
        }
        Ok(LocalParts {
            files,
            _copies: copies,
        })
    }

    fn check(&self, part: &Part, path: &Path, found: &Found) -> Result<()> {
        if found.bytes == part.bytes && found.sha256 == part.sha256 {
            return Ok(());
        }
        let detail = if found.bytes == part.bytes {
            "its checksum is not the manifest's".to_owned()
        } else {
            format!(
                "it has {} bytes and the manifest says {}",
                found.bytes, part.bytes
            )
        };
        Err(Error::damaged(format!(
            "the part {} is damaged: {detail}",
            self.describe_file(path)
        )))
    }

    async fn hash_file(&self, file: PathBuf, path: &Path) -> Result<Found> {
        let hashed = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::open(file)?;
            let mut hash = Sha256::new();
            let mut bytes = 0;
            let mut buffer = vec![0; HASH_BUFFER];
            loop {
                let read = file.read(&mut buffer)?;
                let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
                    return Ok::<_, std::io::Error>(Found::new(bytes, hash));
                };
                hash.update(chunk);
                bytes += read as u64;
            }
        });
        hashed
            .await
            .map_err(|error| Error::internal("the checksum thread ended").cause(error))?
            .map_err(|error| {
                if error.kind() == std::io::ErrorKind::NotFound {
                    return self.missing(path);
                }
                Error::landing(format!("cannot read the part {}", self.describe_file(path)))
                    .cause(error)
            })
    }

    async fn download(&self, path: &Path, file: &FilePath) -> Result<Found> {
        let failed = |error: std::io::Error| {
            Error::landing(format!("cannot copy a part to {}", file.display())).cause(error)
        };
        let found = self.store.get(path).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => self.missing(path),
            error => self.fault("cannot read the part", path, error),
        })?;
        let mut stream = found.into_stream();
        let mut copy = tokio::fs::File::create(file).await.map_err(failed)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while let Some(chunk) = stream
            .try_next()
            .await
            .map_err(|error| self.fault("cannot read the part", path, error))?
        {
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            copy.write_all(&chunk).await.map_err(failed)?;
        }
        copy.flush().await.map_err(failed)?;
        Ok(Found::new(bytes, hash))
    }

    /// The names of the folders right below `prefix` that read as `T`, in order.
    async fn folders<T: std::str::FromStr + Ord>(&self, prefix: &Path) -> Result<Vec<T>> {
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

    /// A folder is a thing of file systems only; that it stays behind empty is no harm.
    async fn remove_empty_folder(&self, folder: &Path) {
        if let Some(root) = &self.folder {
            let folder = root.join(folder.as_ref());
            if let Err(error) = tokio::fs::remove_dir(&folder).await {
                tracing::debug!(folder = %folder.display(), %error, "folder not removed");
            }
        }
    }

    fn missing(&self, path: &Path) -> Error {
        Error::damaged(format!("the part {} is missing", self.describe_file(path)))
    }

    fn describe_file(&self, path: &Path) -> String {
        format!("{}/{path}", self.location)
    }

    fn fault(&self, what: &str, path: &Path, error: object_store::Error) -> Error {
        let fault = Error::landing(format!("{what}: {}", self.describe_file(path)));
        let text = format!("{error:?}");
        let fault = if text.contains("StorageFull") || text.contains("No space left") {
            fault.remedy(
                "free some space; nothing was loaded, and the next run starts this load anew",
            )
        } else if text.contains("PermissionDenied") {
            fault.remedy("give the user that runs acequia the right to read and write there")
        } else {
            fault
        };
        fault.cause(error)
    }
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

/// What a part's file turned out to be.
struct Found {
    bytes: u64,
    sha256: String,
}

impl Found {
    fn new(bytes: u64, hash: Sha256) -> Self {
        Self {
            bytes,
            sha256: hex(&hash.finalize()),
        }
    }
}
