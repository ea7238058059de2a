//! The destination's thread. Destinations block; the pipeline is asynchronous and hands them its requests over a channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config;
use crate::destination::duckdb::{DuckDb, MemoryLimit};
use crate::destination::postgres::Postgres;
use crate::destination::{Destination, Interrupter};
use crate::error::{Error, Result};
use crate::names::DestinationId;

/// How long a destination is waited for that others were given to look into.
const PATIENCE: Duration = Duration::from_mins(1);

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
    open: Mutex<Option<Open>>,
}

struct Open {
    requests: mpsc::Sender<Request>,
    id: DestinationId,
    interrupter: Interrupter,
    thread: JoinHandle<()>,
}

impl Loader {
    /// Opens the destination, for reading and writing.
    pub(super) async fn open(destination: &config::Destination, dataset: &str) -> Result<Self> {
        let open = Open::open(destination, dataset).await?;
        Ok(Self {
            id: open.id.clone(),
            shared: Arc::new(Shared {
                destination: destination.clone(),
                dataset: dataset.to_owned(),
                open: Mutex::new(Some(open)),
            }),
        })
    }

    /// What tells this destination from others.
    pub(super) fn id(&self) -> &DestinationId {
        &self.id
    }

    /// Ends what the destination is doing, with nothing changed.
    pub(super) async fn interrupt(&self) {
        if let Some(open) = self.shared.open.lock().await.as_ref() {
            (open.interrupter)();
        }
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
        let again = self.open_again().await?;
        if again.id != self.id {
            return Err(
                Error::destination("another destination stands where this run's was")
                    .remedy("run again"),
            );
        }
        let requests = again.requests.clone();
        *open = Some(again);
        Ok(requests)
    }

    /// Opens what was released. Whoever looks into it meanwhile is waited for.
    async fn open_again(&self) -> Result<Open> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let opened = Open::open(&self.shared.destination, &self.shared.dataset).await;
            let Err(error @ Error::Destination(_)) = opened else {
                return opened;
            };
            if began.elapsed() >= PATIENCE {
                return Err(error);
            }
            if !told && began.elapsed() >= Duration::from_secs(1) {
                told = true;
                tracing::warn!(%error, "waiting for the destination");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Closes the destination, for others to open it meanwhile. The next call opens it again.
    pub(super) async fn release(&self) -> Result<()> {
        let Some(open) = self.shared.open.lock().await.take() else {
            return Ok(());
        };
        drop(open.requests);
        open.thread.await.map_err(|error| {
            Error::internal("the destination's thread ended unexpectedly").cause(error)
        })
    }
}

impl Open {
    async fn open(destination: &config::Destination, dataset: &str) -> Result<Self> {
        let (requests, mut inbox) = mpsc::channel::<Request>(1);
        let (opened, is_open) = oneshot::channel();
        let destination = destination.clone();
        let dataset = dataset.to_owned();
        let thread = tokio::task::spawn_blocking(move || {
            let mut destination = match open(&destination, &dataset) {
                Ok(destination) => destination,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok((destination.id().clone(), destination.interrupter())));
            while let Some(request) = inbox.blocking_recv() {
                request(destination.as_mut());
            }
        });
        let (id, interrupter) = is_open.await.map_err(|_| ended())??;
        Ok(Self {
            requests,
            id,
            interrupter,
            thread,
        })
    }
}

fn open(destination: &config::Destination, dataset: &str) -> Result<Box<dyn Destination>> {
    match &destination.target {
        config::Target::DuckDb { path, memory_limit } => Ok(Box::new(DuckDb::open(
            &destination.name,
            path,
            memory_limit.map_or_else(MemoryLimit::default, MemoryLimit::from),
            dataset,
        )?)),
        config::Target::Postgres { url } => {
            Ok(Box::new(Postgres::open(&destination.name, url, dataset)?))
        }
    }
}

fn ended() -> Error {
    Error::internal("the destination's thread ended")
}
