//! The removal of landed loads: after a run, by `[pipeline] retention`, or by `acequia landing prune`.
//!
//! A destination can be rebuilt from the loads that stay. Therefore each stream always keeps the loads that the destination
//! in use was built from, since the last load that rebuilt the table; the newest complete chain of loads; and all loads
//! that the destination does not have. If these cannot be determined with certainty, every load stays.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::landed_loads;
use super::loader::Loader;
use super::status::look_at_streams;
use crate::config::Pipeline;
use crate::error::Result;
use crate::landing::Landing;
use crate::landing::inventory::StoredLoad;
use crate::landing::lineage::Lineage;
use crate::names::{DestinationId, LoadId, StreamName};

#[cfg(test)]
mod tests;

/// The options of a removal.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// The minimum age of a load that is removed: the time since its extract ended.
    pub older_than: TimeDelta,
    /// Whether loads for other destinations are removed as well. It is not known here whether those destinations have them.
    pub all_destinations: bool,
    /// Whether loads are only listed, not removed.
    pub dry_run: bool,
    /// Whether every stream of the landing area is looked at, not only the pipeline's.
    pub every_stream: bool,
}

/// The loads that were removed, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct PruneReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination in use.
    pub destination: String,
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// The loads, by stream, oldest first.
    pub loads: Vec<PrunedLoad>,
    /// The size of all these loads, in bytes.
    pub bytes: u64,
}

/// A load that was removed, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedLoad {
    /// Its stream.
    pub stream: StreamName,
    /// Its id.
    pub load_id: LoadId,
    /// Its rows.
    pub rows: u64,
    /// The size of the load's files, in bytes.
    pub bytes: u64,
    /// When the load's extract ended.
    pub extracted_at: DateTime<Utc>,
}

/// Removes old loads that are not needed.
///
/// # Errors
/// The destination or the landing area cannot be read, or a load cannot be removed.
pub async fn prune(pipeline: &Pipeline, options: &PruneOptions) -> Result<PruneReport> {
    let landing = super::open_landing(pipeline)?;
    let streams = landed_loads::streams(pipeline, &landing, options.every_stream).await?;
    let view = look_at_streams(pipeline, streams.iter().cloned().collect()).await?;
    let mut loads = Vec::new();
    for stream in &streams {
        let landed_loads = landing.inventory(&pipeline.name, stream).await?;
        let ledger = Ledger {
            destination: view.id.as_ref(),
            stands_at: view.states.get(stream).map(|state| &state.load_id),
            loaded: &view.loaded,
        };
        let cutoff = ago(options.older_than);
        for holding in prunable(&landed_loads, &ledger, cutoff, options.all_destinations) {
            if !options.dry_run {
                landing.discard(&holding.address).await?;
            }
            loads.extend(pruned(holding));
        }
    }
    Ok(PruneReport {
        pipeline: pipeline.name.clone(),
        destination: pipeline.destination.name.clone(),
        dry_run: options.dry_run,
        bytes: loads.iter().map(|load| load.bytes).sum(),
        loads,
    })
}

/// Removes a stream's old loads that are not needed, at the end of a run.
pub(super) async fn after_run(
    pipeline: &StreamName,
    stream: &StreamName,
    landing: &Landing,
    loader: &Loader,
    retention: TimeDelta,
) -> Result<()> {
    let cutoff = ago(retention);
    let mut landed = landing.loads(pipeline, stream).await?;
    landed.retain(|load_id| load_id.is_for(loader.id()));
    let (asked, of) = (landed.clone(), stream.clone());
    let (unloaded, state) = loader
        .call(move |destination| {
            let state = destination.state(&of)?;
            Ok((destination.unloaded(&of, &asked)?, state))
        })
        .await?;
    landed.retain(|load_id| !unloaded.contains(load_id));
    let is_old = |load_id: &LoadId| load_id.began_at().is_some_and(|time| time < cutoff);
    // Listing the folders is cheap; the manifests of all loads are read only if one of them may be removed.
    if !landed.iter().any(is_old) {
        return Ok(());
    }
    let landed_loads = landing.inventory(pipeline, stream).await?;
    let stands_at = state.as_ref().map(|state| &state.load_id);
    let removable = |loaded: &HashSet<LoadId>| {
        let ledger = Ledger {
            destination: Some(loader.id()),
            stands_at,
            loaded,
        };
        prunable(&landed_loads, &ledger, cutoff, false)
    };
    if removable(&landed.into_iter().collect()).is_empty() {
        return Ok(());
    }
    // What is removed is gone: so the ledger itself is asked.
    let of = stream.clone();
    let done = loader
        .call(move |destination| destination.loaded(&of))
        .await?;
    for holding in removable(&done) {
        tracing::info!(load = %holding.load_id(), bytes = holding.bytes, "removing a load that is past its retention");
        landing.discard(&holding.address).await?;
    }
    Ok(())
}

/// The time that long ago, or the earliest time if that is out of range.
fn ago(time: TimeDelta) -> DateTime<Utc> {
    Utc::now()
        .checked_sub_signed(time)
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// What the destination in use knows of a stream.
struct Ledger<'a> {
    /// The destination's id. `None` before its first load.
    destination: Option<&'a DestinationId>,
    /// The stream's last load.
    stands_at: Option<&'a LoadId>,
    loaded: &'a HashSet<LoadId>,
}

impl Ledger<'_> {
    /// Whether a load was made for the destination in use.
    fn is_own(&self, load_id: &LoadId) -> bool {
        self.destination.is_some_and(|own| load_id.is_for(own))
    }
}

/// The loads of a stream whose extract ended before `cutoff` and which are not needed.
fn prunable<'a>(
    landed_loads: &'a [StoredLoad],
    ledger: &Ledger<'_>,
    cutoff: DateTime<Utc>,
    all_destinations: bool,
) -> Vec<&'a StoredLoad> {
    let Some(needed) = needed(landed_loads, ledger, all_destinations) else {
        return Vec::new();
    };
    landed_loads
        .iter()
        .filter(|holding| {
            let load_id = holding.load_id();
            let may_go = if ledger.is_own(load_id) {
                ledger.loaded.contains(load_id)
            } else {
                all_destinations
            };
            let is_old = holding
                .manifest()
                .is_some_and(|manifest| manifest.extracted_at < cutoff);
            may_go && is_old && !needed.contains(load_id)
        })
        .collect()
}

/// The loads that must stay. `None` if they cannot be determined, so that all must stay.
fn needed(
    landed_loads: &[StoredLoad],
    ledger: &Ledger<'_>,
    all_destinations: bool,
) -> Option<BTreeSet<LoadId>> {
    let lineage = Lineage::new(landed_loads);
    let mut needed = BTreeSet::new();
    if let Some(stands_at) = ledger.stands_at {
        let chain = lineage.chain(stands_at).ok()?;
        let first = chain.first()?.load_id();
        let since = landed_loads.iter().map(StoredLoad::load_id);
        // Each load with those that it was built on: `keep` stops at a load that is already kept.
        for load_id in since.filter(|load_id| *load_id >= first && ledger.is_own(load_id)) {
            lineage.keep(load_id, &mut needed);
        }
        needed.extend(chain.iter().map(|holding| holding.load_id().clone()));
    }
    let newest = lineage.newest()?;
    needed.extend(newest.iter().map(|holding| holding.load_id().clone()));
    if !all_destinations {
        // Another destination may have been built from this destination's loads, and continue from there.
        for holding in landed_loads {
            let load_id = holding.load_id();
            if !ledger.is_own(load_id) {
                lineage.keep(load_id, &mut needed);
            }
        }
    }
    Some(needed)
}

fn pruned(holding: &StoredLoad) -> Option<PrunedLoad> {
    let manifest = holding.manifest()?;
    Some(PrunedLoad {
        stream: manifest.stream.clone(),
        load_id: manifest.load_id.clone(),
        rows: manifest.rows,
        bytes: holding.bytes,
        extracted_at: manifest.extracted_at,
    })
}
