//! `acequia_loads`: what each load was and did, for people, and the destination's id.
//!
//! Nothing hangs on it but the id. What a load did stands in its table's properties first, in the commit of its rows; from
//! there it is brought here when a run ends, or when the next one begins. Which loads it has stands in its own properties, in
//! the commit that adds them, so that none comes twice and it need not be read.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::destination::sql::loads::{self, LoadRow};
use crate::destination::sql::table::not_ours;
use crate::destination::sql::verifications;
use crate::destination::sql::{Engine as _, SqlEngine as _};
use crate::error::{Error, Result};
use crate::names::{DestinationId, LoadId, StreamName};
use crate::verify::report::Verification;

use super::catalog::Committed;
use super::state::{self, Kept, LEDGER, Properties, VERIFICATIONS};
use super::writer::{Work, Writer};

/// The last load of each stream that it has.
const RECORDED: &str = "acequia.recorded";

/// What is known of the table of loads.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) id: DestinationId,
    /// The last load of each stream that it has.
    recorded: BTreeMap<StreamName, LoadId>,
    /// All that it has, once it was read.
    read: Option<HashMap<StreamName, HashSet<LoadId>>>,
}

impl Ledger {
    /// Looks at it; none where it is not there.
    pub(super) fn find(writer: &mut Writer) -> Result<Option<Self>> {
        let Some(metadata) = writer.catalog.table(LEDGER)? else {
            return Ok(None);
        };
        let Some(id) = metadata.properties.get(state::DESTINATION) else {
            return Err(not_ours(&format!("{}.{LEDGER}", writer.dataset())));
        };
        Ok(Some(Self {
            id: id.parse().map_err(|_| damaged())?,
            recorded: recorded(&metadata.properties)?,
            read: None,
        }))
    }

    /// Looks at it, and makes it where it is missing. Only one of two that make it at once succeeds.
    pub(super) fn prepare(writer: &mut Writer) -> Result<Self> {
        if let Some(found) = Self::find(writer)? {
            return Ok(found);
        }
        let id = DestinationId::random();
        let columns: Vec<(String, String)> = loads::columns(writer.dialect())
            .into_iter()
            .map(|column| (column.name.to_owned(), column.data_type))
            .collect();
        writer.attach()?;
        let table = writer.table(LEDGER);
        let given = state::at_creation_of_own(&id);
        let made = writer.make_table(&table, &columns, &given, true);
        // Whether it was made, or by whom, the catalog knows.
        match (Self::find(writer)?, made) {
            (Some(found), _) => Ok(found),
            (None, Err(error)) => Err(error.context(format!(
                "table {}.{LEDGER} cannot be made",
                writer.dataset()
            ))),
            (None, Ok(())) => Err(Error::destination(
                "the catalog took a new table and does not have it",
            )),
        }
    }

    /// What of a stream's last loads it does not have.
    pub(super) fn pending<'a>(&self, stream: &StreamName, kept: &'a Kept) -> &'a [LoadRow] {
        let last = self.recorded.get(stream);
        let is_last = |load: &LoadRow| Some(&load.told.load_id) == last;
        let known = kept.loads.iter().position(is_last).map_or(0, |at| at + 1);
        kept.loads.get(known..).unwrap_or_default()
    }

    /// Adds rows, of streams whose last loads they are.
    ///
    /// # Errors
    /// Where they cannot be added; they may have been, which the next look tells.
    pub(super) fn record(&mut self, writer: &mut Writer, rows: &[LoadRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        fail::fail_point!("iceberg.before_ledger", crate::failpoint::abort);
        let mut since = self.recorded.clone();
        for row in rows {
            since.insert(row.told.stream.clone(), row.told.load_id.clone());
        }
        writer.begin(Work::default())?;
        let added = self.add(writer, rows, &since);
        if added.is_err() {
            writer.rollback();
        }
        match added.and_then(|()| writer.commit()) {
            Ok(Committed::Done) => {
                if let Some(read) = &mut self.read {
                    for row in rows {
                        let of_stream = read.entry(row.told.stream.clone()).or_default();
                        of_stream.insert(row.told.load_id.clone());
                    }
                }
                self.recorded = since;
                Ok(())
            }
            Ok(Committed::Conflict(error) | Committed::Unknown(error)) | Err(error) => {
                if let Ok(Some(found)) = Self::find(writer) {
                    *self = found;
                }
                Err(error)
            }
        }
    }

    fn add(
        &self,
        writer: &mut Writer,
        rows: &[LoadRow],
        since: &BTreeMap<StreamName, LoadId>,
    ) -> Result<()> {
        if recorded(&writer.properties(LEDGER)?)? != self.recorded {
            return Err(Error::destination("another run writes the same dataset")
                .for_now()
                .remedy("let one run at a time load a dataset"));
        }
        let insert = loads::insert(writer.dialect(), &writer.table(LEDGER), rows)?;
        writer.execute(&insert)?;
        let since = serde_json::to_string(since)
            .map_err(|error| Error::internal("the ledger cannot be written").cause(error))?;
        let properties = Properties::from([(RECORDED.to_owned(), since)]);
        writer.set_properties(LEDGER, &properties)
    }

    /// The loads of a stream that it has.
    pub(super) fn loaded(
        &mut self,
        writer: &mut Writer,
        stream: &StreamName,
    ) -> Result<&HashSet<LoadId>> {
        let read = match self.read.take() {
            Some(read) => read,
            None => read_all(writer)?,
        };
        Ok(self.read.insert(read).entry(stream.clone()).or_default())
    }
}

/// Adds a row to the table of verifications, and makes it where it is missing.
pub(super) fn note_verification(
    writer: &mut Writer,
    id: &DestinationId,
    verification: &Verification,
) -> Result<()> {
    let columns = verifications::columns(writer.dialect());
    writer.prepare_own(VERIFICATIONS, id, columns.clone())?;
    let table = writer.table(VERIFICATIONS);
    writer.in_one_commit(|writer| {
        let known = writer.texts(&format!("SELECT column_name FROM (DESCRIBE {table})"))?;
        // Earlier versions had fewer.
        for (name, kind) in columns
            .iter()
            .filter(|(name, _)| !known.iter().any(|known| known == name))
        {
            writer.add_column(&table, name, kind)?;
        }
        let insert = verifications::insert(writer.dialect(), &table, verification)?;
        writer.execute(&insert)?;
        Ok(())
    })
}

fn read_all(writer: &mut Writer) -> Result<HashMap<StreamName, HashSet<LoadId>>> {
    writer.attach()?;
    let mut read: HashMap<StreamName, HashSet<LoadId>> = HashMap::new();
    let sql = format!("SELECT stream, load_id FROM {}", writer.table(LEDGER));
    writer.query(&sql, &mut |row| {
        let Ok([Some(stream), Some(load_id)]) = <[Option<String>; 2]>::try_from(row) else {
            return Err(damaged());
        };
        let stream = stream.parse().map_err(|_| damaged())?;
        let load_id = load_id.parse().map_err(|_| damaged())?;
        read.entry(stream).or_default().insert(load_id);
        Ok(())
    })?;
    Ok(read)
}

fn recorded(properties: &Properties) -> Result<BTreeMap<StreamName, LoadId>> {
    match properties.get(RECORDED) {
        Some(text) => serde_json::from_str(text).map_err(|_| damaged()),
        None => Ok(BTreeMap::new()),
    }
}

fn damaged() -> Error {
    Error::destination(format!(
        "the table {LEDGER} holds what this acequia did not write"
    ))
    .remedy(
        "use the acequia that wrote it, or a newer one; or drop it: the next run makes it anew, and its tables go on",
    )
}
