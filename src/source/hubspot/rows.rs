//! Rows of fixed columns, each value given as text: for what comes in small numbers.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::mpsc;

use super::builder::{BATCH_BYTES, BATCH_ROWS};
use super::column::{self, ColumnBuilder};
use crate::error::{Error, Result};
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// Columns that do not depend on the account: names and types, and whether they may be NULL.
pub fn fixed_columns(columns: &[(&str, ColumnType, bool)]) -> Vec<ColumnSpec> {
    columns
        .iter()
        .map(|(name, column_type, nullable)| ColumnSpec {
            name: (*name).to_owned(),
            column_type: column_type.clone(),
            nullable: *nullable,
            source_type: column_type.to_string(),
        })
        .collect()
}

/// Gathers rows of fixed columns, each value given as text: for what comes in small numbers.
#[derive(Debug)]
pub struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    rows: usize,
}

impl RowBuilder {
    /// For batches of `schema`.
    pub fn new(schema: &Schema) -> Result<Self> {
        Ok(Self {
            schema: schema.arrow(),
            columns: column::builders(schema)?,
            rows: 0,
        })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Data`] if a value is not of its column's type.
    pub fn row(&mut self, values: &[Option<Cow<'_, str>>]) -> Result<()> {
        for (place, (column, value)) in self.columns.iter_mut().zip(values).enumerate() {
            if let Some(value) = value
                && column.push(value).is_err()
            {
                let name = self
                    .schema
                    .fields()
                    .get(place)
                    .map_or("?", |field| field.name().as_str());
                return Err(Error::data(format!(
                    "HubSpot gave a value for column `{name}` that is not of its documented type"
                )));
            }
            column.pad(self.rows + 1);
        }
        self.rows += 1;
        Ok(())
    }

    /// Whether the batch should be taken.
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS
            || self.rows.is_multiple_of(64)
                && self.columns.iter().map(ColumnBuilder::bytes).sum::<usize>() >= BATCH_BYTES
    }

    /// Takes the batch, if it has rows.
    pub fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let arrays = self
            .columns
            .iter_mut()
            .map(ColumnBuilder::finish)
            .collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(self.schema.clone(), arrays)
            .map(Some)
            .map_err(|error| Error::internal("a batch does not fit its schema").cause(error))
    }
}

/// Sends rows, if there are enough of them or if no more will come.
pub async fn send_rows(
    builder: &mut RowBuilder,
    batches: &mpsc::Sender<RecordBatch>,
    is_end: bool,
) -> Result<()> {
    if (is_end || builder.is_full())
        && let Some(batch) = builder.take()?
    {
        batches.send(batch).await.map_err(|_| Error::Interrupted)?;
    }
    Ok(())
}
