//! Connections to PostgreSQL: the URI, TLS as in libpq, and the errors of refused connections.

use std::io;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::Host;
use tokio_postgres::error::{DbError, SqlState};

use super::tls::{Tls, TlsParameters};
use crate::config::{PostgresUrl, Secret, SecretCommand};
use crate::error::{Error, Result};

/// How long connecting may take, handshakes included, unless the URI has `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// When a silent connection is probed, at which interval, and how many probes may go unanswered. A host that disappeared is
/// noticed within a minute. The URI's own settings take precedence.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// How long sent data may stay unacknowledged by the server's host.
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

/// The settings of every session, so that neither the meaning of statements nor the form of values depends on the
/// configuration of server or role.
///
/// Names are resolved in `pg_catalog` only: otherwise functions and operators that other users made in a schema of the
/// role's search path could run with its rights, in place of those meant (manual, section 5.10.3). The role's own path is
/// stored for statements that a person wrote: see [`OWN_PATH`].
const SESSION_SETTINGS: &str = "SELECT pg_catalog.set_config('acequia.search_path', CASE \
     WHEN pg_catalog.current_setting('acequia.search_path', true) IS NULL THEN pg_catalog.current_setting('search_path') \
     ELSE pg_catalog.current_setting('acequia.search_path') END, false); \
     SET search_path = pg_catalog, pg_temp; \
     SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 1; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; \
     SET standard_conforming_strings = on; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SELECT set_config(name, '0', false) FROM (VALUES ('idle_session_timeout'), ('transaction_timeout')) AS wanted (name) \
     WHERE current_setting(name, true) IS NOT NULL";
/// Restores the role's own search path, for statements that a person wrote: a stream's `query` or `where`. Functions and
/// operators that acequia adds to such a statement are named with their schema.
pub const OWN_PATH: &str = "SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('acequia.search_path'), false)";
/// Resolves names in `pg_catalog` only again.
pub const CATALOG_PATH: &str = "SET search_path = pg_catalog, pg_temp";
/// The remedy if a standby cancelled a read (SQLSTATE 40001).
pub(crate) const REPLAY_ENDED_A_READ: &str = "run again. A standby ends reads that would keep it from replaying what its primary \
     removed: hot_standby_feedback = on, or a larger max_standby_streaming_delay, gives them time";
/// The remedy if a lock was not granted in time (SQLSTATE 55P03).
pub(crate) const ANOTHER_ALTERS_IT: &str =
    "run again: another session alters the table, or waits to, and was given way";
/// With this setting, the server notices during a statement that this process has ended, and rolls back. PostgreSQL before
/// 14, and servers on some systems, refuse it, so it is only tried.
const NOTICE_A_DEAD_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// A database to connect to, with its TLS settings.
#[derive(Clone)]
pub struct Server {
    config: tokio_postgres::Config,
    /// The command that prints the password, if the URI has none.
    password: Option<SecretCommand>,
    tls: Tls,
    place: String,
    role: Role,
}

/// The role of a server in a pipeline, which decides who must act if the server cannot be reached.
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

    /// The configuration key of the server's address.
    fn url(self) -> &'static str {
        match self {
            Self::Source => "the source's `url`",
            Self::Destination => "the destination's `url`",
        }
    }
}

impl Server {
    /// Parses a connection URI: `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// # Errors
    /// [`Error::Config`]. The message does not repeat the URI, which may contain a password.
    pub fn parse(url: &PostgresUrl) -> Result<Self> {
        Self::parse_as(Role::Source, url)
    }

    /// Parses the connection URI of a source or a destination.
    ///
    /// # Errors
    /// As [`Server::parse`].
    pub fn parse_as(role: Role, url: &PostgresUrl) -> Result<Self> {
        let malformed = || {
            Error::config("the connection URI cannot be understood")
                .remedy("write it as postgres://user:password@host:5432/database?sslmode=verify-full, with special characters in it percent-encoded")
        };
        let uri = url.uri.reveal();
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| uri.starts_with(scheme))
        {
            return Err(malformed());
        }
        let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
        let mut parameters = TlsParameters::default();
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| malformed())?;
            if !parameters.take(key, &value)? {
                others.push(pair);
            }
        }
        let separator = if others.is_empty() { "" } else { "?" };
        let uri = format!("{base}{separator}{}", others.join("&"));
        let mut config: tokio_postgres::Config = uri.parse().map_err(|error| {
            // The parser's message names a parameter, never a value.
            malformed().cause(format!("{error}"))
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("acequia");
        }
        if !others.iter().any(|pair| pair.starts_with("keepalives")) {
            let (idle, interval, retries) = KEEPALIVE;
            config
                .keepalives_idle(idle)
                .keepalives_interval(interval)
                .keepalives_retries(retries);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        let tls = Tls::new(&parameters)?;
        config.ssl_mode(tls.mode());
        Ok(Self {
            place: place(&config),
            tls,
            config,
            password: url.password.clone(),
            role,
        })
    }

    /// Host, port and database, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The first host, its port, and the database. A socket is one of this machine.
    pub fn first_place(&self) -> (String, u16, String) {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            _ => "localhost".to_owned(),
        };
        let database = database(&self.config).to_owned();
        (host, port(&self.config, 0), database)
    }

    /// The configuration, for acequia's own connection. A password that a command prints is not in it.
    pub(super) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// The configuration with the password.
    ///
    /// # Errors
    /// [`Error::Config`] if the command that prints the password fails.
    pub(super) async fn with_password(&self) -> Result<tokio_postgres::Config> {
        let password = match &self.password {
            Some(command) => Some(command.secret_elsewhere().await?),
            None => None,
        };
        Ok(self.given(password.as_ref()))
    }

    /// As [`with_password`](Self::with_password). Blocks.
    pub(crate) fn with_password_blocking(&self) -> Result<postgres::Config> {
        let command = self.password.as_ref();
        let password = command.map(SecretCommand::secret).transpose()?;
        Ok(self.given(password.as_ref()).into())
    }

    fn given(&self, password: Option<&Secret>) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        if let Some(password) = password {
            config.password(password.reveal());
        }
        config
    }

    /// Whether a password that a command printed was refused, so that it may print another. It is not used again.
    fn may_be_renewed(&self, password: Option<&[u8]>, error: &tokio_postgres::Error) -> bool {
        let refused = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ];
        let (Some(command), Some(password)) = (&self.password, password) else {
            return false;
        };
        if !error.code().is_some_and(|code| refused.contains(code)) {
            return false;
        }
        command.forget(&Secret::new(String::from_utf8_lossy(password)));
        true
    }

    /// TLS as the URI requests it.
    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The TLS connector, for the blocking client.
    pub(crate) fn tls_connector(&self) -> MakeTlsConnector {
        self.tls.connector()
    }

    /// How long connecting to all hosts of the URI together may take.
    pub(crate) fn patience(&self) -> Duration {
        let each = self
            .config
            .get_connect_timeout()
            .copied()
            .unwrap_or(CONNECT_TIMEOUT);
        each.saturating_mul(
            u32::try_from(self.config.get_hosts().len())
                .unwrap_or(1)
                .max(1),
        )
    }

    /// Connects, and sets up the session. A task drives the connection and ends with the client.
    pub async fn connect(&self) -> Result<tokio_postgres::Client> {
        let config = self.with_password().await?;
        match self.connect_with(&config).await {
            Err(Some(error)) if self.may_be_renewed(config.get_password(), &error) => {
                self.connect_with(&self.with_password().await?).await
            }
            connected => connected,
        }
        .map_err(|error| self.not_connected(error))
    }

    /// Connects; the error is `None` if the server is silent.
    async fn connect_with(
        &self,
        config: &tokio_postgres::Config,
    ) -> std::result::Result<tokio_postgres::Client, Option<tokio_postgres::Error>> {
        let connecting = async {
            let (client, connection) = config.connect(self.tls.connector()).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a PostgreSQL connection ended");
                }
            });
            client.batch_execute(SESSION_SETTINGS).await?;
            let _ = client.batch_execute(NOTICE_A_DEAD_CLIENT).await;
            Ok(client)
        };
        match tokio::time::timeout(self.patience(), connecting).await {
            Ok(connected) => connected.map_err(Some),
            Err(_) => Err(None),
        }
    }

    fn not_connected(&self, error: Option<tokio_postgres::Error>) -> Error {
        match error {
            Some(error) => self.refused(error),
            None => self.silent(),
        }
    }

    /// Connects. Blocks.
    pub fn connect_blocking(&self) -> Result<postgres::Client> {
        let config = self.with_password_blocking()?;
        match self.connect_blocking_with(config.clone()) {
            Err(Some(error)) if self.may_be_renewed(config.get_password(), &error) => {
                self.connect_blocking_with(self.with_password_blocking()?)
            }
            connected => connected,
        }
        .map_err(|error| self.not_connected(error))
    }

    fn connect_blocking_with(
        &self,
        config: postgres::Config,
    ) -> std::result::Result<postgres::Client, Option<postgres::Error>> {
        let tls = self.tls_connector();
        let (connected, is_connected) = std::sync::mpsc::channel();
        // The client has no time limit for handshakes. If the server stays silent, the thread is left to the keepalives.
        std::thread::spawn(move || {
            let connected_to = config.connect(tls).and_then(|mut client| {
                client.batch_execute(SESSION_SETTINGS)?;
                let _ = client.batch_execute(NOTICE_A_DEAD_CLIENT);
                Ok(client)
            });
            let _ = connected.send(connected_to);
        });
        match is_connected.recv_timeout(self.patience()) {
            Ok(connected) => connected.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// The error that a server does not answer.
    fn silent(&self) -> Error {
        self.role
            .error(format!("PostgreSQL at {} does not answer", self.place))
            .cause(format!("no session began within {} s", self.patience().as_secs()))
            .remedy(format!(
                "see whether the server hangs, or a proxy before it; raise connect_timeout in {} where it only is slow",
                self.role.url()
            ))
    }

    /// The settings of every session, for acequia's own connection. The second statement may fail.
    pub(crate) fn settings() -> [&'static str; 2] {
        [SESSION_SETTINGS, NOTICE_A_DEAD_CLIENT]
    }

    /// The error that a connection could not be made, with the remedy.
    fn refused(&self, error: tokio_postgres::Error) -> Error {
        let is_cut_off = is_cut_off(&error);
        let what = if is_cut_off {
            format!(
                "PostgreSQL at {} closed the connection before a session began",
                self.place
            )
        } else {
            format!("cannot connect to PostgreSQL at {}", self.place)
        };
        // The server is there, and has no room or is not ready.
        let is_busy = is_cut_off
            || [SqlState::CANNOT_CONNECT_NOW, SqlState::TOO_MANY_CONNECTIONS]
                .iter()
                .any(|busy| error.code() == Some(busy));
        let fault = self.role.error(what);
        let fault = if is_busy { fault.for_now() } else { fault };
        let url = self.role.url();
        let user = self.config.get_user().unwrap_or("the user").to_owned();
        let remedy = match error.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => {
                match &self.password {
                    Some(command) => {
                        format!("see that {} prints the password of {user}", command.place())
                    }
                    None => format!("give the right password for {user} in {url}"),
                }
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
            None if is_cut_off => format!(
                "run again: it may be starting or stopping; where it stays so, see its log, and that {url} names a PostgreSQL \
                 server and not another"
            ),
            _ => {
                let text = format!("{error:?}").to_lowercase();
                if text.contains("refused") {
                    format!("start the server, or correct host and port in {url}")
                } else if text.contains("lookup") || text.contains("resolve") || text.contains("not known") {
                    format!("correct the host's name in {url}")
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

/// Whether the server, or a proxy before it, closed the connection without a word.
fn is_cut_off(error: &tokio_postgres::Error) -> bool {
    // Amid the handshake of TLS, that is what it may be about.
    if format!("{error:?}").contains("kind: Tls") {
        return false;
    }
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            );
        }
        cause = error.source();
    }
    error.is_closed()
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.place).finish()
    }
}

/// The server's version as in `server_version_num`: 150018 for 15.18.
pub async fn version(client: &tokio_postgres::Client) -> Result<i32> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int4", &[])
        .await
        .map_err(|error| failed("cannot ask for the server's version", &error))?;
    Ok(row.get(0))
}

/// The server's message, if it cannot contain a cell's value. It is omitted for the classes "data exception" (22) and
/// "integrity constraint violation" (23), whose messages quote values, and for errors that a function or trigger raised,
/// whose text and SQLSTATE are arbitrary (the error's context names the function).
pub(crate) fn message_of(db: &DbError) -> Option<&str> {
    holds_no_value(db.code().code(), db.routine(), db.where_()).then(|| db.message())
}

/// Whether a message of the server's cannot hold a cell's value, by its SQLSTATE, the server's routine that made it, and its
/// context.
pub(super) fn holds_no_value(code: &str, routine: Option<&str>, context: Option<&str>) -> bool {
    let class = code.get(..2).unwrap_or_default();
    let in_function = |context: &str| context.contains("PL/") || context.contains("function");
    let is_raised =
        class == "P0" || routine == Some("exec_stmt_raise") || context.is_some_and(in_function);
    !is_raised && !["22", "23"].contains(&class)
}

/// The error of a failed statement. The server's message is kept if it cannot contain a cell's value ([`message_of`]).
pub fn failed(what: impl Into<String>, error: &tokio_postgres::Error) -> Error {
    let fault = Error::source(what);
    let Some(db) = error.as_db_error() else {
        let gone = error.is_closed() || format!("{error:?}").contains("kind: Io");
        return if gone {
            fault
                .cause("the connection to the server was lost")
                .remedy("see the server's log, and run again: nothing that was loaded is lost, and nothing comes twice")
                .for_now()
        } else {
            fault.cause(error.to_string())
        };
    };
    let code = db.code().code();
    let fault = match message_of(db) {
        Some(message) => fault.cause(format!("{message} (SQLSTATE {code})")),
        None => fault.cause(format!(
            "the server reports {} (SQLSTATE {code}; its message may show a value and is left out)",
            condition(code)
        )),
    };
    match db.code() {
        // The routine's name, because the message may be in any language.
        _ if db.routine() == Some("check_enable_rls") => fault.remedy(
            "row-level security would hide rows, and a subset would be read as if it were the whole: ALTER ROLE … BYPASSRLS \
             for the source's user; or row_security = true for [streams.STREAM], where the subset is what you want",
        ),
        code if *code == SqlState::T_R_SERIALIZATION_FAILURE => {
            fault.remedy(REPLAY_ENDED_A_READ)
        }
        code if *code == SqlState::LOCK_NOT_AVAILABLE => {
            fault.remedy(ANOTHER_ALTERS_IT).until_released()
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            fault.remedy("grant the source's user the right to read it: GRANT USAGE ON SCHEMA … TO …; GRANT SELECT ON … TO …")
        }
        code if *code == SqlState::UNDEFINED_TABLE => fault.remedy("correct the name, or create the table"),
        code if *code == SqlState::UNDEFINED_COLUMN => {
            fault.remedy("correct the column's name in the stream's keys")
        }
        code if *code == SqlState::SYNTAX_ERROR => {
            fault.remedy("correct the SQL in the stream's `query` or `where`")
        }
        code if [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
        ]
        .contains(code) =>
        {
            fault
                .remedy("run again once the server is up: nothing that was loaded is lost, and nothing comes twice")
                .for_now()
        }
        code if *code == SqlState::QUERY_CANCELED => {
            fault.remedy("see who cancelled the query, or the time-outs set for the source's user, and run again")
        }
        _ => fault,
    }
}

/// The name of an error class's most common conditions (manual, appendix A).
pub(crate) fn condition(code: &str) -> &'static str {
    match code {
        "22001" => "a text too long for its type",
        "22003" => "a number out of its type's range",
        "22007" | "22008" => "a date or time out of range or of the wrong form",
        "22012" => "a division by zero",
        "22021" => "a text that is not of the database's encoding",
        "22P02" => "a text that is not a value of the type it is cast to",
        _ if !code.starts_with("22") && !code.starts_with("23") => {
            "what a function or trigger raised"
        }
        _ => "a value that the statement cannot take",
    }
}

/// `host:port/database`, without user and password.
fn place(config: &tokio_postgres::Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = port(config, index);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        })
        .collect();
    format!("{}/{}", hosts.join(","), database(config))
}

fn port(config: &tokio_postgres::Config, index: usize) -> u16 {
    let ports = config.get_ports();
    *ports.get(index).or_else(|| ports.first()).unwrap_or(&5432)
}

fn database(config: &tokio_postgres::Config) -> &str {
    let named = config.get_dbname().or_else(|| config.get_user());
    named.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_secret() {
        let server = Server::parse(&PostgresUrl::new(
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
    fn several_hosts_and_options_are_understood() {
        let uri = "postgres://ana@uno:5432,dos:5433/operativa?options=-c%20work_mem%3D8MB&sslmode=disable";
        let server = Server::parse(&PostgresUrl::new(uri)).unwrap();
        assert_eq!(server.place(), "uno:5432,dos:5433/operativa");
        assert_eq!(server.config().get_options(), Some("-c work_mem=8MB"));
        let system = "postgres://ana@uno/operativa?sslrootcert=system&sslmode=require";
        assert!(Server::parse(&PostgresUrl::new(system)).is_err());
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
            let report = Server::parse(&PostgresUrl::new(wrong))
                .unwrap_err()
                .report();
            assert!(!report.contains("s3cr3t"), "{report}");
        }
    }
}
