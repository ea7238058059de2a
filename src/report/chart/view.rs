//! Reads a specification, view by view.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::words::{CHANNELS, COMPOSED, KEYS, MARKS, OPAQUE, TYPES};
use super::{ChartData, Field};
use crate::config::suggest;
use crate::report::json_lines::JsonLines;
use crate::report::problems::Problems;
use crate::report::query::{Query, bare};

const DATA_REMEDY: &str = "write {\"sql\": \"SELECT …\"}, {\"model\": \"name\"}, or {\"values\": […]} for what is not in the destination";

/// What a specification turned out to hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The queries, whose names stand in their places now.
    pub(super) data: Vec<ChartData>,
    /// The columns that are read as points in time.
    pub(super) temporal: BTreeSet<String>,
    /// The columns that its encodings name.
    pub(super) fields: Vec<Field>,
}

/// Reads a specification, and puts names in the place of its queries.
pub(super) fn read(
    file: &str,
    lines: &JsonLines,
    spec: &mut Value,
    problems: &mut Problems,
) -> Found {
    let mut reading = Reading {
        file,
        lines,
        problems,
        found: Found::default(),
    };
    let around = Around {
        data: None,
        made: Some(BTreeSet::new()),
    };
    reading.view("", spec, around);
    reading.found
}

/// A specification that is being read.
#[derive(Debug)]
struct Reading<'a> {
    file: &'a str,
    lines: &'a JsonLines,
    problems: &'a mut Problems,
    found: Found,
}

/// What a view has from those around it.
#[derive(Debug, Clone, Default)]
struct Around {
    /// The rows, if they are of a query: the index of one of the data.
    data: Option<usize>,
    /// The columns that were made of them; none if that is not known.
    made: Option<BTreeSet<String>>,
}

impl Reading<'_> {
    fn problem(&mut self, path: &str, what: impl AsRef<str>, remedy: impl Into<String>) {
        self.problems
            .add(self.file, self.lines.line(path), what, remedy);
    }

    /// A word that must be one of those known.
    fn word(&mut self, path: &str, kind: &str, word: &str, known: &[&'static str]) {
        if known.contains(&word) {
            return;
        }
        let what = match suggest::nearest(word, known.iter().copied()) {
            Some(meant) => {
                format!("Vega-Lite has no {kind} `{word}`; did you mean `{meant}`?")
            }
            None => format!("Vega-Lite has no {kind} `{word}`"),
        };
        let remedy = format!("the {kind}s are {}", suggest::list(known.iter().copied()));
        self.problem(path, what, remedy);
    }

    fn view(&mut self, path: &str, view: &mut Value, mut around: Around) {
        let Some(view) = view.as_object_mut() else {
            self.problem(
                path,
                "here should be a view",
                "write an object with `mark` and `encoding`",
            );
            return;
        };
        for key in view.keys() {
            self.word(&format!("{path}/{key}"), "key", key, KEYS);
        }
        if !COMPOSED.iter().any(|key| view.contains_key(*key)) {
            let remedy = format!(
                "a view has one of {}",
                suggest::list(COMPOSED.iter().copied())
            );
            self.problem(path, "this is no view of Vega-Lite", remedy);
        }
        if let Some(data) = view.get_mut("data") {
            around.data = self.data(&format!("{path}/data"), data);
            around.made = Some(BTreeSet::new());
        }
        if let Some(transforms) = view.get_mut("transform") {
            self.transforms(&format!("{path}/transform"), transforms, &mut around);
        }
        if let Some(mark) = view.get("mark") {
            let mark = mark.get("type").unwrap_or(mark);
            let word = mark.as_str().unwrap_or_default();
            self.word(&format!("{path}/mark"), "mark", word, MARKS);
        }
        if let Some(encoding) = view.get("encoding") {
            self.encoding(&format!("{path}/encoding"), encoding, &around);
        }
        if let Some(facet) = view.get("facet") {
            self.definition(&format!("{path}/facet"), facet, &around);
        }
        self.inner(path, view, &around);
    }

    /// The views within a view.
    fn inner(&mut self, path: &str, view: &mut Map<String, Value>, around: &Around) {
        for key in ["layer", "concat", "hconcat", "vconcat"] {
            let path = format!("{path}/{key}");
            match view.get_mut(key) {
                Some(Value::Array(views)) => {
                    for (at, view) in views.iter_mut().enumerate() {
                        self.view(&format!("{path}/{at}"), view, around.clone());
                    }
                }
                Some(_) => self.problem(&path, "here should be a list of views", "write […]"),
                None => {}
            }
        }
        if let Some(spec) = view.get_mut("spec") {
            self.view(&format!("{path}/spec"), spec, around.clone());
        }
    }

    /// Data; if it is a query, its index, and its name stands in its place.
    fn data(&mut self, path: &str, data: &mut Value) -> Option<usize> {
        let Some(keys) = data.as_object() else {
            if !data.is_null() {
                self.problem(path, "its data is no object", DATA_REMEDY);
            }
            return None;
        };
        let text = |key| keys.get(key).and_then(Value::as_str).map(str::to_owned);
        let query = match (text("sql"), text("model")) {
            (Some(sql), None) if !bare(&sql).is_empty() => Query::Sql(bare(&sql).to_owned()),
            (None, Some(model)) if !model.is_empty() => Query::Model(model),
            _ if keys.contains_key("url") => {
                self.problem(
                    path,
                    "its data has a `url`, and the page fetches nothing",
                    DATA_REMEDY,
                );
                return None;
            }
            _ if ["sql", "model"].iter().any(|key| keys.contains_key(*key)) => {
                self.problem(
                    path,
                    "its data is neither one query nor one model",
                    DATA_REMEDY,
                );
                return None;
            }
            _ if ["values", "name", "sequence"]
                .iter()
                .any(|key| keys.contains_key(*key)) =>
            {
                return None;
            }
            _ => {
                self.problem(path, "its data is neither a query nor a model", DATA_REMEDY);
                return None;
            }
        };
        if let Some(other) = keys
            .keys()
            .find(|key| !["sql", "model"].contains(&key.as_str()))
        {
            let what = format!("its data has a key `{other}` beside its query");
            let remedy = "remove it: the page knows the columns' types from the destination";
            self.problem(&format!("{path}/{other}"), what, remedy);
        }
        let index = self.found.data.len();
        let name = format!("acequia_{index}");
        *data = json!({"name": name});
        self.found.data.push(ChartData {
            name,
            query,
            line: self.lines.line(path),
        });
        Some(index)
    }

    fn transforms(&mut self, path: &str, transforms: &mut Value, around: &mut Around) {
        let Some(transforms) = transforms.as_array_mut() else {
            self.problem(
                path,
                "here should be a list of transformations",
                "write […]",
            );
            return;
        };
        for (at, transform) in transforms.iter_mut().enumerate() {
            if let Some(data) = transform.pointer_mut("/from/data") {
                self.data(&format!("{path}/{at}/from/data"), data);
            }
            if OPAQUE.iter().any(|kind| transform.get(kind).is_some()) {
                around.made = None;
            }
            if let Some(made) = &mut around.made {
                collect_names(transform, made);
            }
            if let (Some(_), Some(field)) = (transform.get("timeUnit"), transform.get("field")) {
                self.found
                    .temporal
                    .extend(field.as_str().map(str::to_owned));
            }
        }
    }

    fn encoding(&mut self, path: &str, encoding: &Value, around: &Around) {
        let Some(channels) = encoding.as_object() else {
            let remedy = "write {\"x\": {\"field\": …}, …}";
            self.problem(path, "the encoding is no object", remedy);
            return;
        };
        for (channel, definition) in channels {
            let path = format!("{path}/{channel}");
            self.word(&path, "channel", channel, CHANNELS);
            match definition {
                Value::Array(several) => {
                    for (at, definition) in several.iter().enumerate() {
                        self.definition(&format!("{path}/{at}"), definition, around);
                    }
                }
                one => self.definition(&path, one, around),
            }
        }
    }

    /// A channel's definition, and what is within it: conditions, the field that it is sorted by.
    fn definition(&mut self, path: &str, definition: &Value, around: &Around) {
        let Some(keys) = definition.as_object() else {
            return;
        };
        let word = |key| keys.get(key).and_then(Value::as_str);
        if let Some(name) = word("type") {
            self.word(&format!("{path}/type"), "type", name, TYPES);
        }
        if let Some(name) = word("field") {
            let is_time = word("type") == Some("temporal") || keys.contains_key("timeUnit");
            if is_time {
                self.found.temporal.insert(name.to_owned());
            }
            if let (Some(data), Some(made)) = (around.data, &around.made) {
                self.found.fields.push(Field {
                    name: name.to_owned(),
                    line: self.lines.line(&format!("{path}/field")),
                    data,
                    made: made.clone(),
                });
            }
        }
        for key in ["sort", "condition", "row", "column"] {
            let path = format!("{path}/{key}");
            match keys.get(key) {
                Some(Value::Array(several)) => {
                    for (at, inner) in several.iter().enumerate() {
                        self.definition(&format!("{path}/{at}"), inner, around);
                    }
                }
                Some(inner) => self.definition(&path, inner, around),
                None => {}
            }
        }
    }
}

/// The names that a transformation gives to what it makes.
fn collect_names(transform: &Value, made: &mut BTreeSet<String>) {
    match transform {
        Value::Object(keys) => {
            for (key, value) in keys {
                match value {
                    Value::String(name) if key == "as" => {
                        made.insert(name.clone());
                    }
                    Value::Array(names) if key == "as" => {
                        made.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    inner => collect_names(inner, made),
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                collect_names(value, made);
            }
        }
        _ => {}
    }
}
