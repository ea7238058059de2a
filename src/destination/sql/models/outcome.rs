//! What a report says of models: before anything is done, and of what was done. No I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::models::ModelWork;
use crate::models::report::{ModelReport, ModelStatus, ModelsReport, TestReport, TestStatus};

use super::plan::Plan;

/// What is told before anything is done.
pub(super) fn report(work: &ModelWork, plan: &Plan) -> ModelsReport {
    let models = plan.models.iter().filter_map(|step| {
        let model = work.project.models.get(step.place)?;
        Some(ModelReport {
            model: model.name.clone(),
            materialized: model.header.materialized,
            status: if step.is_due {
                ModelStatus::Kept
            } else {
                ModelStatus::Unchanged
            },
            rows: step.known.as_ref().and_then(|row| row.rows),
            seconds: 0.0,
        })
    });
    let tests = plan.tests.iter().map(|step| TestReport {
        test: step.test.clone(),
        model: Some(step.key.model.clone()).filter(|model| !model.is_empty()),
        description: {
            let mut tests = work.project.tests.iter();
            let own = tests.find(|test| step.key.model.is_empty() && test.name == step.test);
            own.and_then(|test| test.description.clone())
        },
        file: step.file.clone(),
        status: match &step.known {
            _ if step.is_due => TestStatus::Skipped,
            Some(_) => TestStatus::Unchanged,
            None => TestStatus::Skipped,
        },
        rows: 0,
    });
    ModelsReport {
        dataset: work.project.dataset.clone(),
        models: models.collect(),
        tests: tests.collect(),
        left_behind: plan.left_behind.clone(),
        ..ModelsReport::default()
    }
}

/// What was done in a transaction so far.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Index, rows and milliseconds of each model that was built.
    pub(super) models: Vec<(usize, Option<u64>, u64)>,
    /// Index and rows of each test that was run.
    pub(super) tests: Vec<(usize, u64)>,
    /// The tests that failed.
    pub(super) failed: BTreeSet<usize>,
    /// The model that is being built.
    pub(super) current: Option<usize>,
}

impl Done {
    /// Tells it in a report; `status` is that of the models that were built.
    pub(super) fn tell(
        &self,
        report: &mut ModelsReport,
        work: &ModelWork,
        plan: &Plan,
        status: ModelStatus,
    ) {
        for (index, rows, milliseconds) in &self.models {
            let Some(told) = report.models.get_mut(*index) else {
                continue;
            };
            told.status = status;
            told.seconds = Duration::from_millis(*milliseconds).as_secs_f64();
            if status == ModelStatus::Built {
                told.rows = *rows;
            }
        }
        for (index, rows) in &self.tests {
            if let Some(told) = report.tests.get_mut(*index) {
                told.rows = *rows;
                told.status = self::status(*rows);
            }
        }
        tracing::debug!(
            dataset = work.project.dataset,
            models = self.models.len(),
            of = plan.models.len(),
            tests = self.tests.len(),
            "models"
        );
    }
}

/// How a test that found so many rows ended.
pub(super) fn status(rows: u64) -> TestStatus {
    if rows == 0 {
        TestStatus::Passed
    } else {
        TestStatus::Failed
    }
}
