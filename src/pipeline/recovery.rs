//! The recovery at the beginning of a run: it completes what an earlier run left.
//!
//! Recovery looks at this destination's loads in the landing area. A load that the ledger has is complete. A folder without
//! a manifest is an unfinished extract, and is removed. A load that the ledger lacks is applied if it follows the ledger's
//! position; otherwise it stays where it is, and the report names it.
//!
//! A pending load never blocks its stream: if the configuration has changed since, if everything is to be read anew, or if
//! the destination refuses the load, it is set aside, and its rows are read from the source again as far as they still
//! exist.

use crate::config::Stream;
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::landing::{Landing, LoadAddress};
use crate::mode::{Amends, Mode};
use crate::names::{DestinationId, LoadId, StreamName, shortened};

use super::loader::Loader;

/// What an earlier run left of a stream.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Loads whose extract is unfinished.
    pub(super) unfinished: Vec<LoadAddress>,
    /// Loads with a manifest that the ledger lacks, oldest first.
    pub(super) unloaded: Vec<(LoadAddress, Manifest)>,
    /// Loads whose manifest is damaged.
    pub(super) damaged: Vec<(LoadAddress, Error)>,
    /// The destination's newest load, whatever its state.
    pub(super) newest: Option<LoadId>,
}

/// The reason why a load that was landed and not loaded is not loaded later. `None` if it may be.
pub(super) fn expired(manifest: &Manifest) -> Option<&'static str> {
    match manifest.amends.as_ref()? {
        // A key may be there again by now, with an old cursor value that no later run reads.
        Amends::DeleteMissing => Some("what the source has no more is looked for anew"),
        Amends::Range(_) => {
            Some("the range may have other rows by now: read it again with --from and --to")
        }
        Amends::Repair if manifest.mode == Mode::Cdc => None,
        Amends::Repair => Some("what a verification found may be otherwise by now: verify again"),
    }
}

/// The reason why a landed load does not match the stream's configuration any more. `None` if it matches.
pub(super) fn outdated(manifest: &Manifest, stream: &Stream) -> Option<String> {
    let now = stream.fingerprint();
    if manifest
        .configuration
        .as_ref()
        .is_some_and(|then| *then != now)
    {
        return Some("the stream's configuration is another since".to_owned());
    }
    if let Some(reason) = expired(manifest) {
        return Some(reason.to_owned());
    }
    let key = stream.primary_key();
    let other = |what: &str| Some(format!("the stream's {what} is another since"));
    if manifest.table != stream.table {
        Some(format!(
            "it was landed for the table {}, and the stream's is {} now",
            shortened(&manifest.table),
            stream.table
        ))
    } else if manifest.mode != stream.mode() {
        other("mode")
    } else if manifest.disposition != stream.disposition() || manifest.changes != stream.changes() {
        other("disposition")
    } else if manifest.cursor.as_deref() != stream.table_cursor() {
        other("cursor")
    } else if key.is_some_and(|key| stream.renames.names(key) != manifest.primary_key) {
        other("primary_key")
    } else {
        None
    }
}

/// Finds what an earlier run left.
pub(super) async fn find(
    landing: &Landing,
    loader: &Loader,
    pipeline: &StreamName,
    stream: &StreamName,
) -> Result<Leftovers> {
    let mut landed = landing.loads(pipeline, stream).await?;
    landed.retain(|load_id| load_id.is_for(loader.id()));
    let (asked, of) = (landed.clone(), stream.clone());
    let unloaded = loader
        .call(move |destination| destination.unloaded(&of, &asked))
        .await?;
    let done = |load_id: &LoadId| !unloaded.contains(load_id);
    among(landing, landed, &done, pipeline, stream).await
}

/// Finds the loads of a destination that are not `done`.
pub(super) async fn look(
    landing: &Landing,
    destination: &DestinationId,
    done: &(dyn Fn(&LoadId) -> bool + Sync),
    pipeline: &StreamName,
    stream: &StreamName,
) -> Result<Leftovers> {
    let mut landed = landing.loads(pipeline, stream).await?;
    landed.retain(|load_id| load_id.is_for(destination));
    among(landing, landed, done, pipeline, stream).await
}

/// Reads the manifests of those of the loads that are not `done`.
async fn among(
    landing: &Landing,
    landed: Vec<LoadId>,
    done: &(dyn Fn(&LoadId) -> bool + Sync),
    pipeline: &StreamName,
    stream: &StreamName,
) -> Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    for load_id in landed {
        leftovers.newest = leftovers.newest.max(Some(load_id.clone()));
        if done(&load_id) {
            continue;
        }
        let address = LoadAddress {
            pipeline: pipeline.clone(),
            stream: stream.clone(),
            load_id,
        };
        match landing.manifest(&address).await {
            Ok(Some(manifest)) => leftovers.unloaded.push((address, manifest)),
            Ok(None) => leftovers.unfinished.push(address),
            Err(error @ Error::Damaged(_)) => leftovers.damaged.push((address, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(leftovers)
}

impl Leftovers {
    /// Removes and returns the next load to apply to a stream in that state: the load that follows the stream's position
    /// or, of the loads that begin anew, the newest, unless a newer load was applied.
    pub(super) fn take_next(
        &mut self,
        state: Option<&StreamState>,
    ) -> Option<(LoadAddress, Manifest)> {
        let position = state.and_then(|state| state.position.as_ref());
        let newest = self.unloaded.len().checked_sub(1);
        let place = self
            .unloaded
            .iter()
            .enumerate()
            .position(|(place, (address, manifest))| {
                if manifest.mode == Mode::Full || manifest.position_before.is_none() {
                    Some(place) == newest
                        && state.is_none_or(|state| state.load_id < address.load_id)
                } else {
                    manifest.follows(position)
                }
            })?;
        Some(self.unloaded.remove(place))
    }
}
