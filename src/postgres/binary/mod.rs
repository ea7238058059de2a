//! PostgreSQL's binary field format, straight into Arrow builders. No I/O.
//!
//! The format is that of `COPY … (FORMAT binary)` and of the extended protocol: each type's `send` function. It is laid
//! down in the server's sources (`numeric_send`, `array_send`, …); all numbers are big-endian.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;

use crate::schema::{Column, ColumnType};

mod list;
mod value;

pub use list::ListBuilder;
use value::{date, decimal, read, time, timestamp};

/// The format of a field: the type whose `send` function wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `oid`, unsigned.
    Oid,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `text` and types that are sent like it.
    Text,
    /// `bytea`.
    Bytea,
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp` and `timestamptz`.
    Timestamp,
    /// A one-dimensional array, whose elements have the format of the column's element type.
    Array,
}

/// Why a field cannot be decoded. The error never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The bytes are not in the format.
    #[error("the server sent a field that is not in the format of its type")]
    Malformed,
    /// The text is not UTF-8.
    #[error("it holds text that is not UTF-8")]
    NotUtf8,
    /// A NULL in a column that the source declares NOT NULL.
    #[error("it holds NULL although the source declares it NOT NULL")]
    UnexpectedNull,
    /// A decimal that would need rounding, or more digits.
    #[error("it holds a number that does not fit into decimal({precision},{scale}) exactly")]
    DecimalOverflow {
        /// Of the Arrow type.
        precision: u8,
        /// Of the Arrow type.
        scale: u8,
    },
    /// NaN or infinity in a decimal.
    #[error("it holds NaN or infinity, which a decimal cannot be")]
    NotFinite,
    /// A number beyond those of the column's type, where one type is read as another.
    #[error("it holds a number that is out of range for the column's type")]
    OutOfRange,
    /// A timestamp after the year 294246.
    #[error(
        "it holds a timestamp after the year 294246, which 64-bit microseconds since 1970 cannot be"
    )]
    TimestampOverflow,
    /// An array of more than one dimension, or one that does not begin at 1.
    #[error("it holds an array of several dimensions, or one whose first index is not 1")]
    NotAList,
    /// More than two GiB in one batch.
    #[error("it holds a value too large for a batch")]
    TooLarge,
}

/// Builds one column of a batch.
#[derive(Debug)]
pub enum ColumnBuilder {
    /// Of [`ColumnType::Boolean`].
    Boolean(BooleanBuilder),
    /// Of [`ColumnType::Int16`].
    Int16(Int16Builder),
    /// Of [`ColumnType::Int32`].
    Int32(Int32Builder),
    /// Of [`ColumnType::Int64`].
    Int64(Int64Builder),
    /// Of [`ColumnType::Int64`], from unsigned 32 bits.
    Oid(Int64Builder),
    /// Of [`ColumnType::Float32`].
    Float32(Float32Builder),
    /// Of [`ColumnType::Float64`].
    Float64(Float64Builder),
    /// Of [`ColumnType::Decimal`].
    Decimal {
        /// Unscaled values.
        values: Decimal128Builder,
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Of [`ColumnType::Text`] and [`ColumnType::Json`].
    Text(StringBuilder),
    /// Of [`ColumnType::Binary`].
    Binary(BinaryBuilder),
    /// Of [`ColumnType::Uuid`].
    Uuid(FixedSizeBinaryBuilder),
    /// Of [`ColumnType::Date`].
    Date(Date32Builder),
    /// Of [`ColumnType::Time`].
    Time(Time64MicrosecondBuilder),
    /// Of [`ColumnType::Timestamp`] and [`ColumnType::TimestampTz`].
    Timestamp(TimestampMicrosecondBuilder),
    /// Of [`ColumnType::List`].
    List(Box<ListBuilder>),
}

/// Appends an optional value to a builder, with the field's own decoder.
macro_rules! append {
    ($builder:expr, $field:expr, $decode:expr) => {
        match $field {
            Some(bytes) => $builder.append_value($decode(bytes)?),
            None => $builder.append_null(),
        }
    };
}

impl ColumnBuilder {
    /// Creates a builder for a column whose fields have the format `wire`.
    pub fn new(column: &Column, wire: WireType) -> Self {
        let arrow = column.column_type.arrow(column.element_id);
        Self::of(&column.column_type, &arrow, wire)
    }

    fn of(column_type: &ColumnType, arrow: &DataType, wire: WireType) -> Self {
        match column_type {
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Int16 => Self::Int16(Int16Builder::new()),
            ColumnType::Int32 => Self::Int32(Int32Builder::new()),
            ColumnType::Int64 if wire == WireType::Oid => Self::Oid(Int64Builder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float32 => Self::Float32(Float32Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Decimal { precision, scale } => Self::Decimal {
                values: Decimal128Builder::new().with_data_type(arrow.clone()),
                precision: *precision,
                scale: *scale,
            },
            ColumnType::Text | ColumnType::Json => Self::Text(StringBuilder::new()),
            ColumnType::Binary => Self::Binary(BinaryBuilder::new()),
            ColumnType::Uuid => Self::Uuid(FixedSizeBinaryBuilder::new(16)),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Time => Self::Time(Time64MicrosecondBuilder::new()),
            ColumnType::Timestamp | ColumnType::TimestampTz => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow.clone()))
            }
            ColumnType::List(element) => {
                let field = match arrow {
                    DataType::List(field) => Arc::clone(field),
                    other => Arc::new(arrow::datatypes::Field::new("element", other.clone(), true)),
                };
                let elements = Self::of(element, field.data_type(), WireType::Array);
                Self::List(Box::new(ListBuilder::new(field, elements)))
            }
        }
    }

    /// Appends a field of the server. `None` is NULL.
    pub fn push_binary(&mut self, field: Option<&[u8]>) -> Result<(), FieldError> {
        match self {
            Self::Boolean(values) => append!(values, field, |bytes| Ok(read::<1>(bytes)? != [0])),
            Self::Int16(values) => append!(values, field, |b| read(b).map(i16::from_be_bytes)),
            Self::Int32(values) => append!(values, field, |b| read(b).map(i32::from_be_bytes)),
            Self::Int64(values) => append!(values, field, |b| read(b).map(i64::from_be_bytes)),
            Self::Oid(values) => {
                append!(values, field, |b| read(b)
                    .map(|b| u32::from_be_bytes(b).into()));
            }
            Self::Float32(values) => append!(values, field, |b| read(b).map(f32::from_be_bytes)),
            Self::Float64(values) => append!(values, field, |b| read(b).map(f64::from_be_bytes)),
            Self::Decimal {
                values,
                precision,
                scale,
            } => append!(values, field, |bytes| decimal(bytes, *precision, *scale)),
            Self::Text(values) => append!(values, field, |bytes| {
                std::str::from_utf8(bytes).map_err(|_| FieldError::NotUtf8)
            }),
            Self::Binary(values) => append!(values, field, Ok::<_, FieldError>),
            Self::Uuid(values) => match field {
                Some(bytes) => values
                    .append_value(bytes)
                    .map_err(|_| FieldError::Malformed)?,
                None => values.append_null(),
            },
            Self::Date(values) => append!(values, field, |b| read(b)
                .map(i32::from_be_bytes)
                .and_then(date)),
            Self::Time(values) => append!(values, field, |b| read(b)
                .map(i64::from_be_bytes)
                .and_then(time)),
            Self::Timestamp(values) => append!(values, field, |b| read(b)
                .map(i64::from_be_bytes)
                .and_then(timestamp)),
            Self::List(list) => list.push_binary(field)?,
        }
        Ok(())
    }

    /// Appends a boolean.
    pub fn push_bool(&mut self, value: Option<bool>) -> Result<(), FieldError> {
        match self {
            Self::Boolean(values) => values.append_option(value),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends an `int2`.
    pub fn push_i16(&mut self, value: Option<i16>) -> Result<(), FieldError> {
        match self {
            Self::Int16(values) => values.append_option(value),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends an `int4`, or a `date` as days since 2000-01-01.
    pub fn push_i32(&mut self, value: Option<i32>) -> Result<(), FieldError> {
        match self {
            Self::Int32(values) => values.append_option(value),
            Self::Date(values) => values.append_option(value.map(date).transpose()?),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends an `int8`, or a time or timestamp in PostgreSQL's microseconds.
    pub fn push_i64(&mut self, value: Option<i64>) -> Result<(), FieldError> {
        match self {
            Self::Int64(values) => values.append_option(value),
            Self::Time(values) => values.append_option(value.map(time).transpose()?),
            Self::Timestamp(values) => values.append_option(value.map(timestamp).transpose()?),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends an `oid`.
    pub fn push_u32(&mut self, value: Option<u32>) -> Result<(), FieldError> {
        match self {
            Self::Oid(values) => values.append_option(value.map(i64::from)),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends a `float4`.
    pub fn push_f32(&mut self, value: Option<f32>) -> Result<(), FieldError> {
        match self {
            Self::Float32(values) => values.append_option(value),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends a `float8`.
    pub fn push_f64(&mut self, value: Option<f64>) -> Result<(), FieldError> {
        match self {
            Self::Float64(values) => values.append_option(value),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Appends a text.
    pub fn push_str(&mut self, value: Option<&str>) -> Result<(), FieldError> {
        match self {
            Self::Text(values) => values.append_option(value),
            _ => return Err(FieldError::Malformed),
        }
        Ok(())
    }

    /// Takes the array of the appended values. The builder is empty again.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(values) => Arc::new(values.finish()),
            Self::Int16(values) => Arc::new(values.finish()),
            Self::Int32(values) => Arc::new(values.finish()),
            Self::Int64(values) | Self::Oid(values) => Arc::new(values.finish()),
            Self::Float32(values) => Arc::new(values.finish()),
            Self::Float64(values) => Arc::new(values.finish()),
            Self::Decimal { values, .. } => Arc::new(values.finish()),
            Self::Text(values) => Arc::new(values.finish()),
            Self::Binary(values) => Arc::new(values.finish()),
            Self::Uuid(values) => Arc::new(values.finish()),
            Self::Date(values) => Arc::new(values.finish()),
            Self::Time(values) => Arc::new(values.finish()),
            Self::Timestamp(values) => Arc::new(values.finish()),
            Self::List(list) => list.finish(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exact::calendar::DAY_MICROS;
    use crate::exact::decimal;
    use crate::postgres::EPOCH_MICROS;
    use crate::schema::samples;

    /// The inverse of `decimal`: `numeric_send` of an unscaled value.
    pub(crate) fn send_numeric(unscaled: i128, scale: u8) -> Vec<u8> {
        let text = decimal::text(unscaled, scale);
        let text = text.trim_start_matches('-');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = format!("{whole:0>width$}", width = whole.len().div_ceil(4) * 4);
        let fraction = format!(
            "{fraction:0<width$}",
            width = fraction.len().div_ceil(4) * 4
        );
        let all = format!("{whole}{fraction}");
        let mut digits: Vec<i16> = all
            .as_bytes()
            .chunks(4)
            .map(|chunk| std::str::from_utf8(chunk).unwrap().parse().unwrap())
            .collect();
        let mut weight = i16::try_from(whole.len() / 4).unwrap() - 1;
        while digits.first() == Some(&0) {
            digits.remove(0);
            weight -= 1;
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let sign: u16 = if unscaled < 0 { 0x4000 } else { 0 };
        let mut bytes = Vec::new();
        bytes.extend(i16::try_from(digits.len()).unwrap().to_be_bytes());
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(i16::from(scale).to_be_bytes());
        for digit in digits {
            bytes.extend(digit.to_be_bytes());
        }
        bytes
    }

    proptest! {
        #[test]
        fn every_decimal_of_38_digits_comes_through(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_u8..=38) {
            prop_assert_eq!(decimal(&send_numeric(value, scale), 38, scale), Ok(value));
        }

        #[test]
        fn a_decimal_is_never_rounded(value in 1_i128..10_i128.pow(30), scale in 1_u8..20) {
            let narrower = scale - 1;
            let expected = if value % 10 == 0 {
                Ok(value / 10)
            } else {
                Err(FieldError::DecimalOverflow { precision: 38, scale: narrower })
            };
            prop_assert_eq!(decimal(&send_numeric(value, scale), 38, narrower), expected);
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for column in samples::columns() {
                let mut builder = ColumnBuilder::new(&column, WireType::Bytea);
                let _ = builder.push_binary(Some(&bytes));
                let _ = builder.finish();
            }
        }
    }

    #[test]
    fn what_a_decimal_cannot_be_is_refused() {
        let special = |sign: u16| {
            let mut bytes = vec![0, 0, 0, 0];
            bytes.extend(sign.to_be_bytes());
            bytes.extend([0, 0]);
            bytes
        };
        for sign in [0xC000, 0xD000, 0xF000] {
            assert_eq!(decimal(&special(sign), 38, 9), Err(FieldError::NotFinite));
        }
        assert_eq!(decimal(&special(0), 38, 9), Ok(0));
        assert!(decimal(&send_numeric(1000, 0), 3, 0).is_err());
        assert_eq!(decimal(&send_numeric(999, 0), 3, 0), Ok(999));
    }

    #[test]
    fn infinities_are_kept_and_the_unreachable_is_refused() {
        assert_eq!(timestamp(i64::MAX), Ok(i64::MAX));
        assert_eq!(timestamp(i64::MIN), Ok(-i64::MAX));
        assert_eq!(timestamp(0), Ok(EPOCH_MICROS));
        assert_eq!(timestamp(i64::MAX - 1), Err(FieldError::TimestampOverflow));
        assert_eq!(date(i32::MAX), Ok(i32::MAX));
        assert_eq!(date(i32::MIN), Ok(-i32::MAX));
        assert_eq!(time(DAY_MICROS), Ok(DAY_MICROS));
        assert_eq!(time(DAY_MICROS + 1), Err(FieldError::Malformed));
    }
}
