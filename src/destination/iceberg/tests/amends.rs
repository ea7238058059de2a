//! Loads that amend a table which has a key twice, as only a hand at it makes one: it has the key once afterwards, or not at all,
//! whoever writes.

use super::elsewhere::Elsewhere;
use super::sail::OnSail;
use super::spark::Spark;
use super::*;
use crate::mode::{Amends, Changes, Deletes};
use crate::position::ValueRange;

const ALL: &str = "SELECT id, importe, version FROM replica.ventas ORDER BY 1, 2, 3";
const LIVING: &str = "SELECT id, importe, version FROM replica.ventas WHERE _acequia_deleted_at IS NULL ORDER BY 1, 2, 3";

/// Applies a load by one commit: how many rows were inserted, updated and deleted.
fn apply<S: Subject<Destination = Lake>>(fixture: &mut Fixture<S>, load: &Load) -> [u64; 3] {
    let seen = |fixture: &mut Fixture<S>| {
        let table = fixture.db.writer.catalog.table("ventas");
        table.unwrap().unwrap()
    };
    let before = seen(fixture).snapshot();
    let outcome = fixture
        .try_load(load)
        .unwrap_or_else(|error| panic!("{}", error.report()));
    if fixture.db.remote.is_some() {
        assert_eq!(seen(fixture).parent_of_main(), before, "one statement");
    }
    [outcome.inserted, outcome.updated, outcome.deleted]
}

fn keys_that_the_table_has_twice_are_mended<S: Subject<Destination = Lake>>() {
    for deletes in [Deletes::Hard, Deletes::Soft] {
        let is_soft = deletes == Deletes::Soft;
        let changes = is_soft.then_some(Changes {
            deletes,
            changelog: false,
        });
        let load = |before, amends, rows: &[(i64, i32, i64)]| Load {
            changes,
            after: None,
            amends,
            ..Load::sales(Disposition::Merge, before, rows)
        };
        let mut fixture = Fixture::<S>::new();
        let all = [(1, 10, 1), (2, 20, 2), (3, 30, 3), (4, 40, 4)];
        fixture.load(&Load {
            changes,
            ..Load::sales(Disposition::Merge, None, &all)
        });
        let twice = "INSERT INTO replica.ventas SELECT * FROM replica.ventas WHERE id IN (2, 3, 4)";
        fixture.sql(twice);
        let repair = Load {
            ops: Some(texts(["u", "d", "u"])),
            ..load(
                Some(4),
                Some(Amends::Repair),
                &[(2, 21, 2), (3, 0, 0), (5, 50, 1)],
            )
        };
        assert_eq!(apply(&mut fixture, &repair), [0, 2, 2], "{deletes:?}");
        let living = if is_soft { LIVING } else { ALL };
        assert_eq!(
            fixture.query(living),
            ["1|10|1", "2|21|2", "4|40|4", "4|40|4", "5|50|1"]
        );
        assert_eq!(fixture.query(ALL).len(), if is_soft { 7 } else { 5 });
        let range = |from, to| {
            Some(Amends::Range(ValueRange {
                column: "version".to_owned(),
                from: Some(CursorValue::Integer(from)),
                to: Some(CursorValue::Integer(to)),
            }))
        };
        // The rows of 4 differ from what comes, and then none comes.
        let one = load(Some(4), range(4, 9), &[(4, 41, 4)]);
        assert_eq!(apply(&mut fixture, &one), [0, 1, 0], "{deletes:?}");
        assert_eq!(
            fixture.query(living),
            ["1|10|1", "2|21|2", "4|41|4", "5|50|1"]
        );
        fixture.sql(twice);
        let none = load(Some(4), range(2, 9), &[]);
        let gone = [0, 0, 4];
        assert_eq!(apply(&mut fixture, &none), gone, "{deletes:?}");
        assert_eq!(fixture.query(living), ["1|10|1", "5|50|1"]);
    }
}

#[test]
fn keys_that_the_table_has_twice_are_mended_by_duckdb() {
    keys_that_the_table_has_twice_are_mended::<Namespace>();
}

#[test]
fn keys_that_the_table_has_twice_are_mended_by_one_statement_of_sails() {
    keys_that_the_table_has_twice_are_mended::<OnSail>();
}

#[test]
#[ignore = "takes minutes: make engines"]
fn keys_that_the_table_has_twice_are_mended_by_one_statement_of_sparks() {
    keys_that_the_table_has_twice_are_mended::<Elsewhere<Spark>>();
}
