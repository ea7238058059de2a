//! The highest cursor value of a batch. No I/O.

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use crate::error::{Error, Result};
use crate::position::CursorValue;
use crate::schema::ColumnType;

/// The highest value of a cursor column, NULLs and what cannot be a position (infinities) left out.
pub fn highest(array: &ArrayRef, column_type: &ColumnType) -> Result<Option<CursorValue>> {
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
        ColumnType::Date => max::<Date32Type>(array, |days| CursorValue::date(days).is_some())?
            .map(CursorValue::Date),
        ColumnType::Timestamp => {
            max::<TimestampMicrosecondType>(array, CursorValue::is_calendar_micros)?
                .map(CursorValue::Timestamp)
        }
        ColumnType::TimestampTz => {
            max::<TimestampMicrosecondType>(array, CursorValue::is_calendar_micros)?
                .map(CursorValue::TimestampTz)
        }
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

/// Raises `mark` to `value` where that is higher.
pub fn raise(mark: &mut Option<CursorValue>, value: Option<CursorValue>) {
    if let Some(value) = value
        && mark.as_ref().is_none_or(|mark| *mark < value)
    {
        *mark = Some(value);
    }
}

/// The highest value that `admits` lets pass. The plain maximum first: only where that is no position are the values
/// looked at one by one.
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
            highest(&array, &ColumnType::Timestamp).unwrap(),
            Some(CursorValue::Timestamp(7))
        );
        let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, Some(i64::MAX)]));
        assert_eq!(highest(&array, &ColumnType::Timestamp).unwrap(), None);
    }

    #[test]
    fn text_is_ordered_by_bytes() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["b", "Z", "a"]));
        assert_eq!(
            highest(&array, &ColumnType::Text).unwrap(),
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
}
