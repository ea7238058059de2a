//! Writing JSON, piece by piece: a page of a hundred companies of two hundred properties has to be quick.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

/// A JSON string.
pub(crate) fn text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A time, as `HubSpot` writes it: `"2026-01-31T08:00:00.123Z"`.
pub(crate) fn moment(out: &mut String, milliseconds: i64) {
    let _ = write!(out, "\"{}\"", iso(milliseconds));
}

/// A time as text.
pub(crate) fn iso(milliseconds: i64) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A time as HTTP writes it.
pub(crate) fn http_date(milliseconds: i64) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
