//! Positions in the write-ahead log. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shape::TableShape;

/// The position of a stream of changes: all transactions that were committed before `lsn` are applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsnPosition {
    /// The first position in the write-ahead log that has not been read.
    pub lsn: Lsn,
    /// The slot that keeps the log after the position.
    pub slot: String,
    /// The server's `system_identifier`, which distinguishes it from another server with a slot of the same name.
    pub system: String,
    /// The table's OID. A different OID means that the table was dropped and made anew.
    pub relation: u32,
    /// The OID of the table's membership in the publication. A different OID means that changes were not published for a
    /// while.
    pub membership: Option<u32>,
    /// The OIDs of the table's partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<u32>,
    /// The server's timeline. A restored copy and a promoted standby begin a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// When the server was started. A server with the same time has not been replaced by an older copy of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// The last transaction that was read. A server whose log has it is the server that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRead>,
    /// The table's shape in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<TableShape>,
}

/// The last transaction that a stream of changes read of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRead {
    /// The LSN of the last transaction's commit that changed the table or, for a snapshot, the snapshot's LSN.
    pub lsn: Lsn,
    /// When the transaction was committed: microseconds since 2000-01-01 UTC. `None` for a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
}

/// A position in PostgreSQL's write-ahead log, written as the server writes it: `16/B374D848`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

/// A text that is not an LSN.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a position in the write-ahead log")]
pub struct BadLsn(String);

impl Lsn {
    /// The position as a 64-bit integer.
    pub fn bigint(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl LsnPosition {
    /// The highest LSN up to which a server's slot may be confirmed for the stream. If the server was restarted, its log
    /// may differ after the last transaction that was read, and the slot must keep that transaction as evidence.
    pub fn durable(&self, started: &str) -> Lsn {
        match (&self.started, self.last) {
            (Some(known), Some(last)) if known != started => {
                let kept = last.lsn.0.saturating_sub(u64::from(last.time.is_none()));
                self.lsn.min(Lsn(kept))
            }
            _ => self.lsn,
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl std::str::FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let parts = text.split_once('/').and_then(|(high, low)| {
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some((u64::from(high) << 32) | u64::from(low))
        });
        parts.map(Self).ok_or_else(|| BadLsn(text.to_owned()))
    }
}

impl TryFrom<String> for Lsn {
    type Error = BadLsn;

    fn try_from(text: String) -> Result<Self, BadLsn> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}
