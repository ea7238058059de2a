//! Where an incremental stream begins, and its position afterwards. No I/O.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::ids::IdSet;
use super::records::{Compare, Start};
use crate::error::{Error, Result};
use crate::names::digest;
use crate::position::{CursorPosition, CursorValue, HubSpotPosition, Position};

/// How far before the last position each incremental run begins, unless the stream says otherwise: search finds a change
/// only minutes later.
pub const LOOKBACK: TimeDelta = TimeDelta::minutes(10);
/// How far before its own beginning a run leaves the position: changes of that moment may be in progress.
const HORIZON: TimeDelta = TimeDelta::minutes(1);
/// The difference between clocks from which a run warns.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);
/// How much of an interval may be left when it counts as over: runs begin a little sooner or later each day.
const EARLY: i32 = 20;

/// The state of an incremental stream: where it begins, what this run compares and reads again, and its position
/// afterwards.
#[derive(Debug)]
pub struct Incremental {
    /// The column that holds the time of a row's last change.
    pub column: String,
    /// The time from which the first run reads. `None` for the beginning.
    pub initial: Option<DateTime<Utc>>,
    /// How far before its position a run begins.
    pub lookback: TimeDelta,
    /// When the run began, by HubSpot's clock.
    pub began: DateTime<Utc>,
    /// How often ids are compared.
    pub compare: Option<TimeDelta>,
    /// How often all records are read again.
    pub reread: Option<TimeDelta>,
    /// Whether ids are compared in this run.
    pub compares: bool,
    /// Whether all records are read again in this run.
    pub rereads: bool,
    /// When ids were last compared.
    pub compared: Option<DateTime<Utc>>,
    /// When all records were last read.
    pub reread_at: Option<DateTime<Utc>>,
    /// The properties that are read.
    pub properties: Vec<ReadProperty>,
}

/// A property that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadProperty {
    pub name: String,
    /// When it was made: microseconds since 1970. `None` for HubSpot's own.
    pub made: Option<i64>,
}

impl Incremental {
    /// Whether ids must be compared, and whether all records must be read again.
    pub fn due(&self, position: &HubSpotPosition) -> (bool, bool) {
        let due = |every: Option<TimeDelta>, last: Option<DateTime<Utc>>| {
            let Some(every) = every else {
                return false;
            };
            last.is_none_or(|last| self.began - last + every / EARLY >= every)
        };
        let reads_others = self.reads_others(position);
        (
            // A comparison also finds what a version that did not compare has lost, and what a position ahead of all clocks
            // hides.
            due(self.compare, position.compared) || self.is_ahead(position),
            due(self.reread, position.reread) || reads_others,
        )
    }

    /// Whether the properties that are read are not those of the run that left this position: rows of records that have not changed
    /// since would lack their values. One that was made since has none yet in such records.
    pub fn reads_others(&self, position: &HubSpotPosition) -> bool {
        let CursorValue::TimestampTz(until) = position.cursor.resume else {
            return false;
        };
        let known = position.properties.as_ref();
        known.is_some_and(|known| *known != self.fingerprint(until))
    }

    /// A fingerprint of the properties that there were at that time, microseconds since 1970.
    fn fingerprint(&self, until: i64) -> String {
        let was_there = |property: &&ReadProperty| property.made.is_none_or(|made| made <= until);
        let mut names: Vec<&str> = self
            .properties
            .iter()
            .filter(was_there)
            .map(|property| property.name.as_str())
            .collect();
        names.sort_unstable();
        digest(names)
    }

    fn is_ahead(&self, position: &HubSpotPosition) -> bool {
        match position.cursor.resume {
            CursorValue::TimestampTz(micros) => {
                micros > (self.began + CLOCKS_APART).timestamp_micros()
            }
            _ => false,
        }
    }

    /// Where an extract begins that continues at a position.
    pub fn go_on(&mut self, position: &HubSpotPosition, ids: &[String]) -> Result<Start> {
        let CursorValue::TimestampTz(micros) = position.cursor.resume else {
            return Err(Error::data("the stream's position is not a time")
                .remedy("run `acequia run STREAM --full-refresh` once"));
        };
        let archived = IdSet::from_text(&position.archived).ok_or_else(|| {
            Error::data("the stream's position names archived records in a way that cannot be read")
                .remedy("run `acequia run STREAM --full-refresh` once")
        })?;
        let since = micros
            .div_euclid(1_000)
            .saturating_sub(self.lookback.num_milliseconds());
        (self.compares, self.rereads) = self.due(position);
        // A run that reads all records again sees all ids.
        self.compares |= self.rereads;
        self.rereads |= self.compares && (position.compared.is_none() || self.is_ahead(position));
        (self.compared, self.reread_at) = (position.compared, position.reread);
        let compare = self.compares.then(|| {
            let mut known: Vec<u64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
            known.sort_unstable();
            let mut set = IdSet::default();
            for id in known {
                set.insert(id);
            }
            let last = position.compared.filter(|_| !self.rereads);
            Box::new(Compare {
                since: last.map(|last| (last - HORIZON - self.lookback).timestamp_millis()),
                known: set,
                floor: self.initial.map(|initial| initial.timestamp_millis()),
                now: self.began.to_rfc3339_opts(SecondsFormat::Millis, true),
            })
        });
        Ok(Start::Since {
            since,
            archived: Some(archived),
            compare,
        })
    }

    /// The stream's position after everything that was read is loaded.
    pub fn position(self, archived: String) -> Position {
        let until = (self.began - HORIZON).timestamp_micros();
        let properties = self.fingerprint(until);
        Position::HubSpot(HubSpotPosition {
            cursor: CursorPosition {
                column: self.column,
                value: CursorValue::TimestampTz(until),
                resume: CursorValue::TimestampTz(until),
                seen: None,
                boundary: None,
                compared: None,
            },
            archived,
            compared: if self.compares {
                Some(self.began)
            } else {
                self.compared
            },
            reread: if self.rereads {
                Some(self.began)
            } else {
                self.reread_at
            },
            properties: Some(properties),
        })
    }
}

/// When the run began. A clock that is ahead would move the position beyond changes that are still to come, so the earlier
/// of HubSpot's and this machine's clock counts.
pub fn judge_clock(
    date: Option<DateTime<Utc>>,
    ours: DateTime<Utc>,
    recommendations: &mut Vec<(String, String)>,
) -> DateTime<Utc> {
    let Some(theirs) = date else {
        recommendations.push((
            "HubSpot's answers do not tell the time: what changed within a day is read again in each run".to_owned(),
            "where a proxy stands between, have it leave the header `Date` as it is".to_owned(),
        ));
        return ours - TimeDelta::days(1);
    };
    let ahead = theirs - ours;
    if ahead > CLOCKS_APART {
        recommendations.push((
            format!(
                "HubSpot's clock is {} s ahead of this machine's: the earlier of the two is gone by, and more is read \
                 again than need be",
                ahead.num_seconds()
            ),
            "set this machine's clock".to_owned(),
        ));
    }
    theirs.min(ours)
}
