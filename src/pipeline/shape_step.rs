//! A source's description of a stream, as the stream renames and masks its columns.

use crate::config::hubspot::HubSpotPart;
use crate::config::{Stream, StreamSource};
use crate::error::Result;
use crate::schema::ColumnSpec;
use crate::shaping::{Described, Shaping};
use crate::source::Description;
use crate::source::hubspot::builder::RECORD_COLUMNS;

/// A description as the destination has it.
pub(super) struct Shaped {
    /// How columns are called and masked, those for misfits included.
    pub(super) shaping: Shaping,
    /// The description.
    pub(super) description: Description,
    /// The columns as the source describes them.
    pub(super) columns: Vec<ColumnSpec>,
}

/// Renames and masks what a source describes.
///
/// # Errors
/// The settings do not go with the columns.
pub(super) fn shaped(stream: &Stream, described: &Description) -> Result<Shaped> {
    let settings = &stream.shaping;
    settings.check(Described {
        columns: &described.columns,
        key: &described.primary_key,
        fixed: fixed(stream),
    })?;
    let shaping = settings.with_misfits(&described.misfits);
    let mut description = described.clone();
    description.columns = shaping.specs(&described.columns);
    description.primary_key = shaping.names(&described.primary_key);
    let misfits = described.misfits.iter().map(|(column, misfit)| {
        let name = |name: &str| shaping.name(name).to_owned();
        (name(column), name(misfit))
    });
    description.misfits = misfits.collect();
    Ok(Shaped {
        shaping,
        description,
        columns: described.columns.clone(),
    })
}

/// The columns that acequia itself finds by their names.
fn fixed(stream: &Stream) -> &'static [&'static str] {
    match &stream.from {
        StreamSource::HubSpot(object) => match object.part {
            HubSpotPart::Records(..) => &RECORD_COLUMNS,
            _ => &["id"],
        },
        StreamSource::Rows(_) | StreamSource::Changes(_) => &[],
    }
}
