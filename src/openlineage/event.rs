//! An event, as the specification of `OpenLineage` (2-0-2) has it. It holds what reports hold: names and numbers, and of an error
//! what is reported of it; no secret and no cell value. No I/O.

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::dataset::Dataset;
use super::facet::{PRODUCER, facet};
use crate::config::openlineage::RunOf;

/// The specification of events.
const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// What has become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// It begins.
    Start,
    /// It follows, and has got on.
    Running,
    /// It has succeeded.
    Complete,
    /// It was stopped.
    Abort,
    /// It has failed.
    Fail,
}

/// What is told of a run.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The run that it is a part of.
    pub(crate) parent: Option<RunOf>,
    /// The run that all began with.
    pub(crate) root: Option<RunOf>,
    /// What acequia itself calls it: its run, its load.
    pub(crate) tags: Vec<(&'static str, String)>,
    /// Why it has failed.
    pub(crate) error: Option<String>,
    /// What it reads.
    pub(crate) inputs: Vec<Dataset>,
    /// What it writes.
    pub(crate) outputs: Vec<Dataset>,
}

/// What kind of job it is: `PIPELINE` or `STREAM`, and whether it goes on without end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobType {
    /// The kind.
    pub(crate) kind: &'static str,
    /// Whether it has no end of its own.
    pub(crate) is_endless: bool,
}

/// The event that a run of a job has come to a transition.
pub(crate) fn event(transition: Transition, run: &RunOf, job: JobType, told: &Told) -> Value {
    let mut facets = Map::new();
    let mut add = |name: &str, schema: &str, says: Value| {
        facets.insert(name.to_owned(), facet(schema, says));
    };
    add(
        "processing_engine",
        "1-1-1/ProcessingEngineRunFacet",
        json!({
            "name": "acequia",
            "version": env!("CARGO_PKG_VERSION"),
            "openlineageAdapterVersion": env!("CARGO_PKG_VERSION"),
        }),
    );
    if let Some(parent) = &told.parent {
        let mut says = named(parent);
        if let (Some(root), Some(says)) = (&told.root, says.as_object_mut()) {
            says.insert("root".to_owned(), named(root));
        }
        add("parent", "1-2-0/ParentRunFacet", says);
    }
    if let Some(error) = &told.error {
        let says = json!({"message": error, "programmingLanguage": "Rust"});
        add("errorMessage", "1-0-1/ErrorMessageRunFacet", says);
    }
    if !told.tags.is_empty() {
        let tags = told.tags.iter();
        let tags: Vec<Value> = tags
            .map(|(key, value)| json!({"key": key, "value": value, "source": "acequia"}))
            .collect();
        add("tags", "1-0-0/TagsRunFacet", json!({"tags": tags}));
    }
    let processing = if job.is_endless { "STREAMING" } else { "BATCH" };
    let job_type = facet(
        "2-0-4/JobTypeJobFacet",
        json!({"processingType": processing, "integration": "ACEQUIA", "jobType": job.kind}),
    );
    let datasets =
        |datasets: &[Dataset]| -> Vec<Value> { datasets.iter().map(Dataset::json).collect() };
    json!({
        "eventType": match transition {
            Transition::Start => "START",
            Transition::Running => "RUNNING",
            Transition::Complete => "COMPLETE",
            Transition::Abort => "ABORT",
            Transition::Fail => "FAIL",
        },
        "eventTime": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": run.id.to_string(), "facets": facets},
        "job": {"namespace": run.namespace, "name": run.job, "facets": {"jobType": job_type}},
        "inputs": datasets(&told.inputs),
        "outputs": datasets(&told.outputs),
    })
}

/// A run and its job, as a facet names another.
fn named(run: &RunOf) -> Value {
    json!({
        "run": {"runId": run.id.to_string()},
        "job": {"namespace": run.namespace, "name": run.job},
    })
}
