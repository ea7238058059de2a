//! How each stream stands: what the ledger says, and what waits in the landing area. Nothing is touched.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::recovery;
use crate::config::{self, Pipeline, Stream};
use crate::destination::{self, LedgerRow, StreamState};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::failures::Failure;
use crate::mode::{Disposition, Mode};
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::preflight;
pub use crate::source::postgres::replication::preflight::SlotStatus;

/// How a pipeline stands.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// Each stream.
    pub streams: Vec<StreamStatus>,
    /// Streams that are no longer in the configuration and have left something behind. Looked for only where every stream
    /// is asked for.
    pub left_behind: Vec<LeftStream>,
    /// The replication slots of the sources of streams of changes.
    pub slots: Vec<SlotStatus>,
}

/// What a stream left that is no longer in the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct LeftStream {
    /// The stream.
    pub stream: StreamName,
    /// Its last load, where the ledger has one: its table is there as well, unless it was dropped.
    pub load_id: Option<LoadId>,
    /// Its folder in the landing area, where it has one.
    pub folder: Option<String>,
}

impl StatusReport {
    /// Whether no stream's last run failed.
    pub fn is_ok(&self) -> bool {
        self.streams.iter().all(|stream| stream.failure.is_none())
    }
}

/// How a stream stands.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    /// The stream.
    pub stream: StreamName,
    /// How it is read.
    pub mode: Mode,
    /// Its last load; none before the first.
    pub load_id: Option<LoadId>,
    /// Rows that the last load extracted.
    pub rows_extracted: u64,
    /// Rows that it inserted.
    pub inserted: u64,
    /// Rows that it updated.
    pub updated: u64,
    /// Rows that it deleted.
    pub deleted: u64,
    /// When it was committed.
    pub loaded_at: Option<DateTime<Utc>>,
    /// The stream's position.
    pub position: Option<Position>,
    /// Landed loads that the next run applies.
    pub pending: Vec<String>,
    /// Landed loads that no longer follow on the position.
    pub set_aside: Vec<String>,
    /// How its last run failed, if it did.
    pub failure: Option<Failure>,
}

/// What a destination says of itself. Empty where there is none yet.
#[derive(Debug, Default)]
pub(super) struct DestinationView {
    pub(super) id: Option<DestinationId>,
    pub(super) states: BTreeMap<StreamName, StreamState>,
    last_loads: Vec<LedgerRow>,
    pub(super) loaded: HashSet<LoadId>,
}

impl DestinationView {
    /// Refuses, before anything is read, what a load would be refused for: a table that keeps versions of rows for a stream
    /// that wants none, and the other way round.
    pub(super) fn refuse_other_versions(&self, stream: &Stream) -> Result<()> {
        let last = self.last_loads.iter().find(|row| row.stream == stream.name);
        let Some(last) = last.filter(|_| stream.disposition != Disposition::Replace) else {
            return Ok(());
        };
        let versions = Disposition::Scd2.to_string();
        if (last.disposition == versions) == (stream.disposition == Disposition::Scd2) {
            return Ok(());
        }
        Err(Error::destination(format!(
            "table {} was loaded with the disposition {}, and the stream's is now {}",
            stream.table, last.disposition, stream.disposition
        ))
        .remedy("make the table anew: `acequia run STREAM --full-refresh`"))
    }
}

/// Looks at the destination without changing or making it.
pub(super) async fn look_at_destination(pipeline: &Pipeline) -> Result<DestinationView> {
    let streams = pipeline.streams.iter().map(|s| s.name.clone()).collect();
    look_at_streams(pipeline, streams).await
}

/// Looks at the destination for the loads of these streams, without changing or making it.
pub(super) async fn look_at_streams(
    pipeline: &Pipeline,
    streams: Vec<StreamName>,
) -> Result<DestinationView> {
    let destination = pipeline.destination.clone();
    let dataset = pipeline.dataset.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let Some(mut destination) = destination::open_read_only(&destination, &dataset)? else {
            return Ok(DestinationView::default());
        };
        let mut loaded = HashSet::new();
        for stream in &streams {
            loaded.extend(destination.loaded(stream)?);
        }
        Ok(DestinationView {
            id: Some(destination.id().clone()),
            states: destination.states()?,
            last_loads: destination.last_loads()?,
            loaded,
        })
    });
    looked
        .await
        .map_err(|error| Error::internal("the destination's thread ended").cause(error))?
}

/// How each stream of the pipeline stands. `every_stream` tells that these are all that the configuration has.
pub async fn status(pipeline: &Pipeline, every_stream: bool) -> Result<StatusReport> {
    let view = look_at_destination(pipeline).await?;
    let landing = super::open_landing(pipeline)?;
    let mut failures = landing
        .failures(&pipeline.name, &pipeline.destination.name)
        .await?;
    let mut streams = Vec::with_capacity(pipeline.streams.len());
    for stream in &pipeline.streams {
        let state = view.states.get(&stream.name);
        let last = view.last_loads.iter().find(|row| row.stream == stream.name);
        let mut status = StreamStatus {
            stream: stream.name.clone(),
            mode: stream.mode,
            load_id: last.map(|row| row.load_id.clone()),
            rows_extracted: last.map_or(0, |row| row.rows_extracted),
            inserted: last.map_or(0, |row| row.inserted),
            updated: last.map_or(0, |row| row.updated),
            deleted: last.map_or(0, |row| row.deleted),
            loaded_at: last.map(|row| row.loaded_at),
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
                    // The next run moves it out of the way.
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
        streams,
        slots: Vec::new(),
    })
}

/// The streams that the ledger or the landing area has, and the configuration has not.
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

/// How the replication slots stand of a pipeline whose sources are known.
pub async fn slots(pipeline: &Pipeline) -> Vec<SlotStatus> {
    let mut slots = Vec::new();
    for (name, source) in &pipeline.sources {
        let config::Source::Postgres {
            url,
            replication,
            reader,
        } = source
        else {
            continue;
        };
        if replication.streams.is_empty() {
            continue;
        }
        if let Ok(source) = Postgres::new(url, replication, *reader) {
            let (server, names) = source.replication();
            slots.push(preflight::slot_status(server, names, name).await);
        }
    }
    slots
}
