//! The path that every row takes: recover, open, extract, land, publish, load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::contained::contained;
use super::load_step::LoadStep;
use super::loader::{Hold, Loader};
use super::report::{Status, StreamReport};
use super::wait::{GRACE, given_up_after_a_stop, unless_stopped};
use super::{name_stream, named, recovery};
use crate::config::{Pipeline, Stream};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::evolution::{
    SchemaContract, assign_field_ids, differences, preview, with_misfits, without_unused,
};
use crate::landing::manifest::{FORMAT_VERSION, Manifest, Part};
use crate::landing::writer::LoadWriter;
use crate::landing::{Aside, Landing, LoadAddress};
use crate::mode::{Disposition, Mode};
use crate::names::LoadId;
use crate::position::Position;
use crate::progress::{Counters, Phase};
use crate::schema::Schema;
use crate::source::{Extract, ExtractEnd, OpenStream, Source};

/// How often a read is begun that has to give way to somebody who alters the table.
pub(super) const ATTEMPTS: u32 = 3;

/// Whether a read was given up for somebody who alters the table, so that it may succeed once that is done.
pub(super) fn gave_way(error: &Error) -> bool {
    matches!(error, Error::Source(_)) && error.ends_when_released()
}

/// One stream of a run.
pub(super) struct StreamRun {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) stream: Stream,
    pub(super) landing: Landing,
    pub(super) loader: Loader,
    pub(super) state: Option<StreamState>,
    /// The newest load in the landing area.
    pub(super) newest: Option<LoadId>,
    pub(super) full_refresh: bool,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
}

/// What is known of an extract before its rows come.
#[derive(Debug)]
pub(super) struct Expected {
    /// Where it begins.
    pub(super) from: Option<Position>,
    /// Its columns; none where only its end tells them.
    pub(super) schema: Option<Schema>,
    /// Those beside others, for values that are not of their type.
    pub(super) misfits: BTreeMap<String, String>,
    pub(super) primary_key: Vec<String>,
    /// Whether the source guarantees that no key comes twice.
    pub(super) key_is_unique: bool,
}

/// What an extract came to.
#[derive(Debug)]
pub(super) enum Landed {
    /// There is something to load.
    Load(Box<ReadyLoad>),
    /// There is nothing to load. Where the stream stands since, if it has a position.
    Nothing(Option<Box<Position>>),
    /// What came is of no use: the stream needs a new snapshot.
    Resnapshot {
        /// Why, as the end of a sentence.
        reason: String,
    },
}

/// A load whose parts are landed. Its manifest makes it one, once it is published.
#[derive(Debug)]
pub(super) struct ReadyLoad {
    address: LoadAddress,
    manifest: Manifest,
    _hold: Hold,
}

impl StreamRun {
    /// Takes the stream along the path, and says how that went.
    pub(super) async fn run(mut self) -> StreamReport {
        let began = Instant::now();
        let mut report = self.begin();
        let ended = if self.stop.is_cancelled() {
            Err(Error::Interrupted)
        } else {
            self.counters.enter(Phase::Extracting);
            let stop = self.stop.clone();
            given_up_after_a_stop(&stop, GRACE, Box::pin(contained(self.sync(&mut report)))).await
        };
        self.end(report, began, ended)
    }

    /// A report that nothing has happened.
    pub(super) fn begin(&self) -> StreamReport {
        let mut report = StreamReport::skipped(&self.stream.name, self.stream.mode);
        report.position_before = self.position().map(Position::brief);
        report
    }

    /// The report of how it ended.
    pub(super) fn end(
        &self,
        mut report: StreamReport,
        began: Instant,
        ended: Result<()>,
    ) -> StreamReport {
        report.position_after = self.position().map(Position::brief);
        for warning in &mut report.warnings {
            *warning = named(warning, &self.stream);
        }
        report.seconds = began.elapsed().as_secs_f64();
        match ended {
            Ok(()) => {
                report.status = Status::Ok;
                self.counters.enter(Phase::Done);
            }
            Err(error) => {
                let error = if self.stop.is_cancelled() {
                    Error::Interrupted
                } else {
                    name_stream(error, &self.stream).context(format!("stream {}", self.stream.name))
                };
                report.fail(&error);
                self.counters.enter(Phase::Failed);
            }
        }
        report
    }

    async fn sync(&mut self, report: &mut StreamReport) -> Result<()> {
        self.recover(report).await?;
        for _ in 1..ATTEMPTS {
            match self.carry(report).await {
                Err(error) if gave_way(&error) && !self.stop.is_cancelled() => {
                    tracing::warn!("stream {} is read anew: {error}", self.stream.name);
                }
                carried => return carried,
            }
        }
        self.carry(report).await
    }

    /// Opens, extracts, lands and loads it.
    async fn carry(&mut self, report: &mut StreamReport) -> Result<()> {
        let source = Source::of(&self.pipeline, &self.stream)?;
        let what = format!(
            "the source `{}` to answer for stream {} (it may be busy, or what is to be read is locked by another)",
            self.stream.source, self.stream.name
        );
        let opened = unless_stopped(&self.stop, what, source.open(&self.stream)).await?;
        self.load_opened(opened, report).await
    }

    /// Extracts what is open, lands and loads it.
    pub(super) async fn load_opened(
        &mut self,
        opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<()> {
        match self.extract(opened, report).await? {
            Landed::Resnapshot { reason } => Err(Error::source(format!(
                "what was read is of no use, as {reason}"
            ))
            .remedy("run again")),
            landed => self.apply(landed, report).await,
        }
    }

    /// Publishes and loads what was landed; where there was nothing to load, the position alone is taken on.
    pub(super) async fn apply(&mut self, landed: Landed, report: &mut StreamReport) -> Result<()> {
        match landed {
            Landed::Load(load) => {
                let ReadyLoad {
                    address,
                    manifest,
                    _hold,
                } = *load;
                fail::fail_point!("landing.before_manifest", crate::failpoint::abort);
                self.landing.publish(&address, &manifest).await?;
                fail::fail_point!("landing.after_manifest", crate::failpoint::abort);
                self.load(&address, manifest, report).await
            }
            Landed::Nothing(after) => match (self.position().cloned(), after) {
                (Some(before), Some(after)) if after.is_news_after(&before) => {
                    self.advance(before, *after).await
                }
                _ => Ok(()),
            },
            Landed::Resnapshot { .. } => Err(Error::internal("what is of no use was to be loaded")),
        }
    }

    async fn advance(&mut self, before: Position, after: Position) -> Result<()> {
        let name = self.stream.name.clone();
        self.state = self
            .loader
            .call(move |destination| {
                destination.advance(&name, &before, &after)?;
                Ok(destination.states()?.remove(&name))
            })
            .await?;
        Ok(())
    }

    fn address(&self) -> LoadAddress {
        LoadAddress {
            pipeline: self.pipeline.name.clone(),
            stream: self.stream.name.clone(),
            load_id: LoadId::after(
                self.newest
                    .as_ref()
                    .max(self.state.as_ref().map(|state| &state.load_id)),
                self.loader.id(),
            ),
        }
    }

    /// Lands an extract, whatever the mode. Where that fails, nothing stays.
    pub(super) async fn land(
        &mut self,
        extract: Extract,
        expected: Expected,
        stop: &CancellationToken,
        report: &mut StreamReport,
    ) -> Result<Landed> {
        self.counters.enter(Phase::Extracting);
        let address = self.address();
        let (parts, hold, end) = match self.land_lanes(extract, &address, stop).await {
            Ok(landed) => landed,
            Err(error) => {
                self.discard(&address).await;
                return Err(error);
            }
        };
        let complete = match end {
            ExtractEnd::Complete(complete) => complete,
            ExtractEnd::Resnapshot { reason } => {
                self.landing.discard(&address).await?;
                return Ok(Landed::Resnapshot { reason });
            }
        };
        let name = self.stream.name.as_str();
        let warnings = complete.warnings.iter();
        report
            .warnings
            .extend(warnings.map(|warning| warning.replace("STREAM", name)));
        let Some(schema) = complete.schema.or(expected.schema) else {
            return Ok(Landed::Nothing(complete.position.map(Box::new)));
        };
        let known = self.state.as_ref().map(|state| &state.schema);
        let schema = without_unused(
            known.filter(|_| !self.full_refresh),
            schema,
            &expected.misfits,
            &complete.used,
        );
        let mut manifest = self.manifest(&address, schema, expected.from, parts);
        manifest.primary_key = expected.primary_key;
        manifest.key_is_unique = expected.key_is_unique;
        manifest.marks = complete.marks;
        manifest.position_after = complete.position;
        if manifest.is_idle() && !complete.reshaped {
            return Ok(Landed::Nothing(manifest.position_after.map(Box::new)));
        }
        report.rows_extracted += manifest.rows;
        report.bytes_landed += manifest.bytes;
        let hold = match hold {
            Some(hold) => hold,
            None => self.loader.hold().await?,
        };
        Ok(Landed::Load(Box::new(ReadyLoad {
            address,
            manifest,
            _hold: hold,
        })))
    }

    /// Lands the lanes of an extract at once, and waits for its end. The first failure stops them all.
    ///
    /// From its first batch on the destination is held: until the rows are loaded, what is landed of them is for no other run
    /// to find. An extract that has none holds up nobody.
    async fn land_lanes(
        &self,
        extract: Extract,
        address: &LoadAddress,
        stop: &CancellationToken,
    ) -> Result<(Vec<Part>, Option<Hold>, ExtractEnd)> {
        let writer = LoadWriter::new(
            &self.landing,
            address,
            self.pipeline.part_size,
            &self.counters,
        );
        let mut lanes = JoinSet::new();
        for mut batches in extract.lanes {
            let (writer, loader) = (writer.clone(), self.loader.clone());
            lanes.spawn(async move {
                let Some(first) = batches.recv().await else {
                    return Ok(None);
                };
                let hold = loader.hold().await?;
                let landing = tokio::task::spawn_blocking(move || writer.land(first, batches));
                let parts = landing.await.map_err(|error| {
                    Error::internal("a landing thread ended unexpectedly").cause(error)
                })??;
                Ok(Some((parts, hold)))
            });
        }
        let landing = async {
            let mut landed = (Vec::new(), None);
            let mut failure = None;
            while let Some(lane) = lanes.join_next().await {
                let lane = lane.unwrap_or_else(|error| {
                    Err(Error::internal("a lane ended unexpectedly").cause(error))
                });
                match lane {
                    Ok(Some((parts, hold))) => {
                        landed.0.extend(parts);
                        landed.1.get_or_insert(hold);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        stop.cancel();
                        failure.get_or_insert(error);
                    }
                }
            }
            failure.map_or(Ok(landed), Err)
        };
        // Where landing fails, the source only finds that nobody takes its batches.
        let (landed, end) = tokio::join!(landing, extract.end);
        let (mut parts, hold) = landed?;
        parts.sort_by(|a: &Part, b| a.path.cmp(&b.path));
        Ok((parts, hold, end?))
    }

    /// Removes what was landed of an extract that failed.
    async fn discard(&self, address: &LoadAddress) {
        if let Err(left) = self.landing.discard(address).await {
            tracing::debug!(%left, "an unfinished extract stays for the next run to remove");
        }
    }

    /// Finishes what an earlier run left of the stream.
    pub(super) async fn recover(&mut self, report: &mut StreamReport) -> Result<()> {
        let name = &self.stream.name;
        let mut leftovers =
            recovery::find(&self.landing, &self.loader, &self.pipeline.name, name).await?;
        self.newest = leftovers.newest.take();
        for address in &leftovers.unfinished {
            tracing::info!(load = %address.load_id, "removing an extract that was not finished");
            self.landing.discard(address).await?;
        }
        let mut damaged = None;
        for (address, error) in std::mem::take(&mut leftovers.damaged) {
            damaged = Some(self.set_damaged_aside(&address, error).await);
        }
        if let Some(error) = damaged {
            return Err(error);
        }
        while let Some((address, manifest)) = leftovers.take_next(self.state.as_ref()) {
            let outdated = if self.full_refresh {
                Some("everything is read anew (--full-refresh)".to_owned())
            } else {
                recovery::outdated(&manifest, &self.stream)
            };
            if let Some(reason) = outdated {
                self.set_refused_aside(&address, &reason, report).await?;
                continue;
            }
            tracing::info!(load = %address.load_id, "loading what an earlier run landed");
            match self.load(&address, manifest, report).await {
                Err(error) if error.refuses_load() && !self.stop.is_cancelled() => {
                    let error = name_stream(error, &self.stream).report();
                    let reason = format!("the destination refuses it: {error}");
                    self.set_refused_aside(&address, &reason, report).await?;
                }
                loaded => loaded?,
            }
        }
        for (address, _) in leftovers.unloaded {
            report.warnings.push(format!(
                "load {} was never loaded and no longer follows on the stream's position: it is set aside at {}; remove \
                 the folder when you do not need it",
                address.load_id,
                self.landing.describe(&address)
            ));
        }
        Ok(())
    }

    /// Reads the stream from its position on and lands it.
    async fn extract(
        &mut self,
        mut opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<Landed> {
        let before = self.start_position()?.cloned();
        let known = self.state.as_ref().map(|state| state.schema.clone());
        let follows = before.is_some() || self.stream.disposition == Disposition::Replace;
        if let Some(known) = known.as_ref().filter(|_| {
            follows && !self.full_refresh && self.stream.contract != SchemaContract::Freeze
        }) {
            opened.keep_types(known);
        }
        let description = opened.description().clone();
        let misfits = &description.misfits;
        let schema = assign_field_ids(known.as_ref(), description.columns.clone());
        let schema = with_misfits(known.as_ref(), &schema, misfits);
        // A stream that starts afresh keeps nothing of its table's schema.
        let afresh = before.is_none() && self.stream.disposition != Disposition::Replace;
        let checked = !afresh || self.stream.contract == SchemaContract::Freeze;
        if let Some(known) = known.as_ref().filter(|_| !self.full_refresh && checked) {
            match preview(known, &schema, misfits) {
                Ok(steps) => self.stream.contract.check(&steps)?,
                Err(error) if !self.rebuilds_at_will() => return Err(error),
                Err(_) => {}
            }
        }
        if let (None, Some(rows)) = (&before, description.estimated_rows) {
            self.counters.expect_rows(rows);
        }
        let stop = self.stop.child_token();
        let ids = if opened.compares_ids(before.as_ref()) {
            let (table, disposition) = (self.stream.table.clone(), self.stream.disposition);
            self.loader
                .call(move |destination| destination.live_ids(&table, disposition))
                .await?
        } else {
            Vec::new()
        };
        let reading = opened.read(&schema, before.as_ref(), &ids, &stop);
        let what = format!("connections to the source `{}`", self.stream.source);
        let extract = unless_stopped(&self.stop, what, reading).await?;
        let expected = Expected {
            from: before,
            schema: Some(schema),
            misfits: description.misfits,
            primary_key: description.primary_key,
            key_is_unique: description.key_is_unique,
        };
        self.land(extract, expected, &stop, report).await
    }

    /// The manifest of what was landed; without what only the source knows: key and position afterwards.
    fn manifest(
        &self,
        address: &LoadAddress,
        schema: Schema,
        before: Option<Position>,
        parts: Vec<Part>,
    ) -> Manifest {
        let cursor = self.stream.cursor.as_ref();
        Manifest {
            format_version: FORMAT_VERSION,
            pipeline: self.pipeline.name.to_string(),
            stream: self.stream.name.clone(),
            load_id: address.load_id.clone(),
            table: self.stream.table.clone(),
            mode: self.stream.mode,
            disposition: self.stream.disposition,
            primary_key: Vec::new(),
            changes: self.stream.changes,
            previous: self.state.as_ref().map(|state| state.load_id.clone()),
            full_refresh: self.full_refresh,
            key_is_unique: false,
            configuration: Some(self.stream.fingerprint()),
            cursor: cursor.map(|cursor| cursor.column.clone()),
            marks: None,
            schema,
            position_before: before,
            position_after: None,
            rows: parts.iter().map(|part| part.rows).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
            extracted_at: self.now(),
            acequia_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Whether a table that cannot take what a column has become is made anew with it: it is made anew with each load.
    fn rebuilds_at_will(&self) -> bool {
        self.stream.disposition == Disposition::Replace
            && self.stream.contract == SchemaContract::Evolve
    }

    /// The time, but never before what is known of the stream already: a clock may have been put back.
    fn now(&self) -> DateTime<Utc> {
        let known = self.state.as_ref().map(|state| state.updated_at);
        let next = known.and_then(|known| known.checked_add_signed(TimeDelta::microseconds(1)));
        next.map_or_else(Utc::now, |next| next.max(Utc::now()))
    }

    /// Applies a landed load.
    async fn load(
        &mut self,
        address: &LoadAddress,
        manifest: Manifest,
        report: &mut StreamReport,
    ) -> Result<()> {
        let step = LoadStep {
            landing: self.landing.clone(),
            loader: self.loader.clone(),
            contract: self.stream.contract,
            counters: self.counters.clone(),
            stop: self.stop.clone(),
        };
        let changes = self.state.as_ref().map_or_else(Vec::new, |state| {
            differences(&state.schema, &manifest.schema)
        });
        match step.apply(address, manifest, report).await {
            Ok(state) => {
                self.state = state;
                let changes = changes.into_iter();
                report
                    .schema_changes
                    .extend(changes.filter(|change| !change.contains("`_acequia_")));
            }
            Err(error @ Error::Damaged(_)) => {
                return Err(self.set_damaged_aside(address, error).await);
            }
            Err(error) => return Err(error),
        }
        fail::fail_point!("pipeline.after_load", crate::failpoint::abort);
        Ok(())
    }

    /// Moves a load that was never applied, and is not to be, out of the way, and says so. Its rows are read anew.
    async fn set_refused_aside(
        &self,
        address: &LoadAddress,
        reason: &str,
        report: &mut StreamReport,
    ) -> Result<()> {
        let place = self.landing.set_aside(address, Aside::Refused).await?;
        report.warnings.push(format!(
            "load {}, which an earlier run landed, is not loaded, and its rows are read from the source anew: {reason}\n  It \
             is kept at {place} until the next one is",
            address.load_id
        ));
        Ok(())
    }

    /// Moves a damaged load out of the way, so that the next run extracts its rows anew, and says so.
    async fn set_damaged_aside(&self, address: &LoadAddress, error: Error) -> Error {
        match self.landing.set_aside(address, Aside::Damaged).await {
            Ok(place) => error.remedy(format!(
                "run again: the load was never applied, and its rows are read from the source anew. The damaged files are \
                 kept at {place}"
            )),
            Err(stuck) => error.remedy(format!(
                "remove {} by hand ({stuck}), then run again: its rows are read from the source anew",
                self.landing.describe(address)
            )),
        }
    }

    pub(super) fn position(&self) -> Option<&Position> {
        self.state.as_ref()?.position.as_ref()
    }

    /// Where the extract begins: nowhere for a full one, nor for the snapshot that a stream of changes begins with.
    fn start_position(&self) -> Result<Option<&Position>> {
        if self.full_refresh || self.stream.mode == Mode::Cdc {
            return Ok(None);
        }
        start_position(&self.stream, self.position())
    }
}

/// Where an extract of a stream begins whose position that is: nowhere for a full one.
///
/// # Errors
/// Where the position is one of another cursor, or of another mode.
pub(super) fn start_position<'a>(
    stream: &Stream,
    position: Option<&'a Position>,
) -> Result<Option<&'a Position>> {
    let refused = |now: String, known: &Position| {
        let so_far = known.cursor().map_or_else(
            || "the write-ahead log".to_owned(),
            |known| format!("the cursor `{}`", known.column),
        );
        Err(Error::config(format!(
            "the stream is now read by {now}, and its position is one of {so_far}"
        ))
        .remedy("run `acequia run STREAM --full-refresh` once, or set mode and cursor back"))
    };
    match (stream.mode, &stream.cursor, position) {
        (Mode::Incremental, Some(cursor), Some(position)) => {
            if position.cursor().map(|known| &known.column) == Some(&cursor.column) {
                Ok(Some(position))
            } else {
                refused(format!("the cursor `{}`", cursor.column), position)
            }
        }
        (Mode::Cdc, _, Some(position)) => match position.lsn() {
            Some(_) => Ok(Some(position)),
            None => refused("the write-ahead log".to_owned(), position),
        },
        _ => Ok(None),
    }
}
