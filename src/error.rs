//! What can go wrong, cut by who must act.
//!
//! Each error says what failed and on what (stream, table, file, URL without its secrets), and, where there is one,
//! how to fix it. The cause stays attached and is printed once, in `main`. No cell value and no secret is put here.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A boxed cause.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, how to fix it, and why it failed.
#[derive(Debug, Clone)]
pub struct Details {
    what: String,
    remedy: Option<String>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
    lasts: Lasts,
    kind: Kind,
}

/// What ran out, where acequia itself does something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Nothing of the kind.
    #[default]
    Other,
    /// The memory that the destination may use.
    OutOfMemory,
    /// The destination's disk.
    DiskFull,
    /// The patience of whoever holds the destination's files: the same may succeed in a moment.
    Storage,
}

/// Whether what failed would fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Lasts {
    /// As long as nobody fixes it, or what was asked for is another.
    #[default]
    Always,
    /// Until whoever was asked is in order again: it says nothing of what was asked for.
    ForNow,
    /// Until somebody else lets go.
    UntilReleased,
}

/// Every failure, by who must act on it.
#[derive(Debug, Clone)]
pub enum Error {
    /// The command line or `acequia.toml`: whoever wrote it.
    Config(Details),
    /// The source refuses, is absent or broke off: whoever runs the source.
    Source(Details),
    /// A value or a schema that cannot be carried exactly: whoever owns the stream.
    Data(Details),
    /// The landing area: whoever runs its storage.
    Landing(Details),
    /// A landed load whose files are not what its manifest says: nobody, for the next run reads its rows anew.
    Damaged(Details),
    /// The destination: whoever runs it.
    Destination(Details),
    /// Stopped on request. Nothing is lost: the next run takes it up.
    Interrupted,
    /// A broken promise inside acequia: its developers.
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

    /// A value or schema that cannot be carried exactly.
    pub fn data(what: impl Into<String>) -> Self {
        Self::Data(Details::new(what))
    }

    /// An error of the landing area.
    pub fn landing(what: impl Into<String>) -> Self {
        Self::Landing(Details::new(what))
    }

    /// A landed load whose files are not what its manifest says.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(Details::new(what))
    }

    /// An error of a destination.
    pub fn destination(what: impl Into<String>) -> Self {
        Self::Destination(Details::new(what))
    }

    /// A broken promise inside acequia.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal(Details::new(what))
    }

    /// Adds how to fix it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.remedy = Some(remedy.into());
        }
        self
    }

    /// Adds why it failed.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Cause>) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.cause = Some(Arc::from(cause.into()));
        }
        self
    }

    /// Puts what it happened on before what happened: `stream ventas: …`.
    #[must_use]
    pub fn context(mut self, subject: impl fmt::Display) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.what = format!("{subject}: {}", fault.what);
        }
        self
    }

    /// Marks it as one that says nothing of what was asked for: a full disk, a lost connection, a right that is missing.
    #[must_use]
    pub fn for_now(mut self) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.lasts = Lasts::ForNow;
        }
        self
    }

    /// Marks it as one that ends when somebody else lets go.
    #[must_use]
    pub fn until_released(mut self) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.lasts = Lasts::UntilReleased;
        }
        self
    }

    /// Says what ran out.
    #[must_use]
    pub(crate) fn of_kind(mut self, kind: Kind) -> Self {
        if let Some(fault) = self.fault_mut() {
            fault.kind = kind;
        }
        self
    }

    /// What ran out.
    pub(crate) fn kind(&self) -> Kind {
        self.fault().map_or(Kind::Other, |fault| fault.kind)
    }

    /// Whether it ends when somebody else lets go of what was asked for.
    pub fn ends_when_released(&self) -> bool {
        let lasts = self.fault().map(|fault| fault.lasts);
        lasts == Some(Lasts::UntilReleased)
    }

    /// Whether a load met with it because of what the load is, so that it would meet with it again.
    pub fn refuses_load(&self) -> bool {
        let of_the_load = match self {
            Self::Config(_) | Self::Data(_) | Self::Destination(_) | Self::Internal(_) => true,
            Self::Source(_) | Self::Landing(_) | Self::Damaged(_) | Self::Interrupted => false,
        };
        let lasts = self.fault().map(|fault| fault.lasts);
        of_the_load && lasts == Some(Lasts::Always)
    }

    /// How to fix it, where that is known.
    pub fn remedy_text(&self) -> Option<&str> {
        self.fault().and_then(|fault| fault.remedy.as_deref())
    }

    /// The chain of causes and the remedy, as one text of several lines.
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
