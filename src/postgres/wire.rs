//! A connection of our own, for what `tokio_postgres` does not do: replication mode, and rows of COPY that are read in place.
//!
//! It speaks the protocol's simple query flow (manual, section 55.2.2) over the same settings and the same TLS as every other
//! connection, with the message encoders and SCRAM of `postgres_protocol`.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_openssl::SslStream;
use tokio_postgres::config::{
    ChannelBinding as Binding, Config, Host, SslMode, SslNegotiation, TargetSessionAttrs,
};

use super::connection::{
    ANOTHER_ALTERS_IT, REPLAY_ENDED_A_READ, Server, condition, holds_no_value,
};
use super::tls::server_end_point;
use crate::error::{Error, Result};

/// What the server may send in one message at most: its own limit is 1 GiB.
const MAX_MESSAGE: usize = 1 << 30;
/// Room that is kept for what comes.
const READ_BUFFER: usize = 256 << 10;
/// How long the server is asked to cancel.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);
/// The protocol's name in a TLS handshake that begins without a request (manual, section 55.2.10).
const ALPN: &[u8] = b"\x0apostgresql";

trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// A connection.
pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    inbox: BytesMut,
    outbox: BytesMut,
    /// The server's process and the secret that cancels what it does.
    key: Option<(i32, i32)>,
    server: Server,
    /// Which of the server's hosts it is.
    host: (Host, u16),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Statements.
    Queries,
    /// Replication commands, and statements without parameters.
    Replication,
}

/// What can go wrong on the wire.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
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

/// A failure that the server reports.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message, where it cannot hold a cell's value; else what it is about.
    pub message: String,
}

/// What comes of the wire.
pub(crate) type ProtocolResult<T> = std::result::Result<T, ProtocolError>;

/// A row of a command's answer, as text.
pub(crate) type TextRow = Vec<Option<String>>;

impl Connection {
    /// Connects, with the session's settings as every session has them.
    ///
    /// # Errors
    /// [`Error::Source`], with what came of the last host that was tried.
    pub(crate) async fn open(server: &Server, purpose: Purpose) -> Result<Self> {
        let what = match purpose {
            Purpose::Queries => "cannot connect",
            Purpose::Replication => "cannot connect for replication",
        };
        match tokio::time::timeout(server.patience(), Self::any_host(server, purpose)).await {
            Ok(connected) => connected,
            Err(_) => Err(ProtocolError::Io(io::ErrorKind::TimedOut.into())),
        }
        .map_err(|error| error.told(what, server.place()))
    }

    async fn any_host(server: &Server, purpose: Purpose) -> ProtocolResult<Self> {
        let config = server.config();
        let mut failure = ProtocolError::Protocol("no host");
        for (index, host) in config.get_hosts().iter().enumerate() {
            let ports = config.get_ports();
            let port = *ports.get(index).or(ports.first()).unwrap_or(&5432);
            let timeout = config.get_connect_timeout().copied();
            let connecting = Self::session(server, (host.clone(), port), purpose);
            match tokio::time::timeout(timeout.unwrap_or(server.patience()), connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = ProtocolError::Io(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failure)
    }

    /// A session at one host, set up.
    async fn session(server: &Server, host: (Host, u16), purpose: Purpose) -> ProtocolResult<Self> {
        let config = server.config();
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
        // Refused before PostgreSQL 14.
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
        let mut login = Login {
            user,
            password: config.get_password().unwrap_or_default(),
            wanted: config.get_channel_binding(),
            binding,
            scram: None,
            bound: false,
        };
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
                // Parameters and notices.
                _ => {}
            }
        }
    }

    /// Runs a replication command or SQL and gives the rows of its last answer.
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

    /// Sends a statement, whose answer is then to be read.
    pub(crate) async fn send_query(&mut self, command: &str) -> ProtocolResult<()> {
        frontend::query(command, &mut self.outbox)?;
        self.flush().await
    }

    /// What has come and was not taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.inbox
    }

    /// Takes bytes of what has come.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.inbox.advance(bytes);
    }

    /// Waits until more has come. Nothing is lost where this is dropped before it is ready.
    pub(crate) async fn fill(&mut self) -> ProtocolResult<()> {
        let needed = match header(&self.inbox)? {
            // Room for all of a large message at once, so that it is not moved about.
            Some((_, length)) => (length + 1).saturating_sub(self.inbox.len()),
            None => 0,
        };
        self.inbox.reserve(needed.max(READ_BUFFER));
        if self.transport.read_buf(&mut self.inbox).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// The next message: its tag and body.
    pub(crate) async fn message(&mut self) -> ProtocolResult<(u8, Bytes)> {
        loop {
            if let Some(message) = self.frame()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The next message among what has come.
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

    /// What the server reports, after which it takes the next command, unless it has ended the session.
    pub(crate) async fn failure(&mut self, body: &[u8]) -> ProtocolError {
        let failure = server_error(body);
        while let Ok((tag, _)) = self.message().await {
            if tag == b'Z' {
                break;
            }
        }
        failure.into()
    }

    /// Where messages are put that [`flush`](Self::flush) sends.
    pub(crate) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Sends what waits. Dropped before it is ready, it goes on with the rest the next time.
    pub(crate) async fn flush(&mut self) -> ProtocolResult<()> {
        self.transport.write_all_buf(&mut self.outbox).await?;
        self.transport.flush().await?;
        Ok(())
    }

    /// What asks the server to cancel what this connection has it do, of use after this is dropped as well. The server's word
    /// is not waited for longer than two seconds.
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
                // The server closes when it has passed the request on.
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

/// The proof of who we are (manual, section 55.2.1 and 55.3).
struct Login<'a> {
    user: &'a str,
    password: &'a [u8],
    wanted: Binding,
    /// What binds to the channel, where that is encrypted.
    binding: Option<Vec<u8>>,
    scram: Option<ScramSha256>,
    bound: bool,
}

impl Login<'_> {
    fn answer(&mut self, mut body: Bytes, outbox: &mut BytesMut) -> ProtocolResult<()> {
        if body.len() < 4 {
            return Err(ProtocolError::Protocol("a short authentication request"));
        }
        let out_of_turn = || ProtocolError::Protocol("SASL out of turn");
        match body.get_i32() {
            0 if self.wanted == Binding::Require && !self.bound => {
                return Err(ProtocolError::Protocol(
                    "a login that is not bound to the channel, as channel_binding=require asks",
                ));
            }
            // A server that never proved that it knows the password is not the one.
            0 if self.scram.is_some() => return Err(out_of_turn()),
            0 => {}
            3 => frontend::password_message(self.password, outbox)?,
            5 => {
                let salt = body
                    .get(..4)
                    .and_then(|salt| <[u8; 4]>::try_from(salt).ok())
                    .ok_or(ProtocolError::Protocol("a short salt"))?;
                let hash = md5_hash(self.user.as_bytes(), self.password, salt);
                frontend::password_message(hash.as_bytes(), outbox)?;
            }
            10 => {
                let offers = |name: &str| body.split(|b| *b == 0).any(|o| o == name.as_bytes());
                let binding = self
                    .binding
                    .take()
                    .filter(|_| self.wanted != Binding::Disable);
                let (mechanism, binding) = match binding {
                    Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
                        self.bound = true;
                        (
                            SCRAM_SHA_256_PLUS,
                            ChannelBinding::tls_server_end_point(hash),
                        )
                    }
                    Some(_) if offers(SCRAM_SHA_256) => {
                        (SCRAM_SHA_256, ChannelBinding::unrequested())
                    }
                    None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
                    _ => return Err(ProtocolError::Protocol("no known way to authenticate")),
                };
                let state = ScramSha256::new(self.password, binding);
                frontend::sasl_initial_response(mechanism, state.message(), outbox)?;
                self.scram = Some(state);
            }
            11 => {
                let state = self.scram.as_mut().ok_or_else(out_of_turn)?;
                state.update(&body)?;
                frontend::sasl_response(state.message(), outbox)?;
            }
            12 => self.scram.take().ok_or_else(out_of_turn)?.finish(&body)?,
            _ => return Err(ProtocolError::Protocol("an unknown way to authenticate")),
        }
        Ok(())
    }
}

/// A transport to one host, encrypted as the settings ask for, and what binds to it.
async fn reach(
    server: &Server,
    (host, port): &(Host, u16),
) -> ProtocolResult<(Box<dyn Transport>, Option<Vec<u8>>)> {
    match host {
        Host::Tcp(name) => {
            let stream = TcpStream::connect((name.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            keep_alive(server.config(), &stream)?;
            encrypt(server, name, stream).await
        }
        #[cfg(unix)]
        Host::Unix(folder) => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            Ok((Box::new(UnixStream::connect(path).await?), None))
        }
    }
}

/// Lets the system notice a host that is gone.
fn keep_alive(config: &Config, stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    if config.get_keepalives() {
        let mut probes = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            probes = probes.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            probes = probes.with_retries(retries);
        }
        socket.set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(limit) = config.get_tcp_user_timeout() {
        socket.set_tcp_user_timeout(Some(*limit))?;
    }
    Ok(())
}

async fn encrypt(
    server: &Server,
    host: &str,
    mut stream: TcpStream,
) -> ProtocolResult<(Box<dyn Transport>, Option<Vec<u8>>)> {
    let mode = server.config().get_ssl_mode();
    if mode == SslMode::Disable {
        return Ok((Box::new(stream), None));
    }
    let direct = server.config().get_ssl_negotiation() == SslNegotiation::Direct;
    if !direct {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        match stream.read_u8().await? {
            b'S' => {}
            _ if mode == SslMode::Require => {
                return Err(ProtocolError::Protocol("the server has no TLS"));
            }
            _ => return Ok((Box::new(stream), None)),
        }
    }
    let mut session = server.tls().session(host).map_err(io::Error::other)?;
    if direct {
        session.set_alpn_protos(ALPN).map_err(io::Error::other)?;
    }
    let mut stream = SslStream::new(session, stream).map_err(io::Error::other)?;
    std::pin::Pin::new(&mut stream)
        .connect()
        .await
        .map_err(|error| {
            let verified = stream.ssl().verify_result();
            io::Error::other(format!("TLS: {error} ({verified})"))
        })?;
    let binding = server_end_point(stream.ssl());
    Ok((Box::new(stream), binding))
}

/// A message's tag and its length but for the tag, where its head has come.
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

/// The next message at the beginning of `bytes`, in place: its tag, its body, and its length as a whole.
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

/// What an error message of the server says (manual, section 55.8). A message that may show a value is left out.
pub(crate) fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError {
        code: String::new(),
        message: "an unknown failure".to_owned(),
    };
    let (mut routine, mut context) = (None, None);
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else {
            continue;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'R' => routine = Some(text),
            b'W' => context = Some(text),
            _ => {}
        }
    }
    if !holds_no_value(&error.code, routine.as_deref(), context.as_deref()) {
        error.message = format!(
            "the server reports {}; its message may show a value and is left out",
            condition(&error.code)
        );
    }
    error
}

impl ProtocolError {
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
                "give the source's user the right that is missing: `acequia check` names each, as ALTER ROLE … REPLICATION"
            }
            (_, Some("28P01" | "28000")) => {
                "see the user and password in the source's `url`, and that pg_hba.conf lets the user in"
            }
            (_, Some("55P03")) => ANOTHER_ALTERS_IT,
            (_, Some("40001")) => REPLAY_ENDED_A_READ,
            (_, Some("55000")) => "`acequia check` tells what replication needs of the server",
            (Self::Io(error), _) if error.kind() == io::ErrorKind::TimedOut => {
                "see whether the server hangs, or a proxy before it; raise connect_timeout in the source's `url` where it \
                 only is slow"
            }
            (Self::Io(_), _) => {
                "see the server's log, and run again: nothing that was loaded is lost, and nothing comes twice"
            }
            (_, Some("57P01" | "57P02" | "57P03")) => {
                "run again once the server is up: nothing that was loaded is lost, and nothing comes twice"
            }
            _ => "",
        };
        let gave_way = self.code() == Some("55P03");
        let fault = fault.cause(self);
        let fault = if gave_way {
            fault.until_released()
        } else {
            fault
        };
        if remedy.is_empty() {
            fault
        } else {
            fault.remedy(remedy)
        }
    }
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
