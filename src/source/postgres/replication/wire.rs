//! A connection in replication mode: its commands, the stream of the write-ahead log (manual, sections 55.2 and 55.4), and
//! rows of `COPY … TO STDOUT (FORMAT binary)` that hold the same messages (manual, page of COPY, "Binary Format").

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;

use super::body::{Event, copied_field, log_event};
use crate::error::Result;
use crate::position::Lsn;
use crate::postgres::EPOCH_MICROS;
use crate::postgres::connection::Server;
use crate::postgres::protocol_error::{ProtocolError, ProtocolResult, server_error};
use crate::postgres::wire::{Connection, Purpose, TextRow};

/// A connection in replication mode.
#[derive(Debug)]
pub struct ReplicationConnection {
    connection: Connection,
    sends: Sends,
}

/// An event that the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// The log as a stream, for as long as the connection lasts.
    Log,
    /// The rows of a query: one field each, a message of the output plugin.
    Rows,
}

impl ReplicationConnection {
    /// Connects in replication mode, with the settings of every session.
    pub async fn connect(server: &Server) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(server, Purpose::Replication).await?,
            sends: Sends::Log,
        })
    }

    /// Runs a replication command or SQL, and returns the rows of its last result.
    pub async fn query(&mut self, command: &str) -> ProtocolResult<Vec<TextRow>> {
        self.connection.query(command).await
    }

    /// Starts to read the answer of a command: `START_REPLICATION` answers with the log, `COPY … TO STDOUT (FORMAT binary)`
    /// with rows of one field. Returns when the server has started to send.
    pub async fn start(&mut self, command: &str) -> ProtocolResult<()> {
        self.connection.send_query(command).await?;
        loop {
            match self.connection.buffered().first() {
                None => self.connection.fill().await?,
                // The message is left for the events. A query that fails does so before its first row.
                Some(b'd') => {
                    self.sends = Sends::Rows;
                    return Ok(());
                }
                Some(_) => match self.connection.message().await? {
                    (b'W', _) => {
                        self.sends = Sends::Log;
                        return Ok(());
                    }
                    (b'E', body) => return Err(self.connection.failure(&body).await),
                    (b'Z', _) => return Err(ProtocolError::Protocol("no stream began")),
                    _ => {}
                },
            }
        }
    }

    /// The next event in the receive buffer. `None` if more must be received first ([`fill`](Self::fill)).
    pub fn buffered(&mut self) -> ProtocolResult<Option<Event>> {
        while let Some((tag, body)) = self.connection.frame()? {
            match (tag, self.sends) {
                (b'd', Sends::Log) => return log_event(body).map(Some),
                (b'd', Sends::Rows) => {
                    if let Some(field) = copied_field(&body)? {
                        return Ok(Some(Event::Data(field)));
                    }
                }
                (b'Z', Sends::Rows) => return Ok(Some(Event::End)),
                (b'E', _) => return Err(server_error(&body).into()),
                (b'c' | b'C' | b'Z', Sends::Log) => {
                    return Err(ProtocolError::Protocol("the stream ended"));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Receives more. Nothing is lost if the future is dropped before it is ready.
    pub async fn fill(&mut self) -> ProtocolResult<()> {
        self.connection.fill().await
    }

    /// Confirms to the server that everything before `confirmed` is durable; `reply` requests the server's position.
    pub async fn send_status(&mut self, confirmed: Lsn, reply: bool) -> ProtocolResult<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_micros()).ok())
            .unwrap_or(EPOCH_MICROS);
        let mut status = BytesMut::with_capacity(34);
        status.put_u8(b'r');
        for _ in ["written", "flushed", "applied"] {
            status.put_u64(confirmed.0);
        }
        status.put_i64(now - EPOCH_MICROS);
        status.put_u8(u8::from(reply));
        frontend::CopyData::new(status)?.write(self.connection.outbox());
        self.connection.flush().await
    }

    /// Ends the stream and the session in order, so that the server stores what was confirmed.
    pub async fn finish(mut self) -> ProtocolResult<()> {
        frontend::copy_done(self.connection.outbox());
        self.connection.flush().await?;
        loop {
            let (tag, body) = self.connection.message().await?;
            match tag {
                b'Z' => break,
                b'E' => return Err(server_error(&body).into()),
                _ => {}
            }
        }
        frontend::terminate(self.connection.outbox());
        self.connection.flush().await
    }
}
