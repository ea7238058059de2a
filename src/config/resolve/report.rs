//! The report page.

use super::problems::{Checked, Problems};
use crate::config::document::Document;
use crate::config::report::Report;

/// The page's file where the configuration names none.
const OUTPUT: &str = "report.html";

impl Document {
    /// The report, if the configuration has one.
    pub(super) fn report(&self, problems: &mut Problems) -> Checked<Option<Report>> {
        let Some(config) = &self.config.report else {
            return Ok(None);
        };
        let folder = self.report_path(&config.path, "[report] path", problems);
        let output = config.output.as_deref().unwrap_or(OUTPUT);
        let output = self.report_path(output, "[report] output", problems);
        let title = match &config.title {
            Some(title) => self.expand(title, "[report] title", problems),
            None => Ok(self.config.pipeline.name.to_string()),
        };
        Ok(Some(Report {
            folder: self.beside(&folder?),
            output: self.beside(&output?),
            title: title?,
            language: config.language,
            after_run: config.after_run.unwrap_or(true),
            streams: self.config.streams.keys().cloned().collect(),
        }))
    }

    fn report_path(&self, path: &str, place: &str, problems: &mut Problems) -> Checked<String> {
        let path = self.expand(path, place, problems)?;
        if path.is_empty() {
            return Err(problems.add(place, "it is empty", "name a path, relative to this file"));
        }
        Ok(path)
    }
}
