//! When sales are made: more each year, in spring and autumn, on working days.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use chrono::{Datelike as _, Days, NaiveDate};

use super::Hash;

/// Microseconds of a day.
pub(crate) const DAY: u64 = 86_400_000_000;
/// Days in which sales are made: the three years 2023, 2024 and 2025, unless a seed is dated later.
pub(crate) const DAYS: u64 = 1_096;
/// Microseconds of those days.
pub(crate) const SPAN: u64 = DAYS * DAY;

/// Sales of a day in each month, from January, against each other.
const MONTHS: [u64; 12] = [80, 100, 115, 105, 115, 95, 60, 20, 135, 145, 125, 65];
/// How much more a day sells at the end than at the beginning, in percent.
const GROWTH: u64 = 60;

/// The days of a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calendar {
    first: NaiveDate,
}

impl Calendar {
    /// From so many days after 1 January 2023.
    pub(crate) fn later(days: u32) -> Result<Self> {
        let first = NaiveDate::from_ymd_opt(2023, 1, 1)
            .and_then(|day| day.checked_add_days(Days::new(days.into())))
            .context("no such day")?;
        Ok(Self { first })
    }

    /// SQL: the first day.
    pub(crate) fn first(&self) -> String {
        format!("date '{}'", self.first)
    }

    /// SQL: the day before which everything has happened.
    pub(crate) fn end(&self) -> String {
        format!("({} + {DAYS})", self.first())
    }

    /// SQL: the point in time so many microseconds after the first day began.
    pub(crate) fn instant(&self, micros: &str) -> String {
        format!(
            "timestamptz '{} 00:00:00+00' + {micros} * interval '1 microsecond'",
            self.first
        )
    }

    /// SQL: the day of the week of a number of days after the first one, 0 for Sunday.
    pub(crate) fn weekday(&self, days: &str) -> String {
        let offset = self.first.weekday().num_days_from_sunday();
        format!("(({days} + {offset}) % 7)")
    }

    /// SQL: a number of days after the first one, moved back to a working day from most weekends.
    pub(crate) fn working_day(&self, hash: &Hash, days: &str) -> String {
        let weekday = self.weekday(days);
        format!(
            "CASE WHEN {weekday} IN (0, 6) AND {moved} > 0
                  THEN greatest({days} - {back}, 0) ELSE {days} END",
            back = super::rows::back_to_work(hash, &weekday),
            moved = hash.below("n", "fin de semana", 10),
        )
    }

    /// SQL: bigint arrays of where each month begins among evenly spread moments and in time, and the months' slopes.
    pub(crate) fn seasons(&self) -> Result<Seasons> {
        let (mut starts, mut weights, mut total) = (Vec::new(), Vec::new(), 0);
        for number in 0..DAYS {
            let day = self
                .first
                .checked_add_days(Days::new(number))
                .context("no such day")?;
            if number == 0 || day.day() == 1 {
                starts.push(number * DAY);
                weights.push(total);
            }
            let month = usize::try_from(day.month0())?;
            let weight = MONTHS.get(month).context("no such month")?;
            total += weight * (100 * DAYS + GROWTH * number);
        }
        starts.push(SPAN);
        weights.push(total);
        let spread = weights
            .iter()
            .map(|weight| {
                u64::try_from(u128::from(SPAN) * u128::from(*weight) / u128::from(total))
                    .context("a moment after the end")
            })
            .collect::<Result<Vec<u64>>>()?;
        Ok(Seasons { spread, starts })
    }
}

/// Where months begin, in microseconds: among evenly spread moments, and in time.
#[derive(Debug)]
pub(crate) struct Seasons {
    spread: Vec<u64>,
    starts: Vec<u64>,
}

impl Seasons {
    /// SQL: the month's number, from 1, of an evenly spread moment.
    pub(crate) fn month(&self, moment: &str) -> String {
        format!(
            "width_bucket({moment}, '{{{}}}'::bigint[])",
            listed(&self.spread)
        )
    }

    /// SQL: when, in microseconds, an evenly spread moment of that month is.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a quotient, to as many digits as there are"
    )]
    pub(crate) fn moment(&self, moment: &str, month: &str) -> String {
        let slopes: Vec<f64> = self
            .spread
            .windows(2)
            .zip(self.starts.windows(2))
            .map(|(spread, starts)| match (spread, starts) {
                ([from, to], [start, end]) if to > from => {
                    (end - start) as f64 / (to - from) as f64
                }
                _ => 1.0,
            })
            .collect();
        format!(
            "(('{{{starts}}}'::bigint[])[{month}]
              + floor(({moment} - ('{{{spread}}}'::bigint[])[{month}]) * ('{{{slopes}}}'::float8[])[{month}])::bigint)",
            starts = listed(&self.starts),
            spread = listed(&self.spread),
            slopes = listed(&slopes),
        )
    }
}

fn listed<T: std::fmt::Display>(values: &[T]) -> String {
    let mut list = String::new();
    for (place, value) in values.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(list, "{comma}{value}");
    }
    list
}
