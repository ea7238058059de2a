//! What is known of a stream, as its table's own properties keep it. No I/O.
//!
//! They change in the commit that changes the rows, so neither can be ahead of the other. Whoever writes the rows, the
//! properties are these.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::destination::StreamState;
use crate::destination::sql::loads::LoadRow;
use crate::error::{Error, Result};
use crate::evolution::{TableColumn, TableSchema};
use crate::names::{DestinationId, LoadId, StreamName};
use crate::schema::{Column, ColumnType};

/// The stream whose rows are in the table: what makes it acequia's.
pub(super) const STREAM: &str = "acequia.stream";
/// The destination that loaded it last.
pub(super) const DESTINATION: &str = "acequia.destination";
const LOAD_ID: &str = "acequia.load-id";
const POSITION: &str = "acequia.position";
const UPDATED_AT: &str = "acequia.updated-at";
const SCHEMA: &str = "acequia.schema";
const LOADS: &str = "acequia.loads";
const LOOKED: &str = "acequia.looked";
/// The table of loads. Its name does not begin with `_`, because not all catalogs accept that.
pub(super) const LEDGER: &str = "acequia_loads";
/// The table of verifications.
pub(super) const VERIFICATIONS: &str = "acequia_verifications";

/// The table of runs.
pub(super) const RUNS: &str = "acequia_runs";

/// Whether acequia has tables of such a name.
pub(super) fn reserves(name: &str) -> bool {
    [LEDGER, VERIFICATIONS, RUNS]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
        || name.to_ascii_lowercase().starts_with("_acequia")
}

/// What a new table is given.
///
/// `commit.retry.num-retries`: a commit that met another is not tried again on top of it, as the load was made for the rows that
/// were there. Merge-on-read: a load writes what it changes, and readers pay until the table is compacted.
const AT_CREATION: [(&str, &str); 7] = [
    ("commit.retry.num-retries", "0"),
    ("write.delete.mode", "merge-on-read"),
    ("write.update.mode", "merge-on-read"),
    ("write.merge.mode", "merge-on-read"),
    ("write.metadata.delete-after-commit.enabled", "true"),
    ("write.metadata.previous-versions-max", "50"),
    ("history.expire.max-snapshot-age-ms", "432000000"),
];

/// Properties of a table.
pub(super) type Properties = BTreeMap<String, String>;

/// What a stream's table keeps of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    /// What is known of the stream.
    pub(super) state: StreamState,
    /// Its last loads, in order: those that the table of loads may not have yet. The last one is always there.
    pub(super) loads: Vec<LoadRow>,
    /// What was found of the loads in the landing area when they were last compared with the table of loads.
    pub(super) looked: Option<Looked>,
}

/// Which loads of the landing area the table of loads had, at some time. So it need not be read again for them: it grows by a
/// file with each run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Looked {
    /// The newest load that was there. Of a newer one nothing is known.
    through: LoadId,
    /// Those that it lacked.
    absent: BTreeSet<LoadId>,
}

/// How many loads that were never applied are remembered. With more of them, the table of loads is read in each run.
const MOST_ABSENT: usize = 100;

/// The schema, short: a table of a thousand columns has some 70 kB of it, in every version of its metadata.
#[derive(Serialize, Deserialize)]
struct Compact {
    next: i32,
    columns: Vec<CompactColumn>,
    /// How values are masked, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    masks: BTreeMap<String, String>,
    /// What the source calls renamed columns, by their names here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    renamed: BTreeMap<String, String>,
}

/// Field id, name, type, source's type, whether it may be NULL, whether the source dropped it, field id of the elements.
#[derive(Serialize, Deserialize)]
struct CompactColumn(i32, String, ColumnType, String, bool, bool, Option<i32>);

/// What a new table of a stream is given.
pub(super) fn at_creation(stream: &StreamName, destination: &DestinationId) -> Properties {
    let of_acequia = [
        (STREAM, stream.as_str()),
        (DESTINATION, destination.as_str()),
    ];
    properties(AT_CREATION.into_iter().chain(of_acequia))
}

/// What a new table of acequia's own is given.
pub(super) fn at_creation_of_own(destination: &DestinationId) -> Properties {
    properties(
        AT_CREATION
            .into_iter()
            .chain([(DESTINATION, destination.as_str())]),
    )
}

fn properties<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Properties {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The stream whose rows are in a table; none where it is not acequia's.
pub(super) fn stream_of(properties: &Properties) -> Option<&str> {
    properties.get(STREAM).map(String::as_str)
}

impl Kept {
    /// Reads a table's properties; none where nothing was loaded into it yet.
    ///
    /// # Errors
    /// Where they hold what acequia did not write.
    pub(super) fn read(table: &str, properties: &Properties) -> Result<Option<Self>> {
        let Some(schema) = properties.get(SCHEMA) else {
            return Ok(None);
        };
        let damaged = || damaged(table);
        let text = |key: &str| properties.get(key).ok_or_else(damaged);
        let json = |text: &String| from_json(text).ok_or_else(damaged);
        let updated_at = DateTime::parse_from_rfc3339(text(UPDATED_AT)?).map_err(|_| damaged())?;
        Ok(Some(Self {
            state: StreamState {
                position: text(POSITION).and_then(|text| from_json(text).ok_or_else(damaged))?,
                schema: json(schema).map(Compact::schema)?,
                load_id: text(LOAD_ID)?.parse::<LoadId>().map_err(|_| damaged())?,
                updated_at: updated_at.with_timezone(&Utc),
            },
            loads: text(LOADS).and_then(|text| from_json(text).ok_or_else(damaged))?,
            // An older acequia wrote none.
            looked: match properties.get(LOOKED) {
                Some(text) => from_json(text).ok_or_else(damaged)?,
                None => None,
            },
        }))
    }

    /// The properties that keep it, for the table of that stream.
    ///
    /// # Errors
    /// [`Error::Internal`] where it cannot be written.
    pub(super) fn write(
        &self,
        stream: &StreamName,
        destination: &DestinationId,
    ) -> Result<Properties> {
        let state = &self.state;
        let schema = Compact::of(&state.schema);
        let mut all = properties(
            [
                (STREAM, stream.as_str()),
                (DESTINATION, destination.as_str()),
                (LOAD_ID, state.load_id.as_str()),
            ]
            .into_iter(),
        );
        let updated_at = state
            .updated_at
            .to_rfc3339_opts(SecondsFormat::Micros, true);
        all.insert(UPDATED_AT.to_owned(), updated_at);
        all.insert(POSITION.to_owned(), to_json(&state.position)?);
        all.insert(SCHEMA.to_owned(), to_json(&schema)?);
        all.insert(LOADS.to_owned(), to_json(&self.loads)?);
        all.insert(LOOKED.to_owned(), to_json(&self.looked)?);
        Ok(all)
    }

    /// Whether it has a load.
    pub(super) fn has(&self, load_id: &LoadId) -> bool {
        self.state.load_id == *load_id
            || self.loads.iter().any(|load| load.told.load_id == *load_id)
    }

    /// Whether it has a load of that id.
    pub(super) fn has_named(&self, load: &str) -> bool {
        load.parse().is_ok_and(|load_id| self.has(&load_id))
    }

    /// The newest of the loads that it has. The last that was applied is an older one where it was landed and left before.
    pub(super) fn newest(&self) -> &LoadId {
        let loads = self.loads.iter().map(|load| &load.told.load_id);
        loads.fold(&self.state.load_id, Ord::max)
    }
}

impl Looked {
    /// What was found of these loads; none where there are none, or too many that were never applied.
    pub(super) fn of(landed: &[LoadId], absent: &BTreeSet<LoadId>) -> Option<Self> {
        let through = landed.iter().max()?.clone();
        (absent.len() <= MOST_ABSENT).then(|| Self {
            through,
            absent: absent.clone(),
        })
    }

    /// Whether the table of loads lacks a load; none where that is not known.
    pub(super) fn lacks(&self, load_id: &LoadId) -> Option<bool> {
        (*load_id <= self.through).then(|| self.absent.contains(load_id))
    }

    /// The same, after a load was applied.
    pub(super) fn with(mut self, load_id: &LoadId) -> Self {
        self.absent.remove(load_id);
        self
    }
}

/// Whether a table says of its stream what it said before.
pub(super) fn stands_as(before: &Properties, now: &Properties) -> bool {
    [LOAD_ID, POSITION, SCHEMA]
        .iter()
        .all(|key| before.get(*key) == now.get(*key))
}

impl Compact {
    fn of(schema: &TableSchema) -> Self {
        let columns = schema
            .columns
            .iter()
            .map(|TableColumn { column, retired }| {
                let column = column.clone();
                CompactColumn(
                    column.id,
                    column.name,
                    column.column_type,
                    column.source_type,
                    column.nullable,
                    *retired,
                    column.element_id,
                )
            });
        let masked = schema.columns.iter().filter_map(|known| {
            let column = &known.column;
            Some((column.name.clone(), column.mask.clone()?))
        });
        let renamed = schema.columns.iter().filter_map(|known| {
            let column = &known.column;
            Some((column.name.clone(), column.renamed_from.clone()?))
        });
        Self {
            next: schema.next_field_id,
            masks: masked.collect(),
            renamed: renamed.collect(),
            columns: columns.collect(),
        }
    }

    fn schema(mut self) -> TableSchema {
        let columns = self.columns.into_iter().map(
            |CompactColumn(id, name, column_type, source_type, nullable, retired, element_id)| {
                TableColumn {
                    column: Column {
                        id,
                        mask: self.masks.remove(&name),
                        renamed_from: self.renamed.remove(&name),
                        name,
                        column_type,
                        nullable,
                        source_type,
                        element_id,
                    },
                    retired,
                }
            },
        );
        TableSchema {
            columns: columns.collect(),
            next_field_id: self.next,
            table: None,
            key: Vec::new(),
        }
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a table's properties cannot be written").cause(error))
}

/// What serde says of a text that it cannot read may quote it, and a position is a cell value.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// What is said of properties that cannot be read.
pub(super) fn damaged(table: &str) -> Error {
    Error::destination(format!(
        "the properties `acequia.*` of table {table} hold what this acequia did not write"
    ))
    .remedy("use the acequia that wrote them, or a newer one; or drop the table, and the stream begins afresh")
}
