//! The path that every row takes: recover, open, extract, land, publish, load.

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load_step::LoadStep;
use super::loader::Loader;
use super::progress::{Counters, Phase};
use super::report::{Status, StreamReport};
use super::wait::unless_stopped;
use super::{name_stream, recovery};
use crate::config::{Pipeline, Stream};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::evolution::{SchemaContract, foresee, number, with_misfits, without_unused};
use crate::landing::manifest::{Disposition, FORMAT_VERSION, Manifest, Mode};
use crate::landing::writer::{Landed, LoadWriter};
use crate::landing::{Landing, LoadAddress};
use crate::names::LoadId;
use crate::position::{CursorPosition, CursorValue, Position};
use crate::schema::{Column, Schema};
use crate::source::{Extract, Lane, OpenStream, Outcome, Source};
use crate::watermark;

/// One stream of a run.
pub(super) struct StreamRun {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) stream: Stream,
    pub(super) landing: Landing,
    pub(super) loader: Loader,
    pub(super) state: Option<StreamState>,
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
        report.position_before = self.position().cloned();
        report
    }

    /// The report of how it ended.
    pub(super) fn end(
        &self,
        mut report: StreamReport,
        began: Instant,
        ended: Result<()>,
    ) -> StreamReport {
        report.position_after = self.position().cloned();
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
                    name_stream(error, &self.stream.name).on(format!("stream {}", self.stream.name))
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
        let (address, manifest) = self.extract(opened, report).await?;
        if manifest.is_idle() {
            return self.landing.discard(&address).await;
        }
        self.publish_and_load(&address, manifest, report).await
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
        Ok(Changes::Landed(address, Box::new(manifest)))
    }

    /// Applies landed changes; where there are none, the position alone is taken on.
    pub(super) async fn apply_changes(
        &mut self,
        changes: Changes,
        report: &mut StreamReport,
    ) -> Result<()> {
        match changes {
            Changes::Landed(address, manifest) => {
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
            load_id: LoadId::new(self.loader.id()),
        }
    }

    fn writer(&self, address: &LoadAddress, cursor: Option<&Column>) -> LoadWriter {
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
            tracing::info!(load = %address.load_id, "loading what an earlier run landed");
            self.load(&address, manifest, report).await?;
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
        opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<(LoadAddress, Manifest)> {
        let before = self.start_position()?.cloned();
        let description = opened.description().clone();
        let misfits = &description.misfits;
        let known = self.state.as_ref().map(|state| state.schema.clone());
        let schema = number(known.as_ref(), description.columns.clone());
        let schema = with_misfits(known.as_ref(), &schema, misfits);
        // A stream that starts afresh keeps nothing of its table's schema.
        let afresh = before.is_none() && self.stream.disposition != Disposition::Replace;
        let checked = !afresh || self.stream.contract == SchemaContract::Freeze;
        if let Some(known) = known.as_ref().filter(|_| !self.full_refresh && checked) {
            let steps = foresee(known, &schema, misfits)?;
            self.stream.contract.check(&steps)?;
        }
        if let (None, Some(rows)) = (&before, description.estimated_rows) {
            self.counters.expect_rows(rows);
        }
        let address = self.address();
        let cursor = self.stream.cursor.as_ref();
        let cursor = cursor.and_then(|cursor| schema.column(&cursor.column));
        let writer = self.writer(&address, cursor);
        let stop = self.stop.child_token();
        let reading = opened.read(&schema, before.as_ref(), &stop);
        let what = format!("connections to the source `{}`", self.stream.source);
        let extract = unless_stopped(&self.stop, what, reading).await?;
        let horizon = extract.horizon.clone();
        let (landed, outcome) = self.land(extract, &address, &writer, &stop).await?;
        let schema = without_unused(
            known.as_ref().filter(|_| !self.full_refresh),
            schema,
            misfits,
            &outcome.used,
        );
        report.warnings.extend(outcome.warnings);
        let highest = landed.highest.clone();
        let cursor = self.stream.cursor.as_ref();
        let by_cursor = cursor
            .and_then(|cursor| next_position(&cursor.column, before.as_ref(), highest, horizon));
        let mut manifest = self.manifest(&address, schema, before, landed);
        manifest.primary_key = description.primary_key;
        manifest.key_is_unique = description.key_is_unique;
        manifest.full_refresh = self.full_refresh;
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
            cursor: cursor.map(|cursor| cursor.column.clone()),
            schema,
            position_before: before,
            position_after: None,
            rows: landed.parts.iter().map(|part| part.rows).sum(),
            bytes: landed.parts.iter().map(|part| part.bytes).sum(),
            parts: landed.parts,
            extracted_at: Utc::now(),
            acequia_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
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
        match step.apply(address, manifest, report).await {
            Ok(state) => self.state = state,
            Err(error @ Error::Damaged(_)) => {
                return Err(self.set_damaged_aside(address, error).await);
            }
            Err(error) => return Err(error),
        }
        fail::fail_point!("pipeline.after_load", crate::failpoint::abort);
        Ok(())
    }

    /// Moves a damaged load out of the way, so that the next run extracts its rows anew, and says so.
    async fn set_damaged_aside(&self, address: &LoadAddress, error: Error) -> Error {
        match self.landing.quarantine(address).await {
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

    /// Where the extract begins: nowhere for a full one.
    fn start_position(&self) -> Result<Option<&Position>> {
        let Some(cursor) = self.stream.cursor.as_ref().filter(|_| !self.full_refresh) else {
            return Ok(None);
        };
        debug_assert_eq!(self.stream.mode, Mode::Incremental);
        match self.position() {
            Some(position)
                if position.cursor().map(|known| &known.column) != Some(&cursor.column) =>
            {
                Err(Error::config(format!(
                    "the stream is now read by the cursor `{}`, and its position is one of {}",
                    cursor.column,
                    position.cursor().map_or_else(
                        || "the write-ahead log".to_owned(),
                        |known| format!("`{}`", known.column)
                    )
                ))
                .remedy(
                    "run `acequia run STREAM --full-refresh` once, or set mode and cursor back",
                ))
            }
            position => Ok(position),
        }
    }
}

/// What an extract of changes came to.
#[derive(Debug)]
pub(super) enum Changes {
    /// They are landed.
    Landed(LoadAddress, Box<Manifest>),
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
                watermark::raise(&mut whole.highest, landed.highest);
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

/// The position once a load is applied: the highest value ever landed, and from where the next extract resumes.
fn next_position(
    column: &str,
    before: Option<&Position>,
    landed: Option<CursorValue>,
    horizon: Option<CursorValue>,
) -> Option<Position> {
    let mut value = before
        .and_then(Position::cursor)
        .map(|position| position.value.clone());
    watermark::raise(&mut value, landed);
    let value = value?;
    let resume = match horizon {
        Some(horizon) if horizon < value => horizon,
        _ => value.clone(),
    };
    Some(Position::Cursor(CursorPosition {
        column: column.to_owned(),
        value,
        resume,
    }))
}
