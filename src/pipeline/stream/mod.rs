//! The path that every row takes: recover, open, extract, land, publish, load.

use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::ahead::{Ahead, Running};
use super::contained::contained;
use super::load_step::{LoadStep, tell};
use super::loader::Loader;
use super::openlineage::StreamLineage;
use super::report::{Status, StreamReport};
use super::retry::Retries;
use super::shape_step::{Shape, Shaped, shaped};
use super::spans::{self, Within};
use super::wait::{GRACE, given_up_after_a_stop, unless_stopped};
use super::{name_stream, named, recovery};
use crate::config::{Pipeline, Stream};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::evolution::{SchemaContract, TableSchema, differences, preview};
use crate::identity::RelationIdentity;
use crate::landing::manifest::Manifest;
use crate::landing::{Aside, Landing, LoadAddress};
use crate::mode::{Disposition, Mode};
use crate::names::LoadId;
use crate::position::{AskedRange, Position};
use crate::progress::{Counters, Phase};
use crate::renames::Renames;
use crate::schema::Schema;
use crate::source::{Beginning, Description, OpenStream};

mod land;
mod range;

use land::ReadyLoad;
pub(super) use land::{Expected, Landed};
pub(super) use range::look_at_range;

/// How often a read is begun that has to give way to somebody who alters the table.
pub(super) const ATTEMPTS: u32 = 3;

/// Whether a read was given up for somebody who alters the table, so that it may succeed once that is done.
pub(super) fn gave_way(error: &Error) -> bool {
    matches!(error, Error::Source(_)) && error.ends_when_released()
}

/// What is done with a stream after its load.
pub(super) type Then =
    for<'a> fn(&'a mut StreamRun, &'a mut StreamReport) -> BoxFuture<'a, Result<()>>;

/// What a read of an open stream begins with.
struct Prepared {
    /// The stream's position. `None` at the beginning.
    before: Option<Position>,
    /// The columns, as the table has them.
    schema: Schema,
    shape: Arc<Shape>,
    description: Description,
}

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
    /// The range to read again, if not what is new.
    pub(super) range: Option<AskedRange>,
    pub(super) running: Running,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
    /// The span that the stream's work is in.
    pub(super) within: Within,
    /// Who is told what was read and written, if somebody wants to know.
    pub(super) lineage: Option<StreamLineage>,
}

impl StreamRun {
    /// Recovers, extracts, lands and loads the stream, and returns a report.
    pub(super) async fn run(self) -> StreamReport {
        self.run_and(|_, _| Box::pin(async { Ok(()) })).await
    }

    /// As [`run`](Self::run), and does something more once that has succeeded.
    pub(super) async fn run_and(mut self, then: Then) -> StreamReport {
        let span = spans::stream(&self.stream);
        self.within = Within::of(span.clone());
        let report = self.run_within(then).instrument(span.clone()).await;
        spans::stream_ended(&span, &report);
        report
    }

    async fn run_within(mut self, then: Then) -> StreamReport {
        let began = Instant::now();
        let mut report = self.begin();
        let ended = if self.stop.is_cancelled() {
            Err(Error::Interrupted)
        } else {
            self.counters.enter(Phase::Extracting);
            let stop = self.stop.clone();
            let work = async {
                self.sync(&mut report).await?;
                // The table was made anew: what follows adds to it.
                self.full_refresh = false;
                then(&mut self, &mut report).await
            };
            given_up_after_a_stop(&stop, GRACE, Box::pin(contained(work))).await
        };
        let stopped = self.stop.is_cancelled();
        self.end(report, began, ended, stopped)
    }

    /// A report of a stream that has not begun.
    pub(super) fn begin(&self) -> StreamReport {
        let mut report = StreamReport::skipped(&self.stream.name, self.stream.mode());
        report.position_before = self.position().map(Position::brief);
        report
    }

    /// Completes the report by the result. After a stop, an error counts as its consequence.
    pub(super) fn end(
        &self,
        mut report: StreamReport,
        began: Instant,
        ended: Result<()>,
        stopped: bool,
    ) -> StreamReport {
        report.position_after = self.position().map(Position::brief);
        for warning in &mut report.warnings {
            *warning = named(warning, &self.stream);
        }
        report.seconds = began.elapsed().as_secs_f64();
        report.ended_at = Utc::now();
        match ended {
            Ok(()) => {
                report.status = Status::Ok;
                self.counters.enter(Phase::Done);
            }
            Err(error) => {
                let error = if stopped {
                    Error::Interrupted
                } else {
                    name_stream(error, &self.stream).context(format!("stream {}", self.stream.name))
                };
                report.fail(&error);
                self.counters.enter(Phase::Failed);
            }
        }
        if let Some(lineage) = &self.lineage {
            lineage.end(&report, self.schema());
        }
        report
    }

    /// The schema of the stream's table, as far as it is known.
    fn schema(&self) -> Option<&TableSchema> {
        self.state.as_ref().map(|state| &state.schema)
    }

    /// Tells of a stream that is followed how far it has got.
    pub(super) fn get_on(&self, report: &StreamReport) {
        if let Some(lineage) = &self.lineage {
            lineage.get_on(report, self.schema());
        }
    }

    async fn sync(&mut self, report: &mut StreamReport) -> Result<()> {
        self.recover(report).await?;
        let mut retries = Retries::new();
        let mut gave_ways = 1;
        loop {
            let error = match self.read_and_load(report, &mut retries).await {
                Err(error) if !self.stop.is_cancelled() => error,
                ended => return ended,
            };
            if gave_way(&error) && gave_ways < ATTEMPTS {
                gave_ways += 1;
                tracing::warn!("stream {} is read anew: {error}", self.stream.name);
            } else {
                let what = format!("stream {}", self.stream.name);
                if !retries.again(&error, &what, &self.stop).await {
                    return Err(error);
                }
            }
            report.retries += 1;
            self.counters.begin_anew();
        }
    }

    /// Opens, extracts, lands and loads the stream.
    async fn read_and_load(
        &mut self,
        report: &mut StreamReport,
        retries: &mut Retries,
    ) -> Result<()> {
        let what = format!(
            "the source `{}` to answer for stream {} (it may be busy, or what is to be read is locked by another)",
            self.stream.source, self.stream.name
        );
        let opening = unless_stopped(&self.stop, what, OpenStream::open(&self.stream.from));
        let opened = spans::within(spans::open(&self.stream), opening).await?;
        retries.reached();
        self.load_opened(opened, report).await
    }

    /// Extracts, lands and loads an open stream.
    pub(super) async fn load_opened(
        &mut self,
        opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<()> {
        let span = spans::extract(&self.stream, &Span::current());
        match spans::within(span, self.extract(opened, report)).await? {
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
                    ahead,
                    _hold,
                } = *load;
                fail::fail_point!("landing.before_manifest", crate::failpoint::abort);
                self.landing.publish(&address, &manifest).await?;
                fail::fail_point!("landing.after_manifest", crate::failpoint::abort);
                self.load(&address, manifest, ahead, report).await
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
                destination.state(&name)
            })
            .await?;
        Ok(())
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
            match self.load(&address, manifest, None, report).await {
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

    /// What a read of an open stream begins with: its columns as its table has them, if nothing stands in the way.
    fn prepare(&self, opened: &mut OpenStream) -> Result<Prepared> {
        let before = self.start_position()?.cloned();
        let known = self.state.as_ref().map(|state| state.schema.clone());
        let follows = before.is_some() || self.stream.disposition() == Disposition::Replace;
        if let Some(known) = known.as_ref().filter(|_| {
            follows && !self.full_refresh && self.stream.contract != SchemaContract::Freeze
        }) {
            opened.keep_types(&known.as_source());
        }
        let shaped = shaped(&self.stream, opened.description())?;
        let adds = before.is_some() || self.stream.mode() == Mode::Full;
        if let Some(known) = known.as_ref().filter(|_| adds && !self.full_refresh) {
            refuse_others(&self.stream, known)?;
            refuse_other_names(&self.stream, &shaped.shape.renames, known)?;
            refuse_other_key(&self.stream, &shaped.description.primary_key, known)?;
        }
        let schema = shaped.schema(known.as_ref());
        let Shaped { shape, description } = shaped;
        let misfits = &description.misfits;
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
        Ok(Prepared {
            before,
            schema,
            shape: Arc::new(shape),
            description,
        })
    }

    /// Reads the stream from its position on, or a range of it, and lands that.
    async fn extract(
        &mut self,
        mut opened: OpenStream,
        report: &mut StreamReport,
    ) -> Result<Landed> {
        self.refuse_shown(opened.description().identity.as_ref())
            .await?;
        let prepared = self.prepare(&mut opened)?;
        if let Some(asked) = self.range.clone() {
            return Box::pin(self.extract_range(opened, prepared, &asked, report)).await;
        }
        let Prepared {
            before,
            schema,
            shape,
            description,
        } = prepared;
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
        let source_schema = schema.as_source();
        let reading = opened.read(&source_schema, beginning, &stop);
        let what = format!("connections to the source `{}`", self.stream.source);
        let extract = unless_stopped(&self.stop, what, reading).await?;
        let expected = Expected {
            from: before,
            schema: Some(schema),
            misfits: description.misfits,
            primary_key: description.primary_key,
            key_is_unique: description.key_is_unique,
            shape,
            amends: None,
        };
        self.land(extract, expected, &stop, report).await
    }

    /// Refuses a column whose values the stream hides by a name that it has no longer, and notes what its relation is now.
    async fn refuse_shown(&self, relation: Option<&RelationIdentity>) -> Result<()> {
        let (Some(now), Some(columns)) = (relation, self.stream.column_settings()) else {
            return Ok(());
        };
        let (pipeline, stream) = (&self.pipeline.name, &self.stream.name);
        let known = self.landing.known_columns(pipeline, stream).await?;
        if known.as_ref() == Some(now) {
            return Ok(());
        }
        if let Some(known) = known.filter(|known| known.oid == now.oid) {
            columns.refuse_shown(&known.columns, &now.columns)?;
        }
        self.landing.note_columns(pipeline, stream, now).await
    }

    /// Whether a table is rebuilt with each load, so that it can take any change of a column's type.
    fn rebuilds_at_will(&self) -> bool {
        self.stream.disposition() == Disposition::Replace
            && self.stream.contract == SchemaContract::Evolve
    }

    fn step(&self) -> LoadStep {
        LoadStep {
            landing: self.landing.clone(),
            loader: self.loader.clone(),
            contract: self.stream.contract,
            layout: self.stream.layout.clone(),
            hooks: self.stream.hooks.clone(),
            counters: self.counters.clone(),
            stop: self.stop.clone(),
        }
    }

    /// Loads a landed load, or ends what was begun of it ahead.
    async fn load(
        &mut self,
        address: &LoadAddress,
        manifest: Manifest,
        ahead: Option<Ahead>,
        report: &mut StreamReport,
    ) -> Result<()> {
        let changes = self.state.as_ref().map_or_else(Vec::new, |state| {
            differences(&state.schema, &manifest.schema)
        });
        self.counters.enter(Phase::Loading);
        let step = self.step();
        let applying = async {
            let ended = match ahead {
                Some(ahead) => ahead.end(&manifest).await,
                None => None,
            };
            match ended {
                Some(loaded) => Ok(Some(tell(report, address, loaded))),
                None => step.apply(address, manifest, report).await,
            }
        };
        let span = spans::load(&self.stream.name, &address.load_id);
        match spans::within(span, applying).await {
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

/// Refuses a stream whose rows would stand in its table beside rows that are masked otherwise, or in another table than the rows so
/// far.
pub(super) fn refuse_others(stream: &Stream, known: &TableSchema) -> Result<()> {
    if stream.disposition() == Disposition::Replace {
        return Ok(());
    }
    if let Some(table) = known.table.as_ref().filter(|table| **table != stream.table) {
        return Err(Error::config(format!(
            "the stream was loaded into the table `{table}` so far, and is to be loaded into `{}` now",
            stream.table
        ))
        .remedy(format!(
            "set destination_table = \"{table}\" for [streams.STREAM]; or read everything into the other table: `acequia run STREAM \
             --full-refresh`. The table so far stays as it is"
        )));
    }
    stream.masks().refuse_others(known)
}

/// Refuses a stream whose rows would not be found in its table, as they were matched by another key so far.
pub(super) fn refuse_other_key(stream: &Stream, key: &[String], known: &TableSchema) -> Result<()> {
    // Streams of changes take a new snapshot.
    if stream.mode() == Mode::Cdc || !stream.disposition().has_key() {
        return Ok(());
    }
    let (mut before, mut now) = (known.key.clone(), key.to_vec());
    before.sort_unstable();
    now.sort_unstable();
    if before.is_empty() || before == now {
        return Ok(());
    }
    Err(Error::config(format!(
        "the table's rows were matched by the key ({}) so far, and would be by ({}) now: rows that it has would come again beside \
         themselves",
        known.key.join(", "),
        key.join(", ")
    ))
    .remedy(
        "where the key was renamed in the source, or another is wanted: `acequia run STREAM --full-refresh`; else set `primary_key` back",
    ))
}

/// Refuses a stream whose rows would stand in other columns of its table than the rows that are there.
pub(super) fn refuse_other_names(
    stream: &Stream,
    renames: &Renames,
    known: &TableSchema,
) -> Result<()> {
    if stream.disposition() == Disposition::Replace {
        return Ok(());
    }
    renames.refuse_others(known)
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
