//! Masks: what takes the place of a column's values before anything is written. No I/O.
//!
//! A masked column is read as text, and its mask is applied to the batches that are landed: neither the landing area nor a
//! destination ever has the values. The same value always becomes the same masked value, so that rows can be merged by a
//! hashed key. NULL stays NULL.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::names::hex;

mod apply;
mod follow;
mod personal;

pub(crate) use personal::personal;

/// What takes the place of text that is hidden.
const HIDDEN: &str = "***";
/// The fewest bytes of a key: a shorter one can be found by trying.
const LEAST_KEY: usize = 16;
/// The most characters that `keep-last` keeps.
const MOST_KEPT: usize = 100;
/// What a key's identification is computed from.
const KEY_LABEL: &[u8] = b"acequia: which key";

/// What takes the place of a column's values.
#[derive(Clone)]
pub enum Mask {
    /// HMAC-SHA256 under a key, in hexadecimal digits.
    Hmac(Key),
    /// SHA-256, in hexadecimal digits.
    Sha256,
    /// `***`.
    Redact,
    /// NULL. The column keeps its type.
    Null,
    /// `***` and so many characters of the end, of texts that are longer.
    KeepLast(usize),
    /// `***@` and the domain.
    Email,
    /// The value itself: somebody has decided that it is copied as it is.
    None,
    /// In rows whose column `column` names a masked property, that property's mask.
    Of {
        /// The column that names a property.
        column: String,
        /// The masks, by property.
        masks: BTreeMap<String, Mask>,
    },
}

/// A key of HMAC-SHA256.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// The masks of a stream, by column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masks(BTreeMap<String, Mask>);

/// Why a text is no mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMask {
    /// There is no such mask.
    #[error("this is no mask")]
    Unknown,
    /// The key is too short.
    #[error("the key has less than {LEAST_KEY} bytes, and could be found by trying")]
    ShortKey,
    /// So many characters cannot be kept.
    #[error("it keeps from 1 to {MOST_KEPT} characters")]
    Kept,
}

impl Key {
    /// # Errors
    /// The key is too short.
    fn new(key: &str) -> Result<Self, NoMask> {
        if key.len() < LEAST_KEY {
            return Err(NoMask::ShortKey);
        }
        let keyed = Hmac::new_from_slice(key.as_bytes()).map_err(|_| NoMask::ShortKey)?;
        Ok(Self(keyed))
    }

    fn digest(&self, value: &[u8]) -> String {
        let mut keyed = self.0.clone();
        keyed.update(value);
        hex(&keyed.finalize().into_bytes())
    }

    /// Tells this key from others, and is of no use for finding it.
    fn id(&self) -> String {
        let mut id = self.digest(KEY_LABEL);
        id.truncate(8);
        id
    }
}

impl Mask {
    /// Whether equal values stay equal, and different ones different, so that rows can be told apart by the column.
    fn tells_apart(&self) -> bool {
        matches!(self, Self::Hmac(_) | Self::Sha256 | Self::None)
    }

    /// Whether values are not copied as they are.
    fn hides(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether the column has to be text.
    fn masks_text(&self) -> bool {
        !matches!(self, Self::Null | Self::None)
    }

    /// What takes the place of a text. `None` for NULL.
    fn of_text(&self, text: &str) -> Option<String> {
        Some(match self {
            Self::Hmac(key) => key.digest(text.as_bytes()),
            Self::Sha256 => hex(&Sha256::digest(text.as_bytes())),
            Self::Redact | Self::Of { .. } => HIDDEN.to_owned(),
            Self::Null => return None,
            Self::KeepLast(kept) => match text.char_indices().rev().nth(kept.saturating_sub(1)) {
                Some((at, _)) if at > 0 => format!("{HIDDEN}{}", &text[at..]),
                _ => HIDDEN.to_owned(),
            },
            Self::Email => match text.rsplit_once('@') {
                Some((_, domain)) => format!("{HIDDEN}@{domain}"),
                None => HIDDEN.to_owned(),
            },
            Self::None => text.to_owned(),
        })
    }
}

/// How the configuration writes it.
impl FromStr for Mask {
    type Err = NoMask;

    fn from_str(text: &str) -> Result<Self, NoMask> {
        Ok(match text.split_once(':') {
            Some(("hmac", key)) => Self::Hmac(Key::new(key)?),
            Some(("keep-last", kept)) => match kept.trim().parse() {
                Ok(kept) if (1..=MOST_KEPT).contains(&kept) => Self::KeepLast(kept),
                _ => return Err(NoMask::Kept),
            },
            Some(_) => return Err(NoMask::Unknown),
            None => match text {
                "sha256" => Self::Sha256,
                "redact" => Self::Redact,
                "null" => Self::Null,
                "email" => Self::Email,
                "none" => Self::None,
                "hmac" => return Err(NoMask::ShortKey),
                _ => return Err(NoMask::Unknown),
            },
        })
    }
}

/// How manifests and ledgers write it: a key is only told from others.
impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac(key) => write!(f, "hmac (key {})", key.id()),
            Self::Sha256 => f.write_str("sha256"),
            Self::Redact => f.write_str("redact"),
            Self::Null => f.write_str("null"),
            Self::KeepLast(kept) => write!(f, "keep-last:{kept}"),
            Self::Email => f.write_str("email"),
            Self::None => f.write_str("none"),
            Self::Of { column, masks } => {
                write!(f, "by {column}: ")?;
                for (at, (name, mask)) in masks.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{name} {mask}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Two masks are equal if they make the same of every value.
impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Mask {}

impl Masks {
    /// Whether no column has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns that have one.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The columns that must be text, so that they can be masked.
    pub fn text_columns(&self) -> impl Iterator<Item = &str> {
        let masks = self.0.iter().filter(|(_, mask)| mask.masks_text());
        masks.map(|(column, _)| column.as_str())
    }

    /// The columns whose values are not copied as they are.
    pub fn hidden_columns(&self) -> impl Iterator<Item = &str> {
        self.columns().filter(|column| self.hides(column))
    }

    /// Whether a column's values are not copied as they are.
    pub fn hides(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(Mask::hides)
    }

    /// Whether a column is NULL whatever it holds.
    pub fn empties(&self, column: &str) -> bool {
        matches!(self.0.get(column), Some(Mask::Null))
    }

    /// Whether the configuration says something of a column, be it that its values are copied as they are.
    pub fn names(&self, column: &str) -> bool {
        self.0.contains_key(column)
    }

    /// What is kept with a table of how a column's values are masked. `None` if they are not.
    pub(crate) fn label(&self, column: &str) -> Option<String> {
        let mask = self.0.get(column).filter(|mask| mask.hides());
        mask.map(ToString::to_string)
    }

    /// Whether a table with the values that columns had hides those of this one.
    pub fn hides_values_of(&self, column: &str) -> bool {
        self.0.values().any(|mask| match mask {
            Mask::Of { masks, .. } => masks.get(column).is_some_and(Mask::hides),
            _ => false,
        })
    }

    /// The masks of a table with the values that these columns had: they stand in the column `value`, and `property` says whose.
    #[must_use]
    pub fn of_history(&self, property: &str, value: &str) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        let mask = Mask::Of {
            column: property.to_owned(),
            masks: self.0.clone(),
        };
        Self(BTreeMap::from([(value.to_owned(), mask)]))
    }
}

impl FromIterator<(String, Mask)> for Masks {
    fn from_iter<I: IntoIterator<Item = (String, Mask)>>(masks: I) -> Self {
        Self(masks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &str, text: &str) -> Option<String> {
        mask.parse::<Mask>().unwrap().of_text(text)
    }

    #[test]
    fn a_mask_says_nothing_of_what_it_hides_but_what_it_is_for() {
        for (mask, text, expected) in [
            ("redact", "Ana", "***"),
            ("email", "ana.sanz@empresa.example", "***@empresa.example"),
            ("email", "\"a@b\"@c.example", "***@c.example"),
            ("email", "no address", "***"),
            ("keep-last:4", "ES9121000418450200051332", "***1332"),
            ("keep-last:4", "1332", "***"),
            ("keep-last:4", "", "***"),
            ("keep-last:2", "ñandú", "***dú"),
            ("none", "Ana", "Ana"),
        ] {
            assert_eq!(masked(mask, text).as_deref(), Some(expected), "{mask}");
        }
        assert_eq!(masked("null", "Ana"), None);
    }

    /// RFC 4231, test case 4; FIPS 180-4, the example "abc".
    #[test]
    fn hashes_are_those_of_the_standards() {
        let key: String = (1..=25).map(char::from).collect();
        let data: String = (0..50).map(|_| '\u{cd}').collect();
        let key = Key::new(&key).unwrap();
        // The test case's data are bytes, which no text is: they are hashed below the text.
        let bytes = [0xcd; 50];
        assert_eq!(
            key.digest(&bytes),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
        );
        assert_ne!(key.digest(data.as_bytes()), key.digest(&bytes));
        assert_eq!(
            masked("sha256", "abc").unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_key_is_never_written() {
        let mask: Mask = "hmac:a key that nobody knows".parse().unwrap();
        for written in [mask.to_string(), format!("{mask:?}")] {
            assert!(!written.contains("nobody"), "{written}");
            assert_eq!(written.len(), "hmac (key 01234567)".len());
        }
        let other: Mask = "hmac:another key that nobody knows".parse().unwrap();
        assert_ne!(mask, other);
        assert_eq!(mask, mask.clone());
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for (text, expected) in [
            ("hmac:short", NoMask::ShortKey),
            ("hmac:", NoMask::ShortKey),
            ("hmac", NoMask::ShortKey),
            ("keep-last:0", NoMask::Kept),
            ("keep-last:all", NoMask::Kept),
            ("keep-last:101", NoMask::Kept),
            ("keep-last", NoMask::Unknown),
            ("md5", NoMask::Unknown),
            ("sha256:salt", NoMask::Unknown),
            ("", NoMask::Unknown),
        ] {
            assert_eq!(text.parse::<Mask>().unwrap_err(), expected, "{text}");
        }
    }
}
