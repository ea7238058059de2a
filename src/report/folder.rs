//! Reads the folder with a report's parts.

use std::io;
use std::path::Path;

use super::chart::{self, Chart};
use super::filters::{self, Filter};
use super::html::{slug, unique};
use super::markdown::{self, Text};
use super::problems::Problems;
use super::table::{self, Table};
use crate::error::{Error, Result};

/// How the files of texts, charts and tables end.
const TEXT: &str = ".md";
const CHART: &str = ".vl.json";
const TABLE: &str = ".sql";

/// How large a part's file may be, in bytes: a person wrote it.
const LARGEST: u64 = 4_000_000;

const REMEDY: &str = "the parts are files such as 10-ventas.md (text), 20-ventas.vl.json (a chart of Vega-Lite) and 30-ventas.sql (a table), \
                      and filters.json; docs/report.md describes them";

/// Element names that the page itself has.
const OWN_IDS: [&str; 4] = ["content", "filters", "freshness", "report-data"];

/// A report's parts, in the order of their files.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The parts.
    pub(crate) parts: Vec<Part>,
    /// The controls of the whole page.
    pub(crate) filters: Vec<Filter>,
}

/// A part of a report.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its file's name.
    pub(crate) file: String,
    /// The name of its element on the page.
    pub(crate) id: String,
    /// What it is.
    pub(crate) content: Content,
}

/// What a part is.
#[derive(Debug)]
pub(crate) enum Content {
    /// Text.
    Text(Text),
    /// A chart.
    Chart(Chart),
    /// A table.
    Table(Table),
}

/// Reads the parts of a report.
///
/// # Errors
/// [`Error::Config`] with all that is wrong, each with its file, line and remedy.
pub(crate) fn read(folder: &Path) -> Result<Parts> {
    let mut problems = Problems::default();
    let mut parts = Parts {
        parts: Vec::new(),
        filters: Vec::new(),
    };
    let mut ids: Vec<String> = OWN_IDS.map(str::to_owned).to_vec();
    for name in names(folder)? {
        let Some(text) = text_of(folder, &name, &mut problems) else {
            continue;
        };
        if name == filters::FILE {
            parts.filters = filters::parse(&text, &mut problems);
            continue;
        }
        // The part's own name comes before those of its headings.
        let stem = name.split('.').next().unwrap_or(&name);
        let id = unique(&slug(stem), &mut ids);
        let content = if name.strip_suffix(TEXT).is_some() {
            let text = markdown::parse(&name, &text, &mut ids, &mut problems);
            Some(Content::Text(text))
        } else if name.strip_suffix(CHART).is_some() {
            chart::parse(&name, &text, &mut problems).map(Content::Chart)
        } else if name.strip_suffix(TABLE).is_some() {
            table::parse(&name, &text, &mut problems).map(Content::Table)
        } else {
            problems.add(&name, None, "this is no part of a report", REMEDY);
            None
        };
        parts.parts.extend(content.map(|content| Part {
            file: name,
            id,
            content,
        }));
    }
    if parts.parts.is_empty() && problems.is_empty() {
        return Err(Error::config(format!(
            "the report's folder {} has no parts",
            folder.display()
        ))
        .remedy(REMEDY));
    }
    problems.finish(parts)
}

/// The names of the files, in order; those that begin with a dot, or end as editors' copies do, are nobody's parts.
fn names(folder: &Path) -> Result<Vec<String>> {
    let told = |error: io::Error| {
        let what = format!("cannot read the report's folder {}", folder.display());
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "make it, or correct `path` under [report]",
            _ => "see to its permissions, or correct `path` under [report]",
        };
        Error::config(what).cause(error).remedy(remedy)
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(told)? {
        let entry = entry.map_err(told)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') || entry.path().is_dir() {
            continue;
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

fn text_of(folder: &Path, name: &str, problems: &mut Problems) -> Option<String> {
    let path = folder.join(name);
    let size = std::fs::metadata(&path).map(|metadata| metadata.len());
    if size.is_ok_and(|size| size > LARGEST) {
        let what = format!("it has more than {} MB", LARGEST / 1_000_000);
        let remedy = "a part holds what a person wrote; rows come from the destination";
        problems.add(name, None, what, remedy);
        return None;
    }
    match std::fs::read_to_string(&path) {
        // A mark of the byte order is no text.
        Ok(text) => Some(text.trim_start_matches('\u{feff}').to_owned()),
        Err(error) => {
            let what = format!("it cannot be read ({})", error.kind());
            let remedy = "see to its permissions, and save it as UTF-8";
            problems.add(name, None, what, remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn parts_stand_in_the_order_of_their_files() {
        let folder = folder(&[
            ("20-tabla.sql", "-- title: T\n-- description: D\nSELECT 1"),
            ("10-texto.md", "# Hola\n"),
            ("filters.json", "[]"),
            (".oculto", "x"),
            ("10-texto.md~", "x"),
        ]);
        let read = read(folder.path()).unwrap();
        let ids: Vec<&str> = read.parts.iter().map(|part| part.id.as_str()).collect();
        assert_eq!(ids, ["10-texto", "20-tabla"]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let folder = folder(&[
            ("10-a.md", "![x](y)"),
            ("20-b.vl.json", "{"),
            ("30-c.txt", ""),
            ("filters.json", "[1]"),
        ]);
        let report = read(folder.path()).unwrap_err().report();
        for place in ["10-a.md:1", "20-b.vl.json:1", "30-c.txt", "filters.json:1"] {
            assert!(
                report.contains(&format!("- {place}: ")),
                "{place}\n{report}"
            );
        }
    }

    #[test]
    fn a_folder_without_parts_or_none_at_all_is_refused_with_the_remedy() {
        let empty = folder(&[(".gitkeep", "")]);
        let report = read(empty.path()).unwrap_err().report();
        assert!(
            report.contains("has no parts") && report.contains("remedy"),
            "{report}"
        );
        let report = read(&empty.path().join("none")).unwrap_err().report();
        assert!(report.contains("correct `path` under [report]"), "{report}");
    }
}
