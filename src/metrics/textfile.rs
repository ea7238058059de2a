//! A file for `node_exporter`'s textfile collector, which takes the place of the one before in one step.

use std::io::{self, Read as _};
use std::path::Path;

use super::samples::Samples;
use crate::error::{Error, Result};
use crate::replacement::replace;

/// The most that is read of the file before, in bytes.
const MOST: u64 = 16 << 20;

/// Writes metrics to a file. What the file says of streams that were not measured now stays in it.
///
/// # Errors
/// [`Error::Config`] if it cannot be written.
pub(crate) fn write(samples: &Samples, path: &Path) -> Result<()> {
    let text = samples.text_after(&before(path).unwrap_or_default());
    replace(text.as_bytes(), path).map_err(|error| {
        Error::config(format!(
            "[metrics] textfile: {} cannot be written",
            path.display()
        ))
        .cause(error)
        .remedy("make its folder, and see to its permissions")
    })
}

fn before(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MOST)
        .read_to_string(&mut text)?;
    Ok(text)
}
