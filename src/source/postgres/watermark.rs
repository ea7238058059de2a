//! The highest cursor values of an extract, and the position that results from them. No I/O.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::boundary::Boundary;
use crate::config::postgres::Cursor;
use crate::error::{Error, Result};
use crate::position::{CursorPosition, CursorValue};
use crate::row_set::RowHasher;
use crate::schema::ColumnType;
use crate::seen::Seen;

/// Where a stream's next extract must begin, as far as it is known before this extract reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowWatermark {
    /// The value below which no row is yet to be committed.
    pub bound: Bound,
    /// Whether this extract begins at the beginning although the stream has a position, because the position is not valid.
    pub again: bool,
    /// The source's identity and clocks.
    pub seen: Seen,
}

/// The value below which no row is yet to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The cursor does not show it: the highest value that was read is used instead.
    Highest,
    /// No transaction in progress or in the future writes a row with a lower value, unless all values are of a coarser
    /// grain.
    NotBelow(CursorValue),
    /// It is unknown.
    Unknown,
}

/// Notes the highest values of a cursor column in the batches of all lanes of an extract, and the rows that the next extract
/// reads again. All clones share their notes.
#[derive(Debug, Clone)]
pub struct Watch {
    column: String,
    column_type: ColumnType,
    bound: Option<CursorValue>,
    noted: Arc<Mutex<Noted>>,
}

/// The cursor values that were read, and the rows that the next extract reads again.
#[derive(Debug, Clone)]
pub struct Noted {
    /// The highest values.
    pub watermark: Watermark,
    /// The rows at the beginning of the next extract.
    pub boundary: Boundary,
}

/// The cursor values that were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watermark {
    /// The highest value.
    pub highest: Option<CursorValue>,
    /// The highest value up to a bound, if there is a bound.
    ///
    /// This value, and not the bound itself, is the one below which no row can be written by a transaction that began at
    /// the bound or later: values may be truncated or rounded to any grain, but that keeps the order of times, and does not
    /// change a value that has the grain already.
    pub settled: Option<CursorValue>,
}

impl LowWatermark {
    /// The position after everything that was read from `lower` on is loaded: the highest value so far, and where the next
    /// extract resumes. `None` if no value was ever read.
    pub fn position(
        self,
        column: &str,
        before: Option<&CursorPosition>,
        lower: Option<&CursorValue>,
        read: Noted,
    ) -> Option<CursorPosition> {
        let known = before.filter(|_| !self.again);
        let mut all = read.watermark;
        all.raise(Watermark {
            highest: known.map(|known| known.value.clone()),
            settled: None,
        });
        // If a fresh read finds no rows, the value only says of which type the cursor is.
        let value = all
            .highest
            .clone()
            .or_else(|| before.map(|before| before.value.clone()))?;
        let resume = match &self.bound {
            Bound::Highest => all.highest.unwrap_or_else(|| value.lowest()),
            Bound::NotBelow(bound) => {
                let earlier = known.map(|known| [&known.value, &known.resume]);
                for value in earlier.into_iter().flatten() {
                    if value <= bound {
                        all.raise(Watermark {
                            highest: None,
                            settled: Some(value.clone()),
                        });
                    }
                }
                all.settled.unwrap_or_else(|| value.lowest())
            }
            Bound::Unknown => value.lowest(),
        };
        let read_whole = lower.is_none_or(|lower| *lower <= resume) && resume != value.lowest();
        let boundary = read.boundary.rows_from(&resume).filter(|_| read_whole);
        Some(CursorPosition {
            column: column.to_owned(),
            value,
            resume,
            seen: Some(self.seen),
            boundary,
            compared: before.and_then(|before| before.compared),
        })
    }
}

impl Watch {
    /// Creates the notes of an extract that begins with that low watermark. `hasher` hashes its rows.
    pub fn new(
        cursor: &Cursor,
        column_type: &ColumnType,
        low_watermark: &LowWatermark,
        hasher: RowHasher,
    ) -> Self {
        let boundary = match &low_watermark.bound {
            // The next extract begins lower.
            _ if cursor.lag.is_some_and(|lag| !lag.is_zero()) => Boundary::unknown(hasher),
            Bound::NotBelow(bound) => Boundary::up_to(Some(bound.clone()), hasher),
            Bound::Highest => Boundary::up_to(None, hasher),
            Bound::Unknown => Boundary::unknown(hasher),
        };
        Self {
            column: cursor.column.clone(),
            column_type: column_type.clone(),
            bound: match &low_watermark.bound {
                Bound::NotBelow(bound) => Some(bound.clone()),
                Bound::Highest | Bound::Unknown => None,
            },
            noted: Arc::new(Mutex::new(Noted {
                watermark: Watermark::default(),
                boundary,
            })),
        }
    }

    /// Notes the values of a batch.
    ///
    /// # Errors
    /// As [`Watermark::of`].
    pub fn note(&self, batch: &RecordBatch) -> Result<()> {
        let Some(values) = batch.column_by_name(&self.column) else {
            return Ok(());
        };
        let mark = Watermark::of(values, &self.column_type, self.bound.as_ref())?;
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let (highest, settled) = (mark.highest.as_ref(), mark.settled.as_ref());
        noted.boundary.note(batch, values, highest, settled)?;
        noted.watermark.raise(mark);
        Ok(())
    }

    /// The notes so far.
    pub fn noted(&self) -> Noted {
        let noted = self.noted.lock();
        noted.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watermark {
    /// The cursor values of a batch. NULLs and values that cannot be a position (infinities) are ignored.
    ///
    /// # Errors
    /// The array is not of the column's type.
    pub fn of(
        array: &ArrayRef,
        column_type: &ColumnType,
        bound: Option<&CursorValue>,
    ) -> Result<Self> {
        let highest = highest(array, column_type, None)?;
        let settled = match (bound, &highest) {
            (Some(bound), Some(value)) if value <= bound => highest.clone(),
            (Some(bound), _) => self::highest(array, column_type, Some(bound))?,
            (None, _) => None,
        };
        Ok(Self { highest, settled })
    }

    /// Raises the watermark to another, if that is higher.
    pub fn raise(&mut self, other: Self) {
        raise(&mut self.highest, other.highest);
        raise(&mut self.settled, other.settled);
    }
}

/// The highest value of a cursor column, up to a bound. Only times have a bound.
fn highest(
    array: &ArrayRef,
    column_type: &ColumnType,
    bound: Option<&CursorValue>,
) -> Result<Option<CursorValue>> {
    let within = |value: &CursorValue| bound.is_none_or(|bound| value <= bound);
    let highest = match column_type {
        ColumnType::Int16 => {
            max::<Int16Type>(array, |_| true)?.map(|v| CursorValue::Integer(v.into()))
        }
        ColumnType::Int32 => {
            max::<Int32Type>(array, |_| true)?.map(|v| CursorValue::Integer(v.into()))
        }
        ColumnType::Int64 => max::<Int64Type>(array, |_| true)?.map(CursorValue::Integer),
        ColumnType::Decimal { scale, .. } => {
            max::<Decimal128Type>(array, |_| true)?.map(|v| CursorValue::Decimal(v, *scale))
        }
        ColumnType::Date => max::<Date32Type>(array, |days| {
            CursorValue::date(days).is_some_and(|value| within(&value))
        })?
        .map(CursorValue::Date),
        ColumnType::Timestamp => max::<TimestampMicrosecondType>(array, |micros| {
            CursorValue::is_calendar_micros(micros) && within(&CursorValue::Timestamp(micros))
        })?
        .map(CursorValue::Timestamp),
        ColumnType::TimestampTz => max::<TimestampMicrosecondType>(array, |micros| {
            CursorValue::is_calendar_micros(micros) && within(&CursorValue::TimestampTz(micros))
        })?
        .map(CursorValue::TimestampTz),
        ColumnType::Text => array
            .as_string_opt::<i32>()
            .ok_or_else(|| mismatch(column_type))?
            .iter()
            .flatten()
            .max()
            .map(|text| CursorValue::Text(text.to_owned())),
        ColumnType::Uuid => array
            .as_fixed_size_binary_opt()
            .ok_or_else(|| mismatch(column_type))?
            .iter()
            .flatten()
            .max()
            .and_then(|bytes| uuid::Uuid::from_slice(bytes).ok())
            .map(CursorValue::Uuid),
        other => return Err(mismatch(other)),
    };
    Ok(highest)
}

/// Raises `mark` to `value`, if that is higher.
fn raise(mark: &mut Option<CursorValue>, value: Option<CursorValue>) {
    if let Some(value) = value
        && mark.as_ref().is_none_or(|mark| *mark < value)
    {
        *mark = Some(value);
    }
}

/// The highest value that `admits` accepts. The plain maximum is tried first; the single values are inspected only if it is
/// not accepted.
fn max<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    admits: impl Fn(T::Native) -> bool,
) -> Result<Option<T::Native>>
where
    T::Native: Ord,
{
    let array: &PrimitiveArray<T> = array
        .as_primitive_opt()
        .ok_or_else(|| Error::internal("a cursor column's array is not of the column's type"))?;
    let highest = arrow::compute::max(array);
    if highest.is_none_or(&admits) {
        return Ok(highest);
    }
    Ok(array.iter().flatten().filter(|value| admits(*value)).max())
}

fn mismatch(column_type: &ColumnType) -> Error {
    Error::internal(format!(
        "a cursor column's array is not of type {column_type}"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn infinity_and_null_do_not_move_the_mark() {
        let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
            Some(5),
            None,
            Some(i64::MAX),
            Some(7),
        ]));
        assert_eq!(
            highest(&array, &ColumnType::Timestamp, None).unwrap(),
            Some(CursorValue::Timestamp(7))
        );
        let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, Some(i64::MAX)]));
        assert_eq!(highest(&array, &ColumnType::Timestamp, None).unwrap(), None);
    }

    #[test]
    fn text_is_ordered_by_bytes() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["b", "Z", "a"]));
        assert_eq!(
            highest(&array, &ColumnType::Text, None).unwrap(),
            Some(CursorValue::Text("b".to_owned()))
        );
    }

    #[test]
    fn the_mark_only_rises() {
        let mut mark = None;
        for value in [3, 9, 4] {
            raise(&mut mark, Some(CursorValue::Integer(value)));
        }
        raise(&mut mark, None);
        assert_eq!(mark, Some(CursorValue::Integer(9)));
    }

    #[test]
    fn what_is_settled_is_a_value_that_was_landed() {
        let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
            Some(5),
            None,
            Some(9),
            Some(7),
            Some(i64::MAX),
        ]));
        let of = |bound: i64| {
            let bound = CursorValue::Timestamp(bound);
            let mark = Watermark::of(&array, &ColumnType::Timestamp, Some(&bound)).unwrap();
            assert_eq!(mark.highest, Some(CursorValue::Timestamp(9)));
            mark.settled
        };
        assert_eq!(of(10), Some(CursorValue::Timestamp(9)));
        assert_eq!(of(9), Some(CursorValue::Timestamp(9)));
        assert_eq!(of(8), Some(CursorValue::Timestamp(7)));
        assert_eq!(of(4), None);
    }
}
