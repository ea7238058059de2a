//! The manifest: the contents of a load. It is written once, as the last file; without it, the load does not exist. No I/O.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LoadAddress;
use crate::mode::{Amends, Changes, Disposition, Mode};
use crate::names::{LoadId, StreamName};
use crate::position::Position;
use crate::schema::Schema;

/// The manifest's file name in a load's folder.
pub const MANIFEST: &str = "manifest.json";

/// The largest size of a manifest, in bytes: that of some hundred thousand parts.
pub const MAX_MANIFEST: u64 = 64 << 20;

/// The only format version so far.
pub const FORMAT_VERSION: u32 = 1;

/// The contents of a load, and how it is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The pipeline that made the load.
    pub pipeline: String,
    /// The load's stream.
    pub stream: StreamName,
    /// The load's id, which is also its folder's name.
    pub load_id: LoadId,
    /// The destination table's name.
    pub table: String,
    /// How the stream was read.
    pub mode: Mode,
    /// How the load goes into its table.
    pub disposition: Disposition,
    /// The key columns, for dispositions that match rows by key. A `cdc` load without key columns matches whole rows.
    pub primary_key: Vec<String>,
    /// What a `cdc` load does with its changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The stream's load before this one, if there was one. `position_before` is its position, or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<LoadId>,
    /// Whether the table is rebuilt with the source's schema (`--full-refresh`).
    #[serde(default)]
    pub full_refresh: bool,
    /// Whether the source guarantees that keys are unique within the load.
    pub key_is_unique: bool,
    /// The cursor column of an incremental stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The column that is NULL only in rows that mark a record: columns of such a row that are NULL keep the table's value.
    /// `None` if the load has no such rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<String>,
    /// What the load amends, if it is no extract of what is new. Where [its rows say](Amends::has_ops) what becomes of them, its
    /// parts have the column `_acequia_op` after those of the schema: `u` for a row that takes the place of those with its key, `d`
    /// for a key whose rows are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amends: Option<Amends>,
    /// The fingerprint of the stream's configuration. A load of another configuration is not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The columns of the parts.
    pub schema: Schema,
    /// The stream's position before the load. `None` if the load began at the beginning, and rebuilds the table.
    pub position_before: Option<Position>,
    /// The stream's position after the load.
    pub position_after: Option<Position>,
    /// The number of rows in all parts.
    pub rows: u64,
    /// The size of all parts, in bytes.
    pub bytes: u64,
    /// The parts, in the order of their names. Empty if no row was read.
    pub parts: Vec<Part>,
    /// When the extract ended.
    pub extracted_at: DateTime<Utc>,
    /// The version of acequia that wrote the load.
    pub acequia_version: String,
}

/// One Parquet file of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The file's name within the load's folder.
    pub path: String,
    /// The number of rows.
    pub rows: u64,
    /// The file's size, in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Parses a manifest's file.
    ///
    /// # Errors
    /// What is wrong with the file. The message quotes nothing of it, as a position is a cell value.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| {
            let what = if error.is_data() {
                "a value that no manifest has"
            } else {
                "no whole JSON text"
            };
            format!("{what}, line {}, column {}", error.line(), error.column())
        })
    }

    /// Checks that this is the manifest of the load at that address, and that its parts can exist.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, address: &LoadAddress) -> Result<(), String> {
        let of_folder = [
            (
                "pipeline",
                self.pipeline.as_str(),
                address.pipeline.as_str(),
            ),
            ("stream", self.stream.as_str(), address.stream.as_str()),
            ("load_id", self.load_id.as_str(), address.load_id.as_str()),
        ];
        for (key, says, folder) in of_folder {
            if says != folder {
                return Err(format!(
                    "its {key} is `{}`, and the folder is that of `{folder}`",
                    crate::names::shortened(says)
                ));
            }
        }
        let mut names = BTreeSet::new();
        let (mut rows, mut bytes) = (Some(0_u64), Some(0_u64));
        for part in &self.parts {
            let shown = crate::names::shortened(&part.path);
            if !is_part_name(&part.path) {
                return Err(format!(
                    "it names a part `{shown}`, and parts are called part-00000.parquet and so on"
                ));
            }
            if !names.insert(&part.path) {
                return Err(format!("it names the part `{shown}` twice"));
            }
            if !is_sha256(&part.sha256) {
                return Err(format!("the checksum of the part `{shown}` is no SHA-256"));
            }
            rows = rows.and_then(|rows| rows.checked_add(part.rows));
            bytes = bytes.and_then(|bytes| bytes.checked_add(part.bytes));
        }
        for (what, whole, of_parts) in [("rows", self.rows, rows), ("bytes", self.bytes, bytes)] {
            if of_parts != Some(whole) {
                return Err(format!("its {what} are not the sum of its parts'"));
            }
        }
        let mut columns = BTreeSet::new();
        for column in &self.schema.columns {
            if !columns.insert(&column.name) {
                return Err(format!(
                    "it has the column `{}` twice",
                    crate::names::shortened(&column.name)
                ));
            }
        }
        Ok(())
    }

    /// Whether the load rebuilds its table: it is a replacement, or the first load of a stream that has positions. A full
    /// load that adds to its table creates the table only if it does not exist.
    pub fn rebuilds(&self) -> bool {
        match (self.disposition, self.mode) {
            (Disposition::Replace, _) => true,
            (_, Mode::Full) => false,
            (_, Mode::Incremental | Mode::Cdc) => self.position_before.is_none(),
        }
    }

    /// Whether the load would change nothing but the ledger. A full load without rows is not idle: it empties the table. Nor is
    /// one of a range, of which it deletes the rows.
    pub fn is_idle(&self) -> bool {
        let deletes = matches!(self.amends, Some(Amends::Range(_)));
        self.parts.is_empty() && self.mode != Mode::Full && !self.rebuilds() && !deletes
    }

    /// Whether the load follows a ledger whose position is `position`.
    pub fn follows(&self, position: Option<&Position>) -> bool {
        self.mode == Mode::Full || self.position_before.as_ref() == position
    }
}

/// Whether a name is one that the writer gives to parts: a file of the load's folder, and no other.
fn is_part_name(name: &str) -> bool {
    let number = name
        .strip_prefix("part-")
        .and_then(|rest| rest.strip_suffix(".parquet"));
    number.is_some_and(|number| {
        (5..=10).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
