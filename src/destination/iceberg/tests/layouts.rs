//! Tables that are partitioned or sorted as the configuration asks, by each writer, and read by Spark, which leaves out what the
//! partitions rule out: where a value were put into another partition than its own, it would not be found.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, TimestampMicrosecondArray};

use super::elsewhere::{Elsewhere, Kind};
use super::sail::Sail;
use super::spark::Spark;
use super::*;
use crate::layout::Layout;

const DAY: i64 = 86_400_000_000;
/// How many rows there are.
const ROWS: i32 = 12;

fn layout(partition_by: &[&str], sort_by: &[&str]) -> Layout {
    Layout {
        partition_by: partition_by.iter().map(|of| of.parse().unwrap()).collect(),
        sort_by: sort_by.iter().map(|of| of.parse().unwrap()).collect(),
    }
}

/// Rows before and after 1970, and below and above zero.
fn load(before: Option<i64>, version: i64) -> Load {
    let of = |number: i32| number - ROWS / 2;
    let each = || (0..ROWS).map(of);
    let times = || each().map(|n| i64::from(n) * (DAY / 3 + 1));
    let texts_of: Vec<String> = each().map(|n| format!("it's {n}ñ")).collect();
    let prices: ArrayRef = Arc::new(
        Decimal128Array::from_iter_values(each().map(|n| i128::from(n) * 777))
            .with_precision_and_scale(10, 2)
            .unwrap(),
    );
    let dates: ArrayRef = Arc::new(Date32Array::from_iter_values(each().map(|n| n * 100)));
    let local: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times()));
    let utc: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(times()).with_timezone("UTC"));
    let value = CursorValue::Integer;
    Load::full(
        "trazado",
        &[
            ("id", "int64", longs(each().map(i64::from))),
            ("n", "int32", ints(each())),
            ("codigo", "text", texts(texts_of.iter().map(String::as_str))),
            ("precio", "decimal(10,2)", prices),
            ("dia", "date", dates),
            ("hora", "timestamp", local),
            ("momento", "timestamptz", utc),
            ("version", "int64", longs(each().map(|_| version))),
        ],
    )
    .by_cursor(
        Disposition::Merge,
        "version",
        before.map(value),
        Some(value(version)),
    )
}

/// Conditions that each find one row, of the `number`th.
fn conditions(number: i32) -> Vec<String> {
    let n = number - ROWS / 2;
    let micros = i64::from(n) * (DAY / 3 + 1);
    vec![
        format!("id = {n}"),
        format!("n = {n}"),
        format!("codigo = 'it\\'s {n}ñ'"),
        format!(
            "precio = CAST({} AS DECIMAL(10,2)) / 100",
            i64::from(n) * 777
        ),
        format!("dia = date_from_unix_date({})", n * 100),
        format!("momento = timestamp_micros({micros})"),
        format!("hora = CAST(timestamp_micros({micros}) AS TIMESTAMP_NTZ)"),
    ]
}

/// Loads a table that is made so, changes it, and has Spark look for each row by each of its columns.
fn laid_out<S: Subject<Destination = Lake>>(place: S, name: &str, layout: &Layout) {
    let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
    let mut first = load(None, 1);
    first.layout = layout.clone();
    assert_eq!(fixture.load(&first), (12, 0));
    let mut next = load(Some(1), 2);
    next.layout = layout.clone();
    assert_eq!(fixture.load(&next), (0, 12));
    assert_eq!(
        fixture.query("SELECT count(*), count(DISTINCT id), min(version) FROM replica.trazado"),
        ["12|12|2"]
    );
    let seen = fixture.db.writer.catalog.table("trazado").unwrap().unwrap();
    let mut by: Vec<&str> = layout.columns().map(|(_, name)| name).collect();
    by.sort_unstable();
    by.dedup();
    let mut found = seen.laid_out_by();
    found.sort_unstable();
    assert_eq!(found, by);
    let mut reader = Elsewhere::<Spark>::new();
    name.clone_into(&mut reader.0.name);
    let mut reader = reader.open("replica").unwrap();
    let remote = reader.remote.as_mut().unwrap();
    for number in 0..ROWS {
        // Each once: the columns are as many as there are conditions for a row, and all are met.
        let conditions = conditions(number);
        let counts: Vec<String> = conditions
            .iter()
            .map(|only| format!("(SELECT count(*) FROM `lago`.`{name}`.`trazado` WHERE {only})"))
            .collect();
        let found = remote.ask(&format!("SELECT concat_ws(',', {})", counts.join(", ")));
        assert_eq!(
            found.unwrap().unwrap(),
            vec!["1"; conditions.len()].join(","),
            "{number}"
        );
    }
}

const PARTITIONS: [&str; 7] = [
    "bucket(3, id)",
    "truncate(5, n)",
    "bucket(2, codigo)",
    "bucket(2, precio)",
    "year(dia)",
    "month(momento)",
    "hour(hora)",
];

#[test]
#[ignore = "takes minutes: make engines"]
fn a_table_that_duckdb_makes_has_its_partitions() {
    let place = Namespace::new();
    let name = place.name.clone();
    laid_out(place, &name, &layout(&PARTITIONS, &[]));
}

fn by_an_engine<E: Kind>() {
    let place = Elsewhere::<E>::new();
    let name = place.0.name.clone();
    let mut partitions = PARTITIONS.to_vec();
    partitions[2] = "truncate(4, codigo)";
    laid_out(place, &name, &layout(&partitions, &["id desc", "codigo"]));
}

#[test]
#[ignore = "takes minutes: make engines"]
fn a_table_that_sail_makes_has_its_partitions_and_its_order() {
    by_an_engine::<Sail>();
}

#[test]
fn a_table_that_spark_makes_has_its_partitions_and_its_order() {
    by_an_engine::<Spark>();
}

/// By itself DuckDB refuses.
#[test]
fn a_table_that_an_engine_gave_an_order_is_loaded_by_duckdb_as_well() {
    let place = Elsewhere::<Spark>::new();
    let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
    let mut first = load(None, 1);
    first.layout = layout(&[], &["id"]);
    assert_eq!(fixture.load(&first), (12, 0));
    let (mut place, folder) = fixture.close();
    place.0.lake.engine = None;
    let mut fixture = Fixture::of(place, folder);
    assert_eq!(fixture.load(&load(Some(1), 2)), (0, 12));
    assert_eq!(
        fixture.query("SELECT count(*), min(version) FROM replica.trazado"),
        ["12|2"]
    );
}

#[test]
fn what_a_table_cannot_be_laid_out_by_is_refused_with_a_remedy() {
    let mut fixture = Fixture::<Namespace>::new();
    for (partition_by, sort_by, words) in [
        (
            &["bucket(3, otra)"][..],
            &[][..],
            "`otra`, which table trazado does not have",
        ),
        (&["day(id)"], &[], "`id`, which has none by its type"),
        (&["bucket(3, id)", "codigo"], &[], "the values of texts"),
        (&[], &["id"], "`sort_by`"),
    ] {
        let mut load = load(None, 1);
        load.layout = layout(partition_by, sort_by);
        let error = fixture.try_load(&load).unwrap_err();
        let report = error.report();
        assert!(
            report.contains(words) && report.contains("remedy"),
            "{report}"
        );
        assert!(
            fixture
                .db
                .writer
                .catalog
                .table("trazado")
                .unwrap()
                .is_none()
        );
    }
}

/// The number of a column that goes is what the partitions are made of.
fn keeps_what_it_is_laid_out_by<S: Subject<Destination = Lake>>() {
    let mut fixture = Fixture::<S>::new();
    let mut first = load(None, 1);
    first.layout = layout(&["bucket(3, codigo)"], &[]);
    fixture.load(&first);
    let anew = load(None, 2)
        .with("codigo", "int64", longs(0..i64::from(ROWS)))
        .full_refresh();
    let report = fixture.try_load(&anew).unwrap_err().report();
    assert!(
        report.contains("sorted by its column `codigo`") && report.contains("drop the table"),
        "{report}"
    );
    assert_eq!(
        fixture.query("SELECT count(codigo), min(version) FROM replica.trazado"),
        ["12|1"]
    );
}

#[test]
fn a_column_that_partitions_are_made_of_stays_with_duckdb() {
    keeps_what_it_is_laid_out_by::<Namespace>();
}

#[test]
fn a_column_that_partitions_are_made_of_stays_with_an_engine() {
    keeps_what_it_is_laid_out_by::<Elsewhere<Sail>>();
}
