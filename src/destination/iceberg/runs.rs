//! `acequia_runs`: the runs into a namespace, for people. Each commit adds those of one or several runs.

use crate::destination::sql::{Engine as _, SqlEngine as _, runs};
use crate::error::Result;
use crate::names::{DestinationId, RunId};
use crate::runs::RunRecord;

use super::state::RUNS;
use super::writer::Writer;

/// Keeps runs, in one commit.
///
/// # Errors
/// Where they cannot be kept; they may have been, so they have to be given again, which does no harm.
pub(super) fn keep(writer: &mut Writer, id: &DestinationId, kept: &[RunRecord]) -> Result<()> {
    let columns = runs::columns(writer.dialect());
    writer.prepare_own(RUNS, id, columns)?;
    let table = writer.table(RUNS);
    writer.in_one_commit(|writer| runs::keep(writer, &table, kept))
}

/// At most so many of the runs that were kept, newest first.
///
/// # Errors
/// Where the table cannot be read.
pub(super) fn read(
    writer: &mut Writer,
    before: Option<&RunId>,
    most: usize,
) -> Result<Vec<RunRecord>> {
    if writer.catalog.table(RUNS)?.is_none() {
        return Ok(Vec::new());
    }
    writer.attach()?;
    let table = writer.table(RUNS);
    runs::read(writer, &table, before, most)
}
