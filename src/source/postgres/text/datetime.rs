//! Dates and times in the style `ISO`, as `EncodeDateTime` writes them (the server's `datetime.c`).

use crate::exact::calendar::{DAY_MICROS, days_from_civil};
use crate::postgres::binary::FieldError;

const SECOND_MICROS: i64 = 1_000_000;

/// The last year of a `date`.
const LAST_YEAR: i32 = 5_874_897;
/// The year of the first `date`, before Christ.
const FIRST_YEAR: i32 = 4714;

/// Days since 1970 of a `date`.
pub(super) fn date(text: &[u8]) -> Result<i32, FieldError> {
    match text {
        b"infinity" => Ok(i32::MAX),
        b"-infinity" => Ok(-i32::MAX),
        text => {
            let (text, before_christ) = era(text);
            let mut scan = Scan(text);
            let date = scan.date()?;
            scan.end()?;
            i32::try_from(date.days(before_christ)?).map_err(|_| FieldError::Malformed)
        }
    }
}

/// Microseconds since midnight of a `time`.
pub(super) fn time(text: &[u8]) -> Result<i64, FieldError> {
    let mut scan = Scan(text);
    let micros = scan.time()?;
    scan.end()?;
    if micros <= DAY_MICROS {
        Ok(micros)
    } else {
        Err(FieldError::Malformed)
    }
}

/// Microseconds since 1970 of a `timestamp`, of a `timestamptz` with its offset, or of a `date` that is cast to one.
pub(super) fn timestamp(text: &[u8]) -> Result<i64, FieldError> {
    match text {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(-i64::MAX),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let mut scan = Scan(text);
    let date = scan.date()?;
    let (mut time, mut offset) = (0, 0);
    if !scan.0.is_empty() {
        scan.byte(b' ')?;
        time = scan.time()?;
        offset = scan.offset()?;
    }
    scan.end()?;
    if time >= DAY_MICROS {
        return Err(FieldError::Malformed);
    }
    date.days(before_christ)?
        .checked_mul(DAY_MICROS)
        .and_then(|micros| micros.checked_add(time - offset))
        // The last and the first number are infinity and the one before it.
        .filter(|micros| (-i64::MAX + 1..i64::MAX).contains(micros))
        .ok_or(FieldError::TimestampOverflow)
}

/// The text without its ` BC`, and whether it has one.
fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// A date as it is written.
struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// Days since 1970, in the Gregorian calendar, which PostgreSQL has reach back for ever.
    fn days(&self, before_christ: bool) -> Result<i64, FieldError> {
        let last = if before_christ { FIRST_YEAR } else { LAST_YEAR };
        if !(1..=last).contains(&self.year) {
            return Err(FieldError::Malformed);
        }
        let year = if before_christ {
            1 - self.year
        } else {
            self.year
        };
        days_from_civil(year, self.month, self.day).ok_or(FieldError::Malformed)
    }
}

/// Reads a text from its beginning.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    /// `2024-01-31`; a year has at least four digits.
    fn date(&mut self) -> Result<Date, FieldError> {
        let count = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(4..=7).contains(&count) {
            return Err(FieldError::Malformed);
        }
        let (year, rest) = self.0.split_at(count);
        self.0 = rest;
        let year = year
            .iter()
            .fold(0, |year, digit| year * 10 + i32::from(digit & 0x0F));
        self.byte(b'-')?;
        let month = self.two()?;
        self.byte(b'-')?;
        let day = self.two()?;
        Ok(Date { year, month, day })
    }

    /// `08:00:00`, and up to six digits after the point. The caller refuses hours beyond a day.
    fn time(&mut self) -> Result<i64, FieldError> {
        let hours = i64::from(self.two()?);
        self.byte(b':')?;
        let minutes = self.sixtieths()?;
        self.byte(b':')?;
        let seconds = self.sixtieths()?;
        let micros = match self.0 {
            [b'.', rest @ ..] => {
                self.0 = rest;
                self.fraction()?
            }
            _ => 0,
        };
        Ok((hours * 3600 + minutes * 60 + seconds) * SECOND_MICROS + micros)
    }

    /// Microseconds of the digits after the point.
    fn fraction(&mut self) -> Result<i64, FieldError> {
        let count = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at(count);
        if !(1..=6).contains(&count) {
            return Err(FieldError::Malformed);
        }
        self.0 = rest;
        let digits = digits.iter().chain([b'0'; 6].iter()).take(6);
        Ok(digits.fold(0, |value, digit| value * 10 + i64::from(digit & 0x0F)))
    }

    /// `+00`, `+05:30` or `+00:19:32`, in microseconds. `None` if there is no offset.
    fn offset(&mut self) -> Result<i64, FieldError> {
        let sign = match self.0 {
            [b'+', rest @ ..] => {
                self.0 = rest;
                1
            }
            [b'-', rest @ ..] => {
                self.0 = rest;
                -1
            }
            _ => return Ok(0),
        };
        let mut seconds = i64::from(self.two()?) * 3600;
        for unit in [60, 1] {
            if self.0.is_empty() {
                break;
            }
            self.byte(b':')?;
            seconds += self.sixtieths()? * unit;
        }
        Ok(sign * seconds * SECOND_MICROS)
    }

    fn sixtieths(&mut self) -> Result<i64, FieldError> {
        match self.two()? {
            value @ 0..60 => Ok(value.into()),
            _ => Err(FieldError::Malformed),
        }
    }

    /// Two digits.
    fn two(&mut self) -> Result<u8, FieldError> {
        match self.0 {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Ok((tens - b'0') * 10 + (ones - b'0'))
            }
            _ => Err(FieldError::Malformed),
        }
    }

    fn byte(&mut self, expected: u8) -> Result<(), FieldError> {
        match self.0 {
            [byte, rest @ ..] if *byte == expected => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(FieldError::Malformed),
        }
    }

    fn end(&self) -> Result<(), FieldError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FieldError::Malformed)
        }
    }
}
