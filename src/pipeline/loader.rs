//! The destination's thread. Destinations block; the pipeline is asynchronous and hands them its requests over a channel.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config;
use crate::destination::duckdb::{DuckDb, MemoryLimit};
use crate::destination::postgres::Postgres;
use crate::destination::{Destination, Interrupter};
use crate::error::{Error, Result};
use crate::names::DestinationId;

type Request = Box<dyn FnOnce(&mut dyn Destination) + Send>;

/// A destination on a thread of its own. Cheap to clone; the thread closes the destination and ends when the last clone is
/// dropped.
#[derive(Clone)]
pub(super) struct Loader {
    requests: mpsc::Sender<Request>,
    id: DestinationId,
    interrupter: Interrupter,
}

impl Loader {
    /// Opens the destination, for reading and writing. Also returns what to wait for after the last clone is dropped: the
    /// destination is closed then.
    pub(super) async fn open(
        destination: &config::Destination,
        dataset: &str,
    ) -> Result<(Self, JoinHandle<()>)> {
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
        let loader = Self {
            requests,
            id,
            interrupter,
        };
        Ok((loader, thread))
    }

    /// What tells this destination from others.
    pub(super) fn id(&self) -> &DestinationId {
        &self.id
    }

    /// Ends what the destination is doing, with nothing changed.
    pub(super) fn interrupt(&self) {
        (self.interrupter)();
    }

    /// Has the destination do something, after what it is asked already.
    pub(super) async fn call<T, F>(&self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Destination) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let request: Request = Box::new(move |destination| {
            let _ = answer.send(request(destination));
        });
        self.requests.send(request).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
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
