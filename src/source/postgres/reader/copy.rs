//! Reads with `COPY … TO STDOUT (FORMAT binary)`: the server's messages are framed in place in the read buffer, and their
//! fields are decoded from there into the columns. There is no message, no allocation and no wake-up for each row.

use std::ops::ControlFlow;

use tokio_util::sync::CancellationToken;

use super::{LaneQuery, Sink};
use crate::error::{Error, Result};
use crate::postgres::batch::BatchBuilder;
use crate::postgres::connection::{OWN_PATH, Server};
use crate::postgres::protocol_error::{ProtocolError, server_error};
use crate::postgres::wire::{Connection, Purpose, next_message};

/// A lane that is connected and has its snapshot.
pub struct ReadyLane {
    connection: Connection,
    statement: String,
    rows: Rows,
    place: String,
}

/// Builds batches from the receive buffer.
struct Rows {
    builder: BatchBuilder,
}

/// Why decoding paused.
#[derive(Debug)]
enum Pause {
    /// More must be received.
    Starved,
    /// A batch is full.
    Full,
    /// All rows were received.
    End,
}

impl ReadyLane {
    /// Connects.
    pub(super) async fn connect(server: &Server, lane: LaneQuery) -> Result<Self> {
        let mut connection = Connection::open(server, Purpose::Queries).await?;
        let mut settings = Vec::new();
        if lane.own_path {
            settings.push(OWN_PATH.to_owned());
        }
        settings.push(lane.beginning());
        for statement in settings {
            let begun = connection.query(&statement).await;
            begun.map_err(|error| error.told("cannot begin to read", server.place()))?;
        }
        Ok(Self {
            connection,
            statement: format!("COPY ({}) TO STDOUT (FORMAT binary)", lane.query),
            rows: Rows {
                builder: BatchBuilder::new(&lane.schema, &lane.wire_types, lane.mark),
            },
            place: server.place().to_owned(),
        })
    }

    /// Reads all rows and sends them, until `stop` is cancelled.
    pub(super) async fn run(mut self, mut sink: Sink, stop: &CancellationToken) -> Result<()> {
        let cancel = self.connection.cancel();
        let ended = tokio::select! {
            ended = self.read(&mut sink) => ended,
            () = stop.cancelled() => Err(Error::Interrupted),
        };
        if ended.is_err() {
            // The server notices the closed connection when it sends; what it does before that is cancelled.
            drop(self);
            tokio::spawn(cancel);
        }
        ended
    }

    async fn read(&mut self, sink: &mut Sink) -> Result<()> {
        let place = self.place.clone();
        let broken = |error: ProtocolError| error.told("the server broke off the extract", &place);
        self.connection
            .send_query(&self.statement)
            .await
            .map_err(broken)?;
        loop {
            let (taken, paused) = self.rows.decode(self.connection.buffered());
            self.connection.consume(taken);
            match paused? {
                ControlFlow::Continue(Pause::Starved) => {
                    self.connection.fill().await.map_err(broken)?;
                }
                ControlFlow::Continue(Pause::Full) => self.send(sink).await?,
                ControlFlow::Continue(Pause::End) => {
                    self.send(sink).await?;
                    return sink.finish().await;
                }
                ControlFlow::Break(error) => return Err(broken(error)),
            }
        }
    }

    async fn send(&mut self, sink: &mut Sink) -> Result<()> {
        match self.rows.builder.take()? {
            Some(batch) => sink.send(batch).await,
            None => Ok(()),
        }
    }
}

impl Rows {
    /// Decodes complete messages until a batch is full. Returns how many bytes were decoded, and why decoding paused.
    fn decode(&mut self, bytes: &[u8]) -> (usize, Result<ControlFlow<ProtocolError, Pause>>) {
        let mut taken = 0;
        loop {
            if self.builder.is_full() {
                return (taken, Ok(ControlFlow::Continue(Pause::Full)));
            }
            let message = next_message(bytes.get(taken..).unwrap_or_default());
            let (tag, body, length) = match message {
                Ok(Some(message)) => message,
                Ok(None) => return (taken, Ok(ControlFlow::Continue(Pause::Starved))),
                Err(error) => return (taken, Ok(ControlFlow::Break(error))),
            };
            taken += length;
            match tag {
                b'd' => match self.builder.row(body) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return (taken, Ok(ControlFlow::Break(error))),
                    Err(error) => return (taken, Err(error)),
                },
                b'E' => return (taken, Ok(ControlFlow::Break(server_error(body).into()))),
                b'Z' => return (taken, Ok(ControlFlow::Continue(Pause::End))),
                // The beginning and the end of the copy, and notices.
                _ => {}
            }
        }
    }
}
