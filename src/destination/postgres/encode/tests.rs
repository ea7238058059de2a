//! The source's decoder is the way back: what it makes of an encoded field is the value that was encoded.

use std::sync::Arc;

use arrow::array::{Int32Array, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::*;
use crate::postgres::binary::{ColumnBuilder, WireType};

fn column(column_type: &str) -> Column {
    Column {
        id: 1,
        name: "c".to_owned(),
        column_type: column_type.parse().unwrap(),
        nullable: true,
        source_type: column_type.to_owned(),
        element_id: None,
        mask: None,
        renamed_from: None,
    }
}

/// The fields of each row of a binary COPY, without its header.
fn fields(mut bytes: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
    let mut take = |length: usize| {
        let (head, tail) = bytes.split_at(length);
        bytes = tail;
        head.to_vec()
    };
    let mut rows = Vec::new();
    loop {
        let width = i16::from_be_bytes(take(2).try_into().unwrap());
        let Ok(width) = usize::try_from(width) else {
            return rows;
        };
        let row = (0..width).map(|_| {
            let length = i32::from_be_bytes(take(4).try_into().unwrap());
            usize::try_from(length).ok().map(&mut take)
        });
        rows.push(row.collect());
    }
}

fn encode(columns: &[Column], last: Option<&str>, batch: &RecordBatch) -> Result<Vec<u8>> {
    let encoder = Encoder::new(columns, last)?;
    let rows = encoder.rows(batch.columns())?;
    let mut out = Vec::new();
    for row in 0..batch.num_rows() {
        rows.put(row, &mut out)?;
    }
    out.extend_from_slice(TRAILER);
    Ok(out)
}

/// What the decoder makes of what the encoder made of a column.
fn there_and_back(column_type: &str, array: &ArrayRef) -> ArrayRef {
    let column = column(column_type);
    let batch = RecordBatch::try_from_iter([("c", Arc::clone(array))]).unwrap();
    let bytes = encode(std::slice::from_ref(&column), None, &batch).unwrap();
    let mut builder = ColumnBuilder::new(&column, WireType::Bytea);
    for row in fields(&bytes) {
        builder.push_binary(row[0].as_deref()).unwrap();
    }
    builder.finish()
}

/// Values of a type as an array, and as lists of several lengths, with NULL among them.
fn comes_back(column_type: &str, values: &ArrayRef) {
    let wanted = column(column_type).column_type.arrow(None);
    let values = arrow::compute::cast(values, &wanted).unwrap();
    assert_eq!(
        &there_and_back(column_type, &values),
        &values,
        "{column_type}"
    );
    let slice = values.slice(values.len() / 3, values.len() - values.len() / 3);
    assert_eq!(
        &there_and_back(column_type, &slice),
        &slice,
        "{column_type}"
    );
    let lengths: Vec<usize> = {
        let mut left = values.len();
        let mut lengths = vec![0];
        for length in 1.. {
            let length = length.min(left);
            left -= length;
            lengths.push(length);
            if left == 0 {
                break;
            }
        }
        lengths
    };
    let list_type = format!("list<{column_type}>");
    let DataType::List(field) = column(&list_type).column_type.arrow(None) else {
        panic!()
    };
    let nulls: Vec<bool> = (0..lengths.len()).map(|list| list % 5 != 4).collect();
    let lists: ArrayRef = Arc::new(ListArray::new(
        field,
        arrow::buffer::OffsetBuffer::from_lengths(lengths),
        values,
        Some(nulls.into()),
    ));
    let back = there_and_back(&list_type, &lists);
    // What stands below a NULL list is nothing.
    assert_eq!(back.as_list::<i32>(), lists.as_list::<i32>(), "{list_type}");
}

fn some<T: Arbitrary>() -> impl Strategy<Value = Vec<Option<T>>> {
    proptest::collection::vec(any::<Option<T>>(), 1..40)
}

/// Days that both PostgreSQL and the decoder have.
fn days() -> impl Strategy<Value = i32> {
    prop_oneof![
        Just(i32::MAX),
        Just(-i32::MAX),
        DAYS.prop_map(|days| days + EPOCH_DAYS)
    ]
}

fn micros() -> impl Strategy<Value = i64> {
    let last = i64::MAX - 1 - EPOCH_MICROS;
    prop_oneof![
        Just(i64::MAX),
        Just(-i64::MAX),
        (*MICROS.start()..=last).prop_map(|micros| micros + EPOCH_MICROS)
    ]
}

fn option<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<Option<T>>> {
    proptest::collection::vec(proptest::option::of(values), 1..40)
}

proptest! {
    #[test]
    fn numbers_come_back(
        a in some::<bool>(), b in some::<i16>(), c in some::<i32>(), d in some::<i64>(), e in some::<u32>(), f in some::<u64>()
    ) {
        comes_back("boolean", &(Arc::new(BooleanArray::from(a)) as ArrayRef));
        comes_back("int16", &(Arc::new(Int16Array::from(b)) as ArrayRef));
        comes_back("int32", &(Arc::new(Int32Array::from(c)) as ArrayRef));
        comes_back("int64", &(Arc::new(Int64Array::from(d)) as ArrayRef));
        // Every bit pattern, NaN's among them: compared as bits.
        let floats: Float32Array = e.into_iter().map(|bits| bits.map(f32::from_bits)).collect();
        let back = there_and_back("float32", &(Arc::new(floats.clone()) as ArrayRef));
        let bits = |array: &Float32Array| array.iter().map(|v| v.map(f32::to_bits)).collect::<Vec<_>>();
        prop_assert_eq!(bits(back.as_primitive()), bits(&floats));
        let doubles: Float64Array = f.into_iter().map(|bits| bits.map(f64::from_bits)).collect();
        let back = there_and_back("float64", &(Arc::new(doubles.clone()) as ArrayRef));
        let bits = |array: &Float64Array| array.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>();
        prop_assert_eq!(bits(back.as_primitive()), bits(&doubles));
    }

    #[test]
    fn decimals_come_back(
        values in option(-(10_i128.pow(38) - 1)..10_i128.pow(38)), scale in 0_u8..=38, digits in 1_u32..=38
    ) {
        let short = values.iter().map(|value| value.map(|value| value % 10_i128.pow(digits)));
        for values in [values.clone(), short.collect()] {
            let array = Decimal128Array::from(values)
                .with_precision_and_scale(38, i8::try_from(scale).unwrap())
                .unwrap();
            comes_back(&format!("decimal(38,{scale})"), &(Arc::new(array) as ArrayRef));
        }
    }

    #[test]
    fn texts_and_bytes_come_back(
        texts in option("[^\\x00]{0,30}"), bytes in some::<Vec<u8>>(), ids in some::<u128>()
    ) {
        comes_back("text", &(Arc::new(StringArray::from(texts)) as ArrayRef));
        let bytes: Vec<Option<&[u8]>> = bytes.iter().map(Option::as_deref).collect();
        comes_back("binary", &(Arc::new(BinaryArray::from(bytes)) as ArrayRef));
        let ids = ids.into_iter().map(|id| id.map(u128::to_be_bytes));
        let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 16).unwrap();
        comes_back("uuid", &(Arc::new(ids) as ArrayRef));
    }

    #[test]
    fn dates_and_times_come_back(
        days in option(days()), times in option(0..=DAY_MICROS), micros in option(micros())
    ) {
        comes_back("date", &(Arc::new(Date32Array::from(days)) as ArrayRef));
        comes_back("time", &(Arc::new(Time64MicrosecondArray::from(times)) as ArrayRef));
        let micros = TimestampMicrosecondArray::from(micros);
        comes_back("timestamp", &(Arc::new(micros.clone()) as ArrayRef));
        comes_back("timestamptz", &(Arc::new(micros.with_timezone("UTC")) as ArrayRef));
    }
}

#[test]
fn json_is_sent_as_its_text_and_jsonb_with_its_version() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["{ }"]));
    let batch = RecordBatch::try_from_iter([("c", text)]).unwrap();
    let json = encode(&[column("json")], None, &batch).unwrap();
    assert_eq!(fields(&json)[0][0].as_deref(), Some(&b"{ }"[..]));
    let mut jsonb = column("json");
    jsonb.source_type = "jsonb".to_owned();
    let bytes = encode(&[jsonb], None, &batch).unwrap();
    assert_eq!(fields(&bytes)[0][0].as_deref(), Some(&b"\x01{ }"[..]));
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("1")]);
    let mut column = column("list<json>");
    column.source_type = "jsonb[]".to_owned();
    let array: ArrayRef = Arc::new(list.finish());
    let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
    let bytes = encode(&[column], None, &batch).unwrap();
    let field = fields(&bytes)[0][0].clone().unwrap();
    assert_eq!(field[8..12], 3802_i32.to_be_bytes());
    assert!(field.ends_with(b"\0\0\0\x02\x011"), "{field:?}");
}

#[test]
fn a_narrow_value_is_sent_in_the_tables_wider_type() {
    let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(-7), None]));
    for (wide, expected) in [
        ("int64", (-7_i64).to_be_bytes().to_vec()),
        ("decimal(12,2)", {
            let mut field = Vec::new();
            put_numeric(-700, 2, &mut field);
            field[4..].to_vec()
        }),
    ] {
        let batch = RecordBatch::try_from_iter([("c", Arc::clone(&values))]).unwrap();
        let bytes = encode(&[column(wide)], None, &batch).unwrap();
        assert_eq!(fields(&bytes), [vec![Some(expected)], vec![None]], "{wide}");
    }
}

#[test]
fn each_row_ends_with_the_text_that_all_have() {
    let values: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter([("c", values)]).unwrap();
    let bytes = encode(&[column("int32")], Some("x1"), &batch).unwrap();
    let rows = fields(&bytes);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row[1].as_deref() == Some(b"x1")));
}

#[test]
fn what_postgresql_cannot_hold_is_refused_by_name() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b\0secreto"), None]));
    let times: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![DAY_MICROS + 1]));
    let cases: [(&str, ArrayRef, &str); 5] = [
        ("text", texts, "NUL character"),
        (
            "date",
            Arc::new(Date32Array::from(vec![i32::MIN])),
            "a date",
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![i32::MAX - 1])),
            "a date",
        ),
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN])),
            "a timestamp",
        ),
        ("time", times, "a time"),
    ];
    for (column_type, array, told) in cases {
        let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
        let error = encode(&[column(column_type)], None, &batch)
            .unwrap_err()
            .report();
        assert!(
            error.contains("column `c`") && error.contains(told),
            "{error}"
        );
        assert!(
            error.contains("remedy") && !error.contains("secreto"),
            "{error}"
        );
    }
    // What lies outside of a slice does not count.
    let texts = StringArray::from(vec!["a\0", "b"]).slice(1, 1);
    comes_back("text", &(Arc::new(texts) as ArrayRef));
}
