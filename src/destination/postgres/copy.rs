//! Parts into a table by `COPY`: a thread reads and encodes them, the connection sends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;

use crate::destination::sql::{Dialect, Engine as _};
use crate::destination::{LOAD_ID_COLUMN, StagedLoad};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::schema::Column;

use super::encode::{Encoder, HEADER, TRAILER};
use super::session::Session;

/// Bytes that are sent at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that wait to be sent, at most.
const CHUNKS: usize = 2;
/// Rows that are decoded at a time, at most.
const BATCH_ROWS: usize = 4096;
/// Bytes that are decoded at a time, roughly at most: one row may be larger.
const BATCH_BYTES: usize = 8 << 20;

/// Copies the rows of parts into a table: these columns, and after them the load's id where it is given. The number of
/// rows. A column that a part lacks is NULL in its rows: in the midst of a load of changes a column may come or go.
///
/// # Errors
/// [`Error::Data`] where PostgreSQL cannot hold a value; [`Error::Landing`] where a part cannot be read.
pub(super) fn copy(
    session: &mut Session,
    table: &str,
    columns: &[Column],
    load_id: Option<&str>,
    load: &StagedLoad,
) -> Result<u64> {
    let encoder = Encoder::new(columns, load_id)?;
    let files = load.parts.files()?;
    let names = columns.iter().map(|column| column.name.as_str());
    let d: &dyn Dialect = session.dialect();
    let names = d.list(names.chain(load_id.map(|_| LOAD_ID_COLUMN)));
    let sql = format!("COPY {table} ({names}) FROM STDIN (FORMAT binary)");
    std::thread::scope(|scope| {
        let (chunks, arriving) = sync_channel(CHUNKS);
        // The reader ends when everything is read, or when its receiver is dropped.
        scope.spawn(move || {
            if let Err(error) = (Reader {
                encoder,
                columns,
                may_lack: load.manifest.mode == Mode::Cdc,
                chunks: &chunks,
                chunk: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8),
            })
            .read(files)
            {
                let _ = chunks.send(Err(error));
            }
        });
        session.copy_in(&sql, arriving.into_iter())
    })
}

struct Reader<'a> {
    encoder: Encoder,
    columns: &'a [Column],
    /// Whether a part may be without a column.
    may_lack: bool,
    chunks: &'a SyncSender<Result<Vec<u8>>>,
    chunk: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self, files: impl Iterator<Item = Result<PathBuf>>) -> Result<()> {
        self.chunk.extend_from_slice(HEADER);
        for file in files {
            if !self.read_part(&file?)? {
                return Ok(());
            }
        }
        self.chunk.extend_from_slice(TRAILER);
        self.send();
        Ok(())
    }

    /// Reads a part. Returns false if the receiver was dropped.
    fn read_part(&mut self, path: &Path) -> Result<bool> {
        let failed = |error: parquet::errors::ParquetError| {
            Error::landing(format!("cannot read the part {}", path.display())).cause(error)
        };
        let file = File::open(path).map_err(|error| {
            Error::landing(format!("cannot open the part {}", path.display())).cause(error)
        })?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        // A part may also have more: columns for values that did not fit, where there were none.
        let places = self
            .columns
            .iter()
            .filter_map(|column| builder.schema().index_of(&column.name).ok());
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let rows = batch_rows(builder.metadata());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(rows)
            .build()
            .map_err(failed)?;
        for batch in reader {
            let batch = batch.map_err(|error| {
                Error::landing(format!("cannot read the part {}", path.display())).cause(error)
            })?;
            if !self.encode(&batch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<bool> {
        // The projection keeps the part's order of columns.
        let arrays = self
            .columns
            .iter()
            .map(|column| match batch.column_by_name(&column.name) {
                Some(array) => Ok(Arc::clone(array)),
                None if self.may_lack => {
                    let data_type = column.column_type.arrow(column.element_id);
                    Ok(new_null_array(&data_type, batch.num_rows()))
                }
                None => Err(Error::landing(format!(
                    "a part has no column `{}`, though its manifest has",
                    column.name
                ))),
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let encoder = self.encoder.clone();
        let rows = encoder.rows(&arrays)?;
        for row in 0..batch.num_rows() {
            rows.put(row, &mut self.chunk)?;
            if self.chunk.len() >= CHUNK_BYTES && !self.send() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends the chunk. Returns false if the receiver was dropped.
    fn send(&mut self) -> bool {
        let next = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.chunks.send(Ok(chunk)).is_ok()
    }
}

/// How many rows make some [`BATCH_BYTES`], of the widest row group.
fn batch_rows(metadata: &ParquetMetaData) -> usize {
    let widest = metadata
        .row_groups()
        .iter()
        .filter(|group| group.num_rows() > 0)
        .map(|group| group.total_byte_size() / group.num_rows())
        .max()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(0);
    (BATCH_BYTES / widest.max(1)).clamp(1, BATCH_ROWS)
}
