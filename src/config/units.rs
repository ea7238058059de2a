//! Sizes and durations as people write them. No I/O.

use chrono::TimeDelta;
use schemars::Schema;

/// Parses a size in bytes: `256MB` (powers of 1000), `1GiB` (powers of 1024), `4096`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Parses a duration: `90s`, `10m`, `2h`, `1d`.
pub fn duration(text: &str) -> Option<TimeDelta> {
    let (number, unit) = split(text)?;
    let number = i64::try_from(number).ok()?;
    match unit {
        "s" => TimeDelta::try_seconds(number),
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        _ => None,
    }
}

/// The whole number at the beginning of a text, and the unit that follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// The pattern of a duration or a variable.
pub(super) fn duration_pattern(schema: &mut Schema) {
    schema.insert("pattern".to_owned(), r"^\s*\d+\s*[smhd]\s*$|\$\{".into());
}

/// The pattern of a size or a variable.
pub(super) fn size_pattern(schema: &mut Schema) {
    let pattern = r"^\s*\d+\s*([bB]|[kKmMgGtT]([iI]?[bB]))?\s*$|\$\{";
    schema.insert("pattern".to_owned(), pattern.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_powers_and_nothing_is_guessed() {
        for (text, bytes) in [
            ("256MB", Some(256_000_000)),
            ("1GiB", Some(1_073_741_824)),
            ("64 kib", Some(65_536)),
            ("4096", Some(4_096)),
            ("1.5GB", None),
            ("-1MB", None),
            ("MB", None),
            ("", None),
            ("10 parsecs", None),
            ("99999999TB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations_have_one_number_and_one_unit() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("0s", Some(0)),
            ("10", None),
            ("10M", None),
            ("1h30m", None),
            ("-1s", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(
                duration(text).map(|time| time.num_seconds()),
                seconds,
                "{text}"
            );
        }
    }
}
