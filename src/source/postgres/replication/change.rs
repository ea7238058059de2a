//! Collects changes into record batches: the row's columns, then the columns of every change. No I/O.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};

use super::pgoutput::{Tuple, Value};
use crate::change::Op;
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::postgres::EPOCH_MICROS;
use crate::postgres::batch::{BATCH_BYTES, BATCH_ROWS, refused};
use crate::postgres::binary::{ColumnBuilder, FieldError};
use crate::schema::Schema;
use crate::source::postgres::text::TextForm;
use crate::source::postgres::types::ColumnPlan;

/// The position of a change in the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The LSN of the transaction's commit.
    pub lsn: Lsn,
    /// The change's number within the transaction.
    pub seq: i64,
    /// When the transaction was committed: microseconds since 2000-01-01 UTC.
    pub commit_time: i64,
}

/// The index of each column's field in a tuple.
pub type Places = Vec<Option<usize>>;

/// Collects changes of one shape.
#[derive(Debug)]
pub struct ChangeBuilder {
    schema: SchemaRef,
    plans: Vec<ColumnPlan>,
    forms: Vec<TextForm>,
    columns: Vec<ColumnBuilder>,
    op: StringBuilder,
    lsn: Int64Builder,
    seq: Int64Builder,
    commit_ts: TimestampMicrosecondBuilder,
    unchanged: ListBuilder<StringBuilder>,
    bytes: usize,
}

impl ChangeBuilder {
    /// Creates a builder for changes of `schema`: the columns of `plans`, whose texts have the forms `forms`, then those of
    /// a change.
    pub fn new(schema: &Schema, plans: Vec<ColumnPlan>, forms: Vec<TextForm>) -> Self {
        let arrow = schema.arrow();
        let element = arrow
            .fields()
            .last()
            .and_then(|field| match field.data_type() {
                DataType::List(element) => Some(Arc::clone(element)),
                _ => None,
            });
        let mut unchanged = ListBuilder::new(StringBuilder::new());
        if let Some(element) = element {
            unchanged = unchanged.with_field(element);
        }
        Self {
            columns: schema
                .columns
                .iter()
                .zip(&plans)
                .map(|(column, plan)| ColumnBuilder::new(column, plan.wire))
                .collect(),
            schema: arrow,
            plans,
            forms,
            op: StringBuilder::new(),
            lsn: Int64Builder::new(),
            seq: Int64Builder::new(),
            commit_ts: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            unchanged,
            bytes: 0,
        }
    }

    /// Appends a row's change. Values that the tuple marks as unchanged are taken from `old`, if `old` has them.
    pub fn push(
        &mut self,
        op: Op,
        mark: Mark,
        places: &Places,
        message: &[u8],
        tuple: &Tuple,
        old: Option<&Tuple>,
    ) -> Result<()> {
        let mut unchanged = false;
        let planned = self.plans.iter().zip(&self.forms);
        for ((column, (plan, form)), place) in self.columns.iter_mut().zip(planned).zip(places) {
            let at = |tuple: &'_ Tuple| place.and_then(|place| tuple.0.get(place).cloned());
            let mut value = at(tuple).unwrap_or(Value::Null);
            if value == Value::Unchanged
                && let Some(known @ (Value::Text(_) | Value::Binary(_))) = old.and_then(at)
            {
                value = known;
            }
            let pushed = match value {
                Value::Null => column.push_binary(None),
                Value::Unchanged => {
                    self.unchanged.values().append_value(&plan.spec.name);
                    unchanged = true;
                    column.push_binary(None)
                }
                Value::Text(place) => {
                    let bytes = message.get(place);
                    self.bytes += bytes.map_or(0, <[u8]>::len);
                    bytes
                        .ok_or(FieldError::Malformed)
                        .and_then(|bytes| column.push_text(Some(bytes), *form))
                }
                Value::Binary(place) => {
                    let bytes = message.get(place);
                    self.bytes += bytes.map_or(0, <[u8]>::len);
                    bytes
                        .ok_or(FieldError::Malformed)
                        .and_then(|bytes| column.push_binary(Some(bytes)))
                }
            };
            pushed.map_err(|error| refused(&plan.spec.name, error))?;
        }
        self.mark(op, mark, unchanged);
        Ok(())
    }

    /// Appends a truncation.
    pub fn push_truncate(&mut self, mark: Mark) -> Result<()> {
        for (column, plan) in self.columns.iter_mut().zip(&self.plans) {
            column
                .push_binary(None)
                .map_err(|error| refused(&plan.spec.name, error))?;
        }
        self.mark(Op::Truncate, mark, false);
        Ok(())
    }

    fn mark(&mut self, op: Op, mark: Mark, unchanged: bool) {
        self.op.append_value(op.code());
        self.lsn.append_value(mark.lsn.bigint());
        self.seq.append_value(mark.seq);
        self.commit_ts
            .append_value(mark.commit_time.saturating_add(EPOCH_MICROS));
        self.unchanged.append(unchanged);
    }

    /// A batch without changes, which has only columns.
    pub fn empty(&self) -> RecordBatch {
        RecordBatch::new_empty(Arc::clone(&self.schema))
    }

    /// Whether the batch is full.
    pub fn is_full(&self) -> bool {
        self.op.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Takes the batch, if it has changes.
    pub fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.op.is_empty() {
            return Ok(None);
        }
        self.bytes = 0;
        let mut arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        arrays.push(Arc::new(self.op.finish()));
        arrays.push(Arc::new(self.lsn.finish()));
        arrays.push(Arc::new(self.seq.finish()));
        arrays.push(Arc::new(self.commit_ts.finish()));
        arrays.push(Arc::new(self.unchanged.finish()));
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map(Some)
            .map_err(|error| Error::internal("a batch does not fit its schema").cause(error))
    }
}
