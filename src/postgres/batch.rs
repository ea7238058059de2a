//! Collects fields into record batches of bounded size. No I/O.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::binary::{ColumnBuilder, FieldError, WireType};
use super::copy::{Row, row};
use super::protocol_error::{ProtocolError, ProtocolResult};
use crate::change::SnapshotMark;
use crate::error::{Error, Result};
use crate::schema::Schema;

/// The most rows of a batch.
pub(crate) const BATCH_ROWS: usize = 16 << 10;
/// The most bytes of text and binary values in a batch, approximately: one value may be larger.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// Collects rows, field by field.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    not_null: Vec<bool>,
    /// The mark of the rows, for columns that have the same value in every row.
    mark: Option<SnapshotMark>,
    next: usize,
    rows: usize,
    bytes: usize,
    /// Columns with a field that cannot be carried, and why. Such a batch is never given out; its other rows are looked at all
    /// the same, so that all columns are told at once.
    refusals: BTreeMap<usize, FieldError>,
}

impl BatchBuilder {
    /// Creates a builder for rows of `schema`, whose fields have the formats `wire_types`. If the rows are those of a
    /// snapshot, the columns of a change follow.
    pub fn new(schema: &Schema, wire_types: &[WireType], mark: Option<SnapshotMark>) -> Self {
        Self {
            mark,
            schema: schema.arrow(),
            columns: schema
                .columns
                .iter()
                .zip(wire_types)
                .map(|(column, wire)| ColumnBuilder::new(column, *wire))
                .collect(),
            not_null: schema
                .columns
                .iter()
                .map(|column| !column.nullable)
                .collect(),
            next: 0,
            rows: 0,
            bytes: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// How many columns a row has.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Appends the next field of the row, `bytes` long, by `push`. After the last one the row is complete.
    pub fn field(
        &mut self,
        is_null: bool,
        bytes: usize,
        push: impl FnOnce(&mut ColumnBuilder) -> Result<(), FieldError>,
    ) -> Result<()> {
        let place = self.next;
        let Some(column) = self.columns.get_mut(place) else {
            return Err(Error::internal("a row has more fields than columns"));
        };
        let pushed = if is_null && self.not_null.get(place) == Some(&true) {
            Err(FieldError::UnexpectedNull)
        } else {
            push(column)
        };
        if let Err(error) = pushed {
            self.refusals.entry(place).or_insert(error);
        }
        self.bytes += bytes;
        self.next += 1;
        if self.next == self.columns.len() {
            self.next = 0;
            self.rows += 1;
        }
        Ok(())
    }

    /// Appends the row of a message of COPY. The inner error is the connection's, the outer one the row's.
    pub(crate) fn row(&mut self, message: &[u8]) -> Result<ProtocolResult<()>> {
        let mut fields = match row(message) {
            Ok(Row::Fields(fields)) => fields,
            Ok(Row::End) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        if fields.left() != self.width() {
            return Ok(Err(ProtocolError::Protocol("a row of another width")));
        }
        for field in fields.by_ref() {
            let field = match field {
                Ok(field) => field,
                Err(error) => return Ok(Err(error)),
            };
            let bytes = field.map_or(0, <[u8]>::len);
            self.field(field.is_none(), bytes, |column| column.push_binary(field))?;
        }
        Ok(fields.finish())
    }

    /// Whether a row is complete and the batch is full.
    pub fn is_full(&self) -> bool {
        self.next == 0 && (self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES)
    }

    /// Takes the batch, if it has rows.
    pub fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.next != 0 {
            return Err(Error::internal("a batch was taken amid a row"));
        }
        if !self.refusals.is_empty() {
            return Err(self.refused());
        }
        if self.rows == 0 {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        if let Some(mark) = self.mark {
            let fields = self
                .schema
                .fields()
                .iter()
                .skip(arrays.len())
                .cloned()
                .collect::<Vec<_>>();
            arrays.extend(mark.columns(&fields, rows));
        }
        RecordBatch::try_new(self.schema.clone(), arrays)
            .map(Some)
            .map_err(|error| Error::internal("a batch does not fit its schema").cause(error))
    }

    fn refused(&self) -> Error {
        let name = |place: usize| {
            let field = self.schema.fields().get(place);
            field.map_or("?", |field| field.name().as_str())
        };
        let refusals: Vec<(&str, FieldError)> = self
            .refusals
            .iter()
            .map(|(place, error)| (name(*place), *error))
            .collect();
        match refusals.as_slice() {
            [(name, error)] => refused(name, *error),
            several => all_refused(several),
        }
    }
}

/// The error that a column's field cannot be copied, with the remedy.
pub(crate) fn refused(name: &str, error: FieldError) -> Error {
    let fault = Error::data(format!("column `{name}` cannot be copied exactly: {error}"));
    match remedy(name, error) {
        Some(remedy) => fault.remedy(remedy),
        None => fault,
    }
}

/// The same of several columns.
fn all_refused(refusals: &[(&str, FieldError)]) -> Error {
    let whys = refusals
        .iter()
        .map(|(name, error)| format!("\n    `{name}`: {error}"));
    let fault = Error::data(format!(
        "{} columns cannot be copied exactly:{}",
        refusals.len(),
        whys.collect::<String>()
    ));
    let remedies: Vec<String> = refusals
        .iter()
        .filter_map(|(name, error)| remedy(name, *error))
        .collect();
    if remedies.is_empty() {
        fault
    } else {
        fault.remedy(remedies.join("\n"))
    }
}

fn remedy(name: &str, error: FieldError) -> Option<String> {
    match error {
        FieldError::DecimalOverflow { .. } => Some(format!(
            "give it a type that holds all its values, under [streams.STREAM.types]: {name} = \"decimal(38,18)\" (or \
             other digits), \"float8\" (rounds) or \"text\" (exact)"
        )),
        // No decimal has them, however many digits.
        FieldError::NotFinite => Some(format!(
            "give it a type that has such values, under [streams.STREAM.types]: {name} = \"float8\" (rounds) or \"text\" \
             (exact)"
        )),
        FieldError::NotAList | FieldError::TimestampOverflow | FieldError::OutOfRange => Some(
            format!("copy it as text: {name} = \"text\" under [streams.STREAM.types]"),
        ),
        FieldError::NotUtf8 => Some(format!(
            "fix the text in the source (the database's encoding is not enforced), or leave it out with exclude = \
             [\"{name}\"]"
        )),
        FieldError::UnexpectedNull | FieldError::Malformed | FieldError::TooLarge => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fixes_several_columns_stands_below_each_other() {
        let refused = all_refused(&[
            ("a", FieldError::TimestampOverflow),
            ("b", FieldError::OutOfRange),
        ]);
        let report = refused.report();
        let remedy = report.split_once("\n  remedy: ").unwrap().1;
        assert_eq!(
            remedy,
            "copy it as text: a = \"text\" under [streams.STREAM.types]\n          copy it as text: b = \"text\" under \
             [streams.STREAM.types]"
        );
    }
}
