//! HubSpot over real HTTP: the scenarios that a reader of its CRM has to get right.

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testkit::hubspot::{Failure, Fault, HubSpotOptions, Limits, Oddity, Portal, Property};
use testkit::{HUBSPOT_TOKEN, HubSpotServer};

use crate::support::{Output, counts, stream_report};

mod again;
mod changes;
mod faults;
mod gone;
mod judges;
mod reading;
mod renames;
mod strangers;
mod trust;
mod values;

const FULL: &str = "object = \"companies\"\nmode = \"full\"\n";
const INCREMENTAL: &str = "object = \"companies\"\nmode = \"incremental\"\n";

/// A pipeline in a folder of its own, and a HubSpot of its own.
pub struct Crm {
    folder: TempDir,
    pub server: HubSpotServer,
    token: String,
}

impl Crm {
    fn new(options: HubSpotOptions, companies: &str) -> Self {
        let crm = Self {
            folder: tempfile::tempdir().unwrap(),
            server: options.start().unwrap(),
            token: HUBSPOT_TOKEN.to_owned(),
        };
        // A day behind this machine's clock, so that tests can have time pass: of two clocks the earlier is gone by.
        crm.server.portal().advance(-86_400);
        crm.streams(&format!(
            "[streams.companies]\nsource = \"crm\"\n{companies}"
        ));
        crm
    }

    /// With so many generated companies.
    pub fn of(companies: u64, stream: &str) -> Self {
        Self::new(HubSpotServer::options().companies(companies), stream)
    }

    pub fn streams(&self, streams: &str) {
        self.configure("2026-03", streams);
    }

    fn configure(&self, version: &str, streams: &str) {
        self.configure_at(&self.server.url(), version, streams);
    }

    fn configure_at(&self, address: &str, version: &str, streams: &str) {
        let text = format!(
            r#"
[pipeline]
name = "crm"
dataset = "replica"
destination = "duckdb"

[destinations.duckdb]
kind = "duckdb"
path = "crm.duckdb"

[sources.crm]
kind = "hubspot"
token = "${{HUBSPOT_TOKEN}}"
base_url = "{address}"
api_version = "{version}"

{streams}"#
        );
        std::fs::write(self.folder.path().join("acequia.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_acequia"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HUBSPOT_TOKEN", &self.token)
            .stdin(std::process::Stdio::null());
        command
    }

    pub fn acequia(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    pub fn run(&self) -> Value {
        let output = self.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        output.json()
    }

    /// What a run warns of a stream.
    fn warnings(report: &Value, stream: &str) -> String {
        stream_report(report, stream)["warnings"].to_string()
    }

    /// A run that fails: what it says of the stream.
    fn run_failing(&self, stream: &str) -> String {
        let output = self.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        stream_report(&output.json(), stream)["error"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A query's first column, as text; `-` for NULL.
    pub fn values(&self, sql: &str) -> Vec<String> {
        let connection = duckdb::Connection::open(self.folder.path().join("crm.duckdb")).unwrap();
        let sql = format!("SELECT coalesce(CAST(x AS VARCHAR), '-') FROM ({sql}) AS q(x)");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    pub fn value(&self, sql: &str) -> String {
        self.values(sql).remove(0)
    }

    pub fn columns(&self, table: &str) -> Vec<String> {
        self.values(&format!(
            "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'replica' AND table_name = '{table}' ORDER BY column_index"
        ))
    }

    /// Asserts that the table holds just the records that the portal has, each once.
    pub fn assert_complete(&self) {
        let expected: Vec<String> = self
            .server
            .portal()
            .ids("companies")
            .iter()
            .map(u64::to_string)
            .collect();
        let found =
            self.values("SELECT id FROM replica.companies WHERE merged_into IS NULL ORDER BY CAST(id AS BIGINT)");
        assert_eq!(found.len(), expected.len());
        assert_eq!(found, expected);
    }
}

fn unlimited() -> Limits {
    Limits {
        window: Some(100_000),
        ..Limits::default()
    }
}
