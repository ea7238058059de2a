//! The rows of a query, as the page takes them: columns with the kind of their values, and rows of JSON. No I/O.

use serde::Serialize;
use serde_json::Value;

/// The rows of a query.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rows {
    /// The columns, in order.
    pub columns: Vec<RowsColumn>,
    /// The rows, each with a value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// A column of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsColumn {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Numbers; one that JavaScript could not hold exactly is its text.
    Number,
    /// Days: `2026-11-29`.
    Date,
    /// Times without a zone: `2026-11-29T18:00:00`.
    Time,
    /// Points in time: `2026-11-29T18:00:00Z`.
    Instant,
    /// Truth values.
    Boolean,
    /// Anything else, as text.
    Text,
}

/// The most significant digits of a decimal number which a double always holds.
const EXACT_DIGITS: usize = 15;

impl Rows {
    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Rows whose values are texts as a database writes them, or none for NULL.
    pub fn of_texts(
        columns: Vec<RowsColumn>,
        rows: impl IntoIterator<Item = Vec<Option<String>>>,
    ) -> Self {
        let row = |texts: Vec<Option<String>>| {
            let values = columns.iter().zip(texts);
            values
                .map(|(column, text)| text.map_or(Value::Null, |text| value(column.kind, text)))
                .collect()
        };
        Self {
            rows: rows.into_iter().map(row).collect(),
            columns,
        }
    }
}

/// A value of that kind, from its text.
fn value(kind: Kind, text: String) -> Value {
    match kind {
        Kind::Number => number(text),
        Kind::Boolean => match text.as_str() {
            "true" | "t" => Value::Bool(true),
            "false" | "f" => Value::Bool(false),
            _ => Value::String(text),
        },
        Kind::Time => Value::String(text.replacen(' ', "T", 1)),
        Kind::Instant => Value::String(instant(&text)),
        Kind::Date | Kind::Text => Value::String(text),
    }
}

/// A number as JSON: itself where JavaScript holds it exactly, else its text.
fn number(text: String) -> Value {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    // A double prints with 17 digits at most, and comes back as it was.
    let is_double = mantissa.len() < text.len() || text.contains('.') && significant <= 17;
    if significant <= EXACT_DIGITS || is_double && round_trips(&text) {
        if let Ok(number) = serde_json::from_str::<serde_json::Number>(&text) {
            return Value::Number(number);
        }
    }
    Value::String(text)
}

/// Whether a double that is printed shortest is this very text.
fn round_trips(text: &str) -> bool {
    text.parse::<f64>()
        .is_ok_and(|number| number.is_finite() && number.to_string() == text)
}

/// A point in time in the form that every browser reads: `2026-11-29T18:00:00+00:00`.
fn instant(text: &str) -> String {
    let text = text.replacen(' ', "T", 1);
    // Both databases write the zone as +00 where it is whole hours.
    match text.rfind(['+', '-']) {
        Some(at) if at > 10 && text.len() - at == 3 => format!("{text}:00"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_keeps_its_digits() {
        for (kind, text, expected) in [
            (Kind::Number, "12", json!(12)),
            (Kind::Number, "-0.50", json!(-0.5)),
            (Kind::Number, "123456789012345", json!(123_456_789_012_345_i64)),
            (Kind::Number, "12345678901234567", json!("12345678901234567")),
            (Kind::Number, "9007199254740993", json!("9007199254740993")),
            (Kind::Number, "1234567890123456.78", json!("1234567890123456.78")),
            (Kind::Number, "0.1", json!(0.1)),
            (Kind::Number, "3.3333333333333335", json!(3.333_333_333_333_333_5)),
            (Kind::Number, "1e+300", json!(1e300)),
            (Kind::Number, "NaN", json!("NaN")),
            (Kind::Number, "inf", json!("inf")),
            (Kind::Boolean, "t", json!(true)),
            (Kind::Boolean, "false", json!(false)),
            (Kind::Date, "2026-11-29", json!("2026-11-29")),
            (Kind::Time, "2026-11-29 18:00:00", json!("2026-11-29T18:00:00")),
            (Kind::Instant, "2026-11-29 18:00:00+00", json!("2026-11-29T18:00:00+00:00")),
            (Kind::Instant, "2026-11-29 18:00:00.5+05:30", json!("2026-11-29T18:00:00.5+05:30")),
            (Kind::Text, "1", json!("1")),
        ] {
            assert_eq!(value(kind, text.to_owned()), expected, "{text}");
        }
    }

    #[test]
    fn null_stays_null() {
        let columns = vec![RowsColumn {
            name: "n".to_owned(),
            kind: Kind::Number,
        }];
        let rows = Rows::of_texts(columns, [vec![None], vec![Some("1".to_owned())]]);
        assert_eq!(rows.rows, [[Value::Null], [json!(1)]]);
    }
}
