//! Lands a stream of batches: encodes them into parts, uploads the parts, and returns their descriptions.
//!
//! Each lane of a load has one encoding thread; the parts of all lanes are numbered together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::manifest::Part;
use super::part::{ChunkSink, properties};
use super::{Landing, LoadAddress};
use crate::error::{Error, Result};
use crate::progress::Counters;

/// How many uploads of one part run at the same time.
const UPLOADS: usize = 2;

/// The size of the first parts of a load that somebody reads while it is landed.
const EARLY_PART_BYTES: u64 = 4 << 20;
/// How many parts are of one size before they grow by as much again.
const EARLY_PARTS: u64 = 8;

/// Lands the batches of one load.
#[derive(Debug, Clone)]
pub struct LoadWriter {
    landing: Landing,
    address: LoadAddress,
    part_size: u64,
    /// Who is told of each part once it is there.
    reader: Option<mpsc::UnboundedSender<Part>>,
    next_part: Arc<AtomicU32>,
    counters: Counters,
}

impl LoadWriter {
    /// Creates a writer for the load at `address`. A part is closed when it has `part_size` bytes.
    pub fn new(
        landing: &Landing,
        address: &LoadAddress,
        part_size: u64,
        counters: &Counters,
    ) -> Self {
        Self {
            landing: landing.clone(),
            address: address.clone(),
            part_size,
            reader: None,
            next_part: Arc::default(),
            counters: counters.clone(),
        }
    }

    /// Tells `reader` of each part. The first parts are smaller, for the first to be there soon; they grow, as there would be
    /// too many of them.
    #[must_use]
    pub fn read_by(mut self, reader: Option<mpsc::UnboundedSender<Part>>) -> Self {
        self.reader = reader;
        self
    }

    /// The size at which the part of this number is closed.
    fn most_bytes(&self, number: u32) -> u64 {
        if self.reader.is_none() {
            return self.part_size;
        }
        let early = EARLY_PART_BYTES.saturating_mul(1 + u64::from(number) / EARLY_PARTS);
        early.min(self.part_size)
    }

    /// Lands the batches of a lane, from its first until its channel closes, and returns the parts. If the columns change,
    /// a new part begins. Blocks, so it needs a thread of its own, within a runtime.
    pub fn land(
        &self,
        first: RecordBatch,
        mut batches: mpsc::Receiver<RecordBatch>,
        shape: impl Fn(RecordBatch) -> Result<RecordBatch>,
    ) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut open: Option<OpenPart> = None;
        let mut columns: Option<SchemaRef> = None;
        let rest = std::iter::from_fn(|| batches.blocking_recv());
        for batch in std::iter::once(first).chain(rest) {
            // A batch without rows matters only if its columns differ.
            let others = columns
                .as_ref()
                .is_some_and(|columns| *columns != batch.schema());
            if batch.num_rows() == 0 && !others {
                continue;
            }
            columns = Some(batch.schema());
            let batch = shape(batch)?;
            self.counters.add_rows(batch.num_rows() as u64);
            let mut part = match open.take() {
                Some(part) if part.schema == batch.schema() => part,
                other => {
                    if let Some(part) = other {
                        parts.push(part.close(self)?);
                    }
                    self.open_part(batch.schema())?
                }
            };
            if let Err(error) = part.write(&batch, &self.counters) {
                return Err(part.failure(error, self));
            }
            if part.size() < part.most_bytes {
                open = Some(part);
            } else {
                parts.push(part.close(self)?);
            }
        }
        if let Some(part) = open {
            parts.push(part.close(self)?);
        }
        Ok(parts)
    }

    fn open_part(&self, schema: SchemaRef) -> Result<OpenPart> {
        let number = self.next_part.fetch_add(1, Ordering::Relaxed);
        let name = format!("part-{number:05}.parquet");
        let path = self.address.file(&name);
        self.landing.refuse_links(&path)?;
        let (sender, receiver) = mpsc::channel(UPLOADS);
        let upload = Handle::current().spawn(upload(self.landing.clone(), path.clone(), receiver));
        let writer = ArrowWriter::try_new(
            ChunkSink::new(sender, self.landing.chunk_bytes()),
            Arc::clone(&schema),
            Some(properties(&schema)),
        )
        .map_err(|error| {
            Error::internal("cannot begin a Parquet part of this schema").cause(error)
        })?;
        Ok(OpenPart {
            schema,
            name,
            path,
            most_bytes: self.most_bytes(number),
            writer,
            upload,
            rows: 0,
            counted: 0,
        })
    }
}

/// A part that is being written.
struct OpenPart {
    schema: SchemaRef,
    name: String,
    path: Path,
    /// The size at which it is closed.
    most_bytes: u64,
    writer: ArrowWriter<ChunkSink>,
    upload: JoinHandle<Result<()>>,
    rows: u64,
    /// The bytes that are already counted in the progress.
    counted: u64,
}

impl OpenPart {
    fn write(&mut self, batch: &RecordBatch, counters: &Counters) -> Result<(), ParquetError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch)?;
        let written = self.writer.bytes_written() as u64;
        counters.add_bytes(written.saturating_sub(self.counted));
        self.counted = written;
        Ok(())
    }

    /// The approximate size of the part if it were closed now, in bytes.
    fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    fn close(mut self, load: &LoadWriter) -> Result<Part> {
        if let Err(error) = self.writer.flush() {
            return Err(self.failure(error, load));
        }
        let Self {
            name,
            path,
            writer,
            upload,
            rows,
            counted,
            ..
        } = self;
        let sent = writer.into_inner().and_then(|sink| Ok(sink.finish()?));
        uploaded(upload)?;
        let (bytes, sha256) = sent.map_err(|error| unwritten(&path, load, error))?;
        load.counters.add_bytes(bytes.saturating_sub(counted));
        fail::fail_point!("landing.part_written", crate::failpoint::abort);
        let part = Part {
            path: name,
            rows,
            bytes,
            sha256,
        };
        if let Some(reader) = &load.reader {
            // A reader that has given up needs no part.
            let _ = reader.send(part.clone());
        }
        Ok(part)
    }

    /// The error that made writing fail: the upload's, if the upload failed. The upload ends when no more chunks can come.
    fn failure(self, error: ParquetError, load: &LoadWriter) -> Error {
        drop(self.writer);
        match uploaded(self.upload) {
            Ok(()) => unwritten(&self.path, load, error),
            Err(cause) => cause,
        }
    }
}

/// Awaits the end of an upload. Blocks.
fn uploaded(upload: JoinHandle<Result<()>>) -> Result<()> {
    Handle::current()
        .block_on(upload)
        .map_err(|error| Error::internal("the upload of a part ended").cause(error))?
}

fn unwritten(path: &Path, load: &LoadWriter, error: ParquetError) -> Error {
    let place = load.landing.describe_file(path);
    Error::landing(format!("cannot write the part {place}")).cause(error)
}

/// Uploads a part, chunk by chunk.
async fn upload(landing: Landing, path: Path, mut chunks: mpsc::Receiver<Bytes>) -> Result<()> {
    let mut writer = BufWriter::with_capacity(
        Arc::clone(&landing.store),
        path.clone(),
        landing.chunk_bytes(),
    )
    .with_max_concurrency(UPLOADS);
    while let Some(chunk) = chunks.recv().await {
        writer
            .put(chunk)
            .await
            .map_err(|error| landing.fault("cannot write the part", &path, error))?;
    }
    writer.shutdown().await.map_err(|error| {
        let kind = error.kind();
        match error.downcast::<object_store::Error>() {
            Ok(error) => landing.fault("cannot write the part", &path, error),
            Err(error) => landing.fault(
                "cannot write the part",
                &path,
                object_store::Error::Generic {
                    store: "landing",
                    source: format!("{kind:?}: {error}").into(),
                },
            ),
        }
    })
}
