//! A source's description of a stream, as the stream masks and renames its columns.

use arrow::array::RecordBatch;

use crate::config::hubspot::{HubSpotPart, RECORD_COLUMNS};
use crate::config::{Stream, StreamSource};
use crate::error::Result;
use crate::evolution::{TableSchema, assign_field_ids, with_misfits};
use crate::mask::Masks;
use crate::renames::Renames;
use crate::schema::Schema;
use crate::source::Description;

/// What is done to a source's batches before anything is written: values are masked, then columns renamed.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) masks: Masks,
    /// How columns are called, those for misfits included.
    pub(super) renames: Renames,
}

/// A description as the destination has it.
pub(super) struct Shaped {
    pub(super) shape: Shape,
    pub(super) description: Description,
}

impl Shape {
    /// The batch, as it is landed.
    pub(super) fn of(&self, batch: RecordBatch) -> Result<RecordBatch> {
        self.renames.batch(self.masks.apply(batch)?)
    }
}

impl Shaped {
    /// The columns of an extract, with the field ids that the table has for them.
    pub(super) fn schema(&self, known: Option<&TableSchema>) -> Schema {
        let schema = assign_field_ids(known, self.description.columns.clone());
        let mut schema = with_misfits(known, &schema, &self.description.misfits);
        self.shape.renames.mark(&mut schema);
        schema
    }
}

/// Fits what a source describes to the stream's masks and names.
///
/// # Errors
/// They do not go with the columns.
pub(super) fn shaped(stream: &Stream, described: &Description) -> Result<Shaped> {
    let mut description = described.clone();
    let masks = stream.masks();
    let may_lack = stream.may_lack();
    masks.describe(
        &mut description.columns,
        &description.primary_key,
        &may_lack,
    )?;
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
        shape: Shape {
            masks: masks.clone(),
            renames,
        },
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
