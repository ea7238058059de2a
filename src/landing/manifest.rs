//! The manifest: what a load consists of. Written last, once; a load without one does not exist. No I/O.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LoadAddress;
use crate::mode::{Changes, Disposition, Mode};
use crate::names::{LoadId, StreamName};
use crate::position::Position;
use crate::schema::Schema;

/// The manifest's file name in a load's folder.
pub const MANIFEST: &str = "manifest.json";

/// The most bytes that a manifest may have: some hundred thousand parts.
pub const MAX_MANIFEST: u64 = 64 << 20;

/// The only format version so far.
pub const FORMAT_VERSION: u32 = 1;

/// What a load consists of, and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The pipeline that made it.
    pub pipeline: String,
    /// The stream that it belongs to.
    pub stream: StreamName,
    /// Its id, also its folder's name.
    pub load_id: LoadId,
    /// The destination table's name.
    pub table: String,
    /// How it was read.
    pub mode: Mode,
    /// How it goes into its table.
    pub disposition: Disposition,
    /// The key columns, for dispositions that match rows by key. A `cdc` load without any matches whole rows.
    pub primary_key: Vec<String>,
    /// What a `cdc` load does with its changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The stream's load before this one, where there was one: what `position_before` is counted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<LoadId>,
    /// Whether the table is made anew with the source's schema, whatever it was (`--full-refresh`).
    #[serde(default)]
    pub full_refresh: bool,
    /// Whether the source itself guarantees that no key comes twice within the load.
    pub key_is_unique: bool,
    /// The cursor column of an incremental stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The column that is NULL only in rows that mark a record: what such a row has no value for stays as the table has
    /// it. None where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<String>,
    /// What tells the stream's configuration from another, where it was landed under one: a load of another is not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The columns of the parts.
    pub schema: Schema,
    /// The stream's position when the load began; none when it began at the beginning, and the table is made anew.
    pub position_before: Option<Position>,
    /// The stream's position once it is loaded.
    pub position_after: Option<Position>,
    /// Rows in all parts.
    pub rows: u64,
    /// Bytes of all parts.
    pub bytes: u64,
    /// The parts, in the order of their names. None where no row was read.
    pub parts: Vec<Part>,
    /// When the extract ended.
    pub extracted_at: DateTime<Utc>,
    /// The version of acequia that wrote it.
    pub acequia_version: String,
}

/// One Parquet file of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// File name within the load's folder.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Reads a manifest's file.
    ///
    /// # Errors
    /// What is the matter with it, without what it says: a position is a cell value.
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

    /// Whether it is the manifest of the load at that address, and what it says of its parts can be.
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

    /// Whether the load makes its table anew, whatever that was: a replacement, or the first load of a stream that has
    /// positions. A full load that adds to its table makes it only where there is none yet.
    pub fn rebuilds(&self) -> bool {
        match (self.disposition, self.mode) {
            (Disposition::Replace, _) => true,
            (_, Mode::Full) => false,
            (_, Mode::Incremental | Mode::Cdc) => self.position_before.is_none(),
        }
    }

    /// Whether loading it would change nothing but the ledger. A full load without rows says that there are none.
    pub fn is_idle(&self) -> bool {
        self.parts.is_empty() && self.mode != Mode::Full && !self.rebuilds()
    }

    /// Whether the load follows on a ledger that stands at `position`.
    pub fn follows(&self, position: Option<&Position>) -> bool {
        self.mode == Mode::Full || self.position_before.as_ref() == position
    }
}

/// Whether a name is one that a writer gives to parts: it is a file of the load's folder and no other.
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
