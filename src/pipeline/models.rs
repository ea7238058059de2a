//! The models of a pipeline: built by a run after its loads, or by themselves.
//!
//! Models are made of what the destination has. A stream that failed has the rows of its last load there, and the models that
//! read it are made of those.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::RunOptions;
use super::loader::Loader;
use super::reading::reading;
use super::spans;
use crate::config::{Models, Pipeline, Target};
use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::models::report::ModelsReport;
pub use crate::models::{BuiltModel, Materialized, ModelsView};
use crate::models::{ModelWork, Project};

/// The models of a run, which are built again and again where the run follows.
pub(super) struct ModelsStep {
    dataset: String,
    /// What is to be built, or what is wrong in the folder: the streams are loaded all the same.
    work: Result<Arc<ModelWork>>,
    loader: Loader,
    stop: CancellationToken,
    last: Mutex<Option<ModelsReport>>,
}

impl ModelsStep {
    /// The models of a run, if it is to build any.
    pub(super) fn of(pipeline: &Pipeline, options: &RunOptions, loader: &Loader) -> Option<Self> {
        let models = pipeline.models.as_ref().filter(|_| options.models)?;
        Some(Self {
            dataset: models.dataset.clone(),
            work: work(models, Vec::new()).map(Arc::new),
            loader: loader.clone(),
            stop: options.interrupt.clone(),
            last: Mutex::default(),
        })
    }

    /// Builds what is due. A failure is told in the report, as the loads are committed; `None` after a stop.
    pub(super) async fn build(&self) -> Option<ModelsReport> {
        if self.stop.is_cancelled() {
            return None;
        }
        let span = spans::models();
        let built = match self.work.clone() {
            Ok(work) => {
                build_work(work, &self.loader, &self.stop)
                    .instrument(span.clone())
                    .await
            }
            Err(error) => Err(error),
        };
        let report = match built {
            Ok(report) => report,
            Err(Error::Interrupted) => return None,
            Err(error) => ModelsReport {
                dataset: self.dataset.clone(),
                error: Some(error.report()),
                ..ModelsReport::default()
            },
        };
        spans::models_built(&span, &report);
        *self.kept() = Some(report.clone());
        Some(report)
    }

    /// The last report.
    pub(super) fn last(&self) -> Option<ModelsReport> {
        self.kept().clone()
    }

    fn kept(&self) -> MutexGuard<'_, Option<ModelsReport>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a destination that models are not built in.
pub(super) fn refuse_lake(pipeline: &Pipeline) -> Result<()> {
    match pipeline.destination.target {
        Target::Iceberg(_) => Err(Error::config(format!(
            "models are not built in an Iceberg lake, which the destination `{}` is",
            pipeline.destination.name
        ))
        .remedy("leave the models out with `acequia run --no-models`, or name another destination with --destination")),
        Target::DuckDb { .. } | Target::Postgres { .. } => Ok(()),
    }
}

/// Builds the models of a pipeline: those of these names in any case, after what they read; or all that are due.
///
/// # Errors
/// [`Error::Config`] if there are no models, or something is wrong in them; what keeps the destination from being opened.
pub async fn build(
    pipeline: &Pipeline,
    only: Vec<String>,
    interrupt: &CancellationToken,
) -> Result<ModelsReport> {
    let span = spans::models_alone(pipeline);
    let building = build_alone(pipeline, only, interrupt);
    let built = spans::within(span.clone(), building).await;
    if let Ok(report) = &built {
        spans::models_built(&span, report);
    }
    built
}

async fn build_alone(
    pipeline: &Pipeline,
    only: Vec<String>,
    interrupt: &CancellationToken,
) -> Result<ModelsReport> {
    let work = work(models_of(pipeline)?, only)?;
    let landing = super::open_landing(pipeline)?;
    let (loader, warnings) = Loader::open(pipeline, &landing, interrupt).await?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let built = build_work(Arc::new(work), &loader, interrupt).await;
    loader.release().await?;
    built
}

/// Runs the tests of the models as they are: those of these models, or all.
///
/// # Errors
/// As [`build`]; if nothing was loaded yet.
pub async fn test(pipeline: &Pipeline, only: Vec<String>) -> Result<ModelsReport> {
    let work = work(models_of(pipeline)?, only)?;
    let tested = reading(pipeline, move |destination| destination.test_models(&work)).await?;
    tested.ok_or_else(nothing_loaded)
}

/// What the models of a pipeline are and read, and what the destination has of them.
///
/// # Errors
/// As [`test()`].
pub async fn look(pipeline: &Pipeline) -> Result<ModelsView> {
    let view = look_if_loaded(pipeline).await?;
    view.ok_or_else(nothing_loaded)
}

/// As [`look`]; `None` if nothing was loaded yet.
pub(super) async fn look_if_loaded(pipeline: &Pipeline) -> Result<Option<ModelsView>> {
    let work = work(models_of(pipeline)?, Vec::new())?;
    reading(pipeline, move |destination| {
        destination.look_at_models(&work)
    })
    .await
}

fn nothing_loaded() -> Error {
    Error::destination("nothing was loaded yet, so what the models read is not there")
        .remedy("load the streams first: `acequia run`")
}

fn models_of(pipeline: &Pipeline) -> Result<&Models> {
    let models = pipeline.models.as_ref().ok_or_else(|| {
        Error::config("the configuration has no models").remedy(
            "add [models] with path = \"analysis/models\", a folder of .sql files: docs/models.md",
        )
    })?;
    refuse_lake(pipeline)?;
    Ok(models)
}

fn work(models: &Models, only: Vec<String>) -> Result<ModelWork> {
    let project = Project::read(models)?;
    if let Some(unknown) = only.iter().find(|name| project.model(name).is_none()) {
        return Err(Error::config(format!("there is no model `{unknown}`"))
            .remedy("name models of the folder: `acequia models list` shows them"));
    }
    Ok(ModelWork {
        project,
        tables: models.tables.clone(),
        only,
    })
}

/// Passes models to the destination. A stop interrupts them, and nothing was changed then.
async fn build_work(
    work: Arc<ModelWork>,
    loader: &Loader,
    stop: &CancellationToken,
) -> Result<ModelsReport> {
    let request = move |destination: &mut dyn Destination| destination.build_models(&work);
    loader.call_until(stop, request).await
}
