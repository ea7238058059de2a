//! The lake with Spark as what writes the rows: it writes branches.

use testkit::proxy::Loss;

use super::cases::Case;
use super::elsewhere::{Elsewhere, Kind, exceptions, is_whole, sampled};
use super::*;

conformance!(OnSpark);

pub(super) type OnSpark = Elsewhere<Spark>;

pub(super) struct Spark;

/// The tests of the suite that are run each time.
const SAMPLE: [&str; 12] = [
    "replacements::a_full_load_replaces_the_table",
    "replacements::an_interrupt_stops_a_load_and_undoes_it",
    "replacements::any_name_is_only_a_name",
    "additions::a_merge_inserts_new_rows_and_updates_changed_ones",
    "additions::an_append_adds_what_is_not_there_and_keeps_true_duplicates",
    "additions::minus_zero_and_nan_are_values",
    "ranges::rows_without_a_key_take_the_place_of_all_in_their_range",
    "changes::a_snapshot_makes_the_table_with_the_columns_of_its_changes",
    "changes_whole::rows_without_a_key_come_and_go_as_a_whole",
    "versions::scd2_keeps_every_version",
    "crashes::a_crash_before_the_commit_leaves_no_trace",
    "crashes::dies_for_another_test",
];

impl Kind for Spark {
    const CATALOG: &'static str = testkit::Spark::CATALOG;
    const TESTS: &'static str = module_path!();
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = exceptions![];

    /// To find a branch Spark first looks for a namespace of the table's name, and those end otherwise in `SeaweedFS`.
    fn odd_name(word: &str) -> String {
        format!("0-{word}")
    }

    fn is_left_out(test: &str) -> bool {
        !is_whole() && !SAMPLE.contains(&test)
    }

    fn cases() -> &'static [Case] {
        sampled(&Case::ALL, &[Case::Changes])
    }

    fn losses() -> &'static [Loss] {
        sampled(&[Loss::Cut, Loss::Instead(503)], &[Loss::Cut])
    }

    fn points() -> &'static [&'static str] {
        sampled(
            &["claimed", "changes_staged", "staged", "after_commit"],
            &["staged"],
        )
    }

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
