//! The errors of acequia's own connection to PostgreSQL.

use std::io;

use super::connection::{ANOTHER_ALTERS_IT, REPLAY_ENDED_A_READ, condition, holds_no_value};
use crate::error::Error;

/// An error of the protocol's connection.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The server reported an error.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The connection broke.
    #[error("the connection to the server was lost")]
    Io(#[from] io::Error),
    /// The server violated the protocol.
    #[error("the server sent what the protocol does not have here: {0}")]
    Protocol(&'static str),
}

/// An error that the server reported.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message, or only the kind of error if the message may contain a cell's value.
    pub message: String,
}

/// A result of the protocol's connection.
pub(crate) type ProtocolResult<T> = std::result::Result<T, ProtocolError>;

/// Parses an error message of the server (manual, section 55.8). A message that may contain a value is omitted.
pub(crate) fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError {
        code: String::new(),
        message: "an unknown failure".to_owned(),
    };
    let (mut routine, mut context) = (None, None);
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else {
            continue;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'R' => routine = Some(text),
            b'W' => context = Some(text),
            _ => {}
        }
    }
    if !holds_no_value(&error.code, routine.as_deref(), context.as_deref()) {
        error.message = format!(
            "the server reports {}; its message may show a value and is left out",
            condition(&error.code)
        );
    }
    error
}

impl ProtocolError {
    /// The SQLSTATE that the server reports.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            Self::Io(_) | Self::Protocol(_) => None,
        }
    }

    /// The error for a run, with its remedy.
    pub fn told(self, what: &str, place: &str) -> Error {
        let fault = Error::source(format!("{what} (PostgreSQL at {place})"));
        let remedy = match (&self, self.code()) {
            (_, Some("55006")) => {
                "wait until the other run ends, or stop it: a replication slot has one reader at a time"
            }
            (_, Some("53400")) => {
                "drop a slot that nothing reads (SELECT slot_name, active FROM pg_replication_slots), or raise \
                 max_replication_slots and max_wal_senders and restart the server"
            }
            (_, Some("42501")) => {
                "give the source's user the right that is missing: `acequia check` names each, as ALTER ROLE … REPLICATION"
            }
            (_, Some("28P01" | "28000")) => {
                "see the user and password in the source's `url`, and that pg_hba.conf lets the user in"
            }
            (_, Some("55P03")) => ANOTHER_ALTERS_IT,
            (_, Some("40001")) => REPLAY_ENDED_A_READ,
            (_, Some("55000")) => "`acequia check` tells what replication needs of the server",
            (Self::Io(error), _) if error.kind() == io::ErrorKind::TimedOut => {
                "see whether the server hangs, or a proxy before it; raise connect_timeout in the source's `url` where it \
                 only is slow"
            }
            (Self::Io(_), _) => {
                "see the server's log, and run again: nothing that was loaded is lost, and nothing comes twice"
            }
            (_, Some("57P01" | "57P02" | "57P03")) => {
                "run again once the server is up: nothing that was loaded is lost, and nothing comes twice"
            }
            _ => "",
        };
        let gave_way = self.code() == Some("55P03");
        let fault = fault.cause(self);
        let fault = if gave_way {
            fault.until_released()
        } else {
            fault
        };
        if remedy.is_empty() {
            fault
        } else {
            fault.remedy(remedy)
        }
    }
}
