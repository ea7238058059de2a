//! Record batches as `COPY … FROM STDIN (FORMAT binary)` takes them. No I/O.
//!
//! The way back of the source's decoder (`source/postgres/field.rs`): each field is in the format of its type's `recv`
//! function, which is laid down in the server's sources (`numeric_recv`, `array_recv`, …); all numbers are big-endian. The
//! file format is that of the manual, page "COPY", section "Binary Format".

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};

use crate::error::{Error, Result};
use crate::exact::calendar::DAY_MICROS;
use crate::postgres::{EPOCH_DAYS, EPOCH_MICROS};
use crate::schema::{Column, ColumnType};

use super::dialect::is_jsonb;
use super::numeric::put_numeric;

/// What a binary COPY begins with: its signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// The longest field that the server takes: a gigabyte, less one (`MaxAllocSize`).
const MAX_FIELD: usize = 0x3fff_ffff;
/// The first and the last day of a `date`, as days since 2000-01-01 (`IS_VALID_DATE`).
const DAYS: std::ops::RangeInclusive<i32> = -2_451_545..=2_145_031_948;
/// The first and the last microsecond of a `timestamp`, since 2000-01-01 (`IS_VALID_TIMESTAMP`).
const MICROS: std::ops::RangeInclusive<i64> = -211_813_488_000_000_000..=9_223_371_331_199_999_999;
/// NULL's length.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// Why a value cannot be sent. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodeError {
    /// Text with U+0000.
    #[error("it holds text with a NUL character (U+0000), which PostgreSQL cannot hold")]
    Nul,
    /// A date outside of the server's calendar.
    #[error(
        "it holds a date before 4714 BC or after the year 5874897, which PostgreSQL cannot hold"
    )]
    Date,
    /// A timestamp outside of the server's calendar.
    #[error("it holds a timestamp before 4714 BC, which PostgreSQL cannot hold")]
    Timestamp,
    /// A time that is beyond a day.
    #[error("it holds a time that is not between 00:00:00 and 24:00:00")]
    Time,
    /// A value of a gigabyte.
    #[error("it holds a value of a gigabyte or more, which PostgreSQL cannot hold")]
    TooLarge,
    /// An array of another type than the column's.
    #[error("its part holds another type than its manifest says")]
    OtherType,
}

/// The columns of a table that rows are sent to, with the types that it has for them.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    columns: Vec<Column>,
    /// A field that ends each row, with its length.
    last: Vec<u8>,
    /// How many fields a row has.
    width: [u8; 2],
}

impl Encoder {
    /// For rows of these columns, and then of a text that is the same in each.
    pub(super) fn new(columns: &[Column], last: Option<&str>) -> Result<Self> {
        let mut field = Vec::new();
        if let Some(text) = last {
            put_bytes(text.as_bytes(), &mut field)
                .map_err(|error| Error::internal("a load's id cannot be sent").cause(error))?;
        }
        let width = i16::try_from(columns.len() + usize::from(last.is_some()))
            .map_err(|_| Error::data(format!("the stream has {} columns, more than a table of PostgreSQL can", columns.len()))
                .remedy("take fewer: at most 1,600 with `columns`, or leave some out with `exclude`, for [streams.STREAM]"))?;
        Ok(Self {
            columns: columns.to_vec(),
            last: field,
            width: width.to_be_bytes(),
        })
    }

    /// Makes rows ready, given the values of each column.
    ///
    /// # Errors
    /// [`Error::Data`] that names the column, where a value does not fit the table's type.
    pub(super) fn rows<'a>(&'a self, arrays: &[ArrayRef]) -> Result<Rows<'a>> {
        let fields = self
            .columns
            .iter()
            .zip(arrays)
            .map(|(column, array)| Field::new(column, array))
            .collect::<Result<Vec<_>>>()?;
        if fields.len() != self.columns.len() {
            return Err(Error::internal(
                "a part has fewer columns than its manifest",
            ));
        }
        Ok(Rows {
            encoder: self,
            fields,
        })
    }
}

/// The rows of a batch, ready to be written.
pub(super) struct Rows<'a> {
    encoder: &'a Encoder,
    fields: Vec<Field>,
}

impl Rows<'_> {
    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Data`] that names the column whose value cannot be sent.
    pub(super) fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.encoder.width);
        for (field, column) in self.fields.iter().zip(&self.encoder.columns) {
            field
                .put(row, out)
                .map_err(|error| refused(&column.name, error))?;
        }
        out.extend_from_slice(&self.encoder.last);
        Ok(())
    }
}

/// One column of a batch.
enum Field {
    Boolean(BooleanArray),
    Int16(Int16Array),
    Int32(Int32Array),
    Int64(Int64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal(Decimal128Array, u8),
    /// Text, and whether each is preceded by the version of `jsonb`'s format.
    Text(StringArray, bool),
    Binary(BinaryArray),
    Uuid(FixedSizeBinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    /// Lists, their elements and the element type's OID.
    List(ListArray, Box<Field>, i32),
}

impl Field {
    /// The column's values, in the type that the table has for them.
    fn new(column: &Column, array: &ArrayRef) -> Result<Self> {
        let wanted = column.column_type.arrow(column.element_id);
        let array = if array.data_type().equals_datatype(&wanted) {
            array.clone()
        } else {
            let exact = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            // Arrow's message may quote the value.
            cast_with_options(array, &wanted, &exact).map_err(|_| {
                Error::data(format!(
                    "column `{}` holds a value that is not one of {}",
                    column.name, column.column_type
                ))
            })?
        };
        Self::of(&column.column_type, is_jsonb(column), &array)
            .map_err(|error| refused(&column.name, error))
    }

    fn of(column_type: &ColumnType, is_jsonb: bool, array: &ArrayRef) -> Result<Self, EncodeError> {
        let field = match column_type {
            ColumnType::Boolean => array.as_boolean_opt().cloned().map(Self::Boolean),
            ColumnType::Int16 => array
                .as_primitive_opt::<Int16Type>()
                .cloned()
                .map(Self::Int16),
            ColumnType::Int32 => array
                .as_primitive_opt::<Int32Type>()
                .cloned()
                .map(Self::Int32),
            ColumnType::Int64 => array
                .as_primitive_opt::<Int64Type>()
                .cloned()
                .map(Self::Int64),
            ColumnType::Float32 => array
                .as_primitive_opt::<Float32Type>()
                .cloned()
                .map(Self::Float32),
            ColumnType::Float64 => array
                .as_primitive_opt::<Float64Type>()
                .cloned()
                .map(Self::Float64),
            ColumnType::Decimal { scale, .. } => array
                .as_primitive_opt::<Decimal128Type>()
                .cloned()
                .map(|values| Self::Decimal(values, *scale)),
            ColumnType::Text | ColumnType::Json => {
                let values = array.as_string_opt::<i32>().ok_or(EncodeError::OtherType)?;
                refuse_nul(values)?;
                Some(Self::Text(values.clone(), is_jsonb))
            }
            ColumnType::Binary => array.as_binary_opt::<i32>().cloned().map(Self::Binary),
            ColumnType::Uuid => array.as_fixed_size_binary_opt().cloned().map(Self::Uuid),
            ColumnType::Date => array
                .as_primitive_opt::<Date32Type>()
                .cloned()
                .map(Self::Date),
            ColumnType::Time => array
                .as_primitive_opt::<Time64MicrosecondType>()
                .cloned()
                .map(Self::Time),
            ColumnType::Timestamp | ColumnType::TimestampTz => array
                .as_primitive_opt::<TimestampMicrosecondType>()
                .cloned()
                .map(Self::Timestamp),
            ColumnType::List(element) => {
                let lists = array.as_list_opt::<i32>().ok_or(EncodeError::OtherType)?;
                let elements = Self::of(element, is_jsonb, lists.values())?;
                let oid = element_oid(element, is_jsonb).ok_or(EncodeError::OtherType)?;
                Some(Self::List(lists.clone(), Box::new(elements), oid))
            }
        };
        field.ok_or(EncodeError::OtherType)
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Boolean(values) => values.is_null(row),
            Self::Int16(values) => values.is_null(row),
            Self::Int32(values) => values.is_null(row),
            Self::Int64(values) => values.is_null(row),
            Self::Float32(values) => values.is_null(row),
            Self::Float64(values) => values.is_null(row),
            Self::Decimal(values, _) => values.is_null(row),
            Self::Text(values, _) => values.is_null(row),
            Self::Binary(values) => values.is_null(row),
            Self::Uuid(values) => values.is_null(row),
            Self::Date(values) => values.is_null(row),
            Self::Time(values) => values.is_null(row),
            Self::Timestamp(values) => values.is_null(row),
            Self::List(values, ..) => values.is_null(row),
        }
    }

    /// Appends a field: its length, and its value.
    fn put(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.is_null(row) {
            out.extend_from_slice(&NULL);
            return Ok(());
        }
        match self {
            Self::Boolean(values) => {
                out.extend_from_slice(&[0, 0, 0, 1, u8::from(values.value(row))]);
            }
            Self::Int16(values) => put_fixed(values.value(row).to_be_bytes(), out),
            Self::Int32(values) => put_fixed(values.value(row).to_be_bytes(), out),
            Self::Int64(values) => put_fixed(values.value(row).to_be_bytes(), out),
            Self::Float32(values) => put_fixed(values.value(row).to_be_bytes(), out),
            Self::Float64(values) => put_fixed(values.value(row).to_be_bytes(), out),
            Self::Decimal(values, scale) => put_numeric(values.value(row), *scale, out),
            Self::Text(values, false) => put_bytes(values.value(row).as_bytes(), out)?,
            Self::Text(values, true) => {
                let text = values.value(row).as_bytes();
                out.extend_from_slice(&length(text.len() + 1)?);
                out.push(1);
                out.extend_from_slice(text);
            }
            Self::Binary(values) => put_bytes(values.value(row), out)?,
            Self::Uuid(values) => put_bytes(values.value(row), out)?,
            Self::Date(values) => put_fixed(date(values.value(row))?.to_be_bytes(), out),
            Self::Time(values) => put_fixed(time(values.value(row))?.to_be_bytes(), out),
            Self::Timestamp(values) => put_fixed(timestamp(values.value(row))?.to_be_bytes(), out),
            Self::List(lists, elements, oid) => put_list(lists, elements, *oid, row, out)?,
        }
        Ok(())
    }
}

/// `array_recv`: dimensions, a flag for NULLs, the element type; for a list that is not empty its length and first index;
/// then the elements.
fn put_list(
    lists: &ListArray,
    elements: &Field,
    oid: i32,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let offset = |row: usize| {
        let offset = lists.value_offsets().get(row).copied().unwrap_or_default();
        usize::try_from(offset).unwrap_or_default()
    };
    let (from, to) = (offset(row), offset(row + 1));
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    let has_nulls = (from..to).any(|element| elements.is_null(element));
    out.extend_from_slice(&i32::from(from < to).to_be_bytes());
    out.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
    out.extend_from_slice(&oid.to_be_bytes());
    if from < to {
        out.extend_from_slice(&length(to - from)?);
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    for element in from..to {
        elements.put(element, out)?;
    }
    let written = length(out.len() - begin - 4)?;
    if let Some(place) = out.get_mut(begin..begin + 4) {
        place.copy_from_slice(&written);
    }
    Ok(())
}

/// The element type's OID (`pg_type.dat`), which `array_recv` compares with the column's.
fn element_oid(element: &ColumnType, is_jsonb: bool) -> Option<i32> {
    Some(match element {
        ColumnType::Boolean => 16,
        ColumnType::Binary => 17,
        ColumnType::Int64 => 20,
        ColumnType::Int16 => 21,
        ColumnType::Int32 => 23,
        ColumnType::Text => 25,
        ColumnType::Json if is_jsonb => 3802,
        ColumnType::Json => 114,
        ColumnType::Float32 => 700,
        ColumnType::Float64 => 701,
        ColumnType::Date => 1082,
        ColumnType::Time => 1083,
        ColumnType::Timestamp => 1114,
        ColumnType::TimestampTz => 1184,
        ColumnType::Decimal { .. } => 1700,
        ColumnType::Uuid => 2950,
        ColumnType::List(_) => return None,
    })
}

fn put_fixed<const N: usize>(value: [u8; N], out: &mut Vec<u8>) {
    // N is at most 8.
    out.extend_from_slice(&[0, 0, 0, u8::try_from(N).unwrap_or_default()]);
    out.extend_from_slice(&value);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&length(bytes.len())?);
    out.extend_from_slice(bytes);
    Ok(())
}

fn length(bytes: usize) -> Result<[u8; 4], EncodeError> {
    if bytes > MAX_FIELD {
        return Err(EncodeError::TooLarge);
    }
    i32::try_from(bytes)
        .map(i32::to_be_bytes)
        .map_err(|_| EncodeError::TooLarge)
}

/// Looks for U+0000 in all values at once, and value by value only where a byte of it is somewhere.
fn refuse_nul(values: &StringArray) -> Result<(), EncodeError> {
    if !values.value_data().contains(&0) {
        return Ok(());
    }
    if values.iter().flatten().any(|text| text.contains('\0')) {
        return Err(EncodeError::Nul);
    }
    Ok(())
}

/// Days since 2000 of a date. The highest 32-bit number and its negation are infinity, as DuckDB has it.
fn date(days: i32) -> Result<i32, EncodeError> {
    match days {
        i32::MAX => Ok(i32::MAX),
        days if days == -i32::MAX => Ok(i32::MIN),
        days => days
            .checked_sub(EPOCH_DAYS)
            .filter(|days| DAYS.contains(days))
            .ok_or(EncodeError::Date),
    }
}

/// Microseconds since midnight.
fn time(micros: i64) -> Result<i64, EncodeError> {
    if (0..=DAY_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        Err(EncodeError::Time)
    }
}

/// Microseconds since 2000 of a timestamp. The highest 64-bit number and its negation are infinity, as DuckDB has it.
fn timestamp(micros: i64) -> Result<i64, EncodeError> {
    match micros {
        i64::MAX => Ok(i64::MAX),
        micros if micros == -i64::MAX => Ok(i64::MIN),
        micros => micros
            .checked_sub(EPOCH_MICROS)
            .filter(|micros| MICROS.contains(micros))
            .ok_or(EncodeError::Timestamp),
    }
}

fn refused(name: &str, error: EncodeError) -> Error {
    let fault = Error::data(format!("column `{name}` cannot be copied exactly: {error}"));
    match error {
        EncodeError::Nul => fault.remedy(format!(
            "fix the text in the source, or leave the column out with exclude = [\"{name}\"] for [streams.STREAM]"
        )),
        EncodeError::Date | EncodeError::Timestamp => fault.remedy(format!(
            "copy it as text: {name} = \"text\" under [streams.STREAM.types]"
        )),
        EncodeError::Time | EncodeError::TooLarge => fault.remedy(format!(
            "fix the value in the source, or leave the column out with exclude = [\"{name}\"] for [streams.STREAM]"
        )),
        EncodeError::OtherType => fault,
    }
}

#[cfg(test)]
mod tests;
