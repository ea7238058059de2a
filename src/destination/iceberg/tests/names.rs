//! Names of columns are any; names of tables are the catalog's to take.

use super::*;

#[test]
fn any_name_of_a_column_is_only_a_name() {
    let names = [
        "Select",
        "con espacio",
        "quote\"d",
        "it's",
        "order",
        "rowid",
        "filename",
        "a.b",
        "?",
        "$1",
        "x'); DROP TABLE ventas; --",
    ];
    let mut fixture = Fixture::<Namespace>::new();
    for (disposition, table) in [(Disposition::Merge, "x"), (Disposition::Append, "y-2_z")] {
        let load = |before: Option<i64>, last: i64| {
            let mut columns: Vec<(&str, &str, arrow::array::ArrayRef)> =
                vec![("key\"", "int64", longs([1, last]))];
            columns.extend(names.iter().map(|name| (*name, "int64", longs([5, last]))));
            let mut load = Load::full("x", &columns);
            load.stream = format!("x-{disposition}");
            table.clone_into(&mut load.table);
            load.by_cursor(
                disposition,
                "quote\"d",
                before.map(CursorValue::Integer),
                Some(CursorValue::Integer(last)),
            )
            .key_not_unique()
        };
        assert_eq!(fixture.load(&load(None, 7)), (2, 0));
        assert_eq!(fixture.load(&load(Some(7), 7)), (0, 0));
        assert_eq!(fixture.load(&load(Some(7), 9)), (1, 0));
        assert_eq!(
            fixture.query(&format!(
                "SELECT \"con espacio\", \"rowid\" FROM replica.\"{table}\" ORDER BY 1"
            )),
            ["5|5", "7|7", "9|9"]
        );
    }
}

#[test]
fn names_that_the_catalog_does_not_take_are_told_beforehand() {
    let fixture = Fixture::<Namespace>::new();
    let check = |tables: &[&str]| {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        super::super::check("lake", &fixture.place.lake, &fixture.place.name, &tables)
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
