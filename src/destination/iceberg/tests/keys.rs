//! Rows found again by keys of every type, by one statement of an engine elsewhere: between which keys a load's lie stands in it as
//! literals, and names of columns are such as aliases and quotes could be taken for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    TimestampMicrosecondArray,
};

use super::elsewhere::{Elsewhere, Kind};
use super::sail::Sail;
use super::spark::Spark;
use super::*;

/// What engines write for a column of it could be taken for another: for a quote, an alias, or what an alias has.
const KEY: &str = "o`.`l";
const VALUE: &str = "n";

/// Keys of each type, in their order: the lowest and the highest, and one between them.
fn keys() -> Vec<(&'static str, ArrayRef)> {
    let times = [
        -62_135_596_800_000_000,
        -2_208_988_800_000_001,
        253_402_300_799_999_999,
    ];
    let lowest = -(10_i128.pow(38) - 1);
    let decimals = Decimal128Array::from_iter_values([lowest, -1, -lowest]);
    vec![
        (
            "int16",
            Arc::new(arrow::array::Int16Array::from(vec![i16::MIN, -1, i16::MAX])),
        ),
        ("int32", ints([i32::MIN, -1, i32::MAX])),
        ("int64", longs([i64::MIN, -1, i64::MAX])),
        (
            "decimal(38,10)",
            Arc::new(decimals.with_precision_and_scale(38, 10).unwrap()),
        ),
        ("text", texts(["", r"a\'`", "\u{10FFFF}\\"])),
        (
            "date",
            Arc::new(Date32Array::from(vec![-719_162, -1, 2_932_896])),
        ),
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
        ),
        (
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
        ),
        (
            "binary",
            Arc::new(BinaryArray::from_vec(vec![
                &b""[..],
                &b"\0'\\"[..],
                &b"\xff\xff"[..],
            ])),
        ),
        (
            "float64",
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY, -0.0, f64::NAN])),
        ),
        ("boolean", Arc::new(BooleanArray::from(vec![false, true]))),
    ]
}

fn load(kind: &str, keys: &ArrayRef, before: Option<i64>, version: i64) -> Load {
    let rows = keys.len();
    let value = i32::try_from(version).unwrap();
    let columns = [
        (KEY, kind, Arc::clone(keys)),
        (VALUE, "int32", ints(vec![value; rows])),
        ("version", "int64", longs(vec![version; rows])),
    ];
    let name = kind.split('(').next().unwrap();
    Load::full(name, &columns).by_cursor(
        Disposition::Merge,
        "version",
        before.map(CursorValue::Integer),
        Some(CursorValue::Integer(version)),
    )
}

fn keys_of_every_type_are_found_again_by_one_statement<E: Kind>() {
    let mut fixture = Fixture::<Elsewhere<E>>::new();
    for (kind, keys) in keys() {
        let first = load(kind, &keys, None, 1);
        let rows = u64::try_from(keys.len()).unwrap();
        assert_eq!(fixture.load(&first), (rows, 0), "{kind}");
        let seen = |fixture: &mut Fixture<Elsewhere<E>>| {
            let table = fixture.db.writer.catalog.table(&first.table);
            table.unwrap().unwrap()
        };
        let before = seen(&mut fixture).snapshot();
        // All but the highest.
        let again = load(kind, &keys.slice(0, keys.len() - 1), Some(1), 2);
        assert_eq!(fixture.load(&again), (0, rows - 1), "{kind}");
        let table = seen(&mut fixture);
        assert_eq!(table.parent_of_main(), before, "{kind}: one statement");
        let last = load(kind, &keys.slice(keys.len() - 1, 1), Some(2), 3);
        assert_eq!(fixture.load(&last), (0, 1), "{kind}");
        let query = format!(
            "SELECT count(*), count(DISTINCT \"{KEY}\"), sum({VALUE}) FROM replica.\"{}\"",
            first.table
        );
        let sum = 2 * (rows - 1) + 3;
        assert_eq!(
            fixture.query(&query),
            [format!("{rows}|{rows}|{sum}")],
            "{kind}"
        );
    }
}

#[test]
fn keys_of_every_type_are_found_again_by_one_statement_of_sails() {
    keys_of_every_type_are_found_again_by_one_statement::<Sail>();
}

#[test]
#[ignore = "takes minutes: make engines"]
fn keys_of_every_type_are_found_again_by_one_statement_of_sparks() {
    keys_of_every_type_are_found_again_by_one_statement::<Spark>();
}
