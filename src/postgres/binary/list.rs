//! Lists in binary form.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::FieldRef;

use super::value::Reader;
use super::{ColumnBuilder, FieldError};

/// Builds a column of lists.
#[derive(Debug)]
pub struct ListBuilder {
    field: FieldRef,
    pub(crate) elements: ColumnBuilder,
    offsets: Vec<i32>,
    length: i32,
    nulls: NullBufferBuilder,
}

impl ListBuilder {
    /// Creates a builder of lists of these elements.
    pub(super) fn new(field: FieldRef, elements: ColumnBuilder) -> Self {
        Self {
            field,
            elements,
            offsets: vec![0],
            length: 0,
            nulls: NullBufferBuilder::new(0),
        }
    }

    /// `array_send`: dimensions, a flag for NULLs, the element type; for each dimension its length and first index; then
    /// the elements, each with its length, -1 for NULL.
    pub(crate) fn push_binary(&mut self, field: Option<&[u8]>) -> Result<(), FieldError> {
        let Some(bytes) = field else {
            self.append_null();
            return Ok(());
        };
        let mut reader = Reader(bytes);
        let dimensions = reader.i32()?;
        let _has_nulls = reader.i32()?;
        let _element_type = reader.i32()?;
        let elements = match dimensions {
            0 => 0,
            1 => {
                let length = reader.i32()?;
                if reader.i32()? != 1 {
                    return Err(FieldError::NotAList);
                }
                length
            }
            _ if dimensions > 1 => return Err(FieldError::NotAList),
            _ => return Err(FieldError::Malformed),
        };
        for _ in 0..elements {
            let element = match reader.i32()? {
                -1 => None,
                length => Some(reader.take(length)?),
            };
            self.elements.push_binary(element)?;
        }
        if !reader.0.is_empty() || elements < 0 {
            return Err(FieldError::Malformed);
        }
        self.append(elements)
    }

    /// Makes a list of the elements that were appended last.
    pub(crate) fn append(&mut self, elements: i32) -> Result<(), FieldError> {
        self.length = self
            .length
            .checked_add(elements)
            .ok_or(FieldError::TooLarge)?;
        self.offsets.push(self.length);
        self.nulls.append_non_null();
        Ok(())
    }

    pub(crate) fn append_null(&mut self) {
        self.offsets.push(self.length);
        self.nulls.append_null();
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        self.length = 0;
        Arc::new(ListArray::new(
            Arc::clone(&self.field),
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            self.elements.finish(),
            self.nulls.finish(),
        ))
    }
}
