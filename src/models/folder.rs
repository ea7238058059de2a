//! The folders of models and of tests.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::header::{self, Header};
use super::lexer::{self, NotOne};
use crate::config;
use crate::error::{Error, Result};
use crate::names::{MAX_NAME, hex};

/// The models and tests of a pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The schema that the models' tables are in.
    pub(crate) dataset: String,
    /// The models, in the order of their names.
    pub(crate) models: Vec<Model>,
    /// The tests that have a file of their own, in the order of their names.
    pub(crate) tests: Vec<TestFile>,
}

/// A model.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// Its name, and that of its table.
    pub(crate) name: String,
    /// Its file, for people.
    pub(crate) file: String,
    /// The text of the file up to the statement's end: lines are those of the file.
    pub(crate) sql: String,
    pub(crate) header: Header,
}

/// A test that has a file of its own.
#[derive(Debug, Clone)]
pub(crate) struct TestFile {
    /// Its name.
    pub(crate) name: String,
    /// Its file, for people.
    pub(crate) file: String,
    /// As [`Model::sql`].
    pub(crate) sql: String,
    pub(crate) description: Option<String>,
}

impl Model {
    /// A hash of what the model says.
    pub(crate) fn definition(&self) -> String {
        fingerprint(&self.sql)
    }

    /// Whether it is built by each run.
    pub(crate) fn is_built_always(&self) -> bool {
        let said = self.header.always;
        said.unwrap_or_else(|| lexer::may_change(&self.sql))
    }

    /// An error in a line of its file.
    pub(crate) fn mistake(&self, line: usize, what: &str, remedy: &str) -> Error {
        mistake(&self.file, line, what, remedy)
    }
}

impl TestFile {
    /// A hash of what the test says.
    pub(crate) fn definition(&self) -> String {
        fingerprint(&self.sql)
    }
}

impl Project {
    /// Reads the folders.
    ///
    /// # Errors
    /// [`Error::Config`] with every mistake that shows without a database: file, line and remedy.
    pub(crate) fn read(models: &config::Models) -> Result<Self> {
        let mut errors = Vec::new();
        let files = sql_files(&models.path, &models.root, true)?;
        let tests = sql_files(&models.tests, &models.root, models.tests_are_named)?;
        let project = Self {
            dataset: models.dataset.clone(),
            models: files
                .iter()
                .filter_map(|file| kept(model(file), &mut errors))
                .collect(),
            tests: tests
                .iter()
                .filter_map(|file| kept(test(file), &mut errors))
                .collect(),
        };
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for model in &project.models {
            if let Some(other) = seen.insert(&model.name, &model.file) {
                let what = format!("{other} is a model of the same name");
                let remedy = "rename one of the two files: a file's name is its model's";
                errors.push(model.mistake(1, &what, remedy));
            }
            let tables = &models.tables;
            if let Some((table, stream)) = tables
                .iter()
                .find(|(table, _)| table.eq_ignore_ascii_case(&model.name))
            {
                let what = format!("`{table}` is the table of the stream {stream}");
                let remedy = "give the model's file another name";
                errors.push(model.mistake(1, &what, remedy));
            }
        }
        let mut named: BTreeMap<&str, &str> = BTreeMap::new();
        for test in &project.tests {
            if let Some(other) = named.insert(&test.name, &test.file) {
                let what = format!("{other} is a test of the same name");
                errors.push(mistake(&test.file, 1, &what, "rename one of the two files"));
            }
        }
        if !errors.is_empty() {
            return Err(faults(errors));
        }
        Ok(project)
    }

    /// The model of that name.
    pub(crate) fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }
}

/// A file's path for people, its name, and its text.
struct File {
    shown: String,
    name: String,
    text: String,
}

fn kept<T>(found: Result<T, Vec<Error>>, errors: &mut Vec<Error>) -> Option<T> {
    found.map_err(|found| errors.extend(found)).ok()
}

fn model(file: &File) -> Result<Model, Vec<Error>> {
    let mut errors = Vec::new();
    let starts = |c: char| c.is_ascii_lowercase() || c == '_';
    let others = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let name = &file.name;
    if !name.starts_with(starts)
        || !name.chars().all(others)
        || name.len() > MAX_NAME
        || name.starts_with("_acequia")
    {
        errors.push(mistake(
            &file.shown,
            1,
            &format!("`{name}` cannot name a model"),
            "rename the file: small letters a to z, digits and `_`, 63 at most, beginning with a letter or `_`, and not `_acequia…`",
        ));
    }
    let header = header::parse(&file.text).map_err(|mistakes| {
        let mistakes = mistakes.into_iter();
        errors.extend(mistakes.map(|m| mistake(&file.shown, m.line, &m.what, &m.remedy)));
    });
    let sql = statement(file).map_err(|error| errors.push(error));
    match (header, sql) {
        (Ok(header), Ok(sql)) if errors.is_empty() => Ok(Model {
            name: name.clone(),
            file: file.shown.clone(),
            sql,
            header,
        }),
        _ => Err(errors),
    }
}

fn test(file: &File) -> Result<TestFile, Vec<Error>> {
    let header = header::parse(&file.text).map_err(|mistakes| {
        let mistakes = mistakes.into_iter();
        mistakes
            .map(|m| mistake(&file.shown, m.line, &m.what, &m.remedy))
            .collect::<Vec<_>>()
    })?;
    Ok(TestFile {
        name: file.name.clone(),
        file: file.shown.clone(),
        sql: statement(file).map_err(|error| vec![error])?,
        description: header.description,
    })
}

/// The file's only statement.
fn statement(file: &File) -> Result<String> {
    let text = &file.text;
    lexer::only_statement(text)
        .map(str::to_owned)
        .map_err(|not_one| {
            let (at, what, remedy) = match not_one {
                NotOne::None => (0, "there is no statement in it", "write one SELECT"),
                NotOne::Several(at) => (
                    at,
                    "a second statement begins here",
                    "write one SELECT a file: what it needs of another goes into a model of its own, or into a WITH",
                ),
                NotOne::Template(at) => (
                    at,
                    "this is a template, and acequia runs SQL as it is written",
                    "write the table's or model's name itself; `-- depends_on: {{ ref('model') }}` in the header is what dbt \
                     needs to know of it",
                ),
            };
            mistake(&file.shown, lexer::line_of(text, at), what, remedy)
        })
}

/// All files that end in `.sql`, in the order of their names, in a folder and those below it.
fn sql_files(folder: &Path, root: &Path, is_needed: bool) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => break,
            Err(error) => return Err(unreadable(&folder, root, error)),
        };
        for entry in entries {
            let path = entry
                .map_err(|error| unreadable(&folder, root, error))?
                .path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "sql") {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| unreadable(&path, root, error))?;
                files.push(File {
                    shown: shown(&path, root),
                    name: path
                        .file_stem()
                        .map(|name| name.to_string_lossy().into_owned())
                        .unwrap_or_default(),
                    text: text.trim_start_matches('\u{feff}').to_owned(),
                });
            }
        }
    }
    files.sort_by(|one, other| (&one.name, &one.shown).cmp(&(&other.name, &other.shown)));
    Ok(files)
}

fn unreadable(path: &Path, root: &Path, error: io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "it is not there",
        io::ErrorKind::InvalidData => "its text is not UTF-8",
        _ => "it cannot be read",
    };
    Error::config(format!("{}: {what}", shown(path, root)))
        .cause(error)
        .remedy("correct `path` and `tests` under [models], or the file")
}

/// A path relative to the configuration's folder, where it lies in it.
fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// An error in a line of a file.
pub(crate) fn mistake(file: &str, line: usize, what: &str, remedy: &str) -> Error {
    Error::config(format!("{file}:{line}: {what}")).remedy(remedy)
}

/// Several errors as one.
pub(crate) fn faults(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1 {
        return errors.remove(0);
    }
    let reports: Vec<String> = errors
        .iter()
        .map(|error| format!("- {}", error.report()))
        .collect();
    Error::config(format!(
        "{} things are wrong in the models\n{}",
        errors.len(),
        reports.join("\n")
    ))
}

fn fingerprint(text: &str) -> String {
    let mut digest = hex(&Sha256::digest(text));
    digest.truncate(16);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Project> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Project::read(&config::Models {
            root: folder.path().to_owned(),
            path: folder.path().join("models"),
            tests: folder.path().join("tests"),
            tests_are_named: false,
            dataset: "analisis".to_owned(),
            tables: [("ventas".to_owned(), "ventas".parse().unwrap())].into(),
        })
    }

    #[test]
    fn a_file_is_a_model_and_subfolders_only_sort_them() {
        let project = read(&[
            (
                "models/crm/clientes_crm.sql",
                "-- unique: id\nSELECT 1 AS id;\n",
            ),
            ("models/a.sql", "SELECT now() AS t"),
            ("models/README.md", "no model"),
            (
                "tests/suma.sql",
                "-- description: Sums agree\nSELECT 1 WHERE 1 = 0",
            ),
        ])
        .unwrap();
        let names: Vec<&str> = project
            .models
            .iter()
            .map(|model| model.name.as_str())
            .collect();
        assert_eq!(names, ["a", "clientes_crm"]);
        assert!(project.models[0].is_built_always() && !project.models[1].is_built_always());
        assert_eq!(project.models[1].file, "models/crm/clientes_crm.sql");
        assert_eq!(project.tests[0].description.as_deref(), Some("Sums agree"));
    }

    #[test]
    fn a_mark_of_utf8_is_no_part_of_a_file() {
        let project = read(&[
            ("models/a.sql", "\u{feff}-- unique: n\nSELECT 1 AS n"),
            ("tests/b.sql", "\u{feff}SELECT 1 WHERE 1 = 0"),
        ])
        .unwrap();
        assert_eq!(project.models[0].sql, "-- unique: n\nSELECT 1 AS n");
        assert_eq!(project.models[0].header.tests.len(), 1);
        assert_eq!(project.tests[0].sql, "SELECT 1 WHERE 1 = 0");
    }

    #[test]
    fn every_mistake_in_the_folder_is_told_at_once() {
        let report = read(&[
            ("models/x/a.sql", "SELECT 1"),
            ("models/y/a.sql", "SELECT 1"),
            ("models/ventas.sql", "SELECT 1"),
            ("models/Año.sql", "SELECT 1"),
            ("models/b.sql", "-- uniqe: id\nSELECT 1;\n\nSELECT 2"),
            ("models/c.sql", "-- nothing"),
            ("models/d.sql", "SELECT 1\nFROM {{ ref('a') }}"),
        ])
        .unwrap_err()
        .report();
        for expected in [
            "models/y/a.sql:1: models/x/a.sql is a model of the same name",
            "models/ventas.sql:1: `ventas` is the table of the stream ventas",
            "models/Año.sql:1: `Año` cannot name a model",
            "models/b.sql:1: unknown key `uniqe`; did you mean `unique`?",
            "models/b.sql:4: a second statement begins here",
            "models/c.sql:1: there is no statement in it",
            "models/d.sql:2: this is a template",
        ] {
            assert!(report.contains(expected), "{expected}: {report}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let models = config::Models {
            root: folder.path().to_owned(),
            path: folder.path().join("models"),
            tests: folder.path().join("tests"),
            tests_are_named: false,
            dataset: "analisis".to_owned(),
            tables: BTreeMap::new(),
        };
        let error = Project::read(&models).unwrap_err();
        assert!(
            error.to_string().contains("models: it is not there"),
            "{error}"
        );
    }
}
