//! A PostgreSQL cluster of one's own: made by `initdb`, on loopback, gone when dropped.
//!
//! The server runs under a small `sh` (`supervise.sh`) that watches a pipe from this process, so that it ends with
//! this process even where destructors do not run: statics ([`Cluster::shared`]), `exit`, Ctrl-C, SIGKILL.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use postgres::{Client, NoTls};
use tempfile::TempDir;

use crate::host::{
    User, binaries, free_port, log_tail, signal, supervise, unprivileged_user, wait,
};

/// A role that must give [`PASSWORD`] (SCRAM-SHA-256), on every database. It may read all tables and replicate.
pub const PASSWORD_ROLE: &str = "con_clave";
/// The password of [`PASSWORD_ROLE`].
pub const PASSWORD: &str = "clave-de-prueba";

/// The superuser, whom loopback connections may be without a password.
const SUPERUSER: &str = "postgres";
const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const PORT_TRIES: usize = 8;

/// Settings that make a throw-away server quick, and ready for logical replication. Commits stay synchronous: a
/// walsender sends only what was flushed, so with them off a test would wait for the WAL writer.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
max_replication_slots = 20
max_wal_senders = 20
max_prepared_transactions = 20
max_connections = 200
shared_buffers = 128MB
work_mem = 32MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
checkpoint_timeout = 30min
fsync = off
full_page_writes = off
autovacuum = off
jit = off
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, mdy'
lc_messages = 'C'
log_line_prefix = '%m [%p] %u@%d '
";

/// A running PostgreSQL server. Stopped, and its folder removed, when dropped or when this process is gone.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    pub(crate) user: Option<User>,
    binaries: PathBuf,
    /// Holds the marker, the log and, unless the caller has its own, the data folder.
    folder: TempDir,
    data: PathBuf,
    port: u16,
    server: Option<Server>,
}

/// What a cluster is started with; see [`Cluster::options`].
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    ssl: Option<(PathBuf, PathBuf)>,
    data: Option<PathBuf>,
    port: Option<u16>,
}

#[derive(Debug)]
struct Server {
    supervisor: Child,
    postmaster: u32,
}

impl ClusterOptions {
    /// Adds a line to `postgresql.conf`; it wins over the settings that a cluster has by itself.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Turns TLS on with this certificate and key (PEM). The files are copied, so their owner and mode do not matter.
    #[must_use]
    pub fn ssl(mut self, certificate: &Path, key: &Path) -> Self {
        self.ssl = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Adds a line to `pg_hba.conf`, before the cluster's own, so that it wins: `hostssl all segura 127.0.0.1/32 trust`.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Keeps the data in this folder, which stays when the cluster is dropped. An empty or absent one is filled by
    /// `initdb`; one that holds a cluster is started as it is, with this cluster's settings.
    #[must_use]
    pub fn data_dir(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts the cluster and waits until it answers.
    ///
    /// # Errors
    /// When the PostgreSQL binaries are not found, or the server does not start; the end of its log is in the error.
    pub fn start(self) -> Result<Cluster> {
        let binaries = binaries()?;
        let folder = tempfile::Builder::new()
            .prefix("testkit-pg-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let user = unprivileged_user(folder.path())?;
        let data = match &self.data {
            Some(data) => {
                fs::create_dir_all(data)
                    .with_context(|| format!("cannot make {}", data.display()))?;
                fs::canonicalize(data)?
            }
            None => folder.path().join("data"),
        };
        if let Some(User { uid, gid }) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
            if self.data.is_some() {
                chown(&data, Some(uid), Some(gid))?;
            }
        }
        let port = self.port.map_or_else(free_port, Ok)?;
        let mut cluster = Cluster {
            options: self,
            user,
            binaries,
            folder,
            data,
            port,
            server: None,
        };
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.initdb()?;
        }
        cluster.launch()?;
        cluster.make_password_role()?;
        Ok(cluster)
    }
}

impl Cluster {
    /// Starts a cluster with nothing special about it.
    ///
    /// # Errors
    /// As [`ClusterOptions::start`].
    pub fn start() -> Result<Self> {
        Self::options().start()
    }

    /// What to start a cluster with, where [`Cluster::start`] does not do.
    #[must_use]
    pub fn options() -> ClusterOptions {
        ClusterOptions::default()
    }

    /// The one cluster that all tests of this process may share, started at its first use. It ends with the process.
    ///
    /// # Errors
    /// As [`ClusterOptions::start`], and the same error again for every later caller.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("the shared cluster did not start: {error}"))
    }

    /// The loopback port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of a database, as the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://{SUPERUSER}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// URL of a database, as another role; the password is put in as it is, so it must need no percent-encoding.
    #[must_use]
    pub fn url_as(&self, database: &str, role: &str, password: &str) -> String {
        format!(
            "postgresql://{role}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// A connection to the database `postgres` as the superuser.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn admin(&self) -> Result<Client> {
        connect(&self.url("postgres"))
    }

    /// Folder of the server's data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Process id of the postmaster, or `None` while the server is down.
    #[must_use]
    pub fn postmaster_pid(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.postmaster)
    }

    /// The end of the server's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.log_file())
    }

    /// Takes the server down at once, as a crash would. Data, port and settings stay for [`Cluster::bring_up`].
    ///
    /// # Errors
    /// When the server does not end in time.
    pub fn take_down(&mut self) -> Result<()> {
        if let Some(server) = &mut self.server {
            signal("QUIT", server.postmaster)?;
            wait(&mut server.supervisor, STOP_LIMIT)?;
            self.server = None;
        }
        Ok(())
    }

    /// Starts the server again on the same port and data, after [`Cluster::take_down`] or a crash.
    ///
    /// # Errors
    /// As [`ClusterOptions::start`].
    pub fn bring_up(&mut self) -> Result<()> {
        if let Some(server) = &mut self.server {
            if server.supervisor.try_wait()?.is_none() {
                return Ok(());
            }
            self.server = None;
        }
        self.options.port = Some(self.port);
        self.launch()
    }

    fn initdb(&self) -> Result<()> {
        let log = self.log_file();
        // C.UTF-8 is not on every system; C sorts the same way.
        for locale in ["C.UTF-8", "C"] {
            self.write(&log, "")?;
            let locale = format!("--locale={locale}");
            let mut initdb = self.supervise(
                "initdb",
                &[
                    "-U",
                    SUPERUSER,
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--no-sync",
                    "--no-instructions",
                    &locale,
                ],
            )?;
            wait(&mut initdb, START_LIMIT)?;
            if initdb.wait()?.success() {
                return Ok(());
            }
        }
        bail!("initdb failed: {}", self.log_tail())
    }

    /// Starts the server, on another port where the first was taken meanwhile and the caller did not ask for it.
    fn launch(&mut self) -> Result<()> {
        for attempt in 1.. {
            match self.launch_once() {
                Ok(server) => {
                    self.server = Some(server);
                    break;
                }
                Err(error) => {
                    let taken = self.log_tail().contains("could not bind");
                    if !taken || self.options.port.is_some() || attempt >= PORT_TRIES {
                        return Err(error);
                    }
                    self.port = free_port()?;
                }
            }
        }
        Ok(())
    }

    fn launch_once(&self) -> Result<Server> {
        self.configure()?;
        self.write(&self.log_file(), "")?;
        let mut supervisor = self.supervise("postgres", &[])?;
        match self.wait_until_ready(&mut supervisor) {
            Ok(postmaster) => Ok(Server {
                supervisor,
                postmaster,
            }),
            Err(error) => {
                // Not by the pipe: that would remove the folder, which the next attempt needs.
                if let Some(postmaster) = self.read_postmaster_pid() {
                    signal("QUIT", postmaster).ok();
                }
                wait(&mut supervisor, STOP_LIMIT).ok();
                Err(error.context(format!(
                    "PostgreSQL did not start on port {}; its log ends:\n{}",
                    self.port,
                    self.log_tail()
                )))
            }
        }
    }

    /// Runs a program of the server's on the data folder, so that it ends with this process or with the child's pipe.
    fn supervise(&self, program: &str, arguments: &[&str]) -> Result<Child> {
        let data = [OsString::from("-D"), self.data.clone().into()];
        let arguments: Vec<OsString> = data
            .into_iter()
            .chain(arguments.iter().map(OsString::from))
            .collect();
        supervise(
            self.command("sh"),
            self.folder.path(),
            &self.log_file(),
            &self.binaries.join(program),
            &arguments,
        )
    }

    /// Waits until the server takes connections; gives the postmaster's process id.
    fn wait_until_ready(&self, supervisor: &mut Child) -> Result<u32> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = supervisor.try_wait()? {
                bail!("the server ended with {status}");
            }
            // The status line of postmaster.pid says "ready", so that another server on this port is not taken for ours.
            let pid_file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            if pid_file
                .lines()
                .nth(7)
                .is_some_and(|status| status.trim() == "ready")
            {
                let pid = self
                    .read_postmaster_pid()
                    .context("postmaster.pid has no process id")?;
                self.admin()?;
                return Ok(pid);
            }
            if Instant::now() > deadline {
                bail!("the server was not ready after {START_LIMIT:?}");
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn configure(&self) -> Result<()> {
        let mut conf = format!("{SETTINGS}port = {}\n", self.port);
        if let Some((certificate, key)) = &self.options.ssl {
            for (from, to) in [(certificate, "testkit.crt"), (key, "testkit.key")] {
                let pem = fs::read_to_string(from)
                    .with_context(|| format!("cannot read {}", from.display()))?;
                self.write(&self.data.join(to), &pem)?;
            }
            conf.push_str(
                "ssl = on\nssl_cert_file = 'testkit.crt'\nssl_key_file = 'testkit.key'\n",
            );
        }
        for (name, value) in &self.options.settings {
            writeln!(conf, "{name} = '{}'", value.replace('\'', "''"))?;
        }
        self.write(&self.data.join("postgresql.conf"), &conf)?;

        let mut hba = String::new();
        for line in &self.options.hba {
            writeln!(hba, "{line}")?;
        }
        for (role, method) in [(PASSWORD_ROLE, "scram-sha-256"), ("all", "trust")] {
            for databases in ["all", "replication"] {
                writeln!(hba, "host {databases} {role} 127.0.0.1/32 {method}")?;
            }
        }
        self.write(&self.data.join("pg_hba.conf"), &hba)
    }

    fn make_password_role(&self) -> Result<()> {
        self.admin()?
            .batch_execute(&format!(
                "DO $$ BEGIN
                     IF to_regrole('{PASSWORD_ROLE}') IS NULL THEN
                         CREATE ROLE {PASSWORD_ROLE} LOGIN REPLICATION PASSWORD '{PASSWORD}';
                         GRANT pg_read_all_data TO {PASSWORD_ROLE};
                     END IF;
                 END $$"
            ))
            .with_context(|| format!("cannot make the role {PASSWORD_ROLE}"))
    }

    /// A command that runs as the server's account, in a folder that account may be in, in no one's language.
    fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command
            .current_dir(self.folder.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            // PGDATA, PGPORT and their like are about some other server.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Writes a file that only the server's account may read, as PostgreSQL demands of a key.
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        if let Some(User { uid, gid }) = self.user {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn read_postmaster_pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("postgres.log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // The end of the pipe tells the supervisor to stop the server and remove the folder.
            drop(server.supervisor.stdin.take());
            if wait(&mut server.supervisor, STOP_LIMIT).is_err() {
                // Only a process that postmaster.pid still names as ours is ended.
                if self.read_postmaster_pid() == Some(server.postmaster) {
                    signal("KILL", server.postmaster).ok();
                }
                server.supervisor.kill().ok();
                server.supervisor.wait().ok();
            }
        }
        // What is left of the folder, if anything, `TempDir` removes.
    }
}

/// Connects without TLS, which every server of this crate accepts.
pub(crate) fn connect(url: &str) -> Result<Client> {
    Client::connect(url, NoTls).with_context(|| format!("cannot connect to {url}"))
}
