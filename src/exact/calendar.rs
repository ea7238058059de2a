//! Days of the Gregorian calendar. No I/O.

/// Microseconds of a day: PostgreSQL's 24:00:00, the highest time.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar. `None` if there is no such day. Year 0 is 1 BC.
///
/// Years begin in March here, so that the leap day is the last one of its year; eras have 400 years, after which the
/// calendar repeats. See Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub(crate) fn days_from_civil(year: i32, month: u8, day: u8) -> Option<i64> {
    if !(1..=days_of_month(year, month)?).contains(&day) {
        return None;
    }
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn days_of_month(year: i32, month: u8) -> Option<u8> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_day_is_that_of_chrono(year in -262_143..262_142, month in 0_u8..=13, day in 0_u8..=32) {
            let expected = NaiveDate::from_ymd_opt(year, month.into(), day.into());
            prop_assert_eq!(
                days_from_civil(year, month, day),
                expected.map(|date| date.to_epoch_days().into())
            );
        }
    }

    #[test]
    fn the_calendar_reaches_beyond_the_years_of_chrono() {
        assert_eq!(days_from_civil(1970, 1, 1), Some(0));
        assert_eq!(days_from_civil(5_874_897, 12, 31), Some(2_145_042_905));
        assert_eq!(days_from_civil(i32::MAX, 12, 31), Some(784_351_576_776));
        assert_eq!(days_from_civil(i32::MIN, 1, 1), Some(-784_353_015_833));
    }
}
