//! The values of rows that were found to differ: in which columns they do and, where that is asked for, what they are. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::array_form;
use crate::error::{Error, Result};

use super::codec::{Codec, Entry};
use super::report::{Difference, ShownRow};

/// Of how many rows the values are looked at.
pub(crate) const MOST_ROWS: usize = 1_000;

/// Rows of one side, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Of each key: the batch, and the row in it.
    places: BTreeMap<u128, Vec<(usize, usize)>>,
    batches: Vec<RecordBatch>,
}

impl Rows {
    /// Keeps those rows of a canonical batch whose keys are wanted.
    pub(crate) fn keep(
        &mut self,
        batch: &RecordBatch,
        entries: &[Option<Entry>],
        wanted: &BTreeSet<u128>,
    ) -> Result<()> {
        let keys: Vec<Option<u128>> = entries
            .iter()
            .map(|entry| {
                entry
                    .map(|entry| entry.key)
                    .filter(|key| wanted.contains(key))
            })
            .collect();
        let mask = BooleanArray::from_iter(keys.iter().map(|key| Some(key.is_some())));
        if mask.true_count() == 0 {
            return Ok(());
        }
        let kept = filter_record_batch(batch, &mask)
            .map_err(|error| Error::internal("rows cannot be kept").cause(error))?;
        for (row, key) in keys.into_iter().flatten().enumerate() {
            let places = self.places.entry(key).or_default();
            places.push((self.batches.len(), row));
        }
        self.batches.push(kept);
        Ok(())
    }

    fn first(&self, key: u128) -> Option<(&RecordBatch, usize)> {
        let (batch, row) = self.places.get(&key)?.first()?;
        Some((self.batches.get(*batch)?, *row))
    }
}

/// In which columns rows of one key differ, each with how many do.
///
/// # Errors
/// The rows are not such as the codec made.
pub(crate) fn columns(
    codec: &Codec,
    keys: &[u128],
    source: &Rows,
    table: &Rows,
) -> Result<BTreeMap<String, u64>> {
    let mut columns = BTreeMap::new();
    for key in keys {
        let (Some(one), Some(other)) = (source.first(*key), table.first(*key)) else {
            continue;
        };
        for place in differing(codec, one, other)? {
            if let Some(column) = codec.columns().get(place) {
                *columns.entry(column.name.clone()).or_default() += 1;
            }
        }
    }
    Ok(columns)
}

/// The rows of these keys, with their values.
///
/// # Errors
/// As [`columns`].
pub(crate) fn shown(
    codec: &Codec,
    keys: &[(Difference, u128)],
    source: &Rows,
    table: &Rows,
) -> Result<Vec<ShownRow>> {
    let all: Vec<usize> = (0..codec.columns().len()).collect();
    keys.iter()
        .map(|(difference, key)| {
            let (one, other) = (source.first(*key), table.first(*key));
            let places = match (one, other) {
                (Some(one), Some(other)) => differing(codec, one, other)?,
                _ => all.clone(),
            };
            let values = |places: &[usize], (batch, row): (&RecordBatch, usize)| {
                values(codec, batch, row, places)
            };
            let key = one.or(other).map(|row| values(codec.key(), row));
            Ok(ShownRow {
                difference: *difference,
                key: key.transpose()?.unwrap_or_default(),
                source: one.map(|row| values(&places, row)).transpose()?,
                destination: other.map(|row| values(&places, row)).transpose()?,
            })
        })
        .collect()
}

/// The places of the columns in which two rows differ.
fn differing(
    codec: &Codec,
    (one, row): (&RecordBatch, usize),
    (other, other_row): (&RecordBatch, usize),
) -> Result<Vec<usize>> {
    let (one, other) = (one.slice(row, 1), other.slice(other_row, 1));
    let mut places = Vec::new();
    for place in 0..codec.columns().len() {
        if codec.hashes_of(&one, &[place])? != codec.hashes_of(&other, &[place])? {
            places.push(place);
        }
    }
    Ok(places)
}

fn values(
    codec: &Codec,
    batch: &RecordBatch,
    row: usize,
    places: &[usize],
) -> Result<BTreeMap<String, Option<String>>> {
    let options = FormatOptions::default();
    places
        .iter()
        .filter_map(|place| Some((*place, codec.columns().get(*place)?)))
        .map(|(place, column)| {
            let array = &array_form::to_show(batch.column(place));
            let value = if array.is_null(row) {
                None
            } else {
                let told = ArrayFormatter::try_new(array, &options)
                    .and_then(|values| values.value(row).try_to_string());
                let told =
                    told.map_err(|error| Error::internal("a value cannot be shown").cause(error))?;
                Some(told)
            };
            Ok((column.name.clone(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::schema::Column;

    fn codec() -> Codec {
        let column = |name: &str, column_type: &str| Column {
            id: 1,
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable: true,
            source_type: String::new(),
            element_id: None,
            mask: None,
            renamed_from: None,
        };
        let columns = vec![column("id", "int64"), column("texto", "text")];
        Codec::new(columns, &["id".to_owned()], None, true).unwrap()
    }

    fn side(codec: &Codec, rows: &[(i64, Option<&str>)]) -> (Rows, Vec<u128>) {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1)));
        let batch = RecordBatch::try_from_iter([("id", ids), ("texto", texts)]).unwrap();
        let batch = codec.canonical(&batch).unwrap();
        let entries = codec.entries(&batch).unwrap();
        let keys: Vec<u128> = entries.iter().flatten().map(|entry| entry.key).collect();
        let mut kept = Rows::default();
        let wanted = keys.iter().copied().filter(|key| *key != keys[0]).collect();
        kept.keep(&batch, &entries, &wanted).unwrap();
        (kept, keys)
    }

    #[test]
    fn moments_are_shown_with_their_offset() {
        let moments = TimestampMicrosecondArray::from(vec![1_234_567]).with_timezone("UTC");
        let shown = array_form::to_show(&(Arc::new(moments) as ArrayRef));
        let options = FormatOptions::default();
        let shown = ArrayFormatter::try_new(&shown, &options).unwrap();
        assert_eq!(shown.value(0).to_string(), "1970-01-01T00:00:01.234567Z");
    }

    #[test]
    fn the_columns_that_differ_are_counted_and_their_values_shown() {
        let codec = codec();
        let (source, keys) = side(&codec, &[(1, Some("x")), (2, Some("a")), (3, None)]);
        let (table, _) = side(&codec, &[(1, Some("x")), (2, Some("b")), (4, Some("c"))]);
        let counted = columns(&codec, &keys, &source, &table).unwrap();
        assert_eq!(counted, BTreeMap::from([("texto".to_owned(), 1)]));
        let told = shown(
            &codec,
            &[
                (Difference::Differs, keys[1]),
                (Difference::Missing, keys[2]),
            ],
            &source,
            &table,
        );
        let told = told.unwrap();
        let of = |pairs: &[(&str, Option<&str>)]| -> BTreeMap<String, Option<String>> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
                .collect()
        };
        assert_eq!(told[0].key, of(&[("id", Some("2"))]));
        assert_eq!(told[0].source, Some(of(&[("texto", Some("a"))])));
        assert_eq!(told[0].destination, Some(of(&[("texto", Some("b"))])));
        assert_eq!(
            told[1].source,
            Some(of(&[("id", Some("3")), ("texto", None)]))
        );
        assert_eq!(told[1].destination, None);
    }
}
