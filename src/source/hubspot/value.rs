//! What a property's text says, by its type. All values of `HubSpot` come as text: "67340.0", "1e5", "FALSE", epoch
//! milliseconds. What is not exactly a value of the type is none. No I/O.

use crate::exact::calendar::days_from_civil;
use crate::exact::decimal;
use crate::position::CursorValue;

/// Milliseconds of a day.
const DAY: i128 = 86_400_000;

/// A decimal number of so many digits, `scale` of them after the point, unscaled: `67340.0`, `-.5`, `1e5`.
pub fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    decimal::parse(text.as_bytes(), precision, scale).ok()
}

/// A whole number: `42`, `42.0`.
pub fn integer(text: &str) -> Option<i64> {
    i64::try_from(decimal(text, 38, 0)?).ok()
}

/// A number as binary floating point, rounded to the nearest: a user who requests the type accepts that.
pub fn float(text: &str) -> Option<f64> {
    decimal_shaped(text)
        .then(|| text.parse().ok())
        .flatten()
        .filter(|value: &f64| value.is_finite())
}

/// `true` or `false`, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A day, as days since 1970-01-01: `2020-02-29`, or midnight UTC as epoch milliseconds or as a time.
pub fn date(text: &str) -> Option<i32> {
    let days = match text.len() {
        10 if text.as_bytes().get(4) == Some(&b'-') => calendar_days(text)?,
        _ => match decimal(text, 38, 0) {
            Some(milliseconds) if milliseconds % DAY == 0 => {
                i64::try_from(milliseconds / DAY).ok()?
            }
            Some(_) => return None,
            None => {
                let micros = i128::from(instant(text)?);
                (micros % (DAY * 1_000) == 0)
                    .then(|| i64::try_from(micros / (DAY * 1_000)).ok())??
            }
        },
    };
    let days = i32::try_from(days).ok()?;
    CursorValue::date(days).map(|_| days)
}

/// A time, as microseconds since 1970-01-01 00:00:00 UTC: ISO 8601 with its offset, or epoch milliseconds.
pub fn instant(text: &str) -> Option<i64> {
    let micros = match decimal(text, 38, 3) {
        Some(micros) => i64::try_from(micros).ok()?,
        None => iso_instant(text)?,
    };
    CursorValue::is_calendar_micros(micros).then_some(micros)
}

/// `2026-01-31T08:00:00.123456Z`, the fraction of at most six digits, the offset `Z`, `±hh:mm` or `±hhmm`.
fn iso_instant(text: &str) -> Option<i64> {
    let days = calendar_days(text.get(..10)?)?;
    let bytes = text.as_bytes();
    let [hour, minute, second]: [i64; 3] = match bytes.get(10..19)? {
        [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] => [
            two_digits(*h1, *h2)?.into(),
            two_digits(*m1, *m2)?.into(),
            two_digits(*s1, *s2)?.into(),
        ],
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = bytes.get(19..)?;
    let mut fraction: i64 = 0;
    if let [b'.' | b',', digits @ ..] = rest {
        let count = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        if count == 0 {
            return None;
        }
        for place in 0..count.max(6) {
            let digit = digits
                .get(place)
                .filter(|_| place < count)
                .map_or(0, |digit| i64::from(digit - b'0'));
            if place < 6 {
                fraction = fraction * 10 + digit;
            } else if digit != 0 {
                return None;
            }
        }
        rest = digits.get(count..)?;
    }
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            let minutes = i64::from(two_digits(*h1, *h2)?) * 60 + i64::from(two_digits(*m1, *m2)?);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset * 60;
    seconds.checked_mul(1_000_000)?.checked_add(fraction)
}

/// Days since 1970-01-01 of `2020-02-29`.
fn calendar_days(text: &str) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else {
        return None;
    };
    let year = i32::from(two_digits(*y1, *y2)?) * 100 + i32::from(two_digits(*y3, *y4)?);
    days_from_civil(year, two_digits(*m1, *m2)?, two_digits(*d1, *d2)?)
}

fn two_digits(tens: u8, units: u8) -> Option<u8> {
    (tens.is_ascii_digit() && units.is_ascii_digit()).then(|| (tens - b'0') * 10 + (units - b'0'))
}

/// Whether a text is written with digits, so that "inf" and "nan" are not taken for numbers.
fn decimal_shaped(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_or_binary_where_that_is_asked_for() {
        assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer("9223372036854775808"), None);
        assert_eq!(integer("42.0"), Some(42));
        assert_eq!(float("1e5"), Some(1e5));
        assert_eq!(float("inf"), None);
    }

    #[test]
    fn booleans_come_in_any_case() {
        for (text, expected) in [
            ("true", Some(true)),
            ("FALSE", Some(false)),
            ("yes", None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(boolean(text), expected, "{text}");
        }
    }

    #[test]
    fn dates_are_days_however_they_are_written() {
        let cases = [
            ("2020-02-29", Some(18_321)),
            ("1582934400000", Some(18_321)),
            ("1582934400000.0", Some(18_321)),
            ("1.5829344E12", Some(18_321)),
            ("2020-02-29T00:00:00Z", Some(18_321)),
            ("2020-02-29T00:00:00.000Z", Some(18_321)),
            ("1969-12-31", Some(-1)),
            ("-86400000", Some(-1)),
            ("0001-01-01", Some(-719_162)),
            ("9999-12-31", Some(2_932_896)),
            ("0000-01-01", None),
            ("2021-02-29", None),
            ("1582934400001", None),
            ("2020-02-29T08:00:00Z", None),
            ("29/02/2020", None),
            ("20-02-29", None),
        ];
        for (text, expected) in cases {
            assert_eq!(date(text), expected, "{text}");
        }
    }

    #[test]
    fn times_are_instants_however_they_are_written() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.5Z", Some(500_000)),
            ("1970-01-01T02:00:00.123456+02:00", Some(123_456)),
            ("1969-12-31T19:00:00-0500", Some(0)),
            ("1582934400123", Some(1_582_934_400_123_000)),
            ("-1", Some(-1_000)),
            ("1.5", Some(1_500)),
            ("1970-01-01T00:00:00.1234567Z", None),
            ("1970-01-01T00:00:00.1234560Z", Some(123_456)),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T24:00:00Z", None),
            ("1970-01-01", None),
            ("mañana", None),
            ("99999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(instant(text), expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_is_that_of_chrono() {
        let mut day = chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        while let Some(next) = day.checked_add_days(chrono::Days::new(97)) {
            if day > chrono::NaiveDate::from_ymd_opt(9999, 12, 31).unwrap() {
                break;
            }
            assert_eq!(date(&day.to_string()), Some(day.to_epoch_days()), "{day}");
            day = next;
        }
    }
}
