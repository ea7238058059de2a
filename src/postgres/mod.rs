//! What source and destination share about PostgreSQL: connecting, quoting, its epoch, and rows of COPY as Arrow batches.

pub mod batch;
pub mod binary;
pub mod connection;
pub(crate) mod copy;
mod login;
pub mod protocol_error;
mod tls;
mod transport;
pub mod wire;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;

/// An identifier, quoted.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal, quoted, for a session with `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
