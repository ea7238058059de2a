//! Tables that are not the stream's to write, or no longer as they were left.

use super::*;

#[test]
fn a_table_of_the_user_is_not_overwritten() {
    let mut fixture = Fixture::<Namespace>::new();
    fixture.sql("CREATE TABLE replica.cursos(a INTEGER, _acequia_load_id VARCHAR)");
    let mut load = Load::full("cursos", &[("n", "int32", ints([1]))]);
    for (table, told) in [
        ("cursos", "was not made by acequia"),
        ("acequia_loads", "is kept for acequia's ledger"),
        ("_acequia_x", "is kept for acequia's ledger"),
    ] {
        table.clone_into(&mut load.table);
        let error = fixture.try_load(&load).unwrap_err().report();
        assert!(
            error.contains(told) && error.contains("destination_table"),
            "{error}"
        );
    }
    assert_eq!(fixture.query("SELECT count(*) FROM replica.cursos"), ["0"]);
}

#[test]
fn a_ledger_of_the_users_is_not_taken_for_acequias() {
    let place = Namespace::new();
    let fixture = Fixture::<Namespace>::of(place, tempfile::tempdir().unwrap());
    fixture.sql("DROP TABLE replica.acequia_loads; CREATE TABLE replica.acequia_loads(a INTEGER)");
    let (place, _folder) = fixture.close();
    let error = place.open("replica").unwrap_err().report();
    assert!(error.contains("was not made by acequia"), "{error}");
}

#[test]
fn a_column_that_is_missing_is_told_and_a_table_that_is_missing_begins_afresh() {
    let mut fixture = Fixture::<Namespace>::new();
    let next = Load::sales(Disposition::Merge, Some(1), &[(2, 20, 2)]);
    fixture.load(&Load::sales(Disposition::Merge, None, &[(1, 10, 1)]));
    for (sql, told) in [
        (
            "ALTER TABLE replica.ventas ALTER importe TYPE BIGINT",
            "is of type BIGINT, though the ledger has it as INTEGER",
        ),
        (
            "ALTER TABLE replica.ventas DROP importe",
            "no column `importe`",
        ),
    ] {
        fixture.sql(sql);
        let error = fixture.try_load(&next).unwrap_err().report();
        assert!(
            error.contains(told) && error.contains("--full-refresh"),
            "{error}"
        );
    }
    // What was left of the ledger does not bring the position back.
    fixture.sql("DROP TABLE replica.ventas");
    let mut fixture = fixture.reopen();
    assert!(fixture.db.states().unwrap().is_empty());
    let error = fixture.try_load(&next).unwrap_err().report();
    assert!(
        error.contains("does not stand where the load begins"),
        "{error}"
    );
    assert_eq!(
        fixture.load(&Load::sales(
            Disposition::Merge,
            None,
            &[(1, 10, 1), (2, 20, 2)]
        )),
        (2, 0)
    );
}

#[test]
fn a_stream_whose_table_has_another_name_now_is_told() {
    let mut fixture = Fixture::<Namespace>::new();
    fixture.load(&Load::sales(Disposition::Merge, None, &[(1, 10, 1)]));
    let mut next = Load::sales(Disposition::Merge, Some(1), &[(2, 20, 2)]);
    "otras".clone_into(&mut next.table);
    let error = fixture.try_load(&next).unwrap_err().report();
    assert!(
        error.contains("otras is missing") && error.contains("--full-refresh"),
        "{error}"
    );
    let mut anew = Load::sales(Disposition::Merge, None, &[(1, 10, 1), (2, 20, 2)]).full_refresh();
    "otras".clone_into(&mut anew.table);
    assert_eq!(fixture.load(&anew), (2, 0));
    let mut fixture = fixture.reopen();
    let state = fixture
        .db
        .states()
        .unwrap()
        .remove(&"ventas".parse().unwrap())
        .unwrap();
    assert_eq!(
        state.position,
        Some(position(2)),
        "the newer of the two tables counts"
    );
    let mut next = Load::sales(Disposition::Merge, Some(2), &[(3, 30, 3)]);
    "otras".clone_into(&mut next.table);
    assert_eq!(fixture.load(&next), (1, 0));
}

#[test]
fn what_iceberg_does_not_promote_is_refused() {
    let mut fixture = Fixture::<Namespace>::new();
    let load = |before: Option<i64>, id: i64, kind: &str| {
        Load::sales(Disposition::Merge, before, &[(id, 1, id)]).with("n", kind, ints([7]))
    };
    fixture.load(&load(None, 1, "int16"));
    fixture.load(&load(Some(1), 2, "int32"));
    fixture.load(&load(Some(2), 3, "int64"));
    let error = fixture
        .try_load(&load(Some(3), 4, "decimal(20,0)"))
        .unwrap_err()
        .report();
    assert!(
        error.contains("column `n`")
            && error.contains("BIGINT")
            && error.contains("--full-refresh"),
        "{error}"
    );
    fixture.load(&load(None, 4, "decimal(20,0)").full_refresh());
    assert_eq!(fixture.query("SELECT n FROM replica.ventas"), ["7"]);
}
