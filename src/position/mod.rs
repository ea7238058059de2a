//! The position of a stream: typed cursor values, their order, their arithmetic, and ranges of them. No I/O.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

mod cursor;
mod lsn;
mod range;

pub(crate) use cursor::timestamptz;
pub use cursor::{CursorPosition, CursorValue, Lag};
pub use lsn::{BadLsn, LastRead, Lsn, LsnPosition};
pub use range::{AskedRange, ValueRange};

/// The position of a stream in its source. It is stored only in the destination's `_acequia_state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Position {
    /// An incremental stream.
    Cursor(CursorPosition),
    /// An incremental stream of HubSpot.
    HubSpot(HubSpotPosition),
    /// A stream of changes.
    Lsn(LsnPosition),
}

/// The position of an incremental stream of HubSpot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSpotPosition {
    /// The time up to which changes have been read.
    #[serde(flatten)]
    pub cursor: CursorPosition,
    /// The ids of archived records: archiving or restoring a record changes nothing else by which it could be found.
    pub archived: String,
    /// When the ids of all records were last compared with those of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<DateTime<Utc>>,
    /// When all records were last read, changed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reread: Option<DateTime<Utc>>,
    /// A fingerprint of the properties that were read, of those that there were at that time. `None` in positions of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<String>,
}

impl Position {
    /// The cursor position. `None` for a stream of changes.
    pub fn cursor(&self) -> Option<&CursorPosition> {
        match self {
            Self::Cursor(cursor) => Some(cursor),
            Self::HubSpot(position) => Some(&position.cursor),
            Self::Lsn(_) => None,
        }
    }

    /// The position in the write-ahead log. `None` for a stream that is read by a cursor.
    pub fn lsn(&self) -> Option<&LsnPosition> {
        match self {
            Self::Lsn(position) => Some(position),
            Self::Cursor(_) | Self::HubSpot(_) => None,
        }
    }
}

impl Position {
    /// Whether the position should replace another although nothing was loaded between them. A later time of HubSpot alone
    /// is no reason: it is only the time of the run. Nor are later clocks of a source or other transactions in progress there:
    /// the next run reads the same rows from either position.
    pub fn is_news_after(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::HubSpot(before), Self::HubSpot(after)) => !before.remembers_as(after),
            (Self::Cursor(before), Self::Cursor(after)) => !before.stands_as(after),
            (before, after) => before != after,
        }
    }

    /// The position without what it remembers of the source, for reports.
    #[must_use]
    pub fn brief(&self) -> Self {
        let mut brief = self.clone();
        match &mut brief {
            Self::Cursor(cursor) => {
                cursor.seen = None;
                cursor.boundary = None;
                cursor.compared = None;
            }
            Self::HubSpot(_) => {}
            Self::Lsn(position) => {
                position.started = None;
                position.last = None;
                position.shape = None;
            }
        }
        brief
    }
}

impl HubSpotPosition {
    /// Whether another position is the same, except for the time up to which changes were read.
    fn remembers_as(&self, other: &Self) -> bool {
        let times = |position: &Self| (position.compared, position.reread);
        let texts = |position: &Self| (position.archived.clone(), position.properties.clone());
        times(self) == times(other) && texts(self) == texts(other)
    }
}
