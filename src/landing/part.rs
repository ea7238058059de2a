//! How a Parquet part is written: encodings, row groups, statistics. And the sink that hashes and uploads it.

use std::io::{self, Write};

use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Rows of a row group. DuckDB hands row groups to its threads, so there should be several in a part.
const ROW_GROUP_ROWS: usize = 1 << 19;
/// Bytes of a row group, encoded: what one part writer holds in memory.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Bytes handed at a time to an object store: S3 takes no less than 5 MiB in all but the last part of an upload.
pub(super) const UPLOAD_BYTES: usize = 8 << 20;
/// Bytes written at a time to a folder. Several of these chunks are held by each lane.
pub(super) const WRITE_BYTES: usize = 1 << 20;

/// The writer's properties for a schema.
///
/// Keys, counters and times grow or repeat in steps: delta encoding is smaller than a dictionary for them, and faster.
/// Text and floating-point numbers keep the dictionary, which the writer itself gives up where it does not pay:
/// `BYTE_STREAM_SPLIT`, which is made for such numbers, is an encoding that Spark's own reader does not know (SPARK-56894).
pub(crate) fn properties(schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("acequia {}", env!("CARGO_PKG_VERSION")))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    for field in schema.fields() {
        let name = field.name().clone();
        let (path, element) = match field.data_type() {
            DataType::List(element) => (
                vec![name, "list".to_owned(), "element".to_owned()],
                element.data_type(),
            ),
            scalar => (vec![name], scalar),
        };
        let path = ColumnPath::new(path);
        let encoding = match element {
            DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Time64(_)
            | DataType::Timestamp(..) => Encoding::DELTA_BINARY_PACKED,
            // A UUID.
            DataType::FixedSizeBinary(_) => Encoding::PLAIN,
            _ => continue,
        };
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, encoding);
    }
    properties.build()
}

/// Takes a part's bytes from the Parquet writer, hashes them and hands them on in chunks, over a bounded channel.
pub(super) struct ChunkSink {
    chunks: mpsc::Sender<Bytes>,
    chunk_bytes: usize,
    buffer: Vec<u8>,
    hash: Sha256,
    bytes: u64,
}

impl ChunkSink {
    /// A sink that hands chunks of `chunk_bytes` to `chunks`.
    pub(super) fn new(chunks: mpsc::Sender<Bytes>, chunk_bytes: usize) -> Self {
        Self {
            chunks,
            chunk_bytes,
            buffer: Vec::with_capacity(chunk_bytes),
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Hands on what is left, and tells the part's bytes and checksum.
    pub(super) fn finish(mut self) -> io::Result<(u64, String)> {
        self.send()?;
        Ok((self.bytes, crate::names::hex(&self.hash.finalize())))
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(self.chunk_bytes));
        self.hash.update(&chunk);
        self.bytes += chunk.len() as u64;
        self.chunks
            .blocking_send(Bytes::from(chunk))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload ended"))
    }
}

impl Write for ChunkSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= self.chunk_bytes {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
