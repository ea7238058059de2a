//! Cursor values, their order, and their arithmetic. No I/O.

use std::cmp::Ordering;
use std::fmt;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exact::decimal;
use crate::row_set::RowSet;
use crate::schema::ColumnType;
use crate::seen::Seen;

/// The position of an incremental stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorPosition {
    /// The cursor column.
    pub column: String,
    /// The highest cursor value that was landed.
    pub value: CursorValue,
    /// The closed lower bound of the next extract: `value`, or a lower value if a transaction that was still running could
    /// yet commit rows below it. The lowest value of the type stands for the beginning.
    pub resume: CursorValue,
    /// The source's identity and clocks at that time. `None` for HubSpot, and in positions of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// The rows from `resume` on that were landed, unless there are too many: an extract that begins there and reads exactly
    /// these rows has nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<RowSet>,
    /// When the keys of the source were last compared with those of the table, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<DateTime<Utc>>,
}

/// A value of a cursor column, ordered as PostgreSQL orders it (text: by bytes, `COLLATE "C"`).
///
/// Dates and timestamps are those of the years 1 to 9999. Infinity and other values are never a position, so rows that have
/// them are read again each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TypedText", into = "TypedText")]
pub enum CursorValue {
    /// int16, int32, int64.
    Integer(i64),
    /// decimal: unscaled value and scale.
    Decimal(i128, u8),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 00:00:00, without a zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz(i64),
    /// Text.
    Text(String),
    /// UUID.
    Uuid(uuid::Uuid),
}

/// The JSON form of a cursor value: `{"type": "timestamptz", "value": "2026-11-24T03:13:00.123456Z"}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TypedText {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

/// How far below the stored position an extract begins, so that it reads late commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// For dates and timestamps (whole days count for dates, rounded up).
    Time(TimeDelta),
    /// For integers and decimals.
    Units(i64),
}

impl Lag {
    /// Whether an extract begins at its position all the same.
    pub fn is_zero(self) -> bool {
        match self {
            Self::Time(lag) => lag.is_zero(),
            Self::Units(lag) => lag == 0,
        }
    }
}

impl CursorPosition {
    /// Whether a later position leads to the same next extract.
    pub(super) fn stands_as(&self, later: &Self) -> bool {
        let same_source = match (&self.seen, &later.seen) {
            (Some(seen), Some(later)) => seen.stands_as(later),
            (seen, later) => seen == later,
        };
        let place = |position: &Self| Self {
            seen: None,
            ..position.clone()
        };
        same_source && place(self) == place(later)
    }
}

impl CursorValue {
    /// Whether a column of that type can be a cursor.
    pub fn supports(column_type: &ColumnType) -> bool {
        matches!(
            column_type,
            ColumnType::Int16
                | ColumnType::Int32
                | ColumnType::Int64
                | ColumnType::Decimal { .. }
                | ColumnType::Date
                | ColumnType::Timestamp
                | ColumnType::TimestampTz
                | ColumnType::Text
                | ColumnType::Uuid
        )
    }

    /// Parses what people have written for a column of that type. `what` says what it was written for.
    ///
    /// # Errors
    /// The text is no value of the type, or the type has no order that both sides know.
    pub fn parse(what: &str, text: &str, column_type: &ColumnType) -> Result<Self> {
        let wrong = || {
            Error::config(format!(
                "{what} `{text}` is not a value of type {column_type}"
            ))
            .remedy(match column_type {
                ColumnType::Date => "write it as 2024-01-31",
                ColumnType::Timestamp => "write it as 2024-01-31T08:00:00",
                ColumnType::TimestampTz => "write it as 2024-01-31T08:00:00Z, with its zone",
                ColumnType::Decimal { .. } => {
                    "write it as 12.5, with no more decimals than the column has"
                }
                ColumnType::Uuid => "write it as 5f3a9c01-7b2e-4c1d-9e0f-0123456789ab",
                _ => "write it as 1000",
            })
        };
        match column_type {
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => {
                text.parse().map(Self::Integer).map_err(|_| wrong())
            }
            ColumnType::Decimal { scale, .. } => parse_decimal(text, *scale).ok_or_else(wrong),
            ColumnType::Date => parse_date(text).ok_or_else(wrong),
            ColumnType::Timestamp => parse_timestamp(text).ok_or_else(wrong),
            ColumnType::TimestampTz => parse_timestamptz(text).ok_or_else(wrong),
            ColumnType::Text => Ok(Self::Text(text.to_owned())),
            ColumnType::Uuid => text.parse().map(Self::Uuid).map_err(|_| wrong()),
            other => Err(Error::config(format!(
                "a column of type {other} cannot be a cursor"
            ))
            .remedy(
                "choose a column of integers, numeric, date, timestamp, timestamptz, text or uuid",
            )),
        }
    }

    /// The lowest value of the same type, which stands for the beginning.
    #[must_use]
    pub fn lowest(&self) -> Self {
        match self {
            Self::Integer(_) => Self::Integer(i64::MIN),
            Self::Decimal(_, scale) => Self::Decimal(1 - 10_i128.pow(38), *scale),
            Self::Date(_) => first_day(),
            Self::Timestamp(_) => Self::Timestamp(first_moment()),
            Self::TimestampTz(_) => Self::TimestampTz(first_moment()),
            Self::Text(_) => Self::Text(String::new()),
            Self::Uuid(_) => Self::Uuid(uuid::Uuid::nil()),
        }
    }

    /// Whether a column of that type has such values.
    pub fn is_of(&self, column_type: &ColumnType) -> bool {
        matches!(
            (self, column_type),
            (
                Self::Integer(_),
                ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64
            ) | (Self::Decimal(..), ColumnType::Decimal { .. })
                | (Self::Date(_), ColumnType::Date)
                | (Self::Timestamp(_), ColumnType::Timestamp)
                | (Self::TimestampTz(_), ColumnType::TimestampTz)
                | (Self::Text(_), ColumnType::Text)
                | (Self::Uuid(_), ColumnType::Uuid)
        )
    }

    /// A date, if it lies in the years 1 to 9999.
    pub fn date(days: i32) -> Option<Self> {
        let date = date_of(days)?;
        (1..=9999)
            .contains(&date.year())
            .then_some(Self::Date(days))
    }

    /// Whether a number of microseconds since 1970 lies in the years 1 to 9999.
    pub fn is_calendar_micros(micros: i64) -> bool {
        DateTime::from_timestamp_micros(micros)
            .is_some_and(|time| (1..=9999).contains(&time.year()))
    }

    /// The value that lies `lag` below.
    pub fn minus(&self, lag: Lag) -> Result<Self> {
        let earlier = match (self, lag) {
            (Self::Integer(value), Lag::Units(units)) => Self::Integer(value.saturating_sub(units)),
            (Self::Decimal(value, scale), Lag::Units(units)) => {
                let units = i128::from(units) * 10_i128.pow(u32::from(*scale).min(19));
                Self::Decimal(value.saturating_sub(units), *scale)
            }
            (Self::Date(days), Lag::Time(lag)) => {
                let whole = u64::try_from((lag.num_seconds() + 86_399) / 86_400).unwrap_or(0);
                let date = date_of(*days)
                    .and_then(|date| date.checked_sub_days(Days::new(whole)))
                    .map_or(i32::MIN, days_of);
                Self::date(date).unwrap_or_else(first_day)
            }
            (Self::Timestamp(micros), Lag::Time(lag)) => {
                Self::Timestamp(micros_before(*micros, lag))
            }
            (Self::TimestampTz(micros), Lag::Time(lag)) => {
                Self::TimestampTz(micros_before(*micros, lag))
            }
            (value, lag) => {
                return Err(Error::config(format!(
                    "lag = {lag} does not suit a cursor of type {}",
                    value.kind()
                ))
                .remedy(
                    "use a duration such as \"10m\" for dates and timestamps, a number for integers and numeric, and \
                     no lag for text and uuid",
                ));
            }
        };
        Ok(earlier)
    }

    /// The value as a literal of PostgreSQL, with its type, safe to put into SQL.
    pub fn sql(&self) -> String {
        let kind = match self {
            Self::Integer(value) => return format!("'{value}'::int8"),
            Self::Decimal(..) => "numeric",
            Self::Date(_) => "date",
            Self::Timestamp(_) => "timestamp",
            Self::TimestampTz(_) => "timestamptz",
            Self::Text(text) => {
                return format!("'{}'::text COLLATE \"C\"", text.replace('\'', "''"));
            }
            Self::Uuid(_) => "uuid",
        };
        format!("'{}'::{kind}", self.text())
    }

    /// The value as text: ISO 8601 for dates and times.
    pub fn text(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Decimal(value, scale) => decimal::text(*value, *scale),
            Self::Date(days) => date_of(*days).map_or_else(String::new, |date| date.to_string()),
            Self::Timestamp(micros) => naive_of(*micros)
                .format("%Y-%m-%dT%H:%M:%S%.6f")
                .to_string(),
            Self::TimestampTz(micros) => naive_of(*micros)
                .format("%Y-%m-%dT%H:%M:%S%.6fZ")
                .to_string(),
            Self::Text(text) => text.clone(),
            Self::Uuid(uuid) => uuid.to_string(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "int64",
            Self::Decimal(..) => "decimal",
            Self::Date(_) => "date",
            Self::Timestamp(_) => "timestamp",
            Self::TimestampTz(_) => "timestamptz",
            Self::Text(_) => "text",
            Self::Uuid(_) => "uuid",
        }
    }
}

impl PartialOrd for CursorValue {
    /// Values of different types have no order.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b))
            | (Self::Timestamp(a), Self::Timestamp(b))
            | (Self::TimestampTz(a), Self::TimestampTz(b)) => Some(a.cmp(b)),
            (Self::Decimal(a, a_scale), Self::Decimal(b, b_scale)) => {
                let scale = (*a_scale).max(*b_scale);
                let raise = |value: i128, from: u8| {
                    value.checked_mul(10_i128.checked_pow(u32::from(scale - from))?)
                };
                Some(raise(*a, *a_scale)?.cmp(&raise(*b, *b_scale)?))
            }
            (Self::Date(a), Self::Date(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Uuid(a), Self::Uuid(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "\"{}s\"", time.num_seconds()),
            Self::Units(units) => write!(f, "{units}"),
        }
    }
}

impl From<CursorValue> for TypedText {
    fn from(value: CursorValue) -> Self {
        Self {
            kind: value.kind().to_owned(),
            value: value.text(),
        }
    }
}

impl TryFrom<TypedText> for CursorValue {
    type Error = String;

    fn try_from(typed: TypedText) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a {}", typed.value, typed.kind);
        match typed.kind.as_str() {
            "int64" => typed.value.parse().map(Self::Integer).map_err(|_| wrong()),
            "decimal" => {
                let scale = typed
                    .value
                    .split_once('.')
                    .map_or(0, |(_, tail)| tail.len());
                let scale = u8::try_from(scale).map_err(|_| wrong())?;
                parse_decimal(&typed.value, scale).ok_or_else(wrong)
            }
            "date" => parse_date(&typed.value).ok_or_else(wrong),
            "timestamp" => parse_timestamp(&typed.value).ok_or_else(wrong),
            "timestamptz" => parse_timestamptz(&typed.value).ok_or_else(wrong),
            "text" => Ok(Self::Text(typed.value)),
            "uuid" => typed.value.parse().map(Self::Uuid).map_err(|_| wrong()),
            other => Err(format!("`{other}` is not a cursor type")),
        }
    }
}

fn parse_decimal(text: &str, scale: u8) -> Option<CursorValue> {
    decimal::unscaled(text.as_bytes(), scale)
        .ok()
        .map(|value| CursorValue::Decimal(value, scale))
}

fn parse_date(text: &str) -> Option<CursorValue> {
    let date: NaiveDate = text.parse().ok()?;
    CursorValue::date(days_of(date))
}

fn parse_timestamp(text: &str) -> Option<CursorValue> {
    let naive = text
        .replacen(' ', "T", 1)
        .parse::<NaiveDateTime>()
        .ok()
        .or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0))?;
    calendar(naive.and_utc().timestamp_micros()).map(CursorValue::Timestamp)
}

fn parse_timestamptz(text: &str) -> Option<CursorValue> {
    timestamptz(text).map(|time| CursorValue::TimestampTz(time.timestamp_micros()))
}

/// Parses a time with its zone.
pub(crate) fn timestamptz(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).ok()?;
    DateTime::from_timestamp_micros(calendar(time.timestamp_micros())?)
}

fn calendar(micros: i64) -> Option<i64> {
    CursorValue::is_calendar_micros(micros).then_some(micros)
}

fn naive_of(micros: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .naive_utc()
}

fn date_of(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(days)
}

fn days_of(date: NaiveDate) -> i32 {
    date.to_epoch_days()
}

fn first_day() -> CursorValue {
    CursorValue::Date(NaiveDate::from_ymd_opt(1, 1, 1).map_or(0, days_of))
}

fn first_moment() -> i64 {
    NaiveDate::from_ymd_opt(1, 1, 1)
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map_or(0, |first| first.and_utc().timestamp_micros())
}

fn micros_before(micros: i64, lag: TimeDelta) -> i64 {
    let first = first_moment();
    lag.num_microseconds()
        .and_then(|lag| micros.checked_sub(lag))
        .map_or(first, |earlier| earlier.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &CursorValue) {
        let json = serde_json::to_string(value).unwrap();
        assert_eq!(
            &serde_json::from_str::<CursorValue>(&json).unwrap(),
            value,
            "{json}"
        );
    }

    #[test]
    fn every_kind_of_value_survives_json() {
        round_trip(&CursorValue::Integer(i64::MIN));
        round_trip(&CursorValue::Decimal(-5, 2));
        round_trip(&CursorValue::Decimal(10_i128.pow(37), 9));
        round_trip(&CursorValue::Date(-719_162));
        round_trip(&CursorValue::Timestamp(1));
        round_trip(&CursorValue::TimestampTz(1_732_418_000_123_456));
        round_trip(&CursorValue::Text("it's \"ñ\"".to_owned()));
        round_trip(&CursorValue::Uuid(uuid::Uuid::from_u128(7)));
    }

    #[test]
    fn decimals_compare_by_value_whatever_their_scale() {
        assert!(CursorValue::Decimal(150, 2) < CursorValue::Decimal(16, 1));
        assert!(CursorValue::Decimal(-1, 0) < CursorValue::Decimal(-1, 2));
    }

    #[test]
    fn a_quote_in_a_text_cursor_does_not_end_the_literal() {
        let value = CursorValue::Text("o'x".to_owned());
        assert_eq!(value.sql(), "'o''x'::text COLLATE \"C\"");
    }

    #[test]
    fn lag_goes_back_and_stops_at_year_one() {
        let hour = Lag::Time(TimeDelta::hours(1));
        let value = CursorValue::parse(
            "initial_value",
            "2024-01-31T08:00:00Z",
            &ColumnType::TimestampTz,
        )
        .unwrap();
        assert_eq!(
            value.minus(hour).unwrap().text(),
            "2024-01-31T07:00:00.000000Z"
        );
        let date = CursorValue::parse("initial_value", "2024-01-31", &ColumnType::Date).unwrap();
        assert_eq!(date.minus(hour).unwrap().text(), "2024-01-30");
        let ages = Lag::Time(TimeDelta::days(4_000_000));
        assert_eq!(
            value.minus(ages).unwrap().text(),
            "0001-01-01T00:00:00.000000Z"
        );
        assert!(value.minus(Lag::Units(3)).is_err());
        assert_eq!(
            CursorValue::Integer(5).minus(Lag::Units(7)).unwrap(),
            CursorValue::Integer(-2)
        );
    }

    #[test]
    fn infinity_is_never_a_position() {
        assert!(!CursorValue::is_calendar_micros(i64::MAX));
        assert!(!CursorValue::is_calendar_micros(-i64::MAX));
        assert!(CursorValue::date(i32::MAX).is_none());
    }
}
