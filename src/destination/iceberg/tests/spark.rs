//! The lake with Spark as what writes the rows: it writes branches.

use testkit::proxy::Loss;

use super::elsewhere::{Elsewhere, Kind};
use super::*;

conformance!(OnSpark);

pub(super) type OnSpark = Elsewhere<Spark>;

pub(super) struct Spark;

/// The tests that are run at each time: Spark takes long. `ACEQUIA_SPARK=all` runs all.
const SAMPLE: [&str; 19] = [
    "replacements::a_full_load_replaces_the_table",
    "replacements::a_load_that_fails_leaves_everything_as_it_was",
    "replacements::an_interrupt_stops_a_load_and_undoes_it",
    "replacements::any_name_is_only_a_name",
    "additions::a_merge_inserts_new_rows_and_updates_changed_ones",
    "additions::a_key_that_settles_nothing_is_refused",
    "additions::an_append_adds_what_is_not_there_and_keeps_true_duplicates",
    "evolution::a_full_load_keeps_dropped_columns_and_wide_types",
    "values::numbers",
    "values::decimals",
    "values::texts_and_bytes",
    "values::uuids",
    "values::lists_of_everything",
    "changes::changes_fold_by_key",
    "changes::deletes_become_soft_from_one_load_to_the_next",
    "versions::insert_only_adds_new_keys_and_leaves_the_others",
    "versions::scd2_keeps_every_version",
    "crashes::a_crash_before_the_commit_leaves_no_trace",
    "crashes::dies_for_another_test",
];

impl Kind for Spark {
    const CATALOG: &'static str = testkit::Spark::CATALOG;
    const TESTS: &'static str = module_path!();
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
            "an engine takes some letters of a path for a pattern; see failures",
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
    ];

    /// To find a branch Spark first looks for a namespace of the table's name, and those end otherwise in `SeaweedFS`.
    fn odd_name(word: &str) -> String {
        format!("0-{word}")
    }

    fn is_left_out(test: &str) -> bool {
        std::env::var("ACEQUIA_SPARK").is_err() && !SAMPLE.contains(&test)
    }

    const LOSSES: &'static [Loss] = &[Loss::Cut, Loss::Instead(503), Loss::Unsent];
    const POINTS: &'static [&'static str] = &["claimed", "staged", "after_commit"];
    const NAME: &'static str = "spark";
    type Server = testkit::Spark;

    fn url() -> String {
        testkit::Spark::shared().unwrap().url()
    }

    fn start(catalog: &str) -> testkit::Spark {
        testkit::Spark::start(testkit::Lake::shared().unwrap(), catalog).unwrap()
    }

    fn url_of(server: &testkit::Spark) -> String {
        server.url()
    }
}
