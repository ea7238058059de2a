//! A range of a column's values. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CursorValue;

/// A range as people ask for it: its ends as they are written, before the type of the column is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskedRange {
    /// The column. `None` for the stream's cursor.
    pub column: Option<String>,
    /// The lowest value. `None` for a range without a lower end.
    pub from: Option<String>,
    /// The lowest value after the range. `None` for a range without an upper end.
    pub to: Option<String>,
}

/// The values of a column from `from` on and below `to`, in the order of [`CursorValue`]. NULL is in no range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueRange {
    /// The column.
    pub column: String,
    /// The lowest value. `None` for a range without a lower end.
    pub from: Option<CursorValue>,
    /// The lowest value after the range. `None` for a range without an upper end.
    pub to: Option<CursorValue>,
}

impl ValueRange {
    /// Whether no value can lie in it.
    pub fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => from >= to,
            _ => false,
        }
    }
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = [(">=", &self.from), ("<", &self.to)];
        let ends = ends.iter().filter_map(|(operator, end)| {
            let end = end.as_ref()?.text();
            Some(format!("{operator} {end}"))
        });
        let ends: Vec<String> = ends.collect();
        write!(f, "{} {}", self.column, ends.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: Option<i64>, to: Option<i64>) -> ValueRange {
        ValueRange {
            column: "n".to_owned(),
            from: from.map(CursorValue::Integer),
            to: to.map(CursorValue::Integer),
        }
    }

    #[test]
    fn the_lower_end_is_in_the_range_and_the_upper_one_is_not() {
        assert!(range(Some(5), Some(5)).is_empty());
        assert!(range(Some(6), Some(5)).is_empty());
        assert!(!range(Some(5), Some(6)).is_empty());
        assert!(!range(None, Some(5)).is_empty());
        assert_eq!(range(Some(5), Some(9)).to_string(), "n >= 5 and < 9");
        assert_eq!(range(None, Some(9)).to_string(), "n < 9");
    }
}
