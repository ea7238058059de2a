//! The lake with an engine elsewhere as what writes the rows, over Spark Connect.

use std::marker::PhantomData;

use testkit::proxy::Loss;

use super::*;
use crate::config::Engine;

/// An engine that all tests share.
pub(super) trait Kind: Send + 'static {
    /// What it calls the lake's catalog.
    const CATALOG: &'static str;
    /// Where the suite is run on it.
    const TESTS: &'static str;
    /// As [`Subject::KEEPS_CHANGELOG`].
    const KEEPS_CHANGELOG: bool;
    /// As [`Subject::is_left_out`].
    fn is_left_out(_: &str) -> bool {
        false
    }

    /// As [`Subject::EXCEPTIONS`].
    const EXCEPTIONS: &'static [(&'static str, &'static str)];

    /// What becomes of requests in tests of failures.
    const LOSSES: &'static [Loss];
    /// Where a process dies in them.
    const POINTS: &'static [&'static str];
    /// What the tests of failures on it are called.
    const NAME: &'static str;
    /// As [`Subject::odd_name`].
    fn odd_name(word: &str) -> String {
        Namespace::odd_name(word)
    }

    /// An engine of a test's own.
    type Server: Send;

    /// The shared engine's address.
    fn url() -> String;

    /// Starts one that reaches the catalog at a URL. It ends when dropped.
    fn start(catalog: &str) -> Self::Server;

    /// Its address.
    fn url_of(server: &Self::Server) -> String;
}

/// A namespace whose tables an engine writes, and a DuckDB reads.
pub(super) struct Elsewhere<E>(pub(super) Namespace, PhantomData<E>);

impl<E: Kind> Subject for Elsewhere<E> {
    type Destination = Lake;
    const DIALECT: Dialect = Dialect::DuckDb;
    const NAME: &'static str = "iceberg";
    const TESTS: &'static str = E::TESTS;
    const COLUMNS: &'static str = Namespace::COLUMNS;
    const KEEPS_SIGN_OF_ZERO: bool = false;
    const KEEPS_CHANGELOG: bool = E::KEEPS_CHANGELOG;
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = E::EXCEPTIONS;

    fn is_left_out(test: &str) -> bool {
        E::is_left_out(test)
    }

    fn new() -> Self {
        let mut place = Namespace::new();
        place.lake.engine = Some(engine::<E>(&E::url()));
        Self(place, PhantomData)
    }

    #[cfg(feature = "failpoints")]
    fn at(address: &str) -> Self {
        let (address, url) = address.rsplit_once('|').unwrap();
        let mut place = Namespace::at(address);
        place.lake.engine = Some(engine::<E>(url));
        Self(place, PhantomData)
    }

    #[cfg(feature = "failpoints")]
    fn address(&self) -> String {
        let engine = self.0.lake.engine.as_ref().unwrap();
        format!("{}|{}", self.0.address(), engine.url.reveal())
    }

    fn open(&self, dataset: &str) -> Result<Lake> {
        Lake::open("lake", &self.0.lake, &self.0.real(dataset))
    }

    fn open_read_only(&self, dataset: &str) -> Result<Option<Lake>> {
        self.0.open_read_only(dataset)
    }

    fn execute(&self, db: &Lake, sql: &str) {
        self.0.execute(db, sql);
    }

    fn query(&self, db: &Lake, sql: &str) -> Vec<String> {
        self.0.query(db, sql)
    }

    fn type_name(column_type: &ColumnType) -> String {
        Namespace::type_name(column_type)
    }

    fn odd_name(word: &str) -> String {
        E::odd_name(word)
    }
}

pub(super) fn engine<E: Kind>(url: &str) -> Engine {
    Engine {
        url: Secret::new(url),
        catalog: Some(E::CATALOG.to_owned()),
    }
}
