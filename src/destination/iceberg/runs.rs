//! `acequia_runs`: the runs into a namespace, for people. Each commit adds those of one or several runs.

use crate::destination::sql::table::not_ours;
use crate::destination::sql::{Engine as _, SqlEngine as _, runs};
use crate::error::{Error, Result};
use crate::names::{DestinationId, RunId};
use crate::runs::RunRecord;

use super::catalog::Committed;
use super::state::{self, RUNS};
use super::writer::{Work, Writer};

/// Keeps runs, in one commit.
///
/// # Errors
/// Where they cannot be kept; they may have been, so they have to be given again, which does no harm.
pub(super) fn keep(writer: &mut Writer, id: &DestinationId, kept: &[RunRecord]) -> Result<()> {
    prepare(writer, id)?;
    let table = writer.table(RUNS);
    writer.begin(Work::default())?;
    let written = runs::keep(writer, &table, kept);
    if written.is_err() {
        writer.rollback();
    }
    match written.and_then(|()| writer.commit())? {
        Committed::Done => Ok(()),
        Committed::Conflict(error) | Committed::Unknown(error) => Err(error),
    }
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

/// Makes the table where it is missing.
fn prepare(writer: &mut Writer, id: &DestinationId) -> Result<()> {
    if let Some(found) = writer.catalog.table(RUNS)? {
        return match found.properties.get(state::DESTINATION) {
            Some(_) => Ok(()),
            None => Err(not_ours(&format!("{}.{RUNS}", writer.dataset()))),
        };
    }
    let columns: Vec<(String, String)> = runs::columns(writer.dialect())
        .into_iter()
        .map(|(name, data_type)| (name.to_owned(), data_type))
        .collect();
    writer.attach()?;
    let table = writer.table(RUNS);
    let given = state::at_creation_of_own(id);
    let made = writer.make_table(&table, &columns, &given, true);
    // Whether it was made, the catalog knows.
    match (writer.catalog.table(RUNS)?, made) {
        (Some(_), _) => Ok(()),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(Error::destination(
            "the catalog took a new table and does not have it",
        )),
    }
}
