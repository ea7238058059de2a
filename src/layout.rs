//! How the files of a stream's table are laid out, where its destination has a choice. No I/O.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::schema::ColumnType;

/// By what a table is partitioned, and in which order its files keep rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// By what it is partitioned.
    pub partition_by: Vec<Partition>,
    /// The order of rows.
    pub sort_by: Vec<Sort>,
}

/// A column by which a table is partitioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The column.
    pub column: String,
    /// What is made of its values.
    pub transform: Transform,
}

/// What is made of a column's value to tell its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Its year.
    Year,
    /// Its month.
    Month,
    /// Its day.
    Day,
    /// Its hour.
    Hour,
    /// One of so many buckets, by a hash.
    Bucket(NonZeroU32),
    /// Its begin: so many characters, or a number rounded down to a multiple.
    Truncate(NonZeroU32),
}

/// A column by which rows are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: String,
    /// Whether the highest come first.
    pub descending: bool,
}

impl Layout {
    /// The columns that it names, each with the key of the configuration that does.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let partitions = self.partition_by.iter();
        let partitions = partitions.map(|of| ("partition_by", of.column.as_str()));
        partitions.chain(
            self.sort_by
                .iter()
                .map(|of| ("sort_by", of.column.as_str())),
        )
    }
}

impl Transform {
    /// Whether it is made of values of a type (Iceberg's specification, "Partition Transforms").
    pub(crate) fn takes(self, column_type: &ColumnType) -> bool {
        match self {
            Self::Identity => !matches!(column_type, ColumnType::List(_)),
            Self::Hour => matches!(column_type, ColumnType::Timestamp | ColumnType::TimestampTz),
            Self::Year | Self::Month | Self::Day => matches!(
                column_type,
                ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz
            ),
            Self::Bucket(_) => !matches!(
                column_type,
                ColumnType::Boolean
                    | ColumnType::Float32
                    | ColumnType::Float64
                    | ColumnType::List(_)
            ),
            Self::Truncate(_) => matches!(
                column_type,
                ColumnType::Int32
                    | ColumnType::Int64
                    | ColumnType::Decimal { .. }
                    | ColumnType::Text
            ),
        }
    }
}

/// As Iceberg's metadata writes it.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(number) => write!(f, "bucket[{number}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
        }
    }
}

/// Text that says no partition or order; the error is what would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

const OF_PARTITIONS: Unreadable = Unreadable(
    "write a column, or year(column), month(column), day(column), hour(column), bucket(16, column) or truncate(4, column)",
);
const OF_ORDERS: Unreadable = Unreadable("write a column, or one with `desc` after it");

impl FromStr for Partition {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let of = |column: &str, transform| {
            let column = column.trim();
            if column.is_empty() {
                return Err(OF_PARTITIONS);
            }
            Ok(Self {
                column: column.to_owned(),
                transform,
            })
        };
        let text = text.trim();
        let Some((name, rest)) = text.split_once('(') else {
            return of(text, Transform::Identity);
        };
        let inner = rest.strip_suffix(')').ok_or(OF_PARTITIONS)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "year" => of(inner, Transform::Year),
            "month" => of(inner, Transform::Month),
            "day" => of(inner, Transform::Day),
            "hour" => of(inner, Transform::Hour),
            name @ ("bucket" | "truncate") => {
                let (number, column) = inner.split_once(',').ok_or(OF_PARTITIONS)?;
                let number: NonZeroU32 = number.trim().parse().map_err(|_| OF_PARTITIONS)?;
                if i32::try_from(number.get()).is_err() {
                    return Err(OF_PARTITIONS);
                }
                let transform = match name {
                    "bucket" => Transform::Bucket(number),
                    _ => Transform::Truncate(number),
                };
                of(column, transform)
            }
            _ => Err(OF_PARTITIONS),
        }
    }
}

impl FromStr for Sort {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let text = text.trim();
        let (column, descending) = match text.rsplit_once(char::is_whitespace) {
            Some((column, word)) if word.eq_ignore_ascii_case("desc") => (column.trim(), true),
            Some((column, word)) if word.eq_ignore_ascii_case("asc") => (column.trim(), false),
            _ => (text, false),
        };
        if column.is_empty() {
            return Err(OF_ORDERS);
        }
        Ok(Self {
            column: column.to_owned(),
            descending,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_as_they_are_written() {
        let read = |text: &str| {
            let of = text.parse::<Partition>()?;
            Ok(format!("{} of {}", of.transform, of.column))
        };
        for (text, expected) in [
            ("region", "identity of region"),
            ("bucket(16, id)", "bucket[16] of id"),
            ("Truncate( 4 ,código)", "truncate[4] of código"),
            ("day(creado el)", "day of creado el"),
            ("hour(t)", "hour of t"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected));
        }
        for text in [
            "",
            "bucket(id)",
            "bucket(0, id)",
            "bucket(-1, id)",
            "bucket(3000000000, id)",
            "week(t)",
            "day(t",
            "day()",
        ] {
            assert_eq!(read(text), Err(OF_PARTITIONS), "{text}");
        }
    }

    #[test]
    fn orders_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Sort>().map(|of| (of.column, of.descending));
        assert_eq!(read("id"), Ok(("id".to_owned(), false)));
        assert_eq!(
            read("fecha de venta DESC"),
            Ok(("fecha de venta".to_owned(), true))
        );
        assert_eq!(read("n asc"), Ok(("n".to_owned(), false)));
        assert_eq!(read("  "), Err(OF_ORDERS));
    }
}
