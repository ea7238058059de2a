//! The rows of an incremental extract that the next extract reads again, because its lower bound is closed. If the next extract
//! reads these rows and no others, it has nothing new. No I/O.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::{eq, gt};
use arrow::compute::{filter_record_batch, is_null, or_kleene};
use arrow::error::ArrowError;

use crate::array_form::cursor_scalar;
use crate::error::{Error, Result};
use crate::position::CursorValue;
use crate::postgres::batch::BATCH_ROWS;
use crate::row_set::{RowHasher, RowSet};

/// The highest number of rows that are counted: more would not fit into the one batch that a lane holds to compare them.
const MOST_ROWS: u64 = BATCH_ROWS as u64;

/// The rows at the highest settled value of a cursor column and above, collected batch by batch.
#[derive(Debug, Clone)]
pub struct Boundary {
    hasher: RowHasher,
    bound: Option<CursorValue>,
    /// The highest settled value so far, and the rows that have it: `None` if there are too many.
    at: Option<(CursorValue, Option<RowSet>)>,
    /// The rows above the bound, and the rows without a value, which every extract reads: `None` if there are too many.
    above: Option<RowSet>,
}

/// The rows that an extract is expected to read again.
#[derive(Debug, Clone)]
pub struct KnownRows {
    hasher: RowHasher,
    rows: RowSet,
}

impl Boundary {
    /// Creates the boundary of an extract after which the next one begins at the highest value up to `bound` or, without a
    /// bound, at the highest value.
    pub fn up_to(bound: Option<CursorValue>, hasher: RowHasher) -> Self {
        Self {
            hasher,
            bound,
            at: None,
            above: Some(RowSet::default()),
        }
    }

    /// Creates the boundary of an extract after which the beginning of the next one is not known.
    pub fn unknown(hasher: RowHasher) -> Self {
        Self {
            above: None,
            ..Self::up_to(None, hasher)
        }
    }

    /// Notes the rows of a batch. `values` is its cursor column, with its highest value and the highest one up to the bound.
    ///
    /// # Errors
    /// [`Error::Internal`] if the column does not have its type.
    pub fn note(
        &mut self,
        batch: &RecordBatch,
        values: &ArrayRef,
        highest: Option<&CursorValue>,
        settled: Option<&CursorValue>,
    ) -> Result<()> {
        if self.above.is_none() {
            return Ok(());
        }
        let settled = if self.bound.is_some() {
            settled
        } else {
            highest
        };
        let noted = match settled {
            Some(settled) => self.note_at(batch, values, settled),
            None => Ok(()),
        };
        noted
            .and_then(|()| self.note_above(batch, values, highest))
            .map_err(|error| Error::internal("a cursor column cannot be compared").cause(error))
    }

    fn note_at(
        &mut self,
        batch: &RecordBatch,
        values: &ArrayRef,
        settled: &CursorValue,
    ) -> Result<(), ArrowError> {
        let known = match self.at.take() {
            Some((known, rows)) if known > *settled => {
                self.at = Some((known, rows));
                return Ok(());
            }
            Some((known, rows)) if known == *settled => rows,
            _ => Some(RowSet::default()),
        };
        let rows = match known {
            Some(known) => {
                let there = eq(values, &cursor_scalar(settled, values.data_type())?)?;
                self.with(known, batch, &there)?
            }
            None => None,
        };
        self.at = Some((settled.clone(), rows));
        Ok(())
    }

    fn note_above(
        &mut self,
        batch: &RecordBatch,
        values: &ArrayRef,
        highest: Option<&CursorValue>,
    ) -> Result<(), ArrowError> {
        let Some(known) = self.above else {
            return Ok(());
        };
        let mut there = is_null(values)?;
        if let Some(bound) = self.bound.as_ref().or(highest) {
            there = or_kleene(
                &there,
                &gt(values, &cursor_scalar(bound, values.data_type())?)?,
            )?;
        }
        self.above = self.with(known, batch, &there)?;
        Ok(())
    }

    /// Adds the selected rows of a batch to `known`: `None` if there are too many then.
    fn with(
        &self,
        mut known: RowSet,
        batch: &RecordBatch,
        there: &BooleanArray,
    ) -> Result<Option<RowSet>, ArrowError> {
        let count = there.true_count();
        if count == 0 {
            return Ok(Some(known));
        }
        if known.rows + count as u64 > MOST_ROWS {
            return Ok(None);
        }
        known.add(self.hasher.set_of(&filter_record_batch(batch, there)?)?);
        Ok(Some(known))
    }

    /// The rows at a value and above. `None` if the value is lower than the highest settled one, or if there are too many.
    pub fn rows_from(&self, resume: &CursorValue) -> Option<RowSet> {
        let mut rows = self.above?;
        match &self.at {
            Some((value, at)) if value == resume => rows.add((*at)?),
            Some((value, _)) if value > resume => return None,
            _ => {}
        }
        (rows.rows <= MOST_ROWS).then_some(rows)
    }
}

impl KnownRows {
    /// `rows`, which were hashed with `hasher`.
    pub fn new(rows: RowSet, hasher: RowHasher) -> Self {
        Self { hasher, rows }
    }

    /// Whether a batch has exactly these rows.
    ///
    /// # Errors
    /// [`Error::Internal`] if the batch cannot be hashed.
    pub fn are(&self, batch: &RecordBatch) -> Result<bool> {
        if batch.num_rows() as u64 != self.rows.rows {
            return Ok(false);
        }
        let rows = self.hasher.set_of(batch);
        rows.map(|rows| rows == self.rows)
            .map_err(|error| Error::internal("rows cannot be hashed").cause(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Date32Array, Decimal128Array, FixedSizeBinaryArray, Int32Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;
    use crate::schema::ColumnType;
    use crate::source::postgres::watermark::Watermark;

    fn batch(rows: &[(i32, Option<i64>)]) -> RecordBatch {
        let ids = Int32Array::from_iter_values(rows.iter().map(|(id, _)| *id));
        let times: TimestampMicrosecondArray = rows.iter().map(|(_, time)| *time).collect();
        let ids: ArrayRef = Arc::new(ids);
        let times: ArrayRef = Arc::new(times);
        RecordBatch::try_from_iter([("id", ids), ("t", times)]).unwrap()
    }

    fn note(boundary: &mut Boundary, batch: &RecordBatch, values: &ArrayRef, mark: &Watermark) {
        let (highest, settled) = (mark.highest.as_ref(), mark.settled.as_ref());
        boundary.note(batch, values, highest, settled).unwrap();
    }

    fn noted(bound: i64, batches: &[RecordBatch]) -> Boundary {
        let bound = CursorValue::Timestamp(bound);
        let mut boundary = Boundary::up_to(Some(bound.clone()), RowHasher::new("t"));
        for batch in batches {
            let values = batch.column(1);
            let mark = Watermark::of(values, &ColumnType::Timestamp, Some(&bound)).unwrap();
            note(&mut boundary, batch, values, &mark);
        }
        boundary
    }

    fn rows_from(boundary: &Boundary, value: i64) -> Option<RowSet> {
        boundary.rows_from(&CursorValue::Timestamp(value))
    }

    #[test]
    fn the_rows_are_those_that_the_next_extract_reads() {
        let batches = [
            batch(&[(1, Some(3)), (2, Some(5)), (3, Some(5))]),
            batch(&[(4, Some(9)), (5, Some(4)), (6, None)]),
            batch(&[(7, Some(7)), (8, Some(i64::MAX)), (9, Some(i64::MIN))]),
            batch(&[(10, Some(7)), (11, Some(6))]),
        ];
        let boundary = noted(8, &batches);
        let again = batch(&[
            (4, Some(9)),
            (6, None),
            (7, Some(7)),
            (8, Some(i64::MAX)),
            (10, Some(7)),
        ]);
        let known = KnownRows::new(rows_from(&boundary, 7).unwrap(), RowHasher::new("t"));
        assert!(known.are(&again).unwrap());
        assert!(!known.are(&again.slice(0, 4)).unwrap());
        let other = batch(&[
            (4, Some(9)),
            (6, None),
            (7, Some(7)),
            (8, Some(i64::MAX)),
            (11, Some(7)),
        ]);
        assert!(!known.are(&other).unwrap());
    }

    #[test]
    fn where_the_next_extract_begins_elsewhere_the_rows_are_not_known() {
        let boundary = noted(8, &[batch(&[(1, Some(5)), (2, Some(9))])]);
        assert_eq!(rows_from(&boundary, 4), None);
        assert_eq!(rows_from(&boundary, 6).unwrap().rows, 1);
        let unknown = Boundary::unknown(RowHasher::new("t"));
        assert_eq!(rows_from(&unknown, 5), None);
    }

    #[test]
    fn too_many_rows_are_not_counted_until_the_value_rises() {
        let many: Vec<_> = (0..=i32::try_from(MOST_ROWS).unwrap())
            .map(|id| (id, Some(5)))
            .collect();
        let many = batch(&many);
        let boundary = noted(8, &[many.clone(), batch(&[(1, Some(5))])]);
        assert_eq!(rows_from(&boundary, 5), None);
        let boundary = noted(8, &[many.clone(), batch(&[(1, Some(6))])]);
        assert_eq!(rows_from(&boundary, 6).unwrap().rows, 1);
        let boundary = noted(4, &[many, batch(&[(1, Some(3))])]);
        assert_eq!(rows_from(&boundary, 3), None);
    }

    #[test]
    fn every_type_of_cursor_is_compared() {
        let uuid = uuid::Uuid::from_u128(7);
        let uuids = FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].into_iter()).unwrap();
        let decimals = Decimal128Array::from(vec![70])
            .with_precision_and_scale(6, 1)
            .unwrap();
        let cases: [(ArrayRef, ColumnType); 6] = [
            (
                Arc::new(arrow::array::Int16Array::from(vec![7])),
                ColumnType::Int16,
            ),
            (Arc::new(Int32Array::from(vec![7])), ColumnType::Int32),
            (
                Arc::new(decimals),
                ColumnType::Decimal {
                    precision: 6,
                    scale: 1,
                },
            ),
            (Arc::new(Date32Array::from(vec![7])), ColumnType::Date),
            (Arc::new(StringArray::from(vec!["7"])), ColumnType::Text),
            (Arc::new(uuids), ColumnType::Uuid),
        ];
        for (values, column_type) in cases {
            let batch = RecordBatch::try_from_iter([("c", values.clone())]).unwrap();
            let mark = Watermark::of(&values, &column_type, None).unwrap();
            let mut boundary = Boundary::up_to(None, RowHasher::new("t"));
            note(&mut boundary, &batch, &values, &mark);
            note(&mut boundary, &batch, &values, &mark);
            let rows = boundary.rows_from(&mark.highest.unwrap()).unwrap();
            assert_eq!(rows.rows, 2, "{column_type}");
        }
    }
}
