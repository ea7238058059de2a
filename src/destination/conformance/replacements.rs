//! Full loads: the table is replaced.

use super::*;

pub(crate) fn a_full_load_replaces_the_table<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let load = |names: &[&str]| Load::full("cursos", &[("nombre", "text", texts(names.to_vec()))]);
    assert_eq!(fixture.load(&load(&["a", "b", "c"])), (3, 0));
    assert_eq!(fixture.load(&load(&["d", "e"])), (2, 0));
    assert_eq!(
        fixture.query("SELECT nombre FROM replica.cursos ORDER BY 1"),
        ["d", "e"]
    );
    let ids = fixture.query("SELECT DISTINCT _acequia_load_id FROM replica.cursos");
    let states = fixture.db.states().unwrap();
    let last: Vec<&str> = states
        .values()
        .map(|state| state.load_id.as_str())
        .collect();
    assert_eq!(ids, last);
}

pub(crate) fn an_empty_load_makes_an_empty_table_with_its_types<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let none: [&str; 0] = [];
    let load = Load::full(
        "cursos",
        &[
            ("n", "list<decimal(10,2)>", texts(none)),
            ("t", "timestamptz", texts(none)),
        ],
    );
    assert_eq!(fixture.load(&load), (0, 0));
    assert_eq!(
        fixture.columns("cursos"),
        columns::<S>(&[
            ("n", "list<decimal(10,2)>"),
            ("t", "timestamptz"),
            ("_acequia_load_id", "text")
        ])
    );
}

pub(crate) fn a_load_that_the_ledger_has_is_left_alone<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut load = Load::full("cursos", &[("n", "int32", ints([1]))]);
    load.id = Some(LoadId::new(fixture.db.id()));
    fixture.load(&load);
    let before = fixture.everything();
    assert!(fixture.try_load(&load).unwrap().already_loaded);
    assert_eq!(fixture.everything(), before);
}

pub(crate) fn the_ledger_says_what_was_loaded<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let staged = fixture.stage(&Load::sales(
        Disposition::Merge,
        None,
        &[(1, 10, 7), (2, 20, 9)],
    ));
    fixture.db.load(&staged).unwrap();
    fixture.db.finish();
    let manifest = &staged.manifest;
    assert_eq!(
        fixture.query(
            "SELECT load_id, stream, mode, disposition, rows_extracted, inserted, updated, deleted, schema_hash, \
             position_before, acequia_version, CAST(loaded_at >= extracted_at AS VARCHAR) FROM replica._acequia_loads"
        ),
        [format!(
            "{}|ventas|incremental|merge|2|2|0|0|{}|NULL|0.1.0|true",
            manifest.load_id,
            manifest.schema.fingerprint()
        )]
    );
    let after = fixture.query("SELECT position_after FROM replica._acequia_loads");
    assert_eq!(
        serde_json::from_str::<Position>(&after[0]).unwrap(),
        manifest.position_after.clone().unwrap()
    );
    let stream: StreamName = "ventas".parse().unwrap();
    let state = fixture.db.states().unwrap().remove(&stream).unwrap();
    assert_eq!(state.position, manifest.position_after);
    assert_eq!(state.load_id, manifest.load_id);
    assert_eq!(state.schema.columns.len(), 3);
    assert!(
        fixture
            .db
            .loaded(&stream)
            .unwrap()
            .contains(&manifest.load_id)
    );
    let last = fixture.db.last_loads().unwrap();
    assert_eq!(
        (last.len(), last[0].inserted, last[0].loaded_at),
        (1, 2, state.updated_at)
    );
    assert_eq!(
        last[0].extracted_at.timestamp_micros(),
        manifest.extracted_at.timestamp_micros()
    );
}

pub(crate) fn the_ledger_and_the_id_are_found_again<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::full("cursos", &[("n", "int32", ints([1]))]));
    let (id, states) = (fixture.db.id().clone(), fixture.db.states().unwrap());
    let mut fixture = fixture.reopen();
    assert_eq!(
        (fixture.db.states().unwrap(), fixture.db.id()),
        (states.clone(), &id)
    );
    let (place, _folder) = fixture.close();
    let mut db = place.open_read_only(DATASET).unwrap().unwrap();
    assert_eq!((db.states().unwrap(), db.id()), (states, &id));
    drop(db);
    assert!(place.open_read_only("other").unwrap().is_none());
}

pub(crate) fn a_table_or_view_of_the_user_is_not_overwritten<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.sql("CREATE TABLE replica.cursos(a INTEGER); CREATE VIEW replica.ventas AS SELECT 1 AS _acequia_load_id");
    for stream in ["cursos", "ventas"] {
        let before = fixture.query("SELECT * FROM replica._acequia_loads");
        let error = fixture
            .try_load(&Load::full(stream, &[("n", "int32", ints([1]))]))
            .unwrap_err();
        assert!(
            error.report().contains("destination_table"),
            "{}",
            error.report()
        );
        assert_eq!(
            fixture.query("SELECT * FROM replica._acequia_loads"),
            before
        );
    }
    assert_eq!(fixture.query("SELECT count(*) FROM replica.cursos"), ["0"]);
}

pub(crate) fn a_table_of_another_stream_is_not_overwritten<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::full("cursos", &[("n", "int32", ints([1]))]));
    let mut other = Load::full("otros", &[("n", "int32", ints([2]))]);
    for table in ["cursos", "_acequia_loads", "_ACEQUIA_state"] {
        table.clone_into(&mut other.table);
        let error = fixture.try_load(&other).unwrap_err();
        assert!(
            error.report().contains("destination_table"),
            "{}",
            error.report()
        );
    }
    assert_eq!(fixture.query("SELECT n FROM replica.cursos"), ["1"]);
}

pub(crate) fn any_name_is_only_a_name<S: Subject>() {
    let names = [
        "Select",
        "con espacio",
        "quote\"d",
        "it's",
        "order",
        "rowid",
        "filename",
        "n",
        "o",
        "s",
        "d",
        "a.b",
        "c0",
        "?",
        "$1",
        "x'); DROP TABLE replica._acequia_loads; --",
    ];
    let mut fixture = Fixture::<S>::new();
    for disposition in [Disposition::Merge, Disposition::Append] {
        let load = |before: Option<i64>, last: i64| {
            let mut columns: Vec<(&str, &str, ArrayRef)> =
                vec![("key\"", "int64", longs([1, last]))];
            columns.extend(names.iter().map(|name| (*name, "int64", longs([5, last]))));
            let mut load = Load::full("x", &columns);
            load.stream = format!("x-{disposition}");
            load.table = S::odd_name(&disposition.to_string());
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
        let table = S::odd_name(&disposition.to_string()).replace('"', "\"\"");
        assert_eq!(
            fixture.query(&format!(
                "SELECT \"con espacio\", \"rowid\" FROM replica.\"{table}\" ORDER BY 1"
            )),
            ["5|5", "7|7", "9|9"]
        );
    }
}

pub(crate) fn parts_lie_wherever_they_lie<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let landing = fixture.folder.path().join("it's/key=value/[a-z]*?");
    let load = Load::full("cursos", &[("n", "int32", ints([1, 2]))]);
    let mut staged = stage(&load, None, LoadId::new(fixture.db.id()), &landing);
    staged.parts = staged.parts.seen_by(fixture.db.reads());
    fixture.db.load(&staged).unwrap();
    assert_eq!(
        fixture.query("SELECT n FROM replica.cursos ORDER BY 1"),
        ["1", "2"]
    );
}

pub(crate) fn a_load_that_fails_leaves_everything_as_it_was<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::full("cursos", &[("n", "int32", ints([1, 2]))]));
    let before = fixture.everything();
    let mut staged = fixture.stage(&Load::full("cursos", &[("n", "int64", longs([3, 4]))]));
    std::fs::write(&staged.parts.written()[1], "torn").unwrap();
    let error = fixture.db.load(&staged).unwrap_err();
    assert!(error.to_string().contains(staged.manifest.load_id.as_str()));
    assert_eq!(fixture.everything(), before);
    let again = Load::full("cursos", &[("n", "int64", longs([3, 4]))]);
    staged = fixture.stage(&again);
    assert_eq!(fixture.db.load(&staged).unwrap().outcome.inserted, 2);
}

pub(crate) fn an_interrupt_stops_a_load_and_undoes_it<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let millions: Vec<i64> = (0..6_000_000).map(|i| i * 7_919 % 6_000_011).collect();
    let load = Load::full("cursos", &[("n", "int64", longs(millions))])
        .by_cursor(Disposition::Merge, "n", None, Some(CursorValue::Integer(1)))
        .key_not_unique();
    let staged = fixture.stage(&load);
    let before = fixture.everything();
    let handle = fixture.db.interrupter();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(60));
        handle();
    });
    let outcome = fixture.db.load(&staged);
    stopper.join().unwrap();
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert!(matches!(fixture.db.load(&staged), Err(Error::Interrupted)));
    assert_eq!(fixture.everything(), before);
}
