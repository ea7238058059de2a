//! A source's description of a stream, as the stream masks and renames its columns.

use crate::config::hubspot::HubSpotPart;
use crate::config::{Stream, StreamSource};
use crate::error::Result;
use crate::renames::Renames;
use crate::source::Description;
use crate::source::hubspot::builder::RECORD_COLUMNS;

/// A description as the destination has it.
pub(super) struct Shaped {
    /// How its columns are called, those for misfits included.
    pub(super) renames: Renames,
    /// The description.
    pub(super) description: Description,
}

/// Fits what a source describes to the stream's masks and names.
///
/// # Errors
/// They do not go with the columns.
pub(super) fn shaped(stream: &Stream, described: &Description) -> Result<Shaped> {
    let mut description = described.clone();
    let masks = stream.masks();
    masks.describe(&mut description.columns, &description.primary_key)?;
    stream.renames.check(&described.columns, fixed(stream))?;
    let renames = stream.renames.of(&described.columns, &described.misfits);
    let name = |name: &str| renames.name(name).to_owned();
    for column in &mut description.columns {
        column.name = name(&column.name);
    }
    description.primary_key = renames.names(&described.primary_key);
    let misfits = described.misfits.iter();
    description.misfits = misfits
        .map(|(column, misfit)| (name(column), name(misfit)))
        .collect();
    Ok(Shaped {
        renames,
        description,
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
