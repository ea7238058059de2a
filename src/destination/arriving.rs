//! A load that is applied while its extract still runs: its parts come one by one, and its manifest after the last of them.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;

/// What comes of a load.
enum Arrival {
    Part(PathBuf),
    Sealed(Box<Manifest>),
}

/// The parts that come, and at last the manifest.
#[derive(Debug)]
pub struct Arriving {
    arrivals: Mutex<Receiver<Arrival>>,
    sealed: OnceLock<Manifest>,
}

/// The other end. If it is dropped before the load is [sealed](Self::seal), the load fails without changes.
#[derive(Debug)]
pub(crate) struct Arrivals {
    sender: Sender<Arrival>,
}

impl Arriving {
    /// A load that nothing has come of yet.
    pub(crate) fn new() -> (Arrivals, Self) {
        let (sender, arrivals) = channel();
        let arriving = Self {
            arrivals: Mutex::new(arrivals),
            sealed: OnceLock::new(),
        };
        (Arrivals { sender }, arriving)
    }

    /// The next part, once it has come. `None` once the load is sealed. Blocks.
    ///
    /// # Errors
    /// [`Error::Internal`] if no more will come, as the extract failed.
    pub(crate) fn next(&self) -> Result<Option<PathBuf>> {
        if self.sealed.get().is_some() {
            return Ok(None);
        }
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        match arrivals.recv() {
            Ok(Arrival::Part(file)) => Ok(Some(file)),
            Ok(Arrival::Sealed(manifest)) => {
                // There is one seal.
                let _ = self.sealed.set(*manifest);
                Ok(None)
            }
            Err(_) => Err(Error::internal(
                "the extract of the load has not ended well",
            )),
        }
    }

    /// The manifest, once all parts were read.
    ///
    /// # Errors
    /// [`Error::Internal`] before that.
    pub(crate) fn manifest(&self) -> Result<&Manifest> {
        self.sealed
            .get()
            .ok_or_else(|| Error::internal("a load is used up before its parts were read"))
    }
}

impl Arrivals {
    /// Hands over a part whose checksum was verified.
    pub(crate) fn part(&self, file: PathBuf) {
        self.send(Arrival::Part(file));
    }

    /// Hands over the manifest, which has been published.
    pub(crate) fn seal(self, manifest: Manifest) {
        self.send(Arrival::Sealed(Box::new(manifest)));
    }

    /// A load that was given up needs nothing more.
    fn send(&self, arrival: Arrival) {
        let _ = self.sender.send(arrival);
    }
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Part(_) => "Part",
            Self::Sealed(_) => "Sealed",
        })
    }
}
