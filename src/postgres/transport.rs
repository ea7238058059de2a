//! The transport to a server: TCP or a Unix socket, encrypted as the settings request.

use std::io;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_openssl::SslStream;
use tokio_postgres::config::{Config, Host, SslMode, SslNegotiation};

use super::connection::Server;
use super::protocol_error::{ProtocolError, ProtocolResult};
use super::tls::server_end_point;

pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

/// The protocol's name in a TLS handshake that begins without a request (manual, section 55.2.10).
const ALPN: &[u8] = b"\x0apostgresql";

/// Connects to one host, encrypted as the settings request. Returns the transport and its channel binding.
pub(super) async fn reach(
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

/// Sets the keepalives, by which the system notices a host that disappeared.
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
