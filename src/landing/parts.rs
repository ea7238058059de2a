//! The parts of a load as local files, with the sizes and checksums of the manifest.

use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::folder::{Folder, Found};
use super::manifest::{Manifest, Part};
use super::{Landing, LoadAddress, blocking};
use crate::error::{Error, Result};
use crate::names::hex;

/// How many bytes of a local part are hashed at a time.
const HASH_BUFFER: usize = 1 << 20;

/// The parts of a load as local files whose checksums match the manifest. Copies of remote parts are removed when this
/// value is dropped.
#[derive(Debug)]
pub struct LocalParts {
    /// The files, in the manifest's order.
    pub files: Vec<PathBuf>,
    _copies: Option<tempfile::TempDir>,
}

impl Landing {
    /// Verifies the parts of a load, and returns them as local files. Remote parts are copied to a temporary folder.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the name of the part that is missing or differs from the manifest.
    pub async fn local_parts(
        &self,
        address: &LoadAddress,
        manifest: &Manifest,
    ) -> Result<LocalParts> {
        self.check_manifest(address, manifest)?;
        let mut files = Vec::with_capacity(manifest.parts.len());
        if let Some(folder) = &self.folder {
            self.own(address)?;
            for part in &manifest.parts {
                files.push(self.checked(folder, address, part).await?);
            }
            return Ok(LocalParts {
                files,
                _copies: None,
            });
        }
        let copies = tempfile::tempdir().map_err(|error| {
            Error::landing("cannot make a temporary folder for the load's parts").cause(error)
        })?;
        for (number, part) in manifest.parts.iter().enumerate() {
            let file = copies.path().join(format!("{number}.parquet"));
            self.fetch(&address.file(&part.path), part, Some(&file))
                .await?;
            files.push(file);
        }
        Ok(LocalParts {
            files,
            _copies: Some(copies),
        })
    }

    /// Verifies the parts of a load where they are: their URLs, in the manifest's order, for an engine that reads them there.
    ///
    /// # Errors
    /// As [`local_parts`](Self::local_parts); [`Error::Config`] where the landing area is a folder of this machine.
    pub async fn remote_parts(
        &self,
        address: &LoadAddress,
        manifest: &Manifest,
    ) -> Result<Vec<String>> {
        self.check_manifest(address, manifest)?;
        if self.folder.is_some() {
            return Err(Error::config(format!(
                "the landing area {} is a folder of this machine, which the destination's engine does not see",
                self.location
            ))
            .remedy("set `landing` under [pipeline] to object storage that the engine can read, as in \"s3://bucket/acequia\""));
        }
        let mut urls = Vec::with_capacity(manifest.parts.len());
        for part in &manifest.parts {
            let path = address.file(&part.path);
            self.fetch(&path, part, None).await?;
            urls.push(self.describe_file(&path));
        }
        Ok(urls)
    }

    /// Whether it is a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.folder.is_some()
    }

    /// Verifies a part of a load that is being landed in a [folder](Self::is_local), and returns its file.
    ///
    /// # Errors
    /// As [`local_parts`](Self::local_parts).
    pub async fn local_part(&self, address: &LoadAddress, part: &Part) -> Result<PathBuf> {
        let folder = self.folder.as_ref();
        let folder = folder.ok_or_else(|| Error::internal("the landing area is no folder"))?;
        self.checked(folder, address, part).await
    }

    fn check_manifest(&self, address: &LoadAddress, manifest: &Manifest) -> Result<()> {
        manifest.check(address).map_err(|fault| {
            Error::damaged(format!(
                "the manifest of {}: {fault}",
                self.describe(address)
            ))
        })
    }

    /// The file of a local part.
    async fn checked(
        &self,
        folder: &Folder,
        address: &LoadAddress,
        part: &Part,
    ) -> Result<PathBuf> {
        let path = address.file(&part.path);
        match folder
            .look(&path)
            .map_err(|error| self.unread(&path, error))?
        {
            Found::Nothing => return Err(self.missing(&path)),
            Found::Folder | Found::Foreign => {
                return Err(self.damaged_part(&path, "it is no file"));
            }
            Found::File(bytes) => self.check_size(part, &path, bytes)?,
        }
        let file = folder.path(&path);
        let hashed = file.clone();
        let sha256 = blocking(move || hash_file(&hashed))
            .await?
            .map_err(|error| {
                if error.kind() == std::io::ErrorKind::NotFound {
                    return self.missing(&path);
                }
                Error::landing(format!(
                    "cannot read the part {}",
                    self.describe_file(&path)
                ))
                .cause(error)
            })?;
        self.check_sum(part, &path, &sha256)?;
        Ok(file)
    }

    /// Reads a part, compares it with what the manifest says of it, and copies it into a file where one is named.
    async fn fetch(&self, path: &Path, part: &Part, file: Option<&FilePath>) -> Result<()> {
        let failed = |file: &FilePath, error: std::io::Error| {
            Error::landing(format!("cannot copy a part to {}", file.display())).cause(error)
        };
        let found = self.store.get(path).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => self.missing(path),
            error => self.fault("cannot read the part", path, error),
        })?;
        // A part that is larger than the manifest says is damaged, and need not be read.
        self.check_size(part, path, found.meta.size)?;
        let mut stream = found.into_stream();
        let mut copy = match file {
            Some(file) => {
                let created = tokio::fs::File::create(file).await;
                Some((file, created.map_err(|error| failed(file, error))?))
            }
            None => None,
        };
        let mut hash = Sha256::new();
        while let Some(chunk) = stream
            .try_next()
            .await
            .map_err(|error| self.fault("cannot read the part", path, error))?
        {
            hash.update(&chunk);
            if let Some((file, copy)) = &mut copy {
                let written = copy.write_all(&chunk).await;
                written.map_err(|error| failed(file, error))?;
            }
        }
        if let Some((file, copy)) = &mut copy {
            let flushed = copy.flush().await;
            flushed.map_err(|error| failed(file, error))?;
        }
        self.check_sum(part, path, &hex(&hash.finalize()))
    }

    fn check_size(&self, part: &Part, path: &Path, bytes: u64) -> Result<()> {
        if bytes == part.bytes {
            return Ok(());
        }
        let detail = format!("it has {bytes} bytes and the manifest says {}", part.bytes);
        Err(self.damaged_part(path, &detail))
    }

    fn check_sum(&self, part: &Part, path: &Path, sha256: &str) -> Result<()> {
        if sha256 == part.sha256 {
            return Ok(());
        }
        Err(self.damaged_part(path, "its checksum is not the manifest's"))
    }

    fn damaged_part(&self, path: &Path, detail: &str) -> Error {
        Error::damaged(format!(
            "the part {} is damaged: {detail}",
            self.describe_file(path)
        ))
    }

    fn missing(&self, path: &Path) -> Error {
        Error::damaged(format!("the part {} is missing", self.describe_file(path)))
    }
}

fn hash_file(file: &FilePath) -> std::io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; HASH_BUFFER];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read).filter(|chunk| !chunk.is_empty()) {
            Some(chunk) => hash.update(chunk),
            None => return Ok(hex(&hash.finalize())),
        }
    }
}
