//! Of which streams a range can be read again: incremental ones of PostgreSQL.

use super::RunOptions;
use crate::config::{Pipeline, RowsRead, Stream, StreamSource};
use crate::error::{Error, Result};
use crate::position::AskedRange;

/// Refuses a range that cannot be read again, before anything is begun.
///
/// # Errors
/// [`Error::Config`], with the remedy.
pub(super) fn refuse(pipeline: &Pipeline, range: &AskedRange, options: &RunOptions) -> Result<()> {
    if range.from.is_none() && range.to.is_none() {
        return Err(Error::config("a range has neither an end nor a beginning")
            .remedy("give --from, --to or both"));
    }
    let others = [
        ("--full-refresh", options.full_refresh),
        ("--follow", options.follow.is_some()),
        ("--delete-missing", options.delete_missing),
    ];
    if let Some((other, _)) = others.iter().find(|(_, is_asked)| *is_asked) {
        return Err(Error::config(format!(
            "a run reads a range again (--from, --to) or does what {other} says, not both"
        ))
        .remedy("run twice, once for each"));
    }
    pipeline.streams.iter().try_for_each(refuse_stream)
}

fn refuse_stream(stream: &Stream) -> Result<()> {
    let (what, remedy) = match &stream.from {
        StreamSource::Rows(rows) => match &rows.read {
            RowsRead::Incremental(..) => return Ok(()),
            RowsRead::Full(_) => (
                "is read in full by each run",
                "leave --from and --to out: `acequia run STREAM` reads all of it",
            ),
        },
        StreamSource::Changes(_) => (
            "follows every change of its table, so nothing of it need be read again",
            "`acequia verify STREAM --repair` mends what differs all the same, and `acequia run STREAM --full-refresh` reads \
             everything anew",
        ),
        StreamSource::HubSpot(_) => (
            "is one of HubSpot, of which no range is read again",
            "`acequia run STREAM --full-refresh` reads everything anew",
        ),
    };
    let error = Error::config(format!("--from, --to: stream {} {what}", stream.name));
    Err(super::name_stream(
        error.remedy(format!(
            "{remedy}; name the streams that are meant, as in `acequia run NAME --from …`"
        )),
        stream,
    ))
}
