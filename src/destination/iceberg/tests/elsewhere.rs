//! The lake with an engine elsewhere as what writes the rows, over Spark Connect.
//!
//! Each statement takes such an engine a second or so, and everything an hour. So the tests that are run each time are a sample,
//! within the tests ([`sampled`]) and of them ([`Kind::is_left_out`] of the suite; others are ignored); `make engines` runs all.

use std::marker::PhantomData;

use testkit::proxy::Loss;

use super::cases::Case;
use super::*;
use crate::config::Engine;

/// The tests of the suite that no engine elsewhere passes, and some more.
macro_rules! exceptions {
    ($(($test:literal, $why:literal)),* $(,)?) => {
        &[
            ("queries::rows_of_a_query_come_as_json", "as with DuckDB as the writer"),
            ("queries::names_are_looked_up_in_the_models_schema_first", "as with DuckDB as the writer"),
            ("queries::a_query_is_one_select_that_cannot_write", "as with DuckDB as the writer"),
            ("replacements::a_table_or_view_of_the_user_is_not_overwritten", "as with DuckDB as the writer"),
            ("additions::rows_whose_cursor_is_null_or_infinite_come_each_time_and_are_met_again", "as with DuckDB as the writer"),
            ("relations::a_column_of_records_is_not_taken_for_a_relation", "as with DuckDB as the writer"),
            ("relations::a_column_of_records_is_not_taken_for_changes", "as with DuckDB as the writer"),
            ("evolution::a_table_that_is_not_as_the_ledger_says_is_told", "as with DuckDB as the writer"),
            ("evolution::a_unique_index_of_the_users_stands_in_the_way_and_is_named", "as with DuckDB as the writer"),
            ("values::dates_and_times", "as with DuckDB as the writer"),
            ("changes::deletes_become_soft_from_one_load_to_the_next", "as with DuckDB as the writer"),
            ("replacements::parts_lie_wherever_they_lie", "an engine takes some letters of a path for a pattern; see failures"),
            $(($test, $why)),*
        ]
    };
}
pub(super) use exceptions;

/// What tests go through with an engine that takes long: a sample, or where `ACEQUIA_ENGINES` is set (to `all`) everything.
pub(super) fn sampled<T>(all: &'static [T], sample: &'static [T]) -> &'static [T] {
    if is_whole() { all } else { sample }
}

pub(super) fn is_whole() -> bool {
    std::env::var_os("ACEQUIA_ENGINES").is_some()
}

/// An engine that all tests share.
pub(super) trait Kind: Send + 'static {
    /// What it calls the lake's catalog.
    const CATALOG: &'static str;
    /// Where the suite is run on it.
    const TESTS: &'static str;
    /// As [`Subject::is_left_out`].
    fn is_left_out(_: &str) -> bool {
        false
    }

    /// As [`Subject::EXCEPTIONS`].
    const EXCEPTIONS: &'static [(&'static str, &'static str)];

    /// The cases that tests of failures go through.
    fn cases() -> &'static [Case];

    /// What becomes of requests in them.
    fn losses() -> &'static [Loss];
    /// Where a process dies in them.
    fn points() -> &'static [&'static str];
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
    const RUNS: &'static str = Namespace::RUNS;
    const KEEPS_SIGN_OF_ZERO: bool = false;
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = E::EXCEPTIONS;

    fn is_left_out(test: &str) -> bool {
        E::is_left_out(test)
    }

    fn cases_for_one() -> u32 {
        if is_whole() { 8 } else { 32 }
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
        token: None,
        catalog: Some(E::CATALOG.to_owned()),
    }
}
