//! What may leave the landing area: after a run, by `[pipeline] retention`, or by `acequia landing prune`.
//!
//! A destination can be built anew from what stays. So of each stream there always stay the loads that the destination in
//! use was built from, since its last load that made the table anew; the newest chain that is complete; and whatever the
//! destination has not loaded. Where these cannot be told for certain, everything stays.

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

/// What is to go.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How old a load must be: the time since its extract ended.
    pub older_than: TimeDelta,
    /// Whether loads that were made for other destinations go as well. Whether those have loaded them is not known here.
    pub all_destinations: bool,
    /// Whether to tell only what would go.
    pub dry_run: bool,
    /// Whether to look at every stream that the landing area has, not only at those of the pipeline.
    pub every_stream: bool,
}

/// What went, or would go.
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
    /// Bytes of all of them.
    pub bytes: u64,
}

/// A load that went, or would go.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedLoad {
    /// Its stream.
    pub stream: StreamName,
    /// Its id.
    pub load_id: LoadId,
    /// Its rows.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// When its extract ended.
    pub extracted_at: DateTime<Utc>,
}

/// Removes what is old and not needed.
///
/// # Errors
/// Where the destination or the landing area cannot be looked at, or a load cannot be removed.
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

/// Removes what is old and not needed of one stream, at the end of a run.
pub(super) async fn after_run(
    pipeline: &StreamName,
    stream: &StreamName,
    landing: &Landing,
    loader: &Loader,
    retention: TimeDelta,
) -> Result<()> {
    let asked = stream.clone();
    let (done, state) = loader
        .call(move |destination| {
            let state = destination.states()?.remove(&asked);
            Ok((destination.loaded(&asked)?, state))
        })
        .await?;
    let cutoff = ago(retention);
    let may_be_old = |load_id: &LoadId| {
        done.contains(load_id) && load_id.began_at().is_some_and(|time| time < cutoff)
    };
    // To list folders is little; the manifests of all loads are read only where one of them may go.
    let folders = landing.loads(pipeline, stream).await?;
    if !folders.iter().any(may_be_old) {
        return Ok(());
    }
    let landed_loads = landing.inventory(pipeline, stream).await?;
    let ledger = Ledger {
        destination: Some(loader.id()),
        stands_at: state.as_ref().map(|state| &state.load_id),
        loaded: &done,
    };
    for holding in prunable(&landed_loads, &ledger, cutoff, false) {
        tracing::info!(load = %holding.load_id(), bytes = holding.bytes, "removing a load that is past its retention");
        landing.discard(&holding.address).await?;
    }
    Ok(())
}

/// So long before now; the first moment that there is where that lies before it.
fn ago(time: TimeDelta) -> DateTime<Utc> {
    Utc::now()
        .checked_sub_signed(time)
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// What the destination in use says of a stream.
struct Ledger<'a> {
    /// Its id; none before its first load.
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

/// The loads of a stream that were extracted before `cutoff` and are not needed.
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

/// The loads that must stay; none where that cannot be told, and all must.
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
        // Each with what it was built on: `keep` goes back no further than to a load that is kept already.
        for load_id in since.filter(|load_id| *load_id >= first && ledger.is_own(load_id)) {
            lineage.keep(load_id, &mut needed);
        }
        needed.extend(chain.iter().map(|holding| holding.load_id().clone()));
    }
    let newest = lineage.newest()?;
    needed.extend(newest.iter().map(|holding| holding.load_id().clone()));
    if !all_destinations {
        // Another destination may have been built from loads of this one, and goes on from there.
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
