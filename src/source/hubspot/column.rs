//! Column builders that decode a property's text. They support rollback to an earlier row count, so that an answer that is
//! cut off leaves nothing behind. No I/O.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::value;
use crate::error::{Error, Result};
use crate::schema::{Column, ColumnType, Schema};

/// A text that is not a value of the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

/// A column builder.
#[derive(Debug)]
pub struct ColumnBuilder {
    kind: Kind,
    values: Values,
    valid: Vec<bool>,
}

/// How a text is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
    Decimal { precision: u8, scale: u8 },
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    Date,
    TimestampTz,
}

#[derive(Debug)]
enum Values {
    Text { bytes: Vec<u8>, offsets: Vec<i32> },
    I128(Vec<i128>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    F64(Vec<f64>),
    F32(Vec<f32>),
    Bool(BooleanBufferBuilder),
}

/// The columns of a schema, each empty.
///
/// # Errors
/// Those of [`ColumnBuilder::new`].
pub fn builders(schema: &Schema) -> Result<Vec<ColumnBuilder>> {
    schema.columns.iter().map(ColumnBuilder::new).collect()
}

impl ColumnBuilder {
    /// Creates a builder for a column of that type.
    ///
    /// # Errors
    /// A property cannot be read as that type.
    pub fn new(column: &Column) -> Result<Self> {
        let (kind, values) = match &column.column_type {
            ColumnType::Text => (Kind::Text, Values::text()),
            ColumnType::Json => (Kind::Json, Values::text()),
            ColumnType::Decimal { precision, scale } => (
                Kind::Decimal {
                    precision: *precision,
                    scale: *scale,
                },
                Values::I128(Vec::new()),
            ),
            ColumnType::Int16 => (Kind::Int16, Values::I16(Vec::new())),
            ColumnType::Int32 => (Kind::Int32, Values::I32(Vec::new())),
            ColumnType::Int64 => (Kind::Int64, Values::I64(Vec::new())),
            ColumnType::Float32 => (Kind::Float32, Values::F32(Vec::new())),
            ColumnType::Float64 => (Kind::Float64, Values::F64(Vec::new())),
            ColumnType::Boolean => (Kind::Boolean, Values::Bool(BooleanBufferBuilder::new(0))),
            ColumnType::Date => (Kind::Date, Values::I32(Vec::new())),
            ColumnType::TimestampTz => (Kind::TimestampTz, Values::I64(Vec::new())),
            other => {
                return Err(Error::config(format!(
                    "column `{}` of HubSpot cannot be read as {other}",
                    column.name
                ))
                .remedy(
                    "under [streams.STREAM.types], use decimal(p,s), int16, int32, int64, float32, float64, boolean, \
                     date, timestamptz, json or text",
                ));
            }
        };
        Ok(Self {
            kind,
            values,
            valid: Vec::new(),
        })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.valid.len()
    }

    /// Appends a value's text.
    ///
    /// # Errors
    /// The text is not a value of the type; nothing is appended then.
    pub fn push(&mut self, text: &str) -> Result<(), Misfit> {
        match (self.kind, &mut self.values) {
            (Kind::Text, Values::Text { bytes, offsets }) => push_text(bytes, offsets, text)?,
            (Kind::Json, Values::Text { bytes, offsets }) => {
                serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| Misfit)?;
                push_text(bytes, offsets, text)?;
            }
            (Kind::Decimal { precision, scale }, Values::I128(values)) => {
                values.push(value::decimal(text, precision, scale).ok_or(Misfit)?);
            }
            (Kind::Int64, Values::I64(values)) => values.push(value::integer(text).ok_or(Misfit)?),
            (Kind::Int32, Values::I32(values)) => values.push(narrow(text)?),
            (Kind::Int16, Values::I16(values)) => values.push(narrow(text)?),
            (Kind::Float64, Values::F64(values)) => values.push(value::float(text).ok_or(Misfit)?),
            (Kind::Float32, Values::F32(values)) => {
                value::float(text).ok_or(Misfit)?;
                values.push(text.parse().map_err(|_| Misfit)?);
            }
            (Kind::Boolean, Values::Bool(values)) => {
                values.append(value::boolean(text).ok_or(Misfit)?);
            }
            (Kind::Date, Values::I32(values)) => values.push(value::date(text).ok_or(Misfit)?),
            (Kind::TimestampTz, Values::I64(values)) => {
                values.push(value::instant(text).ok_or(Misfit)?);
            }
            _ => return Err(Misfit),
        }
        self.valid.push(true);
        Ok(())
    }

    /// Appends NULL until there are that many rows.
    pub fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.rows());
        if missing == 0 {
            return;
        }
        match &mut self.values {
            Values::Text { offsets, .. } => {
                let end = offsets.last().copied().unwrap_or(0);
                offsets.resize(offsets.len() + missing, end);
            }
            Values::I128(values) => values.resize(values.len() + missing, 0),
            Values::I64(values) => values.resize(values.len() + missing, 0),
            Values::I32(values) => values.resize(values.len() + missing, 0),
            Values::I16(values) => values.resize(values.len() + missing, 0),
            Values::F64(values) => values.resize(values.len() + missing, 0.0),
            Values::F32(values) => values.resize(values.len() + missing, 0.0),
            Values::Bool(values) => values.append_n(missing, false),
        }
        self.valid.resize(self.valid.len() + missing, false);
    }

    /// Removes all rows but the first ones.
    pub fn truncate(&mut self, rows: usize) {
        if rows >= self.rows() {
            return;
        }
        match &mut self.values {
            Values::Text { bytes, offsets } => {
                offsets.truncate(rows + 1);
                let end = offsets.last().copied().unwrap_or(0);
                bytes.truncate(usize::try_from(end).unwrap_or(0));
            }
            Values::I128(values) => values.truncate(rows),
            Values::I64(values) => values.truncate(rows),
            Values::I32(values) => values.truncate(rows),
            Values::I16(values) => values.truncate(rows),
            Values::F64(values) => values.truncate(rows),
            Values::F32(values) => values.truncate(rows),
            Values::Bool(values) => values.truncate(rows),
        }
        self.valid.truncate(rows);
    }

    /// Its size in bytes, approximately.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Text { bytes, offsets } => bytes.len() + offsets.len() * 4,
            Values::I128(values) => values.len() * 16,
            Values::I64(values) => values.len() * 8,
            Values::I32(values) => values.len() * 4,
            Values::I16(values) => values.len() * 2,
            Values::F64(values) => values.len() * 8,
            Values::F32(values) => values.len() * 4,
            Values::Bool(values) => values.len() / 8,
        }
    }

    /// Takes the array, and leaves the builder empty.
    ///
    /// # Errors
    /// Arrow finds the array inconsistent, which would be a bug here.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = Some(NullBuffer::from(std::mem::take(&mut self.valid)))
            .filter(|nulls| nulls.null_count() > 0);
        Ok(match &mut self.values {
            Values::Text { bytes, offsets } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let bytes = Buffer::from_vec(std::mem::take(bytes));
                let array = StringArray::try_new(OffsetBuffer::new(offsets.into()), bytes, nulls)
                    .map_err(|error| {
                    Error::internal("a text column does not hold together").cause(error)
                })?;
                Arc::new(array)
            }
            Values::I128(values) => {
                let array = Decimal128Array::new(taken(values), nulls);
                let Kind::Decimal { precision, scale } = self.kind else {
                    return Err(Error::internal("a decimal column is none"));
                };
                Arc::new(
                    array
                        .with_precision_and_scale(precision, i8::try_from(scale).unwrap_or(0))
                        .map_err(|error| {
                            Error::internal("a decimal column does not hold together").cause(error)
                        })?,
                )
            }
            Values::I64(values) if self.kind == Kind::TimestampTz => {
                Arc::new(TimestampMicrosecondArray::new(taken(values), nulls).with_timezone("UTC"))
            }
            Values::I64(values) => Arc::new(Int64Array::new(taken(values), nulls)),
            Values::I32(values) if self.kind == Kind::Date => {
                Arc::new(Date32Array::new(taken(values), nulls))
            }
            Values::I32(values) => Arc::new(Int32Array::new(taken(values), nulls)),
            Values::I16(values) => Arc::new(Int16Array::new(taken(values), nulls)),
            Values::F64(values) => Arc::new(Float64Array::new(taken(values), nulls)),
            Values::F32(values) => Arc::new(Float32Array::new(taken(values), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
        })
    }
}

impl Values {
    fn text() -> Self {
        Self::Text {
            bytes: Vec::new(),
            offsets: vec![0],
        }
    }
}

fn taken<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(std::mem::take(values))
}

/// Appends a text. One that would exceed the column's offsets is refused: a batch is sent long before that.
fn push_text(bytes: &mut Vec<u8>, offsets: &mut Vec<i32>, text: &str) -> Result<(), Misfit> {
    let end = i32::try_from(bytes.len() + text.len()).map_err(|_| Misfit)?;
    bytes.extend_from_slice(text.as_bytes());
    offsets.push(end);
    Ok(())
}

fn narrow<T: TryFrom<i64>>(text: &str) -> Result<T, Misfit> {
    value::integer(text)
        .and_then(|value| T::try_from(value).ok())
        .ok_or(Misfit)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    fn builder(column_type: &str) -> ColumnBuilder {
        ColumnBuilder::new(&Column {
            id: 1,
            name: "x".to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable: true,
            source_type: String::new(),
            element_id: None,
            mask: None,
        })
        .unwrap()
    }

    #[test]
    fn rows_taken_back_leave_nothing_behind() {
        for (column_type, value) in [
            ("text", "uno"),
            ("json", "[1]"),
            ("decimal(38,18)", "1.5"),
            ("int16", "1"),
            ("int32", "1"),
            ("int64", "1"),
            ("float32", "1"),
            ("float64", "1"),
            ("boolean", "true"),
            ("date", "2020-02-29"),
            ("timestamptz", "2020-02-29T00:00:00Z"),
        ] {
            let mut column = builder(column_type);
            column.push(value).unwrap();
            column.pad(3);
            column.push(value).unwrap();
            column.truncate(2);
            column.push(value).unwrap();
            let array = column.finish().unwrap();
            assert_eq!((array.len(), array.null_count()), (3, 1), "{column_type}");
            assert!(array.is_null(1) && column.rows() == 0, "{column_type}");
            if column_type != "text" {
                assert_eq!(column.push("\u{1f600}"), Err(Misfit), "{column_type}");
                assert!(column.rows() == 0, "{column_type}");
            }
        }
    }

    #[test]
    fn a_type_that_hubspot_has_no_values_of_is_refused() {
        let column = Column {
            id: 1,
            name: "x".to_owned(),
            column_type: ColumnType::Uuid,
            nullable: true,
            source_type: String::new(),
            element_id: None,
            mask: None,
        };
        assert!(ColumnBuilder::new(&column).is_err());
    }
}
