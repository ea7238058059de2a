//! Puts a page in its place: whoever reads the file sees the one before or this one, whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a page to a file, by way of a file beside it that takes its place.
///
/// # Errors
/// [`Error::Destination`] if it cannot be written.
pub fn write(html: &str, path: &Path) -> Result<()> {
    replace(html.as_bytes(), path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "make its folder, or correct `output` under [report]",
            io::ErrorKind::IsADirectory => "correct `output` under [report]: it names a file",
            _ => "see to the permissions and the free space of its folder",
        };
        Error::destination(format!("cannot write the report {}", path.display()))
            .cause(error)
            .remedy(remedy)
            .for_now()
    })
}

fn replace(bytes: &[u8], path: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_the_place_of_the_one_before_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("informe.html");
        for html in ["uno", "dos"] {
            write(html, &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), html);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_dead_process_left_is_no_hindrance_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("informe.html");
        let beside = folder
            .path()
            .join(format!(".informe.html.{}", std::process::id()));
        let victim = folder.path().join("ajeno");
        fs::write(&victim, "ajeno").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&victim, &beside).unwrap();
        write("uno", &path).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "ajeno");
        assert_eq!(fs::read_to_string(&path).unwrap(), "uno");
    }

    #[test]
    fn a_folder_that_is_missing_or_in_the_way_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let report = write("x", &folder.path().join("no/informe.html"))
            .unwrap_err()
            .report();
        assert!(report.contains("make its folder"), "{report}");
        let report = write("x", folder.path()).unwrap_err().report();
        assert!(report.contains("it names a file"), "{report}");
    }
}
