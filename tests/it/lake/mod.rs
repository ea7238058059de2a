//! The lake as a destination: the real binary, a real Iceberg catalog and object storage, and two readers that know nothing of
//! acequia, DuckDB's own and PyIceberg.

use std::ops::{Deref, DerefMut};

use duckdb::Connection;
use serde_json::Value;
use testkit::oracle::{checksums, columns_of};
use testkit::{Lake, Seed};

use crate::cdc;
use crate::support::{Project, duckdb_checksums};

mod commands;
mod crashes;
#[cfg(feature = "spark")]
mod engine;
mod foreign;
mod lost;
mod modes;
mod ranges;
mod refused;
mod turns;
mod verify;

/// A pipeline into a namespace of its own of the lake that all tests share.
struct Shore {
    project: Project,
    lake: &'static Lake,
    /// The namespace.
    dataset: String,
    /// The catalog as acequia is told of it.
    catalog: String,
    landing: String,
    /// Keys of the destination besides.
    keys: String,
    streams: String,
}

impl Deref for Shore {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.project
    }
}

impl DerefMut for Shore {
    fn deref_mut(&mut self) -> &mut Project {
        &mut self.project
    }
}

impl Shore {
    fn on(mut project: Project, streams: &str) -> Self {
        let lake = Lake::shared().unwrap();
        for (name, value) in lake.env() {
            project.set(name, &value);
        }
        project.set("LAGO", &lake.credential());
        let shore = Self {
            project,
            lake,
            dataset: lake.namespace("replica"),
            catalog: lake.catalog(),
            landing: "landing".to_owned(),
            keys: format!("extensions = \"{}\"\n", lake.extensions().display()),
            streams: streams.to_owned(),
        };
        shore.write();
        shore
    }

    /// A source with the operational schema and so many sales.
    fn operational(name: &str, ventas: u64, streams: &str) -> Self {
        let project = Project::operational(name, "");
        Seed::new(5, ventas)
            .only_ventas()
            .apply(&mut project.source.client().unwrap())
            .unwrap();
        Self::on(project, streams)
    }

    /// A source with these tables, which are read by their changes.
    fn of_changes(name: &str, ddl: &str, tables: &[&str], keys: &str) -> Self {
        let project = cdc::project(name, ddl, tables, keys);
        Self::on(project, &cdc::streams(tables, keys))
    }

    /// Writes the configuration.
    fn write(&self) {
        let Self {
            dataset,
            catalog,
            landing,
            keys,
            streams,
            ..
        } = self;
        let warehouse = self.lake.warehouse();
        self.configure(&format!(
            r#"
[pipeline]
name = "formacion"
dataset = "{dataset}"
landing = "{landing}"
destination = "lago"

[destinations.lago]
kind = "iceberg"
catalog = "{catalog}"
warehouse = "{warehouse}"
credential = "${{LAGO}}"
{keys}
[sources.operativa]
kind = "postgres"
url = "${{OPERATIVA_URL}}"
{streams}"#
        ));
    }

    /// Has acequia find the catalog at another address.
    fn at(mut self, catalog: &str) -> Self {
        catalog.clone_into(&mut self.catalog);
        self.write();
        self
    }

    /// Has acequia land in the lake's object storage.
    fn landing_in_s3(mut self) -> Self {
        self.landing = self.lake.landing(&self.dataset);
        self.write();
        self
    }

    /// With more keys of the destination.
    fn with(mut self, keys: &str) -> Self {
        self.keys.push_str(keys);
        self.write();
        self
    }

    /// Goes to a namespace and a landing area where nothing is.
    fn anew(&mut self) {
        self.dataset = self.lake.namespace("replica");
        self.landing = format!("landing_{}", self.dataset);
        self.write();
    }

    /// Somebody's DuckDB that has the catalog attached, as `lago`.
    fn reader(&self) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&self.lake.attach_sql("lago"))
            .unwrap();
        connection
    }

    /// The first value of a query, as text, where `replica` stands for the namespace.
    fn value(&self, sql: &str) -> String {
        let sql = sql.replace("replica.", &format!("lago.{}.", self.dataset));
        let sql = format!("SELECT coalesce(CAST(x AS VARCHAR), '-') FROM ({sql}) AS q(x)");
        let reader = self.reader();
        reader.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// The rows of a table, as PyIceberg reads them.
    fn rows(&self, table: &str) -> Vec<Value> {
        self.lake.rows(&self.dataset, table).unwrap()
    }

    /// Asserts that a table is as its source has it: every row of it, as DuckDB reads it and as PyIceberg does.
    fn assert_same(&self, table: &str) {
        let source = format!("public.{table}");
        let mut client = self.source.client().unwrap();
        let columns = columns_of(&mut client, &source).unwrap();
        let expected = checksums(&mut client, &source, &columns).unwrap();
        let reader = self.reader();
        let by_duckdb = format!("lago.{}.{table}", self.dataset);
        assert_eq!(duckdb_checksums(&reader, &by_duckdb, &columns), expected);
        let file = self.path("leida.parquet");
        self.lake.scan_into(&self.dataset, table, &file).unwrap();
        let by_pyiceberg = format!("'{}'", file.display());
        assert_eq!(duckdb_checksums(&reader, &by_pyiceberg, &columns), expected);
    }
}

/// The load that a table says it has.
fn load_of(shore: &Shore, table: &str) -> String {
    let properties = shore.lake.properties(&shore.dataset, table).unwrap();
    properties["acequia.load-id"].clone()
}
