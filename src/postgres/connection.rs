//! Connecting to PostgreSQL: the URI, TLS as libpq means it, and what a refused connection means.

use std::time::Duration;

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use url::Url;

use crate::config::Secret;
use crate::error::{Error, Result};

/// How long a connection may take, unless the URI has `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What every session is set to, so that text forms do not depend on the server's configuration. May begin a transaction's
/// batch of statements: none of it takes a snapshot.
pub const SESSION_SETTINGS: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 1; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; \
     SET standard_conforming_strings = on; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
/// What a session is set to besides that lasts: the server does not end it while it waits, nor for its age. The settings
/// came with PostgreSQL 14 and 17.
pub const LASTING_SETTINGS: &str = "SELECT set_config(name, '0', false) \
     FROM (VALUES ('idle_session_timeout'), ('transaction_timeout')) AS wanted (name) \
     WHERE current_setting(name, true) IS NOT NULL";
/// The server then notices, amid a statement too, that this process is gone, and undoes what it did. Refused before
/// PostgreSQL 14, and where the server's system cannot tell: to be tried.
pub const NOTICE_A_DEAD_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// A database to connect to, with its TLS settings.
#[derive(Clone)]
pub struct Server {
    config: tokio_postgres::Config,
    tls: MakeTlsConnector,
    place: String,
    role: Role,
}

/// What a server is to a pipeline: who must act where it cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Rows are read from it.
    Source,
    /// Loads go to it.
    Destination,
}

impl Role {
    fn error(self, what: String) -> Error {
        match self {
            Self::Source => Error::source(what),
            Self::Destination => Error::destination(what),
        }
    }

    /// The key of the configuration that says where it is.
    fn url(self) -> &'static str {
        match self {
            Self::Source => "the source's `url`",
            Self::Destination => "the destination's `url`",
        }
    }
}

/// libpq's `sslmode` (manual, section 34.19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The TLS parameters of a URI, which `tokio_postgres` does not know.
#[derive(Debug, Default)]
struct TlsParameters {
    mode: Option<TlsMode>,
    root_certificate: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Server {
    /// Understands a connection URI: `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// # Errors
    /// [`Error::Config`], which does not repeat the URI: it may hold a password.
    pub fn parse(url: &Secret) -> Result<Self> {
        Self::parse_as(Role::Source, url)
    }

    /// Understands the connection URI of a source or a destination.
    ///
    /// # Errors
    /// As [`Server::parse`].
    pub fn parse_as(role: Role, url: &Secret) -> Result<Self> {
        let malformed = || {
            Error::config("the connection URI cannot be understood")
                .remedy("write it as postgres://user:password@host:5432/database?sslmode=verify-full, with special characters in it percent-encoded")
        };
        let mut uri = Url::parse(url.reveal()).map_err(|_| malformed())?;
        if !matches!(uri.scheme(), "postgres" | "postgresql") {
            return Err(malformed());
        }
        let mut parameters = TlsParameters::default();
        let mut others = Vec::new();
        for (key, value) in uri.query_pairs() {
            match key.as_ref() {
                "sslmode" => parameters.mode = Some(tls_mode(&value)?),
                "sslrootcert" => parameters.root_certificate = Some(value.into_owned()),
                "sslcert" => parameters.certificate = Some(value.into_owned()),
                "sslkey" => parameters.key = Some(value.into_owned()),
                _ => others.push((key.into_owned(), value.into_owned())),
            }
        }
        uri.set_query(None);
        if !others.is_empty() {
            uri.query_pairs_mut().extend_pairs(others);
        }
        let mut config: tokio_postgres::Config = uri.as_str().parse().map_err(|error| {
            // The parser's own words name a parameter, never a value.
            malformed().cause(format!("{error}"))
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("acequia");
        }
        let mode = parameters.mode.unwrap_or(TlsMode::Prefer);
        config.ssl_mode(match mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        Ok(Self {
            place: place(&config),
            tls: connector(mode, &parameters)?,
            config,
            role,
        })
    }

    /// Host, port and database, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The configuration, for a connection in replication mode.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// TLS as the URI asks for it.
    pub fn tls(&self) -> MakeTlsConnector {
        self.tls.clone()
    }

    /// The configuration, for the blocking client.
    pub fn blocking(&self) -> (postgres::Config, MakeTlsConnector) {
        (self.config.clone().into(), self.tls.clone())
    }

    /// Connects. The connection itself is driven by a task that ends with the client.
    pub async fn connect(&self) -> Result<tokio_postgres::Client> {
        let (client, connection) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(|error| self.refused(error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a PostgreSQL connection ended");
            }
        });
        Ok(client)
    }

    /// Connects, for one who may block.
    pub fn connect_blocking(&self) -> Result<postgres::Client> {
        let (config, tls) = self.blocking();
        config.connect(tls).map_err(|error| self.refused(error))
    }

    /// Why a connection could not be made, and what mends it.
    fn refused(&self, error: tokio_postgres::Error) -> Error {
        let what = format!("cannot connect to PostgreSQL at {}", self.place);
        let fault = self.role.error(what);
        let url = self.role.url();
        let user = self.config.get_user().unwrap_or("the user").to_owned();
        let remedy = match error.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => {
                format!("give the right password for {user} in {url}")
            }
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => format!(
                "let {user} in from this host, in the server's pg_hba.conf, or use another user in {url}"
            ),
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                format!("give the name of an existing database in {url}")
            }
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
                "raise max_connections on the server, or read with fewer connections: `--jobs 1`, `parallel = 1`"
                    .to_owned()
            }
            _ => {
                let text = format!("{error:?}").to_lowercase();
                if text.contains("refused") {
                    format!("start the server, or mend host and port in {url}")
                } else if text.contains("lookup") || text.contains("resolve") || text.contains("not known") {
                    format!("mend the host's name in {url}")
                } else if text.contains("timed out") || text.contains("timedout") {
                    format!(
                        "see that the host is reachable from here, through every firewall, or raise connect_timeout in \
                         {url}"
                    )
                } else if text.contains("password missing") {
                    format!("give the password for {user} in {url}")
                } else if text.contains("certificate") || text.contains("ssl") || text.contains("tls") {
                    format!(
                        "see `sslmode` and `sslrootcert` in {url}: verify-full needs the server's CA and a certificate \
                         for this very host name"
                    )
                } else {
                    format!("see {url}")
                }
            }
        };
        fault.remedy(remedy).cause(error)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.place).finish()
    }
}

/// The server's version, as `server_version_num` has it: 150018 for 15.18.
pub async fn version(client: &tokio_postgres::Client) -> Result<i32> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int4", &[])
        .await
        .map_err(|error| failed("cannot ask for the server's version", &error))?;
    Ok(row.get(0))
}

/// What a failed statement means. The server's message is kept where it cannot hold a cell's value: not for the class
/// "data exception" (22) and for integrity violations (23), whose messages quote values.
pub fn failed(what: impl Into<String>, error: &tokio_postgres::Error) -> Error {
    let fault = Error::source(what);
    let Some(db) = error.as_db_error() else {
        let gone = error.is_closed() || format!("{error:?}").contains("kind: Io");
        return if gone {
            fault
                .cause("the connection to the server was lost")
                .remedy("see the server's log, and run again: nothing that was loaded is lost, and nothing comes twice")
        } else {
            fault.cause(error.to_string())
        };
    };
    let code = db.code().code();
    let fault = if code.starts_with("22") || code.starts_with("23") {
        fault.cause(format!(
            "the server reports {} (SQLSTATE {code})",
            condition(code)
        ))
    } else {
        fault.cause(format!("{} (SQLSTATE {code})", db.message()))
    };
    match db.code() {
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            fault.remedy("grant the source's user the right to read it: GRANT USAGE ON SCHEMA … TO …; GRANT SELECT ON … TO …")
        }
        code if *code == SqlState::UNDEFINED_TABLE => fault.remedy("mend the name, or create the table"),
        code if *code == SqlState::UNDEFINED_COLUMN => {
            fault.remedy("mend the column's name in the stream's keys")
        }
        code if *code == SqlState::SYNTAX_ERROR => {
            fault.remedy("mend the SQL in the stream's `query` or `where`")
        }
        code if [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
        ]
        .contains(code) =>
        {
            fault.remedy("run again once the server is up: nothing that was loaded is lost, and nothing comes twice")
        }
        code if *code == SqlState::QUERY_CANCELED => {
            fault.remedy("see who cancelled the query, or the time-outs set for the source's user, and run again")
        }
        _ => fault,
    }
}

/// The name of an error class's commonest conditions (manual, appendix A).
pub(crate) fn condition(code: &str) -> &'static str {
    match code {
        "22001" => "a text too long for its type",
        "22003" => "a number out of its type's range",
        "22007" | "22008" => "a date or time out of range or of the wrong form",
        "22012" => "a division by zero",
        "22021" => "a text that is not of the database's encoding",
        "22P02" => "a text that is not a value of the type it is cast to",
        _ => "a value that the statement cannot take",
    }
}

fn tls_mode(text: &str) -> Result<TlsMode> {
    Ok(match text {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(Error::config("the connection URI has an unknown sslmode")
                .remedy("use disable, prefer, require, verify-ca or verify-full (recommended)"));
        }
    })
}

/// A connector that verifies what the mode asks for. As with libpq, `require` with a root certificate verifies as
/// `verify-ca` does; without `sslrootcert`, the system's certificates count.
fn connector(mode: TlsMode, parameters: &TlsParameters) -> Result<MakeTlsConnector> {
    let failed = |what: &str, file: &str| {
        Error::config(format!("cannot use the {what} {file}"))
            .remedy("give the path of a PEM file that the user running acequia can read")
    };
    let mut builder = SslConnector::builder(SslMethod::tls_client())
        .map_err(|error| Error::internal("OpenSSL cannot be set up").cause(error))?;
    let system = openssl_probe::probe();
    if let Some(file) = &parameters.root_certificate {
        if file != "system" {
            builder
                .set_ca_file(file)
                .map_err(|error| failed("root certificate", file).cause(error))?;
        }
    } else if let Some(file) = system
        .cert_file
        .as_ref()
        .filter(|_| mode >= TlsMode::VerifyCa)
    {
        builder.set_ca_file(file).map_err(|error| {
            failed("system's root certificates", &file.display().to_string()).cause(error)
        })?;
    }
    if let Some(file) = &parameters.certificate {
        builder
            .set_certificate_chain_file(file)
            .map_err(|error| failed("client certificate", file).cause(error))?;
    }
    if let Some(file) = &parameters.key {
        builder
            .set_private_key_file(file, SslFiletype::PEM)
            .map_err(|error| failed("client key", file).cause(error))?;
    }
    let verifies_ca = mode >= TlsMode::VerifyCa
        || (mode == TlsMode::Require && parameters.root_certificate.is_some());
    builder.set_verify(if verifies_ca {
        SslVerifyMode::PEER
    } else {
        SslVerifyMode::NONE
    });
    let mut connector = MakeTlsConnector::new(builder.build());
    connector.set_callback(move |settings, _host| {
        settings.set_verify_hostname(mode == TlsMode::VerifyFull);
        Ok(())
    });
    Ok(connector)
}

impl PartialOrd for TlsMode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some((*self as u8).cmp(&(*other as u8)))
    }
}

/// `host:port/database`, without user and password.
fn place(config: &tokio_postgres::Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = config
                .get_ports()
                .get(index)
                .or_else(|| config.get_ports().first())
                .unwrap_or(&5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        })
        .collect();
    let database = config
        .get_dbname()
        .or_else(|| config.get_user())
        .unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_secret() {
        let server = Server::parse(&Secret::new(
            "postgres://ana:s3cr3t@db.example:6543/operativa?sslmode=require",
        ))
        .unwrap();
        assert_eq!(server.place(), "db.example:6543/operativa");
        assert_eq!(
            format!("{server:?}"),
            "Server(\"db.example:6543/operativa\")"
        );
    }

    #[test]
    fn a_wrong_uri_is_refused_without_repeating_it() {
        for wrong in [
            "mysql://ana:s3cr3t@h/d",
            "ana:s3cr3t",
            "postgres://ana:s3cr3t@h/d?sslmode=perhaps",
            "postgres://ana:s3cr3t@h/d?color=s3cr3t",
            "postgres://ana:s3cr3t@h:port/d",
        ] {
            let report = Server::parse(&Secret::new(wrong)).unwrap_err().report();
            assert!(!report.contains("s3cr3t"), "{report}");
        }
    }
}
