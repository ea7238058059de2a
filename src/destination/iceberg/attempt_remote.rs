//! One load by way of an engine that runs elsewhere: claimed, written, published.

use crate::destination::StagedLoad;
use crate::destination::sql::ledger::stands_elsewhere;
use crate::destination::sql::load as plan;
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::mode::{Disposition, Mode};

use super::catalog::{Committed, TableMetadata};
use super::remote::Run;
use super::state::{self, Intent, Kept};
use super::{Attempt, Lake, prepared};

/// Refuses a load that a remote engine does not apply.
///
/// # Errors
/// [`Error::Config`] with the remedy.
pub(super) fn refuse(manifest: &Manifest) -> Result<()> {
    if manifest.mode == Mode::Cdc && manifest.primary_key.is_empty() {
        return Err(Error::config(
            "a stream of changes without a key is not applied by an engine elsewhere",
        )
        .remedy("name its key with `primary_key`, or have DuckDB write the rows: leave `engine` of the destination out"));
    }
    if manifest.amends.is_some() && manifest.mode != Mode::Cdc {
        return Err(Error::config(
            "a load that repairs a table, replaces a range of it, or deletes what its source has no more, is not applied by an engine elsewhere",
        )
        .remedy("have DuckDB write the rows: leave `engine` of the destination out; or make the table anew: `acequia run STREAM --full-refresh`"));
    }
    if manifest.changes.is_some_and(|changes| changes.changelog) {
        return Err(Error::config(
            "a table of changes (`changelog`) is not kept by an engine elsewhere",
        )
        .remedy("leave `changelog` of the stream out, or have DuckDB write the rows: leave `engine` of the destination out"));
    }
    Ok(())
}

impl Lake {
    /// Applies a load by way of the remote engine.
    pub(super) fn attempt_remotely(&mut self, load: &StagedLoad) -> Result<Attempt> {
        let manifest = &load.manifest;
        let (stream, table) = (&manifest.stream, &manifest.table);
        let seen = self.writer.catalog.table(table)?;
        let own = Self::own(stream, table, seen.as_ref().map(|seen| &seen.properties))?;
        if own.as_ref().is_some_and(|own| own.has(&manifest.load_id)) {
            return Err(stands_elsewhere(stream));
        }
        if let Some(seen) = &seen {
            refuse_unfinished(manifest, seen)?;
        }
        let state = self.state_of(stream, table, own.as_ref());
        let at_creation = state::at_creation(stream, &self.ledger.id);
        let looked = self.looked_of(stream, own.as_ref());
        let Some(remote) = &mut self.remote else {
            return Err(Error::internal("a remote load without a remote engine"));
        };
        let catalog = &mut self.writer.catalog;
        let mut run = Run::new(remote, catalog, load, at_creation, seen);
        let written = plan::apply(&mut run, load, state).and_then(|(outcome, schema)| {
            run.carry_out()?;
            Ok((outcome, schema))
        });
        let (outcome, schema) = match written {
            Ok(written) => written,
            Err(error) => {
                run.close(true);
                return Err(error);
            }
        };
        let left = prepared(
            manifest,
            outcome,
            schema,
            own.as_ref(),
            looked,
            &self.ledger,
        )?;
        let published = run.publish(&left.properties);
        run.close(false);
        let failure = match published? {
            Committed::Done => None,
            Committed::Conflict(error) | Committed::Unknown(error) => Some(error),
        };
        if let Some(error) = failure
            && !self.look_for(table, &manifest.load_id)?
        {
            return Ok(Attempt::Again(error));
        }
        Ok(self.applied(manifest, left))
    }
}

/// Refuses to add rows after those of a load that was written, never finished, and is not the one that comes: they would stand
/// there twice. What is found by its key is written over.
fn refuse_unfinished(manifest: &Manifest, seen: &TableMetadata) -> Result<()> {
    let Some(intent) = Intent::read(&seen.properties) else {
        return Ok(());
    };
    if intent.branch {
        return Ok(());
    }
    let began = seen.reference(&intent.claim);
    let is_unfinished = intent.load != manifest.load_id.as_str() && began != seen.snapshot();
    let adds = manifest.disposition == Disposition::Append
        && !manifest.rebuilds()
        && !manifest.full_refresh;
    if is_unfinished && adds && Kept::read(&manifest.table, &seen.properties)?.is_some() {
        return Err(Error::destination(format!(
            "load {} of table {} was begun and never finished, and is not there to be finished",
            intent.load, manifest.table
        ))
        .remedy("put its folder back into the landing area and replay it, or make the table anew: `acequia run STREAM --full-refresh`"));
    }
    Ok(())
}
