//! What a destination is asked to do with models, and what it tells of them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::graph::Graph;
use super::{Project, StreamTables};

/// What is to be built.
#[derive(Debug, Clone)]
pub struct ModelWork {
    /// The models and tests.
    pub(crate) project: Project,
    /// The streams' tables.
    pub(crate) tables: StreamTables,
    /// The models that are built in any case, after those that they read and that have changed. Empty: all that have changed.
    pub(crate) only: Vec<String>,
}

/// The models of a destination.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ModelsView {
    /// The schema that the models' tables are in.
    pub dataset: String,
    /// The models in the order in which they are built, and what each reads.
    #[serde(flatten)]
    pub graph: Graph,
    /// What the destination has of each model, in the same order.
    pub built: Vec<BuiltModel>,
    /// Models that were built once and are no longer in the folder. Their tables stay.
    pub left_behind: Vec<String>,
}

/// What a destination has of a model.
#[derive(Debug, Clone, Serialize)]
pub struct BuiltModel {
    /// The model.
    pub model: String,
    /// Whether the next run builds it: it is new or changed, or what it reads is.
    pub is_due: bool,
    /// When it was built. `None` if it never was.
    pub built_at: Option<DateTime<Utc>>,
    /// The rows of its table.
    pub rows: Option<u64>,
    /// How long it took to build, in seconds.
    pub seconds: Option<f64>,
    /// How many of its tests passed when they were last run.
    pub passed: usize,
    /// Which of its tests failed when they were last run.
    pub failed: Vec<String>,
}
