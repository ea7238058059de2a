//! Puts a page in its place: whoever reads the file sees the one before or this one, whole.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::replacement::replace;

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

#[cfg(test)]
mod tests {
    use std::fs;

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
