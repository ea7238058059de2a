//! Translates DuckDB's errors, without cell values.
//!
//! A message of DuckDB begins with its kind, as in `Conversion Error: Could not convert string '…'`. Messages about files,
//! names and memory are kept, to the end of their first line (the next lines quote the SQL); of other messages only the
//! kind is kept.

use crate::error::{Error, Kind};

/// What the operating system says of a full disk, within DuckDB's message.
const NO_SPACE: &str = "No space left on device";

/// Begins the message of an error that a statement raises where it meets an infinite date or time; the column's name follows.
pub(in crate::destination) const INFINITE: &str = "_acequia_infinite ";

/// Statuses of HTTP by which a request is refused, and would be again.
const REFUSED: [&str; 4] = ["400", "401", "403", "404"];

/// What DuckDB says of memory that it could not have, within the message of a commit that failed for it.
const NO_MEMORY: [&str; 4] = [
    "Out of Memory",
    "could not allocate block",
    "failed to pin block",
    "failed to allocate data",
];

/// What helps where files on the web cannot be read or written.
const STORAGE: &str = "see to the object storage: the credentials that the catalog vends, or AWS_ACCESS_KEY_ID, \
     AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL, their rights to the warehouse's files, and the network";

/// Kinds whose messages name files, tables, columns or sizes, and never a value.
const SAFE: [&str; 12] = [
    "IO",
    "HTTP",
    "Out of Memory",
    "Catalog",
    "Binder",
    "Dependency",
    "Permission",
    "Not implemented",
    "Missing Extension",
    "Invalid Configuration",
    "Resource In Use",
    "Data Corruption",
];

/// Kinds that say that a value could not be taken.
const OF_VALUES: [&str; 7] = [
    "Conversion",
    "Out of Range",
    "Invalid Input",
    "Invalid type",
    "Mismatch Type",
    "Decimal",
    "Object Size",
];

/// Kinds that say nothing of the load, as a lack of memory does: the disk or the file is not in order.
const FOR_NOW: [&str; 7] = [
    "IO",
    "HTTP",
    "FATAL",
    "INTERNAL",
    "Data Corruption",
    "Resource In Use",
    "Connection",
];

/// What DuckDB says, as an error of acequia.
pub(in crate::destination) fn from_duckdb(error: duckdb::Error) -> Error {
    let duckdb::Error::DuckDBFailure(_, Some(message)) = error else {
        return Error::internal("DuckDB's answer could not be read");
    };
    let kind = kind(&message);
    if kind == "INTERRUPT" {
        return Error::Interrupted;
    }
    if let Some((_, column)) = message.split_once(INFINITE) {
        let column = column.lines().next().unwrap_or_default();
        return Error::data(format!(
            "column `{column}` has an infinite date or time, which the destination's tables cannot hold"
        ))
        .remedy(format!(
            "keep it as text: `{column} = \"text\"` under [streams.STREAM.types]; or leave such rows out with `where`"
        ));
    }
    if OF_VALUES.contains(&kind) {
        return Error::data(format!(
            "DuckDB could not take a value ({kind} Error; its message may show the value and is left out)"
        ))
        .remedy("give the column another type under [streams.STREAM.types], or leave it out with `exclude`");
    }
    let error = Error::destination(format!("DuckDB failed ({kind} Error)"));
    let is_of_memory = is_of_memory(kind, &message);
    let error = if FOR_NOW.contains(&kind) || is_of_memory {
        error.for_now()
    } else {
        error
    };
    let error = error.of_kind(if is_of_memory {
        Kind::OutOfMemory
    } else if message.contains(NO_SPACE) {
        Kind::DiskFull
    } else if is_of_storage(kind, &message) && !is_refused(&message) {
        Kind::Storage
    } else {
        Kind::Other
    });
    let error = match safe(&message) {
        Some(line) => error.cause(line),
        None => error,
    };
    match remedy(kind, &message) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// DuckDB's own message. It may contain a cell value.
pub(in crate::destination) fn message(error: &duckdb::Error) -> Option<&str> {
    match error {
        duckdb::Error::DuckDBFailure(_, message) => message.as_deref(),
        _ => None,
    }
}

/// Whether DuckDB lacked memory, for a statement or for a commit.
fn is_of_memory(kind: &str, message: &str) -> bool {
    let is_of_commit = ["TransactionContext", "FATAL"].contains(&kind);
    kind == "Out of Memory" || (is_of_commit && NO_MEMORY.iter().any(|says| message.contains(says)))
}

/// Whether DuckDB tells of files that it reads or writes by way of the web.
fn is_of_storage(kind: &str, message: &str) -> bool {
    let requests = ["HTTP PUT", "HTTP GET", "HTTP HEAD", "HTTP POST"];
    kind == "HTTP" || requests.iter().any(|request| message.contains(request))
}

/// Whether the storage refused a request. Names of files and ports may hold the same digits, so the words before count.
fn is_refused(message: &str) -> bool {
    REFUSED.iter().any(|code| {
        ["HTTP ", "HTTP code "]
            .iter()
            .any(|words| message.contains(&format!("{words}{code}")))
    })
}

/// The kind of a message: the text before ` Error: `.
pub(in crate::destination) fn kind(message: &str) -> &str {
    match message.split_once(" Error: ") {
        Some((kind, _)) if kind.len() <= 24 => kind,
        _ => "unnamed",
    }
}

/// A message's first line, where its kind cannot hold a value.
pub(in crate::destination) fn safe(message: &str) -> Option<String> {
    SAFE.contains(&kind(message))
        .then(|| message.lines().next().unwrap_or_default().to_owned())
}

fn remedy(kind: &str, message: &str) -> Option<&'static str> {
    match kind {
        _ if is_of_memory(kind, message) => Some(
            "raise `memory_limit` of the destination, or free disk space beside its file, where DuckDB puts what does not \
             fit into memory",
        ),
        // Of files that DuckDB reads or writes by way of the web: those of a lake.
        _ if is_of_storage(kind, message) => Some(STORAGE),
        "IO" if message.contains(NO_SPACE) => {
            Some("free disk space beside the destination's file, then run again")
        }
        // At the commit, where the index was made in the transaction.
        "TransactionContext" if message.contains("constraint") => remedy("Constraint", message),
        "Constraint" => Some(
            "the table has a constraint or a unique index that acequia did not make: drop it, or fix the source's rows",
        ),
        "Dependency" | "Catalog" if message.contains("depend") => {
            Some("drop the index or other object that depends on the table, then run again")
        }
        "FATAL" | "INTERNAL" | "Data Corruption" => Some(
            "run again; if it comes back, check the file with the DuckDB command line (`PRAGMA verify_checkpoint`, or \
             EXPORT DATABASE) and restore it from a copy, or let acequia fill a new one",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_lacks_memory_says_nothing_of_the_load() {
        let of = |message: &str| {
            let failure = duckdb::ffi::Error::new(1);
            from_duckdb(duckdb::Error::DuckDBFailure(
                failure,
                Some(message.to_owned()),
            ))
        };
        for message in [
            "Out of Memory Error: could not allocate block of size 256.0 KiB (95.9 MiB/96.0 MiB used)",
            "TransactionContext Error: Failed to commit: failed to pin block of size 256.0 KiB (95.9 MiB/96.0 MiB used)",
            "FATAL Error: Failed to commit: Out of Memory Error: failed to allocate data of size 16.0 MiB",
        ] {
            let error = of(message);
            assert_eq!(error.kind(), Kind::OutOfMemory, "{message}");
            assert!(!error.refuses_load(), "{message}");
            assert!(error.report().contains("`memory_limit`"), "{message}");
        }
        let other = of(
            "TransactionContext Error: Failed to commit: PRIMARY KEY or UNIQUE constraint violation",
        );
        assert_eq!(other.kind(), Kind::Other);
    }

    #[test]
    fn a_request_is_refused_by_its_status_and_not_by_digits_in_an_address() {
        let of = |status: &str| {
            format!(
                "HTTP Error: HTTP GET error reading 'http://127.0.0.1:40037/lake/401-403/404.parquet' ({status})"
            )
        };
        for status in ["HTTP 403 Forbidden", "HTTP 404 Not Found", "HTTP code 401"] {
            assert!(is_refused(&of(status)), "{status}");
        }
        for status in ["HTTP 503 Service Unavailable", "HTTP code 500"] {
            assert!(!is_refused(&of(status)), "{status}");
        }
    }
}
