//! A scanner over JSON text: it goes from value to value and copies nothing, where a parser would build a tree of them.
//! No I/O.
//!
//! It is as strict as finding the values needs: every bracket and quote must close, commas and colons stand where they
//! should. Text with escapes is handed to `serde_json`.

use std::borrow::Cow;

/// Text that is not the JSON that was expected, as when an answer is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not the JSON that was expected (byte {at})")]
pub struct Malformed {
    /// Where it was noticed, in bytes.
    pub at: usize,
}

/// Why an answer is not taken as it is, and asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It is no JSON, or cut off.
    Malformed(Malformed),
    /// It is whole, and what it says cannot be.
    Odd(String),
}

impl From<Malformed> for Flaw {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// A value that is no list and no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// The text of a string.
    Text(Cow<'a, str>),
    /// Anything else, as it is written.
    Raw(&'a str),
}

/// Goes over JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of a body.
    ///
    /// # Errors
    /// Where it is not UTF-8.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        std::str::from_utf8(body)
            .map(|text| Self { text, at: 0 })
            .map_err(|error| Malformed {
                at: error.valid_up_to(),
            })
    }

    /// Goes over an object: `member` is called at each value, and must go over it.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut goes_on = self.enter()?;
        while goes_on {
            let key = self.key()?;
            self.blank();
            member(self, &key)?;
            goes_on = self.goes_on()?;
        }
        Ok(())
    }

    /// Enters an object; tells whether it has members. To be followed by [`Scanner::literal`] or [`Scanner::key`] and a
    /// value, and [`Scanner::goes_on`], for each member: what [`Scanner::object`] does, for whoever guesses keys.
    pub fn enter(&mut self) -> Result<bool, Malformed> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Goes over exactly this text, if it is next.
    pub fn literal(&mut self, text: &str) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let is_next = rest.starts_with(text.as_bytes());
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// Goes over a member's key and the colon after it.
    pub fn key(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.blank();
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Goes over what follows a member; tells whether there is another one.
    pub fn goes_on(&mut self) -> Result<bool, Malformed> {
        match self.next()? {
            b',' => Ok(true),
            b'}' => Ok(false),
            _ => Err(self.malformed()),
        }
    }

    /// Goes over a list: `element` is called at each value, and must go over it.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blank();
            element(self)?;
            match self.next()? {
                b',' => {}
                b']' => return Ok(()),
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Goes over a value, and gives it; a list or object is given as it is written.
    pub fn scalar(&mut self) -> Result<Scalar<'a>, Malformed> {
        if self.peek()? == b'"' {
            return self.string().map(Scalar::Text);
        }
        let raw = self.raw()?;
        Ok(if raw == "null" {
            Scalar::Null
        } else {
            Scalar::Raw(raw)
        })
    }

    /// Goes over a value, and gives it as it is written.
    pub fn raw(&mut self) -> Result<&'a str, Malformed> {
        self.blank();
        let start = self.at;
        self.skip()?;
        self.text.get(start..self.at).ok_or(Malformed { at: start })
    }

    /// Goes over a value.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string_end()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.') => {
                    self.word();
                }
                _ => return Err(self.malformed()),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Goes over what may follow the last value: nothing but blanks.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.blank();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// A string, without its quotes.
    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let start = self.at;
        let escaped = self.string_end()?;
        let malformed = Malformed { at: start };
        if escaped {
            let quoted = self.text.get(start..self.at).ok_or(malformed)?;
            return serde_json::from_str::<String>(quoted)
                .map(Cow::Owned)
                .map_err(|_| malformed);
        }
        self.text
            .get(start + 1..self.at - 1)
            .map(Cow::Borrowed)
            .ok_or(malformed)
    }

    /// Goes over a string, and tells whether there are escapes in it.
    fn string_end(&mut self) -> Result<bool, Malformed> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(length) = quote_or_escape(rest) else {
                return Err(Malformed {
                    at: self.text.len(),
                });
            };
            self.at += length;
            if rest.get(length) == Some(&b'"') {
                self.at += 1;
                return Ok(escaped);
            }
            escaped = true;
            self.at += 2;
        }
    }

    fn word(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')))
            .unwrap_or(rest.len());
    }

    #[inline]
    fn blank(&mut self) {
        let bytes = self.text.as_bytes();
        while bytes
            .get(self.at)
            .is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        {
            self.at += 1;
        }
    }

    /// The next byte that is not blank, which stays.
    fn peek(&mut self) -> Result<u8, Malformed> {
        self.blank();
        self.text
            .as_bytes()
            .get(self.at)
            .copied()
            .ok_or_else(|| self.malformed())
    }

    fn next(&mut self) -> Result<u8, Malformed> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek()? == byte {
            self.at += 1;
            return Ok(());
        }
        Err(self.malformed())
    }

    fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }
}

/// The place of the first quote or backslash. Eight bytes are looked at at once: a byte of `x` is zero where `word` has the
/// byte that is looked for, and the subtraction borrows into the highest bit of the first such byte.
fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
    let mut at = 0;
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))
        .map(|place| at + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Result<Vec<(String, String)>, Malformed> {
        let mut scanner = Scanner::new(text.as_bytes())?;
        let mut members = Vec::new();
        scanner.object(|scanner, key| {
            let value = match scanner.scalar()? {
                Scalar::Null => "null!".to_owned(),
                Scalar::Text(text) => text.into_owned(),
                Scalar::Raw(raw) => format!("<{raw}>"),
            };
            members.push((key.to_owned(), value));
            Ok(())
        })?;
        scanner.end()?;
        Ok(members)
    }

    #[test]
    fn values_come_as_they_are() {
        let members = members(
            " { \"a\" : \"uno\" , \"b\":null,\"c\":-1.5e3,\"d\":{\"x\":[1,{\"y\":\"}\"}]},\"e\":\"\\u00f1\\n\\\"\",\"f\":\"\",\"g\":true}",
        )
        .unwrap();
        let expected = [
            ("a", "uno"),
            ("b", "null!"),
            ("c", "<-1.5e3>"),
            ("d", "<{\"x\":[1,{\"y\":\"}\"}]}>"),
            ("e", "ñ\n\""),
            ("f", ""),
            ("g", "<true>"),
        ];
        for (member, (key, value)) in members.iter().zip(expected) {
            assert_eq!((member.0.as_str(), member.1.as_str()), (key, value));
        }
        assert_eq!(members.len(), expected.len());
    }

    #[test]
    fn a_text_cut_anywhere_is_noticed() {
        let whole = "{\"results\":[{\"id\":\"1\",\"p\":{\"a\":\"x\\\"y\",\"b\":null,\"n\":12}},{\"id\":\"ñ\"}],\"paging\":{}}";
        for end in 0..whole.len() {
            let cut = whole.as_bytes().get(..end).unwrap();
            let scanned = Scanner::new(cut).and_then(|mut scanner| {
                scanner.object(|scanner, _| scanner.skip())?;
                scanner.end()
            });
            assert!(scanned.is_err(), "cut at {end}");
        }
        let mut scanner = Scanner::new(whole.as_bytes()).unwrap();
        scanner.skip().unwrap();
        scanner.end().unwrap();
    }

    #[test]
    fn the_first_quote_or_escape_is_found_wherever_it_is() {
        for length in 0..40 {
            for (mark, place) in [
                (b'"', 0),
                (b'\\', 7),
                (b'"', 8),
                (b'"', 15),
                (b'\\', 31),
                (b'"', 39),
            ] {
                let mut text = vec![0xc3_u8; length];
                assert_eq!(quote_or_escape(&text), None);
                if let Some(byte) = text.get_mut(place) {
                    *byte = mark;
                    assert_eq!(quote_or_escape(&text), Some(place), "{length} {place}");
                }
            }
        }
    }

    #[test]
    fn a_page_for_people_is_not_json() {
        assert!(members("<!DOCTYPE html><html></html>").is_err());
        assert!(members("{\"a\":1}{").is_err());
        assert!(members("{\"a\":1,}").is_err());
        assert!(members("").is_err());
    }

    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_are_those_that_serde_json_finds(
            expected in prop::collection::btree_map(any::<String>(), value(), 0..8),
            pretty in any::<bool>(),
        ) {
            let expected = serde_json::Value::Object(expected.into_iter().collect());
            let text = if pretty {
                serde_json::to_string_pretty(&expected).unwrap()
            } else {
                expected.to_string()
            };
            let mut scanner = Scanner::new(text.as_bytes()).unwrap();
            let mut found = serde_json::Map::new();
            scanner
                .object(|scanner, key| {
                    let value = match scanner.scalar()? {
                        Scalar::Null => serde_json::Value::Null,
                        Scalar::Text(text) => text.into_owned().into(),
                        Scalar::Raw(raw) => serde_json::from_str(raw).unwrap(),
                    };
                    found.insert(key.to_owned(), value);
                    Ok(())
                })
                .unwrap();
            scanner.end().unwrap();
            prop_assert_eq!(serde_json::Value::Object(found), expected);
        }

        #[test]
        fn nothing_that_comes_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), text in ".*") {
            for body in [body, text.into_bytes()] {
                if let Ok(mut scanner) = Scanner::new(&body) {
                    let _ = scanner.object(|scanner, _| scanner.skip());
                }
            }
        }
    }
}
