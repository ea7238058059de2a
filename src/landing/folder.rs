//! A landing area that is a folder: its files are looked at, moved and removed without a symbolic link being followed.
//!
//! Others may be able to write there. A link in the place of a stream, a load or a part would have a run read, write or
//! remove files that are not the landing area's. Only the landing area's own path, which the configuration gives, may lead
//! over links.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use object_store::path::Path;

use super::manifest::MANIFEST;

/// The folder, without links in its path.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or not even the folder that it would be in.
    Nothing,
    /// A folder.
    Folder,
    /// A file of so many bytes.
    File(u64),
    /// A link, or below one; or a device, a pipe or a socket.
    Foreign,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// Where a path of the landing area is in the file system.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.0.join(path.as_ref())
    }

    /// What stands there.
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

    /// The names in a folder, with what stands there. Empty where there is no folder.
    pub(super) fn entries(&self, path: &Path) -> io::Result<BTreeMap<String, Found>> {
        let mut entries = BTreeMap::new();
        let listing = match fs::read_dir(self.path(path)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(error) => return Err(error),
        };
        for entry in listing {
            let entry = entry?;
            // A name that is no text is none of acequia's.
            if let Ok(name) = entry.file_name().into_string() {
                entries.insert(name, look_at(&entry.path())?);
            }
        }
        Ok(entries)
    }

    /// Removes a load's folder, its manifest first: without it, what remains after a crash is an unfinished extract. Of a
    /// link, the link goes.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let folder = self.path(path);
        if look_at(&folder)? == Found::Folder {
            unless_missing(fs::remove_file(folder.join(MANIFEST)))?;
        }
        unless_missing(fs::remove_dir_all(folder))
    }

    /// Moves a load's folder to another place, in one step.
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
