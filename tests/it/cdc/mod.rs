//! Changes by logical replication, with real servers: nothing lost, nothing twice, in the order of commits.

use std::sync::OnceLock;

use postgres::Client;
use serde_json::Value;
use testkit::Cluster;

use crate::support::{Project, stream_report};

mod altered;
mod beside;
mod copies;
mod crashes;
mod ddl;
mod ddl_fuzz;
mod folding;
pub mod following;
mod history;
mod identities;
mod positions;
mod publications;
mod schemas;
mod server;
mod slots;
mod snapshots;
mod soak;
mod values;
mod warehouse;
mod windows;

/// A server of its own, with room for a slot of each test: what the other tests leave open would keep slots waiting.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::options()
            .setting("max_replication_slots", "80")
            .setting("max_wal_senders", "80")
            .start()
            .unwrap()
    })
}

/// A pipeline with the changes of these tables of a database made by `ddl`, each stream with these keys besides.
pub fn project(name: &str, ddl: &str, tables: &[&str], keys: &str) -> Project {
    let source = cluster().database(name).unwrap();
    source.batch(ddl).unwrap();
    let slot = source.name().to_owned();
    let mut project = Project::on(source, &streams(tables, keys));
    // Slots are the cluster's: each test has one of its own name.
    project.set("SLOT", &slot);
    project
}

pub fn streams(tables: &[&str], keys: &str) -> String {
    let mut text =
        "[sources.operativa.replication]\nslot = \"${SLOT}\"\npublication = \"acequia\"\n"
            .to_owned();
    for table in tables {
        text.push_str(&format!(
            "[streams.{table}]\nsource = \"operativa\"\ntable = \"public.{table}\"\nmode = \"cdc\"\n{keys}\n"
        ));
    }
    text
}

impl Project {
    pub fn client(&self) -> Client {
        self.source.client().unwrap()
    }

    /// The value of a query on the source.
    pub fn source_value(&self, sql: &str) -> String {
        self.source.value(sql).unwrap().unwrap_or_default()
    }

    /// Lets the server keep next to nothing in temporary files.
    pub fn take_room_away(&self) {
        let name = self.source.name();
        let sql = format!(
            "ALTER DATABASE \"{name}\" SET temp_file_limit = '64kB'; ALTER DATABASE \"{name}\" SET work_mem = '64kB'"
        );
        self.source.batch(&sql).unwrap();
    }

    /// A value of the pipeline's slot.
    pub fn slot(&self, what: &str) -> String {
        self.source_value(&format!(
            "SELECT {what} FROM pg_replication_slots WHERE slot_name = '{}'",
            self.source.name()
        ))
    }

    /// Where the slot stands.
    pub fn confirmed(&self) -> u64 {
        let confirmed = self.slot("(confirmed_flush_lsn - '0/0')::int8");
        confirmed.parse().unwrap()
    }

    /// Where a stream stands in the ledger.
    pub fn position(&self, stream: &str) -> u64 {
        let sql = format!(
            "SELECT position->>'lsn' FROM replica._acequia_state WHERE stream = '{stream}'"
        );
        let lsn = self.value(&sql).unwrap();
        let (high, low) = lsn.split_once('/').unwrap();
        (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
    }

    /// Texts that a query on the destination gives, one for each row.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let connection = self.duckdb();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The change log of a table as `operation:columns`, in order.
    pub fn log(&self, table: &str, columns: &str) -> Vec<String> {
        self.rows(&format!(
            "SELECT _acequia_op || ':' || concat_ws(',', {columns}) FROM replica.{table}__changes
             ORDER BY _acequia_lsn, _acequia_seq, {columns}"
        ))
    }
}

/// What a report warns of a stream.
pub fn warnings(report: &Value, stream: &str) -> String {
    stream_report(report, stream)["warnings"].to_string()
}

/// The error that a stream ended with.
pub fn error(report: &Value, stream: &str) -> String {
    stream_report(report, stream)["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
