//! The lake with Sail as what writes the rows: it has no branches.

use testkit::proxy::Loss;

use super::cases::Case;
use super::elsewhere::{Elsewhere, Kind, exceptions, is_whole, sampled};
use super::*;

conformance!(OnSail);

pub(super) type OnSail = Elsewhere<Sail>;

pub(super) struct Sail;

/// The tests of the suite that are not run each time: each is many loads, and the other writers are put to them.
const LONG: [&str; 10] = [
    "additions::every_type_of_cursor_bounds_the_overlap",
    "changes::a_key_of_changes_may_have_several_columns_of_any_name",
    "changes::a_value_that_nothing_has_is_refused",
    "changes::changes_fold_by_key",
    "changes_model::a_table_is_what_its_source_was_however_the_log_is_cut",
    "changes_whole::a_table_without_a_key_is_what_its_source_was",
    "ranges::every_type_has_ranges",
    "values::decimals",
    "values::lists_of_everything",
    "versions_model::scd2_keeps_the_history_of_any_loads",
];

impl Kind for Sail {
    const CATALOG: &'static str = testkit::Sail::CATALOG;
    const TESTS: &'static str = module_path!();
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = exceptions![(
        "crashes::a_crash_before_the_commit_leaves_no_trace",
        "without branches rows come before their position; see failures"
    )];

    fn points() -> &'static [&'static str] {
        const ALL: &[&str] = &[
            "claimed",
            "staging",
            "changes_staged",
            "staged",
            "before_commit",
            "after_commit",
        ];
        sampled(ALL, &["claimed", "changes_staged", "before_commit"])
    }

    fn is_left_out(test: &str) -> bool {
        !is_whole() && LONG.contains(&test)
    }

    type Server = testkit::Sail;

    fn cases() -> &'static [Case] {
        sampled(&Case::ALL, &[Case::Append, Case::Changes, Case::Range])
    }

    fn losses() -> &'static [Loss] {
        const ALL: &[Loss] = &[
            Loss::Cut,
            Loss::Instead(500),
            Loss::Instead(503),
            Loss::Unsent,
            Loss::Refused(503),
        ];
        sampled(ALL, &[Loss::Cut, Loss::Unsent])
    }

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
