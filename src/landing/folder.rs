//! A landing area that is a folder: its files are inspected, moved and removed without following symbolic links.
//!
//! Other users may be able to write to the folder. If a stream, a load or a part were replaced by a link, a run would read,
//! write or remove files outside the landing area. Only the landing area's own path, which the configuration gives, may
//! contain links.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use object_store::path::Path;

use super::manifest::MANIFEST;

/// The folder. Its path has no links.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// The kind of an entry at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no entry, or not even its folder.
    Nothing,
    /// A folder.
    Folder,
    /// A file of that many bytes.
    File(u64),
    /// A link, or an entry below one; or a device, a pipe or a socket.
    Foreign,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// The path in the file system of a path in the landing area.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.0.join(path.as_ref())
    }

    /// The kind of the entry at a path.
    pub(super) fn look(&self, path: &Path) -> io::Result<Found> {
        let mut place = self.0.clone();
        let mut found = Found::Folder;
        for part in path.parts() {
            if found != Found::Folder {
                return Ok(match found {
                    Found::Foreign => Found::Foreign,
                    _ => Found::Nothing,
                });
            }
            place.push(part.as_ref());
            found = look_at(&place)?;
        }
        Ok(found)
    }

    /// The names in a folder, with the kind of each entry. Empty if the folder does not exist.
    pub(super) fn entries(&self, path: &Path) -> io::Result<BTreeMap<String, Found>> {
        let mut entries = BTreeMap::new();
        let listing = match fs::read_dir(self.path(path)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(error) => return Err(error),
        };
        for entry in listing {
            let entry = entry?;
            // A name that is not UTF-8 was not written by acequia.
            if let Ok(name) = entry.file_name().into_string() {
                entries.insert(name, look_at(&entry.path())?);
            }
        }
        Ok(entries)
    }

    /// Removes a load's folder, the manifest first: without it, what remains after a crash is an unfinished extract. If the
    /// folder is a link, only the link is removed.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let folder = self.path(path);
        if look_at(&folder)? == Found::Folder {
            unless_missing(fs::remove_file(folder.join(MANIFEST)))?;
        }
        unless_missing(fs::remove_dir_all(folder))
    }

    /// Moves a load's folder to another path, in one step.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = self.path(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(self.path(from), to)
    }
}

fn look_at(place: &FilePath) -> io::Result<Found> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => Ok(Found::Folder),
        Ok(found) if found.is_file() => Ok(Found::File(found.len())),
        Ok(_) => Ok(Found::Foreign),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
