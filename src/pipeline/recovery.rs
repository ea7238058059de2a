//! What a run does first: it finishes what an earlier run left.
//!
//! Of this destination's loads in the landing area, those that the ledger has are done. A folder without a manifest is an
//! extract that was not finished, and goes. A manifest that the ledger lacks is applied if it follows on the ledger's
//! position; others stay where they are, and the report names them.

use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::manifest::{Manifest, Mode};
use crate::landing::{Landing, LoadAddress};
use crate::names::{DestinationId, LoadId, StreamName};

use super::loader::Loader;

/// What an earlier run left of a stream.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Loads whose extract was not finished.
    pub(super) unfinished: Vec<LoadAddress>,
    /// Loads with a manifest that the ledger lacks, oldest first.
    pub(super) unloaded: Vec<(LoadAddress, Manifest)>,
    /// Loads whose manifest is damaged.
    pub(super) damaged: Vec<(LoadAddress, Error)>,
}

/// Looks for what an earlier run left.
pub(super) async fn find(
    landing: &Landing,
    loader: &Loader,
    pipeline: &StreamName,
    stream: &StreamName,
) -> Result<Leftovers> {
    let asked = stream.clone();
    let done = loader
        .call(move |destination| destination.loaded(&asked))
        .await?;
    look(
        landing,
        loader.id(),
        &|load_id| done.contains(load_id),
        pipeline,
        stream,
    )
    .await
}

/// Looks for the loads of a destination that are not `done`.
pub(super) async fn look(
    landing: &Landing,
    destination: &DestinationId,
    done: &(dyn Fn(&LoadId) -> bool + Sync),
    pipeline: &StreamName,
    stream: &StreamName,
) -> Result<Leftovers> {
    let mut leftovers = Leftovers::default();
    for load_id in landing.loads(pipeline, stream).await? {
        if !load_id.is_for(destination) || done(&load_id) {
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
    /// Takes the load to apply next to a stream in that state: the one that follows on its position; of those that begin
    /// at the beginning the newest, if no newer one was applied.
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
