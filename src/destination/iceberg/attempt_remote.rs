//! One load by way of an engine that runs elsewhere: claimed, written, published.

use crate::destination::StagedLoad;
use crate::destination::sql::ledger::stands_elsewhere;
use crate::destination::sql::load as plan;
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::mode::{Disposition, Mode};

use super::catalog::Committed;
use super::claims::{Tables, Unfinished, keeps_changes, makes_anew};
use super::remote::Run;
use super::state::{self, Kept};
use super::{Attempt, Lake, prepared};

impl Lake {
    /// Applies a load by way of the remote engine.
    pub(super) fn attempt_remotely(&mut self, load: &StagedLoad) -> Result<Attempt> {
        let manifest = &load.manifest;
        let (stream, table) = (&manifest.stream, &manifest.table);
        let found = self.look_at_tables(manifest)?;
        let own = Self::own_of(manifest, &found)?;
        if own.as_ref().is_some_and(|own| own.has(&manifest.load_id)) {
            return Err(stands_elsewhere(stream));
        }
        let state = self.state_of(stream, table, own.as_ref());
        let at_creation = state::at_creation(stream, &self.ledger.id);
        let looked = self.looked_of(stream, own.as_ref());
        let Some(remote) = &mut self.remote else {
            return Err(Error::internal("a remote load without a remote engine"));
        };
        if !remote.writes_branches() {
            refuse_unfinished(manifest, &found, own.as_ref())?;
        }
        let turn = found.next_turn();
        let catalog = &mut self.writer.catalog;
        let mut run = Run::new(remote, catalog, load, at_creation, found, own.clone());
        let written = plan::apply(&mut run, load, state).and_then(|(outcome, schema)| {
            run.carry_out()?;
            Ok((outcome, schema))
        });
        let (outcome, schema) = match written {
            Ok(written) => written,
            Err(error) => {
                run.close(true);
                // What an engine says of a table that another run took meanwhile is nothing of the load's.
                let may_be_overtaken = matches!(error, Error::Destination(_));
                return if may_be_overtaken && self.is_overtaken(manifest, turn) {
                    Ok(Attempt::Again(error))
                } else {
                    Err(error)
                };
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

    /// Whether another run has claimed the tables of a load since it did, or has applied it.
    fn is_overtaken(&mut self, manifest: &Manifest, turn: u64) -> bool {
        let Ok(now) = self.look_at_tables(manifest) else {
            return false;
        };
        let own = Self::own_of(manifest, &now);
        let is_applied = own.is_ok_and(|own| own.is_some_and(|own| own.has(&manifest.load_id)));
        is_applied || now.next_turn() > turn + 1
    }
}

/// Refuses to write a load after one that was written, never finished, and is not the one that comes, where its rows would stand
/// there twice. What is found by its key is written over, and what amends the table brings nothing that another load does. The load
/// itself is refused where it cannot be told what it began on.
fn refuse_unfinished(manifest: &Manifest, found: &Tables, own: Option<&Kept>) -> Result<()> {
    let adds = manifest.disposition == Disposition::Append
        || keeps_changes(manifest)
        || (manifest.mode == Mode::Cdc && manifest.primary_key.is_empty());
    if !adds || makes_anew(manifest) || own.is_none() {
        return Ok(());
    }
    for seen in found.each() {
        let Some(unfinished) = Unfinished::of(seen, own) else {
            continue;
        };
        let is_this = unfinished.load == manifest.load_id.as_str() && unfinished.from.is_some();
        if !is_this && !unfinished.amends && unfinished.from != seen.snapshot() {
            return Err(Error::destination(format!(
                "load {} of table {} was begun and never finished, and is not there to be finished",
                unfinished.load, manifest.table
            ))
            .remedy("put its folder back into the landing area and replay it, or make the table anew: `acequia run STREAM --full-refresh`"));
        }
    }
    Ok(())
}
