//! What stands in the way of opening a lake.

use super::*;
use crate::config::Token;

fn refused(lake: &config::Lake) -> String {
    Lake::open("lake", lake, "replica_opening")
        .unwrap_err()
        .report()
}

#[test]
fn what_stands_in_the_way_is_told_with_its_remedy_and_without_a_secret() {
    let good = Namespace::new().lake;
    let with = |change: &dyn Fn(&mut config::Lake)| {
        let mut lake = good.clone();
        change(&mut lake);
        refused(&lake)
    };
    let folder = tempfile::tempdir().unwrap();
    let torn = tempfile::tempdir().unwrap();
    std::fs::write(torn.path().join("httpfs.duckdb_extension"), "no extension").unwrap();
    let storage = good.storage.as_ref().unwrap();
    let cases = [
        (
            with(&|lake| "http://127.0.0.1:1".clone_into(&mut lake.catalog)),
            "cannot be reached",
            "whether the catalog is up",
        ),
        (
            with(&|lake| {
                // An address of something else: the object storage.
                lake.catalog.clone_from(storage.endpoint.as_ref().unwrap());
                lake.access = CatalogAccess::Open;
            }),
            "the warehouse `lake`",
            "remedy: ",
        ),
        (
            with(&|lake| "nowhere".clone_into(&mut lake.warehouse)),
            "has no warehouse `nowhere`",
            "correct `warehouse`",
        ),
        (
            with(&|lake| {
                if let CatalogAccess::Credential { secret, .. } = &mut lake.access {
                    *secret = Secret::new("wrong-one");
                }
            }),
            "gives no token for the credential",
            "correct `credential`",
        ),
        (
            with(&|lake| {
                lake.access = CatalogAccess::Token(Token::Given(Secret::new("wrong-one")));
            }),
            "does not take what it is shown",
            "a token may have run out",
        ),
        (
            with(&|lake| lake.access = CatalogAccess::Open),
            "refuses",
            "the right to read and write",
        ),
        (
            with(&|lake| lake.extensions = Some(folder.path().to_owned())),
            "does not have DuckDB's extension httpfs",
            "INSTALL iceberg",
        ),
        (
            with(&|lake| lake.extensions = Some(torn.path().to_owned())),
            "DuckDB's extension httpfs cannot be loaded",
            "INSTALL iceberg",
        ),
    ];
    for (report, what, remedy) in &cases {
        assert!(
            report.starts_with("destination lake (http://")
                && report.contains(what)
                && report.contains(remedy),
            "{report}"
        );
    }
    for (report, ..) in &cases {
        assert!(
            !report.contains("wrong-one") && !report.contains(storage.secret.reveal()),
            "{report}"
        );
    }
}

#[test]
fn a_storage_that_refuses_says_nothing_of_the_load() {
    let mut place = Namespace::new();
    if let Some(storage) = &mut place.lake.storage {
        storage.secret = Secret::new("wrong-one");
    }
    let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
    let load = Load::full("cursos", &[("n", "int32", ints([1]))]);
    let error = fixture.try_load(&load).unwrap_err();
    let report = error.report();
    assert!(!error.refuses_load(), "{report}");
    assert!(
        report.contains("403") && !report.contains("wrong-one"),
        "{report}"
    );
    assert!(report.contains("AWS_ACCESS_KEY_ID"), "{report}");
    assert_eq!(
        fixture.db.writer.catalog.table("cursos").unwrap(),
        None,
        "nothing is half made"
    );
}

#[test]
fn a_namespace_that_is_not_there_is_an_empty_status_and_is_not_made() {
    let place = Namespace::new();
    assert!(place.open_read_only("replica").unwrap().is_none());
    let mut catalog = catalog::Catalog::open(&place.lake, &place.name).unwrap();
    assert!(!catalog.has_namespace().unwrap());
    drop(place.open("replica").unwrap());
    assert!(place.open_read_only("replica").unwrap().is_some());
}
