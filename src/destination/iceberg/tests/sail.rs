//! The lake with Sail as what writes the rows: it has no branches.

use testkit::proxy::Loss;

use super::cases::Case;
use super::elsewhere::{Elsewhere, Kind, exceptions, sampled};
use super::*;

conformance!(OnSail);

pub(super) type OnSail = Elsewhere<Sail>;

pub(super) struct Sail;

impl Kind for Sail {
    const CATALOG: &'static str = testkit::Sail::CATALOG;
    const TESTS: &'static str = module_path!();
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = exceptions![(
        "crashes::a_crash_before_the_commit_leaves_no_trace",
        "without branches rows come before their position; see failures"
    )];

    const POINTS: &'static [&'static str] = &[
        "claimed",
        "staging",
        "changes_staged",
        "staged",
        "before_commit",
        "after_commit",
    ];
    type Server = testkit::Sail;

    fn cases() -> &'static [Case] {
        let sample = &[Case::Append, Case::Changes, Case::Range, Case::Repair];
        sampled(&Case::ALL, sample)
    }

    fn losses() -> &'static [Loss] {
        const ALL: &[Loss] = &[
            Loss::Cut,
            Loss::Instead(500),
            Loss::Instead(503),
            Loss::Unsent,
            Loss::Refused(503),
        ];
        sampled(ALL, &[Loss::Cut, Loss::Instead(503), Loss::Unsent])
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
