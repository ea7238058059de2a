//! The lake with Sail as what writes the rows: an engine elsewhere, over Spark Connect.

use super::*;
use crate::config::Engine;

conformance!(OnSail);

/// A namespace whose tables Sail writes, and a DuckDB reads.
pub(super) struct OnSail(pub(super) Namespace);

impl Subject for OnSail {
    type Destination = Lake;
    const DIALECT: Dialect = Dialect::DuckDb;
    const NAME: &'static str = "iceberg";
    const TESTS: &'static str = module_path!();
    const COLUMNS: &'static str = Namespace::COLUMNS;
    const RUNS: &'static str = "acequia_runs";
    const KEEPS_SIGN_OF_ZERO: bool = false;
    const KEEPS_CHANGELOG: bool = false;
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = &[
        (
            "queries::rows_of_a_query_come_as_json",
            "as with DuckDB as the writer",
        ),
        (
            "queries::names_are_looked_up_in_the_models_schema_first",
            "as with DuckDB as the writer",
        ),
        (
            "queries::a_query_is_one_select_that_cannot_write",
            "as with DuckDB as the writer",
        ),
        (
            "additions::rows_of_an_amending_load_replace_and_delete_by_their_keys",
            "such loads are refused, with the remedy",
        ),
        (
            "replacements::a_table_or_view_of_the_user_is_not_overwritten",
            "as with DuckDB as the writer",
        ),
        (
            "additions::rows_whose_cursor_is_null_or_infinite_come_each_time_and_are_met_again",
            "as with DuckDB as the writer",
        ),
        (
            "relations::a_column_of_records_is_not_taken_for_a_relation",
            "as with DuckDB as the writer",
        ),
        (
            "relations::a_column_of_records_is_not_taken_for_changes",
            "as with DuckDB as the writer",
        ),
        (
            "evolution::a_table_that_is_not_as_the_ledger_says_is_told",
            "as with DuckDB as the writer",
        ),
        (
            "evolution::a_unique_index_of_the_users_stands_in_the_way_and_is_named",
            "as with DuckDB as the writer",
        ),
        ("values::dates_and_times", "as with DuckDB as the writer"),
        (
            "replacements::parts_lie_wherever_they_lie",
            "an engine takes some letters of a path for a pattern; see sail_failures",
        ),
        (
            "changelog::the_changelog_keeps_every_change",
            "an engine elsewhere keeps no table of changes",
        ),
        (
            "changelog::the_changelog_follows_the_source",
            "an engine elsewhere keeps no table of changes",
        ),
        (
            "changelog::the_changelog_begins_when_it_is_asked_for",
            "an engine elsewhere keeps no table of changes",
        ),
        (
            "changes_whole::rows_without_a_key_come_and_go_as_a_whole",
            "an engine elsewhere applies no changes without a key",
        ),
        (
            "changes_whole::a_table_without_a_key_is_what_its_source_was",
            "an engine elsewhere applies no changes without a key",
        ),
        (
            "crashes::a_crash_before_the_commit_leaves_no_trace",
            "without branches rows come before their position; see sail_failures",
        ),
    ];

    fn new() -> Self {
        let sail = testkit::Sail::shared().unwrap();
        let mut place = Namespace::new();
        place.lake.engine = Some(engine(&sail.url()));
        Self(place)
    }

    #[cfg(feature = "failpoints")]
    fn at(address: &str) -> Self {
        let (address, url) = address.rsplit_once('|').unwrap();
        let mut place = Namespace::at(address);
        place.lake.engine = Some(engine(url));
        Self(place)
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
        Namespace::odd_name(word)
    }
}

pub(super) fn engine(url: &str) -> Engine {
    Engine {
        url: Secret::new(url),
        token: None,
        catalog: Some(testkit::Sail::CATALOG.to_owned()),
    }
}
