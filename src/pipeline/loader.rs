//! The destination's thread. Destinations block; the asynchronous pipeline sends them requests over a channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::wait::{PARTING, given_up_after_a_stop};
use crate::config::{self, Pipeline};
use crate::destination::{self, Destination, Interrupter, Reads};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::lease::Lease;
use crate::names::{DestinationId, StreamName};

/// The interval at which a destination that another process holds is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// The same, if each attempt takes requests to an object store.
const LEASE_PAUSE: Duration = Duration::from_secs(2);
/// How long a wait lasts before a message says so.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a request goes on before it is asked whether somebody hinders it, and how long after that was told.
const HINDRANCE: Duration = Duration::from_secs(5);
const HINDRANCE_AGAIN: Duration = Duration::from_mins(1);

type Request = Box<dyn FnOnce(&mut dyn Destination) + Send>;

/// A destination on a thread of its own. It is cheap to clone. The thread closes the destination and ends when it is
/// released, or when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Loader {
    shared: Arc<Shared>,
    id: DestinationId,
    reads: Reads,
    loads_ahead: bool,
}

struct Shared {
    place: Place,
    /// This token is cancelled to stop the run. A destination that is closed by then stays closed.
    stop: CancellationToken,
    open: Mutex<Option<Open>>,
    /// The destination's interrupter. It is not behind the lock, which is held as long as the destination is being opened.
    interrupter: std::sync::Mutex<Option<Interrupter>>,
    /// How many holds keep the destination open.
    holds: Arc<()>,
}

/// Which destination, for whom.
struct Place {
    pipeline: StreamName,
    destination: config::Destination,
    dataset: String,
    /// The schema of the models, if the pipeline has any.
    models: Option<String>,
    /// Where the lease is kept of a destination that cannot be locked.
    landing: Landing,
}

struct Open {
    requests: mpsc::Sender<Request>,
    id: DestinationId,
    reads: Reads,
    loads_ahead: bool,
    interrupter: Interrupter,
    warnings: Vec<String>,
    thread: JoinHandle<()>,
    lease: Option<Lease>,
}

/// Keeps the destination open, so that no other run can open it. Every writer to the landing area has a hold: another run
/// would take a folder without a manifest for the remains of a dead run.
#[derive(Debug)]
pub(super) struct Hold {
    _held: Arc<()>,
}

impl Loader {
    /// Opens the destination, for reading and writing. Returns its warnings as well.
    ///
    /// If another process has the destination open, this method waits as long as the destination's `wait` says.
    pub(super) async fn open(
        pipeline: &Pipeline,
        landing: &Landing,
        stop: &CancellationToken,
    ) -> Result<(Self, Vec<String>)> {
        let waited_for = Error::ends_when_released;
        let place = Place {
            pipeline: pipeline.name.clone(),
            destination: pipeline.destination.clone(),
            dataset: pipeline.dataset.clone(),
            models: pipeline
                .models
                .as_ref()
                .map(|models| models.dataset.clone()),
            landing: landing.clone(),
        };
        let mut open = Open::patiently(&place, stop, waited_for).await?;
        let warnings = std::mem::take(&mut open.warnings);
        let loader = Self {
            id: open.id.clone(),
            reads: open.reads,
            loads_ahead: open.loads_ahead,
            shared: Arc::new(Shared {
                place,
                stop: stop.clone(),
                interrupter: std::sync::Mutex::new(Some(Arc::clone(&open.interrupter))),
                open: Mutex::new(Some(open)),
                holds: Arc::default(),
            }),
        };
        Ok((loader, warnings))
    }

    /// The destination's id.
    pub(super) fn id(&self) -> &DestinationId {
        &self.id
    }

    /// Where the destination reads a load's parts.
    pub(super) fn reads(&self) -> Reads {
        self.reads
    }

    /// The schema of the pipeline's models, if it has any.
    pub(super) fn models(&self) -> Option<&str> {
        self.shared.place.models.as_deref()
    }

    /// Whether the destination can apply a load whose parts still come.
    pub(super) fn loads_ahead(&self) -> bool {
        self.loads_ahead
    }

    /// Interrupts the destination, without changes. Never waits.
    pub(super) fn interrupt(&self) {
        if let Some(interrupter) = self.interrupter().as_ref() {
            interrupter();
        }
    }

    /// Says, for as long as it is polled, who or what keeps the destination from doing what it was asked. Never ends.
    pub(super) async fn tell_hindrances(&self) -> std::convert::Infallible {
        let mut pause = HINDRANCE;
        loop {
            tokio::time::sleep(pause).await;
            let (destination, dataset) = (
                self.shared.place.destination.clone(),
                self.shared.place.dataset.clone(),
            );
            let name = destination.name.clone();
            let looked =
                tokio::task::spawn_blocking(move || destination::hindrance(&destination, &dataset));
            let what = match looked.await {
                Ok(Ok(Some(what))) => what,
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(None)) | Err(_) => continue,
            };
            tracing::warn!("still waiting for the destination `{name}`: {what}");
            pause = HINDRANCE_AGAIN;
        }
    }

    fn interrupter(&self) -> std::sync::MutexGuard<'_, Option<Interrupter>> {
        let interrupter = self.shared.interrupter.lock();
        interrupter.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Keeps the destination open for the lifetime of the returned hold. If it was released, it is opened again.
    pub(super) async fn hold(&self) -> Result<Hold> {
        let held = Arc::clone(&self.shared.holds);
        self.requests().await?;
        Ok(Hold { _held: held })
    }

    /// Queues a request to the destination, and awaits its result. If the destination was released, it is opened again.
    pub(super) async fn call<T, F>(&self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Destination) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let request: Request = Box::new(move |destination| {
            let _ = answer.send(request(destination));
        });
        let requests = self.requests().await?;
        requests.send(request).await.map_err(|_| ended())?;
        drop(requests);
        answered.await.map_err(|_| ended())?
    }

    /// As [`call`](Self::call), for what may take long: says what keeps the destination from doing it, and interrupts it at a
    /// stop, without changes.
    pub(super) async fn call_until<T, F>(&self, stop: &CancellationToken, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Destination) -> Result<T> + Send + 'static,
    {
        let mut doing = Box::pin(self.call(request));
        tokio::select! {
            done = &mut doing => done,
            never = self.tell_hindrances() => match never {},
            () = stop.cancelled() => {
                self.interrupt();
                doing.await
            }
        }
    }

    async fn requests(&self) -> Result<mpsc::Sender<Request>> {
        let mut open = self.shared.open.lock().await;
        if let Some(open) = open.as_ref() {
            if let Some(lease) = &open.lease {
                lease.check()?;
            }
            return Ok(open.requests.clone());
        }
        let Shared { place, stop, .. } = self.shared.as_ref();
        // The destination could be opened a moment ago, so another process is the cause.
        let waited_for = |error: &Error| matches!(error, Error::Destination(_));
        let again = Open::patiently(place, stop, waited_for).await?;
        if again.id != self.id {
            return Err(
                Error::destination("another destination stands where this run's was")
                    .remedy("run again"),
            );
        }
        let requests = again.requests.clone();
        *self.interrupter() = Some(Arc::clone(&again.interrupter));
        *open = Some(again);
        if stop.is_cancelled() {
            self.interrupt();
        }
        Ok(requests)
    }

    /// Closes the destination, so that others can open it, unless a hold keeps it open. The next call opens it again.
    pub(super) async fn release(&self) -> Result<()> {
        let mut open = self.shared.open.lock().await;
        if Arc::strong_count(&self.shared.holds) > 1 {
            return Ok(());
        }
        let closing = open.take();
        *self.interrupter() = None;
        drop(open);
        let Some(open) = closing else {
            return Ok(());
        };
        match self.shared.place.destination.target {
            config::Target::DuckDb { .. } => open.close().await,
            // A server may be frozen. The connection ends with the process, and what was not committed is rolled back.
            config::Target::Postgres { .. } | config::Target::Iceberg(_) => {
                let closed = given_up_after_a_stop(&self.shared.stop, PARTING, open.close()).await;
                match closed {
                    Err(Error::Interrupted) => Ok(()),
                    closed => closed,
                }
            }
        }
    }
}

impl Open {
    /// Opens the destination. If another process holds it, tries again as long as the destination's `wait` says.
    async fn patiently(
        place: &Place,
        stop: &CancellationToken,
        waited_for: impl Fn(&Error) -> bool,
    ) -> Result<Self> {
        let wait = place.destination.wait;
        let pause = if place.destination.target.locks_itself() {
            PAUSE
        } else {
            LEASE_PAUSE
        };
        let began = Instant::now();
        let mut told = false;
        loop {
            if stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let opened = tokio::select! {
                opened = Self::open(place) => opened,
                () = stop.cancelled() => return Err(Error::Interrupted),
            };
            let error = match opened {
                Err(error) if waited_for(&error) => error,
                opened => return opened,
            };
            if wait.is_zero() {
                return Err(error);
            }
            let waited = began.elapsed();
            if waited >= wait {
                let remedy = error.remedy_text().unwrap_or("run again").to_owned();
                let seconds = wait.as_secs();
                return Err(error.remedy(format!(
                    "{remedy}. It was waited for {seconds} s: `wait` of the destination says how long"
                )));
            }
            if !told && waited >= SILENCE {
                told = true;
                let seconds = wait.saturating_sub(waited).as_secs();
                tracing::warn!("waiting for the destination, {seconds} s more at most: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Err(Error::Interrupted),
            }
        }
    }

    async fn close(self) -> Result<()> {
        drop(self.requests);
        let closed = self.thread.await.map_err(|error| {
            Error::internal("the destination's thread ended unexpectedly").cause(error)
        });
        if let Some(lease) = self.lease {
            lease.release().await;
        }
        closed
    }

    /// Opens the destination, once no other run can have it.
    async fn open(place: &Place) -> Result<Self> {
        let lease = if place.destination.target.locks_itself() {
            None
        } else {
            let taken = place
                .landing
                .lease(&place.pipeline, &place.destination.name);
            Some(taken.await?)
        };
        match Self::open_held(place).await {
            Ok(open) => Ok(Self { lease, ..open }),
            Err(error) => {
                if let Some(lease) = lease {
                    lease.release().await;
                }
                Err(error)
            }
        }
    }

    async fn open_held(place: &Place) -> Result<Self> {
        let (requests, mut inbox) = mpsc::channel::<Request>(1);
        let (opened, is_open) = oneshot::channel();
        let destination = place.destination.clone();
        let dataset = place.dataset.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let mut destination = match destination::open(&destination, &dataset) {
                Ok(destination) => destination,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok((
                destination.id().clone(),
                destination.reads(),
                destination.loads_ahead(),
                destination.interrupter(),
                destination.warnings(),
            )));
            while let Some(request) = inbox.blocking_recv() {
                request(destination.as_mut());
            }
            destination.finish();
        });
        let (id, reads, loads_ahead, interrupter, warnings) =
            is_open.await.map_err(|_| ended())??;
        Ok(Self {
            requests,
            id,
            reads,
            loads_ahead,
            interrupter,
            warnings,
            thread,
            lease: None,
        })
    }
}

fn ended() -> Error {
    Error::internal("the destination's thread ended")
}
