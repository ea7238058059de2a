//! The failures of a run, which are stored for `acequia status`.

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::failures::Failure;
use crate::names::StreamName;

use super::report::{RunReport, Status};

/// Where the failures of a run are stored.
pub(super) struct Record {
    landing: Landing,
    pipeline: StreamName,
    destination: String,
    streams: Vec<StreamName>,
}

impl Record {
    /// The record of a run that begins.
    pub(super) fn of(pipeline: &Pipeline, landing: &Landing) -> Self {
        Self {
            landing: landing.clone(),
            pipeline: pipeline.name.clone(),
            destination: pipeline.destination.name.clone(),
            streams: pipeline.streams.iter().map(|s| s.name.clone()).collect(),
        }
    }

    /// Stores the failures of streams that failed, and removes those of streams that succeeded. An interrupted stream keeps
    /// what it had.
    pub(super) async fn note(&self, ended: &Result<RunReport>) {
        if let Err(error) = self.write(ended).await {
            tracing::warn!("how the run ended could not be kept: {}", error.report());
        }
    }

    async fn write(&self, ended: &Result<RunReport>) -> Result<()> {
        let failed: Vec<(&StreamName, Option<String>)> = match ended {
            Err(Error::Interrupted) => return Ok(()),
            // The run could not begin: no stream was extracted.
            Err(error) => {
                let report = error.report();
                let streams = self.streams.iter();
                streams
                    .map(|stream| (stream, Some(report.clone())))
                    .collect()
            }
            Ok(report) => {
                let ended = report.streams.iter().filter_map(|stream| {
                    let error = match stream.status {
                        Status::Ok => None,
                        Status::Failed => Some(stream.error.clone().unwrap_or_default()),
                        Status::Skipped => return None,
                    };
                    Some((&stream.stream, error))
                });
                ended.collect()
            }
        };
        let (landing, pipeline, destination) = (&self.landing, &self.pipeline, &self.destination);
        let before = landing.failures(pipeline, destination).await?;
        for (stream, error) in failed {
            let before = before.get(stream);
            let failure = error.map(|error| Failure::after(before, &error));
            if failure.is_some() || before.is_some() {
                landing
                    .note_failure(pipeline, destination, stream, failure.as_ref())
                    .await?;
            }
        }
        Ok(())
    }
}
