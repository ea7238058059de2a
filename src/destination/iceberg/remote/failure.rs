//! What an engine says of a failure, as an error of acequia. Its messages quote values, and are left out but for the class in
//! brackets that they begin with, and what names tables and files. No I/O.

use crate::destination::duckdb::error::INFINITE;
use crate::error::{Error, Kind};

/// How much of a message is told, in characters.
const MOST_WORDS: usize = 200;
/// What messages say of a commit that met another: nothing was done.
const CONFLICTS: [&str; 6] = [
    "Iceberg commit failed: reference",
    "commit conflict",
    "Commit conflict",
    "CommitFailedException",
    "Requirement failed",
    "Unknown Iceberg ref",
];
/// What they say where the engine's object storage or catalog does not answer, or what became of a commit is not known.
const OUTSIDE: [&str; 10] = [
    "CommitStateUnknown",
    "error sending request",
    "Connection refused",
    "connection closed",
    "Generic S3 error",
    "ServiceFailureException",
    "timed out",
    "HTTP error",
    "Failed to commit",
    "reqwest",
];
/// Classes that say that a value could not be taken.
const OF_VALUES: [&str; 12] = [
    "CAST_",
    "NUMERIC_",
    "ARITHMETIC_",
    "DATETIME_",
    "DIVIDE_",
    "NumberFormat",
    "Arithmetic",
    "DateTime",
    "Cannot cast",
    "Cast error",
    "Parser error",
    "Overflow",
];

/// What an engine at an address said, with its class where it told one. The code is gRPC's.
pub(super) fn of_engine(
    address: &str,
    class: Option<&str>,
    code: Option<i32>,
    message: &str,
) -> Error {
    if let Some((_, column)) = message.split_once(INFINITE) {
        let end = column.find(['\n', '\r', '\'', '"', ';']);
        let column = column
            .get(..end.unwrap_or(column.len()))
            .unwrap_or_default()
            .trim();
        return Error::data(format!(
            "column `{column}` has a date or time that is infinite, or out of the years 1 to 9999 that Spark has"
        ))
        .remedy(format!(
            "keep it as text: `{column} = \"text\"` under [streams.STREAM.types]; or leave such rows out with `where`"
        ));
    }
    let says = |words: &[&str]| {
        words
            .iter()
            .any(|word| message.contains(word) || class.is_some_and(|class| class.contains(word)))
    };
    let class = class.map(str::to_owned).or_else(|| bracketed(message));
    let named = class
        .as_ref()
        .map_or_else(String::new, |class| format!(" [{class}]"));
    if says(&[
        "OPERATION_CANCELED",
        "was canceled",
        "operation canceled",
        "INTERRUPTED",
    ]) || code == Some(1)
    {
        // A stop of acequia's own is seen before.
        return Error::destination(format!(
            "the engine at {address} gave up what it was asked{named}"
        ))
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("see whether it is shutting down, or somebody canceled the statement: the next run goes on from here");
    }
    match code {
        // UNAVAILABLE, DEADLINE_EXCEEDED, and UNKNOWN of a connection that broke.
        Some(14 | 4) => return unreachable(address).cause(transport(message)),
        Some(2) if says(&["transport error", "h2 protocol error", "connection"]) => {
            return unreachable(address).cause(transport(message));
        }
        // UNAUTHENTICATED, PERMISSION_DENIED.
        Some(16 | 7) => {
            return Error::destination(format!("the engine at {address} does not take what it is shown"))
                .for_now()
                .of_kind(Kind::Secret)
                .remedy("correct `token` in `engine` of the destination, or `engine_token_command`, and see that its user may write the tables");
        }
        _ => {}
    }
    if says(&CONFLICTS) {
        return Error::destination(format!(
            "the table changed while the engine at {address} wrote it{named}"
        ))
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("run again; keep others from writing tables of acequia's");
    }
    if says(&[
        "TABLE_OR_VIEW_NOT_FOUND",
        "NoSuchTable",
        "SCHEMA_NOT_FOUND",
        "CATALOG_NOT_FOUND",
        "REQUIRES_SINGLE_PART_NAMESPACE",
    ]) {
        return Error::destination(format!(
            "the engine at {address} does not find the table that the catalog has{named}"
        ))
        .for_now()
        .remedy("name the catalog as the engine calls it with `engine_catalog` of the destination, and see that it is the same one");
    }
    if says(&OUTSIDE) {
        return Error::destination(format!(
            "the engine at {address} could not reach its catalog or its storage{named}"
        ))
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("see the engine's own log, and that it can reach the catalog, the warehouse's files and the landing area");
    }
    if says(&["CARDINALITY_VIOLATION"]) {
        return Error::data(format!("two rows of the load have the same key{named}"))
            .remedy("name columns that are unique together with `primary_key`");
    }
    if says(&OF_VALUES) {
        return Error::data(format!(
            "the engine at {address} could not take a value{named} (its message may show the value and is left out)"
        ))
        .remedy("give the column another type under [streams.STREAM.types], or leave it out with `exclude`");
    }
    Error::destination(format!("the engine at {address} failed{named}"))
        .for_now()
        .remedy("see the engine's own log: its messages may show values and are left out here")
}

/// What is said of an engine that does not answer.
pub(super) fn unreachable(address: &str) -> Error {
    Error::destination(format!("the engine at {address} cannot be reached"))
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("see whether it is up, and to `engine` of the destination and the network between: the next run goes on from here")
}

/// What the transport says has no value in it.
fn transport(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(MOST_WORDS).collect()
}

/// The class of an error that stands in brackets at the begin of its message.
fn bracketed(message: &str) -> Option<String> {
    let start = message.find('[')?;
    let rest = message.get(start + 1..)?;
    let (class, _) = rest.split_once(']')?;
    let is_class = !class.is_empty()
        && class.chars().all(|letter| {
            letter.is_ascii_uppercase() || letter.is_ascii_digit() || "_.".contains(letter)
        });
    is_class.then(|| class.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_engines_message_only_its_class_is_told() {
        let error = of_engine(
            "sc://spark:15002",
            None,
            None,
            "[CAST_INVALID_INPUT] The value 'secreto' of the type \"STRING\" cannot be cast",
        );
        let report = error.report();
        assert!(
            report.contains("[CAST_INVALID_INPUT]") && !report.contains("secreto"),
            "{report}"
        );
        assert!(matches!(error, Error::Data(_)));
    }

    #[test]
    fn a_lost_engine_says_nothing_of_the_load() {
        let error = of_engine("sc://spark:15002", None, Some(14), "transport error");
        assert!(!error.refuses_load() && error.kind() == Kind::Storage);
    }

    /// An engine that shuts down cancels what it is at. Nobody has stopped the run.
    #[test]
    fn what_an_engine_gives_up_by_itself_is_no_stop_of_the_run() {
        for (class, code, message) in [
            (None, Some(1), "cancelled"),
            (
                Some("OPERATION_CANCELED"),
                None,
                "[OPERATION_CANCELED] It was canceled.",
            ),
        ] {
            let error = of_engine("sc://sail:50051", class, code, message);
            assert!(!error.refuses_load() && error.kind() == Kind::Storage);
            let report = error.report();
            assert!(report.contains("sc://sail:50051 gave up"), "{report}");
        }
    }

    #[test]
    fn a_commit_that_met_another_is_begun_anew() {
        let error = of_engine(
            "sc://sail:50051",
            None,
            None,
            "Iceberg commit failed: reference 'main' expected snapshot Some(1) but found Some(2)",
        );
        assert_eq!(error.kind(), Kind::Storage);
    }
}
