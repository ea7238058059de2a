//! What keeps a test to its story: a pipeline in a folder of its own, run as a person runs it, and looked at afterwards.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::Value;
use tempfile::TempDir;
use testkit::oracle::{Column, ColumnChecksum, Dialect, checksum_sql, checksums, columns_of};
use testkit::{Cluster, TestDb};

/// A pipeline: configuration, landing area and DuckDB file in a folder of its own, and a source database.
pub struct Project {
    pub folder: TempDir,
    pub source: TestDb,
    warehouse: Option<TestDb>,
    environment: Vec<(String, String)>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// How long a run may take to end once it is told to.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The pipeline that most tests run, without its streams.
const HEAD: &str = r#"
[pipeline]
name = "formacion"
dataset = "replica"
destination = "duckdb"

[destinations.duckdb]
kind = "duckdb"
path = "formacion.duckdb"

[destinations.almacen]
kind = "postgres"
url = "${ALMACEN_URL}"

[sources.operativa]
kind = "postgres"
url = "${OPERATIVA_URL}"
"#;

/// A table that is read by what changed.
pub const VENTAS: &str = r#"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"#;

/// A table that is read in full, and one by what changed.
pub const CURSOS_AND_VENTAS: &str = r#"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"

[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"#;

impl Project {
    /// An empty source database, and a pipeline of these streams.
    pub fn new(name: &str, streams: &str) -> Self {
        let source = Cluster::shared().unwrap().database(name).unwrap();
        Self::on(source, streams)
    }

    /// A source database with the operational schema, and a pipeline of these streams.
    pub fn operational(name: &str, streams: &str) -> Self {
        let project = Self::new(name, streams);
        project.source.apply_schema().unwrap();
        project
    }

    pub fn on(source: TestDb, streams: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self {
            environment: vec![("OPERATIVA_URL".to_owned(), source.url().to_owned())],
            folder,
            source,
            warehouse: None,
        };
        project.configure(&format!("{HEAD}{streams}"));
        project
    }

    /// With a database for the destination `almacen`.
    pub fn with_warehouse(mut self) -> Self {
        let warehouse = Cluster::shared().unwrap().database("almacen").unwrap();
        let url = warehouse.url().to_owned();
        self.set("ALMACEN_URL", &url);
        self.warehouse = Some(warehouse);
        self
    }

    /// The database of the destination `almacen`.
    pub fn warehouse(&self) -> &TestDb {
        self.warehouse.as_ref().unwrap()
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        std::fs::write(self.path("acequia.toml"), text).unwrap();
    }

    /// Writes the configuration with other streams.
    pub fn streams(&self, streams: &str) {
        self.configure(&format!("{HEAD}{streams}"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a variable of the environment for the commands that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Has acequia connect as a user who may do nothing yet. Returns the user's name.
    pub fn as_newcomer(&mut self) -> String {
        let role = format!("recien_{}", self.source.name());
        self.source
            .batch(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD '{}'",
                testkit::PASSWORD
            ))
            .unwrap();
        let url = self
            .source
            .password_url()
            .replace(testkit::PASSWORD_ROLE, &role);
        self.set("OPERATIVA_URL", &url);
        role
    }

    /// Waits until acequia's extract has begun on the server.
    pub fn wait_for_extract(&self) {
        let mut admin = self.source.client().unwrap();
        let name = self.source.name().to_owned();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let copies: i64 = admin
                .query_one(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'COPY%' AND state = 'active'",
                    &[&name],
                )
                .unwrap()
                .get(0);
            if copies > 0 {
                return;
            }
        }
        panic!("no extract began");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acequia"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn acequia(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    /// Runs a command that is killed at a failpoint.
    pub fn crash_at(&self, failpoint: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        command.env("FAILPOINTS", format!("{failpoint}=return"));
        let output = Output::of(command);
        assert_eq!(
            output.status, None,
            "it should have died at {failpoint}: {output:?}"
        );
    }

    /// `acequia run --output json` with these arguments, which must succeed: what it reports.
    pub fn run(&self, arguments: &[&str]) -> Value {
        let output = self.acequia(&[&["run", "--output", "json"], arguments].concat());
        assert_eq!(output.status, Some(0), "{output:?}");
        output.json()
    }

    /// `acequia run`, which must fail with status 1: what it reports of the stream.
    pub fn run_failing(&self, stream: &str) -> Value {
        let output = self.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        stream_report(&output.json(), stream)
    }

    /// Opens the destination.
    pub fn duckdb(&self) -> duckdb::Connection {
        duckdb::Connection::open(self.path("formacion.duckdb")).unwrap()
    }

    /// The first value of a query on the destination, as text.
    pub fn value(&self, sql: &str) -> Option<String> {
        let sql = format!("SELECT CAST(x AS VARCHAR) FROM ({sql}) AS q(x)");
        self.duckdb().query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// Asserts that a table of the source and one of the destination hold the same rows, by checksums of each column and
    /// of whole rows, computed in both.
    pub fn assert_same(&self, table: &str) {
        self.assert_same_as(&format!("public.{table}"), &format!("replica.{table}"));
    }

    pub fn assert_same_as(&self, source: &str, destination: &str) {
        let mut client = self.source.client().unwrap();
        let columns = columns_of(&mut client, source).unwrap();
        let expected = checksums(&mut client, source, &columns).unwrap();
        assert_eq!(
            duckdb_checksums(&self.duckdb(), destination, &columns),
            expected
        );
    }

    /// Asserts that a table of the source and one of the same name in the destination `almacen` hold the same rows.
    pub fn assert_same_in_warehouse(&self, table: &str) {
        self.assert_same_in(&mut self.warehouse().client().unwrap(), table);
    }

    /// Asserts that a table of the source and one of the same name in a database's dataset hold the same rows.
    pub fn assert_same_in(&self, database: &mut Client, table: &str) {
        let source = format!("public.{table}");
        let mut client = self.source.client().unwrap();
        let columns = columns_of(&mut client, &source).unwrap();
        let expected = checksums(&mut client, &source, &columns).unwrap();
        let loaded = checksums(database, &format!("replica.{table}"), &columns).unwrap();
        assert_eq!(loaded, expected);
    }

    /// The folders of a stream's loads in the landing area.
    pub fn loads(&self, stream: &str) -> Vec<PathBuf> {
        let folder = self.path("landing/formacion").join(stream);
        let mut loads: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        loads.sort();
        loads
    }
}

impl Output {
    pub fn of(mut command: Command) -> Self {
        Self::from(command.output().unwrap())
    }

    /// Sends SIGTERM to a run, which must end at once. Returns what it said.
    pub fn of_stopped(child: Child) -> Self {
        let sent = Command::new("kill")
            .args(["-s", "TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let asked = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(
            asked.elapsed() < AT_ONCE,
            "{:?}: {output:?}",
            asked.elapsed()
        );
        Self::from(output)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// An example of a configuration in one of the documents.
pub fn example(document: &str, number: usize) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let mut examples = text.split("```toml\n").skip(1);
    let example = examples.nth(number).unwrap();
    example.split("```").next().unwrap().to_owned()
}

/// The major version of the tests' servers.
pub fn postgres_major() -> i32 {
    let mut client = Cluster::shared().unwrap().admin().unwrap();
    let version = "SELECT current_setting('server_version_num')::int4 / 10000";
    client.query_one(version, &[]).unwrap().get(0)
}

/// What a report says of a stream.
pub fn stream_report(report: &Value, stream: &str) -> Value {
    report["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["stream"] == stream)
        .unwrap_or_else(|| panic!("{stream} is not in {report}"))
        .clone()
}

/// Rows extracted, inserted, updated, deleted.
pub fn counts(report: &Value, stream: &str) -> (u64, u64, u64, u64) {
    let stream = stream_report(report, stream);
    let count = |key: &str| stream[key].as_u64().unwrap();
    (
        count("rows_extracted"),
        count("inserted"),
        count("updated"),
        count("deleted"),
    )
}

/// The checksums of a table of a DuckDB file.
pub fn duckdb_checksums(
    connection: &duckdb::Connection,
    table: &str,
    columns: &[Column],
) -> Vec<ColumnChecksum> {
    let sql = checksum_sql(Dialect::DuckDb, table, columns);
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok(ColumnChecksum {
            column: row.get(0)?,
            rows: row.get(1)?,
            non_null: row.get(2)?,
            sum: row.get(3)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Asserts that no file below a folder has that text.
pub fn assert_in_no_file(folder: &Path, hidden: &str) {
    for file in files_below(folder) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes
            .windows(hidden.len())
            .any(|window| window == hidden.as_bytes());
        assert!(!found, "{} has `{hidden}`", file.display());
    }
}

/// Numbers that look random, the same for the same seed, which is not 0.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A number that the environment gives.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
