//! The report page of a pipeline: its parts are read, the destination is asked for their rows, and the page is composed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::loader::Loader;
use super::reading::reading;
use super::report::PageReport;
use super::spans;
use crate::config::{self, Pipeline, Target};
use crate::destination::{Destination, LedgerRow};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::failures::Failure;
use crate::names::StreamName;
use crate::report::{Freshness, Page, Report, ReportRows, write};

/// The interval at which a destination that another process holds is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What was asked of the destination for a page.
struct Asked {
    rows: ReportRows,
    last_loads: Vec<LedgerRow>,
}

/// Composes the page of a pipeline's report. Nothing is written, in the destination or elsewhere. If another process has the
/// destination open, it is waited for as long as the destination's `wait` says.
///
/// # Errors
/// [`Error::Config`] if the pipeline has no report, or its parts are wrong; what keeps the destination from being read.
pub async fn page(pipeline: &Pipeline, stop: &CancellationToken) -> Result<Page> {
    let settings = settings(pipeline)?;
    refuse_lake(&pipeline.destination)?;
    let report = Arc::new(Report::read(settings)?);
    let asked = patiently(pipeline, &report, stop).await?;
    let failures = failures(pipeline, &super::open_landing(pipeline)?).await?;
    let freshness = freshness(settings, &asked.last_loads, &failures);
    report.page(&asked.rows, &freshness)
}

/// Composes the page of a pipeline's report, and writes it to a file: the report's own, unless another is named. Returns the
/// page.
///
/// # Errors
/// As [`page`], and if the file cannot be written.
pub async fn write_page(
    pipeline: &Pipeline,
    path: Option<&Path>,
    stop: &CancellationToken,
) -> Result<Page> {
    let page = page(pipeline, stop).await?;
    write(&page.html, path.unwrap_or(&settings(pipeline)?.output))?;
    Ok(page)
}

/// The page of a run, which is made again and again where the run follows.
pub(super) struct PageStep {
    pipeline: Arc<Pipeline>,
    settings: config::Report,
    landing: Landing,
    loader: Loader,
    stop: CancellationToken,
    last: Mutex<Option<PageReport>>,
}

impl PageStep {
    /// The page of a pipeline, if its configuration wants one after each run.
    pub(super) fn of(
        pipeline: &Arc<Pipeline>,
        landing: &Landing,
        loader: &Loader,
        stop: &CancellationToken,
    ) -> Option<Self> {
        let settings = pipeline
            .report
            .clone()
            .filter(|settings| settings.after_run)?;
        if let Err(error) = refuse_lake(&pipeline.destination) {
            tracing::warn!("the report page is not made: {error}");
            return None;
        }
        Some(Self {
            pipeline: Arc::clone(pipeline),
            settings,
            landing: landing.clone(),
            loader: loader.clone(),
            stop: stop.clone(),
            last: Mutex::default(),
        })
    }

    /// Makes the page out of the destination that the run has open. A failure is told in the report, as the loads are
    /// committed and the page before stays; `None` after a stop.
    pub(super) async fn make(&self) -> Option<PageReport> {
        if self.stop.is_cancelled() {
            return None;
        }
        let began = Instant::now();
        let span = spans::page();
        let error = match self.try_make().instrument(span.clone()).await {
            Err(Error::Interrupted) => return None,
            made => made.err().map(|error| error.report()),
        };
        let report = PageReport {
            path: self.settings.output.clone(),
            seconds: began.elapsed().as_secs_f64(),
            error,
        };
        if let Some(error) = &report.error {
            spans::page_failed(&span, error);
        }
        *self.kept() = Some(report.clone());
        Some(report)
    }

    /// What became of the last one.
    pub(super) fn last(&self) -> Option<PageReport> {
        self.kept().clone()
    }

    fn kept(&self) -> MutexGuard<'_, Option<PageReport>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_make(&self) -> Result<()> {
        let pipeline = &self.pipeline;
        // A person may have changed the parts since the last batch.
        let report = Arc::new(Report::read(&self.settings)?);
        let (models, of) = (models(pipeline), Arc::clone(&report));
        // A query may be long.
        let asking = self.loader.call_until(&self.stop, move |destination| {
            ask(destination, &of, models.as_deref())
        });
        let asked = asking.await?;
        let failures = failures(pipeline, &self.landing).await?;
        let freshness = freshness(&self.settings, &asked.last_loads, &failures);
        write(
            &report.page(&asked.rows, &freshness)?.html,
            &self.settings.output,
        )
    }
}

/// Whether the queries of a pipeline's report are answered: `None` if nothing was loaded yet that they can be asked of.
///
/// # Errors
/// As [`page`].
pub(super) async fn look(pipeline: &Pipeline, report: Report) -> Result<Option<()>> {
    let asked = open_and_ask(pipeline, &Arc::new(report)).await?;
    Ok(asked.map(drop))
}

fn settings(pipeline: &Pipeline) -> Result<&config::Report> {
    pipeline.report.as_ref().ok_or_else(|| {
        Error::config("the configuration has no report").remedy(
            "add [report] with `path = \"report\"`, a folder with texts, charts and tables; docs/report.md describes them",
        )
    })
}

/// Refuses a destination that runs no queries.
pub(super) fn refuse_lake(destination: &config::Destination) -> Result<()> {
    match destination.target {
        Target::Iceberg(_) => Err(Error::config(format!(
            "a report is not made of an Iceberg lake, which the destination `{}` is",
            destination.name
        ))
        .remedy("name a destination of the kind duckdb or postgres with --destination")),
        Target::DuckDb { .. } | Target::Postgres { .. } => Ok(()),
    }
}

/// The schema of the pipeline's models, whose names come before those of the streams' tables.
fn models(pipeline: &Pipeline) -> Option<String> {
    let models = pipeline.models.as_ref()?;
    Some(models.dataset.clone())
}

async fn failures(pipeline: &Pipeline, landing: &Landing) -> Result<BTreeMap<StreamName, Failure>> {
    landing
        .failures(&pipeline.name, &pipeline.destination.name)
        .await
}

/// How old each stream is: all of the configuration, and those that are read along with one (`companies__contacts`).
fn freshness(
    settings: &config::Report,
    last_loads: &[LedgerRow],
    failures: &BTreeMap<StreamName, Failure>,
) -> Vec<Freshness> {
    let belongs = |name: &StreamName| {
        let name = name.as_str().split("__").next();
        settings
            .streams
            .iter()
            .any(|known| Some(known.as_str()) == name)
    };
    let loaded = last_loads.iter().map(|row| &row.stream);
    let names: BTreeSet<&StreamName> = settings
        .streams
        .iter()
        .chain(loaded.filter(|name| belongs(name)))
        .collect();
    let of_stream = |name: &StreamName| {
        let last = last_loads.iter().find(|row| row.stream == *name);
        Freshness {
            stream: name.to_string(),
            loaded_at: last.map(|row| row.loaded_at),
            rows: last.map_or(0, |row| row.rows_extracted),
            failed: failures.contains_key(name),
        }
    };
    names.into_iter().map(of_stream).collect()
}

fn ask(destination: &mut dyn Destination, report: &Report, models: Option<&str>) -> Result<Asked> {
    Ok(Asked {
        rows: report.ask(&mut |query| destination.rows_as_json(query, models))?,
        last_loads: destination.last_loads()?,
    })
}

/// Asks a destination that is opened to be read. If another process holds it, tries again as long as its `wait` says.
async fn patiently(
    pipeline: &Pipeline,
    report: &Arc<Report>,
    stop: &CancellationToken,
) -> Result<Asked> {
    let began = Instant::now();
    loop {
        match open_and_ask(pipeline, report).await {
            Err(error)
                if error.ends_when_released() && began.elapsed() < pipeline.destination.wait => {}
            asked => return asked?.ok_or_else(|| nothing_loaded(&pipeline.destination)),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return Err(Error::Interrupted),
        }
    }
}

/// Asks a destination that is opened to be read. `None` if nothing was loaded yet.
async fn open_and_ask(pipeline: &Pipeline, report: &Arc<Report>) -> Result<Option<Asked>> {
    let (models, report) = (models(pipeline), Arc::clone(report));
    reading(pipeline, move |destination| {
        ask(destination, &report, models.as_deref())
    })
    .await
}

fn nothing_loaded(destination: &config::Destination) -> Error {
    Error::destination(format!(
        "nothing was loaded into the destination {} yet, so there is no data to report on",
        destination.name
    ))
    .remedy("load it with `acequia run`, then make the report")
}
