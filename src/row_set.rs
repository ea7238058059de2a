//! A set of rows as a count and a hash, which are equal for the same rows in any order and in any batches. No I/O.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A multiset of rows. The rows' hashes are added up, so that a row that comes twice counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSet {
    /// How many rows it has.
    pub rows: u64,
    #[serde(with = "hexadecimal")]
    hash: u128,
}

/// Hashes rows, together with the names and types of their columns and with a context.
#[derive(Debug, Clone)]
pub struct RowHasher {
    context: Sha256,
}

impl RowHasher {
    /// Creates a hasher. Rows are equal only within the same context.
    pub fn new(context: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(context.len().to_be_bytes());
        hasher.update(context);
        Self { context: hasher }
    }

    /// The rows of a batch, by all columns. Values that differ in their bits are different: -0.0 is not 0.0.
    ///
    /// # Errors
    /// A column has a type without an order in Arrow. acequia reads no such type.
    pub fn set_of(&self, batch: &RecordBatch) -> Result<RowSet, ArrowError> {
        let mut set = RowSet::default();
        for hash in self.hashes(batch)? {
            set.add(RowSet { rows: 1, hash });
        }
        Ok(set)
    }

    /// The hash of each row of a batch, by all columns.
    ///
    /// # Errors
    /// As [`set_of`](Self::set_of).
    pub fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u128>, ArrowError> {
        let schema = batch.schema();
        let mut hasher = self.context.clone();
        for field in schema.fields() {
            hasher.update(format!("{}\0{:?}\0", field.name(), field.data_type()));
        }
        let fields = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)?.convert_columns(batch.columns())?;
        let hash = |row: arrow::row::Row<'_>| {
            let digest = hasher.clone().chain_update(row.as_ref()).finalize();
            let bytes = digest.iter().take(16);
            bytes.fold(0, |hash, byte| (hash << 8) | u128::from(*byte))
        };
        Ok(rows.iter().map(hash).collect())
    }
}

impl RowSet {
    /// Adds the rows of another.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{hash:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch(ids: &[Option<i32>], texts: &[Option<&str>]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int32Array::from(ids.to_vec()));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        RecordBatch::try_from_iter([("id", ids), ("texto", texts)]).unwrap()
    }

    fn set(batch: &RecordBatch) -> RowSet {
        RowHasher::new("ventas").set_of(batch).unwrap()
    }

    #[test]
    fn the_same_rows_are_the_same_set_in_any_order_and_batches() {
        let whole = batch(&[Some(1), Some(2), None], &[Some("a"), None, Some("")]);
        let turned = batch(&[None, Some(1), Some(2)], &[Some(""), Some("a"), None]);
        assert_eq!(set(&whole), set(&turned));
        let mut parts = set(&whole.slice(0, 1));
        parts.add(set(&whole.slice(1, 2)));
        assert_eq!(parts, set(&whole));
        assert_eq!(set(&whole).rows, 3);
    }

    #[test]
    fn other_rows_are_another_set() {
        let rows = batch(&[Some(1), Some(2)], &[Some("a"), Some("b")]);
        let others = [
            batch(&[Some(1), Some(2)], &[Some("b"), Some("a")]),
            batch(&[Some(1), Some(2)], &[Some("a"), None]),
            batch(&[Some(1), Some(1)], &[Some("a"), Some("b")]),
            batch(
                &[Some(1), Some(2), Some(2)],
                &[Some("a"), Some("b"), Some("b")],
            ),
            batch(&[Some(1)], &[Some("a")]),
        ];
        for other in &others {
            assert_ne!(set(&rows), set(other), "{other:?}");
        }
        let twice = batch(&[Some(1), Some(1)], &[None, None]);
        let others = batch(&[Some(2), Some(2)], &[None, None]);
        assert_ne!(set(&twice), set(&others));
    }

    #[test]
    fn names_types_and_the_context_count() {
        let column =
            |name: &str, column: ArrayRef| RecordBatch::try_from_iter([(name, column)]).unwrap();
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        assert_ne!(
            set(&column("a", ids.clone())),
            set(&column("b", ids.clone()))
        );
        let rows = column("a", ids);
        assert_ne!(set(&rows), RowHasher::new("cursos").set_of(&rows).unwrap());
    }

    #[test]
    fn the_sign_of_zero_and_what_is_in_a_list_count() {
        let floats = |value: f64| {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            RecordBatch::try_from_iter([("x", column)]).unwrap()
        };
        assert_ne!(set(&floats(0.0)), set(&floats(-0.0)));
        assert_eq!(set(&floats(f64::NAN)), set(&floats(f64::NAN)));
        let lists = |values: Vec<Option<i32>>| {
            let column: ArrayRef =
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(
                    values,
                )]));
            RecordBatch::try_from_iter([("x", column)]).unwrap()
        };
        assert_ne!(set(&lists(vec![Some(1), None])), set(&lists(vec![Some(1)])));
    }

    #[test]
    fn it_is_kept_as_json() {
        let rows = set(&batch(&[Some(1)], &[None]));
        let text = serde_json::to_string(&rows).unwrap();
        assert_eq!(serde_json::from_str::<RowSet>(&text).unwrap(), rows);
    }
}
