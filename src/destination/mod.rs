//! The destinations of loads. A destination applies a landed load, its ledger row and the stream's new position in one
//! transaction, and remembers which loads it has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::evolution::{SchemaContract, TableSchema};
use crate::landing::manifest::Manifest;
use crate::layout::Layout;
use crate::mode::Disposition;
use crate::models::report::ModelsReport;
use crate::models::{ModelWork, ModelsView};
use crate::names::{DestinationId, LoadId, RunId, StreamName};
use crate::position::{Position, ValueRange};
use crate::runs::RunRecord;
use crate::schema::Column;
use crate::verify::counts::Counting;
use crate::verify::report::Verification;

pub(crate) mod arriving;
#[cfg(test)]
pub(crate) mod conformance;
pub mod duckdb;
pub mod iceberg;
mod open;
pub mod postgres;
pub(crate) mod sql;

use arriving::Arriving;
pub use open::{Rights, check, hindrance, open, open_read_only, reads};

/// The column that holds the id of the load that brought a row.
pub const LOAD_ID_COLUMN: &str = "_acequia_load_id";

/// Interrupts a destination from another thread. Changes that were not committed are undone.
pub type Interrupter = Arc<dyn Fn() + Send + Sync>;

/// A destination of loads: a dataset in a database.
///
/// The methods block: [`crate::pipeline`] gives each destination a thread of its own, on which it is opened, used and
/// dropped. For a database that speaks SQL, the plan of a load exists: `destination/sql` applies it over a connection and a
/// dialect, and keeps the ledger in tables. `destination/conformance` tests the following for every implementation alike.
///
/// # What an implementation must ensure
/// - **One transaction.** [`load`](Self::load) commits its changes to tables and their schema, the ledger's row of the
///   load, and the stream's new position together or not at all, even if a process is killed at any time. A reader sees the
///   table before the load or after it, and a commit that was reported survives a crash of the destination.
/// - **Once.** A load is identified by its id. A load that the ledger has is not applied again, and the outcome says so
///   ([`LoadOutcome::already_loaded`]): the pipeline may hand over a load again if it does not know whether it was
///   committed.
/// - **In order.** A load that adds to a table is applied only if the stream's position is the one that the load begins at
///   ([`Manifest::follows`]); otherwise it is refused. A load that rebuilds its table ([`Manifest::rebuilds`], a full
///   refresh) needs no position.
/// - **Ownership.** The destination refuses a table or view that acequia did not make or that has another stream's rows,
///   and never writes to it. It also refuses a table that differs from the ledger's description. What people add to a table
///   of acequia's (columns, indices, grants) stays as far as the destination can keep it.
/// - **Evolution.** The table's schema follows [`evolve`](crate::evolution::evolve) within what [`StagedLoad::contract`]
///   allows: columns are added and widened, and a column that the source dropped stays and is NULL in new rows. The new
///   schema is a part of [`StreamState`]; the next load's field ids are assigned from it.
/// - **Dispositions.** [`Disposition`] and [`Changes`](crate::mode::Changes) define how rows are applied. Values are kept
///   exactly: -0.0 is not 0.0, NaN equals itself, text is compared by its bytes. Of several rows with one key, the newest
///   by cursor is applied; a tie, or NULL in a key, is an error of the data. Rows that did not change are not written
///   again.
/// - **Counts.** [`LoadOutcome`] counts the source's rows: a row that is marked as deleted, or whose version is closed
///   without a successor, counts as deleted; a row whose version is closed by a successor counts as updated. For a table
///   that is rebuilt, the inserted rows are all of its rows. The load fails if its parts do not have as many rows as the
///   manifest says.
/// - **One writer.** While the dataset is open for writing, no other process can open it for writing. Therefore a folder in
///   the landing area without a manifest is certainly left by a dead run.
/// - **An id of its own.** [`id`](Self::id) is drawn when the ledger is made, and again if the ledger finds itself at
///   another place, for example after a copy.
/// - **Interruption.** The function that [`interrupter`](Self::interrupter) returns may be called from any thread, at any
///   time and more than once. A load in progress then ends soon, with [`crate::Error::Interrupted`] and without changes,
///   unless it has been committed; later loads end in the same way at once.
/// - **Errors.** No message contains a cell value or a secret. An error that does not concern the load (a full disk, a lost
///   connection) is marked by [`Error::for_now`](crate::Error::for_now); a load that is refused for any other reason is set
///   aside. The destination can still be used after an error.
pub trait Destination: Send {
    /// The destination's id. It differs from the id of another destination that was at the same place before.
    fn id(&self) -> &DestinationId;

    /// A function that interrupts the load in progress.
    fn interrupter(&self) -> Interrupter;

    /// Where it reads a load's parts.
    fn reads(&self) -> Reads {
        Reads::Local
    }

    /// Whether it can apply a load whose parts still come ([`Parts::Arriving`]): the first one of a stream's, into a table that
    /// the load creates.
    fn loads_ahead(&self) -> bool {
        false
    }

    /// Warnings that arose when the destination was opened.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The state of each stream that was ever loaded.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if the ledger cannot be read, or has contents that this version does not know.
    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>>;

    /// What is known of one stream.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    fn state(&mut self, stream: &StreamName) -> Result<Option<StreamState>> {
        Ok(self.states()?.remove(stream))
    }

    /// The ids of all loads of a stream that the ledger has.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>>;

    /// Of loads of a stream that are in the landing area, those that the ledger lacks. A destination whose ledger is slow to
    /// read may keep what it answered, so a folder that somebody copies there later, among older ones, may be missing.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    fn unloaded(&mut self, stream: &StreamName, landed: &[LoadId]) -> Result<BTreeSet<LoadId>> {
        let loaded = self.loaded(stream)?;
        let unloaded = landed.iter().filter(|load_id| !loaded.contains(load_id));
        Ok(unloaded.cloned().collect())
    }

    /// The last ledger row of each stream, in the order of the streams' names.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    fn last_loads(&mut self) -> Result<Vec<LedgerRow>>;

    /// Applies a load: data, ledger row and position, in one transaction. A load that the ledger has is not applied again.
    /// The parts' checksums match the manifest; the destination may read them until this method returns.
    ///
    /// The new position is the manifest's `position_after` or, if that is `None`, the position that the load began at: a
    /// load never removes a position. The returned state is the one that [`states`](Self::states) would return now.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the schema or a key forbids the load; [`crate::Error::Destination`] if the load does not
    /// follow the stream's position, the table is not the stream's own, or the destination fails; [`crate::Error::Landing`]
    /// if a part cannot be read; [`crate::Error::Interrupted`]. In all cases nothing was changed.
    fn load(&mut self, load: &StagedLoad) -> Result<Loaded>;

    /// Advances the stream's position from `before` to `after` without a load. No ledger row is written, and the stream's
    /// last load remains the same.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if the stream's position is not `before`, or the destination fails. In both cases
    /// nothing was changed.
    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()>;

    /// Keeps runs, each in place of one of its id, and the newest [`KEPT`](crate::runs::KEPT) of all, about.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if they cannot be kept; [`crate::Error::Interrupted`]. In both cases nothing was changed.
    fn keep_runs(&mut self, runs: &[RunRecord]) -> Result<()>;

    /// At most so many of the runs that were kept, newest first: those that began before another one, or the newest.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if they cannot be read, or are not what this version writes.
    fn runs(&mut self, before: Option<&RunId>, most: usize) -> Result<Vec<RunRecord>>;

    /// Does what is done once a run rather than once a load, before the destination is closed. If it is not called, nothing
    /// is lost.
    fn finish(&mut self) {}

    /// The ids of the records that a table has and that are not archived: its column `id` where its column `archived` is
    /// false; for a table that keeps versions ([`Disposition::Scd2`]), only current versions count.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if there is no such table.
    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>>;

    /// Hands over the rows of a stream's table, in any order and in batches of bounded size: each column in its type's form in
    /// Arrow, whatever the table keeps it as. `each` must not ask the destination anything.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if there is no such table or column, a column is of another type, or the destination
    /// fails; the error of `each`; [`crate::Error::Interrupted`].
    fn read_rows(
        &mut self,
        rows: &TableRows,
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()>;

    /// Counts the rows of a stream's table: one row of [`Counting::answer`], in which the bounds have the type that the ledger has of
    /// their column.
    ///
    /// # Errors
    /// As [`read_rows`](Self::read_rows).
    fn count_rows(&mut self, rows: &TableRows, counting: &Counting) -> Result<RecordBatch>;

    /// Whether it tells -0.0 from 0.0; else it keeps 0.0.
    fn keeps_sign_of_zero(&self) -> bool {
        true
    }

    /// Adds a row to the table of verifications, which is made if it is missing: `_acequia_verifications`, and in a lake
    /// `acequia_verifications`.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if the destination fails.
    fn note_verification(&mut self, verification: &Verification) -> Result<()>;

    /// The rows that a query returns, in its order, each a JSON object whose keys are the query's columns. The query is one
    /// SELECT and cannot write. Unqualified names in it are those of the schema `models`, if it is given, and then those of
    /// the dataset. Numbers that JSON has no form for (NaN, infinity) are null, or a text where the database writes one.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] if the query is not one SELECT, it reads what is not there, or the destination runs no
    /// queries. Neither quotes a value.
    fn rows_as_json(&mut self, query: &str, models: Option<&str>) -> Result<Vec<Box<RawValue>>>;

    /// Builds the models that are new or changed, or that read what has changed since, and runs their tests, in one
    /// transaction: if one cannot be built or a test fails, none is, and readers see the old tables, as they do until the
    /// commit. The report says so.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for what is wrong in the models, with file and line; [`crate::Error::Destination`] if the
    /// destination fails otherwise, or builds no models; [`crate::Error::Interrupted`]. In all cases nothing was changed.
    fn build_models(&mut self, _work: &ModelWork) -> Result<ModelsReport> {
        Err(no_models())
    }

    /// Runs all tests of the models as they are, and changes nothing.
    ///
    /// # Errors
    /// As [`build_models`](Self::build_models).
    fn test_models(&mut self, _work: &ModelWork) -> Result<ModelsReport> {
        Err(no_models())
    }

    /// What the models read, and what was built of them. Changes nothing.
    ///
    /// # Errors
    /// As [`build_models`](Self::build_models).
    fn look_at_models(&mut self, _work: &ModelWork) -> Result<ModelsView> {
        Err(no_models())
    }
}

/// The error of a destination that builds no models.
fn no_models() -> Error {
    Error::config("models are not built in an Iceberg lake")
        .remedy("name a destination of the kind duckdb or postgres with --destination")
}

/// Rows of a stream's table.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// The table's name.
    pub table: String,
    /// The columns to hand over, with the types that the ledger has of them.
    pub columns: Vec<Column>,
    /// Which rows.
    pub living: Living,
    /// Those of a range alone. `None` for all.
    pub within: Option<TableRange>,
}

/// A range of the rows of a stream's table.
#[derive(Debug, Clone)]
pub struct TableRange {
    /// The column, with the type that the ledger has of it.
    pub column: Column,
    /// The range of that column's values.
    pub range: ValueRange,
}

/// Which rows of a table count as rows of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Living {
    /// All.
    All,
    /// Those that are not marked as deleted.
    NotDeleted,
    /// Of versions, the current ones.
    Current,
}

/// The state of a stream, as `_acequia_state` keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamState {
    /// The stream's position. `None` for a stream that is read in full.
    pub position: Option<Position>,
    /// The schema of its table.
    pub schema: TableSchema,
    /// Its last load.
    pub load_id: LoadId,
    /// When the last load was committed.
    pub updated_at: DateTime<Utc>,
}

/// Where a destination reads a load's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// From local files.
    Local,
    /// Where they were landed, by an engine of its own.
    Landed,
}

/// A load's parts, in the manifest's order.
#[derive(Debug, Clone)]
pub enum Parts {
    /// As local files.
    Local(Vec<PathBuf>),
    /// As the landing area has them: their URLs.
    Remote(Vec<String>),
    /// As local files that come while the extract runs, in any order; there is one at least.
    Arriving(Arc<Arriving>),
}

impl Parts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Local(files) => files.is_empty(),
            Self::Remote(urls) => urls.is_empty(),
            Self::Arriving(_) => false,
        }
    }

    /// The local files, for a destination that reads such one after the other. Blocks for those that have yet to come.
    ///
    /// # Errors
    /// [`Error::Internal`] where they are elsewhere; an item where no more come, as the extract failed.
    pub(crate) fn files(&self) -> Result<Box<dyn Iterator<Item = Result<PathBuf>> + Send + '_>> {
        match self {
            Self::Arriving(arriving) => {
                Ok(Box::new(std::iter::from_fn(|| arriving.next().transpose())))
            }
            Self::Local(_) | Self::Remote(_) => Ok(Box::new(self.local()?.iter().cloned().map(Ok))),
        }
    }

    /// The files of parts that tests have written to this machine.
    #[cfg(test)]
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        match self {
            Self::Local(files) => files.clone(),
            Self::Remote(urls) => urls.iter().map(PathBuf::from).collect(),
            Self::Arriving(_) => Vec::new(),
        }
    }

    /// The same parts, for an engine of this machine that reads them where they are.
    #[cfg(test)]
    pub(crate) fn seen_by(self, reads: Reads) -> Self {
        let urls = |files: Vec<PathBuf>| {
            let files = files.into_iter();
            files.map(|file| file.display().to_string()).collect()
        };
        match reads {
            Reads::Local => Self::Local(self.written()),
            Reads::Landed => Self::Remote(urls(self.written())),
        }
    }

    /// The local files, for a destination that reads such.
    ///
    /// # Errors
    /// [`Error::Internal`] where they are elsewhere.
    pub(crate) fn local(&self) -> Result<&[PathBuf]> {
        match self {
            Self::Local(files) => Ok(files),
            Self::Remote(_) => Err(Error::internal("a load's parts are no local files")),
            Self::Arriving(_) => Err(Error::internal("a load's parts have yet to come")),
        }
    }
}

/// A load whose parts have the checksums of the manifest.
#[derive(Debug, Clone)]
pub struct StagedLoad {
    /// The manifest. Of a load whose parts still come, it has what is known before the extract ends: neither parts nor rows, and
    /// no position; see [`sealed`](Self::sealed).
    pub manifest: Manifest,
    /// Its parts, where the destination [`reads`](Destination::reads) them.
    pub parts: Parts,
    /// Which changes of the source's schema the stream allows.
    pub contract: SchemaContract,
    /// How a table that is made is laid out.
    pub layout: Layout,
    /// Statements that are run before the load, in its transaction.
    pub pre_sql: Vec<String>,
    /// Statements that are run after the load, in its transaction.
    pub post_sql: Vec<String>,
    /// The schema of the pipeline's models, if it has any.
    pub models: Option<String>,
}

impl StagedLoad {
    /// The manifest as it was published, once the parts were read.
    ///
    /// # Errors
    /// [`Error::Internal`] if the parts still come.
    pub(crate) fn sealed(&self) -> Result<&Manifest> {
        match &self.parts {
            Parts::Arriving(arriving) => arriving.manifest(),
            Parts::Local(_) | Parts::Remote(_) => Ok(&self.manifest),
        }
    }
}

/// The result of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The changes that the load made.
    pub outcome: LoadOutcome,
    /// The stream's state after the load.
    pub state: StreamState,
    /// What the load has left otherwise than people would expect.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// A load that was applied before: nothing was done.
    pub(crate) fn before(state: StreamState) -> Self {
        let outcome = LoadOutcome {
            already_loaded: true,
            ..LoadOutcome::default()
        };
        Self {
            outcome,
            state,
            warnings: Vec::new(),
        }
    }
}

/// The changes that a load made, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOutcome {
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that replaced others.
    pub updated: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Whether the ledger had the load already, and nothing was changed.
    pub already_loaded: bool,
}

/// A row of `_acequia_loads`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The load.
    pub load_id: LoadId,
    /// The load's stream.
    pub stream: StreamName,
    /// How the stream was read.
    pub mode: String,
    /// How the load was applied.
    pub disposition: String,
    /// Rows extracted.
    pub rows_extracted: u64,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// When the extract ended.
    pub extracted_at: DateTime<Utc>,
    /// When the load was committed.
    pub loaded_at: DateTime<Utc>,
}
