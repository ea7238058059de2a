//! Rows that are only counted: their number, the NULLs of each column, and the lowest and highest value of one. The databases
//! count them, or [`Tally::add`] does for what is no database. No I/O.
//!
//! Of a stream that is read by a cursor, rows are *settled* below where its next run begins: there the table has every row that
//! the source has. A row of the table that the source lacks there was changed since, and stands above, or was deleted.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{SortOptions, concat, filter, sort_to_indices, take};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::codec::{Entry, NextRun};
use super::report::{Counted, CountedBounds, CountedNulls};
use crate::array_form;
use crate::error::{Error, Result};
use crate::position::CursorValue;
use crate::schema::{Column, ColumnType, Schema};

/// The column of an answer with the number of all rows.
pub(crate) const ROWS: &str = "rows";
/// That of the settled ones.
pub(crate) const SETTLED: &str = "settled";
/// Those of the lowest and highest value.
pub(crate) const LOWEST: &str = "lowest";
pub(crate) const HIGHEST: &str = "highest";

/// What is counted.
#[derive(Debug, Clone)]
pub struct Counting {
    /// The columns whose NULLs are counted, in settled rows.
    pub(crate) columns: Vec<Column>,
    /// Where the stream's next run begins to read. `None` if all rows are settled.
    pub(crate) next_run: Option<NextRun>,
    /// The column whose lowest and highest values are compared, in settled rows.
    pub(crate) bounds: Option<Column>,
    /// The column that is true in rows that do not count.
    pub(crate) left_out: Option<String>,
}

/// What was counted on one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    rows: u64,
    settled: u64,
    /// Of each column, the settled rows in which it is not NULL.
    filled: Vec<u64>,
    /// The lowest and the highest value: arrays of one.
    bounds: Option<(ArrayRef, ArrayRef)>,
}

/// What a comparison of two tallies says of their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) missing: u64,
    pub(crate) extra: u64,
    pub(crate) changed: u64,
}

/// Whether every database, and acequia, orders values of that type alike. Texts have collations, floats NaN, UUIDs their bytes.
pub(crate) fn is_ordered_alike(column_type: &ColumnType) -> bool {
    CursorValue::supports(column_type)
        && !matches!(column_type, ColumnType::Text | ColumnType::Uuid)
}

impl Counting {
    /// The same by the names of the source, of which `schema` knows those of the table.
    pub(crate) fn as_source(&self, schema: &Schema) -> Self {
        let name = |name: &str| {
            let column = schema.column(name);
            column.map_or(name, Column::source_name).to_owned()
        };
        let of_source = |column: &Column| Column {
            name: name(&column.name),
            renamed_from: None,
            ..column.clone()
        };
        Self {
            columns: self.columns.iter().map(of_source).collect(),
            next_run: self.next_run.as_ref().map(|next_run| NextRun {
                column: name(&next_run.column),
                from: next_run.from.clone(),
            }),
            bounds: self.bounds.as_ref().map(of_source),
            left_out: self.left_out.as_deref().map(name),
        }
    }

    /// The columns of an answer: the two numbers of rows, the two bounds of that type, then how often each column is filled.
    pub(crate) fn answer(&self, of_bounds: Option<&ColumnType>) -> Vec<Column> {
        let number = |name: &str| column(name, ColumnType::Int64);
        let mut columns = vec![number(ROWS), number(SETTLED)];
        if let Some(kind) = of_bounds {
            columns.extend([LOWEST, HIGHEST].map(|name| column(name, kind.clone())));
        }
        let filled = (0..self.columns.len()).map(|place| number(&format!("filled_{place}")));
        columns.extend(filled);
        columns
    }
}

fn column(name: &str, column_type: ColumnType) -> Column {
    Column {
        id: 0,
        name: name.to_owned(),
        column_type,
        nullable: true,
        source_type: String::new(),
        element_id: None,
        mask: None,
        renamed_from: None,
    }
}

impl Tally {
    /// No rows.
    pub(crate) fn none(counting: &Counting) -> Self {
        Self {
            filled: vec![0; counting.columns.len()],
            ..Self::default()
        }
    }

    /// What a database counted: one row of [`Counting::answer`].
    ///
    /// # Errors
    /// It is none, or a bound is no value of the table's type.
    pub(crate) fn of_answer(counting: &Counting, answer: &RecordBatch) -> Result<Self> {
        let number = |name: &str| {
            let values = answer.column_by_name(name);
            let values = values.and_then(|values| values.as_primitive_opt::<Int64Type>());
            let value = values.filter(|values| values.len() == 1 && values.is_valid(0));
            value
                .and_then(|values| u64::try_from(values.value(0)).ok())
                .ok_or_else(|| Error::internal("a database counted nothing"))
        };
        let bound = |name: &str, column: &Column| {
            let value = answer.column_by_name(name);
            let value = value.ok_or_else(|| Error::internal("a bound was not counted"))?;
            array_form::of_type(value, &column.column_type).map_err(|_| unfit(column))
        };
        let bounds = match &counting.bounds {
            Some(column) => Some((bound(LOWEST, column)?, bound(HIGHEST, column)?)),
            None => None,
        };
        let filled = (0..counting.columns.len()).map(|place| number(&format!("filled_{place}")));
        Ok(Self {
            rows: number(ROWS)?,
            settled: number(SETTLED)?,
            filled: filled.collect::<Result<_>>()?,
            bounds,
        })
    }

    /// Adds rows whose columns are those that are counted, in the table's types.
    ///
    /// # Errors
    /// They are not.
    pub(crate) fn add(
        &mut self,
        counting: &Counting,
        batch: &RecordBatch,
        entries: &[Option<Entry>],
    ) -> Result<()> {
        let settled: BooleanArray = entries
            .iter()
            .map(|entry| Some(entry.is_some_and(|entry| !entry.comes_again)))
            .collect();
        self.rows += entries.iter().flatten().count() as u64;
        self.settled += settled.true_count() as u64;
        for (column, filled) in counting.columns.iter().zip(&mut self.filled) {
            let values = of_column(batch, &column.name)?;
            let values = filter(values, &settled).map_err(unreadable)?;
            *filled += (values.len() - values.null_count()) as u64;
        }
        if let Some(column) = &counting.bounds {
            let values = filter(of_column(batch, &column.name)?, &settled).map_err(unreadable)?;
            let (lowest, highest) = match self.bounds.take() {
                Some((lowest, highest)) => (
                    concat(&[&lowest, &values]).map_err(unreadable)?,
                    concat(&[&highest, &values]).map_err(unreadable)?,
                ),
                None => (values.clone(), values),
            };
            let lowest = first(&lowest, false).map_err(unreadable)?;
            self.bounds = Some((lowest, first(&highest, true).map_err(unreadable)?));
        }
        Ok(())
    }

    /// Takes the column of that place for one that is NULL in every row.
    pub(crate) fn empty(&mut self, place: usize) {
        if let Some(filled) = self.filled.get_mut(place) {
            *filled = 0;
        }
    }

    /// Whether there are rows, and the stream's next run reads all of them again.
    pub(crate) fn settles_nothing(&self) -> bool {
        self.rows > 0 && self.settled == 0
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

fn of_column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| Error::internal(format!("the column `{name}` is not counted")))
}

/// The lowest of these values, or the highest; NULL if there is none but NULL, and nothing if there is none.
fn first(values: &ArrayRef, descending: bool) -> Result<ArrayRef, ArrowError> {
    let options = SortOptions {
        descending,
        nulls_first: false,
    };
    let first = sort_to_indices(values, Some(options), Some(1))?;
    take(values, &first, None)
}

/// Compares what was counted. Values are told only if `show` says so.
///
/// # Errors
/// A value cannot be shown.
pub(crate) fn compare(
    counting: &Counting,
    source: &Tally,
    table: &Tally,
    show: bool,
) -> Result<(Numbers, Counted)> {
    // Changed since are at most as many rows as the source has more above than the table; each of them may be one that the table
    // has below, as it was.
    let again = |tally: &Tally| i128::from(tally.rows) - i128::from(tally.settled);
    let below = i128::from(table.settled) - i128::from(source.settled);
    let above = again(source) - again(table);
    let positive = |number: i128| u64::try_from(number.max(0)).unwrap_or(u64::MAX);
    let numbers = Numbers {
        missing: positive(-below),
        extra: positive(below.max(0) - above),
        changed: positive(above),
    };
    let mut nulls = Vec::new();
    let columns = counting.columns.iter();
    for (column, (of_source, of_table)) in columns.zip(source.filled.iter().zip(&table.filled)) {
        let source = source.settled.saturating_sub(*of_source);
        let destination = table.settled.saturating_sub(*of_table);
        // So many may have gone with rows that only one side has there.
        let differ = source.abs_diff(destination) > positive(below.abs())
            || of_source.abs_diff(*of_table) > positive(below.abs());
        nulls.push(CountedNulls {
            column: column.name.clone(),
            source,
            destination,
            is_equal: !differ,
        });
    }
    let bounds = match (&counting.bounds, &source.bounds, &table.bounds) {
        (Some(column), Some(of_source), Some(of_table)) if below == 0 => Some(CountedBounds {
            column: column.name.clone(),
            is_equal: same(&of_source.0, &of_table.0) && same(&of_source.1, &of_table.1),
            source: shown(of_source, show)?,
            destination: shown(of_table, show)?,
        }),
        _ => None,
    };
    Ok((numbers, Counted { nulls, bounds }))
}

/// Whether two bounds are one value, NULL or none.
fn same(one: &ArrayRef, other: &ArrayRef) -> bool {
    let is_nothing = |array: &ArrayRef| array.null_count() == array.len();
    (is_nothing(one) && is_nothing(other)) || one == other
}

fn shown((lowest, highest): &(ArrayRef, ArrayRef), show: bool) -> Result<Vec<Option<String>>> {
    if !show {
        return Ok(Vec::new());
    }
    let options = FormatOptions::default();
    let told = |array: &ArrayRef| -> Result<Option<String>> {
        if array.null_count() == array.len() {
            return Ok(None);
        }
        let array = &array_form::to_show(array);
        let values = ArrayFormatter::try_new(array, &options).map_err(unreadable)?;
        // Infinity is no day that Arrow writes.
        let told = values.value(0).try_to_string();
        Ok(Some(
            told.unwrap_or_else(|_| "outside the calendar".to_owned()),
        ))
    };
    Ok(vec![told(lowest)?, told(highest)?])
}

fn unfit(column: &Column) -> Error {
    Error::data(format!(
        "column `{}` has values that do not fit its type in the destination, {}",
        column.name, column.column_type
    ))
    .remedy("run the stream, which widens the column, and verify again")
}

fn unreadable(error: ArrowError) -> Error {
    Error::internal("rows cannot be counted").cause(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn counting() -> Counting {
        Counting {
            columns: vec![
                column("id", ColumnType::Int64),
                column("texto", ColumnType::Text),
            ],
            next_run: None,
            bounds: Some(column("id", ColumnType::Int64)),
            left_out: None,
        }
    }

    fn bound(value: Option<i64>) -> ArrayRef {
        Arc::new(Int64Array::from(vec![value]))
    }

    fn tally(rows: u64, settled: u64, filled: [u64; 2], bounds: (i64, i64)) -> Tally {
        Tally {
            rows,
            settled,
            filled: filled.to_vec(),
            bounds: Some((bound(Some(bounds.0)), bound(Some(bounds.1)))),
        }
    }

    #[test]
    fn numbers_nulls_and_bounds_that_differ_are_told() {
        let table = tally(10, 10, [10, 7], (1, 10));
        for (source, missing, extra, texto, bounds) in [
            (tally(10, 10, [10, 7], (1, 10)), 0, 0, true, Some(true)),
            (tally(12, 12, [12, 9], (1, 12)), 2, 0, true, None),
            (tally(9, 9, [9, 7], (1, 9)), 0, 1, true, None),
            (tally(10, 10, [10, 6], (1, 10)), 0, 0, false, Some(true)),
            (tally(10, 10, [10, 7], (0, 10)), 0, 0, true, Some(false)),
        ] {
            let (numbers, counted) = compare(&counting(), &source, &table, false).unwrap();
            assert_eq!((numbers.missing, numbers.extra), (missing, extra));
            assert_eq!(counted.nulls[1].is_equal, texto);
            let told = counted.bounds;
            assert!(told.iter().all(|bounds| bounds.source.is_empty()));
            assert_eq!(told.map(|bounds| bounds.is_equal), bounds);
        }
    }

    #[test]
    fn what_changed_since_is_no_difference_and_hides_none() {
        // Ten rows, of which the next run reads one again.
        let table = tally(10, 9, [9, 9], (1, 9));
        let numbers = |rows, settled| {
            let source = tally(rows, settled, [settled, settled], (1, 9));
            let (numbers, _) = compare(&counting(), &source, &table, false).unwrap();
            (numbers.missing, numbers.extra, numbers.changed)
        };
        assert_eq!(numbers(10, 9), (0, 0, 0));
        // Two are new; two changed; one is new and one changed; one was deleted.
        assert_eq!(numbers(12, 9), (0, 0, 2));
        assert_eq!(numbers(10, 7), (0, 0, 2));
        assert_eq!(numbers(11, 8), (0, 0, 2));
        assert_eq!(numbers(9, 8), (0, 1, 0));
        // One is missing below, and new ones do not hide it.
        assert_eq!(numbers(15, 10), (1, 0, 4));
    }

    #[test]
    fn rows_that_are_no_databases_are_counted_alike() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), None, Some(2), Some(9)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a"), None, Some("b")]));
        let batch = RecordBatch::try_from_iter([("id", ids), ("texto", texts)]).unwrap();
        let entry = |comes_again| Entry {
            key: 1,
            row: 1,
            cursor: 0,
            comes_again,
        };
        let settled = Some(entry(false));
        let mut counted = Tally::none(&counting());
        for _ in 0..2 {
            let entries = [settled, settled, settled, Some(entry(true))];
            counted.add(&counting(), &batch, &entries).unwrap();
            counted
                .add(&counting(), &batch, &[None, None, None, None])
                .unwrap();
        }
        assert_eq!((counted.rows, counted.settled), (8, 6));
        assert_eq!(counted.filled, [4, 2]);
        let (lowest, highest) = counted.bounds.unwrap();
        assert_eq!((&lowest, &highest), (&bound(Some(2)), &bound(Some(4))));
    }
}
