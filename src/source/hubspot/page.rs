//! The common structure of HubSpot's answers: pages of records, cursors, and errors. No I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::DateTime;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::Flaw;
use crate::error::{Error, Result};

/// A page of records, or of what else a batch is asked for. Values may point into the answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The records.
    pub results: Vec<T>,
    #[serde(default = "Option::default")]
    paging: Option<Paging>,
    #[serde(default = "Option::default")]
    status: Option<String>,
    #[serde(default = "Option::default")]
    num_errors: Option<u64>,
    #[serde(default = "Option::default")]
    errors: Option<BatchErrors>,
}

/// A record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    /// Its id, as text or as a number.
    #[serde(borrow)]
    pub id: &'a RawValue,
    /// When it was made.
    #[serde(borrow, default)]
    pub created_at: Option<&'a RawValue>,
    /// When it was last changed.
    #[serde(borrow, default)]
    pub updated_at: Option<&'a RawValue>,
    /// Whether it is archived; live records of some objects do not have this.
    #[serde(borrow, default)]
    pub archived: Option<&'a RawValue>,
    /// When it was archived.
    #[serde(borrow, default)]
    pub archived_at: Option<&'a RawValue>,
    /// Its properties.
    #[serde(borrow, default)]
    pub properties: Properties<'a>,
}

/// A record's properties, in the order of the answer.
#[derive(Debug, Default)]
pub struct Properties<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

/// A key, which is copied only if it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A page of records of which only ids and times are read.
#[derive(Debug, Deserialize)]
pub struct IdPage {
    /// The records.
    pub results: Vec<IdHead>,
    /// The cursor of the next page.
    #[serde(default)]
    pub paging: Option<Paging>,
}

/// A list's entry for a record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdHead {
    /// Its id, as text.
    pub id: String,
    /// When it was last changed.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// When it was archived.
    #[serde(default)]
    pub archived_at: Option<String>,
}

/// What a page has besides its records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageEnd {
    /// The cursor of the next page. `None` on the last.
    pub after: Option<String>,
    /// The number of records, including those that were not admitted.
    pub records: usize,
    /// The highest id among them.
    pub highest: u64,
    /// The ids that were requested and do not exist.
    pub missing: Vec<u64>,
}

/// The link to the next page. The last page has none, or an empty one.
#[derive(Debug, Deserialize)]
pub struct Paging {
    #[serde(default)]
    next: Option<NextPage>,
}

#[derive(Debug, Deserialize)]
struct NextPage {
    #[serde(default)]
    after: Option<NumberOrText>,
}

/// An id or a cursor: a text by the documentation, and a number in some answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Written")]
pub struct NumberOrText(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

/// The errors of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<BatchError>")]
pub struct BatchErrors {
    /// The ids that do not exist (any more), which is no error.
    missing: Vec<u64>,
    /// Another error: the answer is not complete.
    failure: Option<String>,
    /// How many there are.
    count: usize,
}

#[derive(Deserialize)]
struct BatchError {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    context: Option<Box<RawValue>>,
}

/// The states of a batch that HubSpot has not done, or not to the end (schema `BatchResponse` of its API).
const UNDONE: [&str; 3] = ["PENDING", "PROCESSING", "CANCELED"];
/// The most letters of an error's message that are told.
const TOLD: usize = 200;

impl<T> Page<T> {
    /// Refuses a batch that says of itself that it is not whole.
    ///
    /// # Errors
    /// [`Flaw::Incomplete`].
    pub fn check_whole(&self) -> Result<(), Flaw> {
        let errors = self.errors.as_ref();
        if let Some(failure) = errors.and_then(|errors| errors.failure.as_ref()) {
            return Err(Flaw::Incomplete(failure.clone()));
        }
        let status = self.status.as_deref();
        if let Some(status) = status.filter(|status| UNDONE.contains(status)) {
            return Err(Flaw::Incomplete(format!("its status is {status}")));
        }
        match self.num_errors {
            Some(count @ 1..) if errors.is_none_or(|errors| errors.count == 0) => Err(
                Flaw::Incomplete(format!("it counts {count} error(s) and names none")),
            ),
            _ => Ok(()),
        }
    }

    /// What the page has besides its records; `highest` is the highest id.
    pub fn end(self, highest: u64) -> PageEnd {
        PageEnd {
            after: self
                .paging
                .as_ref()
                .and_then(Paging::after)
                .map(str::to_owned),
            records: self.results.len(),
            highest,
            missing: self.errors.unwrap_or_default().missing,
        }
    }
}

impl IdHead {
    /// A record of which only the id is known.
    pub fn of(id: u64) -> Self {
        Self {
            id: id.to_string(),
            updated_at: None,
            archived_at: None,
        }
    }

    /// The id.
    pub fn number(&self) -> Result<u64> {
        self.id
            .parse()
            .map_err(|_| Error::data("HubSpot gave a record whose id is no number"))
    }

    /// Whether it was changed or archived at or after that time, milliseconds since 1970. A record without times counts as
    /// changed.
    pub fn is_since(&self, since: i64) -> bool {
        if self.updated_at.is_none() {
            return true;
        }
        [&self.updated_at, &self.archived_at]
            .into_iter()
            .flatten()
            .any(|time| {
                DateTime::parse_from_rfc3339(time)
                    .map_or(true, |time| time.timestamp_millis() >= since)
            })
    }
}

impl Paging {
    /// The cursor of the next page.
    pub fn after(&self) -> Option<&str> {
        let after = self.next.as_ref()?.after.as_ref()?;
        Some(&after.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Properties<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Properties<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Key(name), value)) = map.next_entry()? {
                    pairs.push((name, value));
                }
                Ok(Properties(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

impl From<Written> for NumberOrText {
    fn from(written: Written) -> Self {
        Self(match written {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        })
    }
}

impl From<Vec<BatchError>> for BatchErrors {
    fn from(errors: Vec<BatchError>) -> Self {
        let mut all = Self {
            count: errors.len(),
            ..Self::default()
        };
        for error in errors {
            let category = error.category.unwrap_or_default();
            if category != "OBJECT_NOT_FOUND" {
                let message = error.message.unwrap_or_default();
                let message: String = message.chars().take(TOLD).collect();
                all.failure = Some(format!("it reports {category}: {message}"));
                continue;
            }
            let context: BTreeMap<String, Vec<String>> = error
                .context
                .and_then(|context| serde_json::from_str(context.get()).ok())
                .unwrap_or_default();
            let ids = context.values().flatten();
            all.missing
                .extend(ids.filter_map(|id| id.parse::<u64>().ok()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_since_when_it_was_changed_or_archived() {
        let head = IdHead {
            id: "1".to_owned(),
            updated_at: Some("2026-01-01T00:00:00Z".to_owned()),
            archived_at: Some("2026-01-02T00:00:00.000Z".to_owned()),
        };
        let time = |text: &str| {
            DateTime::parse_from_rfc3339(text)
                .unwrap()
                .timestamp_millis()
        };
        assert!(head.is_since(time("2026-01-02T00:00:00Z")));
        assert!(!head.is_since(time("2026-01-02T00:00:01Z")));
    }
}
