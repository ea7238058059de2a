//! Where loads go. A destination applies a landed load, its ledger row and the stream's new position in one
//! transaction, and remembers which loads it has.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::evolution::{SchemaContract, TableSchema};
use crate::landing::manifest::{Disposition, Manifest};
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;

#[cfg(test)]
pub(crate) mod conformance;
pub mod duckdb;
pub mod postgres;
pub(crate) mod sql;

/// The column that tells which load brought a row.
pub const LOAD_ID_COLUMN: &str = "_acequia_load_id";

/// Ends what a destination is doing from another thread. What was not committed is undone.
pub type Interrupter = Arc<dyn Fn() + Send + Sync>;

/// A place that loads go to. Its methods block: [`crate::pipeline`] gives each destination a thread of its own.
pub trait Destination: Send {
    /// What tells this destination from one that stood here before.
    fn id(&self) -> &DestinationId;

    /// What ends a load that is under way.
    fn interrupter(&self) -> Interrupter;

    /// What is to be known of it since it was opened.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is known of each stream.
    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>>;

    /// The loads of a stream that the ledger has.
    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>>;

    /// The last ledger row of each stream.
    fn last_loads(&mut self) -> Result<Vec<LedgerRow>>;

    /// Applies a load: data, ledger row and position, in one transaction. A load that the ledger has is left alone.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where the schema or a key forbids it, [`crate::Error::Destination`] where the destination
    /// fails. In both cases nothing has changed.
    fn load(&mut self, load: &StagedLoad) -> Result<Loaded>;

    /// Takes a stream's position on, from `before` to `after`, where nothing was to be loaded in between.
    ///
    /// # Errors
    /// [`crate::Error::Destination`] where the stream does not stand at `before`, or the destination fails.
    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()>;

    /// The ids of a table of records that stand for records in use: its column `id`, where its column `archived` is false.
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
