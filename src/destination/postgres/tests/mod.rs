//! A real server, with a database for each test. What every destination must do is in
//! [`crate::destination::conformance`]; here is what is PostgreSQL's alone.

use std::cell::RefCell;

use postgres::{Client, NoTls, SimpleQueryMessage};
use testkit::{Cluster, TestDb};

use super::*;
use crate::destination::conformance::{
    self, DATASET, Dialect, Fixture, Load, Subject, conformance, ints, longs, texts,
};
use crate::destination::sql::Dialect as _;
use crate::destination::{Destination as _, Loaded};
use crate::mode::Disposition;
use crate::names::LoadId;
use crate::schema::{Column, ColumnType};

mod arriving;
mod opening;
mod tables;

conformance!(Database);

#[test]
#[ignore = "a measurement"]
fn how_fast_changes_fold() {
    conformance::speed::how_fast::<Database>();
}

#[test]
#[ignore = "a measurement"]
fn how_much_memory_changes_take() {
    conformance::speed::how_much_memory(Fixture::<Database>::new());
}

/// A database, and a connection to it beside the destination's own.
struct Database {
    url: String,
    client: RefCell<Client>,
    own: Option<TestDb>,
}

impl Database {
    fn connect(url: &str, database: Option<TestDb>) -> Self {
        Self {
            url: url.to_owned(),
            client: RefCell::new(client(url)),
            own: database,
        }
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        rows(&mut self.client.borrow_mut(), sql)
    }

    fn database(&self) -> &TestDb {
        self.own.as_ref().unwrap()
    }
}

fn client(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}

/// The rows of a query, each as `a|b|c`.
fn rows(client: &mut Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let values = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL"));
        values.collect::<Vec<_>>().join("|")
    })
    .collect()
}

impl Subject for Database {
    type Destination = Postgres;
    const DIALECT: Dialect = Dialect::Postgres;
    const NAME: &'static str = "postgres";
    const TESTS: &'static str = module_path!();
    const COLUMNS: &'static str = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) \
         FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid \
         WHERE c.relnamespace = to_regnamespace('replica') AND c.relkind = 'r' AND a.attnum > 0 \
         AND NOT a.attisdropped ORDER BY c.relname, a.attnum";

    fn new() -> Self {
        let database = Cluster::shared().unwrap().database("destino").unwrap();
        let url = database.url().to_owned();
        Self::connect(&url, Some(database))
    }

    #[cfg(feature = "failpoints")]
    fn at(address: &str) -> Self {
        Self::connect(address, None)
    }

    #[cfg(feature = "failpoints")]
    fn address(&self) -> String {
        self.url.clone()
    }

    fn open(&self, dataset: &str) -> Result<Postgres> {
        Postgres::open("warehouse", &PostgresUrl::new(&self.url), dataset)
    }

    fn open_read_only(&self, dataset: &str) -> Result<Option<Postgres>> {
        Postgres::open_read_only("warehouse", &PostgresUrl::new(&self.url), dataset)
    }

    fn execute(&self, _: &Postgres, sql: &str) {
        self.client.borrow_mut().batch_execute(sql).unwrap();
    }

    fn query(&self, _: &Postgres, sql: &str) -> Vec<String> {
        self.rows(sql)
    }

    fn type_name(column_type: &ColumnType) -> String {
        dialect::PostgresSql.type_of(&Column {
            id: 1,
            name: String::new(),
            column_type: column_type.clone(),
            nullable: true,
            source_type: column_type.to_string(),
            element_id: None,
            mask: None,
            renamed_from: None,
        })
    }
}
