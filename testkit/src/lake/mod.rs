//! An Iceberg catalog and the object storage under it, on loopback: SeaweedFS, which is both in one process.
//!
//! The server runs under `supervise.sh`, as a [`Cluster`](crate::Cluster) does, so that it ends with this process whatever
//! becomes of it. [`pyiceberg`] has another program read and write its tables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::host::{free_ports, log_tail, supervise, wait};

mod pyiceberg;
mod sail;
mod server;
mod spark;

use pyiceberg::PyIceberg;
pub use sail::Sail;
pub use spark::Spark;

const WAREHOUSE: &str = "lake";
const LANDING: &str = "landing";
const CLIENT_ID: &str = "ACEQUIALAKEKEY";
const CLIENT_SECRET: &str = "secreto-del-lago";
const REGION: &str = "us-east-1";
const START_LIMIT: Duration = Duration::from_mins(3);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const TRIES: usize = 4;

/// A running lake with an empty catalog. It ends, and what it holds is removed, when dropped or when this process is gone.
#[derive(Debug)]
pub struct Lake {
    s3: u16,
    catalog: u16,
    tools: PathBuf,
    server: Child,
    folder: TempDir,
    reader: Mutex<Option<PyIceberg>>,
}

/// What a query gave, as text; NULL is empty.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Answer {
    /// The names of its columns.
    pub names: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// Ports of all that SeaweedFS listens on; it would take fixed ones where none is given.
#[derive(Debug)]
struct Ports {
    s3: u16,
    catalog: u16,
    others: [u16; 9],
}

impl Lake {
    /// Starts a lake and waits until it answers.
    ///
    /// # Errors
    /// When SeaweedFS, which `scripts/setup.sh` installs, is not there, or does not start.
    pub fn start() -> Result<Self> {
        let tools = tools()?;
        let mut tried = 0;
        loop {
            tried += 1;
            match Self::launch(&tools) {
                // Between finding a port and using it, another process may have taken it.
                Err(error) if tried < TRIES && error.to_string().contains("address already") => {}
                launched => return launched,
            }
        }
    }

    /// The one lake that all tests of this process may share, each in a namespace of its own. It is started at its first use
    /// and ends with the process.
    ///
    /// # Errors
    /// As [`Lake::start`], and the same error again for every later caller.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Lake, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("the shared lake did not start: {error}"))
    }

    fn launch(tools: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lake-").tempdir()?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        let [s3, catalog, others @ ..] = free_ports::<11>()?;
        let ports = Ports {
            s3,
            catalog,
            others,
        };
        let mut shell = Command::new("sh");
        shell
            .current_dir(folder.path())
            .env("AWS_ACCESS_KEY_ID", CLIENT_ID)
            .env("AWS_SECRET_ACCESS_KEY", CLIENT_SECRET)
            .env("TMPDIR", folder.path())
            .env("leftovers", ports.sockets());
        let server = supervise(
            shell,
            folder.path(),
            &folder.path().join("weed.log"),
            &tools.join("bin/weed"),
            &ports.arguments(&data),
        )?;
        let mut lake = Self {
            s3,
            catalog,
            tools: tools.to_owned(),
            server,
            folder,
            reader: Mutex::new(None),
        };
        lake.wait_until_ready()?;
        Ok(lake)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let failed = |lake: &Self, what: &str| {
            anyhow!("SeaweedFS {what}; its log ends:\n{}", lake.log_tail())
        };
        loop {
            if let Some(status) = self.server.try_wait()? {
                return Err(failed(self, &format!("ended with {status}")));
            }
            if self.answers() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(failed(
                    self,
                    &format!("was not ready after {START_LIMIT:?}"),
                ));
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Whether the catalog knows its warehouse, gives tokens, and the bucket for landing is there: the three come up one
    /// after the other.
    fn answers(&self) -> bool {
        let config = format!("/v1/config?warehouse={WAREHOUSE}");
        let known =
            http(self.catalog, "GET", &config, "").is_ok_and(|text| text.contains("prefix"));
        let bucket = || http(self.s3, "GET", &format!("/{LANDING}"), "").is_ok();
        // It tells of any warehouse, and has this one only a little later.
        let warehouse = |token: &str| {
            let path = format!("/v1/{WAREHOUSE}/namespaces");
            let listed = http_as(token, self.catalog, "GET", &path, "");
            listed.is_ok_and(|text| text.contains("namespaces"))
        };
        known && self.token().is_ok_and(|token| warehouse(&token)) && bucket()
    }

    /// URL of the catalog, without `/v1`.
    #[must_use]
    pub fn catalog(&self) -> String {
        format!("http://127.0.0.1:{}", self.catalog)
    }

    /// Name of the warehouse, which is a table bucket.
    #[must_use]
    pub fn warehouse(&self) -> &'static str {
        WAREHOUSE
    }

    /// OAuth2 client credentials, `ID:SECRET`: they are those of the object storage, too.
    #[must_use]
    pub fn credential(&self) -> String {
        format!("{CLIENT_ID}:{CLIENT_SECRET}")
    }

    /// A bearer token for the catalog, by OAuth2 client credentials; it is good for an hour.
    ///
    /// # Errors
    /// When the catalog gives none.
    pub fn token(&self) -> Result<String> {
        let form = format!(
            "grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}"
        );
        let answer = http(self.catalog, "POST", "/v1/oauth/tokens", &form)?;
        let answer: Value = serde_json::from_str(&answer)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .context("the catalog answered without a token")
    }

    /// URL of the object storage. Buckets are in the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3)
    }

    /// URL of a place in the bucket for landing: `s3://landing/PATH`.
    #[must_use]
    pub fn landing(&self, path: &str) -> String {
        format!("s3://{LANDING}/{path}")
    }

    /// The environment by which S3 clients find the object storage, for a child process.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", self.endpoint()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", CLIENT_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", CLIENT_SECRET.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// What `acequia.toml` takes from the environment of its destination `lake`, and the object storage's own.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.env();
        variables.extend([
            ("LAKE_CATALOG", self.catalog()),
            ("LAKE_ID", CLIENT_ID.to_owned()),
            ("LAKE_SECRET", CLIENT_SECRET.to_owned()),
            ("LAKE_EXTENSIONS", self.extensions().display().to_string()),
        ]);
        variables
    }

    /// The folder of DuckDB's extensions httpfs, avro and iceberg.
    #[must_use]
    pub fn extensions(&self) -> PathBuf {
        self.tools.join("extensions")
    }

    /// An interpreter with PyIceberg, DuckDB for Python and its extensions.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.tools.join("bin/python")
    }

    /// Statements by which a DuckDB of the right version attaches the catalog, with another user's settings: those of acequia
    /// are not needed for reading.
    #[must_use]
    pub fn attach_sql(&self, name: &str) -> String {
        let extensions = self.extensions();
        let load = |extension: &str| {
            format!(
                "LOAD '{}';\n",
                extensions
                    .join(format!("{extension}.duckdb_extension"))
                    .display()
            )
        };
        format!(
            "{}{}{}\
             CREATE SECRET {name}_s3 (TYPE s3, KEY_ID '{CLIENT_ID}', SECRET '{CLIENT_SECRET}', REGION '{REGION}', \
             ENDPOINT '127.0.0.1:{}', URL_STYLE 'path', USE_SSL false);\n\
             CREATE SECRET {name}_catalog (TYPE iceberg, CLIENT_ID '{CLIENT_ID}', CLIENT_SECRET '{CLIENT_SECRET}', \
             OAUTH2_SERVER_URI '{}/v1/oauth/tokens');\n\
             ATTACH '{WAREHOUSE}' AS {name} (TYPE iceberg, ENDPOINT '{}', SECRET {name}_catalog);\n",
            load("httpfs"),
            load("avro"),
            load("iceberg"),
            self.s3,
            self.catalog(),
            self.catalog(),
        )
    }

    /// A name that no other test's namespace has.
    #[must_use]
    pub fn namespace(&self, prefix: &str) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        format!("{prefix}_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// The end of SeaweedFS's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.folder.path().join("weed.log"))
    }
}

/// What PyIceberg reads and writes.
impl Lake {
    /// The tables of a namespace, in order. None where there is no such namespace.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn tables(&self, namespace: &str) -> Result<Vec<String>> {
        self.ask("tables", namespace, "", &Value::Null)
    }

    /// All rows of a table as objects, in order of all columns; what JSON has no type for is text, as Python writes it.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn rows(&self, namespace: &str, table: &str) -> Result<Vec<Value>> {
        self.ask("rows", namespace, table, &Value::Null)
    }

    /// How many rows a table has and, of each column, how many values and their sum (of numbers, else null), as text.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn sums(&self, namespace: &str, table: &str) -> Result<Value> {
        self.ask("sums", namespace, table, &Value::Null)
    }

    /// Reads a table into a Parquet file; gives the number of rows.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn scan_into(&self, namespace: &str, table: &str, file: &Path) -> Result<u64> {
        self.ask("scan", namespace, table, &Value::from(file.to_str()))
    }

    /// The answer to a query over the tables of a namespace, as PyIceberg reads them.
    ///
    /// # Errors
    /// PyIceberg's, and those of the query.
    pub fn query(&self, namespace: &str, sql: &str) -> Result<Answer> {
        self.ask("query", namespace, "", &Value::from(sql))
    }

    /// A table's properties.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn properties(&self, namespace: &str, table: &str) -> Result<BTreeMap<String, String>> {
        self.ask("properties", namespace, table, &Value::Null)
    }

    /// The ids of a table's snapshots, oldest first.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn snapshots(&self, namespace: &str, table: &str) -> Result<Vec<i64>> {
        self.ask("snapshots", namespace, table, &Value::Null)
    }

    /// Sets properties of a table: a commit by somebody else.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn set_properties(
        &self,
        namespace: &str,
        table: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.ask(
            "set_properties",
            namespace,
            table,
            &serde_json::to_value(properties)?,
        )
    }

    /// Appends rows, given as objects, to a table: a commit by somebody else. Columns that are not given are NULL.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn append(&self, namespace: &str, table: &str, rows: &[Value]) -> Result<()> {
        self.ask("append", namespace, table, &Value::from(rows))
    }

    /// Makes a table with these rows, which is nobody's in particular; and the namespace, where there is none.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn create(&self, namespace: &str, table: &str, rows: &[Value]) -> Result<()> {
        self.ask("create", namespace, table, &Value::from(rows))
    }

    /// Drops a table.
    ///
    /// # Errors
    /// PyIceberg's.
    pub fn drop_table(&self, namespace: &str, table: &str) -> Result<()> {
        self.ask("drop", namespace, table, &Value::Null)
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        namespace: &str,
        table: &str,
        with: &Value,
    ) -> Result<T> {
        let mut reader = self
            .reader
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if reader.is_none() {
            *reader = Some(PyIceberg::start(self)?);
        }
        let answer = reader
            .as_mut()
            .context("there is no reader")?
            .ask(what, namespace, table, with)
            .with_context(|| format!("PyIceberg: {what} of {namespace}.{table}"))?;
        Ok(serde_json::from_value(answer)?)
    }
}

impl Ports {
    /// The sockets that SeaweedFS makes in `/tmp`, whatever it is told, and leaves there.
    fn sockets(&self) -> String {
        let [_, master, filer_http, filer, _, volume, s3, _, admin] = self.others;
        [
            ("master-grpc", master),
            ("filer", filer_http),
            ("filer-grpc", filer),
            ("volume-grpc", volume),
            ("s3", self.s3),
            ("s3-grpc", s3),
            ("admin-grpc", admin),
        ]
        .map(|(what, port)| format!("/tmp/seaweedfs-{what}-{port}.sock"))
        .join(" ")
    }

    /// The command line of a lake over a folder.
    fn arguments(&self, data: &Path) -> Vec<OsString> {
        let [
            master,
            master_grpc,
            filer,
            filer_grpc,
            volume,
            volume_grpc,
            s3_grpc,
            admin,
            admin_grpc,
        ] = self.others;
        let mut arguments: Vec<OsString> = [
            "mini",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            "-s3.port.lance=0",
        ]
        .map(OsString::from)
        .into();
        let mut dir = OsString::from("-dir=");
        dir.push(data);
        arguments.push(dir);
        arguments.push(format!("-tableBucket={WAREHOUSE}").into());
        arguments.push(format!("-bucket={LANDING}").into());
        for (name, port) in [
            ("s3.port", self.s3),
            ("s3.port.grpc", s3_grpc),
            ("s3.port.iceberg", self.catalog),
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_grpc),
            ("admin.port", admin),
            ("admin.port.grpc", admin_grpc),
        ] {
            arguments.push(format!("-{name}={port}").into());
        }
        arguments
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        // The end of the pipe tells the supervisor to stop the server and remove the folder.
        drop(self.server.stdin.take());
        if wait(&mut self.server, STOP_LIMIT).is_err() {
            self.server.kill().ok();
            self.server.wait().ok();
        }
    }
}

/// The folder of what the lake needs, where `scripts/setup.sh` puts it.
fn tools() -> Result<PathBuf> {
    let what = "SeaweedFS, PyIceberg and DuckDB's extensions";
    installed("LAKE_FOLDER", "lake.txt", what)
}

/// A folder of tools, which a variable of `scripts/tools.sh` names, and which holds what a list says.
fn installed(variable: &str, list: &str, what: &str) -> Result<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = format!(". scripts/tools.sh && printf %s \"${variable}\"");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&project)
        .stdin(Stdio::null())
        .output()
        .context("cannot run bash")?;
    ensure!(
        output.status.success(),
        "scripts/tools.sh failed: {output:?}"
    );
    let folder = PathBuf::from(String::from_utf8(output.stdout)?);
    // Written last, so that what is there is whole; and of other versions where the lists differ.
    let wanted = fs::read(project.join("scripts").join(list))?;
    if fs::read(folder.join(list)).is_ok_and(|installed| installed == wanted) {
        Ok(folder)
    } else {
        bail!(
            "{} does not hold {what} as scripts/{list} lists them: run scripts/setup.sh",
            folder.display()
        )
    }
}

/// Sends a request; gives the body of the answer. 403 is an answer, too: who asks without a signature is told no more.
fn http(port: u16, method: &str, path: &str, form: &str) -> Result<String> {
    http_as("", port, method, path, form)
}

/// As [`http`], with a token.
fn http_as(token: &str, port: u16, method: &str, path: &str, form: &str) -> Result<String> {
    let authorization = if token.is_empty() {
        String::new()
    } else {
        format!("Authorization: Bearer {token}\r\n")
    };
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         {authorization}Content-Length: {}\r\n\r\n{form}",
        form.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(
        matches!(status, "200" | "403"),
        "the lake answered {status}"
    );
    Ok(body.to_owned())
}
