//! Dates and times in the style `ISO`, as `EncodeDateTime` writes them (the server's `datetime.c`).

use crate::source::postgres::field::FieldError;

const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// The last year of a `date`.
const LAST_YEAR: i64 = 5_874_897;
/// The year of the first `date`, before Christ.
const FIRST_YEAR: i64 = 4714;

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

/// The text without its ` BC`, and whether it had one.
fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// A date as it is written.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// Days since 1970, in the Gregorian calendar, which PostgreSQL has reach back for ever.
    ///
    /// Years begin in March here, so that the day that some have more is the last; eras are of 400 years, after which
    /// the calendar repeats. See Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
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
        if !(1..=days_of_month(year, self.month)?).contains(&self.day) {
            return Err(FieldError::Malformed);
        }
        let year = year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Ok(era * 146_097 + day_of_era - 719_468)
    }
}

fn days_of_month(year: i64, month: i64) -> Result<i64, FieldError> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Ok(31),
        4 | 6 | 9 | 11 => Ok(30),
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => Ok(29),
        2 => Ok(28),
        _ => Err(FieldError::Malformed),
    }
}

/// Reads along a text.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    /// `2024-01-31`; a year has four digits at least.
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
            .fold(0, |year, digit| year * 10 + i64::from(digit & 0x0F));
        self.byte(b'-')?;
        let month = self.two()?;
        self.byte(b'-')?;
        let day = self.two()?;
        Ok(Date { year, month, day })
    }

    /// `08:00:00`, and up to six digits of a second. An hour more than a day has is refused by who knows whether it is.
    fn time(&mut self) -> Result<i64, FieldError> {
        let hours = self.two()?;
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

    /// `+00`, `+05:30` or `+00:19:32`, in microseconds; nothing where there is none.
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
        let mut seconds = self.two()? * 3600;
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
        self.two().and_then(|value| {
            if value < 60 {
                Ok(value)
            } else {
                Err(FieldError::Malformed)
            }
        })
    }

    /// Two digits.
    fn two(&mut self) -> Result<i64, FieldError> {
        match self.0 {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
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
