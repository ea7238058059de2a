//! How numbers, times and positions look to people.

use std::time::Duration;

use acequia::pipeline::report::RangeReport;
use acequia::position::{HubSpotPosition, Position};
pub(crate) use acequia::size::{age, bytes};
use chrono::{DateTime, Utc};

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`elapsed`], of seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    elapsed(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Rows a second.
pub(crate) fn rate(rows: u64, time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{} rows/s", count(rows.saturating_mul(1000) / millis))
}

/// `updated_at 2026-11-24T03:13:00.123456Z`; `-` if there is no position.
pub(crate) fn position(position: Option<&Position>) -> String {
    match position {
        None => "-".to_owned(),
        Some(Position::Cursor(cursor) | Position::HubSpot(HubSpotPosition { cursor, .. })) => {
            format!("{} {}", cursor.column, cursor.value.text())
        }
        Some(Position::Lsn(position)) => format!("LSN {}", position.lsn),
    }
}

/// Where an extract begins.
pub(crate) fn start(from: Option<&Position>) -> String {
    match from {
        None => "the beginning".to_owned(),
        some => position(some),
    }
}

/// `updated_at >= 2024-01-01T00:00:00.000000Z, up to the position …`.
pub(crate) fn range(range: &RangeReport) -> String {
    let up_to = range.up_to.as_ref();
    let up_to = up_to.map_or_else(String::new, |up_to| {
        format!(", up to the position {}", up_to.text())
    });
    format!("{}{up_to}", range.range)
}

/// A moment, in UTC.
pub(crate) fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `1 row`, `2 rows`.
pub(crate) fn plural(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{} {one}s", count(number))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn figures_are_easy_to_read() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_949, "1.9 kB"),
            (1_950, "2.0 kB"),
            (34_512_000, "34.5 MB"),
            (256_000_000, "256.0 MB"),
            (7_300_000_000_000_000, "7300.0 TB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (millis, text) in [
            (0, "0.0 s"),
            (12_345, "12.3 s"),
            (245_000, "4 min 5 s"),
            (7_380_000, "2 h 3 min"),
        ] {
            assert_eq!(elapsed(Duration::from_millis(millis)), text);
        }
        for (seconds, text) in [
            (-5, "0 s"),
            (59, "59 s"),
            (200, "3 min"),
            (90_000, "25 h"),
            (400_000, "4 days"),
        ] {
            assert_eq!(age(TimeDelta::seconds(seconds)), text);
        }
        assert_eq!(rate(10_000, Duration::from_secs(2)), "5,000 rows/s");
        assert_eq!(plural(1_u64, "stream"), "1 stream");
        assert_eq!(plural(2_u64, "stream"), "2 streams");
    }
}
