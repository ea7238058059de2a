//! Resolves a parsed configuration to a pipeline: names are looked up, variables expanded, paths made absolute, keys
//! checked against each other. All problems are reported at once.
//!
//! Only what the selection uses is resolved, so that a variable of an unused destination need not be set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::TimeDelta;

use super::document::Document;
use super::model::StreamConfig;
use super::units;
use super::{
    Destination, Hooks, Pipeline, PostgresUrl, Secret, SecretCommand, Stream, Target, Token,
};
use crate::error::Result;
use crate::glob;
use crate::names::{MAX_NAME, StreamName};

pub(in crate::config) mod address;
mod columns;
mod crm;
mod destination;
mod layout;
mod masks;
mod metrics;
mod models;
mod notify;
mod openlineage;
mod problems;
mod report;
mod source;
mod storage;
mod stream;
mod tables;

use problems::{Checked, Problems};

/// The size at which a part is closed, in bytes, unless the configuration says otherwise.
const PART_SIZE: u64 = 256_000_000;
/// The smallest size of a part: smaller parts would be mostly overhead.
const LEAST_PART_SIZE: u64 = 1_000_000;

/// The parts of a configuration to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The streams' names, or patterns of them in which `*` stands for any text. The name of a stream with `tables` stands for
    /// all of its streams. Empty for all streams.
    pub streams: Vec<String>,
    /// The destination's name. `None` for the pipeline's own.
    pub destination: Option<String>,
}

/// The location of a pipeline's loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandingArea {
    /// The pipeline's name.
    pub pipeline: StreamName,
    /// An absolute path, or a URL.
    pub root: String,
}

impl Document {
    /// The pipeline of the selection.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with all problems: names that do not exist, variables that are not set, keys
    /// that contradict each other.
    pub fn resolve(&self, selection: &Selection) -> Result<Pipeline> {
        self.resolve_with(selection, true)
    }

    /// Like [`resolve`](Self::resolve), for uses that read no source: no variable of a source need be set. A problem of a
    /// source becomes an error when the source is opened.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_without_sources(&self, selection: &Selection) -> Result<Pipeline> {
        self.resolve_with(selection, false)
    }

    /// The landing area, for uses that need neither destination nor source.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if a variable is not set.
    pub fn landing(&self) -> Result<LandingArea> {
        let mut problems = Problems::default();
        let area = self.landing_root(&mut problems).map(|root| LandingArea {
            pipeline: self.config.pipeline.name.clone(),
            root,
        });
        problems.finish(&self.path, area)
    }

    fn resolve_with(&self, selection: &Selection, with_sources: bool) -> Result<Pipeline> {
        let mut problems = Problems::default();
        let pipeline = self.pipeline(selection, with_sources, &mut problems);
        problems.finish(&self.path, pipeline)
    }

    fn pipeline(
        &self,
        selection: &Selection,
        with_sources: bool,
        problems: &mut Problems,
    ) -> Checked<Pipeline> {
        // Everything is resolved before the first `?`, so that all problems are reported.
        let config = &self.config.pipeline;
        let dataset = self.dataset(problems);
        let landing = self.landing_root(problems);
        let part_size = config.part_size.as_deref();
        let part_size = self.size(part_size, "[pipeline] part_size", LEAST_PART_SIZE, problems);
        let retention = self.retention(problems);
        let destination = self.destination(selection, problems);
        let report = self.report(problems);
        let notify = self.resolve_notify(problems);
        let metrics = self.metrics(problems);
        let openlineage = self.openlineage(problems);

        let selected = self.select(&selection.streams, problems);
        let used: BTreeSet<&str> = selected
            .values()
            .map(|config| config.source.as_str())
            .collect();
        let named = destination.as_ref().map_or("", |known| &known.name);
        let (sources, of_sources) = self.sources(&used, named);
        let streams: Vec<Stream> = selected
            .iter()
            .filter_map(|(name, config)| self.streams_of(name, config, &sources, problems).ok())
            .flatten()
            .collect();
        self.refuse_shared_tables(&selected, problems);
        if let Ok(Destination {
            target: Target::Iceberg(_),
            ..
        }) = &destination
        {
            for stream in streams
                .iter()
                .filter(|stream| stream.hooks != Hooks::default())
            {
                let place = format!("[streams.{}] pre_sql, post_sql", stream.name);
                let what = "a lake has no transaction in which they could be run with a load";
                problems.add(
                    &place,
                    what,
                    "leave them out, or load into DuckDB or PostgreSQL",
                );
            }
        }
        let models = self.models(named, dataset.as_deref().ok(), problems);
        if with_sources {
            problems.extend(of_sources);
        }

        Ok(Pipeline {
            name: config.name.clone(),
            dataset: dataset?,
            landing: landing?,
            part_size: part_size?.unwrap_or(PART_SIZE),
            retention: retention?,
            destination: destination?,
            streams,
            models: models?,
            report: report?,
            expansion: self.expansion.clone(),
            notify: notify?,
            metrics: metrics?,
            openlineage: openlineage?,
        })
    }

    /// The requested streams, in the order of their names.
    fn select<'a>(
        &'a self,
        asked: &[String],
        problems: &mut Problems,
    ) -> BTreeMap<&'a StreamName, &'a StreamConfig> {
        let streams = &self.config.streams;
        if streams.is_empty() {
            problems.add(
                "[streams]",
                "there are no streams",
                "add a [streams.NAME] with source, table and mode",
            );
            return BTreeMap::new();
        }
        if asked.is_empty() {
            return streams.iter().collect();
        }
        let mut selected = BTreeMap::new();
        for name in asked {
            let is_meant = |known: &StreamName| {
                let member = self.expansion.members.get(known);
                glob::matches(name, known.as_str())
                    || member.is_some_and(|member| member.entry.as_str() == name)
            };
            let meant = streams.iter().filter(|(known, _)| is_meant(known));
            let mut meant = meant.peekable();
            if meant.peek().is_none() {
                problems.unknown("", "stream", name, streams.keys().map(StreamName::as_str));
            }
            selected.extend(meant);
        }
        selected
    }

    fn dataset(&self, problems: &mut Problems) -> Checked<String> {
        self.schema(
            &self.config.pipeline.dataset,
            "[pipeline] dataset",
            problems,
        )
    }

    /// The name of a schema in the destination.
    fn schema(&self, name: &str, place: &str, problems: &mut Problems) -> Checked<String> {
        let dataset = self.expand(name, place, problems)?;
        let lower = dataset.to_lowercase();
        if lower == "information_schema" || lower.starts_with("pg_") {
            let what = "this schema belongs to the database itself";
            return Err(problems.add(place, what, "choose another name"));
        }
        check_name(&dataset, place, problems)?;
        Ok(dataset)
    }

    /// The landing area: a URL unchanged, or a folder's absolute path.
    fn landing_root(&self, problems: &mut Problems) -> Checked<String> {
        let place = "[pipeline] landing";
        let landing = self.expand(&self.config.pipeline.landing, place, problems)?;
        if landing.is_empty() {
            return Err(problems.add(place, "it is empty", "name a folder, or leave the key out"));
        }
        if landing.contains("://") {
            return Ok(landing);
        }
        self.beside(&landing)
            .into_os_string()
            .into_string()
            .map_err(|_| {
                problems.add(
                    place,
                    "the path is not UTF-8",
                    "move the pipeline to another folder",
                )
            })
    }

    /// How a PostgreSQL database is reached: `url` and `password_command` of a source or destination.
    fn postgres_url(
        &self,
        (url, command): (Option<&str>, Option<&str>),
        of: &str,
        problems: &mut Problems,
    ) -> Checked<PostgresUrl> {
        let uri = self.postgres_uri(url, &format!("{of} url"), problems);
        let password = self.secret_command(command, &format!("{of} password_command"), problems);
        let (uri, password) = (uri?, password?);
        if password.is_some() && has_password(uri.reveal()) {
            return Err(problems.add(
                &format!("{of} password_command"),
                "the url has a password already",
                "leave the password out of the url, or this key out",
            ));
        }
        Ok(PostgresUrl { uri, password })
    }

    /// A command that prints a secret. Variables in it are the shell's own, so it is taken as it is written.
    fn secret_command(
        &self,
        line: Option<&str>,
        place: &str,
        problems: &mut Problems,
    ) -> Checked<Option<SecretCommand>> {
        let Some(line) = line else { return Ok(None) };
        if line.trim().is_empty() {
            let remedy = "write a command that prints the secret, or leave the key out";
            return Err(problems.add(place, "it is empty", remedy));
        }
        let folder = self.beside("");
        Ok(Some(SecretCommand::new(line, &folder, place)))
    }

    /// The bearer token of a source or destination: one that is given, or what a command prints.
    fn token(
        &self,
        table: &str,
        (given, command): (Option<&str>, Option<&str>),
        problems: &mut Problems,
    ) -> Checked<Option<Token>> {
        let place = format!("{table} token");
        let command = self.secret_command(command, &format!("{table} token_command"), problems)?;
        match (given, command) {
            (None, None) => Ok(None),
            (Some(token), None) => {
                let token = self.expand(token, &place, problems)?;
                Ok(Some(Token::Given(Secret::new(token))))
            }
            (None, Some(command)) => Ok(Some(Token::Printed(command))),
            (Some(_), Some(_)) => {
                let what = "there is a `token_command` as well";
                Err(problems.add(&place, what, "leave one of the two out"))
            }
        }
    }

    fn postgres_uri(
        &self,
        url: Option<&str>,
        place: &str,
        problems: &mut Problems,
    ) -> Checked<Secret> {
        let remedy = "write postgres://user:password@host:5432/database, or \"${NAME}\" with a variable that holds it";
        let Some(url) = url else {
            return Err(problems.add(place, "it is missing", remedy));
        };
        let url = self.expand(url, place, problems)?;
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            let what = "this is no connection URI of PostgreSQL";
            return Err(problems.add(place, what, remedy));
        }
        Ok(Secret::new(url))
    }

    /// Two streams in one table would undo each other's changes. Streams that are not selected are checked as well.
    fn refuse_shared_tables(
        &self,
        selected: &BTreeMap<&StreamName, &StreamConfig>,
        problems: &mut Problems,
    ) {
        let mut owners: BTreeMap<String, &StreamName> = BTreeMap::new();
        let tables = self.config.streams.iter().flat_map(|(name, config)| {
            let tables = self.destination_tables(name, config).into_iter();
            tables.map(move |table| (name, table))
        });
        for (name, table) in tables {
            let Some(owner) = owners.insert(table.to_lowercase(), name) else {
                continue;
            };
            if selected.contains_key(name) || selected.contains_key(owner) {
                problems.add(
                    &format!("[streams.{name}] destination_table"),
                    format!(
                        "the streams {owner} and {name} would both be loaded into the table {table}"
                    ),
                    "give one of them another destination_table",
                );
            }
        }
    }

    /// How long loads stay in the landing area.
    fn retention(&self, problems: &mut Problems) -> Checked<Option<TimeDelta>> {
        let Some(text) = &self.config.pipeline.retention else {
            return Ok(None);
        };
        let place = "[pipeline] retention";
        let text = self.expand(text, place, problems)?;
        units::duration(&text).map(Some).ok_or_else(|| {
            let remedy = "write a whole number and a unit, as in \"30d\" or \"12h\"";
            problems.add(place, "this is no duration", remedy)
        })
    }

    /// Parses a size, and checks that it is at least `least`.
    fn size(
        &self,
        text: Option<&str>,
        place: &str,
        least: u64,
        problems: &mut Problems,
    ) -> Checked<Option<u64>> {
        let Some(text) = text else {
            return Ok(None);
        };
        let text = self.expand(text, place, problems)?;
        let remedy = "write a whole number and a unit, as in \"256MB\" or \"1GiB\"";
        match units::size(&text) {
            None => Err(problems.add(place, "this is no size", remedy)),
            Some(size) if size < least => {
                let what = format!("it is less than {}MB", least / 1_000_000);
                Err(problems.add(place, what, remedy))
            }
            Some(size) => Ok(Some(size)),
        }
    }

    /// Expands the variables in a text.
    fn expand(&self, text: &str, place: &str, problems: &mut Problems) -> Checked<String> {
        self.environment.expand(text).map_err(|error| {
            problems.add(place, error.to_string(), self.environment.remedy(&error))
        })
    }

    /// Makes a path absolute that is relative to the configuration file's folder.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// Whether a connection URI has a password, in its authority or as a parameter.
fn has_password(uri: &str) -> bool {
    let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
    let authority = base.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || query.split('&').any(|pair| pair.starts_with("password="))
}

/// Checks that a name can be that of a table or a schema.
fn check_name(name: &str, place: &str, problems: &mut Problems) -> Checked<()> {
    check_name_with(name, place, true, problems)
}

/// As [`check_name`]; `in_destination` says that acequia's own tables are in the same schema.
fn check_name_with(
    name: &str,
    place: &str,
    in_destination: bool,
    problems: &mut Problems,
) -> Checked<()> {
    let what = if name.is_empty() || name.len() > MAX_NAME {
        format!("a name has 1 to {MAX_NAME} bytes")
    } else if in_destination && name.to_lowercase().starts_with("_acequia") {
        "names that begin with `_acequia` are acequia's own".to_owned()
    } else if name.contains(char::is_control) {
        "a name has no control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(problems.add(place, what, "choose another name"))
}

/// The header of a table in TOML: `[sources.operativa]`.
fn table(kind: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        format!("[{kind}.{name}]")
    } else {
        format!("[{kind}.{name:?}]")
    }
}

#[cfg(test)]
mod tests;
