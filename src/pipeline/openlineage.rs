//! What is told of a run by events of `OpenLineage` ([`crate::openlineage`]): the pipeline is a job, and each stream one of its own,
//! whose run is a part of the pipeline's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::report::{RunReport, Status, StreamReport};
use crate::config::openlineage::RunOf;
use crate::config::postgres::{PostgresSource, Relation, TableName};
use crate::config::{
    HubSpotObject, OpenLineage, Pipeline, PostgresUrl, Stream, StreamSource, Target,
};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::mode::Mode;
use crate::names::{LoadId, RunId};
use crate::openlineage::dataset::Dataset;
use crate::openlineage::event::{JobType, Told, Transition, event};
use crate::openlineage::send::{Outbox, PARTING, Postman, start};
use crate::postgres::connection::Server;

/// How often it is told of a stream that is followed how far it has got.
const EVERY: Duration = Duration::from_mins(1);

/// The lineage of a run. It is cheap to clone.
#[derive(Clone)]
pub(super) struct Lineage(Arc<Shared>);

struct Shared {
    settings: OpenLineage,
    outbox: Outbox,
    run: RunOf,
    /// What acequia itself calls the run.
    run_id: Option<RunId>,
    follows: bool,
    target: Target,
    destination: String,
    dataset: String,
}

/// What sends the events of a run, until all are sent.
pub(super) struct Sending {
    lineage: Lineage,
    postman: Postman,
}

/// Begins to tell of a run, if somebody wants to know.
pub(super) fn begin(pipeline: &Pipeline, run_id: Option<&RunId>, follows: bool) -> Option<Sending> {
    let settings = pipeline.openlineage.clone()?;
    let (outbox, postman) = start(&settings);
    let lineage = Lineage(Arc::new(Shared {
        run: RunOf {
            namespace: settings.namespace.clone(),
            job: pipeline.name.to_string(),
            id: Uuid::new_v4(),
        },
        settings,
        outbox,
        run_id: run_id.cloned(),
        follows,
        target: pipeline.destination.target.clone(),
        destination: pipeline.destination.name.clone(),
        dataset: pipeline.dataset.clone(),
    }));
    lineage.tell(Transition::Start, None);
    Some(Sending { lineage, postman })
}

impl Sending {
    /// The lineage, for the run's streams.
    pub(super) fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }

    /// Tells how the run ended, and sends what is left.
    pub(super) async fn finish(self, ended: &Result<RunReport>, stop: &CancellationToken) {
        let (transition, error) = match ended {
            Ok(report) if report.is_ok() => (Transition::Complete, None),
            Ok(report) => match report.all_failures() {
                failures if failures.is_empty() => (Transition::Abort, None),
                failures => (Transition::Fail, Some(failures.join("\n"))),
            },
            Err(Error::Interrupted) => (Transition::Abort, None),
            Err(error) => (Transition::Fail, Some(error.report())),
        };
        self.lineage.tell(transition, error);
        let time = if stop.is_cancelled() {
            PARTING.1
        } else {
            PARTING.0
        };
        self.postman.finish(time).await;
    }
}

impl Lineage {
    fn tell(&self, transition: Transition, error: Option<String>) {
        let Shared {
            settings,
            outbox,
            run,
            run_id,
            follows,
            ..
        } = &*self.0;
        let told = Told {
            parent: settings.parent.clone(),
            root: settings.root.clone().or_else(|| settings.parent.clone()),
            tags: tags(run_id.as_ref(), None),
            error,
            ..Told::default()
        };
        let job = JobType {
            kind: "PIPELINE",
            is_endless: *follows,
        };
        outbox.put(event(transition, run, job, &told));
    }

    /// The lineage of a stream, whose run begins now.
    pub(super) fn stream(&self, stream: &Stream) -> StreamLineage {
        let shared = &self.0;
        let changelog = stream.changes().filter(|changes| changes.changelog);
        let lineage = StreamLineage {
            lineage: self.clone(),
            run: RunOf {
                namespace: shared.run.namespace.clone(),
                job: format!("{}.{}", shared.run.job, stream.name),
                id: Uuid::new_v4(),
            },
            is_endless: shared.follows && stream.mode() == Mode::Cdc,
            input: input(stream),
            output: shared.table(&stream.table),
            changelog: changelog.and_then(|_| shared.table(&format!("{}__changes", stream.table))),
            told: Mutex::default(),
            has_ended: AtomicBool::new(false),
        };
        lineage.tell(Transition::Start, None, None);
        lineage
    }
}

impl Shared {
    /// A table of the destination.
    fn table(&self, table: &str) -> Option<Dataset> {
        let schema = self.dataset.as_str();
        Some(match &self.target {
            Target::DuckDb { path, .. } => Dataset::duckdb(path, schema, table),
            Target::Postgres { url } => Dataset::postgres(&place(url)?, Some(schema), table),
            Target::Iceberg(lake) => {
                Dataset::iceberg(&lake.catalog, &self.destination, schema, table)
            }
        })
    }
}

fn place(url: &PostgresUrl) -> Option<(String, u16, String)> {
    Some(Server::parse(url).ok()?.first_place())
}

/// What a stream reads. Of a query it is not known: its text is SQL, and for the database to understand.
fn input(stream: &Stream) -> Option<Dataset> {
    match &stream.from {
        StreamSource::Rows(rows) => match &rows.relation {
            Relation::Table(table) => table_of(&rows.source, table),
            Relation::Query(_) => None,
        },
        StreamSource::Changes(changes) => table_of(&changes.source, &changes.table),
        StreamSource::HubSpot(object) => object_of(object, &stream.source),
    }
}

fn table_of(source: &Result<Arc<PostgresSource>>, table: &TableName) -> Option<Dataset> {
    let place = place(&source.as_ref().ok()?.url)?;
    let schema = table.schema.as_deref();
    Some(Dataset::postgres(&place, schema, &table.name))
}

fn object_of(object: &HubSpotObject, source: &str) -> Option<Dataset> {
    let base_url = &object.source.as_ref().ok()?.base_url;
    Some(Dataset::hubspot(base_url, source, &object.object))
}

fn tags(run: Option<&RunId>, load: Option<&LoadId>) -> Vec<(&'static str, String)> {
    let run = run.map(|id| ("acequia_run_id", id.to_string()));
    let load = load.map(|id| ("acequia_load_id", id.to_string()));
    run.into_iter().chain(load).collect()
}

/// The lineage of a stream of a run.
pub(super) struct StreamLineage {
    lineage: Lineage,
    run: RunOf,
    is_endless: bool,
    input: Option<Dataset>,
    output: Option<Dataset>,
    /// The table of all changes, where there is one.
    changelog: Option<Dataset>,
    /// When it was last told how far the stream has got, and how many rows that were.
    told: Mutex<Option<(Instant, u64)>>,
    has_ended: AtomicBool,
}

/// A run that has begun ends, whatever became of it: this one was given up together with all others.
impl Drop for StreamLineage {
    fn drop(&mut self) {
        if !*self.has_ended.get_mut() {
            self.tell(Transition::Abort, None, None);
        }
    }
}

impl StreamLineage {
    /// Tells how the stream ended, given what its table has.
    pub(super) fn end(&self, report: &StreamReport, table: Option<&TableSchema>) {
        let transition = match report.status {
            Status::Ok => Transition::Complete,
            Status::Failed => Transition::Fail,
            Status::Skipped => Transition::Abort,
        };
        self.tell(transition, Some(report), table);
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Tells of a stream that is followed how far it has got: at first, and now and then where rows have come.
    pub(super) fn get_on(&self, report: &StreamReport, table: Option<&TableSchema>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told
            .is_none_or(|(when, rows)| when.elapsed() >= EVERY && rows != report.rows_extracted);
        if is_due {
            *told = Some((Instant::now(), report.rows_extracted));
            self.tell(Transition::Running, Some(report), table);
        }
    }

    fn tell(
        &self,
        transition: Transition,
        report: Option<&StreamReport>,
        table: Option<&TableSchema>,
    ) {
        let shared = &self.lineage.0;
        let (mut input, mut output) = (self.input.clone(), self.output.clone());
        if let Some(table) = table {
            output = output.map(|output| output.with_columns(table, input.as_ref()));
            input = input.map(|input| input.with_source_columns(table));
        }
        if let Some(report) = report {
            let written = report.inserted + report.updated;
            input = input.map(|input| input.read(report.rows_extracted));
            output = output.map(|output| output.written(written, report.bytes_landed));
        }
        let parent = &shared.run;
        let root = shared
            .settings
            .root
            .as_ref()
            .or(shared.settings.parent.as_ref());
        let told = Told {
            parent: Some(parent.clone()),
            root: Some(root.unwrap_or(parent).clone()),
            tags: tags(
                shared.run_id.as_ref(),
                report.and_then(|report| report.load_id.as_ref()),
            ),
            error: report
                .filter(|report| report.status == Status::Failed)
                .and_then(|report| report.error.clone()),
            inputs: input.into_iter().collect(),
            outputs: output.into_iter().chain(self.changelog.clone()).collect(),
        };
        let job = JobType {
            kind: "STREAM",
            is_endless: self.is_endless,
        };
        shared.outbox.put(event(transition, &self.run, job, &told));
    }
}
