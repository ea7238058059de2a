//! Queries that people write, and whose rows are handed on as JSON. No I/O of its own.

use serde_json::value::RawValue;

use crate::error::{Error, Result};

use super::SqlEngine;

/// The alias of a query that people wrote, as a relation.
pub(crate) const QUERY: &str = "_acequia_query";

/// A query that people wrote, as a relation. Its own line ends a comment at its end.
pub(crate) fn relation(query: &str) -> String {
    format!("({query}\n) AS {QUERY}")
}

/// A database that runs queries which people wrote.
pub(crate) trait QueryEngine: SqlEngine {
    /// Has unqualified names looked up in these schemas, in their order, as far as they exist, until the transaction ends.
    fn look_in(&mut self, schemas: &[&str]) -> Result<()>;

    /// The rows of a query, each as a JSON object in a text. It is refused if it is not one SELECT, or writes.
    fn select_json(&mut self, query: &str) -> Result<Vec<String>>;
}

/// The rows of a query, each a JSON object.
///
/// # Errors
/// The query is not one SELECT, or fails.
pub(crate) fn rows_as_json(
    engine: &mut dyn QueryEngine,
    query: &str,
    schemas: &[&str],
) -> Result<Vec<Box<RawValue>>> {
    engine.look_in(schemas)?;
    let rows = engine.select_json(query).map_err(of_a_query)?;
    rows.into_iter()
        .map(|row| {
            RawValue::from_string(finite(row)).map_err(|_| {
                Error::destination("a row of the query could not be written as JSON").remedy(
                    "give each column a name of its own, and cast values of unusual types to text",
                )
            })
        })
        .collect()
}

/// What a load is told of a value does not help whoever wrote a query.
fn of_a_query(error: Error) -> Error {
    match error {
        Error::Data(_) => error
            .remedy("correct the query, so that it casts, divides and compares only what it can"),
        error => error,
    }
}

/// Writes numbers that JSON does not have as texts, as PostgreSQL does: DuckDB writes `NaN`, `Infinity` and `-Infinity`.
fn finite(row: String) -> String {
    const NONE: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !NONE.iter().any(|none| row.contains(none)) {
        return row;
    }
    let mut written = String::with_capacity(row.len());
    let (mut rest, mut in_text) = (row.as_str(), false);
    while let Some(letter) = rest.chars().next() {
        let none = NONE.iter().find(|none| rest.starts_with(**none));
        if let Some(none) = none.filter(|_| !in_text) {
            written.push('"');
            written.push_str(none);
            written.push('"');
            rest = rest.get(none.len()..).unwrap_or_default();
            continue;
        }
        let escape = in_text && letter == '\\';
        let length = letter.len_utf8() + usize::from(escape);
        if letter == '"' {
            in_text = !in_text;
        }
        let (taken, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        written.push_str(taken);
        rest = after;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_texts_and_texts_stay() {
        for (row, expected) in [
            (
                r#"{"a":NaN,"b":[1,-Infinity]}"#,
                r#"{"a":"NaN","b":[1,"-Infinity"]}"#,
            ),
            (
                r#"{"NaN":"NaN","b":Infinity}"#,
                r#"{"NaN":"NaN","b":"Infinity"}"#,
            ),
            (
                r#"{"a":"\"NaN","b":"x\\","c":NaN}"#,
                r#"{"a":"\"NaN","b":"x\\","c":"NaN"}"#,
            ),
            (r#"{"a":"ñ Infinity"}"#, r#"{"a":"ñ Infinity"}"#),
        ] {
            assert_eq!(finite(row.to_owned()), expected);
        }
    }
}
