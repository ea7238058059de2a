//! The path that every row takes: recover, open, extract, land, publish, load.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load_step::LoadStep;
use super::loader::{Hold, Loader};
use super::report::{Status, StreamReport};
use super::wait::unless_stopped;
use super::{name_stream, named, recovery};
use crate::config::{Pipeline, Stream};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::evolution::{
    SchemaContract, differences, foresee, number, with_misfits, without_unused,
};
use crate::landing::manifest::{FORMAT_VERSION, Manifest};
use crate::landing::writer::{Landed, LoadWriter};
use crate::landing::{Aside, Landing, LoadAddress};
use crate::mode::{Disposition, Mode};
use crate::names::LoadId;
use crate::position::{CursorPosition, CursorValue, Position};
use crate::progress::{Counters, Phase};
use crate::schema::{Column, Schema};
use crate::source::{Bound, Extract, Horizon, Lane, OpenStream, Outcome, Source};
use crate::watermark::Watermark;

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

impl StreamRun {
    /// Takes the stream along the path, and says how that went.
    pub(super) async fn carry(mut self) -> StreamReport {
        let began = Instant::now();
        let mut report = self.begin();
        let ended = if self.stop.is_cancelled() {
            Err(Error::Interrupted)
        } else {
            self.counters.enter(Phase::Extracting);
            self.follow_path(&mut report).await
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
                    name_stream(error, &self.stream).on(format!("stream {}", self.stream.name))
                };
                report.fail(&error);
                self.counters.enter(Phase::Failed);
            }
        }
        report
    }

    async fn follow_path(&mut self, report: &mut StreamReport) -> Result<()> {
        self.recover(report).await?;
        let source = Source::of(&self.pipeline, &self.stream)?;
        let what = format!(
            "the source `{}` to answer for stream {} (it may be busy, or what is to be read is locked by another)",
            self.stream.source, self.stream.name
        );
        let opened = unless_stopped(&self.stop, what, source.open(&self.stream)).await?;
        self.carry_opened(opened, report).await
    }

    /// Extracts what is open, lands and loads it.
    pub(super) async fn carry_opened(
        &mut self,
        opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<()> {
        // What has no manifest yet is removed by whoever holds the destination.
        let _hold = self.loader.hold().await?;
        let (address, manifest) = self.extract(opened, report).await?;
        if manifest.is_idle() {
            self.landing.discard(&address).await?;
            return self.take_idle_on(manifest).await;
        }
        self.publish_and_load(&address, manifest, report).await
    }

    /// Takes the position on where a run found nothing to load, and yet something to remember of the source, so that the next
    /// one can tell what changed since.
    async fn take_idle_on(&mut self, manifest: Manifest) -> Result<()> {
        let (Some(before), Some(after)) = (manifest.position_before, manifest.position_after)
        else {
            return Ok(());
        };
        let knows_more = match (&before, &after) {
            (Position::HubSpot(before), Position::HubSpot(after)) => !before.remembers_as(after),
            (Position::Cursor(_), after) => before != *after,
            _ => false,
        };
        if knows_more {
            self.advance(before, after).await?;
        }
        Ok(())
    }

    /// Publishes what was landed, and has it applied.
    async fn publish_and_load(
        &mut self,
        address: &LoadAddress,
        manifest: Manifest,
        report: &mut StreamReport,
    ) -> Result<()> {
        fail::fail_point!("landing.before_manifest", crate::failpoint::abort);
        self.landing.publish(address, &manifest).await?;
        fail::fail_point!("landing.after_manifest", crate::failpoint::abort);
        self.load(address, manifest, report).await
    }

    /// Lands the changes that come in an extract.
    pub(super) async fn land_changes(
        &mut self,
        extract: Extract,
        primary_key: &[String],
        report: &mut StreamReport,
    ) -> Result<Changes> {
        self.counters.enter(Phase::Extracting);
        let before = self.position().cloned();
        let address = self.address();
        let writer = self.writer(&address, None);
        let stop = self.stop.child_token();
        let (extract, hold) = self.held(extract).await?;
        let (landed, outcome) = self.land(extract, &address, &writer, &stop).await?;
        report.warnings.extend(outcome.warnings);
        if let Some(reason) = outcome.restart {
            self.landing.discard(&address).await?;
            return Ok(Changes::Restart(reason));
        }
        let Some(after) = outcome.position else {
            return Err(Error::internal("changes came without a position"));
        };
        let schema = match outcome.schema {
            Some(schema) if !landed.parts.is_empty() || outcome.reshaped => schema,
            _ => return Ok(Changes::None(Box::new(after))),
        };
        let mut manifest = self.manifest(&address, schema, before, landed);
        manifest.primary_key = primary_key.to_vec();
        manifest.key_is_unique = true;
        manifest.position_after = Some(after);
        report.rows_extracted += manifest.rows;
        report.bytes_landed += manifest.bytes;
        Ok(Changes::Landed(address, Box::new(manifest), hold))
    }

    /// Waits until an extract has rows, and holds the destination from then on: until the rows are loaded, what is landed of
    /// them is for no other run to find. An extract that has none holds up nobody.
    async fn held(&self, mut extract: Extract) -> Result<(Extract, Option<Hold>)> {
        let mut hold = None;
        for lane in &mut extract.lanes {
            let (sender, batches) = mpsc::channel(1);
            let mut came = std::mem::replace(&mut lane.batches, batches);
            let Some(first) = came.recv().await else {
                continue;
            };
            if hold.is_none() {
                hold = Some(self.loader.hold().await?);
            }
            tokio::spawn(async move {
                let mut next = Some(first);
                while let Some(batch) = next {
                    if sender.send(batch).await.is_err() {
                        break;
                    }
                    next = came.recv().await;
                }
            });
        }
        Ok((extract, hold))
    }

    /// Applies landed changes; where there are none, the position alone is taken on.
    pub(super) async fn apply_changes(
        &mut self,
        changes: Changes,
        report: &mut StreamReport,
    ) -> Result<()> {
        match changes {
            Changes::Landed(address, manifest, _hold) => {
                self.publish_and_load(&address, *manifest, report).await
            }
            Changes::None(after) => match self.position().cloned() {
                Some(before) if before != *after => self.advance(before, *after).await,
                _ => Ok(()),
            },
            Changes::Restart(_) => Err(Error::internal("changes that are of no use were applied")),
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

    fn writer(
        &self,
        address: &LoadAddress,
        cursor: Option<(&Column, Option<&CursorValue>)>,
    ) -> LoadWriter {
        LoadWriter::new(
            &self.landing,
            address,
            cursor,
            self.pipeline.part_size,
            &self.counters,
        )
    }

    /// Lands an extract, and waits for what it tells at its end. Where that fails, nothing stays.
    async fn land(
        &self,
        mut extract: Extract,
        address: &LoadAddress,
        writer: &LoadWriter,
        stop: &CancellationToken,
    ) -> Result<(Landed, Outcome)> {
        let outcome = extract.outcome.take();
        let landed = match land(extract, writer, stop).await {
            Ok(landed) => landed,
            Err(error) => {
                if let Err(left) = self.landing.discard(address).await {
                    tracing::debug!(%left, "an unfinished extract stays for the next run to remove");
                }
                return Err(error);
            }
        };
        let outcome = match outcome {
            Some(outcome) => outcome
                .await
                .map_err(|_| Error::internal("a source did not tell how its extract ended"))?,
            None => Outcome::default(),
        };
        Ok((landed, outcome))
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
    ) -> Result<(LoadAddress, Manifest)> {
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
        let schema = number(known.as_ref(), description.columns.clone());
        let schema = with_misfits(known.as_ref(), &schema, misfits);
        // A stream that starts afresh keeps nothing of its table's schema.
        let afresh = before.is_none() && self.stream.disposition != Disposition::Replace;
        let checked = !afresh || self.stream.contract == SchemaContract::Freeze;
        if let Some(known) = known.as_ref().filter(|_| !self.full_refresh && checked) {
            match foresee(known, &schema, misfits) {
                Ok(steps) => self.stream.contract.check(&steps)?,
                Err(error) if !self.rebuilds_at_will() => return Err(error),
                Err(_) => {}
            }
        }
        if let (None, Some(rows)) = (&before, description.estimated_rows) {
            self.counters.expect_rows(rows);
        }
        let address = self.address();
        let cursor = self.stream.cursor.as_ref();
        let cursor = cursor.and_then(|cursor| schema.column(&cursor.column));
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
        let horizon = extract.horizon.clone();
        let bound = match horizon.as_ref().map(|horizon| &horizon.bound) {
            Some(Bound::NotBelow(bound)) => Some(bound),
            _ => None,
        };
        let writer = self.writer(&address, cursor.map(|cursor| (cursor, bound)));
        let (landed, outcome) = self.land(extract, &address, &writer, &stop).await?;
        let schema = without_unused(
            known.as_ref().filter(|_| !self.full_refresh),
            schema,
            misfits,
            &outcome.used,
        );
        let name = self.stream.name.as_str();
        let named = outcome.warnings.iter();
        report
            .warnings
            .extend(named.map(|warning| warning.replace("STREAM", name)));
        let cursor = self.stream.cursor.as_ref();
        let by_cursor = cursor.zip(horizon).and_then(|(cursor, horizon)| {
            let before = before.as_ref().and_then(Position::cursor);
            next_position(&cursor.column, before, &landed.watermark, horizon)
        });
        let mut manifest = self.manifest(&address, schema, before, landed);
        manifest.primary_key = description.primary_key;
        manifest.key_is_unique = description.key_is_unique;
        manifest.full_refresh = self.full_refresh;
        manifest.marks = outcome.marks;
        manifest.position_after = outcome.position.or(by_cursor);
        report.rows_extracted += manifest.rows;
        report.bytes_landed += manifest.bytes;
        Ok((address, manifest))
    }

    /// The manifest of what was landed; without what only the source knows: key and position afterwards.
    fn manifest(
        &self,
        address: &LoadAddress,
        schema: Schema,
        before: Option<Position>,
        landed: Landed,
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
            full_refresh: false,
            key_is_unique: false,
            configuration: Some(self.stream.fingerprint()),
            cursor: cursor.map(|cursor| cursor.column.clone()),
            marks: None,
            schema,
            position_before: before,
            position_after: None,
            rows: landed.parts.iter().map(|part| part.rows).sum(),
            bytes: landed.parts.iter().map(|part| part.bytes).sum(),
            parts: landed.parts,
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

/// What an extract of changes came to.
#[derive(Debug)]
pub(super) enum Changes {
    /// They are landed.
    Landed(LoadAddress, Box<Manifest>, Option<Hold>),
    /// There were none up to that position.
    None(Box<Position>),
    /// They are of no use: why the stream has to begin anew.
    Restart(String),
}

/// Lands the lanes of an extract at once. The first failure stops them all.
async fn land(extract: Extract, writer: &LoadWriter, stop: &CancellationToken) -> Result<Landed> {
    let mut lanes = JoinSet::new();
    for Lane { batches, producer } in extract.lanes {
        let writer = writer.clone();
        lanes.spawn(async move {
            let landed = tokio::task::spawn_blocking(move || writer.land(batches))
                .await
                .map_err(|error| {
                    Error::internal("a landing thread ended unexpectedly").cause(error)
                })?;
            // Where landing fails, the producer only finds that nobody takes its batches.
            let produced = Lane::finish(producer).await;
            let landed = landed?;
            produced.map(|()| landed)
        });
    }
    let mut whole = Landed::default();
    let mut failure: Option<Error> = None;
    while let Some(lane) = lanes.join_next().await {
        let lane =
            lane.map_err(|error| Error::internal("a lane ended unexpectedly").cause(error))?;
        match lane {
            Ok(landed) => {
                whole.parts.extend(landed.parts);
                whole.watermark.raise(landed.watermark);
            }
            Err(error) => {
                stop.cancel();
                if failure
                    .as_ref()
                    .is_none_or(|known| matches!(known, Error::Interrupted))
                {
                    failure = Some(error);
                }
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    whole.parts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(whole)
}

/// The position once a load is applied: the highest value that was landed, and from where the next extract resumes.
fn next_position(
    column: &str,
    before: Option<&CursorPosition>,
    landed: &Watermark,
    horizon: Horizon,
) -> Option<Position> {
    let known = before.filter(|_| !horizon.again);
    let mut all = landed.clone();
    all.raise(Watermark {
        highest: known.map(|known| known.value.clone()),
        settled: None,
    });
    // Where nothing is landed of what is read anew, the value says only of what kind it is.
    let value = all
        .highest
        .clone()
        .or_else(|| before.map(|before| before.value.clone()))?;
    let resume = match &horizon.bound {
        Bound::Highest => all.highest.unwrap_or_else(|| value.lowest()),
        Bound::NotBelow(bound) => {
            let earlier = known.map(|known| [&known.value, &known.resume]);
            for value in earlier.into_iter().flatten() {
                if value <= bound {
                    all.raise(Watermark {
                        highest: None,
                        settled: Some(value.clone()),
                    });
                }
            }
            all.settled.unwrap_or_else(|| value.lowest())
        }
        Bound::Unknown => value.lowest(),
    };
    Some(Position::Cursor(CursorPosition {
        column: column.to_owned(),
        value,
        resume,
        seen: Some(horizon.seen),
    }))
}
