//! Landing an extract: its lanes become the parts of a load, with a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::StreamRun;
use crate::error::{Error, Result};
use crate::evolution::without_unused;
use crate::landing::LoadAddress;
use crate::landing::manifest::{FORMAT_VERSION, Manifest, Part};
use crate::landing::writer::LoadWriter;
use crate::mode::{Amends, Disposition, Mode};
use crate::names::LoadId;
use crate::pipeline::ahead::Ahead;
use crate::pipeline::loader::Hold;
use crate::pipeline::report::StreamReport;
use crate::pipeline::shape_step::Shape;
use crate::pipeline::spans;
use crate::position::Position;
use crate::progress::Phase;
use crate::schema::Schema;
use crate::source::{Extract, ExtractEnd};

/// What is known of an extract before its rows are read.
#[derive(Debug)]
pub(in crate::pipeline) struct Expected {
    /// The position that the extract begins at.
    pub(in crate::pipeline) from: Option<Position>,
    /// The columns. `None` if only the end of the extract has them.
    pub(in crate::pipeline) schema: Option<Schema>,
    /// The columns for values that do not fit their own column's type.
    pub(in crate::pipeline) misfits: BTreeMap<String, String>,
    pub(in crate::pipeline) primary_key: Vec<String>,
    /// Whether the source guarantees that keys are unique.
    pub(in crate::pipeline) key_is_unique: bool,
    /// What is done to its batches. What amends a table comes as the table has it.
    pub(in crate::pipeline) shape: Arc<Shape>,
    /// What the load amends, if it is no extract of what is new.
    pub(in crate::pipeline) amends: Option<Amends>,
}

/// The result of landing an extract.
#[derive(Debug)]
pub(in crate::pipeline) enum Landed {
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
pub(in crate::pipeline) struct ReadyLoad {
    pub(super) address: LoadAddress,
    pub(super) manifest: Manifest,
    /// The load, where it was begun before its extract had ended.
    pub(super) ahead: Option<Ahead>,
    pub(super) _hold: Hold,
}

/// Refuses columns that a rename gives one name: a source's new column may be called as a renamed one is.
fn refuse_one_name(schema: &Schema) -> Result<()> {
    let mut columns = schema.columns.iter();
    if columns.all(|column| column.renamed_from.is_none()) {
        return Ok(());
    }
    let mut names = BTreeSet::new();
    let mut columns = schema.columns.iter();
    match columns.find(|column| !names.insert(column.name.to_lowercase())) {
        None => Ok(()),
        Some(column) => Err(Error::config(format!(
            "[streams.STREAM.rename] gives two columns the name `{}`",
            column.name
        ))
        .remedy("give each a name of its own, or leave one of them out with `exclude`")),
    }
}

impl StreamRun {
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
    pub(in crate::pipeline) async fn land(
        &mut self,
        extract: Extract,
        mut expected: Expected,
        stop: &CancellationToken,
        report: &mut StreamReport,
    ) -> Result<Landed> {
        self.counters.enter(Phase::Extracting);
        let address = self.address();
        let (ahead, reader) = self.ahead(&address, &expected).unzip();
        let landing = self.land_lanes(extract, &address, &expected.shape, reader, stop);
        let (parts, hold, end) = match landing.await {
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
        let renames = &expected.shape.renames;
        let of_end = complete.schema.map(|schema| renames.to_table(schema));
        let Some(schema) = of_end.or_else(|| expected.schema.take()) else {
            return Ok(Landed::Nothing(complete.position.map(Box::new)));
        };
        refuse_one_name(&schema)?;
        let known = self.state.as_ref().map(|state| &state.schema);
        let mut schema = without_unused(
            known.filter(|_| !self.full_refresh),
            schema,
            &expected.misfits,
            &complete
                .used
                .iter()
                .map(|name| renames.name(name).to_owned())
                .collect(),
        );
        self.stream.masks().note(&mut schema);
        let mut manifest = self.manifest(&address, schema, &expected, parts);
        manifest.marks = complete.marks.map(|name| renames.name(&name).to_owned());
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
            ahead,
            _hold: hold,
        })))
    }

    /// A load of this extract that is applied while it runs, and where its parts are sent; `None` if it cannot be.
    fn ahead(
        &self,
        address: &LoadAddress,
        expected: &Expected,
    ) -> Option<(Ahead, UnboundedSender<Part>)> {
        let stream = &self.stream;
        let can = self.loader.loads_ahead()
            && self.landing.is_local()
            && self.state.is_none()
            && stream.mode() != Mode::Cdc
            && stream.disposition() != Disposition::Scd2
            // These may lock what others need, and the columns for misfits are known at the end.
            && stream.hooks.pre_sql.is_empty()
            && expected.misfits.is_empty()
            && expected.amends.is_none();
        let mut schema = expected.schema.clone().filter(|_| can)?;
        stream.masks().note(&mut schema);
        let manifest = self.manifest(address, schema, expected, Vec::new());
        Some(Ahead::of(
            self.step(),
            address.clone(),
            manifest,
            &self.running,
        ))
    }

    /// Lands the lanes of an extract at the same time, and awaits its end. The first failure stops all lanes.
    ///
    /// From the first batch on, the destination is kept open: no other run may take the extract's files for those of a dead
    /// run until the rows are loaded. An extract without rows does not keep it open.
    async fn land_lanes(
        &self,
        extract: Extract,
        address: &LoadAddress,
        shape: &Arc<Shape>,
        reader: Option<UnboundedSender<Part>>,
        stop: &CancellationToken,
    ) -> Result<(Vec<Part>, Option<Hold>, ExtractEnd)> {
        let writer = LoadWriter::new(
            &self.landing,
            address,
            self.pipeline.part_size,
            &self.counters,
        )
        .read_by(reader);
        // What is landed belongs to what is read; of a pass of a run that follows, it is what begins it.
        let (within, read) = (self.within.clone(), Span::current());
        let span = Arc::new(OnceLock::new());
        let mut lanes = JoinSet::new();
        for mut batches in extract.lanes {
            let (writer, loader) = (writer.clone(), self.loader.clone());
            let (shape, stream) = (Arc::clone(shape), self.stream.name.clone());
            let (span, within, read) = (Arc::clone(&span), within.clone(), read.clone());
            lanes.spawn(async move {
                let Some(first) = batches.recv().await else {
                    return Ok(None);
                };
                let parent = || within.parent_of_landing(&read);
                span.get_or_init(|| spans::land(&stream, &parent()));
                let hold = loader.hold().await?;
                let landing = tokio::task::spawn_blocking(move || {
                    writer.land(first, batches, |batch| shape.of(batch))
                });
                let parts = landing.await.map_err(|error| {
                    Error::internal("a landing thread ended unexpectedly").cause(error)
                })??;
                Ok(Some((parts, hold)))
            });
        }
        // The reader is to learn when the last lane has ended.
        drop(writer);
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
        if let Some(span) = span.get() {
            spans::note_error(span, &landed);
        }
        let (mut parts, hold) = landed?;
        if let Some(span) = span.get() {
            spans::landed(span, &parts);
        }
        parts.sort_by(|a: &Part, b| a.path.cmp(&b.path));
        Ok((parts, hold, end?))
    }

    /// Removes the files of an extract that failed.
    async fn discard(&self, address: &LoadAddress) {
        if let Err(left) = self.landing.discard(address).await {
            tracing::debug!(%left, "an unfinished extract stays for the next run to remove");
        }
    }

    /// The manifest of an extract, without what only its end has: the new position, and which column marks rows.
    fn manifest(
        &self,
        address: &LoadAddress,
        schema: Schema,
        expected: &Expected,
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
            primary_key: expected.primary_key.clone(),
            changes: self.stream.changes(),
            previous: self.state.as_ref().map(|state| state.load_id.clone()),
            full_refresh: self.full_refresh,
            key_is_unique: expected.key_is_unique,
            configuration: Some(self.stream.fingerprint()),
            cursor: self.stream.table_cursor().map(str::to_owned),
            marks: None,
            amends: expected.amends.clone(),
            schema,
            position_before: expected.from.clone(),
            position_after: None,
            rows: parts.iter().map(|part| part.rows).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
            extracted_at: self.now(),
            acequia_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The current time, but later than the stream's last load: the clock may have been set back.
    fn now(&self) -> DateTime<Utc> {
        let known = self.state.as_ref().map(|state| state.updated_at);
        let next = known.and_then(|known| known.checked_add_signed(TimeDelta::microseconds(1)));
        next.map_or_else(Utc::now, |next| next.max(Utc::now()))
    }
}
