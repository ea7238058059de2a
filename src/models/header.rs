//! The header of a model: the comment lines before its statement, of which those of the form `-- key: value` say how it is
//! made and what must hold of it. No I/O.

use serde::Serialize;

use crate::config::suggest;

/// What a model is in the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Materialized {
    /// A table that is filled when the model is built.
    #[default]
    Table,
    /// A view.
    View,
}

impl std::fmt::Display for Materialized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::View => "view",
        })
    }
}

/// What a header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) description: Option<String>,
    pub(crate) question: Option<String>,
    pub(crate) materialized: Materialized,
    /// Whether it is built by each run, even if nothing that it reads has changed. Where it is not said, the statement tells.
    pub(crate) always: Option<bool>,
    /// What must hold of the rows, each with its line.
    pub(crate) tests: Vec<(usize, ColumnTest)>,
    /// Models that it depends on beyond what it reads, each with its line.
    pub(crate) depends_on: Vec<(usize, String)>,
}

/// What must hold of a model's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnTest {
    /// No two rows have the same values in these columns; a row with NULL in one of them does not count.
    Unique(Vec<String>),
    /// No row has NULL in this column.
    NotNull(String),
    /// Each value of a column is in a column of another table.
    Relationship {
        /// The column.
        column: String,
        /// The model or stream's table.
        parent: String,
        /// The parent's column.
        parent_column: String,
    },
}

impl ColumnTest {
    /// The columns of the model itself.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Unique(columns) => columns.iter().map(String::as_str).collect(),
            Self::NotNull(column) | Self::Relationship { column, .. } => vec![column],
        }
    }
}

impl std::fmt::Display for ColumnTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unique(columns) => write!(f, "unique: {}", columns.join(", ")),
            Self::NotNull(column) => write!(f, "not_null: {column}"),
            Self::Relationship {
                column,
                parent,
                parent_column,
            } => write!(f, "relationships: {column} -> {parent}.{parent_column}"),
        }
    }
}

/// What is wrong in a line of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

const KEYS: [&str; 8] = [
    "description",
    "question",
    "materialized",
    "always",
    "unique",
    "not_null",
    "relationships",
    "depends_on",
];

/// Reads the header of a model's text.
pub(crate) fn parse(text: &str) -> Result<Header, Vec<Mistake>> {
    let mut header = Header::default();
    let mut mistakes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some(comment) = line.strip_prefix("--") else {
            if line.is_empty() {
                continue;
            }
            break;
        };
        let Some((key, value)) = entry(comment) else {
            continue;
        };
        let line = number + 1;
        if let Err((what, remedy)) = header.take(line, key, value) {
            mistakes.push(Mistake { line, what, remedy });
        }
    }
    if mistakes.is_empty() {
        Ok(header)
    } else {
        Err(mistakes)
    }
}

/// A comment of the form `key: value`.
fn entry(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.split_once(':')?;
    let key = key.trim();
    let is_word = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    is_word.then(|| (key, value.trim()))
}

type Wrong = (String, String);

impl Header {
    fn take(&mut self, line: usize, key: &str, value: &str) -> Result<(), Wrong> {
        if !KEYS.contains(&key) {
            let Some(meant) = suggest::nearest(key, KEYS) else {
                // An ordinary comment.
                return Ok(());
            };
            let keys = suggest::list(KEYS);
            return Err((
                format!("unknown key `{key}`; did you mean `{meant}`?"),
                format!("the keys of a header are {keys}"),
            ));
        }
        if value.is_empty() {
            return Err((
                format!("`{key}` has no value"),
                "write one after the colon, or leave the line out".to_owned(),
            ));
        }
        match key {
            "description" => once(&mut self.description, key, value)?,
            "question" => once(&mut self.question, key, value)?,
            "materialized" => {
                self.materialized = match value {
                    "table" => Materialized::Table,
                    "view" => Materialized::View,
                    _ => return Err(one_of(key, "table", "view")),
                }
            }
            "always" => {
                self.always = match value {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => return Err(one_of(key, "true", "false")),
                }
            }
            "unique" => self.tests.push((line, ColumnTest::Unique(columns(value)?))),
            "not_null" => {
                let columns = columns(value)?.into_iter();
                self.tests
                    .extend(columns.map(|column| (line, ColumnTest::NotNull(column))));
            }
            "relationships" => self.tests.push((line, relationship(value)?)),
            _ => {
                if let Some(name) = referred(value)? {
                    self.depends_on.push((line, name));
                }
            }
        }
        Ok(())
    }
}

fn once(place: &mut Option<String>, key: &str, value: &str) -> Result<(), Wrong> {
    if place.is_some() {
        return Err((
            format!("`{key}` comes twice"),
            "leave one of them out".to_owned(),
        ));
    }
    *place = Some(value.to_owned());
    Ok(())
}

fn one_of(key: &str, one: &str, other: &str) -> Wrong {
    (
        format!("`{key}` has an unknown value"),
        format!("write `-- {key}: {one}` or `-- {key}: {other}`"),
    )
}

/// Names of columns, separated by commas.
fn columns(value: &str) -> Result<Vec<String>, Wrong> {
    split(value, ',')
        .into_iter()
        .map(|name| column(&name))
        .collect()
}

/// A text's parts between a separator that stands outside of double quotes.
fn split(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        if letter == '"' {
            quoted = !quoted;
        }
        if letter == separator && !quoted {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(letter);
        }
    }
    parts.push(part);
    parts
}

/// A name as SQL takes it: without quotes, in lower case.
fn column(name: &str) -> Result<String, Wrong> {
    let name = name.trim();
    let quoted = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    let taken = match quoted {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    };
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    if taken.is_empty() || quoted.is_none() && !taken.chars().all(is_name) {
        return Err((
            format!("`{name}` is no column's name"),
            "write names separated by commas, those with other characters in double quotes"
                .to_owned(),
        ));
    }
    Ok(taken)
}

/// `column -> parent.column`
fn relationship(value: &str) -> Result<ColumnTest, Wrong> {
    let wrong = || {
        (
            "this is no relationship".to_owned(),
            "write `-- relationships: id_cliente -> clientes.id_cliente`, with a model or a stream's table".to_owned(),
        )
    };
    let (child, parent) = value.split_once("->").ok_or_else(wrong)?;
    let parts = split(parent, '.');
    let [parent, parent_column] = parts.as_slice() else {
        return Err(wrong());
    };
    Ok(ColumnTest::Relationship {
        column: column(child).map_err(|_| wrong())?,
        parent: column(parent).map_err(|_| wrong())?,
        parent_column: column(parent_column).map_err(|_| wrong())?,
    })
}

/// The model of `{{ ref('name') }}`, or of a plain name; none for a `source`.
fn referred(value: &str) -> Result<Option<String>, Wrong> {
    let inner = value
        .strip_prefix("{{")
        .and_then(|value| value.strip_suffix("}}"));
    let name = match inner.map(str::trim) {
        None => value.trim_end_matches(';').trim(),
        Some(call) if call.starts_with("source") => return Ok(None),
        Some(call) => call
            .strip_prefix("ref(")
            .and_then(|call| call.strip_suffix(')'))
            .map_or("", |name| name.trim().trim_matches(['\'', '"'])),
    };
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err((
            "`depends_on` names no model".to_owned(),
            "write `-- depends_on: {{ ref('model') }}`, one model a line".to_owned(),
        ));
    }
    Ok(Some(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_how_a_model_is_made_and_what_must_hold_of_it() {
        let header = parse(
            "-- Clients, by hand: see the manual\n\n-- description: One row: a client\n-- question: Who?\n\
             -- materialized: view\n-- always: true\n-- unique: id_cliente\n--unique: A, \"Año, €\"\n\
             -- not_null: id_cliente, nombre\n-- relationships: id_cliente -> clientes.id\n\
             -- depends_on: {{ ref('actividad') }}\n-- depends_on: {{ source('replica', 'x') }}\nSELECT 1\n-- unique: no\n",
        )
        .unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            header,
            Header {
                description: Some("One row: a client".to_owned()),
                question: Some("Who?".to_owned()),
                materialized: Materialized::View,
                always: Some(true),
                tests: vec![
                    (7, ColumnTest::Unique(names(&["id_cliente"]))),
                    (8, ColumnTest::Unique(names(&["a", "Año, €"]))),
                    (9, ColumnTest::NotNull("id_cliente".to_owned())),
                    (9, ColumnTest::NotNull("nombre".to_owned())),
                    (
                        10,
                        ColumnTest::Relationship {
                            column: "id_cliente".to_owned(),
                            parent: "clientes".to_owned(),
                            parent_column: "id".to_owned(),
                        }
                    ),
                ],
                depends_on: vec![(11, "actividad".to_owned())],
            }
        );
    }

    #[test]
    fn a_mistake_in_a_header_is_told_with_its_line() {
        for (line, what) in [
            (
                "-- uniqe: id",
                "unknown key `uniqe`; did you mean `unique`?",
            ),
            (
                "-- descripción: x",
                "unknown key `descripción`; did you mean `description`?",
            ),
            (
                "-- not-null: x",
                "unknown key `not-null`; did you mean `not_null`?",
            ),
            ("-- unique:", "`unique` has no value"),
            ("-- unique: a b", "`a b` is no column's name"),
            (
                "-- materialized: incremental",
                "`materialized` has an unknown value",
            ),
            ("-- relationships: a = b.c", "this is no relationship"),
            ("-- relationships: a -> b", "this is no relationship"),
            (
                "-- depends_on: {{ var('x') }}",
                "`depends_on` names no model",
            ),
        ] {
            let mistakes = parse(&format!("-- x\n{line}\nSELECT 1")).unwrap_err();
            let [mistake] = mistakes.as_slice() else {
                panic!("{mistakes:?}");
            };
            assert_eq!((mistake.line, mistake.what.as_str()), (2, what));
        }
        assert_eq!(
            parse("-- note: whatever\n-- see https://x.org/a: b\nSELECT 1"),
            Ok(Header::default())
        );
    }
}
