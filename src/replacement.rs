//! Puts a file in its place: whoever reads it sees the one before or this one, whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file, by way of one beside it that takes its place.
///
/// # Errors
/// It cannot be written, or the path is a folder's.
pub(crate) fn replace(bytes: &[u8], path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // Two processes that write the same page each have a file of their own.
    let beside = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = write_new(bytes, &beside).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it is of no use; if it cannot be removed, the first error says more.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// The file has the rights that the process' mask leaves.
fn write_new(bytes: &[u8], path: &Path) -> io::Result<()> {
    let mut file = match File::create_new(path) {
        // Of a process that died with the same number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::create_new(path)?
        }
        created => created?,
    };
    file.write_all(bytes)?;
    file.sync_all()
}
