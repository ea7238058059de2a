//! Builds Arrow columns from pages of records: the text of each value is decoded from its place in the answer. No I/O.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::column::{self, ColumnBuilder, Misfit};
use super::json::{self, Flaw, Malformed};
use super::page::{Page, PageEnd, Properties, Record};
use super::properties::PropertyColumn;
use super::value;
pub use crate::config::hubspot::RECORD_COLUMNS;
use crate::error::{Error, Result};
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// The column without which a row is only a mark: every record has the time of its creation.
pub const MARK: &str = "created_at";
/// The property that names the records that were merged into a record.
pub const MERGED_IDS: &str = "hs_merged_object_ids";

/// The most rows of a batch.
pub const BATCH_ROWS: usize = 8 << 10;
/// The most bytes of a batch, approximately: one page may be larger.
pub const BATCH_BYTES: usize = 8 << 20;

/// Collects records.
#[derive(Debug)]
pub struct RecordBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    envelope: [usize; 7],
    slots: Vec<Slot>,
    by_name: HashMap<String, usize>,
    rows: usize,
    /// The number of values that did not fit their column on the current page, by property.
    unfit: Vec<usize>,
    merged_ids: String,
}

/// The columns of a property's values.
#[derive(Debug)]
struct Slot {
    name: String,
    column: usize,
    misfit: Option<usize>,
    misfits: u64,
    /// The property that followed it in the last record, which most likely follows it in the next one.
    next: usize,
}

/// The head of a record.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its id.
    pub id: u64,
    /// When it was last changed, microseconds since 1970.
    pub updated_at: Option<i64>,
    /// The records that were merged into it.
    pub merged_ids: &'a str,
}

/// Why a record does not exist any more.
#[derive(Debug)]
pub enum Fate<'a> {
    /// It was merged into that record.
    MergedInto(&'a str),
    /// It was deleted for good, at the latest at that time.
    DeletedAt(&'a str),
}

/// The columns that every stream of records has.
pub fn envelope_columns() -> Vec<ColumnSpec> {
    RECORD_COLUMNS
        .into_iter()
        .map(|name| ColumnSpec {
            name: name.to_owned(),
            column_type: match name {
                "id" | "merged_into" => ColumnType::Text,
                "archived" => ColumnType::Boolean,
                _ => ColumnType::TimestampTz,
            },
            nullable: !matches!(name, "id" | "archived"),
            source_type: match name {
                "id" | "merged_into" => "id",
                "archived" => "bool",
                _ => "datetime",
            }
            .to_owned(),
        })
        .collect()
}

/// The columns of records with these properties: the record's own, and then one for each property.
pub fn record_columns(properties: &[PropertyColumn]) -> Vec<ColumnSpec> {
    let properties = properties.iter().map(|property| property.column.clone());
    envelope_columns().into_iter().chain(properties).collect()
}

impl RecordBuilder {
    /// Creates a builder for batches of `schema`, which has the record's own columns and those of the properties.
    pub fn new(schema: &Schema, properties: &[PropertyColumn]) -> Result<Self> {
        let place = |name: &str| {
            schema
                .position(name)
                .ok_or_else(|| Error::internal(format!("the schema has no column `{name}`")))
        };
        let mut envelope = [0; 7];
        for (slot, name) in envelope.iter_mut().zip(RECORD_COLUMNS) {
            *slot = place(name)?;
        }
        let slots = properties
            .iter()
            .enumerate()
            .map(|(number, property)| {
                Ok(Slot {
                    name: property.property.clone(),
                    column: place(&property.column.name)?,
                    misfit: property
                        .misfit
                        .as_deref()
                        .and_then(|name| schema.position(name)),
                    misfits: 0,
                    next: number + 1,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            schema: schema.arrow(),
            columns: column::builders(schema)?,
            envelope,
            by_name: properties
                .iter()
                .enumerate()
                .map(|(number, property)| (property.property.clone(), number))
                .collect(),
            slots,
            rows: 0,
            unfit: Vec::new(),
            merged_ids: String::new(),
        })
    }

    /// Collects the records of a page that `admit` accepts.
    ///
    /// # Errors
    /// The page is cut off, is not a page, or is not whole; nothing of it is kept then.
    pub fn page(
        &mut self,
        body: &[u8],
        mut admit: impl FnMut(&Head<'_>) -> bool,
    ) -> Result<PageEnd, Flaw> {
        let page: Page<Record<'_>> = json::parse(body)?;
        page.check_whole()?;
        let before = self.rows;
        self.unfit.clear();
        let mut highest = 0;
        for record in &page.results {
            match self.record(record, &mut admit) {
                Ok(id) => highest = highest.max(id),
                Err(malformed) => {
                    self.take_back(before);
                    return Err(malformed.into());
                }
            }
        }
        for place in self.unfit.drain(..) {
            if let Some(slot) = self.slots.get_mut(place) {
                slot.misfits += 1;
            }
        }
        Ok(page.end(highest))
    }

    /// Appends a mark: a record of which it is only known that it was merged into another, or deleted for good by some time
    /// (RFC 3339). Its other columns keep the table's values ([`MARK`]).
    pub fn mark(&mut self, id: u64, fate: &Fate<'_>) -> Result<()> {
        let [id_column, _, _, archived, _, merged_into, deleted_at] = self.envelope;
        let id = id.to_string();
        let fate = match fate {
            Fate::MergedInto(other) => (merged_into, other),
            Fate::DeletedAt(time) => (deleted_at, time),
        };
        for (column, text) in [
            (id_column, id.as_str()),
            (archived, "true"),
            (fate.0, *fate.1),
        ] {
            if let Some(column) = self.columns.get_mut(column) {
                column.pad(self.rows);
                column
                    .push(text)
                    .map_err(|_| Error::internal("a mark could not be written"))?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Whether the batch is full.
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS
            || self.columns.iter().map(ColumnBuilder::bytes).sum::<usize>() >= BATCH_BYTES
    }

    /// Takes the batch, if it has rows.
    pub fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            column.pad(self.rows);
            arrays.push(column.finish()?);
        }
        self.rows = 0;
        RecordBatch::try_new(self.schema.clone(), arrays)
            .map(Some)
            .map_err(|error| Error::internal("a batch does not fit its schema").cause(error))
    }

    /// The number of values that did not fit their columns, by column.
    pub fn misfits(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.slots.iter().filter_map(|slot| {
            let beside = self.schema.fields().get(slot.misfit?)?.name();
            let column = self.schema.fields().get(slot.column)?.name();
            Some((column.as_str(), beside.as_str(), slot.misfits))
        })
    }

    fn record(
        &mut self,
        record: &Record<'_>,
        admit: &mut impl FnMut(&Head<'_>) -> bool,
    ) -> Result<u64, Malformed> {
        let row = self.rows;
        let unfit = self.unfit.len();
        let malformed = Malformed { at: 1 };
        let [
            id_column,
            created_at,
            updated_at,
            archived,
            archived_at,
            _,
            _,
        ] = self.envelope;
        let id = json::text(record.id)?.ok_or(malformed)?;
        self.set(id_column, &id).map_err(|_| malformed)?;
        let id = id.parse().map_err(|_| malformed)?;
        let mut updated = None;
        for (column, value) in [
            (created_at, record.created_at),
            (updated_at, record.updated_at),
            (archived, record.archived),
            (archived_at, record.archived_at),
        ] {
            let Some(text) = value.map_or(Ok(None), json::text)? else {
                continue;
            };
            self.set(column, &text).map_err(|_| malformed)?;
            if column == updated_at {
                updated = value::instant(&text);
            }
        }
        // Live records of some objects do not have `archived`.
        if let Some(column) = self.columns.get_mut(archived)
            && column.rows() == row
        {
            column.push("false").map_err(|_| malformed)?;
        }
        self.properties(&record.properties)?;
        let head = Head {
            id,
            updated_at: updated,
            merged_ids: &self.merged_ids,
        };
        if admit(&head) {
            self.rows += 1;
        } else {
            self.take_back(row);
            self.unfit.truncate(unfit);
        }
        Ok(id)
    }

    fn properties(&mut self, properties: &Properties<'_>) -> Result<(), Malformed> {
        self.merged_ids.clear();
        let mut last: Option<usize> = None;
        let mut guess = 0;
        for (name, value) in &properties.0 {
            let place = match self.slots.get(guess) {
                Some(slot) if slot.name == *name => Some(guess),
                _ => self.by_name.get(name.as_ref()).copied(),
            };
            let text = match place {
                Some(_) => json::text(value)?,
                None if name == MERGED_IDS => json::text(value)?,
                None => None,
            };
            if let Some(ids) = text.as_ref().filter(|_| name == MERGED_IDS) {
                self.merged_ids.push_str(ids);
            }
            let Some(place) = place else {
                continue;
            };
            if let Some(previous) = last.and_then(|last| self.slots.get_mut(last)) {
                previous.next = place;
            }
            last = Some(place);
            if let Some(text) = text {
                self.property(place, &text);
            }
            guess = self.slots.get(place).map_or(0, |slot| slot.next);
        }
        Ok(())
    }

    /// Appends a property's value: one that does not fit goes to the column beside.
    fn property(&mut self, place: usize, text: &str) {
        let Some(slot) = self.slots.get(place) else {
            return;
        };
        let (column, misfit) = (slot.column, slot.misfit);
        // An empty text is a value that was cleared: NULL, if the type has no empty value.
        if text.is_empty() && misfit.is_some() {
            return;
        }
        if self.set(column, text).is_err() {
            self.unfit.push(place);
            if let Some(beside) = misfit {
                let _ = self.set(beside, text);
            }
        }
    }

    /// Sets the value of the current row. A repeated value replaces the earlier one.
    fn set(&mut self, place: usize, text: &str) -> Result<(), Misfit> {
        let Some(column) = self.columns.get_mut(place) else {
            return Ok(());
        };
        column.truncate(self.rows);
        column.pad(self.rows);
        column.push(text)
    }

    fn take_back(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.truncate(rows);
        }
        self.rows = rows;
    }
}

#[cfg(test)]
mod tests;
