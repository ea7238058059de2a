//! The rows of a query, as the page takes them: columns with the kind of their values, and rows of JSON. No I/O.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The rows of a query.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Rows {
    /// The columns, in order.
    pub(crate) columns: Vec<Column>,
    /// The rows, each with a value for each column.
    pub(crate) rows: Vec<Vec<Value>>,
}

/// A column of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// What its values are.
    pub(crate) kind: Kind,
}

/// What all values of a column are, but for NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Numbers; one that JavaScript could not hold exactly is its text.
    Number,
    /// Days: `2026-11-29`.
    Date,
    /// Times without a zone: `2026-11-29T18:00:00`.
    Time,
    /// Points in time: `2026-11-29T18:00:00+00:00`.
    Instant,
    /// Truth values.
    Boolean,
    /// Anything else, as text.
    Text,
}

/// The most significant digits of a decimal number which a double always holds.
const EXACT_DIGITS: usize = 15;

/// Columns of which two have one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedName(pub(crate) String);

impl Rows {
    /// The names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Rows that are JSON objects of the same keys, in the same order.
    ///
    /// # Errors
    /// Two columns have the same name.
    pub(crate) fn of_json(objects: &[Box<RawValue>]) -> Result<Self, SharedName> {
        let objects: Vec<Members> = objects
            .iter()
            .filter_map(|object| serde_json::from_str(object.get()).ok())
            .collect();
        let Some(first) = objects.first() else {
            return Ok(Self::default());
        };
        let names: Vec<&str> = first.0.iter().map(|(name, _)| name.as_str()).collect();
        for (at, name) in names.iter().enumerate() {
            if names.iter().take(at).any(|known| known == name) {
                return Err(SharedName((*name).to_owned()));
            }
        }
        let kind = |at: usize| {
            let values = objects.iter().filter_map(|row| row.0.get(at));
            kind_of(values.map(|(_, value)| value.get()))
        };
        let columns: Vec<Column> = names
            .iter()
            .enumerate()
            .map(|(at, name)| Column {
                name: (*name).to_owned(),
                kind: kind(at),
            })
            .collect();
        let row = |members: &Members| {
            let values = columns.iter().zip(&members.0);
            values
                .map(|(column, (_, raw))| value(column.kind, raw.get()))
                .collect()
        };
        Ok(Self {
            rows: objects.iter().map(row).collect(),
            columns,
        })
    }

    /// No rows, but the columns that they would have.
    pub(crate) fn without_rows(self) -> Self {
        Self {
            rows: Vec::new(),
            ..self
        }
    }
}

/// The members of an object, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// What all of these values are.
fn kind_of<'a>(values: impl Iterator<Item = &'a str>) -> Kind {
    let mut kind = None;
    for value in values.filter(|value| *value != "null") {
        let one = match value.as_bytes() {
            [b'"', text @ .., b'"'] => kind_of_text(text),
            [b't' | b'f', ..] => Kind::Boolean,
            [b'-' | b'0'..=b'9', ..] => Kind::Number,
            _ => Kind::Text,
        };
        match kind {
            None => kind = Some(one),
            Some(known) if known == one => {}
            Some(_) => return Kind::Text,
        }
    }
    kind.unwrap_or(Kind::Text)
}

/// Whether a text is a day, a time, or one of the numbers that JSON does not have, as PostgreSQL writes them.
fn kind_of_text(text: &[u8]) -> Kind {
    if [&b"NaN"[..], b"Infinity", b"-Infinity"].contains(&text) {
        return Kind::Number;
    }
    if !has_form(text.get(..10).unwrap_or_default(), b"0000-00-00") {
        return Kind::Text;
    }
    let Some(time) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return Kind::Date;
    };
    let [b' ' | b'T', time @ ..] = time else {
        return Kind::Text;
    };
    if !has_form(time.get(..8).unwrap_or_default(), b"00:00:00") {
        return Kind::Text;
    }
    let rest = time.get(8..).unwrap_or_default();
    let rest = match rest {
        [b'.', fraction @ ..] => fraction.trim_ascii_start_digits(),
        rest => rest,
    };
    match rest {
        [] => Kind::Time,
        [b'Z'] => Kind::Instant,
        [b'+' | b'-', zone @ ..] if has_form(zone, b"00") || has_form(zone, b"00:00") => {
            Kind::Instant
        }
        _ => Kind::Text,
    }
}

/// What is behind the digits that something begins with.
trait TrimDigits {
    fn trim_ascii_start_digits(&self) -> &[u8];
}

impl TrimDigits for [u8] {
    fn trim_ascii_start_digits(&self) -> &[u8] {
        let digits = self.iter().take_while(|byte| byte.is_ascii_digit());
        self.get(digits.count()..).unwrap_or_default()
    }
}

/// Whether a text has a digit wherever the form has 0, and the form's own letters elsewhere.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    text.len() == form.len()
        && text.iter().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
}

/// A value of that kind, from its JSON.
fn value(kind: Kind, raw: &str) -> Value {
    if kind == Kind::Number && raw != "null" {
        return number(raw);
    }
    match raw.as_bytes() {
        [b'-' | b'0'..=b'9', ..] => return number(raw),
        [b'{' | b'[', ..] if !is_exact(raw) => return Value::String(raw.to_owned()),
        _ => {}
    }
    match (kind, serde_json::from_str(raw).unwrap_or(Value::Null)) {
        (Kind::Time | Kind::Instant, Value::String(text)) => Value::String(iso(&text)),
        (_, value) => value,
    }
}

/// A number as JSON: itself where JavaScript holds it exactly, else its text.
fn number(text: &str) -> Value {
    let text = text.trim_matches('"');
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    let is_exact = significant <= EXACT_DIGITS || round_trips(text);
    match serde_json::from_str::<serde_json::Number>(text) {
        Ok(number) if is_exact => Value::Number(number),
        _ => Value::String(text.to_owned()),
    }
}

/// Whether JavaScript would hold each number in a JSON text exactly.
fn is_exact(raw: &str) -> bool {
    let mut outside = String::with_capacity(raw.len());
    let mut letters = raw.chars();
    let mut in_text = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' => in_text = !in_text,
            '\\' if in_text => drop(letters.next()),
            _ => {}
        }
        outside.push(if in_text { ' ' } else { letter });
    }
    outside
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter)))
        .filter(|word| word.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit()))
        .all(|word| matches!(number(word), Value::Number(_)))
}

/// Whether a double that is printed shortest is this very text.
fn round_trips(text: &str) -> bool {
    text.parse::<f64>()
        .is_ok_and(|number| number.is_finite() && number.to_string() == text)
}

/// A time in the form that every browser reads: `2026-11-29T18:00:00+00:00`.
fn iso(text: &str) -> String {
    let text = text.replacen(' ', "T", 1);
    // DuckDB writes the zone as +00 where it is whole hours.
    match text.rfind(['+', '-']) {
        Some(at) if at > 10 && text.len() - at == 3 => format!("{text}:00"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(objects: &[&str]) -> Result<Rows, SharedName> {
        let objects: Vec<Box<RawValue>> = objects
            .iter()
            .map(|object| RawValue::from_string((*object).to_owned()).unwrap())
            .collect();
        Rows::of_json(&objects)
    }

    #[test]
    fn columns_keep_their_order_and_have_a_kind() {
        let rows = rows(&[
            r#"{"z":null,"a":"x","d":"2026-11-29","t":"2026-11-29 18:00:00.25","i":"2026-11-29 18:00:00+00","b":true,"m":1}"#,
            r#"{"z":1.50,"a":null,"d":"2026-01-01","t":"2026-11-29T18:00:00","i":"2026-11-29T18:00:00+05:30","b":null,"m":"x"}"#,
        ])
        .unwrap();
        let kinds: Vec<(&str, Kind)> = rows
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.kind))
            .collect();
        assert_eq!(
            kinds,
            [
                ("z", Kind::Number),
                ("a", Kind::Text),
                ("d", Kind::Date),
                ("t", Kind::Time),
                ("i", Kind::Instant),
                ("b", Kind::Boolean),
                ("m", Kind::Text),
            ]
        );
        assert_eq!(
            rows.rows[0],
            [
                json!(null),
                json!("x"),
                json!("2026-11-29"),
                json!("2026-11-29T18:00:00.25"),
                json!("2026-11-29T18:00:00+00:00"),
                json!(true),
                json!(1)
            ]
        );
        assert_eq!(rows.rows[1][4], json!("2026-11-29T18:00:00+05:30"));
    }

    #[test]
    fn a_number_keeps_its_digits() {
        for (text, expected) in [
            ("12", json!(12)),
            ("-0.50", json!(-0.5)),
            ("123456789012345", json!(123_456_789_012_345_i64)),
            ("9007199254740993", json!("9007199254740993")),
            ("1234567890123456.78", json!("1234567890123456.78")),
            ("0.1", json!(0.1)),
            ("3.3333333333333335", json!(3.333_333_333_333_333_5)),
            ("1e+300", json!(1e300)),
            ("\"NaN\"", json!("NaN")),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn json_whose_numbers_a_double_does_not_hold_is_its_text() {
        for (raw, expected) in [
            (r#"{"a": [1, -2.5e3, "9007199254740993 \" 1e400"]}"#, None),
            ("[9007199254740993]", Some("[9007199254740993]")),
            (
                r#"{"a":12345678901234567.89}"#,
                Some(r#"{"a":12345678901234567.89}"#),
            ),
            (r#"{"a\"":1e400}"#, Some(r#"{"a\"":1e400}"#)),
        ] {
            let whole =
                expected.map_or_else(|| serde_json::from_str(raw).unwrap(), |text| json!(text));
            assert_eq!(value(Kind::Text, raw), whole, "{raw}");
        }
        // Among texts.
        assert_eq!(
            value(Kind::Text, "9007199254740993"),
            json!("9007199254740993")
        );
    }

    #[test]
    fn a_text_that_only_looks_like_a_day_is_text() {
        for text in [
            "2026-11-2",
            "2026-11-29x",
            "2026-11-29 ",
            "2026-11-29 18:00",
            "2026-11-29 18:00:00.",
            "2026-11-29 18:00:00+0",
            "v026-11-29",
            "",
        ] {
            let expected = if text.ends_with('.') {
                Kind::Time
            } else {
                Kind::Text
            };
            assert_eq!(kind_of_text(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn two_columns_of_one_name_are_told() {
        let shared = rows(&[r#"{"a":1,"b":2,"a":3}"#]);
        assert_eq!(shared, Err(SharedName("a".to_owned())));
    }
}
