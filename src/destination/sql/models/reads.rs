//! What models and tests read, once it is found out, and what is wrong in them.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::models::graph::{Graph, GraphModel};
use crate::models::{ModelWork, faults};

/// The models of a pipeline, understood.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The models' indices, each after those that it reads.
    pub(super) order: Vec<usize>,
    /// Of each model, in the order of the project.
    pub(super) models: BTreeMap<usize, Described>,
    /// What each test of its own file reads, in the order of the project.
    pub(super) tests: Vec<Reads>,
    /// What else is in the models' schema.
    pub(super) strangers: BTreeSet<String>,
}

/// What the database says of a model.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) reads: Reads,
    pub(super) columns: Vec<(String, String)>,
}

/// What a statement reads.
#[derive(Debug, Default, Clone)]
pub(super) struct Reads {
    /// Models.
    pub(super) models: BTreeSet<String>,
    /// Streams' tables.
    pub(super) tables: BTreeSet<String>,
    /// Other relations, whose changes are not known.
    pub(super) others: BTreeSet<String>,
    /// Whether it reads the table of loads.
    pub(super) loads: bool,
}

/// What is wrong in models.
pub(super) struct Faults {
    pub(super) errors: Vec<Error>,
    /// Whether all of them are only about tables of streams that were not loaded yet.
    pub(super) only_unloaded: bool,
}

impl Faults {
    pub(super) fn into_error(self) -> Error {
        let error = faults(self.errors);
        if self.only_unloaded {
            error.for_now()
        } else {
            error
        }
    }
}

impl Resolved {
    /// What each model reads, for people.
    pub(super) fn graph(&self, work: &ModelWork) -> Graph {
        let models = self.order.iter().filter_map(|place| {
            let model = work.project.models.get(*place)?;
            let reads = &self.models.get(place)?.reads;
            let loads = reads.loads.then(|| "_acequia_loads".to_owned());
            Some(GraphModel {
                model: model.name.clone(),
                materialized: model.header.materialized,
                description: model.header.description.clone(),
                question: model.header.question.clone(),
                file: model.file.clone(),
                models: reads.models.iter().cloned().collect(),
                tables: reads.tables.iter().cloned().chain(loads).collect(),
                others: reads.others.iter().cloned().collect(),
            })
        });
        Graph {
            models: models.collect(),
        }
    }
}
