//! Starts to read the log: by a query for a window of it, or as a stream.

use std::time::Instant;

use tokio_postgres::error::SqlState;

use super::log_reader::StopAt;
use super::wire::ReplicationConnection;
use super::{ReadMode, Replication, wait_for_slot};
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::postgres::protocol_error::ProtocolError;
use crate::source::postgres::sql::{literal, quote};

/// The most bytes of log that one query requests. The server decodes all of them before it sends the first change, and
/// keeps the answer in temporary files. A longer log is read in several windows, each loaded and confirmed before the next.
const WINDOW: u64 = 1 << 30;

/// How much log the server may have to decode for one query, in windows. A transaction that spans several windows is
/// decoded from its beginning for each of them.
const DECODED_WINDOWS: u64 = 2;

/// The size of a window of the log, in bytes.
pub(super) fn window_bytes() -> u64 {
    fail::fail_point!("cdc.window", |bytes| bytes
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(WINDOW));
    WINDOW
}

/// Whether the server may be able to stream what it cannot return as the answer to a query.
fn cannot_answer(error: &ProtocolError) -> bool {
    // Temporary files, disk or memory are full; there are too many rows; the function does not exist, or the user lacks the
    // privilege.
    matches!(
        error.code(),
        Some("53400" | "53100" | "53200" | "54000" | "0A000" | "42501" | "42883")
    )
}

impl Replication {
    /// Starts to read from the lowest of the streams' positions on, and returns how far: as far as requested, or to the end
    /// of a window before that.
    ///
    /// A short log is read by a query, whose rows the server sends in buffers: in a stream, each change costs the server a
    /// system call. A long log is read as a stream, in which the server sends each transaction as it decodes it, and stores
    /// nothing.
    pub(super) async fn begin(&mut self, from: Lsn, until: StopAt) -> Result<StopAt> {
        match self.reading {
            Some(ReadMode::Stream) => return Ok(until),
            Some(ReadMode::Query | ReadMode::Failed) => {
                return Err(Error::source(format!(
                    "reading the write-ahead log of PostgreSQL at {} broke off before",
                    self.server.place()
                ))
                .remedy("run again: nothing that was loaded is lost, and nothing comes twice"));
            }
            None => {}
        }
        let slot = self.names.slot.clone();
        let publication = literal(&quote(&self.names.publication));
        if let StopAt::Lsn(target) = until
            && let Some(end) = self.window(from, target).await?
        {
            let query = format!(
                "COPY (SELECT data FROM pg_logical_slot_peek_binary_changes({}, '{end}', NULL, 'proto_version', '1', \
                 'publication_names', {})) TO STDOUT (FORMAT binary)",
                literal(&slot),
                publication,
            );
            match self.start(&query).await {
                Err(error) if cannot_answer(&error) => {
                    tracing::info!(%error, "the server does not give all changes at once: reading them as a stream");
                    // After an error, PostgreSQL 14 takes for described in this session what the query has described.
                    self.wire = ReplicationConnection::connect(&self.server).await?;
                }
                Err(error) => return Err(self.unreadable(error)),
                Ok(()) => {
                    self.reading = Some(ReadMode::Query);
                    self.ensure_slot_unmoved(from).await?;
                    return Ok(StopAt::Lsn(end));
                }
            }
        }
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {})",
            quote(&slot),
            publication,
        );
        let begun = self.start(&command).await;
        begun.map_err(|error| self.unreadable(error))?;
        self.reading = Some(ReadMode::Stream);
        self.ensure_slot_unmoved(from).await?;
        Ok(until)
    }

    /// Starts to read by a command, when the slot is free.
    async fn start(&mut self, command: &str) -> std::result::Result<(), ProtocolError> {
        let began = Instant::now();
        loop {
            match self.wire.start(command).await {
                Err(error)
                    if error.code() == Some(SqlState::OBJECT_IN_USE.code())
                        && wait_for_slot(began).await => {}
                ended => return ended,
            }
        }
    }

    pub(super) fn unreadable(&self, error: ProtocolError) -> Error {
        let slot = &self.names.slot;
        error.told(
            &format!("cannot read from the replication slot `{slot}`"),
            self.server.place(),
        )
    }

    /// Where the next query on the way to `target` ends. `None` if the server would have to decode too much for it.
    async fn window(&self, from: Lsn, target: Lsn) -> Result<Option<Lsn>> {
        let Some(slot) = self.slot().await? else {
            return Ok(None);
        };
        let window = window_bytes();
        let end = Lsn(from.max(slot.confirmed).0.saturating_add(window)).min(target);
        let decoded = end.0.saturating_sub(slot.restart.0);
        tracing::debug!(%from, %end, decoded, "a window of the write-ahead log");
        Ok((decoded <= window.saturating_mul(DECODED_WINDOWS)).then_some(end))
    }

    /// Refuses a slot that was moved since the streams' positions were compared with it. While a reader holds the slot, it
    /// cannot be moved.
    async fn ensure_slot_unmoved(&self, from: Lsn) -> Result<()> {
        match self.slot().await? {
            Some(slot) if slot.confirmed > from => Err(self.moved(&slot, from)),
            _ => Ok(()),
        }
    }
}
