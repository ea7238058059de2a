//! Checks whether a pipeline could run (`acequia check`): connections, privileges, keys, cursors, the landing area and the
//! destination. Each finding says what fixes it.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use serde::Serialize;

use super::contained::contained;
use super::shape_step::{Shaped, shaped};
use super::slot_owner::Reader;
use super::status::DestinationView;
use super::stream::{refuse_other_key, refuse_other_names, refuse_others, start_position};
use crate::config::{self, Pipeline, PostgresSource, StreamSource};
use crate::destination::{self, Reads, Rights};
use crate::error::{Error, Result};
use crate::mask::personal;
use crate::report::Report;
use crate::schema::ColumnSpec;
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::preflight::{self, Found};
use crate::source::{Looked, Looks, Source};

/// How many columns a warning names.
const MOST_NAMED: usize = 10;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The checked thing is as it should be.
    Ok,
    /// It works, but people should know something about it.
    Warning,
    /// A run would fail.
    Failed,
}

/// The result of one check, with its subject.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The subject: `source operativa`, `stream ventas`, …
    pub subject: String,
    /// The result.
    pub verdict: Verdict,
    /// What the check found.
    pub message: String,
    /// The SQL or setting that fixes it.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding without a problem.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            verdict: Verdict::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    /// A finding that is a warning.
    pub fn warning(
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            verdict: Verdict::Warning,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn failed(subject: impl Into<String>, error: &Error) -> Self {
        let remedy = error.remedy_text().map(str::to_owned);
        let report = error.report();
        let message = report.split("\n  remedy: ").next().unwrap_or_default();
        Self {
            subject: subject.into(),
            verdict: Verdict::Failed,
            message: message.to_owned(),
            remedy,
        }
    }
}

/// Checks everything that a run needs. Nothing is changed, except that a file is written to the landing area and removed.
pub async fn check(pipeline: &Pipeline) -> Vec<Finding> {
    let mut findings = vec![check_landing(pipeline).await];
    let (of_destination, view) = check_destination(pipeline).await;
    findings.extend(of_destination);
    let mut reachable = BTreeMap::new();
    for (name, config) in pipeline.sources() {
        let subject = format!("source {name}");
        let connect = async {
            Source::new(config.as_ref().map_err(Error::clone)?)?
                .connect()
                .await
        };
        let connected = contained(connect).await;
        let is_reachable = connected.is_ok();
        reachable.insert(name, is_reachable);
        findings.push(match connected {
            Ok(message) => Finding::ok(&subject, message),
            Err(error) => Finding::failed(&subject, &error),
        });
        if let (true, Ok(config::Source::Postgres(config))) = (is_reachable, config) {
            findings.extend(check_replication(pipeline, name, &config).await);
        }
    }
    findings.extend(check_tables(pipeline));
    let reachable = |stream: &&config::Stream| reachable.get(stream.source.as_str()) == Some(&true);
    let looks = pipeline.sources().into_keys();
    let looks: BTreeMap<&str, Looks> = looks.map(|name| (name, Looks::default())).collect();
    let mut checks: Vec<BoxFuture<'_, Vec<Finding>>> = Vec::new();
    for stream in pipeline.streams.iter().filter(reachable) {
        if let Some(looks) = looks.get(stream.source.as_str()) {
            checks.push(Box::pin(check_stream(stream, &view, looks)));
        }
    }
    let checks = stream::iter(checks).buffered(super::default_jobs().get());
    let checked: Vec<Vec<Finding>> = checks.collect().await;
    findings.extend(checked.into_iter().flatten());
    findings.extend(check_models(pipeline).await);
    findings.extend(check_report(pipeline).await);
    findings
}

/// Checks whether a stream can be read as it is configured.
async fn check_stream(
    stream: &config::Stream,
    view: &DestinationView,
    looks: &Looks,
) -> Vec<Finding> {
    let subject = format!("stream {}", stream.name);
    let state = view.states.get(&stream.name);
    let position = state.and_then(|state| state.position.as_ref());
    let opened = async {
        start_position(stream, position)?;
        view.refuse_other_versions(stream)?;
        if let Some(state) = state {
            refuse_others(stream, &state.schema)?;
        }
        let looked = looks.look(&stream.from, None).await?;
        let Shaped { shape, description } = shaped(stream, &looked.description)?;
        if let Some(state) = state {
            refuse_other_names(stream, &shape.renames, &state.schema)?;
            refuse_other_key(stream, &description.primary_key, &state.schema)?;
        }
        Ok(looked)
    };
    let Looked {
        description,
        recommendations,
    } = match contained(opened).await {
        Ok(looked) => looked,
        Err(error) => {
            let error = super::name_stream(error, stream);
            return vec![Finding::failed(&subject, &error)];
        }
    };
    let rows = description
        .estimated_rows
        .map_or_else(String::new, |rows| format!(", about {rows} rows"));
    let read = Finding::ok(
        &subject,
        format!(
            "{}: {} columns{rows}, read by {}, {}",
            stream.from,
            description.columns.len(),
            description.reading,
            stream.disposition()
        ),
    );
    let recommended = recommendations.into_iter();
    let recommended =
        recommended.map(|(message, remedy)| Finding::warning(&subject, message, remedy));
    let unmasked = unmasked(stream, &description.columns);
    std::iter::once(read)
        .chain(recommended)
        .chain(unmasked)
        .collect()
}

/// What became of streams with `tables`.
fn check_tables(pipeline: &Pipeline) -> Vec<Finding> {
    let entries = pipeline.expansion.entries().into_iter();
    let found = entries.filter(|(_, tables)| *tables > 0);
    let found = found.map(|(entry, tables)| {
        let streams = if tables == 1 { "table" } else { "tables" };
        Finding::ok(format!("streams {entry}"), format!("{tables} {streams}"))
    });
    let notes = pipeline.expansion.notes().map(|(stream, note)| {
        let subject =
            stream.map_or_else(|| "tables".to_owned(), |stream| format!("stream {stream}"));
        let remedy = match stream {
            Some(_) => "name it in exclude_tables where it should not be copied",
            None => "correct `tables` where that is not as it should be",
        };
        Finding::warning(subject, note, remedy)
    });
    found.chain(reach(pipeline)).chain(notes).collect()
}

/// Where the settings of streams with `tables` are at work that name columns.
fn reach(pipeline: &Pipeline) -> impl Iterator<Item = Finding> + '_ {
    let entries = pipeline.expansion.reach();
    entries.map(|(entry, setting, tables)| {
        Finding::ok(
            format!("streams {entry}, {setting}"),
            format!("in {}", some_of(tables)),
        )
    })
}

/// The first of many names, and how many more there are.
fn some_of(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(MOST_NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A warning of columns that look as if they told of people and are copied as they are.
fn unmasked(stream: &config::Stream, columns: &[ColumnSpec]) -> Option<Finding> {
    let masks = stream.masks();
    let unmasked: Vec<&str> = personal(columns)
        .filter(|name| !masks.names(name))
        .collect();
    let first = unmasked.first()?;
    let names: Vec<String> = unmasked.iter().map(|name| format!("`{name}`")).collect();
    Some(Finding::warning(
        format!("stream {}", stream.name),
        format!(
            "{} {}",
            some_of(&names),
            if unmasked.len() == 1 {
                "looks personal by its name, and is copied as it is"
            } else {
                "look personal by their names, and are copied as they are"
            }
        ),
        format!(
            "[streams.{}.mask] {first} = \"hmac:${{A_KEY}}\", \"redact\", …; \"none\" says that it is meant so",
            stream.name
        ),
    ))
}

/// Checks whether the models can be built: what they say, and what they read.
async fn check_models(pipeline: &Pipeline) -> Vec<Finding> {
    let subject = "models";
    if pipeline.models.is_none() {
        return Vec::new();
    }
    let view = match contained(super::models::look_if_loaded(pipeline)).await {
        Ok(Some(view)) => view,
        Ok(None) => {
            let message =
                "written as they should be; what they read is seen once the streams were loaded";
            return vec![Finding::ok(subject, message)];
        }
        Err(error) if error.refuses_load() => return vec![Finding::failed(subject, &error)],
        // It may be that only loads are missing.
        Err(error) => {
            let Finding {
                message, remedy, ..
            } = Finding::failed(subject, &error);
            return vec![Finding::warning(
                subject,
                message,
                remedy.unwrap_or_default(),
            )];
        }
    };
    let mut findings = vec![Finding::ok(
        subject,
        format!("{} in the schema {}", view.graph.models.len(), view.dataset),
    )];
    for left in &view.left_behind {
        findings.push(Finding::warning(
            subject,
            format!("the model {left} has no file any more, and its table stays"),
            format!(
                "DROP TABLE {}.{left}, or DROP VIEW; and DELETE its row from _acequia_models",
                view.dataset
            ),
        ));
    }
    findings
}

/// Checks the parts of the report, and their queries where something was loaded that they can be asked of.
async fn check_report(pipeline: &Pipeline) -> Option<Finding> {
    let subject = "report";
    let settings = pipeline.report.as_ref()?;
    if super::page::refuse_lake(&pipeline.destination).is_err() {
        return None;
    }
    let report = match Report::read(settings) {
        Ok(report) => report,
        Err(error) => return Some(Finding::failed(subject, &error)),
    };
    let finding = match contained(super::page::look(pipeline, report)).await {
        Ok(Some(())) => Finding::ok(
            subject,
            "written as it should be, and its queries are answered",
        ),
        Ok(None) => Finding::ok(
            subject,
            "written as it should be; its queries are asked once the streams were loaded",
        ),
        Err(error) => Finding::failed(subject, &error),
    };
    // The next run builds models that the queries may be waiting for.
    let verdict = match finding.verdict {
        Verdict::Failed if pipeline.models.is_some() => Verdict::Warning,
        verdict => verdict,
    };
    Some(Finding { verdict, ..finding })
}

/// Checks whether a source can replicate the changes of the pipeline's streams.
async fn check_replication(
    pipeline: &Pipeline,
    name: &str,
    config: &PostgresSource,
) -> Vec<Finding> {
    let streams: Vec<_> = pipeline
        .streams
        .iter()
        .filter(|stream| stream.source == name)
        .filter_map(|stream| match &stream.from {
            StreamSource::Changes(changes) => Some((stream, changes)),
            StreamSource::Rows(_) | StreamSource::HubSpot(_) => None,
        })
        .collect();
    if streams.is_empty() {
        return Vec::new();
    }
    let subject = format!("source {name}, replication");
    let survey = async {
        let source = Postgres::new(config)?;
        let (server, names) = source.replication();
        let surveyed: Vec<_> = streams
            .iter()
            .map(|(stream, changes)| (&stream.name, *changes))
            .collect();
        let notes = preflight::preflight(server, names, &surveyed).await?;
        Ok((notes, refuse_foreign_slot(pipeline, &source).await.err()))
    };
    let (notes, foreign) = match contained(survey).await {
        Ok(surveyed) => surveyed,
        Err(error) => return vec![Finding::failed(subject, &error)],
    };
    foreign
        .map(|error| Finding::failed(&subject, &error))
        .into_iter()
        .chain(notes.into_iter().map(|note| {
            let subject = note.stream.as_ref().map_or_else(
                || subject.clone(),
                |stream| format!("stream {stream}, replication"),
            );
            match note.found {
                Found::Well(message) => Finding::ok(subject, message),
                Found::Warning(message, remedy) => Finding::warning(subject, message, remedy),
                Found::Fault(error) => {
                    let stream = streams
                        .iter()
                        .find(|(stream, _)| Some(&stream.name) == note.stream.as_ref());
                    let error = match stream {
                        Some((stream, _)) => super::name_stream(error, stream),
                        None => error,
                    };
                    Finding::failed(subject, &error)
                }
            }
        }))
        .collect()
}

/// Refuses an existing slot that another reader uses.
async fn refuse_foreign_slot(pipeline: &Pipeline, source: &Postgres) -> Result<()> {
    let (server, names) = source.replication();
    if !preflight::has_slot(server, names).await? {
        return Ok(());
    }
    // The check of the destination reports why it cannot be opened.
    let Ok(view) = super::status::look_at_destination(pipeline).await else {
        return Ok(());
    };
    let landing = super::open_landing(pipeline)?;
    let reader = Reader {
        pipeline,
        landing: &landing,
        id: view.id.as_ref(),
        states: &view.states,
    };
    reader.refuse_foreign(&names.slot).await.map(drop)
}

async fn check_landing(pipeline: &Pipeline) -> Finding {
    let subject = "landing";
    let landing = match super::open_landing(pipeline) {
        Ok(landing) => landing,
        Err(error) => return Finding::failed(subject, &error),
    };
    match landing.probe().await {
        Ok(()) => Finding::ok(subject, format!("{} can be written to", landing.location())),
        Err(error) => Finding::failed(subject, &error),
    }
}

async fn check_destination(pipeline: &Pipeline) -> (Vec<Finding>, DestinationView) {
    let nothing = DestinationView::default();
    let subject = format!("destination {}", pipeline.destination.name);
    let place = match look_at_rights(pipeline).await {
        Ok(Some(rights)) if !rights.missing.is_empty() => {
            return (lacking(&subject, rights), nothing);
        }
        Ok(rights) => rights.map_or_else(String::new, |rights| format!("{}: ", rights.server)),
        Err(error) => return (vec![Finding::failed(subject, &error)], nothing),
    };
    match super::status::look_at_destination(pipeline).await {
        Ok(view) if view.states.is_empty() => {
            let ready = format!("{place}ready for its first load");
            (vec![Finding::ok(subject, ready)], nothing)
        }
        Ok(view) => {
            let streams = view.states.len();
            let holds = format!("{place}holds {streams} streams");
            (vec![Finding::ok(subject, holds)], view)
        }
        Err(error) => (vec![Finding::failed(subject, &error)], nothing),
    }
}

/// The user's privileges in a destination that has users.
async fn look_at_rights(pipeline: &Pipeline) -> Result<Option<Rights>> {
    if destination::reads(&pipeline.destination) == Reads::Local {
        return look_with(pipeline, None).await;
    }
    let landing = super::open_landing(pipeline)?;
    let part = landing.land_probe().await?;
    let looked = look_with(pipeline, Some(part.url.clone())).await;
    landing.remove_probe(part).await?;
    looked
}

async fn look_with(pipeline: &Pipeline, landed: Option<String>) -> Result<Option<Rights>> {
    let pipeline = pipeline.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let streams = pipeline.streams.iter();
        let tables: Vec<&str> = streams.map(|stream| stream.table.as_str()).collect();
        let landed = landed.as_deref();
        destination::check(&pipeline.destination, &pipeline.dataset, &tables, landed)
    });
    looked
        .await
        .map_err(|error| Error::internal("the destination's thread ended").cause(error))?
}

fn lacking(subject: &str, rights: Rights) -> Vec<Finding> {
    let missing = rights.missing.into_iter();
    missing
        .map(|(message, remedy)| Finding {
            subject: subject.to_owned(),
            verdict: Verdict::Failed,
            message: format!("{}: {message}", rights.server),
            remedy: Some(remedy),
        })
        .collect()
}
