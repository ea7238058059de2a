//! A connection of acequia's own, for what `tokio_postgres` does not do: replication mode, and rows of COPY that are read
//! in place.
//!
//! It implements the protocol's simple query flow (manual, section 55.2.2) with the same settings and the same TLS as every
//! other connection, over the message encoders and SCRAM of `postgres_protocol`.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::config::{Config, Host, TargetSessionAttrs};

use super::connection::Server;
use super::login::Login;
use super::protocol_error::{ProtocolError, ProtocolResult, server_error};
use super::transport::{Transport, reach};
use crate::error::Result;

/// The largest message that is accepted: the server's own limit is 1 GiB.
const MAX_MESSAGE: usize = 1 << 30;
/// The free space that is kept in the receive buffer.
const READ_BUFFER: usize = 256 << 10;
/// How long a cancel request may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// A connection.
pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    inbox: BytesMut,
    outbox: BytesMut,
    /// The server's process id and the secret of cancel requests.
    key: Option<(i32, i32)>,
    server: Server,
    /// The host that it is connected to.
    host: (Host, u16),
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Statements.
    Queries,
    /// Replication commands, and statements without parameters.
    Replication,
}

/// A row of a command's result, as text.
pub(crate) type TextRow = Vec<Option<String>>;

impl Connection {
    /// Connects, with the settings of every session.
    ///
    /// # Errors
    /// [`Error::Source`](crate::Error::Source) with the error of the last host.
    pub(crate) async fn open(server: &Server, purpose: Purpose) -> Result<Self> {
        let what = match purpose {
            Purpose::Queries => "cannot connect",
            Purpose::Replication => "cannot connect for replication",
        };
        let config = server.with_password().await?;
        let connecting = Self::any_host(server, &config, purpose);
        match tokio::time::timeout(server.patience(), connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(ProtocolError::Io(io::ErrorKind::TimedOut.into())),
        }
        .map_err(|error| error.told(what, server.place()))
    }

    async fn any_host(server: &Server, config: &Config, purpose: Purpose) -> ProtocolResult<Self> {
        let mut failure = ProtocolError::Protocol("no host");
        for (index, host) in config.get_hosts().iter().enumerate() {
            let ports = config.get_ports();
            let port = *ports.get(index).or(ports.first()).unwrap_or(&5432);
            let timeout = config.get_connect_timeout().copied();
            let connecting = Self::session(server, config, (host.clone(), port), purpose);
            match tokio::time::timeout(timeout.unwrap_or(server.patience()), connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = ProtocolError::Io(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failure)
    }

    /// Connects to one host, and sets up the session.
    async fn session(
        server: &Server,
        config: &Config,
        host: (Host, u16),
        purpose: Purpose,
    ) -> ProtocolResult<Self> {
        let (transport, binding) = reach(server, &host).await?;
        let mut connection = Self {
            transport,
            inbox: BytesMut::with_capacity(READ_BUFFER),
            outbox: BytesMut::new(),
            key: None,
            server: server.clone(),
            host,
        };
        connection.start_up(config, purpose, binding).await?;
        let wanted = match config.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => Some("off"),
            TargetSessionAttrs::ReadOnly => Some("on"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let answer = connection.query("SHOW transaction_read_only").await?;
            if answer.first().and_then(|row| row.first()?.as_deref()) != Some(wanted) {
                return Err(ProtocolError::Protocol(
                    "a session that target_session_attrs does not allow",
                ));
            }
        }
        let [settings, optional] = Server::settings();
        connection.query(settings).await?;
        // PostgreSQL before 14 refuses this setting.
        if let Err(error @ (ProtocolError::Io(_) | ProtocolError::Protocol(_))) =
            connection.query(optional).await
        {
            return Err(error);
        }
        Ok(connection)
    }

    async fn start_up(
        &mut self,
        config: &Config,
        purpose: Purpose,
        binding: Option<Vec<u8>>,
    ) -> ProtocolResult<()> {
        let user = config.get_user().unwrap_or_default();
        let database = config.get_dbname().unwrap_or(user);
        let mut parameters = vec![
            ("user", user),
            ("database", database),
            ("client_encoding", "UTF8"),
        ];
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
        }
        parameters.extend(config.get_options().map(|options| ("options", options)));
        let name = config.get_application_name().unwrap_or("acequia");
        parameters.push(("application_name", name));
        frontend::startup_message(parameters, &mut self.outbox)?;
        self.flush().await?;
        let mut login = Login::new(user, config, binding);
        loop {
            let (tag, mut body) = self.message().await?;
            match tag {
                b'R' => {
                    login.answer(body, &mut self.outbox)?;
                    self.flush().await?;
                }
                b'K' if body.len() >= 8 => self.key = Some((body.get_i32(), body.get_i32())),
                b'Z' => return Ok(()),
                b'E' => return Err(server_error(&body).into()),
                // Parameters and notices are ignored.
                _ => {}
            }
        }
    }

    /// Runs a replication command or SQL, and returns the rows of its last result.
    pub(crate) async fn query(&mut self, command: &str) -> ProtocolResult<Vec<TextRow>> {
        self.send_query(command).await?;
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

    /// Sends a statement, whose result must then be read.
    pub(crate) async fn send_query(&mut self, command: &str) -> ProtocolResult<()> {
        frontend::query(command, &mut self.outbox)?;
        self.flush().await
    }

    /// The received bytes that were not yet consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.inbox
    }

    /// Consumes received bytes.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.inbox.advance(bytes);
    }

    /// Receives more. Nothing is lost if the future is dropped before it is ready.
    pub(crate) async fn fill(&mut self) -> ProtocolResult<()> {
        let needed = match header(&self.inbox)? {
            // Space for the whole of a large message is reserved at once, so that it is not moved.
            Some((_, length)) => (length + 1).saturating_sub(self.inbox.len()),
            None => 0,
        };
        self.inbox.reserve(needed.max(READ_BUFFER));
        if self.transport.read_buf(&mut self.inbox).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// Receives the next message: its tag and body.
    pub(crate) async fn message(&mut self) -> ProtocolResult<(u8, Bytes)> {
        loop {
            if let Some(message) = self.frame()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The next message in the receive buffer.
    pub(crate) fn frame(&mut self) -> ProtocolResult<Option<(u8, Bytes)>> {
        match header(&self.inbox)? {
            Some((tag, length)) if self.inbox.len() > length => {
                let mut frame = self.inbox.split_to(length + 1);
                frame.advance(5);
                Ok(Some((tag, frame.freeze())))
            }
            _ => Ok(None),
        }
    }

    /// The error that the server reported. The connection can then be used again, unless the server ended the session.
    pub(crate) async fn failure(&mut self, body: &[u8]) -> ProtocolError {
        let failure = server_error(body);
        while let Ok((tag, _)) = self.message().await {
            if tag == b'Z' {
                break;
            }
        }
        failure.into()
    }

    /// The send buffer, which [`flush`](Self::flush) sends.
    pub(crate) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Sends the send buffer. If the future is dropped before it is ready, the next call sends the rest.
    pub(crate) async fn flush(&mut self) -> ProtocolResult<()> {
        self.transport.write_all_buf(&mut self.outbox).await?;
        self.transport.flush().await?;
        Ok(())
    }

    /// A cancel request for the current statement, which can also be sent after this connection is dropped. It takes at
    /// most two seconds.
    pub(crate) fn cancel(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (key, server, host) = (self.key, self.server.clone(), self.host.clone());
        async move {
            let Some((process, secret)) = key else { return };
            let asking = async {
                let (mut transport, _) = reach(&server, &host).await?;
                let mut request = BytesMut::new();
                frontend::cancel_request(process, secret, &mut request);
                transport.write_all_buf(&mut request).await?;
                transport.flush().await?;
                // The server closes the connection when it has passed on the request.
                let _ = transport.read_u8().await;
                ProtocolResult::Ok(())
            };
            let asked = tokio::time::timeout(CANCEL_LIMIT, asking).await;
            tracing::debug!(?asked, "asked the server to cancel");
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// A message's tag and its length without the tag, if its head was received.
fn header(bytes: &[u8]) -> ProtocolResult<Option<(u8, usize)>> {
    let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<5>() else {
        return Ok(None);
    };
    usize::try_from(i32::from_be_bytes([a, b, c, d]))
        .ok()
        .filter(|length| (4..=MAX_MESSAGE).contains(length))
        .map(|length| Some((tag, length)))
        .ok_or(ProtocolError::Protocol("a message of no possible length"))
}

/// The next message at the beginning of `bytes`, in place: its tag, its body, and its total length.
pub(crate) fn next_message(bytes: &[u8]) -> ProtocolResult<Option<(u8, &[u8], usize)>> {
    let Some((tag, length)) = header(bytes)? else {
        return Ok(None);
    };
    Ok(bytes.get(5..=length).map(|body| (tag, body, length + 1)))
}

fn text_row(mut body: Bytes) -> ProtocolResult<TextRow> {
    let short = || ProtocolError::Protocol("a short row");
    if body.len() < 2 {
        return Err(short());
    }
    let fields = body.get_u16();
    let mut row = Vec::with_capacity(fields.into());
    for _ in 0..fields {
        if body.len() < 4 {
            return Err(short());
        }
        let length = body.get_i32();
        if length < 0 {
            row.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| short())?;
        if body.len() < length {
            return Err(short());
        }
        let text = body.split_to(length);
        row.push(Some(String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_taken_once_it_is_whole() {
        let bytes = b"d\0\0\0\x07abcZ\0\0\0\x05I";
        for cut in 0..8 {
            assert!(next_message(bytes.get(..cut).unwrap()).unwrap().is_none());
        }
        assert_eq!(
            next_message(bytes).unwrap(),
            Some((b'd', b"abc".as_slice(), 8))
        );
        assert!(next_message(b"d\0\0\0\x03").is_err());
        assert!(next_message(b"d\xff\0\0\x03").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = next_message(&bytes);
            let _ = text_row(Bytes::from(bytes.clone()));
            let _ = server_error(&bytes);
        }
    }
}
