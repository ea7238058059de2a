//! Masks: what stands in the destination in place of a value. No I/O, and no value in an error.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, StringArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::names::hex;
use crate::schema::ColumnType;

/// What stands for text that is redacted.
const REDACTED: &str = "***";

/// What stands in the destination in place of a value. NULL stays NULL.
#[derive(Clone, PartialEq, Eq)]
pub enum Mask {
    /// The HMAC-SHA-256 of its text with a secret key, in hexadecimal: equal values stay equal.
    Hmac(Key),
    /// The SHA-256 of its text, in hexadecimal.
    Sha256,
    /// `***`.
    Redact,
    /// NULL.
    Null,
    /// Its text with all letters but the last ones as `*`.
    KeepLast(usize),
    /// Of an address of electronic mail, the domain alone.
    Email,
}

/// A secret key. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// Why a text is no mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMask {
    /// It is none of them.
    #[error("this is no mask")]
    Unknown,
    /// The key is too short to keep anything secret.
    #[error("the key of `hmac:` is shorter than {MIN_KEY} bytes")]
    ShortKey,
}

/// A shorter key can be found by trying.
const MIN_KEY: usize = 16;

impl Mask {
    /// Reads a mask as it is written: `hmac:KEY`, `sha256`, `redact`, `null`, `keep-last:4`, `email`.
    pub fn parse(text: &str) -> Result<Self, BadMask> {
        if let Some(key) = text.strip_prefix("hmac:") {
            return if key.len() < MIN_KEY {
                Err(BadMask::ShortKey)
            } else {
                Ok(Self::Hmac(Key(key.as_bytes().to_vec())))
            };
        }
        if let Some(number) = text.strip_prefix("keep-last:") {
            let number: usize = number.trim().parse().map_err(|_| BadMask::Unknown)?;
            return Ok(Self::KeepLast(number));
        }
        match text {
            "sha256" => Ok(Self::Sha256),
            "redact" => Ok(Self::Redact),
            "null" => Ok(Self::Null),
            "email" => Ok(Self::Email),
            _ => Err(BadMask::Unknown),
        }
    }

    /// Its name in manifests and ledgers. That of a key differs from those of other keys, and does not tell it.
    pub fn id(&self) -> String {
        match self {
            Self::Hmac(key) => {
                let mut id = key.of(b"acequia: the id of this key");
                id.truncate(8);
                format!("hmac:{id}")
            }
            Self::Sha256 => "sha256".to_owned(),
            Self::Redact => "redact".to_owned(),
            Self::Null => "null".to_owned(),
            Self::KeepLast(number) => format!("keep-last:{number}"),
            Self::Email => "email".to_owned(),
        }
    }

    /// Whether values that differ stay different, so that rows can still be told apart by them.
    pub fn keeps_apart(&self) -> bool {
        matches!(self, Self::Hmac(_) | Self::Sha256)
    }

    /// The type of a masked column.
    pub fn column_type(&self, of: &ColumnType) -> ColumnType {
        match self {
            Self::Null => of.clone(),
            _ => ColumnType::Text,
        }
    }

    /// Whether values of a type can be masked so.
    pub fn can_mask(&self, of: &ColumnType) -> bool {
        matches!(self, Self::Null | Self::Redact) || !matches!(of, ColumnType::List(_))
    }

    /// Masks a column.
    pub fn apply(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match self {
            Self::Null => Ok(new_null_array(values.data_type(), values.len())),
            Self::Redact => {
                let rows = (0..values.len()).map(|row| values.is_valid(row).then_some(REDACTED));
                Ok(Arc::new(rows.collect::<StringArray>()))
            }
            Self::Hmac(_) | Self::Sha256 | Self::KeepLast(_) | Self::Email => {
                let bytes = texts(values)?;
                let masked = bytes.iter().map(|value| Some(self.of(value?)));
                Ok(Arc::new(masked.collect::<StringArray>()))
            }
        }
    }

    /// What stands for one value, given its text.
    pub fn of(&self, value: &[u8]) -> String {
        match self {
            Self::Hmac(key) => key.of(value),
            Self::Sha256 => hex(&Sha256::digest(value)),
            Self::Redact | Self::Null => REDACTED.to_owned(),
            Self::KeepLast(number) => {
                let text = String::from_utf8_lossy(value);
                let length = text.chars().count();
                // A value that is no longer than what is kept would be kept whole.
                let hidden = if length > *number {
                    length - number
                } else {
                    length
                };
                let kept = text.chars().skip(hidden);
                std::iter::repeat_n('*', hidden).chain(kept).collect()
            }
            Self::Email => {
                let text = String::from_utf8_lossy(value);
                match text.rsplit_once('@') {
                    Some((_, domain)) => format!("{REDACTED}@{domain}"),
                    None => REDACTED.to_owned(),
                }
            }
        }
    }
}

impl Key {
    fn of(&self, value: &[u8]) -> String {
        // A key may have any length (RFC 2104).
        Hmac::<Sha256>::new_from_slice(&self.0).map_or_else(
            |_| REDACTED.to_owned(),
            |mut mac| {
                mac.update(value);
                hex(&mac.finalize().into_bytes())
            },
        )
    }
}

/// The values as text: text and bytes as they are, UUIDs with hyphens, others as Arrow writes them.
fn texts(values: &ArrayRef) -> Result<BinaryArray> {
    let failed = |error| Error::internal("a column cannot be written as text").cause(error);
    match values.data_type() {
        DataType::Binary => Ok(values.as_binary::<i32>().clone()),
        DataType::FixedSizeBinary(16) => Ok(uuids(values.as_fixed_size_binary())),
        _ => {
            let text = cast(values, &DataType::Utf8).map_err(failed)?;
            let bytes = cast(&text, &DataType::Binary).map_err(failed)?;
            Ok(bytes.as_binary::<i32>().clone())
        }
    }
}

fn uuids(values: &FixedSizeBinaryArray) -> BinaryArray {
    let text =
        |value: &[u8]| uuid::Uuid::from_slice(value).map(|uuid| uuid.hyphenated().to_string());
    values.iter().map(|value| text(value?).ok()).collect()
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Decimal128Array, Int64Array};

    use super::*;

    const KEY: &str = "hmac:0123456789abcdef";

    fn masked(mask: &str, values: &ArrayRef) -> Vec<Option<String>> {
        let masked = Mask::parse(mask).unwrap().apply(values).unwrap();
        let texts = masked.as_string::<i32>().iter();
        texts.map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn each_mask_hides_what_it_says() {
        let texts = || -> ArrayRef {
            Arc::new(StringArray::from(vec![Some("ana@x.es"), None, Some("ñ7")]))
        };
        for (mask, expected) in [
            ("redact", [Some("***"), None, Some("***")]),
            ("keep-last:4", [Some("****x.es"), None, Some("**")]),
            ("keep-last:0", [Some("********"), None, Some("**")]),
            ("email", [Some("***@x.es"), None, Some("***")]),
        ] {
            let found = masked(mask, &texts());
            let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
            assert_eq!(found, expected, "{mask}");
        }
        let nulls = Mask::Null.apply(&texts()).unwrap();
        assert_eq!(nulls.null_count(), 3);
    }

    #[test]
    fn hashes_are_those_of_the_standards() {
        // `printf 42 | sha256sum`, `printf 42 | openssl dgst -sha256 -hmac 0123456789abcdef`.
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(42), None]));
        assert_eq!(
            masked("sha256", &numbers),
            [
                Some("73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049".to_owned()),
                None
            ]
        );
        let found = masked(KEY, &numbers);
        let expected = "8d24a2a526d5f556469db8b6280e3a7b877a41155ca536be3a1f2a9d2be0eacd";
        assert_eq!(found[0].as_deref(), Some(expected));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["42"]));
        assert_eq!(
            masked(KEY, &text)[0],
            found[0],
            "a number is masked as its text"
        );
    }

    #[test]
    fn every_type_has_a_text() {
        let date: ArrayRef = Arc::new(Date32Array::from(vec![19_000]));
        assert_eq!(
            masked("keep-last:2", &date),
            [Some("********08".to_owned())]
        );
        let decimal = Decimal128Array::from(vec![1230])
            .with_precision_and_scale(10, 2)
            .unwrap();
        assert_eq!(
            masked("keep-last:2", &(Arc::new(decimal) as ArrayRef)),
            [Some("***30".to_owned())]
        );
        let uuid = FixedSizeBinaryArray::try_from_iter(std::iter::once([0x11_u8; 16])).unwrap();
        let found = masked("keep-last:4", &(Arc::new(uuid) as ArrayRef));
        assert!(found[0].as_ref().unwrap().ends_with("1111"), "{found:?}");
    }

    #[test]
    fn a_key_is_named_and_never_told() {
        let one = Mask::parse(KEY).unwrap();
        let other = Mask::parse("hmac:0123456789abcdeg").unwrap();
        assert_ne!(one.id(), other.id());
        assert!(!format!("{one:?}{}", one.id()).contains("0123456789abcdef"));
        assert_eq!(Mask::parse("hmac:short"), Err(BadMask::ShortKey));
        for wrong in ["", "md5", "keep-last:", "keep-last:x", "hmac"] {
            assert_eq!(Mask::parse(wrong), Err(BadMask::Unknown), "{wrong}");
        }
    }
}
