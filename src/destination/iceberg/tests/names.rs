//! Names that are the catalog's to take: those of tables and of the namespace.

use super::*;

#[test]
fn names_that_the_catalog_does_not_take_are_told_beforehand() {
    let fixture = Fixture::<Namespace>::new();
    let check = |tables: &[&str]| {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        super::super::check(
            "lake",
            &fixture.place.lake,
            &fixture.place.name,
            &tables,
            None,
        )
        .unwrap()
        .missing
    };
    assert_eq!(check(&["ventas", "ventas__changes", "a-b"]), []);
    let missing = check(&["ventas", "Mi Tabla", "_x"]);
    assert_eq!(missing.len(), 2, "{missing:?}");
    for ((what, remedy), name) in missing.iter().zip(["Mi Tabla", "_x"]) {
        assert!(
            what.contains(&format!("takes no table called `{name}`")),
            "{what}"
        );
        assert!(remedy.contains("destination_table"), "{remedy}");
    }
}

#[test]
fn a_dataset_that_the_catalog_does_not_take_is_told() {
    let place = Namespace::new();
    let error = Lake::open("lake", &place.lake, "Réplica 1")
        .unwrap_err()
        .report();
    assert!(
        error.contains("takes no namespace called `Réplica 1`") && error.contains("`dataset`"),
        "{error}"
    );
}
