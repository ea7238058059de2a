//! The report page: its keys in `acequia.toml`, and what they resolve to.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::names::StreamName;

/// The report page, which is made of a folder of texts, charts and tables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// The folder with the report's parts (`NN-name.md`, `NN-name.vl.json`, `NN-name.sql`), relative to the configuration file.
    pub path: String,
    /// The page's file, relative to the configuration file. Default: "report.html".
    #[serde(default)]
    pub output: Option<String>,
    /// The page's title. Default: the pipeline's name.
    #[serde(default)]
    pub title: Option<String>,
    /// The language of the page's own words, and of its numbers and dates: "en" (default) or "es".
    #[serde(default)]
    pub language: Language,
    /// Whether the page is made after each run and each batch of `--follow`. Default: true.
    #[serde(default)]
    pub after_run: Option<bool>,
}

/// The language of a page's own words, and of its numbers and dates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Spanish.
    Es,
}

impl Language {
    /// The language's tag, as HTML has it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
        }
    }
}

/// A report, ready to be made.
#[derive(Debug, Clone)]
pub struct Report {
    /// The folder with its parts, an absolute path.
    pub folder: PathBuf,
    /// The page's file, an absolute path.
    pub output: PathBuf,
    /// The page's title.
    pub title: String,
    /// The page's language.
    pub language: Language,
    /// Whether it is made after each run and each batch.
    pub after_run: bool,
    /// The names of all streams of the configuration, whether the run reads them or not.
    pub streams: Vec<StreamName>,
}
