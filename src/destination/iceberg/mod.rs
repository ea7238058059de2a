//! Tables of Apache Iceberg, behind a REST catalog, as a destination: for data that many engines read, and more than one
//! machine holds.
//!
//! **A table's own properties are the state of its stream** ([`state`]): they change in the catalog's commit of its rows, so
//! rows, load, position and schema can never disagree, whatever is killed or lost when. Who a table drops, drops its stream's
//! state with it, and the stream begins afresh. A table of loads is kept beside, for people ([`ledger`]).
//!
//! [`claims`] are how a table tells that a load of an engine elsewhere is at it, and [`take_over`] what DuckDB does about one that
//! never ended.
//!
//! [`catalog`] asks the REST catalog ([`token`] has what it is shown, [`answer`] reads what it says) and knows nothing of who
//! writes rows. [`writer`] does, and is DuckDB: the plan of a load is [`crate::destination::sql`]'s, the SQL [`dialect`]'s.
//! [`open`] opens both, [`storage`] tells DuckDB where the files are.
//!
//! A commit is sent once. Where nothing tells what became of it, the table does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{SubsecRound as _, Utc};
use serde_json::value::RawValue;

use crate::config;
use crate::destination::duckdb::transaction::with_enough;
use crate::destination::sql::ledger::{stands_elsewhere, state_after};
use crate::destination::sql::loads::LoadRow;
use crate::destination::sql::read::{count_rows, read_rows};
use crate::destination::sql::table::reserved;
use crate::destination::sql::{SqlEngine as _, live_ids, load as plan};
use crate::destination::{
    Destination, Interrupter, LedgerRow, LoadOutcome, Loaded, Reads, Rights, StagedLoad,
    StreamState, TableRows,
};
use crate::error::{Error, Kind, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;
use crate::names::{DestinationId, LoadId, RunId, StreamName};
use crate::position::Position;
use crate::runs::RunRecord;
use crate::verify::counts::Counting;
use crate::verify::report::Verification;

mod answer;
mod attempt_remote;
mod catalog;
mod claims;
mod dialect;
mod layout;
mod ledger;
mod open;
mod remote;
mod runs;
mod schema;
mod state;
mod storage;
mod take_over;
#[cfg(test)]
mod tests;
mod token;
mod writer;

use catalog::{Committed, TableMetadata};
use claims::keeps_changes;
use ledger::Ledger;
use remote::Remote;
use state::{Kept, Looked, Properties};
use writer::{Work, Writer};

/// How often a load is begun where its commit is not taken.
const ATTEMPTS: u32 = 3;
/// How long after a commit whose answer was lost the table is looked at, again and again where it cannot be.
const LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// How many loads a table's properties keep before they are brought to the table of loads.
const MOST_PENDING: usize = 20;

/// A namespace of a REST catalog.
#[derive(Debug)]
pub(crate) struct Lake {
    writer: Writer,
    /// Who writes the rows, where that is not the writer.
    remote: Option<Remote>,
    ledger: Ledger,
    /// What is known of each stream, and the table that keeps it.
    known: BTreeMap<StreamName, Known>,
    /// What was answered of the loads in the landing area. It is kept with the next load.
    looked: BTreeMap<StreamName, Option<Looked>>,
    read_only: bool,
}

#[derive(Debug, Clone)]
struct Known {
    table: String,
    kept: Kept,
}

/// What became of a load.
enum Attempt {
    Done(Box<Loaded>),
    /// Nothing, and it can be begun anew.
    Again(Error),
}

/// What is to be committed.
struct Prepared {
    kept: Kept,
    properties: Properties,
    outcome: LoadOutcome,
}

impl Lake {
    /// Opens a namespace to load into, and makes it and its table of loads where they are missing.
    ///
    /// # Errors
    /// [`Error::Destination`] where the catalog cannot be reached, does not take what it is shown, lacks the warehouse or refuses
    /// a table, or DuckDB lacks an extension.
    pub(crate) fn open(name: &str, lake: &config::Lake, dataset: &str) -> Result<Self> {
        let opened = || {
            let mut writer = open::writer(lake, dataset)?;
            if !writer.catalog.has_namespace()? {
                writer.create_schema()?;
            }
            let ledger = Ledger::prepare(&mut writer)?;
            let remote = Remote::open(name, lake, dataset)?;
            Self::of(writer, remote, ledger, false)
        };
        let mut opened = opened().map_err(|error| error.context(open::subject(name, lake)))?;
        opened.finish();
        Ok(opened)
    }

    /// Opens a namespace only to read what is known of its streams; none where nothing was ever loaded.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_read_only(
        name: &str,
        lake: &config::Lake,
        dataset: &str,
    ) -> Result<Option<Self>> {
        let opened = || {
            let mut writer = open::writer(lake, dataset)?;
            if !writer.catalog.has_namespace()? {
                return Ok(None);
            }
            match Ledger::find(&mut writer)? {
                Some(ledger) => Self::of(writer, None, ledger, true).map(Some),
                None => Ok(None),
            }
        };
        opened().map_err(|error: Error| error.context(open::subject(name, lake)))
    }

    fn of(
        mut writer: Writer,
        remote: Option<Remote>,
        ledger: Ledger,
        read_only: bool,
    ) -> Result<Self> {
        let tables = writer.catalog.tables()?;
        let mut known: BTreeMap<StreamName, Known> = BTreeMap::new();
        for (table, metadata) in writer.catalog.each_table(&tables)? {
            let Some(kept) = Kept::read(&table, &metadata.properties)? else {
                continue;
            };
            let Some(stream) = state::stream_of(&metadata.properties) else {
                continue;
            };
            let Ok(stream) = stream.parse::<StreamName>() else {
                return Err(state::damaged(&table));
            };
            // A stream whose table was renamed in the configuration has left one behind.
            let older = |other: &Known| other.kept.state.updated_at < kept.state.updated_at;
            if known.get(&stream).is_none_or(older) {
                known.insert(stream, Known { table, kept });
            }
        }
        Ok(Self {
            writer,
            remote,
            ledger,
            known,
            looked: BTreeMap::new(),
            read_only,
        })
    }

    fn refuse_read_only(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::internal(
                "a load on a destination that was opened to be read",
            ));
        }
        Ok(())
    }

    /// Whether the load was applied. The table of loads is not read for one that was extracted after all that were: what is
    /// handed over again because nobody knows what became of it is the last, which the stream's table has.
    fn has(&mut self, stream: &StreamName, load_id: &LoadId) -> Result<bool> {
        match self.lacks(stream, load_id) {
            Some(true) => Ok(false),
            // That one was applied is told by its row alone.
            _ => Ok(self.knows(stream, load_id)
                || self
                    .ledger
                    .loaded(&mut self.writer, stream)?
                    .contains(load_id)),
        }
    }

    /// Whether the stream's table itself says that a load was applied.
    fn knows(&self, stream: &StreamName, load_id: &LoadId) -> bool {
        let known = self.known.get(stream);
        known.is_some_and(|known| known.kept.has(load_id))
    }

    /// Whether a load was never applied, as far as that is known without the table of loads.
    fn lacks(&self, stream: &StreamName, load_id: &LoadId) -> Option<bool> {
        let Known { kept, .. } = self.known.get(stream)?;
        if kept.has(load_id) {
            return Some(false);
        }
        let looked = kept.looked.as_ref();
        match looked.and_then(|looked| looked.lacks(load_id)) {
            None if load_id > kept.newest() => Some(true),
            lacks => lacks,
        }
    }

    fn apply(&mut self, load: &StagedLoad) -> Result<Loaded> {
        let manifest = &load.manifest;
        if self.has(&manifest.stream, &manifest.load_id)? {
            let known = self.known.get(&manifest.stream);
            let known = known.ok_or_else(|| stands_elsewhere(&manifest.stream))?;
            return Ok(Loaded::before(known.kept.state.clone()));
        }
        if self.writer.reserves(&manifest.table) {
            let shown = format!("{}.{}", self.writer.dataset(), manifest.table);
            return Err(reserved(&shown));
        }
        if keeps_changes(manifest) && !self.writer.catalog.joins_tables() {
            return Err(Error::destination(format!(
                "{} does not commit two tables at once, and `changelog` needs a table of changes that agrees with the table",
                self.writer.catalog.address()
            ))
            .remedy("leave `changelog` of the stream out, or use a catalog that has transactions over tables"));
        }
        let mut attempt = 1;
        loop {
            let limit = self.writer.session().memory_limit();
            let done = with_enough(
                self,
                limit,
                |lake| lake.writer.session(),
                |lake| match lake.remote {
                    Some(_) => lake.attempt_remotely(load),
                    None => lake.attempt(load),
                },
            );
            let error = match done {
                Ok(Attempt::Done(loaded)) => return Ok(*loaded),
                Ok(Attempt::Again(error)) => error,
                // DuckDB sends no request twice, and nothing was committed.
                Err(error) if error.kind() == Kind::Storage => error,
                Err(error) => return Err(error),
            };
            if attempt == ATTEMPTS {
                return Err(error);
            }
            let table = &manifest.table;
            tracing::warn!("the load of table {table} begins anew: {}", error.report());
            attempt += 1;
        }
    }

    /// Applies a load in one commit.
    fn attempt(&mut self, load: &StagedLoad) -> Result<Attempt> {
        let manifest = &load.manifest;
        let mut found = self.look_at_tables(manifest)?;
        let own = Self::own_of(manifest, &found)?;
        let was_claimed = self.take_over(manifest, &found, own.as_ref())?;
        if was_claimed {
            found = self.look_at_tables(manifest)?;
        }
        let seen = found.table;
        let at_creation = state::at_creation(&manifest.stream, &self.ledger.id);
        let apart = keeps_changes(manifest);
        let work = Work::of_load(load, at_creation, apart, seen.as_ref());
        self.writer.begin(work)?;
        let prepared = match self.prepare(load, seen.as_ref()) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => {
                self.writer.rollback();
                return Ok(Attempt::Again(stands_elsewhere(&manifest.stream)));
            }
            Err(error) => {
                self.writer.rollback();
                return Err(error);
            }
        };
        fail::fail_point!("iceberg.before_commit", crate::failpoint::abort);
        let committed = self.commit(manifest, seen.as_ref(), &prepared.properties);
        let failure = match committed {
            Ok(Committed::Done) => None,
            Ok(Committed::Conflict(error) | Committed::Unknown(error)) => Some((error, true)),
            Err(error) => Some((error, false)),
        };
        if let Some((error, again)) = failure
            && !self.look_for(&manifest.table, &manifest.load_id)?
        {
            return if again {
                Ok(Attempt::Again(error))
            } else {
                Err(error)
            };
        }
        let applied = self.applied(manifest, prepared);
        if was_claimed {
            self.let_go(manifest);
        }
        Ok(applied)
    }

    /// What a load that is committed has left.
    fn applied(&mut self, manifest: &Manifest, left: Prepared) -> Attempt {
        fail::fail_point!("iceberg.after_commit", crate::failpoint::abort);
        let table = manifest.table.clone();
        let Prepared { kept, outcome, .. } = left;
        let state = kept.state.clone();
        self.known
            .insert(manifest.stream.clone(), Known { table, kept });
        Attempt::Done(Box::new(Loaded {
            outcome,
            state,
            warnings: Vec::new(),
        }))
    }

    /// Runs the plan of a load; none where the table is another than the catalog had it a moment ago.
    fn prepare(
        &mut self,
        load: &StagedLoad,
        seen: Option<&TableMetadata>,
    ) -> Result<Option<Prepared>> {
        let manifest = &load.manifest;
        let (stream, table) = (&manifest.stream, &manifest.table);
        let own = match seen {
            Some(seen) => {
                let properties = self.writer.properties(table)?;
                if properties != seen.properties {
                    return Ok(None);
                }
                Self::own(stream, table, Some(&properties))?
            }
            None => None,
        };
        if own.as_ref().is_some_and(|own| own.has(&manifest.load_id)) {
            return Err(stands_elsewhere(stream));
        }
        let state = self.state_of(stream, table, own.as_ref());
        let (outcome, schema) = plan::apply(&mut self.writer, load, state)?;
        let looked = self.looked_of(stream, own.as_ref());
        prepared(
            manifest,
            outcome,
            schema,
            own.as_ref(),
            looked,
            &self.ledger,
        )
        .map(Some)
    }

    /// What a table keeps of a stream, where its properties say that it is the stream's.
    fn own(
        stream: &StreamName,
        table: &str,
        properties: Option<&Properties>,
    ) -> Result<Option<Kept>> {
        match properties {
            Some(properties) if state::stream_of(properties) == Some(stream.as_str()) => {
                Kept::read(table, properties)
            }
            // Where there is another's, the plan refuses it.
            _ => Ok(None),
        }
    }

    /// What the table of a load keeps of its stream.
    fn own_of(manifest: &Manifest, found: &claims::Tables) -> Result<Option<Kept>> {
        let of_table = found.table.as_ref().map(|seen| &seen.properties);
        Self::own(&manifest.stream, &manifest.table, of_table)
    }

    /// Where a stream stands. One that went into a table of another name before stands where that one says; one whose table was
    /// dropped stands nowhere.
    fn state_of(
        &self,
        stream: &StreamName,
        table: &str,
        own: Option<&Kept>,
    ) -> Option<StreamState> {
        let elsewhere = self.known.get(stream).filter(|known| known.table != table);
        let kept = own.or(elsewhere.map(|known| &known.kept));
        kept.map(|kept| kept.state.clone())
    }

    /// What is known of the landed loads that a stream's ledger lacks.
    fn looked_of(&self, stream: &StreamName, own: Option<&Kept>) -> Option<Looked> {
        match self.looked.get(stream) {
            Some(looked) => looked.clone(),
            None => own.and_then(|own| own.looked.clone()),
        }
    }

    /// Commits what the plan did and the properties that say so.
    fn commit(
        &mut self,
        manifest: &Manifest,
        seen: Option<&TableMetadata>,
        properties: &Properties,
    ) -> Result<Committed> {
        let table = &manifest.table;
        match seen {
            // DuckDB would not say which snapshot the table had.
            Some(seen) if !self.writer.has_changes() => {
                self.writer.rollback();
                self.writer.catalog.set_properties(table, seen, properties)
            }
            _ => {
                if seen.is_some() {
                    self.writer.bind(table, &manifest.load_id)?;
                }
                self.writer.set_properties(table, properties)?;
                self.writer.commit()
            }
        }
    }

    /// Whether a table has a load, after a commit of which that is not known.
    fn look_for(&mut self, table: &str, load_id: &LoadId) -> Result<bool> {
        let mut unseen = None;
        for pause in LOOKS {
            thread::sleep(pause);
            match self.writer.catalog.table(table) {
                Ok(None) => return Ok(false),
                Ok(Some(metadata)) => {
                    let kept = Kept::read(table, &metadata.properties)?;
                    return Ok(kept.is_some_and(|kept| kept.has(load_id)));
                }
                Err(error) => unseen = Some(error),
            }
        }
        let unseen = unseen.unwrap_or_else(|| Error::internal("a table was not looked at"));
        Err(unseen.context(
            "a commit was sent, and whether it was done cannot be seen now; the next run looks",
        ))
    }

    /// What a table of a stream keeps, looked at anew.
    fn look_at(&mut self, stream: &StreamName) -> Result<Option<(String, TableMetadata, Kept)>> {
        let Some(Known { table, .. }) = self.known.get(stream).cloned() else {
            return Ok(None);
        };
        let Some(metadata) = self.writer.catalog.table(&table)? else {
            return Ok(None);
        };
        let kept = Kept::read(&table, &metadata.properties)?;
        Ok(kept.map(|kept| (table, metadata, kept)))
    }

    /// Brings what tables keep of their last loads to the table of loads.
    fn record(&mut self) -> Result<()> {
        let rows: Vec<LoadRow> = self
            .known
            .iter()
            .flat_map(|(stream, known)| self.ledger.pending(stream, &known.kept))
            .cloned()
            .collect();
        self.ledger.record(&mut self.writer, &rows)
    }
}

impl Destination for Lake {
    fn id(&self) -> &DestinationId {
        &self.ledger.id
    }

    fn interrupter(&self) -> Interrupter {
        let writer = self.writer.interrupter();
        match self.remote.as_ref().map(Remote::interrupter) {
            None => writer,
            Some(remote) => std::sync::Arc::new(move || {
                remote();
                writer();
            }),
        }
    }

    fn reads(&self) -> Reads {
        match self.remote {
            Some(_) => Reads::Landed,
            None => Reads::Local,
        }
    }

    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>> {
        let known = self.known.iter();
        Ok(known
            .map(|(stream, known)| (stream.clone(), known.kept.state.clone()))
            .collect())
    }

    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>> {
        let mut loaded = self.ledger.loaded(&mut self.writer, stream)?.clone();
        if let Some(known) = self.known.get(stream) {
            let kept = known.kept.loads.iter();
            loaded.extend(kept.map(|load| load.told.load_id.clone()));
        }
        Ok(loaded)
    }

    fn unloaded(&mut self, stream: &StreamName, landed: &[LoadId]) -> Result<BTreeSet<LoadId>> {
        let answers: Vec<Option<bool>> = landed
            .iter()
            .map(|load_id| self.lacks(stream, load_id))
            .collect();
        let loaded = if answers.contains(&None) {
            self.loaded(stream)?
        } else {
            HashSet::new()
        };
        let unloaded = landed
            .iter()
            .zip(answers)
            .filter(|(load_id, lacks)| lacks.unwrap_or_else(|| !loaded.contains(load_id)))
            .map(|(load_id, _)| load_id.clone())
            .collect();
        let looked = Looked::of(landed, &unloaded);
        self.looked.insert(stream.clone(), looked);
        Ok(unloaded)
    }

    fn last_loads(&mut self) -> Result<Vec<LedgerRow>> {
        let last = self
            .known
            .values()
            .filter_map(|known| known.kept.loads.last());
        Ok(last.map(|load| load.told.clone()).collect())
    }

    fn load(&mut self, load: &StagedLoad) -> Result<Loaded> {
        self.refuse_read_only()?;
        let manifest = &load.manifest;
        let loaded = self
            .apply(load)
            .map_err(|error| error.context(format!("load {}", manifest.load_id)))?;
        let pending = self.known.get(&manifest.stream).map_or(0, |known| {
            self.ledger.pending(&manifest.stream, &known.kept).len()
        });
        if pending >= MOST_PENDING {
            self.finish();
        }
        Ok(loaded)
    }

    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()> {
        self.refuse_read_only()?;
        let mut attempt = 1;
        loop {
            let found = self.look_at(stream)?;
            let Some((table, seen, mut kept)) =
                found.filter(|(_, _, kept)| kept.state.position.as_ref() == Some(before))
            else {
                return Err(stands_elsewhere(stream));
            };
            kept.state.position = Some(after.clone());
            kept.state.updated_at = kept.state.updated_at.max(Utc::now().trunc_subsecs(6));
            let properties = kept.write(stream, &self.ledger.id)?;
            let committed = self
                .writer
                .catalog
                .set_properties(&table, &seen, &properties)?;
            let error = match committed {
                Committed::Done => None,
                Committed::Conflict(error) | Committed::Unknown(error) => Some(error),
            };
            if let Some(error) = error {
                let found = self.look_at(stream)?;
                let is_done =
                    found.is_some_and(|(_, _, found)| found.state.position.as_ref() == Some(after));
                if !is_done && attempt == ATTEMPTS {
                    return Err(error);
                }
                if !is_done {
                    attempt += 1;
                    continue;
                }
            }
            self.known.insert(stream.clone(), Known { table, kept });
            return Ok(());
        }
    }

    fn keep_runs(&mut self, kept: &[RunRecord]) -> Result<()> {
        self.refuse_read_only()?;
        runs::keep(&mut self.writer, &self.ledger.id, kept)
    }

    fn runs(&mut self, before: Option<&RunId>, most: usize) -> Result<Vec<RunRecord>> {
        runs::read(&mut self.writer, before, most)
    }

    fn finish(&mut self) {
        if self.read_only {
            return;
        }
        match self.record() {
            Ok(()) => {}
            Err(Error::Interrupted) => {
                tracing::debug!("{} is brought up to date later", state::LEDGER);
            }
            Err(error) => tracing::warn!(
                "{} could not be brought up to date; the next run does it: {}",
                state::LEDGER,
                error.report()
            ),
        }
    }

    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>> {
        self.writer.attach()?;
        let table = self.writer.table(table);
        live_ids(&mut self.writer, &table, disposition)
    }

    fn read_rows(
        &mut self,
        rows: &TableRows,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.writer.begin(Work::default())?;
        let read = read_rows(&mut self.writer, rows, each);
        self.writer.rollback();
        read
    }

    fn count_rows(&mut self, rows: &TableRows, counting: &Counting) -> Result<RecordBatch> {
        self.writer.begin(Work::default())?;
        let counted = count_rows(&mut self.writer, rows, counting);
        self.writer.rollback();
        counted
    }

    fn keeps_sign_of_zero(&self) -> bool {
        false
    }

    fn note_verification(&mut self, verification: &Verification) -> Result<()> {
        self.refuse_read_only()?;
        ledger::note_verification(&mut self.writer, &self.ledger.id, verification)
    }

    fn rows_as_json(&mut self, _: &str, _: Option<&str>) -> Result<Vec<Box<RawValue>>> {
        Err(
            Error::destination("acequia runs no queries in an Iceberg lake")
                .remedy("name a destination of the kind duckdb or postgres with --destination"),
        )
    }
}

/// What a catalog does not let a run do with a dataset, and with tables of these names, and an engine elsewhere with a part of
/// one row that was landed. Changes nothing.
///
/// # Errors
/// As [`Lake::open`].
pub(crate) fn check(
    name: &str,
    lake: &config::Lake,
    dataset: &str,
    tables: &[String],
    landed: Option<&str>,
) -> Result<Rights> {
    open::check(name, lake, dataset, tables, landed)
        .map_err(|error| error.context(open::subject(name, lake)))
}

/// What a load has left, to be committed.
fn prepared(
    manifest: &Manifest,
    outcome: LoadOutcome,
    schema: TableSchema,
    own: Option<&Kept>,
    looked: Option<Looked>,
    ledger: &Ledger,
) -> Result<Prepared> {
    let stream = &manifest.stream;
    let state = state_after(manifest, schema);
    let row = LoadRow::of(
        manifest,
        &outcome,
        state.position.as_ref(),
        state.updated_at,
    );
    let mut loads = own.map_or_else(Vec::new, |own| ledger.pending(stream, own).to_vec());
    loads.push(row);
    let looked = looked.map(|looked| looked.with(&manifest.load_id));
    let kept = Kept {
        state,
        loads,
        looked,
    };
    let properties = kept.write(stream, &ledger.id)?;
    Ok(Prepared {
        kept,
        properties,
        outcome,
    })
}
