//! What differs is mended by a load: of the rows that were found or, of a table that is replaced anyway, of all.

use super::{Job, never_loaded};
use crate::change::SnapshotMark;
use crate::config::{Stream, StreamSource};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::mode::{Amends, Disposition, Mode};
use crate::pipeline::compare::Comparison;
use crate::pipeline::compare::amend::Amendment;
use crate::pipeline::compare::side::opener;
use crate::pipeline::report::{Status, StreamReport};
use crate::pipeline::stream::StreamRun;
use crate::verify::report::{Outcome, StreamVerification};

/// How often a table is compared and mended in turn, as each time a bounded number of rows is.
const MOST_TURNS: u32 = 100;

impl Job {
    /// Compares a stream's table with its source as it is now, and mends what differs.
    pub(super) async fn repair_rows(
        &self,
        stream: &Stream,
        state: &StreamState,
        report: &mut StreamVerification,
    ) -> Result<()> {
        match (stream.disposition(), &stream.from) {
            (Disposition::Merge, StreamSource::Rows(_)) | (Disposition::Replace, _) => {}
            (disposition, _) => {
                return Err(Error::config(format!(
                    "a table of {} with disposition = \"{disposition}\" is not repaired: what its source has now is not all \
                     that the table should have",
                    stream.from
                ))
                .remedy(
                    "verify it without --repair; `acequia run STREAM --full-refresh` makes it anew, of what the source has now",
                ));
            }
        }
        let mut run = self.stream_run(stream, Some(state.clone()));
        if stream.mode() == Mode::Full {
            let comparison = self.comparison(stream, state, &opener, report).await?;
            comparison.run(self.options.show, report).await?;
            if report.result != Outcome::Different {
                return Ok(());
            }
            return taken_anew(run.run().await, report);
        }
        // What an earlier run landed comes first.
        let mut ran = StreamReport::skipped(&stream.name, stream.mode());
        run.recover(&mut ran).await?;
        let state = run.state.clone().ok_or_else(never_loaded)?;
        let comparison = self.comparison(stream, &state, &opener, report).await?;
        Box::pin(self.mend(&comparison, &mut run, None, report)).await
    }

    /// Compares, and mends what differs, until all of it is.
    pub(super) async fn mend(
        &self,
        comparison: &Comparison<'_>,
        run: &mut StreamRun,
        mark: Option<SnapshotMark>,
        report: &mut StreamVerification,
    ) -> Result<()> {
        let mut all = StreamVerification::begun(&report.stream, report.mode);
        for turn in 0..MOST_TURNS {
            let show = if turn == 0 { self.options.show } else { 0 };
            let found = comparison.run(show, report).await?;
            if turn == 0 {
                all = report.clone();
            } else {
                all.missing += report.missing;
                all.extra += report.extra;
                all.differ += report.differ;
            }
            if found.is_nothing() {
                break;
            }
            let position = run.position().cloned().ok_or_else(|| {
                Error::destination("the stream has no position yet, from which it could go on")
                    .remedy("run `acequia run STREAM`, and verify again")
            })?;
            let amendment = Amendment {
                amends: Amends::Repair,
                schema: comparison.schema.clone(),
                key: comparison.codec.key_names(),
                position,
                after: None,
                mark,
            };
            let mut ran = StreamReport::skipped(&report.stream, report.mode);
            Box::pin(amendment.apply(comparison, &found, run, &mut ran)).await?;
            all.repair = ran.load_id.or(all.repair);
            all.result = Outcome::Repaired;
            if report.is_complete {
                break;
            }
        }
        all.is_complete = report.is_complete;
        *report = all;
        Ok(())
    }
}

/// Tells that a table was mended by a load of everything, as that load ended.
///
/// # Errors
/// It did not end well.
pub(super) fn taken_anew(ran: StreamReport, report: &mut StreamVerification) -> Result<()> {
    if ran.status != Status::Ok {
        let error = ran.error.unwrap_or_else(|| "it was not begun".to_owned());
        return Err(Error::source(format!(
            "the table could not be loaded anew: {error}"
        )));
    }
    report.repair = ran.load_id;
    report.result = Outcome::Repaired;
    Ok(())
}
