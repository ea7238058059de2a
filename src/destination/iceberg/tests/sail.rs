//! The lake with Sail as what writes the rows: it has no branches.

use testkit::proxy::Loss;

use super::elsewhere::{Elsewhere, Kind};
use super::*;

conformance!(OnSail);

pub(super) type OnSail = Elsewhere<Sail>;

pub(super) struct Sail;

impl Kind for Sail {
    const CATALOG: &'static str = testkit::Sail::CATALOG;
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
        (
            "crashes::a_crash_before_the_commit_leaves_no_trace",
            "without branches rows come before their position; see failures",
        ),
    ];

    const LOSSES: &'static [Loss] = &[
        Loss::Cut,
        Loss::Instead(500),
        Loss::Instead(503),
        Loss::Unsent,
        Loss::Refused(503),
    ];
    const POINTS: &'static [&'static str] = &[
        "claimed",
        "staging",
        "staged",
        "before_commit",
        "after_commit",
    ];
    const NAME: &'static str = "sail";
    type Server = testkit::Sail;

    fn url() -> String {
        testkit::Sail::shared().unwrap().url()
    }

    fn start(catalog: &str) -> testkit::Sail {
        testkit::Sail::start(testkit::Lake::shared().unwrap(), catalog).unwrap()
    }

    fn url_of(server: &testkit::Sail) -> String {
        server.url()
    }
}
