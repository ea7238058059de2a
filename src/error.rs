//! The errors, divided by who must act.
//!
//! Each error says what failed, on what (stream, table, file, URL without its secrets), and, if it is known, how to fix it.
//! The cause stays attached and is printed once, in `main`. No error contains a cell value or a secret.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A boxed cause.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// An error with its causes, in one line.
pub(crate) fn in_one_line(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, how to fix it, and the cause.
#[derive(Debug, Clone)]
pub struct Details {
    what: String,
    remedy: Option<String>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
    lasts: Lasts,
    kind: Kind,
}

/// The resource that ran out, if acequia itself can react.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// No such resource.
    #[default]
    Other,
    /// The memory that the destination may use.
    OutOfMemory,
    /// The space on the destination's disk.
    DiskFull,
    /// The patience of whoever holds the destination's files: the same may succeed in a moment.
    Storage,
    /// The life of a secret: another may be taken.
    Secret,
}

/// Whether the same operation would fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Lasts {
    /// It fails until people fix the cause, or until something else is requested.
    #[default]
    Always,
    /// It fails until the other side works again: the error does not concern the request.
    ForNow,
    /// It fails until another process releases what was requested.
    UntilReleased,
}

/// Every error, by who must act.
#[derive(Debug, Clone)]
pub enum Error {
    /// The command line or `acequia.toml` is wrong: its author must act.
    Config(Details),
    /// The source refuses, is absent or broke the connection: the source's operator must act.
    Source(Details),
    /// A value or a schema cannot be copied exactly: the stream's owner must act.
    Data(Details),
    /// The landing area failed: the operator of its storage must act.
    Landing(Details),
    /// A landed load's files differ from its manifest: nobody must act, as the next run reads its rows again.
    Damaged(Details),
    /// The destination failed: its operator must act.
    Destination(Details),
    /// The run was stopped on request. Nothing is lost: the next run continues.
    Interrupted,
    /// An invariant of acequia was violated: its developers must act.
    Internal(Details),
}

impl Error {
    /// An error of the command line or of the configuration.
    pub fn config(what: impl Into<String>) -> Self {
        Self::Config(Details::new(what))
    }

    /// An error of a source.
    pub fn source(what: impl Into<String>) -> Self {
        Self::Source(Details::new(what))
    }

    /// An error of a value or schema that cannot be copied exactly.
    pub fn data(what: impl Into<String>) -> Self {
        Self::Data(Details::new(what))
    }

    /// An error of the landing area.
    pub fn landing(what: impl Into<String>) -> Self {
        Self::Landing(Details::new(what))
    }

    /// An error of a landed load whose files differ from its manifest.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(Details::new(what))
    }

    /// An error of a destination.
    pub fn destination(what: impl Into<String>) -> Self {
        Self::Destination(Details::new(what))
    }

    /// An error of a violated invariant of acequia.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal(Details::new(what))
    }

    /// Sets the remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.remedy = Some(remedy.into());
        }
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Cause>) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.cause = Some(Arc::from(cause.into()));
        }
        self
    }

    /// Puts the subject before the message: `stream ventas: …`.
    #[must_use]
    pub fn context(mut self, subject: impl fmt::Display) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.what = format!("{subject}: {}", fault.what);
        }
        self
    }

    /// Marks the error as one that does not concern the request: a full disk, a lost connection, a missing privilege.
    #[must_use]
    pub fn for_now(mut self) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.lasts = Lasts::ForNow;
        }
        self
    }

    /// Marks the error as one that ends when another process releases what was requested.
    #[must_use]
    pub fn until_released(mut self) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.lasts = Lasts::UntilReleased;
        }
        self
    }

    /// Sets the resource that ran out.
    #[must_use]
    pub(crate) fn of_kind(mut self, kind: Kind) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.kind = kind;
        }
        self
    }

    /// The resource that ran out.
    pub(crate) fn kind(&self) -> Kind {
        self.fault().map_or(Kind::Other, |fault| fault.kind)
    }

    /// Whether the error ends when another process releases what was requested.
    pub fn ends_when_released(&self) -> bool {
        let lasts = self.fault().map(|fault| fault.lasts);
        lasts == Some(Lasts::UntilReleased)
    }

    /// Whether the error ends when the other side works again, and does not concern the request.
    pub fn passes(&self) -> bool {
        let lasts = self.fault().map(|fault| fault.lasts);
        lasts == Some(Lasts::ForNow)
    }

    /// Whether the error concerns the load itself, so that the load would fail again.
    pub fn refuses_load(&self) -> bool {
        let of_the_load = match self {
            Self::Config(_) | Self::Data(_) | Self::Destination(_) | Self::Internal(_) => true,
            Self::Source(_) | Self::Landing(_) | Self::Damaged(_) | Self::Interrupted => false,
        };
        let lasts = self.fault().map(|fault| fault.lasts);
        of_the_load && lasts == Some(Lasts::Always)
    }

    /// Who must act, in a word: `config`, `source`, `data`, `landing`, `damaged`, `destination`, `interrupted` or `internal`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Source(_) => "source",
            Self::Data(_) => "data",
            Self::Landing(_) => "landing",
            Self::Damaged(_) => "damaged",
            Self::Destination(_) => "destination",
            Self::Interrupted => "interrupted",
            Self::Internal(_) => "internal",
        }
    }

    /// The remedy, if it is known.
    pub fn remedy_text(&self) -> Option<&str> {
        self.fault().and_then(|fault| fault.remedy.as_deref())
    }

    /// The error, its causes and the remedy, as a text of several lines.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.contains(&line) {
                text.push_str("\n  because: ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        if let Some(remedy) = self.remedy_text() {
            text.push_str("\n  remedy: ");
            text.push_str(&remedy.replace('\n', "\n          "));
        }
        text
    }

    fn fault(&self) -> Option<&Details> {
        match self {
            Self::Config(fault)
            | Self::Source(fault)
            | Self::Data(fault)
            | Self::Landing(fault)
            | Self::Damaged(fault)
            | Self::Destination(fault)
            | Self::Internal(fault) => Some(fault),
            Self::Interrupted => None,
        }
    }

    fn fault_mut(&mut self) -> Option<&mut Details> {
        match self {
            Self::Config(fault)
            | Self::Source(fault)
            | Self::Data(fault)
            | Self::Landing(fault)
            | Self::Damaged(fault)
            | Self::Destination(fault)
            | Self::Internal(fault) => Some(fault),
            Self::Interrupted => None,
        }
    }
}

impl Details {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: None,
            cause: None,
            lasts: Lasts::default(),
            kind: Kind::default(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Internal(fault) => write!(f, "a fault in acequia itself: {}", fault.what),
            Self::Config(fault)
            | Self::Source(fault)
            | Self::Data(fault)
            | Self::Landing(fault)
            | Self::Damaged(fault)
            | Self::Destination(fault) => f.write_str(&fault.what),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.fault()
            .and_then(|fault| fault.cause.as_deref())
            .map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_subject_the_cause_and_the_remedy() {
        let error = Error::source("cannot connect to localhost:5432")
            .cause(std::io::Error::other("connection refused"))
            .remedy("start the server")
            .context("stream ventas");
        assert_eq!(
            error.report(),
            "stream ventas: cannot connect to localhost:5432\n  because: connection refused\n  remedy: start the server"
        );
    }
}
