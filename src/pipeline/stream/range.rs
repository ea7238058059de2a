//! A range of an incremental stream is read again, and takes the place of what its table has of it. The position stays.
//!
//! All is read in one snapshot of the source. A key that the table has in the range and the source does not was deleted, or has
//! another value of the column by now: such keys are found by comparing those of both sides, and the source is read once more for
//! them. What it has of them anywhere comes with the load, so that the load says all of what becomes of the range.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Expected, Landed, Prepared, StreamRun};
use crate::config::Stream;
use crate::destination::{StreamState, TableRange, TableRows};
use crate::error::{Error, Result};
use crate::mode::{Amends, Disposition};
use crate::pipeline::compare::side::{Each, RangeRows, Side, hand_over, living};
use crate::pipeline::compare::{Comparison, MOST_HELD};
use crate::pipeline::report::{RangeReport, StreamReport};
use crate::pipeline::shape_step::Shape;
use crate::pipeline::wait::unless_stopped;
use crate::position::{AskedRange, Position, ValueRange};
use crate::renames::Renames;
use crate::schema::{Column, Schema};
use crate::source::postgres::range::{Part, StreamRange};
use crate::source::postgres::stream::PostgresStream;
use crate::source::{LANE_CAPACITY, OpenStream};
use crate::verify::buckets::Buckets;
use crate::verify::codec::Codec;

impl StreamRun {
    /// Reads a range of an open stream again, and lands it.
    pub(super) async fn extract_range(
        &mut self,
        opened: OpenStream,
        prepared: Prepared,
        asked: &AskedRange,
        report: &mut StreamReport,
    ) -> Result<Landed> {
        let Prepared {
            before: _,
            schema,
            shape,
            description,
        } = prepared;
        let state = self.state.as_ref().ok_or_else(never_read)?;
        let looking = find(&self.stream, state, &opened, &shape.renames, asked);
        let what = format!("the source `{}` to tell of a range", self.stream.source);
        let Found {
            position,
            range,
            within,
        } = unless_stopped(&self.stop, what, looking).await?;
        let OpenStream::Postgres(stream) = opened else {
            return Err(without_ranges());
        };
        report.warn(range.warnings.iter().cloned());
        report.range = Some(told(&range));
        let stop = self.stop.child_token();
        let source_schema = schema.as_source();
        let reading = Reading {
            stream: Arc::new(*stream),
            range: Arc::new(range),
            schema: source_schema,
            shape: Arc::clone(&shape),
        };
        let keyed = match self.stream.disposition() {
            Disposition::Merge | Disposition::Scd2 => {
                let key = &description.primary_key;
                let comparison = self.keys(state, &reading, &within, key, &stop).await?;
                let sums = comparison.sums().await?;
                if sums.0.rows() + sums.1.rows() == 0 {
                    return Ok(Landed::Nothing(None));
                }
                Some((comparison, sums))
            }
            // What the table has in the range goes, or all of it stays.
            Disposition::Append | Disposition::InsertOnly | Disposition::Replace => None,
        };
        let part = Part::Range(&reading.range);
        let mut extract = reading
            .stream
            .read_part(part, &reading.schema, &stop)
            .await?;
        let (sender, moved) = mpsc::channel(LANE_CAPACITY);
        let (end, ended) = oneshot::channel::<Result<()>>();
        extract.lanes.push(moved);
        let of_range = extract.end;
        extract.end = Box::pin(async move {
            let (of_range, of_moved) = tokio::join!(of_range, ended);
            let untold = "whoever looked for what moved did not tell how that ended";
            let of_moved = of_moved.unwrap_or_else(|_| Err(Error::internal(untold)));
            match (of_moved, of_range) {
                // Whoever fails stops the other. A range without what moved is none.
                (Err(Error::Interrupted), Err(error)) | (Err(error), _) => Err(error),
                (Ok(()), of_range) => of_range,
            }
        });
        let expected = Expected {
            from: Some(position),
            schema: Some(schema),
            misfits: description.misfits,
            primary_key: description.primary_key,
            key_is_unique: description.key_is_unique,
            shape,
            amends: Some(Amends::Range(within.range)),
        };
        let finding = async {
            let found = if let Some((comparison, sums)) = keyed {
                reading.find_moved(&comparison, &sums, sender, &stop).await
            } else {
                drop(sender);
                Ok(())
            };
            if found.is_err() {
                stop.cancel();
            }
            let _ = end.send(found);
        };
        let (landed, ()) = tokio::join!(self.land(extract, expected, &stop, report), finding);
        landed
    }

    /// The comparison of the keys that both sides have in the range.
    async fn keys(
        &self,
        state: &StreamState,
        reading: &Reading,
        within: &TableRange,
        key: &[String],
        stop: &CancellationToken,
    ) -> Result<Comparison<'static>> {
        let known = state.schema.columns.iter();
        let columns: Vec<Column> = known
            .map(|column| &column.column)
            .filter(|column| key.contains(&column.name))
            .cloned()
            .collect();
        if columns.len() < key.len() {
            return Err(is_behind(&self.stream, "all columns of the key"));
        }
        let names: BTreeSet<&str> = columns.iter().map(Column::source_name).collect();
        let mut schema = reading.schema.clone();
        schema
            .columns
            .retain(|column| names.contains(column.name.as_str()));
        let asking = self
            .loader
            .call(|destination| Ok(destination.keeps_sign_of_zero()));
        let codec = Codec::new(columns.clone(), key, None, asking.await?)?.by_key_alone();
        Ok(Comparison {
            source: Side::Range(RangeRows {
                stream: Arc::clone(&reading.stream),
                range: Arc::clone(&reading.range),
                schema,
                shape: Arc::clone(&reading.shape),
            }),
            table: Side::Table(
                self.loader.clone(),
                TableRows {
                    table: self.stream.table.clone(),
                    columns,
                    living: living(&self.stream),
                    within: Some(within.clone()),
                },
            ),
            codec: Arc::new(codec),
            // What is read is masked already.
            shape: Arc::default(),
            schema: Schema::default(),
            boundary: None,
            counts_only: false,
            stop: stop.clone(),
        })
    }
}

/// A range of a stream.
struct Found {
    position: Position,
    /// As the source has it.
    range: StreamRange,
    /// As the stream's table has it.
    within: TableRange,
}

/// Looks up a range of an open stream.
async fn find(
    stream: &Stream,
    state: &StreamState,
    opened: &OpenStream,
    renames: &Renames,
    asked: &AskedRange,
) -> Result<Found> {
    let OpenStream::Postgres(open) = opened else {
        return Err(without_ranges());
    };
    let position = state.position.clone().ok_or_else(never_read)?;
    let Position::Cursor(cursor) = &position else {
        return Err(without_ranges());
    };
    let range = open.range(asked, cursor).await?;
    let within = in_table(stream, state, &range, renames)?;
    Ok(Found {
        position,
        range,
        within,
    })
}

/// The number of rows that the source has in a range of an open stream, and which range that is.
pub(in crate::pipeline) async fn look_at_range(
    stream: &Stream,
    state: Option<&StreamState>,
    opened: &OpenStream,
    asked: &AskedRange,
) -> Result<(u64, RangeReport)> {
    let state = state.ok_or_else(never_read)?;
    let found = find(stream, state, opened, &stream.renames, asked).await?;
    let OpenStream::Postgres(open) = opened else {
        return Err(without_ranges());
    };
    Ok((open.count_range(&found.range).await?, told(&found.range)))
}

fn told(range: &StreamRange) -> RangeReport {
    RangeReport {
        range: range.range.clone(),
        up_to: range.up_to.clone(),
    }
}

/// The range as the stream's table has it.
fn in_table(
    stream: &Stream,
    state: &StreamState,
    range: &StreamRange,
    renames: &Renames,
) -> Result<TableRange> {
    let source = &range.range.column;
    let of_cursor = "leave --column out: the range is one of the cursor then";
    if stream.masks().hides(source) {
        return Err(Error::config(format!(
            "the column `{source}` is masked, so the table has no ranges of it"
        ))
        .remedy(of_cursor));
    }
    if stream.disposition() == Disposition::Append && stream.cursor() != Some(source) {
        return Err(Error::config(format!(
            "rows are appended by the cursor alone, so no range of `{source}` can be replaced"
        ))
        .remedy(of_cursor));
    }
    let name = renames.name(source);
    let known = state.schema.columns.iter();
    let mut known = known.filter(|column| !column.retired);
    let column = known.find(|column| column.column.name == name);
    let ends = [&range.range.from, &range.range.to];
    let suits = |column: &&Column| {
        let mut ends = ends.iter().filter_map(|end| end.as_ref());
        ends.all(|end| end.is_of(&column.column_type))
    };
    let column = column.map(|column| &column.column).filter(suits);
    let column = column
        .cloned()
        .ok_or_else(|| is_behind(stream, &format!("the column `{name}`")))?;
    Ok(TableRange {
        column,
        range: ValueRange {
            column: name.to_owned(),
            ..range.range.clone()
        },
    })
}

/// The error of a table that does not have something as the source has it.
fn is_behind(stream: &Stream, what: &str) -> Error {
    Error::destination(format!(
        "table {} does not have {what} as the source has it now",
        stream.table
    ))
    .remedy("run `acequia run STREAM` first, which brings the table's columns up to date")
}

fn without_ranges() -> Error {
    Error::internal("a range of a stream that has none")
}

/// A range being read.
struct Reading {
    stream: Arc<PostgresStream>,
    range: Arc<StreamRange>,
    /// The columns, as the source has them.
    schema: Schema,
    shape: Arc<Shape>,
}

impl Reading {
    /// Of keys that the table alone has in the range, finds the rows that the source has elsewhere, and sends them.
    async fn find_moved(
        &self,
        comparison: &Comparison<'_>,
        (source, table): &(Buckets, Buckets),
        sender: mpsc::Sender<RecordBatch>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut from = Some(0);
        while let Some(chosen) = from.and_then(|from| source.differing(table, from, MOST_HELD)) {
            from = chosen.next;
            let gone: BTreeSet<u128> = comparison
                .look_into(chosen)
                .await?
                .extra
                .into_iter()
                .collect();
            if gone.is_empty() {
                continue;
            }
            let moved = Moved {
                keys: gone,
                codec: Arc::clone(&comparison.codec),
                shape: Arc::clone(&self.shape),
                sender: sender.clone(),
            };
            let extract = self.stream.read_part(Part::All, &self.schema, stop).await?;
            let each: Each = Arc::new(move |batch| moved.take(batch));
            hand_over(extract, &each, stop).await?;
        }
        Ok(())
    }
}

/// Sends those rows of the source whose keys are wanted.
struct Moved {
    keys: BTreeSet<u128>,
    codec: Arc<Codec>,
    shape: Arc<Shape>,
    sender: mpsc::Sender<RecordBatch>,
}

impl Moved {
    fn take(&self, batch: &RecordBatch) -> Result<()> {
        let entries = self
            .codec
            .entries(&self.codec.canonical(&self.shape.of(batch.clone())?)?)?;
        let entries = entries.iter();
        let chosen = entries.map(|entry| entry.is_some_and(|entry| self.keys.contains(&entry.key)));
        let chosen: BooleanArray = chosen.map(Some).collect();
        if chosen.true_count() == 0 {
            return Ok(());
        }
        let rows = filter_record_batch(batch, &chosen)
            .map_err(|error| Error::internal("rows do not fit their load").cause(error))?;
        let sent = self.sender.blocking_send(rows);
        sent.map_err(|_| Error::Interrupted)
    }
}

/// The error of a stream that has no position yet.
fn never_read() -> Error {
    Error::config("no run has read the stream yet, so there is no range of it to read again")
        .remedy("run `acequia run STREAM` first, without --from and --to")
}
