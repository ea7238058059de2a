//! A row as hashes that are the same wherever it was read. No I/O.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, Scalar};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use arrow::error::ArrowError;

use crate::array_form;
use crate::error::{Error, Result};
use crate::position::{CursorValue, ValueRange};
use crate::row_set::RowHasher;
use crate::schema::{Column, ColumnType};

use super::buckets::bucket;

/// A row as hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The hash of its key; without a key, that of the row.
    pub(crate) key: u128,
    /// The hash of the row.
    pub(crate) row: u128,
    /// A hash of its cursor value, if the stream has a cursor.
    pub(crate) cursor: u64,
    /// Whether the stream's next run reads it, as its cursor lies where that begins or above.
    pub(crate) comes_again: bool,
}

/// Where a stream's next run begins to read.
#[derive(Debug, Clone)]
pub(crate) struct NextRun {
    /// The cursor's column.
    pub(crate) column: String,
    /// The closed lower bound.
    pub(crate) from: CursorValue,
}

/// Makes entries of rows.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    schema: SchemaRef,
    columns: Vec<Column>,
    key: Vec<usize>,
    next_run: Option<(NextRun, usize, Scalar<ArrayRef>)>,
    keeps_sign_of_zero: bool,
    hasher: RowHasher,
    /// The buckets whose rows count: those below.
    sampled: usize,
    /// The column that is true in rows that do not count.
    left_out: Option<usize>,
    /// The column by which rows count that have at least that value.
    since: Option<(usize, Scalar<ArrayRef>)>,
    /// Whether rows are the same if their keys are.
    by_key_alone: bool,
}

impl Codec {
    /// Creates a codec for rows of these columns, whose types are those of the table, with that key.
    ///
    /// # Errors
    /// The key or the cursor is none of the columns.
    pub(crate) fn new(
        columns: Vec<Column>,
        key: &[String],
        next_run: Option<&NextRun>,
        keeps_sign_of_zero: bool,
    ) -> Result<Self> {
        let place = |name: &String| {
            let found = columns.iter().position(|column| column.name == *name);
            found.ok_or_else(|| Error::internal(format!("the column `{name}` is not compared")))
        };
        let key = key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let next_run = match next_run {
            Some(next_run) => {
                let (place, from) = from(&columns, &next_run.column, &next_run.from)?;
                Some((next_run.clone(), place, from))
            }
            None => None,
        };
        let fields = columns.iter().map(|column| {
            let arrow = column.column_type.arrow(None);
            Field::new(&column.name, arrow, true)
        });
        Ok(Self {
            schema: Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())),
            columns,
            key,
            next_run,
            keeps_sign_of_zero,
            hasher: RowHasher::new("verify"),
            sampled: super::buckets::BUCKETS,
            left_out: None,
            since: None,
            by_key_alone: false,
        })
    }

    /// The same, of a sample: the rows of that many of the buckets.
    pub(crate) fn of_sample(mut self, buckets: usize) -> Self {
        self.sampled = buckets;
        self
    }

    /// The same, but that rows are equal if their keys are.
    pub(crate) fn by_key_alone(mut self) -> Self {
        self.by_key_alone = !self.key.is_empty();
        self
    }

    /// The same, without the rows in which that column is true.
    pub(crate) fn without(mut self, column: &str) -> Self {
        let found = self.columns.iter().position(|known| known.name == column);
        self.left_out = found.filter(|place| {
            let column = self.columns.get(*place);
            column.is_some_and(|column| column.column_type == ColumnType::Boolean)
        });
        self
    }

    /// The same, but that only rows count which lie at or above the range's lower end.
    ///
    /// # Errors
    /// The column is none of the columns.
    pub(crate) fn since(mut self, range: &ValueRange) -> Result<Self> {
        self.since = match &range.from {
            Some(value) => Some(from(&self.columns, &range.column, value)?),
            None => None,
        };
        Ok(self)
    }

    /// Where the stream's next run begins to read.
    pub(crate) fn next_run(&self) -> Option<&NextRun> {
        self.next_run.as_ref().map(|(next_run, ..)| next_run)
    }

    /// The name of the column that is true in rows that do not count.
    pub(crate) fn left_out(&self) -> Option<&str> {
        let column = self.left_out.and_then(|place| self.columns.get(place));
        column.map(|column| column.name.as_str())
    }

    /// The columns, with the types that the table has.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The places of the key's columns.
    pub(crate) fn key(&self) -> &[usize] {
        &self.key
    }

    /// The names of the key's columns.
    pub(crate) fn key_names(&self) -> Vec<String> {
        let places = self.key.iter();
        let columns = places.filter_map(|place| self.columns.get(*place));
        columns.map(|column| column.name.clone()).collect()
    }

    /// The columns of a batch, in the form that both sides have.
    ///
    /// # Errors
    /// The batch lacks a column, or has one with values that the table's type does not hold.
    pub(crate) fn canonical(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let arrays = self.columns.iter().map(|column| {
            let array = batch.column_by_name(&column.name).ok_or_else(|| {
                Error::source(format!(
                    "the column `{}` is gone: the table was altered while it was compared",
                    column.name
                ))
                .remedy("run again")
            })?;
            let array = array_form::of_type(array, &column.column_type).map_err(|_| {
                Error::data(format!(
                    "column `{}` has values that do not fit its type in the destination, {}",
                    column.name, column.column_type
                ))
                .remedy("run the stream, which widens the column, and verify again")
            })?;
            Ok(if self.keeps_sign_of_zero {
                array
            } else {
                array_form::without_sign_of_zero(&array)
            })
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(unfit)
    }

    /// The entries of a [canonical](Self::canonical) batch's rows. Those that do not count are none.
    pub(crate) fn entries(&self, batch: &RecordBatch) -> Result<Vec<Option<Entry>>> {
        let rows = if self.by_key_alone {
            self.hashes_of(batch, &self.key)?
        } else {
            self.hasher.hashes(batch).map_err(unfit)?
        };
        let keys = match self.key.as_slice() {
            [] => rows.clone(),
            _ if self.by_key_alone => rows.clone(),
            key => self.hashes_of(batch, key)?,
        };
        let (cursors, again) = match &self.next_run {
            Some((_, place, from)) => {
                let cursors = self.hashes_of(batch, &[*place])?;
                (Some(cursors), Some(at_least(batch.column(*place), from)?))
            }
            None => (None, None),
        };
        let left_out = self.left_out.map(|place| batch.column(place).as_boolean());
        let since = match &self.since {
            Some((place, from)) => Some(at_least(batch.column(*place), from)?),
            None => None,
        };
        let entries = keys.into_iter().zip(rows).enumerate();
        let entry = |(place, (key, row))| {
            let is_left_out = left_out
                .is_some_and(|left| left.is_valid(place) && left.value(place))
                || since
                    .as_ref()
                    .is_some_and(|since| since.is_null(place) || !since.value(place));
            let entry = Entry {
                key,
                row,
                cursor: cursors
                    .as_ref()
                    .and_then(|cursors| cursors.get(place))
                    .map_or(0, |hash| low(*hash)),
                comes_again: again
                    .as_ref()
                    .is_some_and(|again| again.is_null(place) || again.value(place)),
            };
            (!is_left_out && bucket(key) < self.sampled).then_some(entry)
        };
        Ok(entries.map(entry).collect())
    }

    /// The hash of each row of a canonical batch, by some columns.
    pub(crate) fn hashes_of(&self, batch: &RecordBatch, places: &[usize]) -> Result<Vec<u128>> {
        let part = batch.project(places).map_err(unfit)?;
        self.hasher.hashes(&part).map_err(unfit)
    }
}

/// The place of a column, and a value that it is compared with.
fn from(columns: &[Column], name: &str, value: &CursorValue) -> Result<(usize, Scalar<ArrayRef>)> {
    let mut known = columns.iter().enumerate();
    let found = known.find(|(_, column)| column.name == name);
    let (place, column) =
        found.ok_or_else(|| Error::internal(format!("the cursor `{name}` is not compared")))?;
    let kind = column.column_type.arrow(None);
    Ok((
        place,
        array_form::cursor_scalar(value, &kind).map_err(unfit)?,
    ))
}

/// The lowest half of a hash.
#[allow(clippy::cast_possible_truncation, reason = "it is the lowest half")]
fn low(hash: u128) -> u64 {
    hash as u64
}

/// Which values are at least `from`. NULL is neither: rows that have it are read by every run.
fn at_least(values: &ArrayRef, from: &Scalar<ArrayRef>) -> Result<BooleanArray> {
    gt_eq(values, from).map_err(unfit)
}

fn unfit(error: ArrowError) -> Error {
    Error::internal("rows cannot be compared").cause(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn column(name: &str, column_type: &str) -> Column {
        Column {
            id: 1,
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable: true,
            source_type: String::new(),
            element_id: None,
            mask: None,
            renamed_from: None,
        }
    }

    fn codec(next_run: Option<&NextRun>) -> Codec {
        let columns = vec![column("id", "int64"), column("texto", "text")];
        Codec::new(columns, &["id".to_owned()], next_run, true).unwrap()
    }

    fn entries(codec: &Codec, columns: Vec<(&str, ArrayRef)>) -> Vec<Entry> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let found = codec.entries(&codec.canonical(&batch).unwrap()).unwrap();
        found.into_iter().flatten().collect()
    }

    #[test]
    fn a_row_has_one_hash_whatever_its_columns_order_and_width() {
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let one = entries(&codec(None), vec![("id", narrow), ("texto", texts.clone())]);
        let other = entries(
            &codec(None),
            vec![("texto", texts.clone()), ("otro", texts), ("id", wide)],
        );
        assert_eq!(one, other);
        assert_ne!(one[0].key, one[1].key);
    }

    #[test]
    fn of_a_cursor_the_rows_that_the_next_run_reads_are_known() {
        let next_run = NextRun {
            column: "id".to_owned(),
            from: CursorValue::Integer(2),
        };
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"; 4]));
        let found = entries(&codec(Some(&next_run)), vec![("id", ids), ("texto", texts)]);
        let again: Vec<bool> = found.iter().map(|entry| entry.comes_again).collect();
        assert_eq!(again, [false, true, true, true]);
        assert_ne!(found[0].cursor, found[1].cursor);
    }

    #[test]
    fn zeros_are_one_only_where_the_table_takes_them_for_one() {
        for (keeps, are_one) in [(true, false), (false, true)] {
            let codec = Codec::new(vec![column("x", "float64")], &[], None, keeps).unwrap();
            let values: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
            let found = entries(&codec, vec![("x", values)]);
            assert_eq!(found[0] == found[1], are_one);
        }
    }

    #[test]
    fn rows_that_are_left_out_or_not_of_the_sample_do_not_count() {
        let columns = vec![column("id", "int64"), column("archived", "boolean")];
        let all = Codec::new(columns, &["id".to_owned()], None, true).unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4000));
        let archived = (0..4000).map(|id| (id % 4 != 1).then_some(id % 4 == 0));
        let archived: ArrayRef = Arc::new(archived.collect::<BooleanArray>());
        let rows = vec![("id", ids), ("archived", archived)];
        let count = |codec: &Codec| entries(codec, rows.clone()).len();
        assert_eq!(count(&all), 4000);
        assert_eq!(count(&all.clone().without("archived")), 3000);
        assert_eq!(count(&all.clone().without("id")), 4000);
        let half = count(&all.of_sample(super::super::buckets::BUCKETS / 2));
        assert!((1_800..2_200).contains(&half), "{half}");
    }

    #[test]
    fn a_missing_column_and_a_value_beyond_the_type_are_refused() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let batch = RecordBatch::try_from_iter([("id", wide)]).unwrap();
        let error = codec(None).canonical(&batch).unwrap_err();
        assert!(error.to_string().contains("`texto`"), "{error}");
        let narrow = Codec::new(vec![column("id", "int16")], &[], None, true).unwrap();
        let error = narrow.canonical(&batch).unwrap_err();
        assert!(error.to_string().contains("`id`"), "{error}");
        assert!(!error.report().contains("9223372036854775807"));
    }
}
