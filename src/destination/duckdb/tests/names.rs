//! DuckDB does not tell `A` from `a`, and names the database after its file.

use super::*;

#[test]
fn names_that_duckdb_takes_for_one_are_refused() {
    let mut fixture = Fixture::<DuckDbFile>::new();
    let pair =
        |a: &str, b: &str| Load::full("x", &[(a, "int32", ints([1])), (b, "int32", ints([2]))]);
    let error = fixture
        .try_load(&pair("Nombre", "nombre"))
        .unwrap_err()
        .report();
    assert!(
        error.contains("`Nombre` and `nombre`") && error.contains("exclude = [\"nombre\"]"),
        "{error}"
    );
    let error = fixture
        .try_load(&pair("a", "_ACEQUIA_load_id"))
        .unwrap_err()
        .report();
    assert!(
        error.contains("_ACEQUIA_load_id") && error.contains("exclude"),
        "{error}"
    );
    fixture.load(&pair("Ñ", "ñ"));
    fixture.load(&Load::full("y", &[("Nombre", "int32", ints([1]))]));
    let error = fixture
        .try_load(&Load::full("y", &[("nombre", "int32", ints([1]))]))
        .unwrap_err()
        .report();
    assert!(error.contains("--full-refresh"), "{error}");
    fixture.load(&Load::full("y", &[("nombre", "int32", ints([1]))]).full_refresh());
}

#[test]
fn a_table_is_another_streams_or_a_users_however_its_name_is_written() {
    let mut fixture = Fixture::<DuckDbFile>::new();
    fixture.load(&Load::full("cursos", &[("n", "int32", ints([1]))]));
    fixture.sql("CREATE TABLE replica.Ventas(a INTEGER)");
    let mut other = Load::full("otros", &[("n", "int32", ints([2]))]);
    for table in ["CURSOS", "ventas"] {
        table.clone_into(&mut other.table);
        let error = fixture.try_load(&other).unwrap_err().report();
        assert!(error.contains("destination_table"), "{error}");
    }
    assert_eq!(fixture.query("SELECT n FROM replica.cursos"), ["1"]);
}

#[test]
fn a_dataset_may_bear_the_files_name() {
    for (file, dataset) in [
        ("replica.duckdb", "replica"),
        ("a \"b'.db", "main"),
        ("temp.duckdb", "Temp \"x\""),
    ] {
        let mut fixture = fixture(file, dataset);
        fixture.load(&Load::sales(Disposition::Merge, None, &[(1, 1, 1)]));
        fixture.load(&Load::sales(Disposition::Merge, Some(1), &[(1, 2, 2)]));
    }
}

#[test]
fn an_index_of_the_users_stands_in_the_way_of_a_wider_type_and_is_named() {
    let mut fixture = Fixture::<DuckDbFile>::new();
    fixture.load(&Load::sales(Disposition::Merge, None, &[(1, 2, 1)]));
    fixture.sql("CREATE INDEX i ON replica.ventas(importe)");
    let wide =
        Load::sales(Disposition::Merge, Some(1), &[(1, 2, 1)]).with("importe", "int64", longs([1]));
    let error = fixture.try_load(&wide).unwrap_err().report();
    assert!(error.contains("drop the index"), "{error}");
    fixture.sql("DROP INDEX replica.i");
    fixture.load(&wide);
}
