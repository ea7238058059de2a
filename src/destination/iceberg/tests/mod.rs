//! The lake against a real catalog and object storage, in a namespace of each test's own. What every destination must do is in
//! [`crate::destination::conformance`]; here is what is Iceberg's alone.

use std::cell::OnceCell;
use std::path::PathBuf;

use duckdb::Connection;

use super::*;
use crate::config::{CatalogAccess, ObjectStorage, Secret};
use crate::destination::conformance::{
    Dialect, Fixture, Load, Subject, conformance, ints, longs, texts,
};
use crate::destination::sql::Dialect as _;
use crate::position::{CursorPosition, CursorValue};
use crate::schema::ColumnType;

#[cfg(feature = "spark")]
mod amends;
#[cfg(feature = "spark")]
mod cases;
mod commits;
#[cfg(all(feature = "spark", feature = "failpoints"))]
mod dying;
#[cfg(feature = "spark")]
mod elsewhere;
#[cfg(feature = "spark")]
mod failures;
mod kept;
#[cfg(feature = "spark")]
mod keys;
#[cfg(feature = "spark")]
mod layouts;
mod names;
mod opening;
mod refusals;
#[cfg(feature = "spark")]
mod sail;
#[cfg(feature = "spark")]
mod spark;
#[cfg(feature = "spark")]
mod statements;
#[cfg(feature = "spark")]
mod switches;

conformance!(Namespace);

/// A namespace of the lake that all tests share, and a DuckDB of a user's beside the destination's own.
struct Namespace {
    lake: config::Lake,
    attach: String,
    /// What `replica` is called.
    name: String,
    user: OnceCell<Connection>,
}

impl Subject for Namespace {
    type Destination = Lake;
    const DIALECT: Dialect = Dialect::DuckDb;
    const NAME: &'static str = "iceberg";
    const TESTS: &'static str = module_path!();
    const COLUMNS: &'static str = "columns of every table";
    const RUNS: &'static str = "acequia_runs";
    const KEEPS_SIGN_OF_ZERO: bool = false;
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = &[
        (
            "changes::deletes_become_soft_from_one_load_to_the_next",
            "rows that were marked stay, marked",
        ),
        (
            "queries::rows_of_a_query_come_as_json",
            "no queries of people's are run in a lake",
        ),
        (
            "queries::names_are_looked_up_in_the_models_schema_first",
            "no queries of people's are run in a lake",
        ),
        (
            "queries::a_query_is_one_select_that_cannot_write",
            "no queries of people's are run in a lake",
        ),
        (
            "replacements::a_table_or_view_of_the_user_is_not_overwritten",
            "DuckDB makes no views in a catalog of Iceberg; of tables, see refusals",
        ),
        (
            "additions::rows_whose_cursor_is_null_or_infinite_come_each_time_and_are_met_again",
            "Iceberg has no infinite dates and times; of NULL, see values",
        ),
        (
            "relations::a_column_of_records_is_not_taken_for_a_relation",
            "DuckDB adds no column of records to a table of Iceberg; a file of DuckDB runs the same SQL",
        ),
        (
            "relations::a_column_of_records_is_not_taken_for_changes",
            "DuckDB adds no column of records to a table of Iceberg; a file of DuckDB runs the same SQL",
        ),
        (
            "evolution::a_table_that_is_not_as_the_ledger_says_is_told",
            "a table that is dropped takes its stream's state along; see refusals",
        ),
        (
            "evolution::a_unique_index_of_the_users_stands_in_the_way_and_is_named",
            "Iceberg has no indices",
        ),
        (
            "values::dates_and_times",
            "Iceberg has no infinite dates and times; of others, see values",
        ),
    ];

    /// Each load is a second of the catalog's.
    fn cases_for_one() -> u32 {
        24
    }

    fn new() -> Self {
        let kit = testkit::Lake::shared().unwrap();
        let (id, secret) = kit
            .credential()
            .split_once(':')
            .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
            .unwrap();
        Self {
            lake: lake(&[
                &kit.catalog(),
                kit.warehouse(),
                &id,
                &secret,
                &kit.endpoint(),
                kit.extensions().to_str().unwrap(),
            ]),
            attach: kit.attach_sql("lake"),
            name: kit.namespace("replica"),
            user: OnceCell::new(),
        }
    }

    #[cfg(feature = "failpoints")]
    fn at(address: &str) -> Self {
        let parts: Vec<&str> = address.split('|').collect();
        Self {
            lake: lake(&parts[..6]),
            attach: String::new(),
            name: parts[6].to_owned(),
            user: OnceCell::new(),
        }
    }

    #[cfg(feature = "failpoints")]
    fn address(&self) -> String {
        let Some(storage) = &self.lake.storage else {
            panic!("no storage");
        };
        let extensions = self.lake.extensions.as_ref().unwrap();
        [
            self.lake.catalog.as_str(),
            &self.lake.warehouse,
            &storage.key_id,
            storage.secret.reveal(),
            storage.endpoint.as_ref().unwrap(),
            extensions.to_str().unwrap(),
            &self.name,
        ]
        .join("|")
    }

    fn open(&self, dataset: &str) -> Result<Lake> {
        Lake::open("lake", &self.lake, &self.real(dataset))
    }

    fn open_read_only(&self, dataset: &str) -> Result<Option<Lake>> {
        Lake::open_read_only("lake", &self.lake, &self.real(dataset))
    }

    fn execute(&self, _: &Lake, sql: &str) {
        self.user().execute_batch(&self.real(sql)).unwrap();
    }

    fn query(&self, _: &Lake, sql: &str) -> Vec<String> {
        if sql == Self::COLUMNS {
            return self.columns();
        }
        query(self.user(), &self.real(sql))
    }

    fn type_name(column_type: &ColumnType) -> String {
        dialect::LakeSql.type_name(column_type)
    }

    /// Catalogs take few names: of columns any, and of tables what S3 Tables does.
    fn odd_name(word: &str) -> String {
        format!("0-{word}_")
    }
}

impl Namespace {
    /// SQL, or a name, of what is called `replica` and `_acequia_loads` in the suite.
    fn real(&self, sql: &str) -> String {
        sql.replace("replica", &self.name)
            .replace("_acequia_loads", state::LEDGER)
    }

    fn user(&self) -> &Connection {
        self.user.get_or_init(|| {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(&self.attach).unwrap();
            connection
                .execute_batch(&format!("USE lake.{}", self.name))
                .unwrap();
            connection
        })
    }

    /// Table, column and type of every column in the dataset.
    fn columns(&self) -> Vec<String> {
        let tables = query(
            self.user(),
            &format!(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND schema_name = '{}' ORDER BY 1",
                self.name
            ),
        );
        let columns = tables.iter().flat_map(|table| {
            let sql = format!(
                "SELECT '{table}', column_name, column_type FROM (DESCRIBE \"lake\".\"{}\".\"{table}\")",
                self.name
            );
            query(self.user(), &sql)
        });
        columns.collect()
    }
}

/// A position of `ventas`, by its version.
fn position(version: i64) -> Position {
    let value = CursorValue::Integer(version);
    Position::Cursor(CursorPosition {
        column: "version".to_owned(),
        resume: value.clone(),
        value,
        seen: None,
        boundary: None,
        compared: None,
    })
}

fn lake(parts: &[&str]) -> config::Lake {
    let [catalog, warehouse, id, secret, endpoint, extensions] = parts else {
        panic!("{} parts", parts.len());
    };
    let text = |text: &&str| (*text).to_owned();
    config::Lake {
        catalog: text(catalog),
        warehouse: text(warehouse),
        access: CatalogAccess::Credential {
            id: text(id),
            secret: Secret::new(*secret),
            oauth2_uri: format!("{catalog}/v1/oauth/tokens"),
            scope: "PRINCIPAL_ROLE:ALL".to_owned(),
        },
        storage: Some(ObjectStorage {
            key_id: text(id),
            secret: Secret::new(*secret),
            session_token: None,
            region: "us-east-1".to_owned(),
            endpoint: Some(text(endpoint)),
            by_path: true,
        }),
        engine: None,
        extensions: Some(PathBuf::from(extensions)),
        memory_limit: Some(256 << 20),
    }
}

fn query(connection: &Connection, sql: &str) -> Vec<String> {
    crate::destination::duckdb::tests::query(connection, sql)
}
