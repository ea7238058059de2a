//! `NN-name.vl.json`: a chart, as a specification of Vega-Lite 6 whose data is a query or a model. No I/O.
//!
//! [`view`] reads a specification: what is wrong with it, where its data comes from, and which columns it names. What
//! Vega-Lite itself would only find when it draws, it says in the page, in the chart's place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::filters::unspoken;
use super::json_lines::JsonLines;
use super::problems::Problems;
use super::query::Query;
use super::rows::Rows;
use crate::config::suggest;

mod view;
mod words;

/// The major version of Vega-Lite that the page draws with.
const VERSION: &str = "6";

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// What it is.
    pub(crate) title: String,
    /// What it shows, for those who cannot see it as well.
    pub(crate) description: String,
    /// The specification without its title. Each of its queries is the name of one of `data` instead.
    pub(crate) spec: Value,
    /// Where its rows come from.
    pub(crate) data: Vec<ChartData>,
    /// The columns that are read as points in time.
    pub(crate) temporal: BTreeSet<String>,
    /// The columns that its encodings name.
    fields: Vec<Field>,
}

/// Rows that a chart is drawn from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChartData {
    /// The name that the specification has for them.
    pub(crate) name: String,
    /// Where they come from.
    pub(crate) query: Query,
    /// The line that says so.
    pub(crate) line: Option<usize>,
}

/// A column that an encoding names.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: String,
    line: Option<usize>,
    /// Whose column it is: the index of one of the chart's data.
    data: usize,
    /// Columns that the specification makes itself.
    made: BTreeSet<String>,
}

/// The chart that a file's text specifies. What is wrong has been added to the problems.
pub(crate) fn parse(file: &str, text: &str, problems: &mut Problems) -> Option<Chart> {
    let mut spec: Value = match serde_json::from_str(text) {
        Ok(spec) => spec,
        Err(error) => {
            let what = format!("it is not JSON: {}", unspoken(&error));
            let remedy =
                "correct the JSON there; the Vega editor shows such mistakes while one writes";
            problems.add(file, Some(error.line()), what, remedy);
            return None;
        }
    };
    let lines = JsonLines::of(text);
    if !is_vega_lite(file, &spec, &lines, problems) {
        return None;
    }
    let title = title(&spec);
    let description = spec.get("description").and_then(Value::as_str);
    let description = description
        .filter(|text| !text.trim().is_empty())
        .map(str::to_owned);
    for (key, value, why) in [
        ("title", &title, "the heading of the chart"),
        (
            "description",
            &description,
            "what the chart shows, for those who cannot see it",
        ),
    ] {
        if value.is_none() {
            let line = lines.line(&format!("/{key}"));
            let remedy = format!("add \"{key}\": \"…\": {why}");
            problems.add(file, line, format!("it has no {key}"), remedy);
        }
    }
    let found = view::read(file, &lines, &mut spec, problems);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("title");
    }
    if found.data.is_empty() {
        let remedy = "add \"data\": {\"sql\": \"SELECT …\"} or \"data\": {\"model\": \"name\"}";
        problems.add(file, lines.line("/data"), "it has no data", remedy);
    }
    Some(Chart {
        title: title?,
        description: description?,
        spec,
        data: found.data,
        temporal: found.temporal,
        fields: found.fields,
    })
}

impl Chart {
    /// Adds the columns that the chart names and its rows lack. `rows` are those of its data, in order.
    pub(crate) fn check_fields(&self, file: &str, rows: &[&Rows], problems: &mut Problems) {
        for field in &self.fields {
            let Some(rows) = rows.get(field.data) else {
                continue;
            };
            let mut known: BTreeSet<&str> = rows.names().collect();
            known.extend(field.made.iter().map(String::as_str));
            if known.contains(field.name.as_str()) || known.contains(column(&field.name).as_str()) {
                continue;
            }
            let what = match suggest::nearest(&field.name, known.iter().copied()) {
                Some(meant) => format!(
                    "its data has no column `{}`; did you mean `{meant}`?",
                    field.name
                ),
                None => format!("its data has no column `{}`", field.name),
            };
            let remedy = format!("the columns are {}", suggest::list(known));
            problems.add(file, field.line, what, remedy);
        }
    }
}

/// The column that a field is in: `detalles` of `detalles.nota`, `a.b` of `a\.b`.
fn column(field: &str) -> String {
    let mut column = String::new();
    let mut letters = field.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => column.extend(letters.next()),
            '.' | '[' => break,
            letter => column.push(letter),
        }
    }
    column
}

/// The title's text, which may stand in a list or beside its settings.
fn title(spec: &Value) -> Option<String> {
    let title = spec.get("title")?;
    let text = match title {
        Value::Object(settings) => settings.get("text")?,
        text => text,
    };
    let text = match text {
        Value::String(text) => text.clone(),
        Value::Array(lines) => {
            let lines: Option<Vec<&str>> = lines.iter().map(Value::as_str).collect();
            lines?.join(" ")
        }
        _ => return None,
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// Whether it says that it is Vega-Lite of this version, or says nothing.
fn is_vega_lite(file: &str, spec: &Value, lines: &JsonLines, problems: &mut Problems) -> bool {
    if !spec.is_object() {
        let remedy = "write one object: {\"mark\": …, \"encoding\": …, \"data\": {\"sql\": …}}";
        problems.add(file, Some(1), "it is no specification of Vega-Lite", remedy);
        return false;
    }
    let Some(schema) = spec.get("$schema") else {
        return true;
    };
    let schema = schema.as_str().unwrap_or_default();
    let of_version = schema
        .split_once("/vega-lite/v")
        .is_some_and(|(_, version)| version.split(['.', '/']).next() == Some(VERSION));
    if !of_version {
        let what = if schema.contains("/vega-lite/") {
            "it is of another version of Vega-Lite"
        } else {
            "its $schema is not that of Vega-Lite"
        };
        let remedy = "write a specification of Vega-Lite 6: \"$schema\": \"https://vega.github.io/schema/vega-lite/v6.json\"";
        problems.add(file, lines.line("/$schema"), what, remedy);
    }
    of_version
}

#[cfg(test)]
mod tests;
