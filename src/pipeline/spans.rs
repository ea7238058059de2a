//! What a run is at, as spans of `tracing`, for whoever collects such: each span and each of its attributes is said here, once.
//! Nobody collects them unless the program asks, and then they cost next to nothing. They hold what reports hold: names and
//! numbers, and of an error what is reported of it; no secret and no cell value.

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use tracing::field::{self, Empty};
use tracing::{Instrument as _, Span, info_span};

use super::report::{RunReport, Status, StreamReport};
use crate::config::{Pipeline, Stream};
use crate::error::{Error, Result};
use crate::landing::manifest::Part;
use crate::models::report::{ModelStatus, ModelsReport};
use crate::names::{LoadId, RunId, StreamName};
use crate::spans::TARGET;
use crate::verify::report::{StreamVerification, VerifyReport};

/// A span, its own attributes, and those of how it ended. Without a parent it is within the current one, or else within the trace of
/// whoever started this process: a parent that is named cannot be that.
macro_rules! span {
    ($name:literal, $(parent: $parent:expr,)? $($field:literal = $value:expr),*) => {
        info_span!(
            target: TARGET,
            $(parent: $parent,)?
            $name,
            $($field = $value,)*
            "error.type" = Empty,
            "otel.status_code" = Empty,
            "otel.status_description" = Empty,
        )
    };
}

/// A span of a command as a whole: `run`, `replay` or `verify`.
macro_rules! whole {
    ($name:literal, $pipeline:expr) => {
        span!(
            $name,
            "acequia.pipeline" = $pipeline.name.as_str(),
            "acequia.destination" = $pipeline.destination.name,
            "acequia.destination.kind" = $pipeline.destination.target.kind(),
            "acequia.run.id" = Empty,
            "acequia.models.built" = Empty,
            "acequia.status" = Empty
        )
    };
}

/// A run.
pub(super) fn run(pipeline: &Pipeline) -> Span {
    whole!("run", pipeline)
}

/// A replay.
pub(super) fn replay(pipeline: &Pipeline) -> Span {
    whole!("replay", pipeline)
}

/// A verification.
pub(super) fn verify(pipeline: &Pipeline) -> Span {
    whole!("verify", pipeline)
}

/// Models that are built by themselves.
pub(super) fn models_alone(pipeline: &Pipeline) -> Span {
    whole!("models", pipeline)
}

/// Notes which run it is that the current span is of.
pub(super) fn note_run(id: &RunId) {
    Span::current().record("acequia.run.id", id.as_str());
}

/// A stream of a run, or of a replay.
pub(super) fn stream(stream: &Stream) -> Span {
    span!(
        "stream",
        "acequia.stream" = stream.name.as_str(),
        "acequia.source" = stream.source,
        "acequia.table" = stream.table,
        "acequia.mode" = field::display(stream.mode()),
        "acequia.disposition" = field::display(stream.disposition()),
        "acequia.status" = Empty,
        "acequia.load.id" = Empty,
        "acequia.rows.extracted" = Empty,
        "acequia.rows.inserted" = Empty,
        "acequia.rows.updated" = Empty,
        "acequia.rows.deleted" = Empty,
        "acequia.bytes.landed" = Empty,
        "acequia.retries" = Empty
    )
}

/// The comparison of a stream's table, in a verification.
pub(super) fn compare(stream: &Stream) -> Span {
    span!(
        "compare",
        "acequia.stream" = stream.name.as_str(),
        "acequia.status" = Empty,
        "acequia.rows.compared" = Empty,
        "acequia.rows.different" = Empty
    )
}

/// Connecting to a stream's source, and asking what there is to be read.
pub(super) fn open(stream: &Stream) -> Span {
    span!("open", "acequia.stream" = stream.name.as_str())
}

/// Reading a stream's source, which lands beside it.
pub(super) fn extract(stream: &Stream, within: &Span) -> Span {
    span!(
        "extract",
        parent: within,
        "acequia.stream" = stream.name.as_str()
    )
}

/// Writing the parts of a load, from its first row on.
pub(super) fn land(stream: &StreamName, within: &Span) -> Span {
    span!(
        "land",
        parent: within,
        "acequia.stream" = stream.as_str(),
        "acequia.rows.extracted" = Empty,
        "acequia.bytes.landed" = Empty,
        "acequia.parts" = Empty
    )
}

/// Notes what was landed.
pub(super) fn landed(span: &Span, parts: &[Part]) {
    span.record(
        "acequia.rows.extracted",
        number(parts.iter().map(|part| part.rows).sum::<u64>()),
    );
    span.record(
        "acequia.bytes.landed",
        number(parts.iter().map(|part| part.bytes).sum::<u64>()),
    );
    span.record("acequia.parts", number(parts.len()));
}

/// Loading a load into the destination.
pub(super) fn load(stream: &StreamName, id: &LoadId) -> Span {
    span!(
        "load",
        "acequia.stream" = stream.as_str(),
        "acequia.load.id" = id.as_str(),
        "acequia.rows.inserted" = Empty,
        "acequia.rows.updated" = Empty,
        "acequia.rows.deleted" = Empty
    )
}

/// Notes what a load did, on the current span.
pub(super) fn loaded(inserted: u64, updated: u64, deleted: u64) {
    let span = Span::current();
    span.record("acequia.rows.inserted", number(inserted));
    span.record("acequia.rows.updated", number(updated));
    span.record("acequia.rows.deleted", number(deleted));
}

/// Building the models.
pub(super) fn models() -> Span {
    span!("models", "acequia.models.built" = Empty)
}

/// Notes what became of the models.
pub(super) fn models_built(span: &Span, report: &ModelsReport) {
    span.record(
        "acequia.models.built",
        number(report.count(ModelStatus::Built)),
    );
    if !report.is_ok() {
        failed(span, "models", &report.failures().join("\n"));
    }
}

/// Making the report page.
pub(super) fn page() -> Span {
    span!("page",)
}

/// Notes that a page could not be made.
pub(super) fn page_failed(span: &Span, error: &str) {
    failed(span, "page", error);
}

/// A count as an attribute: one without a sign would become a text.
fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Does a step within its span, on which its error is noted.
pub(super) fn within<'a, T>(
    span: Span,
    step: impl Future<Output = Result<T>> + Send + 'a,
) -> BoxFuture<'a, Result<T>> {
    // The steps hold much.
    Box::pin(async move {
        let done = step.instrument(span.clone()).await;
        note_error(&span, &done);
        done
    })
}

/// Notes the error of what a span is of, if it has one.
pub(super) fn note_error<T>(span: &Span, done: &Result<T>) {
    if let Err(error) = done {
        fail(span, error);
    }
}

/// Notes an error. An interruption is none.
pub(super) fn fail(span: &Span, error: &Error) {
    if matches!(error, Error::Interrupted) {
        span.record("error.type", error.class());
    } else {
        failed(span, error.class(), &error.report());
    }
}

fn failed(span: &Span, class: &str, error: &str) {
    span.record("error.type", class);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", error);
}

fn status(span: &Span, status: Status) {
    span.record("acequia.status", status.as_str());
    if status == Status::Ok {
        span.record("otel.status_code", "OK");
    }
}

/// Notes how a stream ended.
pub(super) fn stream_ended(span: &Span, report: &StreamReport) {
    if let Some(id) = &report.load_id {
        span.record("acequia.load.id", id.as_str());
    }
    for (attribute, value) in [
        ("acequia.rows.extracted", report.rows_extracted),
        ("acequia.rows.inserted", report.inserted),
        ("acequia.rows.updated", report.updated),
        ("acequia.rows.deleted", report.deleted),
        ("acequia.bytes.landed", report.bytes_landed),
        ("acequia.retries", u64::from(report.retries)),
    ] {
        span.record(attribute, number(value));
    }
    status(span, report.status);
    if let (Status::Failed, Some(error)) = (report.status, &report.error) {
        failed(span, report.error_class.unwrap_or_default(), error);
    }
}

/// Notes how a run or a replay ended.
pub(super) fn run_ended(span: &Span, ended: &Result<RunReport>) {
    let Ok(report) = ended else {
        return note_error(span, ended);
    };
    if report.is_ok() {
        return status(span, Status::Ok);
    }
    let failures = report.all_failures();
    if failures.is_empty() {
        return status(span, Status::Skipped);
    }
    status(span, Status::Failed);
    failed(span, "streams", &failures.join("\n"));
}

/// Notes how the comparison of a stream ended.
pub(super) fn compared(span: &Span, report: &StreamVerification) {
    span.record("acequia.rows.compared", number(report.rows_destination));
    span.record(
        "acequia.rows.different",
        number(report.missing + report.extra + report.differ),
    );
    span.record("acequia.status", report.result.to_string());
    if report.result.is_ok() {
        span.record("otel.status_code", "OK");
    } else {
        let error = report.error.as_deref();
        failed(
            span,
            "verification",
            error.unwrap_or("the table is not equal to what it was compared with"),
        );
    }
}

/// Notes how a verification ended.
pub(super) fn verify_ended(span: &Span, ended: &Result<VerifyReport>) {
    match ended {
        Err(_) => note_error(span, ended),
        Ok(report) if report.is_ok() => status(span, Status::Ok),
        Ok(_) => {
            status(span, Status::Failed);
            failed(
                span,
                "verification",
                "not all tables are equal to what they were compared with",
            );
        }
    }
}

/// The span that a stream's work is in. Where a run follows, that of a pass begins with its first change, so that waiting for one
/// is no part of it.
#[derive(Debug, Clone)]
pub(super) struct Within(Arc<Place>);

#[derive(Debug)]
enum Place {
    In(Span),
    /// A pass, of a source that a run of that span follows.
    Pass(String, Span, OnceLock<Span>),
}

impl Within {
    /// Work in a span that has begun.
    pub(super) fn of(span: Span) -> Self {
        Self(Arc::new(Place::In(span)))
    }

    /// A pass of the run that the current span is of. It is a trace of its own, as a run that follows may last for months; it has
    /// a link to the run.
    pub(super) fn pass(source: &str) -> Self {
        let place = Place::Pass(source.to_owned(), Span::current(), OnceLock::new());
        Self(Arc::new(place))
    }

    /// The span, which begins now at the latest.
    pub(super) fn span(&self) -> Span {
        match &*self.0 {
            Place::In(span) => span.clone(),
            Place::Pass(source, run, pass) => {
                let begin = || {
                    let span = span!(
                        "pass",
                        parent: None,
                        "acequia.source" = source.as_str(),
                        "acequia.changes" = Empty,
                        "acequia.lag.seconds" = Empty
                    );
                    span.follows_from(run.id());
                    span
                };
                pass.get_or_init(begin).clone()
            }
        }
    }

    /// The span that the landing of a first row is in: that of what reads it, or else of the pass that begins with it.
    pub(super) fn parent_of_landing(&self, read: &Span) -> Span {
        match &*self.0 {
            Place::In(_) => read.clone(),
            Place::Pass(..) => self.span(),
        }
    }

    /// The span of reading a stream's changes. Of a pass it has none: most of it is waiting.
    pub(super) fn reading(&self, stream: &Stream) -> Span {
        match &*self.0 {
            Place::In(span) => extract(stream, span),
            Place::Pass(..) => Span::none(),
        }
    }

    /// The span, if it has begun.
    pub(super) fn begun(&self) -> Span {
        match &*self.0 {
            Place::In(span) => span.clone(),
            Place::Pass(_, _, pass) => pass.get().cloned().unwrap_or_else(Span::none),
        }
    }

    /// Notes what a pass has loaded, on its span.
    pub(super) fn passed(&self, changes: u64, lag: std::time::Duration) {
        let span = self.begun();
        span.record("acequia.changes", number(changes));
        span.record("acequia.lag.seconds", lag.as_secs_f64());
    }
}
