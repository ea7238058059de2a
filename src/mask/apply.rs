//! Masks applied to batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};

use super::{Mask, Masks};
use crate::error::{Error, Result};

impl Masks {
    /// The batch with masked values. A column that the batch lacks needs no mask.
    ///
    /// # Errors
    /// [`Error::Internal`] if a column was not read as text: it is rather not copied at all.
    pub fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.is_empty() {
            return Ok(batch);
        }
        let schema = batch.schema();
        let mut columns = batch.columns().to_vec();
        for (field, column) in schema.fields().iter().zip(&mut columns) {
            if let Some(mask) = self.0.get(field.name()) {
                *column = mask.of_column(field.name(), column, &batch)?;
            }
        }
        RecordBatch::try_new(schema, columns)
            .map_err(|error| Error::internal("masked columns do not fit their batch").cause(error))
    }
}

impl Mask {
    fn of_column(&self, name: &str, column: &ArrayRef, batch: &RecordBatch) -> Result<ArrayRef> {
        let text = |name: &str, array: &ArrayRef| {
            let text: Option<StringArray> = array.as_string_opt().cloned();
            text.ok_or_else(|| {
                Error::internal(format!(
                    "column `{name}` is masked, and was not read as text"
                ))
            })
        };
        Ok(match self {
            Self::None => Arc::clone(column),
            Self::Null => new_null_array(column.data_type(), column.len()),
            Self::Of {
                column: property,
                masks,
            } => {
                let whose = batch.column_by_name(property).ok_or_else(|| {
                    Error::internal(format!(
                        "there is no column `{property}` to mask `{name}` by"
                    ))
                })?;
                let (whose, values) = (text(property, whose)?, text(name, column)?);
                let masked = whose.iter().zip(&values).map(|(whose, value)| {
                    match whose.and_then(|whose| masks.get(whose)) {
                        Some(mask) => value.and_then(|value| mask.of_text(value)),
                        None => value.map(str::to_owned),
                    }
                });
                Arc::new(masked.collect::<StringArray>())
            }
            _ => {
                let values = text(name, column)?;
                let masked = values
                    .iter()
                    .map(|value| value.and_then(|value| self.of_text(value)));
                Arc::new(masked.collect::<StringArray>())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields = columns.iter().map(|(name, array)| {
            Field::new(
                *name,
                array.data_type().clone(),
                array.data_type() != &DataType::Int64,
            )
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(schema, arrays).unwrap()
    }

    fn masks(of: &[(&str, &str)]) -> Masks {
        let masks = of.iter();
        masks
            .map(|(column, mask)| ((*column).to_owned(), mask.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_masked_columns_change_and_null_stays() {
        let before = batch(vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            (
                "email",
                Arc::new(StringArray::from(vec![Some("a@b"), None])),
            ),
            (
                "nombre",
                Arc::new(StringArray::from(vec![Some("Ana"), Some("Luz")])),
            ),
        ]);
        let after = masks(&[("email", "email"), ("telefono", "redact")])
            .apply(before.clone())
            .unwrap();
        assert_eq!(after.schema(), before.schema());
        assert_eq!(after.column(0), before.column(0));
        assert_eq!(after.column(2), before.column(2));
        let emails: Vec<_> = after.column(1).as_string::<i32>().iter().collect();
        assert_eq!(emails, [Some("***@b"), None]);
    }

    #[test]
    fn a_column_that_is_no_text_is_not_copied_unmasked() {
        let numbers = batch(vec![("dni", Arc::new(Int64Array::from(vec![1])))]);
        let error = masks(&[("dni", "sha256")]).apply(numbers).unwrap_err();
        assert!(error.to_string().contains("`dni`"), "{error}");
    }

    #[test]
    fn the_history_of_a_masked_property_is_masked_and_no_other() {
        let rows = batch(vec![
            (
                "property",
                Arc::new(StringArray::from(vec!["email", "name", "email"])),
            ),
            (
                "value",
                Arc::new(StringArray::from(vec![Some("a@b"), Some("c@d"), None])),
            ),
        ]);
        let masks = masks(&[("email", "redact")]).of_history("property", "value");
        let masked = masks.apply(rows).unwrap();
        let values: Vec<_> = masked.column(1).as_string::<i32>().iter().collect();
        assert_eq!(values, [Some("***"), Some("c@d"), None]);
    }
}
