//! Where loads go. A destination applies a landed load, its ledger row and the stream's new position in one
//! transaction, and remembers which loads it has.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::evolution::{SchemaContract, TableSchema};
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;

#[cfg(test)]
pub(crate) mod conformance;
pub mod duckdb;
mod open;
pub mod postgres;
pub(crate) mod sql;

pub use open::{Rights, check, hindrance, open, open_read_only};

/// The column that tells which load brought a row.
pub const LOAD_ID_COLUMN: &str = "_acequia_load_id";

/// Ends what a destination is doing from another thread. What was not committed is undone.
pub type Interrupter = Arc<dyn Fn() + Send + Sync>;

/// A place that loads go to: a dataset in a database.
///
/// Its methods block: [`crate::pipeline`] gives each destination a thread of its own, on which it is opened, used and
/// dropped. Where it is a database that speaks SQL, the plan of a load is written already: `destination/sql` applies it over
/// a connection and a dialect, and keeps the ledger in tables. `destination/conformance` tests what follows, for every
/// implementation alike.
///
/// # What an implementation must ensure
/// - **One transaction.** What [`load`](Self::load) does to tables and their schema, the ledger's row of the load, and the
///   stream's new position are committed together or not at all, whatever is killed when. A reader sees the table as it was
///   before or as it is after, and a commit that was reported survives a crash of the destination.
/// - **Once.** A load is known by its id. One that the ledger has is left alone, and says so
///   ([`LoadOutcome::already_loaded`]): the pipeline may hand a load over again where it does not know what became of it.
/// - **In turn.** A load that adds to a table is applied only where the stream's position is the one that it begins at
///   ([`Manifest::follows`]), else refused; one that makes its table anew ([`Manifest::rebuilds`], a full refresh) needs none.
/// - **Only its own.** A table or view that acequia did not make, or that another stream's rows are in, is refused and never
///   written to. So is a table that is no longer as the ledger says. What people add to a table of acequia's (columns,
///   indices, grants) stays as far as the destination can keep it.
/// - **Evolution.** The table's schema follows [`evolve`](crate::evolution::evolve) within what [`StagedLoad::contract`]
///   allows: columns are added and widened, and one that the source dropped stays and is NULL from then on. The schema
///   since is a part of [`StreamState`], from which the next load's field ids are given.
/// - **Dispositions.** What becomes of rows is what [`Disposition`] and [`Changes`](crate::mode::Changes) say.
///   Values are kept exactly: -0.0 is not 0.0, NaN equals itself, text is compared by its bytes. Of rows with one key the
///   newest by cursor is taken; a tie, or NULL in a key, is an error of the data. Rows that a load brings again unchanged are
///   left alone.
/// - **Counts.** [`LoadOutcome`] counts rows as the source has them, whatever is kept of those that are gone: one that is
///   marked as deleted, or whose version is closed without another, was deleted; one whose version is closed by another was
///   updated. Of a table that is made anew, the rows inserted are all that it has. As many rows are read from the parts as
///   the manifest says, else the load fails.
/// - **One at a time.** While it is open to be loaded into, no other process can open the dataset so: a folder in the
///   landing area without a manifest is then certainly a dead run's.
/// - **An id of its own.** [`id`](Self::id) is drawn when the ledger is made and again where the ledger finds itself at
///   another place, as after a copy.
/// - **Interruption.** What [`interrupter`](Self::interrupter) gives may be called from any thread, at any time and more
///   than once. A load under way then ends soon, with [`crate::Error::Interrupted`] and nothing changed, unless it has
///   committed; later loads end so at once.
/// - **Errors.** No message has a cell value or a secret. An error that says nothing of the load (a full disk, a lost
///   connection) is marked by [`Error::for_now`](crate::Error::for_now): a load that is refused otherwise is set aside. After
///   an error the destination can be used further.
pub trait Destination: Send {
    /// What tells this destination from one that stood here before.
    fn id(&self) -> &DestinationId;

    /// What ends a load that is under way.
    fn interrupter(&self) -> Interrupter;

    /// What is to be known of it since it was opened.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is known of each stream that was ever loaded.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] where the ledger cannot be read, or holds what this version does not know.
    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>>;

    /// The loads of a stream that the ledger has: all of them, since the ledger was made.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>>;

    /// The last ledger row of each stream, in the order of the streams' names.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    fn last_loads(&mut self) -> Result<Vec<LedgerRow>>;

    /// Applies a load: data, ledger row and position, in one transaction. A load that the ledger has is left alone. The
    /// parts are local files whose checksums were compared with the manifest; they may be read until this returns.
    ///
    /// The position since is the manifest's `position_after`, or where that is none the one that the load began at: a load
    /// never takes a position back to nothing. What is returned is what [`states`](Self::states) would now say.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where the schema or a key forbids it, [`crate::Error::Destination`] where the load does not
    /// follow on the stream's position, the table is not the stream's to write, or the destination fails;
    /// [`crate::Error::Landing`] where a part cannot be read; [`crate::Error::Interrupted`]. In all cases nothing has
    /// changed.
    fn load(&mut self, load: &StagedLoad) -> Result<Loaded>;

    /// Takes a stream's position on, from `before` to `after`, where nothing was to be loaded in between. No ledger row is
    /// written, and the stream's last load stays what it was.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] where the stream does not stand at `before`, or the destination fails. Nothing has
    /// changed then.
    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()>;

    /// The ids of a table of records that stand for records in use: its column `id`, where its column `archived` is false;
    /// of a table that keeps versions ([`Disposition::Scd2`]), of the current ones.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] where it has no such table.
    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>>;
}

/// What `_acequia_state` keeps of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamState {
    /// How far it has been carried; none for a stream that is read in full.
    pub position: Option<Position>,
    /// The schema of its table.
    pub schema: TableSchema,
    /// Its last load.
    pub load_id: LoadId,
    /// When that was committed.
    pub updated_at: DateTime<Utc>,
}

/// A load whose parts are local files with the checksums that the manifest gives.
#[derive(Debug)]
pub struct StagedLoad {
    /// What it is.
    pub manifest: Manifest,
    /// Its parts, in the manifest's order.
    pub files: Vec<PathBuf>,
    /// What the stream allows its source to change.
    pub contract: SchemaContract,
}

/// A load that was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it did.
    pub outcome: LoadOutcome,
    /// What is known of its stream since.
    pub state: StreamState,
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOutcome {
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that took the place of others.
    pub updated: u64,
    /// Rows that went.
    pub deleted: u64,
    /// Whether the ledger had the load already, and nothing was done.
    pub already_loaded: bool,
}

/// A row of `_acequia_loads`.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerRow {
    /// The load.
    pub load_id: LoadId,
    /// Its stream.
    pub stream: StreamName,
    /// How it was read.
    pub mode: String,
    /// How it was applied.
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
    /// When it was committed.
    pub loaded_at: DateTime<Utc>,
}
