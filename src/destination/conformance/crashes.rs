//! A process that dies around the commit.

use std::process::Command;

use super::*;

const CRASH: &str = "ACEQUIA_TEST_CRASH";

fn die<S: Subject>(fixture: Fixture<S>, point: &str) -> Fixture<S> {
    let (place, folder) = fixture.close();
    let tests = S::TESTS.split_once("::").unwrap().1;
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("{tests}::crashes::dies_for_another_test"),
        ])
        .env(CRASH, place.address())
        .env("FAILPOINTS", format!("{}.{point}=return", S::NAME))
        .status()
        .unwrap();
    assert!(!status.success());
    Fixture::of(place, folder)
}

/// The load that the crash meets: a changed row, a new row, a new column and a wider one.
fn load() -> Load {
    Load::sales(Disposition::Merge, Some(2), &[(2, 0, 3), (3, 0, 4)])
        .with("importe", "int64", longs([21, 30]))
        .with("nota", "text", texts(["x", "y"]))
}

fn before<S: Subject>() -> Fixture<S> {
    let mut fixture = Fixture::new();
    fixture.load(&Load::sales(
        Disposition::Merge,
        None,
        &[(1, 10, 1), (2, 20, 2)],
    ));
    fixture
}

const IMPORTES: &str = "SELECT importe FROM replica.ventas ORDER BY id";

pub(crate) fn a_crash_before_the_commit_leaves_no_trace<S: Subject>() {
    let mut fixture = die::<S>(before(), "before_commit");
    assert_eq!(fixture.query(IMPORTES), ["10", "20"]);
    assert_eq!(fixture.load(&load()), (1, 1));
}

pub(crate) fn a_crash_after_the_commit_loses_nothing<S: Subject>() {
    let mut fixture = die::<S>(before(), "after_commit");
    assert_eq!(fixture.query(IMPORTES), ["10", "21", "30"]);
    assert_eq!(fixture.db.last_loads().unwrap()[0].updated, 1);
    let next = Load::sales(Disposition::Merge, Some(4), &[(3, 31, 5)]);
    assert_eq!(fixture.load(&next), (0, 1));
}

/// The process that dies.
pub(crate) fn dies_for_another_test<S: Subject>() {
    let Ok(address) = std::env::var(CRASH) else {
        return;
    };
    let _scenario = fail::FailScenario::setup();
    Fixture::of(S::at(&address), tempfile::tempdir().unwrap()).load(&load());
}
