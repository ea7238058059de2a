//! `acequia.toml` as text, and its errors: what is wrong and where, never a value, which may be a secret.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;

use super::defaults;
use super::environment::Environment;
use super::expansion::Expansion;
use super::model::Config;
use super::suggest;
use crate::error::{Error, Result};

/// A configuration file that has been read. [`resolve`](Self::resolve) makes a pipeline of it.
pub struct Document {
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    pub(crate) environment: Environment,
    /// What became of entries with `tables`, once their tables were looked up.
    pub(crate) expansion: Expansion,
}

impl Document {
    /// The configuration as it is written.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads a configuration file, and the `.env` beside it.
    /// # Errors
    /// [`Error::Config`] if the file does not exist, is not TOML, or has keys that are unknown, missing or of the wrong
    /// type. The error has file, line and column, and shows no value.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::config(format!("there is no {shown}"))
                .remedy("write one with `acequia init`, or name another with --config"),
            _ => Error::config(format!("cannot read {shown}")).cause(error),
        })?;
        let config = parse(&text).map_err(|mistake| mistake.into_error(path, &text))?;
        let absolute = std::path::absolute(path)
            .map_err(|error| Error::config(format!("cannot make {shown} absolute")).cause(error))?;
        Ok(Self {
            environment: Environment::beside(&absolute)?,
            path: absolute,
            config,
            expansion: Expansion::default(),
        })
    }

    /// Parses the text of a configuration, without a file and without a `.env`.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_text(text: &str) -> Result<Self> {
        let path = Path::new("/acequia.toml");
        Ok(Self {
            config: parse(text).map_err(|mistake| mistake.into_error(path, text))?,
            environment: Environment::without_file(path),
            path: path.to_owned(),
            expansion: Expansion::default(),
        })
    }

    /// The file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Shows the path only: the contents may be secret.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.path).finish()
    }
}

/// An error in the file: its message, which has no value in it, and its place.
struct Mistake {
    what: String,
    remedy: Option<String>,
    place: Option<String>,
    span: Option<Range<usize>>,
}

fn parse(text: &str) -> Result<Config, Mistake> {
    // The parser's messages about syntax are fixed texts; serde's messages quote values.
    let mut document = DeTable::parse(text).map_err(|error| Mistake {
        what: error.message().to_owned(),
        remedy: None,
        place: None,
        span: error.span(),
    })?;
    defaults::apply(document.get_mut());
    Config::deserialize(toml::Deserializer::from(document)).map_err(|mut error| {
        let message = error.message().to_owned();
        let (what, remedy) = explain(&message);
        error.set_input(None);
        Mistake {
            what,
            remedy,
            place: place(&error.to_string()),
            span: error.span(),
        }
    })
}

impl Mistake {
    fn into_error(self, path: &Path, text: &str) -> Error {
        let file = path.display();
        let position = self.span.map_or_else(String::new, |span| {
            let (line, column) = line_and_column(text, span.start);
            format!(":{line}:{column}")
        });
        let place = self
            .place
            .map_or_else(String::new, |place| format!("{place}: "));
        let error = Error::config(format!("{file}{position}: {place}{}", self.what));
        match self.remedy {
            Some(remedy) => error.remedy(remedy),
            None => error,
        }
    }
}

/// Rewrites serde's message without the values that it quotes.
fn explain(message: &str) -> (String, Option<String>) {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (key, known) = rest.split_once("`, ").unwrap_or((rest, ""));
        let known = quoted(known);
        let what = match suggest::nearest(key, known.iter().copied()) {
            Some(meant) => format!("unknown key `{key}`; did you mean `{meant}`?"),
            None => format!("unknown key `{key}`"),
        };
        return (
            what,
            Some(format!("the keys here are {}", suggest::list(known))),
        );
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        let key = rest.trim_end_matches('`');
        return (format!("`{key}` is missing"), None);
    }
    if message.starts_with("unknown variant `") {
        let known = message
            .rsplit_once("`, expected ")
            .map_or("", |(_, known)| known);
        return (
            "this version of acequia does not know what is given here".to_owned(),
            Some(format!("use {}", any_of(&quoted(known)))),
        );
    }
    if let Some(rest) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
    {
        let expected = rest
            .rsplit_once(", expected ")
            .map_or("", |(_, expected)| expected);
        return (
            format!("expected {}, found {}", wanted(expected), found(rest)),
            None,
        );
    }
    // Our own messages begin with the value between backticks.
    for ours in [" cannot name a stream: ", " is not a column type; "] {
        if let Some((_, rest)) = message.rsplit_once(ours) {
            return (format!("this{ours}{rest}"), None);
        }
    }
    let columns = message.ends_with("untagged enum Columns");
    let what = if columns {
        "expected a text or a list of texts"
    } else {
        "this is not valid here"
    };
    (what.to_owned(), None)
}

/// The type that serde found, in TOML's words.
fn found(rest: &str) -> &'static str {
    match rest.split([' ', ',']).next().unwrap_or_default() {
        "string" | "character" => "a text",
        "integer" => "a whole number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a table or a date",
        _ => "something else",
    }
}

/// The type that serde expected, in TOML's words.
fn wanted(expected: &str) -> String {
    match expected {
        "a string" | "string" => "a text".to_owned(),
        "a map" => "a table".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a nonzero usize" => "a whole number from 1 up".to_owned(),
        struct_name if struct_name.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// The texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn any_of(known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    known.join(" or ")
}

/// `[streams.ventas] cursor`, from the path of keys in the last line of an error's text.
fn place(error: &str) -> Option<String> {
    let path = error
        .lines()
        .last()?
        .strip_prefix("in `")?
        .strip_suffix('`')?;
    let keys: Vec<&str> = path.split('.').collect();
    let depth = match keys.as_slice() {
        ["streams", _, "types" | "rename" | "mask", ..] => 3,
        ["streams" | "sources" | "destinations", ..] => 2,
        _ => 1,
    };
    let (table, key) = keys.split_at(depth.min(keys.len()));
    let table = table.join(".");
    Some(match key {
        [] => format!("[{table}]"),
        key => format!("[{table}] {}", key.join(".")),
    })
}

/// Line and column, from 1, of a byte offset.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[pipeline]\nname = \"p\"\ndataset = \"d\"\ndestination = \"w\"\n\
                        [destinations.w]\nkind = \"duckdb\"\npath = \"w.duckdb\"\n\
                        [sources.s]\nkind = \"postgres\"\nurl = \"u\"\n";

    fn report(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acequia.toml");
        std::fs::write(&path, text).unwrap();
        let error = Document::read(&path).map(drop).unwrap_err();
        error
            .report()
            .replace(&folder.path().display().to_string(), "…")
    }

    /// The report of a stream with these lines, which begin at line 12.
    fn stream(lines: &str) -> String {
        report(&format!("{HEAD}[streams.ventas]\n{lines}"))
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_the_way_out() {
        let stream_keys = "source, table, tables, exclude_tables, query, object, properties, history, associations, compare, calculated, \
                           definitions, mode, disposition, \
                           deletes, changelog, cursor, initial_value, lag, null_cursor, primary_key, columns, exclude, where, destination_table, partition_by, sort_by, parallel, row_security, schema_contract, types, mask, rename, pre_sql and post_sql";
        for (lines, expected) in [
            (
                "source = \"s\"\nmode = \"full\"\ncurser = \"secret\"\n",
                format!(
                    "…/acequia.toml:14:1: [streams.ventas]: unknown key `curser`; did you mean `cursor`?\n  remedy: the \
                     keys here are {stream_keys}"
                ),
            ),
            (
                "source = \"s\"\n",
                "…/acequia.toml:11:1: [streams.ventas]: `mode` is missing".to_owned(),
            ),
            (
                "source = \"s\"\nmode = \"secret\"\n",
                "…/acequia.toml:13:8: [streams.ventas] mode: this version of acequia does not know what is given here\n  \
                 remedy: use \"full\" or \"incremental\" or \"cdc\""
                    .to_owned(),
            ),
            (
                "source = 3\nmode = \"full\"\n",
                "…/acequia.toml:12:10: [streams.ventas] source: expected a text, found a whole number".to_owned(),
            ),
            (
                "source = \"s\"\nmode = \"full\"\nparallel = \"secret, expected x\"\n",
                "…/acequia.toml:14:12: [streams.ventas] parallel: expected a whole number from 1 up, found a text"
                    .to_owned(),
            ),
            (
                "source = \"s\"\nmode = \"full\"\nparallel = 0\n",
                "…/acequia.toml:14:12: [streams.ventas] parallel: expected a whole number from 1 up, found a whole \
                 number"
                    .to_owned(),
            ),
            (
                "source = \"s\"\nmode = \"full\"\nprimary_key = 3\n",
                "…/acequia.toml:14:15: [streams.ventas] primary_key: expected a text or a list of texts".to_owned(),
            ),
            (
                "source = \"s\"\nmode = \"full\"\nlag = true\n",
                "…/acequia.toml:14:7: [streams.ventas] lag: expected a text, a whole number or a date, found true or \
                 false"
                    .to_owned(),
            ),
            (
                "source = \"s\"\nmode = \"full\"\n[streams.ventas.types]\nprecio = \"secret\"\n",
                "…/acequia.toml:15:10: [streams.ventas.types] precio: this is not a column type; the types are boolean, \
                 int16, int32, int64, float32, float64, decimal(p,s) with 1 <= p <= 38 and s <= p, text, json, binary, \
                 uuid, date, time, timestamp, timestamptz and list<…> of these"
                    .to_owned(),
            ),
        ] {
            assert_eq!(stream(lines), expected);
        }
    }

    #[test]
    fn a_wrong_kind_names_those_that_there_are() {
        assert_eq!(
            report(&HEAD.replace("\"postgres\"", "\"mysql\"")),
            "…/acequia.toml:9:8: [sources.s] kind: this version of acequia does not know what is given here\n  remedy: use \
             \"postgres\" or \"hubspot\""
        );
    }

    #[test]
    fn no_report_shows_a_value() {
        for text in [
            HEAD.replace("\"u\"", "\"secret"),
            HEAD.replace("\"u\"", "secret"),
            HEAD.replace("\"u\"", "[\"secret\"]"),
            HEAD.replace("\"u\"", "{ secret = 1 }"),
            HEAD.replace("\"postgres\"", "\"secret\""),
            HEAD.replace("\"p\"", "\"secret secret\""),
            HEAD.replace("\"u\"", "\"secret\"\nurl = \"secret\""),
            format!("{HEAD}[streams.v]\nsource = \"s\"\nmode = \"full\"\nexclude = \"secret\"\n"),
        ] {
            let report = report(&text);
            assert!(
                !report.replace("{ secret", "").contains("secret"),
                "{report}"
            );
            assert!(report.contains("acequia.toml:"), "{report}");
        }
    }

    #[test]
    fn without_a_file_the_remedy_is_init() {
        let folder = tempfile::tempdir().unwrap();
        let error = Document::read(&folder.path().join("none.toml"))
            .map(drop)
            .unwrap_err();
        assert!(
            error.report().contains("acequia init"),
            "{}",
            error.report()
        );
    }
}
