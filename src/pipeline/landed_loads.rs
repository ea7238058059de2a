//! The loads in the landing area, and which of them a destination has (`acequia landing list`). Nothing is changed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::recovery::{Leftovers, expired};
use super::status::{DestinationView, look_at_streams};
use crate::config::Pipeline;
use crate::error::Result;
use crate::landing::inventory::{LoadContent, StoredLoad};
use crate::landing::{Aside, Landing};
use crate::mode::{Amends, Disposition, Mode};
use crate::names::{DestinationId, LoadId, StreamName};

/// The loads in the landing area.
#[derive(Debug, Clone, Serialize)]
pub struct LandingReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The landing area's location.
    pub location: String,
    /// The destination in use.
    pub destination: String,
    /// The destination's id. `None` before its first load.
    pub destination_id: Option<DestinationId>,
    /// The loads, by stream, oldest first.
    pub loads: Vec<LandedLoad>,
    /// The size of all loads, in bytes.
    pub bytes: u64,
}

/// A load in the landing area.
#[derive(Debug, Clone, Serialize)]
pub struct LandedLoad {
    /// Its stream.
    pub stream: StreamName,
    /// Its id.
    pub load_id: LoadId,
    /// How the load was read. `None` without a manifest.
    pub mode: Option<Mode>,
    /// How the load is applied. `None` without a manifest.
    pub disposition: Option<Disposition>,
    /// What the load amends, if it is no extract of what is new.
    pub amends: Option<Amends>,
    /// The load's rows. `None` without a manifest.
    pub rows: Option<u64>,
    /// The size of the load's files, in bytes.
    pub bytes: u64,
    /// When the load's extract began.
    pub began_at: Option<DateTime<Utc>>,
    /// The id of the destination that the load was made for.
    pub destination_id: String,
    /// The load's state, as seen from the destination in use.
    pub state: LoadState,
    /// Why the load is damaged.
    pub fault: Option<String>,
}

/// The state of a load, as seen from the destination in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadState {
    /// The destination has the load.
    Loaded,
    /// The next run applies the load.
    Pending,
    /// The load was never applied, and does not follow the stream's position any more.
    SetAside,
    /// The load's extract has not ended, or never will.
    Unfinished,
    /// The load's files differ from its manifest.
    Damaged,
    /// The load was made for another destination, and this destination does not have it.
    Other,
}

/// Lists the landed loads of the pipeline's streams, or of every stream that the landing area has.
pub async fn list(pipeline: &Pipeline, every_stream: bool) -> Result<LandingReport> {
    let landing = super::open_landing(pipeline)?;
    let streams = streams(pipeline, &landing, every_stream).await?;
    let view = look_at_streams(pipeline, streams.iter().cloned().collect()).await?;
    let mut loads = Vec::new();
    for stream in &streams {
        let mut aside = Vec::new();
        for why in [Aside::Damaged, Aside::Refused] {
            aside.extend(landing.set_aside_loads(&pipeline.name, stream, why).await?);
        }
        let landed_loads = landing.inventory(&pipeline.name, stream).await?;
        let pending = pending(&landed_loads, &view, stream);
        let mut entries: Vec<LandedLoad> = aside
            .iter()
            .chain(&landed_loads)
            .map(|holding| entry(holding, &view, pending.as_ref()))
            .collect();
        entries.sort_by(|a, b| a.load_id.cmp(&b.load_id));
        loads.extend(entries);
    }
    Ok(LandingReport {
        pipeline: pipeline.name.clone(),
        location: landing.location().to_owned(),
        destination: pipeline.destination.name.clone(),
        destination_id: view.id,
        bytes: loads.iter().map(|load| load.bytes).sum(),
        loads,
    })
}

/// The pipeline's streams. If every stream was requested, also the streams that only the landing area has.
pub(super) async fn streams(
    pipeline: &Pipeline,
    landing: &Landing,
    every_stream: bool,
) -> Result<BTreeSet<StreamName>> {
    let configured = pipeline.streams.iter().map(|stream| stream.name.clone());
    let mut streams: BTreeSet<StreamName> = configured.collect();
    if every_stream {
        streams.extend(landing.streams(&pipeline.name).await?);
    }
    Ok(streams)
}

/// The load that the next run applies before its extract.
fn pending(
    landed_loads: &[StoredLoad],
    view: &DestinationView,
    stream: &StreamName,
) -> Option<LoadId> {
    let own = view.id.as_ref()?;
    let mut leftovers = Leftovers::default();
    for holding in landed_loads {
        let load_id = holding.load_id();
        if let (Some(manifest), true, false) = (
            holding.manifest(),
            load_id.is_for(own),
            view.loaded.contains(load_id),
        ) {
            let load = (holding.address.clone(), manifest.clone());
            leftovers.unloaded.push(load);
        }
    }
    let (address, manifest) = leftovers.take_next(view.states.get(stream))?;
    expired(&manifest).is_none().then_some(address.load_id)
}

fn entry(holding: &StoredLoad, view: &DestinationView, pending: Option<&LoadId>) -> LandedLoad {
    let load_id = holding.load_id();
    let manifest = holding.manifest();
    let own = view.id.as_ref().is_some_and(|own| load_id.is_for(own));
    let state = match &holding.content {
        LoadContent::Damaged { .. } => LoadState::Damaged,
        LoadContent::Unfinished => LoadState::Unfinished,
        LoadContent::Complete(_) if view.loaded.contains(load_id) => LoadState::Loaded,
        LoadContent::Complete(_) if !own => LoadState::Other,
        LoadContent::Complete(_) if pending == Some(load_id) => LoadState::Pending,
        LoadContent::Complete(_) => LoadState::SetAside,
    };
    LandedLoad {
        stream: holding.address.stream.clone(),
        load_id: load_id.clone(),
        mode: manifest.map(|manifest| manifest.mode),
        disposition: manifest.map(|manifest| manifest.disposition),
        amends: manifest.and_then(|manifest| manifest.amends.clone()),
        rows: manifest.map(|manifest| manifest.rows),
        bytes: holding.bytes,
        began_at: load_id.began_at(),
        destination_id: load_id.destination().to_owned(),
        state,
        fault: match &holding.content {
            LoadContent::Damaged { fault, .. } => Some(fault.clone()),
            LoadContent::Unfinished | LoadContent::Complete(_) => None,
        },
    }
}
