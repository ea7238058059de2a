//! The status of each stream: what the ledger says, and what the landing area holds. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::notices::Notices;
use super::reading::reading;
use super::recovery;
use super::runs::{note_synced, synced, waiting};
use crate::config::{self, Pipeline, Stream};
use crate::destination::{Destination, LedgerRow, StreamState};
use crate::error::{Error, Result};
use crate::landing::failures::Failure;
use crate::landing::{Landing, LoadAddress};
use crate::mode::{Disposition, Mode};
use crate::names::{DestinationId, LoadId, StreamName};
use crate::notify::NoticeReport;
use crate::position::Position;
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::preflight;
pub use crate::source::postgres::replication::preflight::SlotStatus;

/// The status of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// The destination's kind, as in the configuration.
    pub kind: &'static str,
    /// The schema or namespace of the destination that the tables are in.
    pub dataset: String,
    /// The destination's file, if it is one.
    pub path: Option<PathBuf>,
    /// The status of each stream.
    pub streams: Vec<StreamStatus>,
    /// Streams that are no longer in the configuration and have left something behind. Empty unless every stream was
    /// requested.
    pub left_behind: Vec<LeftStream>,
    /// The replication slots of the sources of streams of changes.
    pub slots: Vec<SlotStatus>,
    /// How old streams may be, in seconds, if that was asked.
    pub max_age_seconds: Option<i64>,
    /// What became of the notices that were due.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeReport>,
}

/// What a stream has left behind that is no longer in the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct LeftStream {
    /// The stream.
    pub stream: StreamName,
    /// The stream's last load, if the ledger has one. Its table exists as well, unless people dropped it.
    pub load_id: Option<LoadId>,
    /// The stream's folder in the landing area, if it exists.
    pub folder: Option<String>,
}

impl StatusReport {
    /// Whether no stream's last run failed, and none is older than it may be.
    pub fn is_ok(&self) -> bool {
        let is_well =
            |stream: &StreamStatus| stream.failure.is_none() && stream.stale != Some(true);
        self.streams.iter().all(is_well)
    }

    /// Notes which streams are older than they may be, and tells of them, and of those that are no longer, where the
    /// configuration says so.
    pub async fn check_ages(&mut self, pipeline: &Pipeline, allowed: TimeDelta) {
        let now = Utc::now();
        self.max_age_seconds = Some(allowed.num_seconds());
        for stream in &mut self.streams {
            let is_old = |synced: DateTime<Utc>| now - synced > allowed;
            stream.stale = Some(stream.synced_at.is_none_or(is_old));
        }
        let landing = super::open_landing(pipeline).ok();
        if let Some(notices) = Notices::of(pipeline, landing.as_ref(), None) {
            let streams = self.streams.iter();
            let ages = streams.map(|stream| (stream.stream.clone(), stream.synced_at));
            self.notices = notices.settle_ages(&ages.collect(), allowed).await;
        }
    }
}

/// The status of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    /// The stream.
    pub stream: StreamName,
    /// How the stream is read.
    pub mode: Mode,
    /// The last load. `None` before the first.
    pub load_id: Option<LoadId>,
    /// Rows that the last load extracted.
    pub rows_extracted: u64,
    /// Rows that the last load inserted.
    pub inserted: u64,
    /// Rows that the last load updated.
    pub updated: u64,
    /// Rows that the last load deleted.
    pub deleted: u64,
    /// When the last load was committed.
    pub loaded_at: Option<DateTime<Utc>>,
    /// When the stream was last brought up to date, by a run that succeeded, whether it loaded anything or not; of one that is
    /// followed, when it was last seen to be.
    pub synced_at: Option<DateTime<Utc>>,
    /// Whether the stream is older than it may be. `None` if that was not asked.
    pub stale: Option<bool>,
    /// The stream's position.
    pub position: Option<Position>,
    /// Landed loads that the next run applies.
    pub pending: Vec<String>,
    /// Landed loads that do not follow the stream's position.
    pub set_aside: Vec<String>,
    /// The failure of the stream's last run, if it failed.
    pub failure: Option<Failure>,
}

/// The contents of a destination's ledger. Empty if there is no ledger yet.
#[derive(Debug, Default)]
pub(super) struct DestinationView {
    pub(super) id: Option<DestinationId>,
    pub(super) states: BTreeMap<StreamName, StreamState>,
    pub(super) last_loads: Vec<LedgerRow>,
    pub(super) loaded: HashSet<LoadId>,
}

impl DestinationView {
    /// Refuses what a load would be refused for, before anything is read: a table that keeps versions of rows, for a stream
    /// that wants none, or the other way round.
    pub(super) fn refuse_other_versions(&self, stream: &Stream) -> Result<()> {
        let last = self.last_loads.iter().find(|row| row.stream == stream.name);
        let disposition = stream.disposition();
        let Some(last) = last.filter(|_| disposition != Disposition::Replace) else {
            return Ok(());
        };
        let versions = Disposition::Scd2.to_string();
        if (last.disposition == versions) == (disposition == Disposition::Scd2) {
            return Ok(());
        }
        Err(Error::destination(format!(
            "table {} was loaded with the disposition {}, and the stream's is now {disposition}",
            stream.table, last.disposition
        ))
        .remedy("make the table anew: `acequia run STREAM --full-refresh`"))
    }
}

/// Reads the destination's ledger, without changing or creating anything.
pub(super) async fn look_at_destination(pipeline: &Pipeline) -> Result<DestinationView> {
    let streams = pipeline.streams.iter().map(|s| s.name.clone()).collect();
    look_at_streams(pipeline, streams).await
}

/// Reads the destination's ledger for the loads of these streams, without changing or creating anything.
pub(super) async fn look_at_streams(
    pipeline: &Pipeline,
    streams: Vec<StreamName>,
) -> Result<DestinationView> {
    let looked = reading(pipeline, move |destination| view(destination, &streams));
    Ok(looked.await?.unwrap_or_default())
}

fn view<'a>(
    destination: &mut dyn Destination,
    streams: impl IntoIterator<Item = &'a StreamName>,
) -> Result<DestinationView> {
    let mut loaded = HashSet::new();
    for stream in streams {
        loaded.extend(destination.loaded(stream)?);
    }
    Ok(DestinationView {
        id: Some(destination.id().clone()),
        states: destination.states()?,
        last_loads: destination.last_loads()?,
        loaded,
    })
}

/// The status of each stream of the pipeline. `every_stream` says that these are all streams of the configuration.
pub async fn status(pipeline: &Pipeline, every_stream: bool) -> Result<StatusReport> {
    let names: BTreeSet<StreamName> = pipeline.streams.iter().map(|s| s.name.clone()).collect();
    let looked = reading(pipeline, move |destination| {
        let view = view(destination, &names)?;
        Ok((view, synced(destination, &names)?))
    });
    let (view, mut synced) = looked.await?.unwrap_or_default();
    let landing = super::open_landing(pipeline)?;
    for run in waiting(pipeline, &landing).await? {
        note_synced(&mut synced, &run);
    }
    let mut failures = landing
        .failures(&pipeline.name, &pipeline.destination.name)
        .await?;
    let mut streams = Vec::with_capacity(pipeline.streams.len());
    for stream in &pipeline.streams {
        let state = view.states.get(&stream.name);
        let last = view.last_loads.iter().find(|row| row.stream == stream.name);
        let mut status = StreamStatus {
            stream: stream.name.clone(),
            mode: stream.mode(),
            load_id: last.map(|row| row.load_id.clone()),
            rows_extracted: last.map_or(0, |row| row.rows_extracted),
            inserted: last.map_or(0, |row| row.inserted),
            updated: last.map_or(0, |row| row.updated),
            deleted: last.map_or(0, |row| row.deleted),
            loaded_at: last.map(|row| row.loaded_at),
            synced_at: synced_at(&landing, pipeline, synced.get(&stream.name), last).await,
            stale: None,
            position: state.and_then(|state| state.position.as_ref().map(Position::brief)),
            pending: Vec::new(),
            set_aside: Vec::new(),
            failure: failures.remove(&stream.name),
        };
        if let Some(id) = &view.id {
            let done = |load_id: &LoadId| view.loaded.contains(load_id);
            let mut left =
                recovery::look(&landing, id, &done, &pipeline.name, &stream.name).await?;
            if let Some((address, manifest)) = left.take_next(state) {
                let place = landing.describe(&address);
                match recovery::outdated(&manifest, stream) {
                    None => status.pending.push(place),
                    // The next run sets the load aside.
                    Some(_) => left.unloaded.push((address, manifest)),
                }
            }
            let aside = left.unloaded.iter().map(|(address, _)| address);
            let damaged = left.damaged.iter().map(|(address, _)| address);
            status.set_aside = aside
                .chain(damaged)
                .map(|address| landing.describe(address))
                .collect();
        }
        streams.push(status);
    }
    let left_behind = if every_stream {
        left_behind(pipeline, &landing, &view).await?
    } else {
        Vec::new()
    };
    Ok(StatusReport {
        left_behind,
        pipeline: pipeline.name.clone(),
        destination: pipeline.destination.name.clone(),
        kind: pipeline.destination.target.kind(),
        dataset: pipeline.dataset.clone(),
        path: pipeline.destination.target.file().map(Path::to_owned),
        streams,
        slots: Vec::new(),
        max_age_seconds: None,
        notices: Vec::new(),
    })
}

/// When a stream was last brought up to date: by a run that is kept, or by its last load, unless that only amends its table.
async fn synced_at(
    landing: &Landing,
    pipeline: &Pipeline,
    synced: Option<&DateTime<Utc>>,
    last: Option<&LedgerRow>,
) -> Option<DateTime<Utc>> {
    let loaded = last.filter(|row| synced.is_none_or(|synced| row.loaded_at > *synced));
    let Some(row) = loaded else {
        return synced.copied();
    };
    // Of a table that was replayed no run is known.
    let Some(synced) = synced else {
        return Some(row.loaded_at);
    };
    let address = LoadAddress {
        pipeline: pipeline.name.clone(),
        stream: row.stream.clone(),
        load_id: row.load_id.clone(),
    };
    match landing.manifest(&address).await {
        Ok(Some(manifest)) if manifest.amends.is_some() => Some(*synced),
        _ => Some(row.loaded_at),
    }
}

/// The streams that the ledger or the landing area has, but not the configuration.
async fn left_behind(
    pipeline: &Pipeline,
    landing: &Landing,
    view: &DestinationView,
) -> Result<Vec<LeftStream>> {
    let folders: BTreeSet<StreamName> =
        landing.streams(&pipeline.name).await?.into_iter().collect();
    let mut names: BTreeSet<&StreamName> = folders.iter().chain(view.states.keys()).collect();
    for stream in &pipeline.streams {
        names.remove(&stream.name);
    }
    let left = |name: &StreamName| LeftStream {
        stream: name.clone(),
        load_id: view.states.get(name).map(|state| state.load_id.clone()),
        folder: folders
            .contains(name)
            .then(|| format!("{}/{}/{name}", landing.location(), pipeline.name)),
    };
    Ok(names.into_iter().map(left).collect())
}

/// The status of the replication slots of a pipeline that was resolved with its sources.
pub async fn slots(pipeline: &Pipeline) -> Vec<SlotStatus> {
    let mut slots = Vec::new();
    for (name, source) in pipeline.sources() {
        let Ok(config::Source::Postgres(source)) = source else {
            continue;
        };
        if source.replication.streams.is_empty() {
            continue;
        }
        if let Ok(source) = Postgres::new(&source) {
            let (server, names) = source.replication();
            slots.push(preflight::slot_status(server, names, name).await);
        }
    }
    slots
}
