//! Identifiers with a format: a stream's name, a load's id, a run's id, a destination's id.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest name that PostgreSQL keeps whole, in bytes (manual, section 4.1.1).
pub(crate) const MAX_NAME: usize = 63;

/// A stream's name: also the name of its folder in the landing area and, by default, of its table.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", transform = stream_name_pattern)]
pub struct StreamName(String);

/// The pattern of a [`StreamName`], as far as a pattern can express it.
fn stream_name_pattern(schema: &mut schemars::Schema) {
    schema.insert(
        "pattern".to_owned(),
        "^[A-Za-z_][A-Za-z0-9_-]{0,62}$".into(),
    );
}

/// A text that is not a stream's name.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` cannot name a stream: use 1 to 63 of the letters a to z and A to Z, digits, `_` and `-`, beginning with a letter or `_`, and not \
     `_acequia…`"
)]
pub struct BadStreamName(String);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = BadStreamName;

    fn from_str(text: &str) -> Result<Self, BadStreamName> {
        let starts_well = text
            .chars()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        let all_well = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if starts_well && all_well && text.len() <= MAX_NAME && !text.starts_with("_acequia") {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadStreamName(shortened(text)))
        }
    }
}

impl TryFrom<String> for StreamName {
    type Error = BadStreamName;

    fn try_from(text: String) -> Result<Self, BadStreamName> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a destination: eight hexadecimal digits, drawn when the ledger is created and kept in it. It differs from the
/// id of another destination that was at the same place before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DestinationId(String);

impl DestinationId {
    /// Draws an id.
    pub fn random() -> Self {
        Self(random_hex(8))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DestinationId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if is_hex(text, 8) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId(shortened(text)))
        }
    }
}

/// The id of a load: when the load began (UTC, milliseconds), for which destination, and four random digits, as in
/// `20261124T031300123-5f3a9c01-7b2e`.
///
/// The ids of one destination sort by time. As only one run at a time holds a destination, a folder of that destination
/// without a manifest was left by a dead run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LoadId(String);

/// A text that is not an id of a load or of a destination.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id")]
pub struct BadId(String);

/// The time in a load's id: `20261124T031300123`.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%S%3f";

/// The last year that an id can express.
const MAX_YEAR: i32 = 9999;

impl LoadId {
    /// Draws the id of a load that begins now.
    pub fn new(destination: &DestinationId) -> Self {
        Self::at(Utc::now(), destination)
    }

    /// Draws the id of a load that begins now, after another load: the ids sort in that order even if the clock was set
    /// back.
    pub fn after(previous: Option<&Self>, destination: &DestinationId) -> Self {
        let now = Utc::now();
        let next = previous
            .and_then(Self::began_at)
            .and_then(|time| time.checked_add_signed(TimeDelta::milliseconds(1)))
            .filter(|next| next.year() <= MAX_YEAR);
        Self::at(next.map_or(now, |next| next.max(now)), destination)
    }

    fn at(time: DateTime<Utc>, destination: &DestinationId) -> Self {
        Self(format!(
            "{}-{}-{}",
            time.format(TIME_FORMAT),
            destination.as_str(),
            random_hex(4)
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the load was made for that destination.
    pub fn is_for(&self, destination: &DestinationId) -> bool {
        self.destination() == destination.as_str()
    }

    /// The id of the destination that the load was made for.
    pub fn destination(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }

    /// When the load began.
    pub fn began_at(&self) -> Option<DateTime<Utc>> {
        let time = self.0.split('-').next()?;
        NaiveDateTime::parse_from_str(time, TIME_FORMAT)
            .ok()
            .map(|naive| naive.and_utc())
    }
}

impl FromStr for LoadId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let parts: Vec<&str> = text.split('-').collect();
        match parts.as_slice() {
            [time, destination, random]
                if NaiveDateTime::parse_from_str(time, TIME_FORMAT).is_ok()
                    && is_hex(destination, 8)
                    && is_hex(random, 4) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(BadId(shortened(text))),
        }
    }
}

impl TryFrom<String> for LoadId {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<LoadId> for String {
    fn from(id: LoadId) -> Self {
        id.0
    }
}

impl fmt::Display for LoadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a run: when it began (UTC, milliseconds) and eight random digits, as in `20261124T031300123-5f3a9c01`. Ids sort by
/// time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// Draws the id of a run that begins now.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let now = Utc::now().format(TIME_FORMAT);
        Self(format!("{now}-{}", random_hex(8)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        match text.split_once('-') {
            Some((time, random))
                if NaiveDateTime::parse_from_str(time, TIME_FORMAT).is_ok()
                    && is_hex(random, 8) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(BadId(shortened(text))),
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many characters of a text from outside a message shows at most.
const SHOWN: usize = 80;

/// Shortens a text from outside for a message: the text may have any length.
pub(crate) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Bytes in hexadecimal, two lower-case digits each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// A short digest of texts: 16 hexadecimal digits.
pub(crate) fn digest<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text);
        hash.update([0]);
    }
    let mut digits = hex(&hash.finalize());
    digits.truncate(16);
    digits
}

fn random_hex(digits: usize) -> String {
    uuid::Uuid::new_v4()
        .simple()
        .to_string()
        .chars()
        .take(digits)
        .collect()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_id_tells_its_destination_and_time() {
        let destination = DestinationId::random();
        let id = LoadId::new(&destination);
        assert!(id.is_for(&destination));
        assert!(!id.is_for(&"00000000".parse().unwrap()));
        assert!(id.began_at().is_some());
        assert_eq!(id.as_str().parse::<LoadId>().unwrap(), id);
    }

    #[test]
    fn ids_sort_as_their_loads_follow_on_each_other_whatever_the_clock_does() {
        let destination = DestinationId::random();
        let ahead: LoadId = "20991231T235959999-5f3a9c01-7b2e".parse().unwrap();
        let next = LoadId::after(Some(&ahead), &destination);
        assert!(next > ahead, "{next}");
        assert!(LoadId::after(None, &destination) < ahead);
        // If there is no later time, the clock's time is used.
        let last: LoadId = "99991231T235959999-5f3a9c01-7b2e".parse().unwrap();
        let next = LoadId::after(Some(&last), &destination);
        assert_eq!(next.as_str().parse::<LoadId>().unwrap(), next);
    }

    #[test]
    fn a_run_id_is_read_as_it_is_written_and_nothing_else_is() {
        let id = RunId::new();
        assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
        for wrong in [
            "",
            "20991231T235959999",
            "../../x-5f3a9c01",
            "20991231T235959999-5f3a9c0/",
        ] {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_could_leave_its_folder_or_meet_the_ledger_is_refused() {
        for wrong in [
            "",
            "..",
            "a/b",
            "1a",
            "_acequia_loads",
            "á",
            &"x".repeat(64),
        ] {
            assert!(wrong.parse::<StreamName>().is_err(), "{wrong}");
        }
        for right in ["ventas", "_x", "Ventas-2026"] {
            assert!(right.parse::<StreamName>().is_ok(), "{right}");
        }
    }
}
