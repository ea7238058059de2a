//! Parses answers as JSON. An answer that is cut off or malformed is refused, and requested again. No I/O.
//!
//! `serde_json` parses them into the structures that each reader needs. It skips other values without recursion, however
//! deeply they are nested, and what it keeps is no longer than the answer, whose size the client limits.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Text that is not the JSON that was expected, as when an answer is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not the JSON that was expected (byte {at})")]
pub struct Malformed {
    /// The byte at which it was noticed, counted from one.
    pub at: usize,
}

/// Why an answer is not taken as it is, and asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It is no JSON, or cut off.
    Malformed(Malformed),
    /// It is whole, and what it says cannot be.
    Odd(String),
    /// It says itself that it is not all that was asked for.
    Incomplete(String),
}

impl From<Malformed> for Flaw {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Reads an answer's body.
///
/// # Errors
/// Where it is no JSON, or not what is expected. `serde_json`'s own message is left out, as it may quote values.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    let text = std::str::from_utf8(body).map_err(|error| Malformed {
        at: error.valid_up_to() + 1,
    })?;
    serde_json::from_str(text).map_err(|error| {
        let lines = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1));
        Malformed {
            at: lines.map(str::len).sum::<usize>() + error.column(),
        }
    })
}

/// A value as text: the contents of a string, any other value as it is written, and `None` for `null`.
///
/// # Errors
/// Where an escape in a string stands for no character.
pub fn text(value: &RawValue) -> Result<Option<Cow<'_, str>>, Malformed> {
    let raw = value.get();
    let malformed = Malformed { at: 1 };
    match raw.as_bytes() {
        b"null" => Ok(None),
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => raw
            .get(1..raw.len() - 1)
            .map(|text| Some(Cow::Borrowed(text)))
            .ok_or(malformed),
        [b'"', ..] => serde_json::from_str(raw)
            .map(|text: String| Some(Cow::Owned(text)))
            .map_err(|_| malformed),
        _ => Ok(Some(Cow::Borrowed(raw))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_they_are_written() {
        for (json, expected) in [
            ("\"uno\"", Some("uno")),
            ("\"\"", Some("")),
            ("null", None),
            ("-1.50e3", Some("-1.50e3")),
            ("9007199254740993", Some("9007199254740993")),
            ("true", Some("true")),
            (
                " {\"x\":[1,{\"y\":\"}\"}]} ",
                Some("{\"x\":[1,{\"y\":\"}\"}]}"),
            ),
            ("\"\\u00f1\\n\\\"\\ud83d\\ude00\"", Some("ñ\n\"😀")),
        ] {
            let value: &RawValue = parse(json.as_bytes()).unwrap();
            assert_eq!(text(value).unwrap().as_deref(), expected, "{json}");
        }
        let lone: &RawValue = parse(b"\"\\ud83d\"").unwrap();
        assert_eq!(text(lone), Err(Malformed { at: 1 }));
    }

    #[test]
    fn a_fault_is_told_by_its_byte() {
        let at = |body: &[u8]| parse::<&RawValue>(body).unwrap_err().at;
        assert_eq!(at(b"{\"a\":1}{"), 8);
        assert_eq!(at(b"{\n\"a\":\n[1,,2]}"), 11);
        assert_eq!(at(b"{\"\xff\":1}"), 3);
    }

    #[test]
    fn depth_is_no_matter() {
        let depth = 1_000_000;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let value: &RawValue = parse(deep.as_bytes()).unwrap();
        assert_eq!(value.get().len(), 2 * depth);
        assert!(parse::<&RawValue>(&deep.as_bytes()[1..]).is_err());
    }
}
