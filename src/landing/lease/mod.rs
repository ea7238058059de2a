//! One run at a time into a destination that cannot be locked itself: a lease beside the streams' folders.
//!
//! ```text
//! <landing>/<pipeline>/_lease-<destination>.json
//! ```
//!
//! In a folder the file is locked by the operating system, which lets go of it when the process ends. In an object store the
//! object says who holds the lease. It is made by put-if-absent, and whoever renews it or takes it over names the version
//! (`ETag`) that he has seen; so of two only one succeeds. A holder that was not heard of for long enough is taken to be dead:
//! by the store's own clock, as those of machines differ and are set back. One of this machine whose process has ended is
//! known to be.
//!
//! A lease is no fence: a holder that was stopped and goes on may write before it learns that it lost the lease. What a
//! destination commits must not depend on it. What depends on it is that a folder without a manifest is a dead run's.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutPayload, PutResult, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::process::Process;
use super::{Landing, blocking};
use crate::error::{Error, Result};
use crate::names::StreamName;

/// The most bytes of a note that are read.
const MAX_NOTE: u64 = 1 << 16;
/// How often another may be quicker before that is taken for a fault.
const TRIES: usize = 8;

/// How long a lease is good for.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// How often its holder renews it.
    renewal: Duration,
    /// How long it is good for without that; after it the holder itself takes it for lost.
    length: Duration,
    /// How much longer others wait before they take it over.
    grace: Duration,
}

const TERMS: Terms = Terms {
    renewal: Duration::from_secs(20),
    length: Duration::from_mins(1),
    grace: Duration::from_mins(1),
};

/// A lease that is held. It is given back when dropped; [`Lease::release`] waits until it is.
#[derive(Debug)]
pub struct Lease {
    place: String,
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    /// The lock goes with the file.
    File(File),
    Object {
        /// Cancelled when another may have the lease.
        lost: CancellationToken,
        /// Has the renewal end, and give the lease back.
        stop: DropGuard,
        renewal: JoinHandle<()>,
    },
}

/// What the object, or the file, says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Who holds the lease; none where it was given back.
    holder: Option<Holder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// Drawn for each time that the lease is taken.
    id: String,
    process: Process,
    since: DateTime<Utc>,
    /// A version of the object is told by its content, so no two have the same.
    renewals: u64,
}

/// A note as it was found, with what must be named to replace it.
struct Found {
    /// None where it cannot be read, as one of a later acequia or of somebody else's.
    note: Option<Note>,
    version: UpdateVersion,
    modified: DateTime<Utc>,
}

/// The object of a lease.
#[derive(Clone)]
struct Object {
    landing: Landing,
    path: Path,
}

impl Landing {
    /// Takes the lease on a destination, given by its name in the configuration.
    ///
    /// # Errors
    /// [`Error::Destination`], which ends when released, where another run holds it; [`Error::Landing`] where the landing area
    /// cannot be written to, or knows neither locks nor conditional writes.
    pub async fn lease(&self, pipeline: &StreamName, destination: &str) -> Result<Lease> {
        self.lease_on(pipeline, destination, TERMS).await
    }

    async fn lease_on(
        &self,
        pipeline: &StreamName,
        destination: &str,
        terms: Terms,
    ) -> Result<Lease> {
        let name = format!("_lease-{destination}.json");
        let path = Path::from_iter([pipeline.as_str(), &name]);
        let place = self.describe_file(&path);
        let hold = if self.folder.is_some() {
            self.lock(&path, destination).await?
        } else {
            let object = Object {
                landing: self.clone(),
                path,
            };
            object.take(destination, terms).await?
        };
        Ok(Lease { place, hold })
    }

    /// Locks the file, which stays when the lock goes: a lock on a file that another removes would lock nobody out.
    async fn lock(&self, path: &Path, destination: &str) -> Result<Hold> {
        let Some(folder) = &self.folder else {
            return Err(Error::internal("a lock outside a folder"));
        };
        self.refuse_links(path)?;
        let file = folder.path(path);
        let locked = blocking(move || lock_file(&file)).await?;
        match locked.map_err(|error| self.io_fault("cannot lock", path, error))? {
            Ok(file) => Ok(Hold::File(file)),
            Err(note) => {
                let holder = note.and_then(|note| note.holder);
                let remedy = match &holder {
                    Some(holder) => format!(
                        "wait until it ends, or end process {}, and run again: a destination takes one run at a time",
                        holder.process.id()
                    ),
                    None => {
                        "wait until it ends, and run again: a destination takes one run at a time"
                            .to_owned()
                    }
                };
                Err(held(destination, holder.as_ref(), "").remedy(remedy))
            }
        }
    }
}

impl Lease {
    /// Whether it is still held, as far as is known.
    ///
    /// # Errors
    /// [`Error::Landing`] where another may have it by now.
    pub fn check(&self) -> Result<()> {
        match &self.hold {
            Hold::Object { lost, .. } if lost.is_cancelled() => Err(Error::landing(format!(
                "this run lost its lease {}: it could not renew it in time, or another took it over",
                self.place
            ))
            .remedy(
                "run again, once no other run goes on; nothing was lost. If it happens again, see whether this machine was \
                 stopped or cut off from the landing area for a minute",
            )
            .for_now()),
            Hold::Object { .. } | Hold::File(_) => Ok(()),
        }
    }

    /// Gives it back.
    pub async fn release(self) {
        match self.hold {
            Hold::File(file) => {
                // What it says would only be out of date.
                file.set_len(0).ok();
            }
            Hold::Object { stop, renewal, .. } => {
                drop(stop);
                renewal.await.ok();
            }
        }
    }
}

impl Object {
    /// Takes the lease where it is free, or its holder is dead.
    async fn take(self, destination: &str, terms: Terms) -> Result<Hold> {
        let mut holder = Holder::this();
        for _ in 0..TRIES {
            let asked = Instant::now();
            let create = self.put(Some(&holder), PutMode::Create).await;
            let replaced = match create {
                Ok(version) => return Ok(self.hold(holder, version, asked, terms)),
                Err(object_store::Error::AlreadyExists { .. }) => match self.found().await? {
                    Some(found) => found,
                    // It was removed meanwhile.
                    None => continue,
                },
                // It may have been carried out all the same.
                Err(error) => match self.found().await {
                    Ok(Some(found)) if found.is(&holder) => found,
                    _ => return Err(self.fault("cannot take the lease", error)),
                },
            };
            if replaced.is(&holder) {
                // The answer was lost.
                return Ok(self.hold(holder, replaced.version, asked, terms));
            }
            if let Some(error) = self.refusal(&replaced, destination, terms).await? {
                return Err(error);
            }
            holder.renewals += 1;
            let update = PutMode::Update(replaced.version);
            match self.put(Some(&holder), update).await {
                Ok(version) => return Ok(self.hold(holder, version, asked, terms)),
                // Another was quicker, or it was ourselves: that is seen when it is looked at again.
                Err(error) if is_outdated(&error) => {}
                Err(error) => return Err(self.fault("cannot take over the lease", error)),
            }
        }
        Err(held(destination, None, "").remedy("run again"))
    }

    /// Why the lease that was found is not to be taken over; none where it is.
    async fn refusal(
        &self,
        found: &Found,
        destination: &str,
        terms: Terms,
    ) -> Result<Option<Error>> {
        let holder = match &found.note {
            Some(Note { holder: None }) => return Ok(None),
            Some(Note {
                holder: Some(holder),
            }) => Some(holder),
            None => None,
        };
        if holder.is_some_and(|holder| holder.process.has_ended()) {
            return Ok(None);
        }
        let age = self.landing.now().await? - found.modified;
        let patience = terms.length + terms.grace;
        if age > TimeDelta::from_std(patience).unwrap_or(TimeDelta::MAX) {
            tracing::warn!(
                "taking over {}, which was not renewed for {} s",
                self.landing.describe_file(&self.path),
                age.num_seconds()
            );
            return Ok(None);
        }
        let renewed = format!(", renewed {} s ago", age.num_seconds().max(0));
        Ok(Some(held(destination, holder, &renewed).remedy(format!(
            "wait until it ends, and run again: a destination takes one run at a time. If it was killed, its lease can be had \
             {} s after it was last renewed; if it is certain that nothing runs there any more, remove {}",
            patience.as_secs(),
            self.landing.describe_file(&self.path)
        ))))
    }

    /// Holds the lease from now on.
    fn hold(self, holder: Holder, version: UpdateVersion, renewed: Instant, terms: Terms) -> Hold {
        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let renewal = Renewal {
            object: self,
            holder,
            version,
            renewed,
            terms,
        };
        Hold::Object {
            renewal: tokio::spawn(renewal.run(stop.clone(), lost.clone())),
            stop: stop.drop_guard(),
            lost,
        }
    }

    async fn put(
        &self,
        holder: Option<&Holder>,
        mode: PutMode,
    ) -> object_store::Result<UpdateVersion> {
        let note = Note {
            holder: holder.cloned(),
        };
        let bytes = serde_json::to_vec(&note).map_err(|error| object_store::Error::Generic {
            store: "lease",
            source: Box::new(error),
        })?;
        let PutResult { e_tag, version, .. } = self
            .landing
            .store
            .put_opts(&self.path, PutPayload::from(bytes), mode.into())
            .await?;
        Ok(UpdateVersion { e_tag, version })
    }

    async fn found(&self) -> Result<Option<Found>> {
        let found = match self.landing.store.get(&self.path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.fault("cannot read the lease", error)),
        };
        let meta = found.meta.clone();
        let note = if meta.size > MAX_NOTE {
            None
        } else {
            let bytes = found.bytes().await;
            let bytes = bytes.map_err(|error| self.fault("cannot read the lease", error))?;
            serde_json::from_slice(&bytes).ok()
        };
        Ok(Some(Found {
            note,
            version: UpdateVersion {
                e_tag: meta.e_tag,
                version: meta.version,
            },
            modified: meta.last_modified,
        }))
    }

    fn fault(&self, what: &str, error: object_store::Error) -> Error {
        let unknown = matches!(
            error,
            object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }
        );
        let fault = self.landing.fault(what, &self.path, error);
        if unknown {
            fault.remedy(
                "take an object store with conditional writes (If-None-Match and If-Match) for the landing area, and do not \
                 switch them off (AWS_CONDITIONAL_PUT): one run at a time is ensured by them",
            )
        } else {
            fault
        }
    }
}

/// What keeps a lease alive.
struct Renewal {
    object: Object,
    holder: Holder,
    version: UpdateVersion,
    /// When the last renewal that succeeded was sent.
    renewed: Instant,
    terms: Terms,
}

impl Renewal {
    /// Renews the lease until it is to stop, and then gives it back; or until it is lost, and says so.
    async fn run(mut self, stop: CancellationToken, lost: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(self.terms.renewal) => {}
            }
            let ends = self.renewed + self.terms.length;
            let renewed = timeout_at(ends, self.renew());
            let renewed = tokio::select! {
                () = stop.cancelled() => break,
                renewed = renewed => renewed,
            };
            match renewed {
                Ok(Ok(true)) => {}
                Ok(Err(error)) if Instant::now() < ends => {
                    tracing::warn!("the lease could not be renewed: {}", error.report());
                }
                Ok(Ok(false) | Err(_)) | Err(_) => {
                    lost.cancel();
                    return;
                }
            }
        }
        let given_back = PutMode::Update(self.version);
        let given_back = self.object.put(None, given_back);
        let ended = timeout_at(Instant::now() + self.terms.length, given_back).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "the lease could not be given back");
        }
    }

    /// Renews it once; false where it is another's.
    async fn renew(&mut self) -> Result<bool> {
        let sent = Instant::now();
        self.holder.renewals += 1;
        let update = PutMode::Update(self.version.clone());
        match self.object.put(Some(&self.holder), update).await {
            Ok(version) => self.version = version,
            Err(error) if is_outdated(&error) => {
                // A renewal whose answer was lost has made another version, which is ours.
                match self.object.found().await? {
                    Some(found) if found.is(&self.holder) => self.version = found.version,
                    _ => return Ok(false),
                }
            }
            Err(error) => return Err(self.object.fault("cannot renew", error)),
        }
        self.renewed = sent;
        Ok(true)
    }
}

impl Found {
    fn is(&self, holder: &Holder) -> bool {
        let found = self.note.as_ref().and_then(|note| note.holder.as_ref());
        found.is_some_and(|found| found.id == holder.id)
    }
}

impl Holder {
    fn this() -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            process: Process::this(),
            since: Utc::now().trunc_subsecs(0),
            renewals: 0,
        }
    }
}

/// Locks a file, and notes who does; or gives what its holder noted.
fn lock_file(path: &std::path::Path) -> std::io::Result<Result<File, Option<Note>>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {
            let note = Note {
                holder: Some(Holder::this()),
            };
            file.set_len(0)?;
            file.write_all(&serde_json::to_vec(&note)?)?;
            Ok(Ok(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut note = Vec::new();
            file.take(MAX_NOTE).read_to_end(&mut note)?;
            Ok(Err(serde_json::from_slice(&note).ok()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether what was to be replaced is no longer what was seen.
fn is_outdated(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::Precondition { .. }
            | object_store::Error::NotFound { .. }
            | object_store::Error::AlreadyExists { .. }
    )
}

fn held(destination: &str, holder: Option<&Holder>, renewed: &str) -> Error {
    let who = match holder {
        Some(holder) => format!(
            ": {}, since {} UTC{renewed}",
            holder.process,
            holder.since.format("%Y-%m-%d %H:%M:%S")
        ),
        None => renewed.replacen(", ", ": ", 1),
    };
    Error::destination(format!(
        "another run holds the destination {destination}{who}"
    ))
    .until_released()
}

#[cfg(test)]
mod tests;
