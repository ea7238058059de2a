//! What a comparison found becomes a load: rows of the source that the table lacks or has otherwise, and keys that the source does
//! not have. It lands, is loaded and replayed as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Comparison, lock};
use crate::array_form;
use crate::change::{COMMIT_TS, LSN, OP, Op, SEQ, SnapshotMark, UNCHANGED};
use crate::error::{Error, Result};
use crate::mode::Amends;
use crate::pipeline::report::StreamReport;
use crate::pipeline::shape_step::Shape;
use crate::pipeline::stream::{Expected, StreamRun};
use crate::position::Position;
use crate::schema::{Column, Schema};
use crate::source::{Complete, Extract, ExtractEnd, LANE_CAPACITY};
use crate::verify::codec::{Codec, Entry};
use crate::verify::compare::Found;

/// What of a comparison becomes a load, and what of its stream the load says.
pub(in crate::pipeline) struct Amendment {
    pub(in crate::pipeline) amends: Amends,
    /// The columns of the load.
    pub(in crate::pipeline) schema: Schema,
    /// The key's columns. A table without a key is not amended: a row more or a row less would change what a replay makes of the
    /// loads before it.
    pub(in crate::pipeline) key: Vec<String>,
    /// Where the stream stands.
    pub(in crate::pipeline) position: Position,
    /// Where it stands afterwards, if elsewhere.
    pub(in crate::pipeline) after: Option<Position>,
    /// For a stream of changes, the place in the log that its changes are given.
    pub(in crate::pipeline) mark: Option<SnapshotMark>,
}

impl Amendment {
    /// Lands and loads what was found.
    pub(in crate::pipeline) async fn apply(
        self,
        comparison: &Comparison<'_>,
        found: &Found,
        run: &mut StreamRun,
        report: &mut StreamReport,
    ) -> Result<()> {
        let stop = run.stop.child_token();
        let (sender, batches) = mpsc::channel(LANE_CAPACITY);
        let (end, ended) = oneshot::channel();
        let extract = Extract {
            lanes: vec![batches],
            end: Box::pin(async move {
                let ended: Result<Result<ExtractEnd>, _> = ended.await;
                ended.map_err(|_| Error::internal("whoever read did not tell how that ended"))?
            }),
        };
        let rows = Arc::new(AmendedRows::new(&self, comparison, found, sender));
        let expected = Expected {
            from: Some(self.position),
            schema: Some(self.schema),
            misfits: BTreeMap::new(),
            primary_key: self.key,
            key_is_unique: true,
            shape: Arc::default(),
            amends: Some(self.amends),
        };
        let complete = Complete {
            position: self.after,
            ..Complete::default()
        };
        let producing = async {
            let produced = produce(comparison, rows, &stop).await;
            let _ = end.send(produced.map(|()| ExtractEnd::Complete(Box::new(complete))));
        };
        let (landed, ()) = tokio::join!(run.land(extract, expected, &stop, report), producing);
        run.apply(landed?, report).await
    }
}

/// Reads the source for the rows, and then the table for the keys that the source was not seen to have.
async fn produce(
    comparison: &Comparison<'_>,
    rows: Arc<AmendedRows>,
    stop: &CancellationToken,
) -> Result<()> {
    let of_source = Arc::clone(&rows);
    comparison
        .source
        .read(
            &(Arc::new(move |batch: &RecordBatch| of_source.take_source(batch)) as _),
            stop,
        )
        .await?;
    comparison
        .table
        .read(
            &(Arc::new(move |batch: &RecordBatch| rows.take_table(batch)) as _),
            stop,
        )
        .await
}

/// Makes batches of a load of the rows that were found.
struct AmendedRows {
    codec: Arc<Codec>,
    shape: Arc<Shape>,
    /// The columns of the load, and those of its parts.
    columns: Vec<Column>,
    parts: SchemaRef,
    mark: Option<SnapshotMark>,
    /// Keys of rows that are read from the source.
    wanted: BTreeSet<u128>,
    /// Keys of rows that the table has and the source does not.
    extra: Mutex<BTreeSet<u128>>,
    /// The key's columns.
    key: Vec<String>,
    seq: AtomicI64,
    sender: mpsc::Sender<RecordBatch>,
}

impl AmendedRows {
    fn new(
        amendment: &Amendment,
        comparison: &Comparison<'_>,
        found: &Found,
        sender: mpsc::Sender<RecordBatch>,
    ) -> Self {
        let columns = amendment.schema.columns.clone();
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|column| column.field().with_nullable(true))
            .collect();
        if amendment.mark.is_none() {
            fields.push(Field::new(OP, DataType::Utf8, false));
        }
        // What only is to go is not read from the source, but looked for there. A repair reads whole rows, and puts one that has come
        // again, or that the table has twice, as it is. Of missing rows only the keys are read: such a row stays as it is.
        let wanted: BTreeSet<u128> = match amendment.amends {
            // The rows of a range are read as they are, not found here.
            Amends::DeleteMissing | Amends::Range(_) => BTreeSet::new(),
            Amends::Repair => {
                let rows = found.missing.iter().chain(&found.differ);
                rows.chain(&found.extra).copied().collect()
            }
        };
        Self {
            codec: Arc::clone(&comparison.codec),
            shape: Arc::clone(&comparison.shape),
            columns,
            parts: Arc::new(ArrowSchema::new(fields)),
            mark: amendment.mark,
            wanted,
            extra: Mutex::new(found.extra.iter().copied().collect()),
            key: comparison.codec.key_names(),
            seq: AtomicI64::new(0),
            sender,
        }
    }

    /// Takes those rows of the source that were found.
    fn take_source(&self, batch: &RecordBatch) -> Result<()> {
        let batch = &self.shape.of(batch.clone())?;
        let entries = self.codec.entries(&self.codec.canonical(batch)?)?;
        let mut extra = lock(&self.extra);
        let mut chosen = |entry: &Entry| {
            // The source has the key, so that its rows are replaced, not deleted.
            extra.remove(&entry.key);
            self.wanted.contains(&entry.key)
        };
        let chosen: Vec<bool> = entries
            .iter()
            .map(|entry| entry.as_ref().is_some_and(&mut chosen))
            .collect();
        drop(extra);
        self.send(batch, &chosen, Op::Update, |column, batch| {
            batch.column_by_name(&column.name).cloned()
        })
    }

    /// Takes the keys of those rows of the table that the source does not have.
    fn take_table(&self, batch: &RecordBatch) -> Result<()> {
        let canonical = self.codec.canonical(batch)?;
        let entries = self.codec.entries(&canonical)?;
        let mut extra = lock(&self.extra);
        let mut chosen = |entry: &Entry| extra.remove(&entry.key);
        let chosen: Vec<bool> = entries
            .iter()
            .map(|entry| entry.as_ref().is_some_and(&mut chosen))
            .collect();
        drop(extra);
        self.send(&canonical, &chosen, Op::Delete, |column, batch| {
            let of_key = self.key.contains(&column.name);
            batch
                .column_by_name(&column.name)
                .filter(|_| of_key)
                .cloned()
        })
    }

    /// Sends the chosen rows. `value` gives a column's values, or none where they are NULL.
    fn send(
        &self,
        batch: &RecordBatch,
        chosen: &[bool],
        op: Op,
        value: impl Fn(&Column, &RecordBatch) -> Option<ArrayRef>,
    ) -> Result<()> {
        let mask: BooleanArray = chosen.iter().map(|chosen| Some(*chosen)).collect();
        let number = mask.true_count();
        if number == 0 {
            return Ok(());
        }
        let unfit = |error| Error::internal("rows do not fit their load").cause(error);
        let batch = filter_record_batch(batch, &mask).map_err(unfit)?;
        let mut arrays = Vec::with_capacity(self.parts.fields().len());
        let last = i64::try_from(number).unwrap_or(i64::MAX);
        let first = self.seq.fetch_add(last, Ordering::Relaxed) + 1;
        for (column, field) in self.columns.iter().zip(self.parts.fields()) {
            let kind = (number, field.data_type());
            let own = self
                .mark
                .and_then(|mark| of_change(&column.name, op, mark, first, kind));
            arrays.push(match own.or_else(|| value(column, &batch)) {
                Some(array) => as_in_part(array, column, field.data_type())?,
                None => new_null_array(field.data_type(), number),
            });
        }
        if self.mark.is_none() {
            let ops = StringArray::from_iter_values(std::iter::repeat_n(op.code(), number));
            arrays.push(Arc::new(ops));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.parts), arrays).map_err(unfit)?;
        let sent = self.sender.blocking_send(batch);
        sent.map_err(|_| Error::Interrupted)
    }
}

/// Values in the type that the parts have for their column. Those of the table may be of a wider one.
fn as_in_part(array: ArrayRef, column: &Column, wanted: &DataType) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(array);
    }
    let array = array_form::of_type(&array, &column.column_type).map_err(|_| {
        Error::data(format!(
            "a value of column `{}` of the table is none that the source's type has",
            column.name
        ))
        .remedy("make the table anew: `acequia run STREAM --full-refresh`")
    })?;
    if array.data_type() == wanted {
        return Ok(array);
    }
    // A list's element is called otherwise, or has an id.
    let data = array.to_data().into_builder().data_type(wanted.clone());
    let data = data
        .build()
        .map_err(|error| Error::internal("a list does not fit its load").cause(error))?;
    Ok(arrow::array::make_array(data))
}

/// The values of a column that a change has beside its row. `None` if the column is not one.
fn of_change(
    column: &str,
    op: Op,
    mark: SnapshotMark,
    first: i64,
    (rows, data_type): (usize, &DataType),
) -> Option<ArrayRef> {
    Some(match column {
        OP => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
            op.code(),
            rows,
        ))),
        LSN => Arc::new(Int64Array::from_value(mark.lsn.bigint(), rows)),
        SEQ => Arc::new(Int64Array::from_iter_values((first..).take(rows))),
        COMMIT_TS => {
            let times = TimestampMicrosecondArray::from_value(mark.taken_at, rows);
            Arc::new(times.with_timezone("UTC"))
        }
        UNCHANGED => new_null_array(data_type, rows),
        _ => return None,
    })
}
