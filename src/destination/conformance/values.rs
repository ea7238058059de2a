//! Every value that the parts can hold is what the table holds.

use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, ListBuilder, StringArray, StringBuilder, Time64MicrosecondArray,
    TimestampMicrosecondArray, new_null_array,
};

use arrow::compute::{concat_batches, sort_to_indices, take};

use super::*;
use crate::array_form;
use crate::destination::{Living, TableRows};

/// How -0.0 is shown.
fn minus_zero<S: Subject>() -> &'static str {
    if S::KEEPS_SIGN_OF_ZERO {
        either::<S, _>("-0.0", "-0")
    } else {
        "0.0"
    }
}

/// What the table hands over is what was loaded, in the form that parts have.
fn assert_read_back<S: Subject>(fixture: &mut Fixture<S>, column_type: &str, array: &ArrayRef) {
    let known = fixture.db.states().unwrap().remove(&"x".parse().unwrap());
    let columns = known.unwrap().schema.columns.into_iter();
    let rows = TableRows {
        table: "x".to_owned(),
        columns: columns.map(|column| column.column).collect(),
        living: Living::All,
        within: None,
    };
    let mut batches = Vec::new();
    let mut keep = |batch| {
        batches.push(batch);
        Ok(())
    };
    fixture.db.read_rows(&rows, &mut keep).unwrap();
    let batch = concat_batches(&batches[0].schema(), &batches).unwrap();
    let order = sort_to_indices(batch.column(0), None, None).unwrap();
    let values = take(batch.column(1), &order, None).unwrap();
    let column_type = column_type.parse().unwrap();
    let mut expected = array_form::of_type(array, &column_type).unwrap();
    if !fixture.db.keeps_sign_of_zero() {
        expected = array_form::without_sign_of_zero(&expected);
    }
    assert_eq!(values.data_type(), &column_type.arrow(None));
    // NaN equals itself by its bits.
    let shown = |array: &ArrayRef| format!("{:?}", array.to_data());
    if shown(&values) != shown(&expected) {
        assert_eq!(&values, &expected, "{column_type}, read back");
    }
}

#[allow(clippy::needless_pass_by_value, reason = "so that a test is one line")]
/// Loads one column by every way that there is; `shown` is an SQL expression on `v` that tells values exactly.
fn carries<S: Subject>(column_type: &str, array: ArrayRef, shown: &str, expected: &[&str]) {
    let rows = i64::try_from(array.len()).unwrap();
    let load = |disposition, before: Option<i64>| {
        Load::full(
            "x",
            &[
                ("id", "int64", longs(0..rows)),
                ("v", column_type, Arc::clone(&array)),
                ("c", "int64", longs(0..rows)),
            ],
        )
        .by_cursor(
            disposition,
            "c",
            before.map(CursorValue::Integer),
            Some(CursorValue::Integer(rows)),
        )
    };
    for disposition in [Disposition::Merge, Disposition::Append] {
        let mut fixture = Fixture::<S>::new();
        let sql =
            format!("SELECT coalesce(CAST({shown} AS VARCHAR), 'NULL') FROM replica.x ORDER BY id");
        fixture.load(&load(disposition, None));
        assert_eq!(fixture.query(&sql), expected, "{column_type}, first load");
        assert_read_back(&mut fixture, column_type, &array);
        // All rows again: each is recognised as the same.
        assert_eq!(
            fixture.load(&load(disposition, Some(rows))),
            (0, 0),
            "{column_type}"
        );
        fixture.sql("DELETE FROM replica.x");
        assert_eq!(
            fixture.load(&load(disposition, Some(rows))),
            (rows.unsigned_abs(), 0),
            "{column_type}"
        );
        assert_eq!(fixture.query(&sql), expected, "{column_type}, added");
        // Kept when the destination is closed.
        let fixture = fixture.reopen();
        assert_eq!(fixture.query(&sql), expected, "{column_type}, opened again");
        assert_eq!(
            fixture.columns("x"),
            columns::<S>(&[
                ("id", "int64"),
                ("v", column_type),
                ("c", "int64"),
                ("_acequia_load_id", "text")
            ])
        );
    }
}

pub(crate) fn numbers<S: Subject>() {
    carries::<S>(
        "boolean",
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        "v",
        &["true", "false", "NULL"],
    );
    carries::<S>(
        "int16",
        Arc::new(Int16Array::from(vec![i16::MIN, i16::MAX])),
        "v",
        &["-32768", "32767"],
    );
    carries::<S>(
        "int32",
        ints([i32::MIN, i32::MAX]),
        "v",
        &["-2147483648", "2147483647"],
    );
    carries::<S>(
        "int64",
        longs([i64::MIN, i64::MAX]),
        "v",
        &["-9223372036854775808", "9223372036854775807"],
    );
    let floats = vec![
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MIN_POSITIVE,
        f64::MAX,
        5e-324,
        0.1,
    ];
    let expected = [
        either::<S, _>("nan", "NaN"),
        either::<S, _>("inf", "Infinity"),
        either::<S, _>("-inf", "-Infinity"),
        minus_zero::<S>(),
        either::<S, _>("0.0", "0"),
        "2.2250738585072014e-308",
        "1.7976931348623157e+308",
        "5e-324",
        "0.1",
    ];
    carries::<S>(
        "float64",
        Arc::new(Float64Array::from(floats)),
        "v",
        &expected,
    );
    let floats = vec![
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        0.0,
        f32::MAX,
        1e-45,
        0.1,
    ];
    let expected = [
        either::<S, _>("nan", "NaN"),
        either::<S, _>("inf", "Infinity"),
        either::<S, _>("-inf", "-Infinity"),
        minus_zero::<S>(),
        either::<S, _>("0.0", "0"),
        "3.4028235e+38",
        "1e-45",
        "0.1",
    ];
    carries::<S>(
        "float32",
        Arc::new(Float32Array::from(floats)),
        "v",
        &expected,
    );
}

pub(crate) fn decimals<S: Subject>() {
    let extremes = |precision: u8, scale: u8| -> ArrayRef {
        let highest = 10_i128.pow(u32::from(precision)) - 1;
        let array =
            Decimal128Array::from(vec![Some(highest), Some(-highest), Some(0), Some(1), None]);
        Arc::new(
            array
                .with_precision_and_scale(precision, i8::try_from(scale).unwrap())
                .unwrap(),
        )
    };
    let nines = "9".repeat(38);
    carries::<S>(
        "decimal(38,0)",
        extremes(38, 0),
        "v",
        &[&nines, &format!("-{nines}"), "0", "1", "NULL"],
    );
    let point = either::<S, _>(".", "0.");
    let small = format!("{point}{}", "9".repeat(38));
    let one = format!("{point}{}1", "0".repeat(37));
    let zero = format!("{point}{}", "0".repeat(38));
    carries::<S>(
        "decimal(38,38)",
        extremes(38, 38),
        "v",
        &[&small, &format!("-{small}"), &zero, &one, "NULL"],
    );
    let whole = "9".repeat(29);
    let nine = format!("{whole}.999999999");
    carries::<S>(
        "decimal(38,9)",
        extremes(38, 9),
        "v",
        &[
            &nine,
            &format!("-{nine}"),
            "0.000000000",
            "0.000000001",
            "NULL",
        ],
    );
    carries::<S>(
        "decimal(4,2)",
        extremes(4, 2),
        "v",
        &["99.99", "-99.99", "0.00", "0.01", "NULL"],
    );
    carries::<S>(
        "decimal(9,2)",
        extremes(9, 2),
        "v",
        &["9999999.99", "-9999999.99", "0.00", "0.01", "NULL"],
    );
    carries::<S>(
        "decimal(18,0)",
        extremes(18, 0),
        "v",
        &[
            "999999999999999999",
            "-999999999999999999",
            "0",
            "1",
            "NULL",
        ],
    );
    carries::<S>(
        "decimal(19,0)",
        extremes(19, 0),
        "v",
        &[
            "9999999999999999999",
            "-9999999999999999999",
            "0",
            "1",
            "NULL",
        ],
    );
}

pub(crate) fn texts_and_bytes<S: Subject>() {
    let long = "ñ".repeat(2_000_000);
    let array = StringArray::from(vec![
        Some(""),
        None,
        Some("NULL"),
        Some("á\u{1F4A7}\n\t\"'\\"),
        Some(&long),
    ]);
    carries::<S>(
        "text",
        Arc::new(array),
        "left(v, 5) || length(v)",
        &["0", "NULL", "NULL4", "á\u{1F4A7}\n\t\"7", "ñññññ2000000"],
    );
    let all: Vec<u8> = (0..=255).collect();
    let array = BinaryArray::from(vec![Some(&b""[..]), None, Some(&[0, 255, 1]), Some(&all)]);
    carries::<S>(
        "binary",
        Arc::new(array),
        either::<S, _>(
            "hex(v[1:3]) || octet_length(v)",
            "upper(encode(substr(v, 1, 3), 'hex')) || octet_length(v)",
        ),
        &["0", "NULL", "00FF013", "000102256"],
    );
    // As PostgreSQL's json gives it: spaces, repeated keys and long numbers are kept.
    let json = [
        r#"{"b" :  1, "a": [1e400, 12345678901234567890.10], "b": "ñ\u00e1"}"#,
        "null",
        r#""x""#,
        " 1 ",
    ];
    carries::<S>("json", texts(json), "CAST(v AS VARCHAR)", &json);
    carries::<S>(
        "list<json>",
        lists(&[Some(&[Some(json[0]), None])]),
        "CAST(v[1] AS VARCHAR)",
        &json[..1],
    );
}

pub(crate) fn uuids<S: Subject>() {
    let ids = [
        uuid::Uuid::nil(),
        uuid::Uuid::max(),
        uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
    ];
    let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        ids.iter()
            .map(|id| Some(id.as_bytes().to_vec()))
            .chain([None]),
        16,
    );
    let mut expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
    expected.push("NULL".to_owned());
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    carries::<S>("uuid", Arc::new(array.unwrap()), "v", &expected);
}

pub(crate) fn dates_and_times<S: Subject>() {
    let date = |year, month, day| chrono::NaiveDate::from_ymd_opt(year, month, day).unwrap();
    let days = [
        date(1, 1, 1),
        date(9999, 12, 31),
        date(-4712, 1, 1),
        date(2024, 2, 29),
    ]
    .map(|date| date.to_epoch_days());
    let mut days = days.map(Some).to_vec();
    days.extend([Some(i32::MAX), Some(-i32::MAX), None]);
    let expected = [
        "0001-01-01",
        "9999-12-31",
        either::<S, _>("4713-01-01 (BC)", "4713-01-01 BC"),
        "2024-02-29",
        "infinity",
        "-infinity",
        "NULL",
    ];
    carries::<S>("date", Arc::new(Date32Array::from(days)), "v", &expected);
    let micros = |year, month, day| {
        date(year, month, day)
            .and_hms_micro_opt(23, 59, 59, 999_999)
            .unwrap()
            .and_utc()
            .timestamp_micros()
    };
    // The last one is PostgreSQL's latest timestamp that DuckDB can show, in the year 294247.
    let times = vec![
        Some(micros(1, 1, 1)),
        Some(micros(9999, 12, 31)),
        Some(micros(-4712, 1, 1)),
        Some(0),
        Some(i64::MAX),
        Some(-i64::MAX),
        None,
        Some(i64::MAX - 1),
    ];
    let expected = [
        "0001-01-01 23:59:59.999999",
        "9999-12-31 23:59:59.999999",
        either::<S, _>(
            "4713-01-01 (BC) 23:59:59.999999",
            "4713-01-01 23:59:59.999999 BC",
        ),
        "1970-01-01 00:00:00",
        "infinity",
        "-infinity",
        "NULL",
        "294247-01-10 04:00:54.775806",
    ];
    carries::<S>(
        "timestamp",
        Arc::new(TimestampMicrosecondArray::from(times.clone())),
        "v",
        &expected,
    );
    let expected = expected.map(|text| match text.strip_suffix(" BC") {
        Some(text) => format!("{text}+00 BC"),
        None if text.contains(':') => format!("{text}+00"),
        None => text.to_owned(),
    });
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    // DuckDB shows times with a zone by way of milliseconds in floating point, exact until the year 287396.
    let mut times = times;
    let mut expected = expected;
    if let (Some(time), Some(shown)) = (times.last_mut(), expected.last_mut()) {
        *time = Some(9_000_000_000_000_000_000);
        *shown = "287168-08-24 16:00:00+00";
    }
    carries::<S>(
        "timestamptz",
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        "v",
        &expected,
    );
    let times = vec![Some(0), Some(86_399_999_999), Some(86_400_000_000), None];
    carries::<S>(
        "time",
        Arc::new(Time64MicrosecondArray::from(times)),
        "v",
        &["00:00:00", "23:59:59.999999", "24:00:00", "NULL"],
    );
}

pub(crate) fn lists_of_everything<S: Subject>() {
    let array = lists(&[
        Some(&[Some("a"), None, Some("")]),
        Some(&[]),
        None,
        Some(&[None]),
    ]);
    let shown = either::<S, _>(
        "coalesce(length(v)::VARCHAR, 'none') || ':' || coalesce(list_count(v)::VARCHAR, 'none')",
        "coalesce(cardinality(v)::VARCHAR, 'none') || ':' || \
         CASE WHEN v IS NULL THEN 'none' ELSE cardinality(array_remove(v, NULL))::VARCHAR END",
    );
    carries::<S>(
        "list<text>",
        array,
        shown,
        &["3:2", "0:0", "none:none", "1:0"],
    );
    let longs: ColumnType = "list<int64>".parse().unwrap();
    for (element, values, expected) in [
        (
            "boolean",
            "true",
            either::<S, _>("[true, NULL]", "{t,NULL}"),
        ),
        ("int16", "-1", either::<S, _>("[-1, NULL]", "{-1,NULL}")),
        (
            "int64",
            "9223372036854775807",
            either::<S, _>("[9223372036854775807, NULL]", "{9223372036854775807,NULL}"),
        ),
        (
            "float32",
            "-0",
            if S::KEEPS_SIGN_OF_ZERO {
                either::<S, _>("[-0.0, NULL]", "{-0,NULL}")
            } else {
                "[0.0, NULL]"
            },
        ),
        (
            "float64",
            "NaN",
            either::<S, _>("[nan, NULL]", "{NaN,NULL}"),
        ),
        (
            "decimal(38,9)",
            "12345678901234567890123456789.123456789",
            either::<S, _>(
                "[12345678901234567890123456789.123456789, NULL]",
                "{12345678901234567890123456789.123456789,NULL}",
            ),
        ),
        (
            "date",
            "0001-01-01",
            either::<S, _>("[0001-01-01, NULL]", "{0001-01-01,NULL}"),
        ),
        (
            "time",
            "23:59:59.999999",
            either::<S, _>("['23:59:59.999999', NULL]", "{23:59:59.999999,NULL}"),
        ),
        (
            "timestamp",
            "2024-02-29T00:00:00.000001",
            either::<S, _>(
                "['2024-02-29 00:00:00.000001', NULL]",
                "{\"2024-02-29 00:00:00.000001\",NULL}",
            ),
        ),
        (
            "timestamptz",
            "1709164800000001",
            either::<S, _>(
                "['2024-02-29 00:00:00.000001+00', NULL]",
                "{\"2024-02-29 00:00:00.000001+00\",NULL}",
            ),
        ),
    ] {
        let column_type = format!("list<{element}>");
        let text = lists(&[Some(&[Some(values), None])]);
        let parsed: ColumnType = column_type.parse().unwrap();
        // Arrow reads no named zone from text without its zone tables: those come as numbers.
        let text = match element {
            "timestamptz" => arrow::compute::cast(&text, &longs.arrow(None)).unwrap(),
            _ => text,
        };
        let array = arrow::compute::cast(&text, &parsed.arrow(None)).unwrap();
        carries::<S>(&column_type, array, "v", &[expected]);
    }
}

pub(crate) fn lists_of_uuids<S: Subject>() {
    let uuid: ColumnType = "list<uuid>".parse().unwrap();
    carries::<S>(
        "list<uuid>",
        new_null_array(&uuid.arrow(None), 1),
        "v",
        &["NULL"],
    );
    let id = FixedSizeBinaryArray::try_from_iter([[255_u8; 16]].iter()).unwrap();
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
    let arrow::datatypes::DataType::List(field) = uuid.arrow(None) else {
        panic!()
    };
    let list: ArrayRef = Arc::new(arrow::array::ListArray::new(
        field,
        offsets,
        Arc::new(id),
        None,
    ));
    carries::<S>(
        "list<uuid>",
        list,
        "v",
        &[either::<S, _>(
            "[ffffffff-ffff-ffff-ffff-ffffffffffff]",
            "{ffffffff-ffff-ffff-ffff-ffffffffffff}",
        )],
    );
}

fn lists(values: &[Option<&[Option<&str>]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        match list {
            Some(list) => {
                for value in *list {
                    builder.values().append_option(*value);
                }
                builder.append(true);
            }
            None => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}
