use arrow::array::ArrayRef;
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::types::{BaseType, CatalogColumn, plan};
use super::TextForm;
use crate::exact::decimal;
use crate::names::hex;
use crate::postgres::binary::tests::send_numeric;
use crate::postgres::binary::{ColumnBuilder, FieldError, WireType};
use crate::schema::Column;
use crate::schema::samples;

const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

type Decoded = Result<ArrayRef, FieldError>;

fn builder(column_type: &str) -> ColumnBuilder {
    let (column_type, wire) = match column_type {
        "oid" => ("int64", WireType::Oid),
        other => (other, WireType::Text),
    };
    let column = Column {
        id: 1,
        name: "c".to_owned(),
        column_type: column_type.parse().unwrap(),
        nullable: true,
        source_type: String::new(),
        element_id: None,
        mask: None,
        renamed_from: None,
    };
    ColumnBuilder::new(&column, wire)
}

fn text(column_type: &str, text: impl AsRef<[u8]>) -> Decoded {
    text_of(TextForm::Plain, column_type, text)
}

fn text_of(form: TextForm, column_type: &str, text: impl AsRef<[u8]>) -> Decoded {
    let mut builder = builder(column_type);
    builder.push_text(Some(text.as_ref()), form)?;
    Ok(builder.finish())
}

fn binary(column_type: &str, bytes: impl AsRef<[u8]>) -> Decoded {
    let mut builder = builder(column_type);
    builder.push_binary(Some(bytes.as_ref()))?;
    Ok(builder.finish())
}

/// `array_send` of one dimension.
fn send_array<T: AsRef<[u8]>>(elements: &[Option<T>]) -> Vec<u8> {
    let count = i32::try_from(elements.len()).unwrap();
    let mut bytes = Vec::new();
    bytes.extend(i32::from(count > 0).to_be_bytes());
    bytes.extend([0; 8]);
    if count > 0 {
        bytes.extend(count.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for element in elements {
        match element {
            Some(element) => {
                let element = element.as_ref();
                bytes.extend(i32::try_from(element.len()).unwrap().to_be_bytes());
                bytes.extend(element);
            }
            None => bytes.extend((-1_i32).to_be_bytes()),
        }
    }
    bytes
}

/// `array_out` of one dimension.
fn write_array(elements: &[Option<String>]) -> String {
    let written: Vec<String> = elements
        .iter()
        .map(|element| match element {
            None => "NULL".to_owned(),
            Some(text)
                if text.is_empty()
                    || text.eq_ignore_ascii_case("null")
                    || text.contains([
                        '"', '\\', '{', '}', ',', ' ', '\t', '\n', '\r', '\x0b', '\x0c',
                    ]) =>
            {
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Some(text) => text.clone(),
        })
        .collect();
    format!("{{{}}}", written.join(","))
}

/// A date in the style ISO, and what its era adds at the end.
fn write_date(date: NaiveDate) -> (String, &'static str) {
    let (year, era) = if date.year() > 0 {
        (date.year(), "")
    } else {
        (1 - date.year(), " BC")
    };
    (
        format!("{year:04}-{:02}-{:02}", date.month(), date.day()),
        era,
    )
}

fn write_fraction(micros: u32) -> String {
    if micros == 0 {
        return String::new();
    }
    format!(".{micros:06}").trim_end_matches('0').to_owned()
}

fn write_offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{sign}{hours:02}"),
        (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

fn write_timestamp(micros: i64, offset: Option<i32>) -> String {
    let shift = TimeDelta::seconds(offset.unwrap_or_default().into());
    let local = (DateTime::from_timestamp_micros(micros).unwrap() + shift).naive_utc();
    let (date, era) = write_date(local.date());
    let time = local.time();
    format!(
        "{date} {:02}:{:02}:{:02}{}{}{era}",
        time.hour(),
        time.minute(),
        time.second(),
        write_fraction(time.nanosecond() / 1000),
        offset.map(write_offset).unwrap_or_default(),
    )
}

/// `float8out` and `float4out` differ from Rust's `Debug` in their names of infinity.
fn write_float(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").replace("inf", "Infinity")
}

proptest! {
    #[test]
    fn an_integer_of_every_width_is_read_or_refused(value: i64, shift in 0_u32..64) {
        let value = value >> shift;
        let written = value.to_string();
        prop_assert_eq!(text("int64", &written), binary("int64", value.to_be_bytes()));
        let expected = match i32::try_from(value) {
            Ok(value) => binary("int32", value.to_be_bytes()),
            Err(_) => Err(FieldError::OutOfRange),
        };
        prop_assert_eq!(text("int32", &written), expected);
        let expected = match i16::try_from(value) {
            Ok(value) => binary("int16", value.to_be_bytes()),
            Err(_) => Err(FieldError::OutOfRange),
        };
        prop_assert_eq!(text("int16", &written), expected);
        let expected = match u32::try_from(value) {
            Ok(value) => binary("oid", value.to_be_bytes()),
            Err(_) => Err(FieldError::OutOfRange),
        };
        prop_assert_eq!(text("oid", &written), expected);
    }

    #[test]
    fn the_shortest_digits_of_a_float_bring_it_back(bits: u64) {
        let value = f64::from_bits(bits);
        let value = if value.is_nan() { f64::NAN } else { value };
        prop_assert_eq!(text("float64", write_float(value)), binary("float64", value.to_be_bytes()));
        #[allow(clippy::cast_possible_truncation)]
        let value = f32::from_bits((bits >> 32) as u32);
        let value = if value.is_nan() { f32::NAN } else { value };
        let written = write_float(value);
        prop_assert_eq!(text("float32", &written), binary("float32", value.to_be_bytes()));
        prop_assert_eq!(
            text_of(TextForm::Float4, "float64", &written),
            binary("float64", f64::from(value).to_be_bytes())
        );
    }

    #[test]
    fn a_decimal_is_read_or_refused_as_its_binary_form_is(
        value in -(10_i128.pow(38) - 1)..10_i128.pow(38),
        digits in 0_u32..38,
        scale in 0_u8..=38,
        column_precision in 1_u8..=38,
        column_scale in 0_u8..=38,
    ) {
        let value = value / 10_i128.pow(digits);
        let column_type = format!("decimal({},{column_scale})", column_precision.max(column_scale));
        prop_assert_eq!(
            text(&column_type, decimal::text(value, scale)),
            binary(&column_type, send_numeric(value, scale))
        );
    }

    #[test]
    fn an_exponent_moves_the_point(value in -(10_i128.pow(19))..10_i128.pow(19), exponent in -19_i32..=19) {
        let moved = if exponent < 0 {
            decimal::text(value, u8::try_from(-exponent).unwrap())
        } else {
            (value * 10_i128.pow(exponent.unsigned_abs())).to_string()
        };
        prop_assert_eq!(text("decimal(38,19)", format!(" {value}.0e{exponent}\t")), text("decimal(38,19)", moved));
    }

    #[test]
    fn a_date_is_read(days in -2_440_588_i32..95_000_000) {
        let date = NaiveDate::from_epoch_days(days).unwrap();
        let (written, era) = write_date(date);
        prop_assert_eq!(
            text("date", format!("{written}{era}")),
            binary("date", (days - EPOCH_DAYS).to_be_bytes())
        );
        let micros = i64::from(days) * 86_400_000_000;
        prop_assert_eq!(
            text("timestamp", format!("{written}{era}")),
            binary("timestamp", (micros - EPOCH_MICROS).to_be_bytes())
        );
    }

    #[test]
    fn a_timestamp_is_read_at_any_offset(
        micros in -210_000_000_000_000_000_i64..8_200_000_000_000_000_000,
        offset in -57_599_i32..57_600,
        coarse in 0_u32..7,
    ) {
        let unit = 10_i64.pow(coarse);
        let micros = micros / unit * unit;
        let sent = (micros - EPOCH_MICROS).to_be_bytes();
        prop_assert_eq!(text("timestamp", write_timestamp(micros, None)), binary("timestamp", sent));
        prop_assert_eq!(text("timestamptz", write_timestamp(micros, Some(offset))), binary("timestamptz", sent));
    }

    #[test]
    fn a_time_is_read(micros in 0_i64..=86_400_000_000, coarse in 0_u32..7) {
        let unit = 10_i64.pow(coarse);
        let micros = micros / unit * unit;
        let seconds = micros / 1_000_000;
        let fraction = write_fraction(u32::try_from(micros % 1_000_000).unwrap());
        let written = format!("{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        prop_assert_eq!(text("time", written), binary("time", micros.to_be_bytes()));
    }

    #[test]
    fn bytes_are_read(bytes in vec(any::<u8>(), 0..700), uuid: [u8; 16]) {
        prop_assert_eq!(text("binary", format!("\\x{}", hex(&bytes))), binary("binary", &bytes));
        let written = uuid::Uuid::from_bytes(uuid);
        prop_assert_eq!(text("uuid", written.hyphenated().to_string()), binary("uuid", uuid));
        prop_assert_eq!(text("uuid", written.braced().to_string().to_uppercase()), binary("uuid", uuid));
        prop_assert_eq!(text("uuid", written.simple().to_string()), binary("uuid", uuid));
    }

    #[test]
    fn a_list_of_texts_is_read(elements in vec(proptest::option::of("[a-zñ,{}\"\\\\ \\t\\n]{0,6}|NULL|null"), 0..6)) {
        prop_assert_eq!(text("list<text>", write_array(&elements)), binary("list<text>", send_array(&elements)));
    }

    #[test]
    fn a_list_of_numbers_is_read(elements in vec(any::<Option<i32>>(), 0..6)) {
        let written: Vec<Option<String>> = elements.iter().map(|n| n.map(|n| n.to_string())).collect();
        let sent: Vec<Option<[u8; 4]>> = elements.iter().map(|n| n.map(i32::to_be_bytes)).collect();
        prop_assert_eq!(text("list<int32>", write_array(&written)), binary("list<int32>", send_array(&sent)));
    }

    #[test]
    fn no_text_makes_a_decoder_panic(bytes in vec(any::<u8>(), 0..64)) {
        push_everywhere(&bytes);
    }

    #[test]
    fn no_damaged_text_makes_a_decoder_panic(
        sample in 0..SAMPLES.len(),
        damage in vec((any::<prop::sample::Index>(), "[-+.:eE,\\\\\"{}0-9tN ]|\\PC"), 1..4),
    ) {
        let mut bytes = SAMPLES[sample].as_bytes().to_vec();
        for (place, inserted) in &damage {
            let place = place.index(bytes.len() + 1);
            let end = bytes.len().min(place + inserted.len() / 2);
            bytes.splice(place..end, inserted.bytes());
        }
        push_everywhere(&bytes);
    }
}

/// Texts of every type, to be damaged.
const SAMPLES: &[&str] = &[
    "t",
    "-9223372036854775808",
    "99999999999999999999999999999999999999.5",
    "-1.7976931348623157e+308",
    "\\x00ff00ff",
    "01234567-89ab-cdef-0123-456789abcdef",
    "5874897-12-31",
    "4714-11-24 BC",
    "24:00:00",
    "294247-01-10 04:00:54.775807+00",
    "0044-03-15 12:00:00.000001-15:59:59 BC",
    "infinity",
    "{1,NULL,\"a,\\\"b\\\\\"}",
    "{1.25,-0.01}",
    "[0:1]={1,2}",
];

fn push_everywhere(bytes: &[u8]) {
    for column in samples::columns() {
        for form in [TextForm::Plain, TextForm::Bool, TextForm::Float4] {
            let mut builder = ColumnBuilder::new(&column, WireType::Text);
            let _ = builder.push_text(Some(bytes), form);
            let _ = builder.finish();
        }
    }
}

#[test]
fn null_is_null_of_every_type() {
    for column in samples::columns() {
        let mut builder = ColumnBuilder::new(&column, WireType::Text);
        builder.push_text(None, TextForm::Plain).unwrap();
        let array = builder.finish();
        assert_eq!((array.len(), array.null_count()), (1, 1), "{}", column.name);
    }
}

/// Types, and texts that none of them is written as.
const MALFORMED: &[(&str, &[&str])] = &[
    ("boolean", &["", "true", "T", "1"]),
    (
        "int32",
        &["", "-", "+1", "1 ", " 1", "0x1", "1_000", "1.0", "--1"],
    ),
    ("oid", &["", "+1"]),
    ("float64", &["", " 1", "1,5", "0x1p3", "e5", "NaN5"]),
    (
        "decimal(10,2)",
        &[
            "", " ", ".", "-", "1.2.3", "1e", "1e5.0", "e5", "1 2", "--1", "nano", "0x1F", "1,5",
        ],
    ),
    ("binary", &["", "\\x0", "\\x0g", "00", "abc", "\\000"]),
    (
        "uuid",
        &[
            "",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdef0",
            "{01234567-89ab-cdef-0123-456789abcdef",
            "0-1234567-89ab-cdef-0123-456789abcdef",
            "01234567-89ab-cdef-0123-456789abcdef-",
            "g1234567-89ab-cdef-0123-456789abcdef",
        ],
    ),
    (
        "date",
        &[
            "",
            "2024-02-30",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "0000-01-01",
            "24-01-01",
            "5874898-01-01",
            "4715-01-01 BC",
            "2024-01-01 AD",
            "2024-1-01",
            "2024-01-01 ",
            "Infinity",
            "20240101",
            "12345678-01-01",
        ],
    ),
    (
        "time",
        &[
            "",
            "24:00:01",
            "24:00:00.000001",
            "23:60:00",
            "23:59:60",
            "1:00:00",
            "12:00",
            "12:00:00.",
            "12:00:00.1234567",
        ],
    ),
    (
        "timestamp",
        &[
            "",
            "2024-01-01T00:00:00",
            "2024-01-01 24:00:00",
            "2024-01-01 00:00",
            "2024-01-01 00:00:00+1",
            "2024-01-01 00:00:00+01:",
            "2024-01-01 00:00:00+01:60",
            "2024-01-01 00:00:00+01:00:00:00",
        ],
    ),
    (
        "list<int32>",
        &[
            "", "{", "}", "1", "{1", "1}", "{1,}", "{,1}", "{1,,2}", "{1 }", "{ 1}", "{1}x",
            "{\"1}", "{null}", "{1,{2}}",
        ],
    ),
    (
        "list<text>",
        &[
            "{\"a\"b}",
            "{a\"b}",
            "{a\\b}",
            "{\"a\\\"}",
            "{a b}",
            "{\"a\" }",
            "{a}}",
        ],
    ),
];

#[test]
fn what_is_not_of_the_format_is_refused() {
    for (column_type, texts) in MALFORMED {
        for written in *texts {
            assert_eq!(
                text(column_type, written).unwrap_err(),
                FieldError::Malformed,
                "{written:?} as {column_type}"
            );
        }
    }
}

#[test]
fn what_a_type_cannot_hold_is_refused_by_its_name() {
    let decimal = FieldError::DecimalOverflow {
        precision: 10,
        scale: 2,
    };
    let huge = format!("1{}", "0".repeat(131_071));
    let refused: &[(&str, &str, FieldError)] = &[
        ("int16", "32768", FieldError::OutOfRange),
        ("int32", "-2147483649", FieldError::OutOfRange),
        ("int64", "9223372036854775808", FieldError::OutOfRange),
        ("int64", "99999999999999999999", FieldError::OutOfRange),
        ("oid", "4294967296", FieldError::OutOfRange),
        ("float64", "1e400", FieldError::OutOfRange),
        ("float64", "-1e400", FieldError::OutOfRange),
        ("float64", "0.1e-400", FieldError::OutOfRange),
        ("float64", &huge, FieldError::OutOfRange),
        ("decimal(10,2)", &huge, decimal),
        ("decimal(10,2)", "100000000", decimal),
        ("decimal(10,2)", "0.001", decimal),
        ("decimal(10,2)", "1e-999999999999999999999", decimal),
        ("decimal(10,2)", "1e999999999999999999999", decimal),
        ("decimal(10,2)", "NaN", FieldError::NotFinite),
        ("decimal(10,2)", "-Infinity", FieldError::NotFinite),
        (
            "timestamp",
            "294247-01-10 04:00:54.775807",
            FieldError::TimestampOverflow,
        ),
        (
            "timestamp",
            "294276-12-31 23:59:59.999999",
            FieldError::TimestampOverflow,
        ),
        ("timestamp", "5874897-12-31", FieldError::TimestampOverflow),
        ("list<int32>", "{{1,2},{3,4}}", FieldError::NotAList),
        ("list<int32>", "[2:3]={1,2}", FieldError::NotAList),
    ];
    for (column_type, written, error) in refused {
        let found = text(column_type, written).unwrap_err();
        assert_eq!(found, *error, "{} digits as {column_type}", written.len());
    }
    assert_eq!(text("text", b"\xff").unwrap_err(), FieldError::NotUtf8);
}

#[test]
fn edges_are_kept() {
    let kept: &[(&str, &str, &[u8])] = &[
        ("boolean", "t", &[1]),
        ("boolean", "f", &[0]),
        ("text", "NULL", b"NULL"),
        ("text", "", b""),
        ("binary", "\\x", b""),
        ("date", "infinity", &i32::MAX.to_be_bytes()),
        ("date", "-infinity", &i32::MIN.to_be_bytes()),
        ("date", "5874897-12-31", &2_145_031_948_i32.to_be_bytes()),
        ("date", "4714-11-24 BC", &(-2_451_545_i32).to_be_bytes()),
        ("timestamp", "infinity", &i64::MAX.to_be_bytes()),
        ("timestamptz", "-infinity", &i64::MIN.to_be_bytes()),
        (
            "timestamp",
            "294247-01-10 04:00:54.775806",
            &(i64::MAX - 1 - EPOCH_MICROS).to_be_bytes(),
        ),
        (
            "timestamptz",
            "1937-01-01 00:19:32+00:19:32",
            &(-1_041_379_200_000_000 - EPOCH_MICROS).to_be_bytes(),
        ),
        ("time", "24:00:00", &86_400_000_000_i64.to_be_bytes()),
        ("float64", "-0", &(-0.0_f64).to_be_bytes()),
        ("float32", "1e-45", &f32::from_bits(1).to_be_bytes()),
    ];
    for (column_type, written, sent) in kept {
        assert_eq!(
            &text(column_type, written).unwrap(),
            &binary(column_type, sent).unwrap(),
            "{written} as {column_type}"
        );
    }
    let zeros = format!("0.{}", "0".repeat(16_383));
    assert_eq!(text("decimal(10,2)", zeros), text("decimal(10,2)", "0"));
    assert_eq!(
        text("decimal(10,2)", "00001.5"),
        text("decimal(10,2)", "1.50")
    );
}

fn planned(name: &str, element: Option<&str>, wanted: &str) -> crate::Result<TextForm> {
    let base = |name: &str| BaseType {
        name: name.to_owned(),
        kind: 'b',
        builtin: true,
        modifier: -1,
    };
    let column = CatalogColumn {
        name: "c".to_owned(),
        nullable: true,
        type_name: name.to_owned(),
        base: base(name),
        element: element.map(base),
    };
    TextForm::of(
        &column,
        &plan(&column, Some(&wanted.parse().unwrap())).unwrap(),
    )
}

#[test]
fn what_a_cast_would_have_made_is_known_from_the_plan() {
    for (name, element, wanted, form) in [
        ("bool", None, "text", TextForm::Bool),
        ("bool", None, "boolean", TextForm::Plain),
        ("_bool", Some("bool"), "list<text>", TextForm::Bool),
        ("_bool", Some("bool"), "text", TextForm::Plain),
        ("float4", None, "float64", TextForm::Float4),
        ("float4", None, "float32", TextForm::Plain),
        ("_float4", Some("float4"), "list<float64>", TextForm::Float4),
        ("numeric", None, "float64", TextForm::Plain),
        ("money", None, "text", TextForm::Plain),
    ] {
        assert_eq!(
            planned(name, element, wanted).unwrap(),
            form,
            "{name} as {wanted}"
        );
    }
    assert_eq!(
        planned("money", None, "decimal(10,2)")
            .unwrap_err()
            .to_string(),
        "column `c` (money) cannot be read as decimal(10,2) from the replication stream, which sends it as text of the \
         server's locale"
    );
    let spelled = text_of(TextForm::Bool, "list<text>", "{t,NULL,f}").unwrap();
    assert_eq!(&spelled, &text("list<text>", "{true,NULL,false}").unwrap());
    assert_eq!(
        text_of(TextForm::Bool, "text", "yes").unwrap_err(),
        FieldError::Malformed
    );
}
