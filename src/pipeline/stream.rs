//! The path that every row takes: recover, open, extract, land, publish, load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
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
use crate::source::{Beginning, Extract, ExtractEnd, OpenStream};

/// One stream of a run.
pub(super) struct StreamRun {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) stream: Stream,
    pub(super) landing: Landing,
    pub(super) loader: Loader,
    pub(super) state: Option<StreamState>,
    /// The stream's newest load in the landing area.
    pub(super) newest: Option<LoadId>,
    pub(super) full_refresh: bool,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
}

/// What is known of an extract before its rows are read.
#[derive(Debug)]
pub(super) struct Expected {
    /// The position that the extract begins at.
    pub(super) from: Option<Position>,
    /// The columns. `None` if only the end of the extract has them.
    pub(super) schema: Option<Schema>,
    /// The columns for values that do not fit their own column's type.
    pub(super) misfits: BTreeMap<String, String>,
    pub(super) primary_key: Vec<String>,
    /// Whether the source guarantees that keys are unique.
    pub(super) key_is_unique: bool,
}

/// The result of landing an extract.
#[derive(Debug)]
pub(super) enum Landed {
    /// There is a load.
    Load(Box<ReadyLoad>),
    /// There is nothing to load. The stream's new position, if it has one.
    Nothing(Option<Box<Position>>),
    /// The rows must not be loaded: the stream needs a new snapshot.
    Resnapshot {
        /// The reason, as the end of a sentence.
        reason: String,
    },
}

/// A load whose parts are landed. It becomes a load of the landing area when its manifest is published.
#[derive(Debug)]
pub(super) struct ReadyLoad {
    address: LoadAddress,
    manifest: Manifest,
    _hold: Hold,
}

impl StreamRun {
    /// Recovers, extracts, lands and loads the stream, and returns a report.
    pub(super) async fn run(mut self) -> StreamReport {
        let began = Instant::now();
        let mut report = self.begin();
        let ended = if self.stop.is_cancelled() {
            Err(Error::Interrupted)
        } else {
            self.counters.enter(Phase::Extracting);
            self.sync(&mut report).await
        };
        self.end(report, began, ended)
    }

    /// A report of a stream that has not begun.
    pub(super) fn begin(&self) -> StreamReport {
        let mut report = StreamReport::skipped(&self.stream.name, self.stream.mode());
        report.position_before = self.position().map(Position::brief);
        report
    }

    /// Completes the report by the result.
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
        let what = format!(
            "the source `{}` to answer for stream {} (it may be busy, or what is to be read is locked by another)",
            self.stream.source, self.stream.name
        );
        let opened = unless_stopped(&self.stop, what, OpenStream::open(&self.stream.from)).await?;
        self.load_opened(opened, report).await
    }

    /// Extracts, lands and loads an open stream.
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

    /// Publishes and loads a landed extract. If there is nothing to load, only the position is advanced.
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

    /// Lands an extract of any mode. If that fails, its files are removed.
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

    /// Lands the lanes of an extract at the same time, and awaits its end. The first failure stops all lanes.
    ///
    /// From the first batch on, the destination is kept open: no other run may take the extract's files for those of a dead
    /// run until the rows are loaded. An extract without rows does not keep it open.
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
        // If landing fails, the source's own error is only that nobody receives its batches.
        let (landed, end) = tokio::join!(landing, extract.end);
        let (mut parts, hold) = landed?;
        parts.sort_by(|a: &Part, b| a.path.cmp(&b.path));
        Ok((parts, hold, end?))
    }

    /// Removes the files of an extract that failed.
    async fn discard(&self, address: &LoadAddress) {
        if let Err(left) = self.landing.discard(address).await {
            tracing::debug!(%left, "an unfinished extract stays for the next run to remove");
        }
    }

    /// Completes what an earlier run left of the stream.
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

    /// Reads the stream from its position on, and lands it.
    async fn extract(
        &mut self,
        mut opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<Landed> {
        let before = self.start_position()?.cloned();
        let known = self.state.as_ref().map(|state| state.schema.clone());
        let follows = before.is_some() || self.stream.disposition() == Disposition::Replace;
        if let Some(known) = known.as_ref().filter(|_| {
            follows && !self.full_refresh && self.stream.contract != SchemaContract::Freeze
        }) {
            opened.keep_types(known);
        }
        let description = opened.description().clone();
        let misfits = &description.misfits;
        let schema = assign_field_ids(known.as_ref(), description.columns.clone());
        let schema = with_misfits(known.as_ref(), &schema, misfits);
        // A stream that begins anew keeps nothing of its table's schema.
        let afresh = before.is_none() && self.stream.disposition() != Disposition::Replace;
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
            let (table, disposition) = (self.stream.table.clone(), self.stream.disposition());
            self.loader
                .call(move |destination| destination.live_ids(&table, disposition))
                .await?
        } else {
            Vec::new()
        };
        let configuration = self.stream.fingerprint();
        let beginning = Beginning {
            position: before.as_ref(),
            live_ids: &ids,
            configuration: &configuration,
        };
        let reading = opened.read(&schema, beginning, &stop);
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

    /// The manifest of an extract, without what only the source knows: the key and the new position.
    fn manifest(
        &self,
        address: &LoadAddress,
        schema: Schema,
        before: Option<Position>,
        parts: Vec<Part>,
    ) -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            pipeline: self.pipeline.name.to_string(),
            stream: self.stream.name.clone(),
            load_id: address.load_id.clone(),
            table: self.stream.table.clone(),
            mode: self.stream.mode(),
            disposition: self.stream.disposition(),
            primary_key: Vec::new(),
            changes: self.stream.changes(),
            previous: self.state.as_ref().map(|state| state.load_id.clone()),
            full_refresh: self.full_refresh,
            key_is_unique: false,
            configuration: Some(self.stream.fingerprint()),
            cursor: self.stream.cursor().map(str::to_owned),
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

    /// Whether a table is rebuilt with each load, so that it can take any change of a column's type.
    fn rebuilds_at_will(&self) -> bool {
        self.stream.disposition() == Disposition::Replace
            && self.stream.contract == SchemaContract::Evolve
    }

    /// The current time, but later than the stream's last load: the clock may have been set back.
    fn now(&self) -> DateTime<Utc> {
        let known = self.state.as_ref().map(|state| state.updated_at);
        let next = known.and_then(|known| known.checked_add_signed(TimeDelta::microseconds(1)));
        next.map_or_else(Utc::now, |next| next.max(Utc::now()))
    }

    /// Loads a landed load.
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

    /// Sets aside a load that was never applied and must not be, and adds a warning. Its rows are read again.
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

    /// Sets aside a damaged load, so that the next run extracts its rows again, and returns the error to report.
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

    /// The position that the extract begins at. `None` for a full stream, and for the snapshot of a stream of changes.
    fn start_position(&self) -> Result<Option<&Position>> {
        if self.full_refresh || self.stream.mode() == Mode::Cdc {
            return Ok(None);
        }
        start_position(&self.stream, self.position())
    }
}

/// The position that an extract of a stream begins at, given the stream's position. `None` for a full stream.
///
/// # Errors
/// The position is one of another cursor, or of another mode.
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
    let Some(known) = position else {
        return Ok(None);
    };
    match (stream.cursor(), stream.mode()) {
        (Some(column), _) if known.cursor().is_some_and(|known| known.column == column) => {
            Ok(Some(known))
        }
        (Some(column), _) => refused(format!("the cursor `{column}`"), known),
        (None, Mode::Cdc) if known.lsn().is_none() => {
            refused("the write-ahead log".to_owned(), known)
        }
        (None, Mode::Cdc) => Ok(Some(known)),
        (None, Mode::Full | Mode::Incremental) => Ok(None),
    }
}
