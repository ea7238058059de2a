//! What tells a copy of a destination from its original: the place that the ledger was made at. No I/O, but for the
//! machine's own id.
//!
//! Whoever copies a database copies its id with it, and two destinations of one id take each other's loads for their own.
//! A ledger that finds itself at another place therefore draws a new id. Where it was moved and not copied, nothing is lost
//! by that: what was landed for the id before is left where it is, and its rows are read again.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::names::hex;

/// The table of one row that has the place.
pub(super) const PLACE: &str = "_acequia_place";

/// Where a file is: on which machine, as far as that can be told, and its full path.
pub(crate) fn of_file(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    format!("{} on machine {}", path.display(), machine())
}

/// The machine's id as it may be kept anywhere: systemd's own is not to leave it (manual page machine-id(5)).
fn machine() -> String {
    let Ok(id) = std::fs::read_to_string("/etc/machine-id") else {
        return "unknown".to_owned();
    };
    let mut digest = hex(&Sha256::digest(format!("acequia {}", id.trim())));
    digest.truncate(8);
    digest
}

/// What is said of a ledger that was found at another place.
pub(super) fn moved(from: &str, to: &str) -> String {
    format!(
        "the destination was copied or moved from {from} to {to}: it is taken for another one from now on. Loads that were \
         landed for the one before are left to it, and what this one lacks of them is read from the source"
    )
}
