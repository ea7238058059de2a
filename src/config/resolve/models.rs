//! Models: where they are, and which tables they may be made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::problems::{Checked, Problems};
use crate::config::Models;
use crate::config::document::Document;
use crate::names::StreamName;

/// The schema of the models' tables, where the configuration does not say.
const DATASET: &str = "analysis";

impl Document {
    /// The models, if the configuration has any. `destination` and `dataset` are those of the pipeline.
    pub(super) fn models(
        &self,
        destination: &str,
        dataset: Option<&str>,
        problems: &mut Problems,
    ) -> Checked<Option<Models>> {
        let Some(config) = &self.config.models else {
            return Ok(None);
        };
        let path = self.folder(&config.path, "[models] path", problems);
        let tests = match &config.tests {
            Some(tests) => self.folder(tests, "[models] tests", problems).map(Some),
            None => Ok(None),
        };
        let place = "[models] dataset";
        let schema = config.dataset.as_deref().unwrap_or(DATASET);
        let schema = self.schema(schema, place, problems)?;
        if dataset.is_some_and(|dataset| dataset.eq_ignore_ascii_case(&schema)) {
            let what = "this is the dataset of the pipeline, whose tables are the streams'";
            return Err(problems.add(place, what, "name another schema for the models"));
        }
        let root = self.beside("");
        let path = root.join(path?);
        let tests = tests?;
        let beside = path.parent().unwrap_or(Path::new("")).join("tests");
        Ok(Some(Models {
            tests_are_named: tests.is_some(),
            tests: tests.map_or(beside, |tests| root.join(tests)),
            path,
            root,
            dataset: schema,
            tables: self.tables(destination),
        }))
    }

    fn folder(&self, path: &str, place: &str, problems: &mut Problems) -> Checked<String> {
        let path = self.expand(path, place, problems)?;
        if path.trim_matches('/').is_empty() {
            let remedy = "name the folder, as in \"analysis/models\"";
            return Err(problems.add(place, "it names no folder", remedy));
        }
        Ok(path)
    }

    /// The tables of all streams. What is wrong in a stream is told where it is run.
    fn tables(&self, destination: &str) -> BTreeMap<String, StreamName> {
        let streams = &self.config.streams;
        let used: BTreeSet<&str> = streams
            .values()
            .map(|config| config.source.as_str())
            .collect();
        let (sources, _) = self.sources(&used, destination);
        let mut tables = BTreeMap::new();
        for (name, config) in streams {
            let resolved = self.streams_of(name, config, &sources, &mut Problems::default());
            for stream in resolved.into_iter().flatten() {
                if stream.changes().is_some_and(|changes| changes.changelog) {
                    tables.insert(format!("{}__changes", stream.table), stream.name.clone());
                }
                tables.insert(stream.table, stream.name);
            }
        }
        tables
    }
}
