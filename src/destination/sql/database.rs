//! A destination whose dataset keeps its ledger itself: what the pipeline asks of it, answered over an [`SqlEngine`](super::SqlEngine).

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use serde_json::value::RawValue;

use crate::destination::{
    Destination, Interrupter, LedgerRow, Loaded, StagedLoad, StreamState, TableRows,
};
use crate::error::{Error, Result};
use crate::mode::Disposition;
use crate::models::report::ModelsReport;
use crate::models::{ModelWork, ModelsView};
use crate::names::{DestinationId, LoadId, RunId, StreamName};
use crate::position::Position;
use crate::runs::RunRecord;
use crate::verify::counts::Counting;
use crate::verify::report::Verification;

use super::models::{self, ModelEngine};
use super::runs::{self, RUNS};
use super::{ledger, live_ids, query, read, verifications};

/// An engine whose connection has transactions.
pub(crate) trait Transactional: ModelEngine + Send {
    /// Does `work` in one transaction: all of it, or nothing.
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T>
    where
        Self: Sized;

    /// Does `work` in a transaction that is undone in any case.
    fn trial<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T>
    where
        Self: Sized;

    /// Does `work`, which is one transaction of queries that people wrote, and does it again with more of what the engine ran out
    /// of, if it can have more.
    fn with_enough<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T>
    where
        Self: Sized,
    {
        work(self)
    }

    /// What stops the statement that runs now, and every later transaction: a stop is for good.
    fn interrupter(&self) -> Interrupter;

    /// Whether it can apply a load whose parts still come.
    fn loads_ahead(&self) -> bool {
        false
    }

    /// Applies a load, and writes it down, in one transaction.
    fn load(&mut self, load: &StagedLoad) -> Result<Loaded>;
}

/// A dataset in a database.
#[derive(Debug)]
pub(crate) struct Database<S> {
    pub(in crate::destination) session: S,
    id: DestinationId,
    /// A warning, if the ledger was made at another place.
    moved: Option<String>,
    read_only: bool,
}

impl<S: Transactional> Database<S> {
    /// Creates the schema and ledger of a dataset if they are missing; `here` is its place.
    pub(crate) fn writable(mut session: S, here: &str) -> Result<Self> {
        let (id, moved) = session.transaction(|session| ledger::prepare(session, here))?;
        Ok(Self {
            session,
            id,
            moved,
            read_only: false,
        })
    }

    /// A dataset of which only the ledger is read. `None` if there is no ledger yet.
    pub(crate) fn readable(mut session: S, here: &str) -> Result<Option<Self>> {
        let id = ledger::seen_id(&mut session, here)?;
        Ok(id.map(|id| Self {
            session,
            id,
            moved: None,
            read_only: true,
        }))
    }

    fn refuse_read_only(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::internal(
                "a load on a destination that was opened to be read",
            ));
        }
        Ok(())
    }
}

impl<S: Transactional> Destination for Database<S> {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn interrupter(&self) -> Interrupter {
        self.session.interrupter()
    }

    fn loads_ahead(&self) -> bool {
        self.session.loads_ahead()
    }

    fn warnings(&self) -> Vec<String> {
        self.moved.iter().cloned().collect()
    }

    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>> {
        ledger::states(&mut self.session)
    }

    fn state(&mut self, stream: &StreamName) -> Result<Option<StreamState>> {
        ledger::state(&mut self.session, stream)
    }

    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>> {
        ledger::loaded(&mut self.session, stream)
    }

    fn last_loads(&mut self) -> Result<Vec<LedgerRow>> {
        ledger::last_loads(&mut self.session)
    }

    fn load(&mut self, load: &StagedLoad) -> Result<Loaded> {
        self.refuse_read_only()?;
        self.session
            .load(load)
            .map_err(|error| error.context(format!("load {}", load.manifest.load_id)))
    }

    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()> {
        self.refuse_read_only()?;
        self.session
            .transaction(|session| ledger::advance(session, stream, before, after))
    }

    fn keep_runs(&mut self, kept: &[RunRecord]) -> Result<()> {
        self.refuse_read_only()?;
        self.session.transaction(|session| {
            runs::prepare(session)?;
            let table = session.table(RUNS);
            runs::keep(session, &table, kept)
        })
    }

    fn runs(&mut self, before: Option<&RunId>, most: usize) -> Result<Vec<RunRecord>> {
        if !self.session.has_table(RUNS)? {
            return Ok(Vec::new());
        }
        let table = self.session.table(RUNS);
        runs::read(&mut self.session, &table, before, most)
    }

    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>> {
        let table = self.session.table(table);
        live_ids(&mut self.session, &table, disposition)
    }

    fn read_rows(
        &mut self,
        rows: &TableRows,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.session
            .trial(|session| read::read_rows(session, rows, each))
    }

    fn count_rows(&mut self, rows: &TableRows, counting: &Counting) -> Result<RecordBatch> {
        self.session
            .trial(|session| read::count_rows(session, rows, counting))
    }

    fn note_verification(&mut self, verification: &Verification) -> Result<()> {
        self.refuse_read_only()?;
        self.session
            .transaction(|session| verifications::note(session, verification))
    }

    fn rows_as_json(&mut self, query: &str, models: Option<&str>) -> Result<Vec<Box<RawValue>>> {
        let dataset = self.session.dataset().to_owned();
        let schemas: Vec<&str> = models.into_iter().chain([dataset.as_str()]).collect();
        self.session
            .trial(|session| query::rows_as_json(session, query, &schemas))
    }

    fn build_models(&mut self, work: &ModelWork) -> Result<ModelsReport> {
        self.refuse_read_only()?;
        models::run(&mut self.session, work)
    }

    fn test_models(&mut self, work: &ModelWork) -> Result<ModelsReport> {
        models::test(&mut self.session, work)
    }

    fn look_at_models(&mut self, work: &ModelWork) -> Result<ModelsView> {
        models::look(&mut self.session, work)
    }
}
