//! Loads whose parts come while they are applied.

use super::*;
use crate::destination::Parts;
use crate::destination::StagedLoad;
use crate::destination::arriving::{Arrivals, Arriving};

fn courses(names: &[&str]) -> Load {
    Load::full("cursos", &[("nombre", "text", texts(names.to_vec()))])
}

/// The load as it is begun, before anything has come of it.
fn begun(staged: &StagedLoad) -> (Arrivals, StagedLoad) {
    let (arrivals, arriving) = Arriving::new();
    let mut begun = staged.clone();
    begun.manifest.parts.clear();
    begun.manifest.rows = 0;
    begun.manifest.bytes = 0;
    begun.parts = Parts::Arriving(arriving.into());
    (arrivals, begun)
}

#[test]
fn a_load_whose_parts_come_is_as_one_whose_parts_are_there() {
    let mut fixture = Fixture::<Database>::new();
    let staged = fixture.stage(&courses(&["a", "b", "c"]));
    let (arrivals, load) = begun(&staged);
    for file in staged.parts.local().unwrap() {
        arrivals.part(file.clone());
    }
    arrivals.seal(staged.manifest.clone());
    let loaded = fixture.db.load(&load).unwrap();
    assert_eq!(loaded.outcome.inserted, 3);
    assert_eq!(
        fixture.query("SELECT nombre FROM replica.cursos ORDER BY 1"),
        ["a", "b", "c"]
    );
    assert_eq!(
        fixture.query("SELECT rows_extracted, inserted FROM replica._acequia_loads"),
        ["3|3"]
    );
    let again = fixture.db.load(&staged).unwrap();
    assert!(again.outcome.already_loaded);
}

#[test]
fn a_load_that_is_not_sealed_leaves_nothing() {
    let mut fixture = Fixture::<Database>::new();
    let before = fixture.everything();
    let staged = fixture.stage(&courses(&["a", "b", "c"]));
    let (arrivals, load) = begun(&staged);
    for file in staged.parts.local().unwrap() {
        arrivals.part(file.clone());
    }
    drop(arrivals);
    fixture.db.load(&load).unwrap_err();
    assert_eq!(fixture.everything(), before);
    // The destination goes on.
    assert_eq!(fixture.db.load(&staged).unwrap().outcome.inserted, 3);
}

#[test]
fn a_part_that_did_not_come_is_missed() {
    let mut fixture = Fixture::<Database>::new();
    let staged = fixture.stage(&courses(&["a", "b", "c"]));
    let (arrivals, load) = begun(&staged);
    arrivals.seal(staged.manifest.clone());
    let error = fixture.db.load(&load).unwrap_err();
    assert!(
        error
            .report()
            .contains("hold 0 rows, and the manifest says 3"),
        "{error:?}"
    );
}

#[test]
fn a_table_that_is_there_takes_no_load_whose_parts_come() {
    let mut fixture = Fixture::<Database>::new();
    fixture.load(&courses(&["a"]));
    let before = fixture.everything();
    let staged = fixture.stage(&courses(&["b"]));
    let (arrivals, load) = begun(&staged);
    arrivals.seal(staged.manifest.clone());
    let error = fixture.db.load(&load).unwrap_err();
    assert!(error.report().contains("a table of its own"), "{error:?}");
    assert_eq!(fixture.everything(), before);
}
