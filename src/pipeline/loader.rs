//! The destination's thread. Destinations block; the pipeline is asynchronous and hands them its requests over a channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::wait::{PARTING, given_up_after_a_stop};
use crate::config;
use crate::destination::{self, Destination, Interrupter};
use crate::error::{Error, Result};
use crate::names::DestinationId;

/// How long one that others hold is looked at again after.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a wait goes on before it is told.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a request goes on before it is asked whether somebody hinders it, and how long after that was told.
const HINDRANCE: Duration = Duration::from_secs(5);
const HINDRANCE_AGAIN: Duration = Duration::from_mins(1);

type Request = Box<dyn FnOnce(&mut dyn Destination) + Send>;

/// A destination on a thread of its own. Cheap to clone; the thread closes the destination and ends when it is released, or
/// when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Loader {
    shared: Arc<Shared>,
    id: DestinationId,
}

struct Shared {
    destination: config::Destination,
    dataset: String,
    /// Cancelled to stop the run. What is closed then stays closed.
    stop: CancellationToken,
    open: Mutex<Option<Open>>,
    /// What ends what the destination does. Not behind the lock, which is held for as long as it is opened again.
    interrupter: std::sync::Mutex<Option<Interrupter>>,
    /// As many as keep it from being closed.
    holds: Arc<()>,
}

struct Open {
    requests: mpsc::Sender<Request>,
    id: DestinationId,
    interrupter: Interrupter,
    warnings: Vec<String>,
    thread: JoinHandle<()>,
}

/// Keeps the destination open, and with it every other run out. Whoever writes to the landing area has one: what has no
/// manifest there is, to another run, what a dead one left.
#[derive(Debug)]
pub(super) struct Hold {
    _held: Arc<()>,
}

impl Loader {
    /// Opens the destination, for reading and writing. Tells as well what is to be known of it.
    ///
    /// Whoever has it open is waited for, for as long as the destination's `wait` says.
    pub(super) async fn open(
        destination: &config::Destination,
        dataset: &str,
        stop: &CancellationToken,
    ) -> Result<(Self, Vec<String>)> {
        let waited_for = Error::ends_when_released;
        let mut open = Open::patiently(destination, dataset, stop, waited_for).await?;
        let warnings = std::mem::take(&mut open.warnings);
        let loader = Self {
            id: open.id.clone(),
            shared: Arc::new(Shared {
                destination: destination.clone(),
                dataset: dataset.to_owned(),
                stop: stop.clone(),
                interrupter: std::sync::Mutex::new(Some(Arc::clone(&open.interrupter))),
                open: Mutex::new(Some(open)),
                holds: Arc::default(),
            }),
        };
        Ok((loader, warnings))
    }

    /// What tells this destination from others.
    pub(super) fn id(&self) -> &DestinationId {
        &self.id
    }

    /// Ends what the destination is doing, with nothing changed. Never waits.
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
            let (destination, dataset) =
                (self.shared.destination.clone(), self.shared.dataset.clone());
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

    /// Keeps the destination open for as long as what this returns lives. Where it was released, it is opened again.
    pub(super) async fn hold(&self) -> Result<Hold> {
        let held = Arc::clone(&self.shared.holds);
        self.requests().await?;
        Ok(Hold { _held: held })
    }

    /// Has the destination do something, after what it is asked already. Where it was released, it is opened again.
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

    async fn requests(&self) -> Result<mpsc::Sender<Request>> {
        let mut open = self.shared.open.lock().await;
        if let Some(open) = open.as_ref() {
            return Ok(open.requests.clone());
        }
        let Shared {
            destination,
            dataset,
            stop,
            ..
        } = self.shared.as_ref();
        // It was there a moment ago: what hinders now, others did.
        let waited_for = |error: &Error| matches!(error, Error::Destination(_));
        let again = Open::patiently(destination, dataset, stop, waited_for).await?;
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

    /// Closes the destination, for others to open it meanwhile, unless it is held. The next call opens it again.
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
        match self.shared.destination.target {
            config::Target::DuckDb { .. } => open.close().await,
            // A server may be frozen. The connection ends with the process, and the server then undoes what was not committed.
            config::Target::Postgres { .. } => {
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
    /// Opens the destination; where that fails with what is to be waited for, again and again, for as long as it says.
    async fn patiently(
        destination: &config::Destination,
        dataset: &str,
        stop: &CancellationToken,
        waited_for: impl Fn(&Error) -> bool,
    ) -> Result<Self> {
        let began = Instant::now();
        let mut told = false;
        loop {
            if stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let opened = tokio::select! {
                opened = Self::open(destination, dataset) => opened,
                () = stop.cancelled() => return Err(Error::Interrupted),
            };
            let error = match opened {
                Err(error) if waited_for(&error) => error,
                opened => return opened,
            };
            if destination.wait.is_zero() {
                return Err(error);
            }
            let waited = began.elapsed();
            if waited >= destination.wait {
                let remedy = error.remedy_text().unwrap_or("run again").to_owned();
                let seconds = destination.wait.as_secs();
                return Err(error.remedy(format!(
                    "{remedy}. It was waited for {seconds} s: `wait` of the destination says how long"
                )));
            }
            if !told && waited >= SILENCE {
                told = true;
                let seconds = destination.wait.saturating_sub(waited).as_secs();
                tracing::warn!("waiting for the destination, {seconds} s more at most: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return Err(Error::Interrupted),
            }
        }
    }

    async fn close(self) -> Result<()> {
        drop(self.requests);
        self.thread.await.map_err(|error| {
            Error::internal("the destination's thread ended unexpectedly").cause(error)
        })
    }

    async fn open(destination: &config::Destination, dataset: &str) -> Result<Self> {
        let (requests, mut inbox) = mpsc::channel::<Request>(1);
        let (opened, is_open) = oneshot::channel();
        let destination = destination.clone();
        let dataset = dataset.to_owned();
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
                destination.interrupter(),
                destination.warnings(),
            )));
            while let Some(request) = inbox.blocking_recv() {
                request(destination.as_mut());
            }
        });
        let (id, interrupter, warnings) = is_open.await.map_err(|_| ended())??;
        Ok(Self {
            requests,
            id,
            interrupter,
            warnings,
            thread,
        })
    }
}

fn ended() -> Error {
    Error::internal("the destination's thread ended")
}
