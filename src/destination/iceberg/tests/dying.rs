//! A process that dies amid a load.

use std::process::Command;

use super::cases::Case;
use super::*;
use crate::config::Engine;

const DYING: &str = "ACEQUIA_TEST_DYING";
/// What separates the parts of what it is told.
const BETWEEN: char = '#';

/// Has a process apply [`Case::next`] to tables of a namespace, by the writer that it names, and die at a failpoint.
pub(super) fn kill(place: &Namespace, case: Case, id: &LoadId, point: &str) {
    let engine = place.lake.engine.as_ref();
    let url = engine.map_or("", |engine| engine.url.reveal());
    let catalog = engine.and_then(|engine| engine.catalog.as_deref());
    let told = [
        place.address(),
        url.to_owned(),
        catalog.unwrap_or_default().to_owned(),
        id.to_string(),
        format!("{case:?}"),
    ];
    let tests = module_path!().split_once("::").unwrap().1;
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{tests}::dies_for_another_test")])
        .env(DYING, told.join(&BETWEEN.to_string()))
        .env("FAILPOINTS", format!("iceberg.{point}=return"))
        .status()
        .unwrap();
    // By a signal, not as a test that fails.
    assert_eq!(status.code(), None, "{case:?} {point}");
}

/// The process that dies.
#[test]
fn dies_for_another_test() {
    let Ok(dying) = std::env::var(DYING) else {
        return;
    };
    let _scenario = fail::FailScenario::setup();
    let parts: Vec<&str> = dying.split(BETWEEN).collect();
    let [address, url, catalog, id, case] = parts.as_slice() else {
        panic!("{} parts", parts.len());
    };
    let mut place = Namespace::at(address);
    place.lake.engine = (!url.is_empty()).then(|| Engine {
        url: Secret::new(*url),
        token: None,
        catalog: Some((*catalog).to_owned()),
    });
    let mut load = Case::named(case).next();
    load.id = Some(id.parse().unwrap());
    let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
    fixture.try_load(&load).unwrap();
}
