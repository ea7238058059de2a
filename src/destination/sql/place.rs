//! The place of a ledger, which distinguishes a copy of a destination from its original. No I/O, except for the machine's
//! own id.
//!
//! A copy of a database has the id of its original, and two destinations with one id would take each other's loads for
//! their own. Therefore a ledger that finds itself at another place draws a new id. If the database was moved and not
//! copied, nothing is lost by that: loads that were landed for the old id stay where they are, and their rows are read
//! again.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::names::hex;

/// The table of one row that has the place.
pub(super) const PLACE: &str = "_acequia_place";

/// The place of a file: its machine, as far as that can be identified, and its full path.
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
