//! From pages of records to Arrow columns, with no tree of values in between. No I/O.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::column::ColumnBuilder;
use super::json::{Malformed, Scalar, Scanner};
use super::properties::PropertyColumn;
use crate::error::{Error, Result};
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// The columns that every stream of records has, besides its properties.
pub const ENVELOPE: [&str; 7] = [
    "id",
    "created_at",
    "updated_at",
    "archived",
    "archived_at",
    "merged_into",
    "deleted_at",
];
/// The column without which a row is only a mark: every record says when it was made.
pub const MARK: &str = "created_at";
/// The property that names the records that were merged into one.
pub const MERGED_IDS: &str = "hs_merged_object_ids";

/// What no key in JSON begins with.
const NEVER: &str = ":";

/// Rows of a batch at most.
pub const BATCH_ROWS: usize = 8 << 10;
/// Bytes of a batch, roughly at most: one page may be larger.
pub const BATCH_BYTES: usize = 8 << 20;

/// Gathers records.
#[derive(Debug)]
pub struct RecordBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    envelope: [usize; 7],
    properties: Vec<Slot>,
    by_name: HashMap<String, usize>,
    rows: usize,
    /// What did not fit its column since the page began, by property.
    unfit: Vec<usize>,
    merged_ids: String,
}

/// Where a property's values go.
#[derive(Debug)]
struct Slot {
    /// The property's name as a key in compact JSON, to be compared at once; [`NEVER`] for the one that is looked at more
    /// closely.
    key: String,
    column: usize,
    misfit: Option<usize>,
    misfits: u64,
    /// The property that came after it in the last record: in the next one it most likely does again.
    next: usize,
}

/// What a record says of itself.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its id.
    pub id: u64,
    /// When it was last changed, microseconds since 1970.
    pub updated_at: Option<i64>,
    /// Whether it is archived.
    pub archived: bool,
    /// The records that were merged into it.
    pub merged_ids: &'a str,
}

/// What became of a record that is no more.
#[derive(Debug)]
pub enum Fate<'a> {
    /// It was merged into that one.
    MergedInto(&'a str),
    /// It is gone for good, since that time at the latest.
    DeletedAt(&'a str),
}

/// What a page says besides its records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageEnd {
    /// What to ask for the next page with; none on the last.
    pub after: Option<String>,
    /// How many records there were, those that were not admitted included.
    pub records: usize,
    /// The highest id among them.
    pub highest: u64,
    /// The ids that were asked for and do not exist.
    pub missing: Vec<u64>,
}

/// The columns that every stream of records has.
pub fn envelope_columns() -> Vec<ColumnSpec> {
    ENVELOPE
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

impl RecordBuilder {
    /// For batches of `schema`, which has the envelope's columns and those of the properties.
    pub fn new(schema: &Schema, properties: &[PropertyColumn]) -> Result<Self> {
        let place = |name: &str| {
            schema
                .position(name)
                .ok_or_else(|| Error::internal(format!("the schema has no column `{name}`")))
        };
        let mut envelope = [0; 7];
        for (slot, name) in envelope.iter_mut().zip(ENVELOPE) {
            *slot = place(name)?;
        }
        let slots = properties
            .iter()
            .enumerate()
            .map(|(number, property)| {
                let key = match property.property.as_str() {
                    MERGED_IDS => NEVER.to_owned(),
                    name => serde_json::to_string(name)
                        .map(|name| format!("{name}:"))
                        .map_err(|error| {
                            Error::internal("a property's name is no text").cause(error)
                        })?,
                };
                Ok(Slot {
                    key,
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
            columns: schema
                .columns
                .iter()
                .map(ColumnBuilder::new)
                .collect::<Result<_>>()?,
            envelope,
            by_name: properties
                .iter()
                .enumerate()
                .map(|(number, property)| (property.property.clone(), number))
                .collect(),
            properties: slots,
            rows: 0,
            unfit: Vec::new(),
            merged_ids: String::new(),
        })
    }

    /// Gathers the records of a page for which `admit` holds.
    ///
    /// # Errors
    /// Where the page is cut off or is no page; nothing of it is kept then.
    pub fn page(
        &mut self,
        body: &[u8],
        mut admit: impl FnMut(&Head<'_>) -> bool,
    ) -> Result<PageEnd, Malformed> {
        let before = self.rows;
        self.unfit.clear();
        let read = self.read_page(body, &mut admit);
        match &read {
            Ok(_) => {
                for place in self.unfit.drain(..) {
                    if let Some(slot) = self.properties.get_mut(place) {
                        slot.misfits += 1;
                    }
                }
            }
            Err(_) => self.take_back(before),
        }
        read
    }

    /// Appends a mark: a record of which nothing is known but that it was merged into another, or is gone for good since
    /// some time (RFC 3339). All else of it stays as it was ([`MARK`]).
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

    /// Whether the batch should be taken.
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

    /// How many values did not fit their columns, by column.
    pub fn misfits(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.properties.iter().filter_map(|slot| {
            let beside = self.schema.fields().get(slot.misfit?)?.name();
            let column = self.schema.fields().get(slot.column)?.name();
            Some((column.as_str(), beside.as_str(), slot.misfits))
        })
    }

    fn read_page(
        &mut self,
        body: &[u8],
        admit: &mut impl FnMut(&Head<'_>) -> bool,
    ) -> Result<PageEnd, Malformed> {
        let mut scanner = Scanner::new(body)?;
        let mut end = PageEnd::default();
        let mut has_results = false;
        scanner.object(|scanner, key| match key {
            "results" => {
                has_results = true;
                scanner.array(|scanner| {
                    end.records += 1;
                    end.highest = end.highest.max(self.record(scanner, admit)?);
                    Ok(())
                })
            }
            "paging" => {
                end.after = next_page(scanner)?;
                Ok(())
            }
            "errors" => {
                end.missing = expect_only_missing(scanner)?;
                Ok(())
            }
            _ => scanner.skip(),
        })?;
        scanner.end()?;
        if has_results {
            Ok(end)
        } else {
            Err(Malformed { at: 0 })
        }
    }

    fn record(
        &mut self,
        scanner: &mut Scanner<'_>,
        admit: &mut impl FnMut(&Head<'_>) -> bool,
    ) -> Result<u64, Malformed> {
        let row = self.rows;
        let unfit = self.unfit.len();
        let malformed = Malformed { at: 0 };
        let [
            id_column,
            created_at,
            updated_at,
            archived_column,
            archived_at,
            _,
            _,
        ] = self.envelope;
        let (mut id, mut updated, mut archived) = (None, None, false);
        self.merged_ids.clear();
        scanner.object(|scanner, key| {
            let place = match key {
                "id" => id_column,
                "createdAt" => created_at,
                "updatedAt" => updated_at,
                "archived" => archived_column,
                "archivedAt" => archived_at,
                "properties" => return self.record_properties(scanner),
                _ => return scanner.skip(),
            };
            let text = match scanner.scalar()? {
                Scalar::Null => return Ok(()),
                Scalar::Text(text) => text,
                Scalar::Raw(raw) => Cow::Borrowed(raw),
            };
            match key {
                "id" => id = Some(text.parse().map_err(|_| malformed)?),
                "updatedAt" => updated = super::value::instant(&text),
                "archived" => archived = super::value::boolean(&text).ok_or(malformed)?,
                _ => {}
            }
            self.set(place, &text).map_err(|_| malformed)
        })?;
        let id = id.ok_or(malformed)?;
        // Records of some objects do not say that they are not archived.
        if let Some(column) = self.columns.get_mut(archived_column)
            && column.len() == row
        {
            column.push("false").map_err(|_| malformed)?;
        }
        let head = Head {
            id,
            updated_at: updated,
            archived,
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

    fn record_properties(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        let mut last: Option<usize> = None;
        let mut guess = 0;
        let mut goes_on = scanner.enter()?;
        while goes_on {
            let place = match self.properties.get(guess) {
                Some(slot) if scanner.literal(&slot.key) => Some(guess),
                _ => {
                    let key = scanner.key()?;
                    if key == MERGED_IDS
                        && let Scalar::Text(ids) = scanner.clone().scalar()?
                    {
                        self.merged_ids.push_str(&ids);
                    }
                    self.by_name.get(key.as_ref()).copied()
                }
            };
            let value = scanner.scalar()?;
            goes_on = scanner.goes_on()?;
            let Some(place) = place else {
                continue;
            };
            if let Some(previous) = last.and_then(|last| self.properties.get_mut(last)) {
                previous.next = place;
            }
            last = Some(place);
            match &value {
                Scalar::Null => {}
                Scalar::Text(text) => self.property(place, text),
                Scalar::Raw(raw) => self.property(place, raw),
            }
            guess = self.properties.get(place).map_or(0, |slot| slot.next);
        }
        Ok(())
    }

    /// Puts a property's value where it belongs: what does not fit goes beside.
    fn property(&mut self, place: usize, text: &str) {
        let Some(slot) = self.properties.get(place) else {
            return;
        };
        let (column, misfit) = (slot.column, slot.misfit);
        // Text that is empty is a value that was cleared: NULL where the type has no such value.
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

    /// Sets the value of the row under way. A value that came already is replaced.
    fn set(&mut self, place: usize, text: &str) -> Result<(), super::column::Misfit> {
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

/// Goes over the errors of a batch. Ids that do not exist (any more) are no fault: they are given. Anything else means that
/// the answer is not whole.
pub fn expect_only_missing(scanner: &mut Scanner<'_>) -> Result<Vec<u64>, Malformed> {
    let mut missing = Vec::new();
    scanner.array(|scanner| {
        let mut category = None;
        scanner.object(|scanner, key| match key {
            "category" => {
                category = Some(scanner.scalar()?);
                Ok(())
            }
            "context" => {
                let context: BTreeMap<Cow<'_, str>, Vec<Cow<'_, str>>> =
                    serde_json::from_str(scanner.raw()?).unwrap_or_default();
                let ids = context.values().flatten();
                missing.extend(ids.filter_map(|id| id.parse::<u64>().ok()));
                Ok(())
            }
            _ => scanner.skip(),
        })?;
        match category {
            Some(Scalar::Text(category)) if category == "OBJECT_NOT_FOUND" => Ok(()),
            _ => Err(Malformed { at: 0 }),
        }
    })?;
    Ok(missing)
}

/// What the `paging` of an answer says of the next page.
fn next_page(scanner: &mut Scanner<'_>) -> Result<Option<String>, Malformed> {
    let mut after = None;
    if matches!(scanner.clone().scalar()?, Scalar::Null) {
        scanner.skip()?;
        return Ok(None);
    }
    scanner.object(|scanner, key| {
        if key != "next" || matches!(scanner.clone().scalar()?, Scalar::Null) {
            return scanner.skip();
        }
        scanner.object(|scanner, key| {
            if key != "after" {
                return scanner.skip();
            }
            after = match scanner.scalar()? {
                Scalar::Null => None,
                Scalar::Text(text) => Some(text.into_owned()),
                Scalar::Raw(raw) => Some(raw.to_owned()),
            };
            Ok(())
        })
    })?;
    Ok(after)
}
