//! Checks that a load follows the stream's position, and computes the table's next schema, before any SQL, for every
//! destination.

use crate::destination::{StagedLoad, StreamState};
use crate::error::{Error, Result};
use crate::evolution::{Evolution, SchemaContract, TableSchema, evolve, rebuild};
use crate::landing::manifest::Manifest;
use crate::mode::{Disposition, Mode};
use crate::position::{CursorPosition, Position};
use crate::schema::Column;

use super::Table;
use super::system_columns::VALID_TO;

/// The table's schema afterwards. A replacement keeps the columns that the source has dropped, and widened types, as an
/// addition would; a stream that begins anew does not.
pub(super) fn evolution(state: Option<&StreamState>, load: &StagedLoad) -> Result<Evolution> {
    let manifest = &load.manifest;
    let known = state.map(|state| &state.schema);
    let afresh = !refreshes_versions(manifest)
        && (manifest.full_refresh
            || (manifest.rebuilds() && manifest.disposition != Disposition::Replace));
    match known {
        Some(known) if !afresh => match evolve(known, &manifest.schema) {
            Ok(evolution) => {
                load.contract.check(&evolution.steps)?;
                Ok(evolution)
            }
            // The table is rebuilt anyway, and can be rebuilt with another column.
            Err(_)
                if manifest.disposition == Disposition::Replace
                    && load.contract == SchemaContract::Evolve =>
            {
                Ok(made_anew(Some(known), manifest))
            }
            Err(error) if refreshes_versions(manifest) => Err(error.remedy(format!(
                "the versions that table {} has cannot be kept beside those that come: rename or drop it in the \
                 destination, and run again",
                manifest.table
            ))),
            Err(error) => Err(error),
        },
        known => Ok(made_anew(known, manifest)),
    }
}

fn made_anew(known: Option<&TableSchema>, manifest: &Manifest) -> Evolution {
    Evolution {
        table: rebuild(known, &manifest.schema),
        steps: Vec::new(),
    }
}

/// The load's column by which the stream is read, and how far it was read.
pub(super) fn cursor_of<'a>(
    manifest: &'a Manifest,
    columns: &'a [Column],
) -> Result<(&'a Column, &'a CursorPosition)> {
    let Some(position) = manifest.position_before.as_ref().and_then(Position::cursor) else {
        return Err(Error::internal("a load adds to a table without a position"));
    };
    let cursor = columns
        .iter()
        .find(|column| column.source_name() == position.column)
        .ok_or_else(|| {
            Error::data(format!(
                "the load has no column `{}`, by which the stream was read so far",
                position.column
            ))
            .remedy("begin afresh with the new cursor: `acequia run STREAM --full-refresh`")
        })?;
    Ok((cursor, position))
}

/// Whether a load rebuilds its table. A table of versions is not rebuilt: a full refresh closes the versions that the
/// source does not have any more.
pub(super) fn rebuilds_table(
    manifest: &Manifest,
    state: Option<&StreamState>,
    table: &Table,
) -> bool {
    if refreshes_versions(manifest) && state.is_some() && table.data_type(VALID_TO).is_some() {
        return false;
    }
    manifest.rebuilds() || manifest.full_refresh || (manifest.mode == Mode::Full && state.is_none())
}

/// Whether a load has all rows of the source, for a table that keeps versions.
pub(super) fn refreshes_versions(manifest: &Manifest) -> bool {
    manifest.full_refresh && manifest.disposition == Disposition::Scd2
}

/// The state of a stream that a load adds to: the load must begin at the stream's position.
pub(super) fn check_sequence(
    manifest: &Manifest,
    state: Option<StreamState>,
) -> Result<StreamState> {
    let state = state
        .filter(|state| refreshes_versions(manifest) || manifest.follows(state.position.as_ref()));
    state.ok_or_else(|| {
        Error::destination(format!(
            "stream {} does not stand where the load begins: another load came in between, or one before it is missing",
            manifest.stream
        ))
        .remedy("load what is missing first, or begin afresh: `acequia run STREAM --full-refresh`")
    })
}
