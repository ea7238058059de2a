//! Arrays of Arrow that hold a column's values in some form, as the array that the column's type has. No I/O.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    FixedSizeBinaryBuilder, Int64Array, ListArray, Scalar, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::position::CursorValue;
use crate::schema::ColumnType;

/// The values of an array as [`ColumnType::arrow`] has them. The array is of that type already, of one whose every value that
/// type [holds](ColumnType::holds), or in the form that a database hands it over: a UUID as text, a time with another zone.
///
/// # Errors
/// A value is not one of the type.
pub(crate) fn of_type(array: &ArrayRef, column_type: &ColumnType) -> Result<ArrayRef, ArrowError> {
    let wanted = column_type.arrow(None);
    if *array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    match (column_type, array.data_type(), wanted) {
        (ColumnType::Uuid, DataType::Utf8, _) => uuids(array),
        (ColumnType::TimestampTz, DataType::Timestamp(_, Some(_)), _) => {
            let times = array.as_primitive_opt::<TimestampMicrosecondType>();
            let times = times.ok_or_else(|| another(array.data_type()))?;
            Ok(Arc::new(times.clone().with_timezone("UTC")))
        }
        (ColumnType::List(element), DataType::List(_), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let values = of_type(list.values(), element)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls)?))
        }
        (_, _, wanted) => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, &wanted, &options)
        }
    }
}

/// The same values, but that zero has no sign.
pub(crate) fn without_sign_of_zero(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float32Type>(|value| value + 0.0))
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            Arc::new(floats.unary::<_, Float64Type>(|value| value + 0.0))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = without_sign_of_zero(list.values());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            match ListArray::try_new(Arc::clone(field), offsets, values, nulls) {
                Ok(list) => Arc::new(list),
                // The values are as many as before, and of the same type.
                Err(_) => Arc::clone(array),
            }
        }
        _ => Arc::clone(array),
    }
}

/// The same values, in a form that Arrow shows: it knows no names of zones, and so not UTC.
pub(crate) fn to_show(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            Arc::new(times.clone().with_timezone("+00:00"))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = to_show(list.values());
            let field = field
                .as_ref()
                .clone()
                .with_data_type(values.data_type().clone());
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            match ListArray::try_new(Arc::new(field), offsets, values, nulls) {
                Ok(list) => Arc::new(list),
                // The values are as many as before, and of the field's type.
                Err(_) => Arc::clone(array),
            }
        }
        _ => Arc::clone(array),
    }
}

/// A cursor value in the type of an array that it is compared with.
///
/// # Errors
/// The value is none of that type.
pub(crate) fn cursor_scalar(
    value: &CursorValue,
    kind: &DataType,
) -> Result<Scalar<ArrayRef>, ArrowError> {
    let one: ArrayRef = match value {
        CursorValue::Integer(value) => cast(&Int64Array::from(vec![*value]), kind)?,
        CursorValue::Decimal(value, _) => {
            Arc::new(Decimal128Array::from(vec![*value]).with_data_type(kind.clone()))
        }
        CursorValue::Date(days) => Arc::new(Date32Array::from(vec![*days])),
        CursorValue::Timestamp(micros) | CursorValue::TimestampTz(micros) => {
            Arc::new(TimestampMicrosecondArray::from(vec![*micros]).with_data_type(kind.clone()))
        }
        CursorValue::Text(text) => Arc::new(StringArray::from(vec![text.as_str()])),
        CursorValue::Uuid(uuid) => Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(
            uuid.as_bytes(),
        ))?),
    };
    Ok(Scalar::new(one))
}

fn uuids(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let texts = array.as_string::<i32>();
    let mut values = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts {
        match text {
            Some(text) => {
                let value = text.parse::<uuid::Uuid>();
                let value = value.map_err(|_| another(array.data_type()))?;
                values.append_value(value.as_bytes())?;
            }
            None => values.append_null(),
        }
    }
    Ok(Arc::new(values.finish()))
}

fn another(data_type: &DataType) -> ArrowError {
    ArrowError::CastError(format!(
        "a value of {data_type} is not one of the column's type"
    ))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn of(array: impl Array + 'static, column_type: &str) -> ArrayRef {
        let array: ArrayRef = Arc::new(array);
        of_type(&array, &column_type.parse().unwrap()).unwrap()
    }

    #[test]
    fn values_are_those_of_the_wider_type() {
        let ints = || Int32Array::from(vec![Some(7), None]);
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        assert_eq!(&of(ints(), "int64"), &longs);
        assert_eq!(
            of(ints(), "decimal(12,2)").data_type(),
            &DataType::Decimal128(12, 2)
        );
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(7)])]);
        let lists = of(lists, "list<int64>");
        assert_eq!(
            lists.as_list::<i32>().values().data_type(),
            &DataType::Int64
        );
    }

    #[test]
    fn uuids_come_as_text_and_times_with_any_zone() {
        let text = "5f3a9c01-7b2e-4c55-9a41-0123456789ab";
        let uuids = of(StringArray::from(vec![Some(text), None]), "uuid");
        let expected = text.parse::<uuid::Uuid>().unwrap();
        let uuids: &FixedSizeBinaryArray = uuids.as_fixed_size_binary();
        assert_eq!(uuids.value(0), expected.as_bytes());
        assert!(uuids.is_null(1));
        let odd: ArrayRef = Arc::new(StringArray::from(vec!["?"]));
        assert!(of_type(&odd, &ColumnType::Uuid).is_err());
        let times = TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("Europe/Madrid");
        let times = of(times, "timestamptz");
        assert_eq!(times.data_type(), &ColumnType::TimestampTz.arrow(None));
        assert_eq!(
            times.as_primitive::<TimestampMicrosecondType>().value(0),
            i64::MAX
        );
    }

    #[test]
    fn zero_loses_its_sign_and_nothing_else_changes() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(-0.0),
            Some(f64::NEG_INFINITY),
            None,
            Some(5e-324),
        ]));
        let plain = without_sign_of_zero(&values);
        let plain = plain.as_primitive::<Float64Type>();
        assert!(plain.value(0).is_sign_positive());
        assert_eq!(plain.value(1).to_bits(), f64::NEG_INFINITY.to_bits());
        assert!(plain.is_null(2));
        assert_eq!(plain.value(3).to_bits(), 5e-324_f64.to_bits());
    }
}
