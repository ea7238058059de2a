//! What a run does first: it finishes what an earlier run left.
//!
//! Of this destination's loads in the landing area, those that the ledger has are done. A folder without a manifest is an
//! extract that was not finished, and goes. A manifest that the ledger lacks is applied if it follows on the ledger's
//! position; others stay where they are, and the report names them.
//!
//! What is pending never stands in a stream's way: where the configuration is another since, everything is to be read anew,
//! or the destination refuses the load, it is set aside, and its rows are read from the source again, where they still are.

use crate::config::Stream;
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::landing::{Landing, LoadAddress};
use crate::mode::Mode;
use crate::names::{DestinationId, LoadId, StreamName, shortened};

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
    /// The newest load of the destination, whatever became of it.
    pub(super) newest: Option<LoadId>,
}

/// Why a load that was landed is not what the stream is to load now; none where it is.
pub(super) fn outdated(manifest: &Manifest, stream: &Stream) -> Option<String> {
    let now = stream.fingerprint();
    if manifest
        .configuration
        .as_ref()
        .is_some_and(|then| *then != now)
    {
        return Some("the stream's configuration is another since".to_owned());
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
    } else if manifest.cursor.as_deref() != stream.cursor() {
        other("cursor")
    } else if key.is_some_and(|key| *key != manifest.primary_key) {
        other("primary_key")
    } else {
        None
    }
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
        if !load_id.is_for(destination) {
            continue;
        }
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
