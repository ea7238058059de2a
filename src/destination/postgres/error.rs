//! Translates PostgreSQL's errors for a destination, without cell values.
//!
//! Messages of the classes 22 (data exception) and 23 (integrity violation) quote values (manual, appendix A): of these
//! errors, only the condition and the names outside of the message are kept. Other messages contain names, sizes and
//! privileges.

use postgres::error::{DbError, SqlState};

use crate::error::Error;
use crate::postgres::connection::{condition, message_of};

use super::dialect::OWN_INDEX;

/// What the server says, as an error of acequia.
pub(super) fn from_postgres(error: &postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        let gone = error.is_closed() || format!("{error:?}").contains("kind: Io");
        return if gone {
            Error::destination("the connection to the destination's server was lost")
                .remedy(
                    "see the server's log, and run again: what was not committed is loaded then, and nothing comes twice",
                )
                .for_now()
        } else {
            Error::internal("PostgreSQL's answer could not be read").cause(error.to_string())
        };
    };
    match db.code().code().get(..2) {
        Some("22") => of_a_value(db),
        Some("23") => of_a_constraint(db),
        _ => of_the_server(db),
    }
}

/// Whether a statement was cancelled, by the interrupter or another.
pub(super) fn is_cancelled(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::QUERY_CANCELED)
}

fn of_a_value(db: &DbError) -> Error {
    let code = db.code().code();
    Error::data(format!(
        "PostgreSQL could not take a value: {} (SQLSTATE {code}; its message may show the value and is left out)",
        condition(code)
    ))
    .remedy("give the column another type under [streams.STREAM.types], or leave it out with `exclude`")
}

fn of_a_constraint(db: &DbError) -> Error {
    let constraint = db.constraint().unwrap_or_default();
    if constraint.starts_with(OWN_INDEX) {
        return Error::data("a key comes more than once, though the source says that it does not")
            .remedy(
                "name columns that are unique together with `primary_key` for [streams.STREAM]",
            );
    }
    let name = match (constraint, db.column()) {
        ("", Some(column)) => format!("of the column `{column}` "),
        ("", None) => String::new(),
        (constraint, _) => format!("`{constraint}` "),
    };
    Error::destination(format!(
        "a constraint or unique index {name}refuses a row (SQLSTATE {})",
        db.code().code()
    ))
    .remedy(
        "the table has a constraint or a unique index that acequia did not make: drop it, or fix the source's rows",
    )
}

fn of_the_server(db: &DbError) -> Error {
    let code = db.code();
    let what = match message_of(db) {
        Some(message) => format!("PostgreSQL failed: {message}"),
        None => "a function or trigger of the database failed (its message may show a value and is left out)".to_owned(),
    };
    let error = Error::destination(what);
    let error = if is_for_now(code) {
        error.for_now()
    } else {
        error
    };
    let cause = format!("SQLSTATE {}", code.code());
    // The detail names what depends on what.
    let error = match db.detail() {
        Some(detail)
            if code == &SqlState::DEPENDENT_OBJECTS_STILL_EXIST
                || code == &SqlState::FEATURE_NOT_SUPPORTED =>
        {
            error.cause(format!("{detail} ({cause})"))
        }
        _ => error.cause(cause),
    };
    match remedy(code) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// Whether it says nothing of the load: the connection, the server's means, its administrator, a lock, a right.
pub(super) fn is_for_now(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    ["08", "25", "28", "40", "53", "55", "57", "58", "XX"].contains(&class)
        || *code == SqlState::INSUFFICIENT_PRIVILEGE
}

fn remedy(code: &SqlState) -> Option<&'static str> {
    let remedies: [(&SqlState, &str); 15] = [
        (
            &SqlState::INSUFFICIENT_PRIVILEGE,
            "give the destination's user the right: `acequia check` says which GRANT it takes",
        ),
        (
            &SqlState::READ_ONLY_SQL_TRANSACTION,
            "give the destination's `url` a server that takes writes: not a standby (target_session_attrs=read-write \
             looks for the other)",
        ),
        (
            &SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            "drop the view or other object that depends on the column, run again, and create it anew",
        ),
        (
            &SqlState::FEATURE_NOT_SUPPORTED,
            "drop the view or other object that depends on the column, run again, and create it anew",
        ),
        (
            &SqlState::DISK_FULL,
            "free disk space on the destination's server, and run again",
        ),
        (
            &SqlState::OUT_OF_MEMORY,
            "give the destination's server more memory, or lower its work_mem, and run again",
        ),
        (
            &SqlState::QUERY_CANCELED,
            "see who cancelled the statement, or the time-outs set for the destination's user, and run again",
        ),
        (
            &SqlState::LOCK_NOT_AVAILABLE,
            "see who holds the table (pg_locks), or raise lock_timeout of the destination's user, and run again",
        ),
        (&SqlState::T_R_DEADLOCK_DETECTED, "run again"),
        (
            &SqlState::RAISE_EXCEPTION,
            "a trigger or rule of the destination's table refuses its rows: see the server's log for what it says, and drop \
             or correct it",
        ),
        (
            &SqlState::PROGRAM_LIMIT_EXCEEDED,
            "the key, or a column that has an index, holds a value too long for one (2,700 bytes): choose another key with \
             `primary_key`, or drop the index",
        ),
        (
            &SqlState::TOO_MANY_COLUMNS,
            "take fewer columns: 1,600 at most, with `columns` or `exclude` for [streams.STREAM]",
        ),
        (
            &SqlState::ADMIN_SHUTDOWN,
            "run again once the server is up: nothing that was loaded is lost, and nothing comes twice",
        ),
        (
            &SqlState::CRASH_SHUTDOWN,
            "run again once the server is up: nothing that was loaded is lost, and nothing comes twice",
        ),
        (
            &SqlState::CANNOT_CONNECT_NOW,
            "run again once the server is up: nothing that was loaded is lost, and nothing comes twice",
        ),
    ];
    remedies
        .into_iter()
        .find(|(known, _)| *known == code)
        .map(|(_, remedy)| remedy)
}
