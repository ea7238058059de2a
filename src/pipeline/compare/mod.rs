//! The comparison of a table's rows with those of another side: sums of all rows, then the rows of the buckets that differ, then
//! the values of those found. [`side`] is what is read; [`amend`] makes a load of what was found.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::mask::Masks;
use crate::row_set::{RowHasher, RowSet};
use crate::schema::Schema;
use crate::verify::buckets::{Buckets, Chosen};
use crate::verify::codec::{Codec, Entry};
use crate::verify::compare::{Found, compare};
use crate::verify::details::{self, Rows};
use crate::verify::report::{Difference, Outcome, StreamVerification};

pub(super) mod amend;
pub(super) mod side;

use side::{Each, Side};

/// Of how many rows, of both sides together, hashes are held at once: some 100 MB.
pub(super) const MOST_HELD: u64 = 2 << 20;
/// After how many differences no more are looked for.
const MOST_FOUND: usize = 1 << 20;

/// Two sides, and how they are compared.
pub(super) struct Comparison<'a> {
    pub(super) source: Side<'a>,
    pub(super) table: Side<'a>,
    pub(super) codec: Arc<Codec>,
    /// What takes the place of values of the source.
    pub(super) masks: Arc<Masks>,
    /// The columns of the source, as an extract has them.
    pub(super) schema: Schema,
    /// The rows at the end of what was read so far, as the stream's position has them: if the source has the same there, the next
    /// run reads none of them again.
    pub(super) boundary: Option<(RowHasher, RowSet)>,
    /// Whether rows are only counted, as nothing tells one from another.
    pub(super) counts_only: bool,
    pub(super) stop: CancellationToken,
}

/// What one reading of a side gathers.
type Gathered<T> = Arc<Mutex<T>>;

/// The rows of some buckets.
#[derive(Default)]
struct Held {
    entries: Vec<Entry>,
    /// Those that the next run reads.
    again: RowSet,
}

impl Comparison<'_> {
    /// Compares the sides and writes into the report what was found. Returns it as well.
    pub(super) async fn run(&self, show: usize, report: &mut StreamVerification) -> Result<Found> {
        let (source, table) = self.sums().await?;
        report.rows_source = source.rows();
        report.rows_destination = table.rows();
        if self.counts_only {
            report.missing = source.rows().saturating_sub(table.rows());
            report.extra = table.rows().saturating_sub(source.rows());
            let is_equal = report.missing + report.extra == 0;
            report.result = if is_equal {
                Outcome::Equal
            } else {
                Outcome::Different
            };
            return Ok(Found::default());
        }
        let (found, is_all) = self.differences(&source, &table, |found| found).await?;
        report.is_complete = is_all;
        report.missing = found.missing.len() as u64;
        report.extra = found.extra.len() as u64;
        report.differ = found.differ.len() as u64;
        report.changed = found.changed;
        report.result = if found.is_nothing() {
            Outcome::Equal
        } else {
            Outcome::Different
        };
        self.detail(&found, show, report).await?;
        Ok(found)
    }

    /// Compares the sides by their keys: what the table has that the source does not, and whether that is all of it.
    pub(super) async fn extra(&self) -> Result<(Found, bool)> {
        let (source, table) = self.sums().await?;
        // What the table lacks is the next run's.
        let extra = |found: Found| Found {
            extra: found.extra,
            ..Found::default()
        };
        self.differences(&source, &table, extra).await
    }

    /// What differs, as far as it counts, until there is too much of it; and whether that is all.
    async fn differences(
        &self,
        source: &Buckets,
        table: &Buckets,
        counts: fn(Found) -> Found,
    ) -> Result<(Found, bool)> {
        let mut found = Found::default();
        let mut from = Some(0);
        while let Some(chosen) = from.and_then(|from| source.differing(table, from, MOST_HELD)) {
            from = chosen.next;
            found.add(counts(self.look_into(chosen).await?));
            if found.number() > MOST_FOUND && from.is_some() {
                return Ok((found, false));
            }
        }
        Ok((found, true))
    }

    /// The sums of both sides, which are read at the same time.
    pub(super) async fn sums(&self) -> Result<(Buckets, Buckets)> {
        let summing = |masks: Arc<Masks>| {
            let codec = Arc::clone(&self.codec);
            gather(move |batch, sums: &Gathered<Buckets>| {
                let batch = masks.apply(batch.clone())?;
                let entries = codec.entries(&codec.canonical(&batch)?)?;
                let mut sums = lock(sums);
                for entry in entries.iter().flatten() {
                    sums.add(entry);
                }
                Ok(())
            })
        };
        self.read_both(summing(Arc::clone(&self.masks)), summing(Arc::default()))
            .await
    }

    /// Compares the rows of some buckets.
    pub(super) async fn look_into(&self, chosen: Chosen) -> Result<Found> {
        let chosen = Arc::new(chosen);
        let holding = |boundary: Option<RowHasher>, masks: Arc<Masks>| {
            let (codec, chosen) = (Arc::clone(&self.codec), Arc::clone(&chosen));
            gather(move |batch, held: &Gathered<Held>| {
                let masked = masks.apply(batch.clone())?;
                let entries = codec.entries(&codec.canonical(&masked)?)?;
                let again = match &boundary {
                    Some(hasher) => again(hasher, batch, &entries)?,
                    None => RowSet::default(),
                };
                let mut held = lock(held);
                held.again.add(again);
                let of_buckets = entries.into_iter().flatten();
                held.entries
                    .extend(of_buckets.filter(|entry| chosen.has(entry)));
                Ok(())
            })
        };
        let hasher = self.boundary.as_ref().map(|(hasher, _)| hasher.clone());
        let (mut source, table) = self
            .read_both(
                holding(hasher, Arc::clone(&self.masks)),
                holding(None, Arc::default()),
            )
            .await?;
        if self
            .boundary
            .as_ref()
            .is_some_and(|(_, boundary)| *boundary == source.again)
        {
            for entry in &mut source.entries {
                entry.comes_again = false;
            }
        }
        let found = tokio::task::spawn_blocking(move || compare(source.entries, table.entries));
        found
            .await
            .map_err(|error| Error::internal("a comparing thread ended unexpectedly").cause(error))
    }

    /// Tells in which columns rows differ and, where that is asked for, what they hold.
    async fn detail(
        &self,
        found: &Found,
        show: usize,
        report: &mut StreamVerification,
    ) -> Result<()> {
        let of_kind = |keys: &[u128], difference| {
            let keys = keys.iter().take(show);
            keys.map(|key| (difference, *key)).collect::<Vec<_>>()
        };
        let mut to_show = of_kind(&found.differ, Difference::Differs);
        to_show.extend(of_kind(&found.missing, Difference::Missing));
        to_show.extend(of_kind(&found.extra, Difference::Extra));
        to_show.truncate(show);
        let differ = found.differ.iter().take(details::MOST_ROWS);
        let differ: Vec<u128> = differ.copied().collect();
        let wanted: BTreeSet<u128> = differ
            .iter()
            .copied()
            .chain(to_show.iter().map(|(_, key)| *key))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted = Arc::new(wanted);
        let keeping = |masks: Arc<Masks>| {
            let (codec, wanted) = (Arc::clone(&self.codec), Arc::clone(&wanted));
            gather(move |batch, rows: &Gathered<Rows>| {
                let batch = codec.canonical(&masks.apply(batch.clone())?)?;
                let entries = codec.entries(&batch)?;
                lock(rows).keep(&batch, &entries, &wanted)
            })
        };
        let (source, table) = self
            .read_both(keeping(Arc::clone(&self.masks)), keeping(Arc::default()))
            .await?;
        report.columns = details::columns(&self.codec, &differ, &source, &table)?;
        report.rows = details::shown(&self.codec, &to_show, &source, &table)?;
        Ok(())
    }

    /// Reads both sides at the same time, and returns what was gathered of each.
    async fn read_both<T: Default>(
        &self,
        (source, each): (Gathered<T>, Each),
        (table, each_other): (Gathered<T>, Each),
    ) -> Result<(T, T)> {
        tokio::try_join!(
            self.source.read(&each, &self.stop),
            self.table.read(&each_other, &self.stop)
        )?;
        let (source, table) = (&mut *lock(&source), &mut *lock(&table));
        Ok((std::mem::take(source), std::mem::take(table)))
    }
}

/// Of a batch of the source, the rows that the next run reads.
fn again(hasher: &RowHasher, batch: &RecordBatch, entries: &[Option<Entry>]) -> Result<RowSet> {
    let entries = entries.iter();
    let again = entries.map(|entry| Some(entry.is_some_and(|entry| entry.comes_again)));
    let again: BooleanArray = again.collect();
    if again.true_count() == 0 {
        return Ok(RowSet::default());
    }
    filter_record_batch(batch, &again)
        .and_then(|rows| hasher.set_of(&rows))
        .map_err(|error| Error::internal("rows cannot be hashed").cause(error))
}

fn gather<T: Default + Send + 'static>(
    take: impl Fn(&RecordBatch, &Gathered<T>) -> Result<()> + Send + Sync + 'static,
) -> (Gathered<T>, Each) {
    let gathered = Gathered::<T>::default();
    let shared = Arc::clone(&gathered);
    (gathered, Arc::new(move |batch| take(batch, &shared)))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
