//! What was done with models: a part of the report of a run.

use serde::Serialize;

use super::Materialized;

/// The models of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ModelsReport {
    /// The schema that the models' tables are in.
    pub dataset: String,
    /// Each model, in the order in which they are built.
    pub models: Vec<ModelReport>,
    /// Each test.
    pub tests: Vec<TestReport>,
    /// Why nothing was built, with its causes and the remedy, unless a failed test says so already.
    pub error: Option<String>,
    /// Models that were built once and are no longer in the folder. Their tables stay.
    pub left_behind: Vec<String>,
    /// The wall time, in seconds.
    pub seconds: f64,
}

/// What became of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelStatus {
    /// It was built.
    Built,
    /// Nothing that it reads has changed, and neither has it.
    Unchanged,
    /// It should have been built, and is as it was before, as the whole was undone.
    Kept,
    /// It could not be built.
    Failed,
}

/// A model of a run.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// The model.
    pub model: String,
    /// What it is in the destination.
    pub materialized: Materialized,
    /// What became of it.
    pub status: ModelStatus,
    /// The rows of its table.
    pub rows: Option<u64>,
    /// How long it took to build, in seconds.
    pub seconds: f64,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TestStatus {
    /// It found no row that should not be.
    Passed,
    /// It passed before, and nothing that it reads has changed.
    Unchanged,
    /// It found rows that should not be.
    Failed,
    /// It was not run.
    Skipped,
}

/// A test of a run.
#[derive(Debug, Clone, Serialize)]
pub struct TestReport {
    /// The test: its file's name, or what the header says.
    pub test: String,
    /// The model whose header has it.
    pub model: Option<String>,
    /// What its file says that it tests.
    pub description: Option<String>,
    /// Its file, and the line in a header.
    pub file: String,
    /// How it ended.
    pub status: TestStatus,
    /// How many rows it found; for `unique`, how many keys come more than once.
    pub rows: u64,
}

impl ModelsReport {
    /// Whether all models are as they should be, and all tests passed.
    pub fn is_ok(&self) -> bool {
        let failed = |test: &TestReport| test.status == TestStatus::Failed;
        self.error.is_none() && !self.tests.iter().any(failed)
    }

    /// How many models have that status.
    pub fn count(&self, status: ModelStatus) -> usize {
        let models = self.models.iter();
        models.filter(|model| model.status == status).count()
    }

    /// What is not as it should be: tests that failed, and why no model could be built.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.failed_tests().into_iter();
        failed.chain(self.error.clone()).collect()
    }

    /// The tests that failed, each as a text.
    pub fn failed_tests(&self) -> Vec<String> {
        let failed = self.tests.iter();
        failed
            .filter(|test| test.status == TestStatus::Failed)
            .map(TestReport::failure)
            .collect()
    }
}

impl TestReport {
    fn failure(&self) -> String {
        let what = if self.test.starts_with("unique: ") && self.model.is_some() {
            "key comes more than once|keys come more than once"
        } else {
            "row should not be there|rows should not be there"
        };
        let (one, several) = what.split_once('|').unwrap_or((what, what));
        let what = if self.rows == 1 { one } else { several };
        let of = match &self.model {
            Some(model) => format!("model {model}, {}", self.test),
            None => format!("test {}", self.test),
        };
        let description = self.description.as_ref();
        let said = description.map_or_else(String::new, |said| format!(" [{said}]"));
        format!("{of} ({}): {} {what}{said}", self.file, self.rows)
    }
}
