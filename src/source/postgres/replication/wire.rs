//! A connection in replication mode: its commands, the stream of the write-ahead log (manual, sections 55.2 and 55.4), and
//! rows of `COPY … TO STDOUT (FORMAT binary)` that hold the same messages (manual, page of COPY, "Binary Format").
//!
//! `tokio_postgres` has no replication mode. This is the little that it lacks, over the same settings and the same TLS
//! (`postgres_openssl`) as every other connection, with the message encoders and SCRAM of `postgres_protocol`.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::body::{Event, ServerError, TextRow, copied_field, log_event, server_error, text_row};
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::postgres::EPOCH_MICROS;
use crate::source::postgres::connection::{
    LASTING_SETTINGS, NOTICE_A_DEAD_CLIENT, SESSION_SETTINGS, Server,
};

/// What the server may send in one message at most: its own limit is 1 GiB.
const MAX_MESSAGE: usize = 1 << 30;
/// Room that is kept for what comes.
const READ_BUFFER: usize = 256 << 10;
trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// A connection in replication mode.
pub struct ReplicationConnection {
    transport: Box<dyn Transport>,
    inbox: BytesMut,
    outbox: BytesMut,
    sends: Sends,
}

/// What the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// The log, for as long as the connection lasts.
    Log,
    /// The rows of a query: one field each, a message of the output plugin.
    Rows,
}

/// What can go wrong on the wire.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The server reports a failure.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The connection broke.
    #[error("the connection to the server was lost")]
    Io(#[from] io::Error),
    /// The server does not keep to the protocol.
    #[error("the server sent what the protocol does not have here: {0}")]
    Protocol(&'static str),
}

pub(super) type WireResult<T> = std::result::Result<T, WireError>;

impl ReplicationConnection {
    /// Connects in replication mode, with the session's settings as every reading session has them.
    pub async fn connect(server: &Server) -> Result<Self> {
        let mut failure = None;
        let config = server.config();
        for (index, host) in config.get_hosts().iter().enumerate() {
            let ports = config.get_ports();
            let port = *ports.get(index).or(ports.first()).unwrap_or(&5432);
            let timeout = config
                .get_connect_timeout()
                .copied()
                .unwrap_or(Duration::from_secs(10));
            match tokio::time::timeout(timeout, Self::connect_to(server, host, port)).await {
                Ok(Ok(mut connection)) => {
                    for settings in [SESSION_SETTINGS, LASTING_SETTINGS] {
                        let set = connection.query(settings).await;
                        set.map_err(|error| {
                            error.told("cannot begin to replicate", server.place())
                        })?;
                    }
                    let _ = connection.query(NOTICE_A_DEAD_CLIENT).await;
                    return Ok(connection);
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_) => {
                    failure = Some(WireError::Io(io::Error::from(io::ErrorKind::TimedOut)));
                }
            }
        }
        let failure = failure.unwrap_or(WireError::Protocol("no host"));
        Err(failure.told("cannot connect for replication", server.place()))
    }

    async fn connect_to(server: &Server, host: &Host, port: u16) -> WireResult<Self> {
        let config = server.config();
        let transport: Box<dyn Transport> = match host {
            Host::Tcp(name) => {
                let stream = TcpStream::connect((name.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                encrypt(server, name, config.get_ssl_mode(), stream).await?
            }
            #[cfg(unix)]
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                Box::new(UnixStream::connect(path).await?)
            }
        };
        let mut connection = Self {
            transport,
            inbox: BytesMut::with_capacity(READ_BUFFER),
            outbox: BytesMut::new(),
            sends: Sends::Log,
        };
        connection.start_up(config).await?;
        Ok(connection)
    }

    async fn start_up(&mut self, config: &tokio_postgres::Config) -> WireResult<()> {
        let user = config.get_user().unwrap_or_default().to_owned();
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        let mut parameters = vec![
            ("user", user.as_str()),
            ("database", database.as_str()),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
        ];
        parameters.extend(config.get_options().map(|options| ("options", options)));
        let name = config.get_application_name().unwrap_or("acequia");
        parameters.push(("application_name", name));
        frontend::startup_message(parameters, &mut self.outbox)?;
        self.flush().await?;
        let password = config.get_password().unwrap_or_default().to_vec();
        let mut scram: Option<ScramSha256> = None;
        loop {
            let (tag, mut body) = self.message().await?;
            match tag {
                b'R' => {
                    if body.len() < 4 {
                        return Err(WireError::Protocol("a short authentication request"));
                    }
                    match body.get_i32() {
                        0 => scram = None,
                        3 => frontend::password_message(&password, &mut self.outbox)?,
                        5 => {
                            let salt = body
                                .get(..4)
                                .and_then(|salt| <[u8; 4]>::try_from(salt).ok())
                                .ok_or(WireError::Protocol("a short salt"))?;
                            let hash = md5_hash(user.as_bytes(), &password, salt);
                            frontend::password_message(hash.as_bytes(), &mut self.outbox)?;
                        }
                        10 => {
                            let offered = body.split(|byte| *byte == 0);
                            if !offered
                                .into_iter()
                                .any(|name| name == SCRAM_SHA_256.as_bytes())
                            {
                                return Err(WireError::Protocol("no known way to authenticate"));
                            }
                            let state = ScramSha256::new(&password, ChannelBinding::unsupported());
                            frontend::sasl_initial_response(
                                SCRAM_SHA_256,
                                state.message(),
                                &mut self.outbox,
                            )?;
                            scram = Some(state);
                        }
                        11 => {
                            let state = scram
                                .as_mut()
                                .ok_or(WireError::Protocol("SASL out of turn"))?;
                            state.update(&body)?;
                            frontend::sasl_response(state.message(), &mut self.outbox)?;
                        }
                        12 => scram
                            .as_mut()
                            .ok_or(WireError::Protocol("SASL out of turn"))?
                            .finish(&body)?,
                        _ => return Err(WireError::Protocol("an unknown way to authenticate")),
                    }
                    self.flush().await?;
                }
                b'Z' => return Ok(()),
                b'E' => return Err(server_error(&body).into()),
                // Parameters, notices and the key for cancelling.
                _ => {}
            }
        }
    }

    /// Runs a replication command or SQL and gives the rows of its last answer.
    pub async fn query(&mut self, command: &str) -> WireResult<Vec<TextRow>> {
        frontend::query(command, &mut self.outbox)?;
        self.flush().await?;
        let mut rows = Vec::new();
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'T' => rows.clear(),
                b'D' => rows.push(text_row(body)?),
                b'E' => return Err(self.failure(&body).await),
                b'Z' => return Ok(rows),
                _ => {}
            }
        }
    }

    /// Begins to read what a command brings: `START_REPLICATION` the log, `COPY … TO STDOUT (FORMAT binary)` rows of one
    /// field. Returns once the server has begun to send.
    pub async fn start(&mut self, command: &str) -> WireResult<()> {
        frontend::query(command, &mut self.outbox)?;
        self.flush().await?;
        loop {
            match self.inbox.first() {
                None => self.fill().await?,
                // Left for the events. A query that fails does so before its first row.
                Some(b'd') => {
                    self.sends = Sends::Rows;
                    return Ok(());
                }
                Some(_) => match self.message().await? {
                    (b'W', _) => {
                        self.sends = Sends::Log;
                        return Ok(());
                    }
                    (b'E', body) => return Err(self.failure(&body).await),
                    (b'Z', _) => return Err(WireError::Protocol("no stream began")),
                    _ => {}
                },
            }
        }
    }

    /// The next event among what has come; none where more has to come first ([`fill`](Self::fill)).
    pub fn buffered(&mut self) -> WireResult<Option<Event>> {
        while let Some((tag, body)) = self.frame()? {
            match (tag, self.sends) {
                (b'd', Sends::Log) => return log_event(body).map(Some),
                (b'd', Sends::Rows) => {
                    if let Some(field) = copied_field(body)? {
                        return Ok(Some(Event::Data(field)));
                    }
                }
                (b'Z', Sends::Rows) => return Ok(Some(Event::End)),
                (b'E', _) => return Err(server_error(&body).into()),
                (b'c' | b'C' | b'Z', Sends::Log) => {
                    return Err(WireError::Protocol("the stream ended"));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Waits until more has come. Nothing is lost where this is dropped before it is ready.
    pub async fn fill(&mut self) -> WireResult<()> {
        self.inbox.reserve(READ_BUFFER);
        if self.transport.read_buf(&mut self.inbox).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// Tells the server that everything before `confirmed` is durable, which it may then forget; with `reply`, asks it
    /// where it stands.
    pub async fn send_status(&mut self, confirmed: Lsn, reply: bool) -> WireResult<()> {
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
        frontend::CopyData::new(status)?.write(&mut self.outbox);
        self.flush().await
    }

    /// Ends the stream and the session, in order: what was confirmed is then written down by the server.
    pub async fn finish(mut self) -> WireResult<()> {
        frontend::copy_done(&mut self.outbox);
        self.flush().await?;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'Z' => break,
                b'E' => return Err(server_error(&body).into()),
                _ => {}
            }
        }
        frontend::terminate(&mut self.outbox);
        self.flush().await
    }

    /// What the server reports, after which it takes the next command, unless it has ended the session.
    async fn failure(&mut self, body: &[u8]) -> WireError {
        let failure = server_error(body);
        while let Ok((tag, _)) = self.message().await {
            if tag == b'Z' {
                break;
            }
        }
        failure.into()
    }

    /// The next message: its tag and body.
    async fn message(&mut self) -> WireResult<(u8, Bytes)> {
        loop {
            if let Some(message) = self.frame()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The next message among what has come.
    fn frame(&mut self) -> WireResult<Option<(u8, Bytes)>> {
        let Some(mut header) = self.inbox.get(..5) else {
            return Ok(None);
        };
        let tag = header.get_u8();
        let length = usize::try_from(header.get_i32())
            .ok()
            .filter(|length| (4..=MAX_MESSAGE).contains(length))
            .ok_or(WireError::Protocol("a message of no possible length"))?;
        if self.inbox.len() <= length {
            // Room for all of it at once, so that a large message is not moved about.
            self.inbox.reserve(length + 1 - self.inbox.len());
            return Ok(None);
        }
        let mut frame = self.inbox.split_to(length + 1);
        frame.advance(5);
        Ok(Some((tag, frame.freeze())))
    }

    /// Sends what waits. Dropped before it is ready, it goes on with the rest the next time.
    async fn flush(&mut self) -> WireResult<()> {
        self.transport.write_all_buf(&mut self.outbox).await?;
        self.transport.flush().await?;
        Ok(())
    }
}

impl std::fmt::Debug for ReplicationConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicationConnection")
            .finish_non_exhaustive()
    }
}

impl WireError {
    /// The SQLSTATE that the server reports.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            Self::Io(_) | Self::Protocol(_) => None,
        }
    }

    /// What it means for a run.
    pub fn told(self, what: &str, place: &str) -> Error {
        let fault = Error::source(format!("{what} (PostgreSQL at {place})"));
        let remedy = match (&self, self.code()) {
            (_, Some("55006")) => {
                "wait until the other run ends, or stop it: a replication slot has one reader at a time"
            }
            (_, Some("53400")) => {
                "drop a slot that nothing reads (SELECT slot_name, active FROM pg_replication_slots), or raise \
                 max_replication_slots and max_wal_senders and restart the server"
            }
            (_, Some("42501")) => {
                "give the source's user what replication needs: ALTER ROLE … REPLICATION; `acequia check` names each right"
            }
            (_, Some("28P01" | "28000")) => {
                "see the user and password in the source's `url`, and that pg_hba.conf lets the user in"
            }
            (_, Some("55000")) => "`acequia check` tells what replication needs of the server",
            (Self::Io(_), _) => {
                "see the server's log, and run again: nothing that was loaded is lost, and nothing comes twice"
            }
            (_, Some("57P01" | "57P02" | "57P03")) => {
                "run again once the server is up: nothing that was loaded is lost, and nothing comes twice"
            }
            _ => "",
        };
        let fault = fault.cause(self);
        if remedy.is_empty() {
            fault
        } else {
            fault.remedy(remedy)
        }
    }
}

/// TLS as the settings ask for it.
async fn encrypt(
    server: &Server,
    host: &str,
    mode: SslMode,
    mut stream: TcpStream,
) -> WireResult<Box<dyn Transport>> {
    if mode == SslMode::Disable {
        return Ok(Box::new(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => {
            let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
                WireError::Io(io::Error::other(error))
            };
            let mut tls = server.tls();
            let connector = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, host)
                .map_err(|error| broken(error.into()))?;
            let stream = connector.connect(stream).await.map_err(broken)?;
            Ok(Box::new(stream))
        }
        _ if mode == SslMode::Require => Err(WireError::Protocol("the server has no TLS")),
        _ => Ok(Box::new(stream)),
    }
}
