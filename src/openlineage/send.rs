//! Sending events, one after the other, beside the run. What cannot be sent is told once, and hinders nothing.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::OpenLineage;
use crate::error::{Error, Result};
use crate::http;

/// How long a service may take to be reached and to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a run may be kept at its end until all is sent, and one that was stopped.
pub(crate) const PARTING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// How often an event is sent that the service cannot take at the moment, and the wait before the second time, which doubles.
const ATTEMPTS: (u32, Duration) = (3, Duration::from_millis(200));
/// How many events may wait; more are dropped.
const MOST_WAITING: usize = 4096;

/// Where events are put. It is cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    /// `None` ends it.
    events: mpsc::Sender<Option<Value>>,
    is_told: Arc<AtomicBool>,
}

/// What sends them.
pub(crate) struct Postman {
    outbox: Outbox,
    work: JoinHandle<()>,
}

/// Begins to send what is put into the outbox.
pub(crate) fn start(settings: &OpenLineage) -> (Outbox, Postman) {
    let (events, inbox) = mpsc::channel(MOST_WAITING);
    let is_told = Arc::new(AtomicBool::new(false));
    let outbox = Outbox { events, is_told };
    let work = tokio::spawn(send_all(settings.clone(), inbox, outbox.is_told.clone()));
    let postman = Postman {
        outbox: outbox.clone(),
        work,
    };
    (outbox, postman)
}

impl Outbox {
    /// Puts an event in. Never waits.
    pub(crate) fn put(&self, event: Value) {
        if self.events.try_send(Some(event)).is_err() {
            let error = Error::config("[openlineage] more events wait than are kept");
            tell(&self.is_told, &error);
        }
    }
}

impl Postman {
    /// Sends what is left, as long as there is time.
    pub(crate) async fn finish(self, time: Duration) {
        let Self { outbox, mut work } = self;
        let finishing = async {
            // Where nobody takes it, the work has ended.
            let _ = outbox.events.send(None).await;
            let _ = (&mut work).await;
        };
        if tokio::time::timeout(time, finishing).await.is_err() {
            work.abort();
            let seconds = time.as_secs();
            let error = Error::config(format!(
                "[openlineage] url: the service did not take all events within {seconds} s after the run"
            ))
            .remedy("see whether it is at work");
            tell(&outbox.is_told, &error);
        }
    }
}

/// Tells that something could not be sent, if that was not told before.
fn tell(is_told: &AtomicBool, error: &Error) {
    if !is_told.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "an event of OpenLineage could not be sent, which hinders nothing else and is not told again: {}",
            error.report()
        );
    }
}

async fn send_all(
    settings: OpenLineage,
    mut events: mpsc::Receiver<Option<Value>>,
    is_told: Arc<AtomicBool>,
) {
    let client = http::client(PATIENCE, PATIENCE);
    while let Some(Some(event)) = events.recv().await {
        let mut sent = Vec::new();
        if let Some(path) = &settings.file {
            let (path, event) = (path.clone(), event.clone());
            let appended = tokio::task::spawn_blocking(move || append(&path, &event)).await;
            sent.push(appended.unwrap_or_else(|error| {
                Err(Error::internal("a thread of events ended").cause(error))
            }));
        }
        if let Some(address) = &settings.address {
            // A service that is away is not waited for at each event.
            let attempts = if is_told.load(Ordering::Relaxed) {
                1
            } else {
                ATTEMPTS.0
            };
            sent.push(match &client {
                Ok(client) => {
                    let request = client.post(address.reveal()).timeout(PATIENCE);
                    let request = match &settings.api_key {
                        Some(key) => request.bearer_auth(key.reveal()),
                        None => request,
                    };
                    post_patiently(&request.json(&event), attempts).await
                }
                Err(error) => Err(error.clone()),
            });
        }
        for error in sent.into_iter().filter_map(Result::err) {
            tell(&is_told, &error);
        }
    }
}

/// Adds an event to a file, as a line of its own.
fn append(path: &Path, event: &Value) -> Result<()> {
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    // In one piece, as others may write there too.
    let line = format!("{event}\n");
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|error| {
        Error::config(format!(
            "[openlineage] file: {} cannot be written",
            path.display()
        ))
        .cause(error)
        .remedy("make its folder, and see to its permissions")
    })
}

async fn post_patiently(request: &RequestBuilder, attempts: u32) -> Result<()> {
    let mut wait = ATTEMPTS.1;
    for _ in 1..attempts {
        match post(request).await {
            Err(error) if error.passes() => tokio::time::sleep(wait).await,
            done => return done,
        }
        wait *= 2;
    }
    post(request).await
}

async fn post(request: &RequestBuilder) -> Result<()> {
    let failed = |error: reqwest::Error| {
        Error::config("[openlineage] url: the service cannot be reached")
            .cause(error.without_url())
            .remedy("see whether the address is right, and whether this machine may reach it")
            .for_now()
    };
    let request = request.try_clone();
    let request = request.ok_or_else(|| Error::internal("an event cannot be sent twice"))?;
    let status = request.send().await.map_err(failed)?.status();
    if status.is_success() {
        return Ok(());
    }
    let error = Error::config(format!(
        "[openlineage] url: the service answered with {status}"
    ))
    .remedy("see whether the address and the key are right, and what the service's log says");
    let is_busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    Err(if is_busy { error.for_now() } else { error })
}
