//! Whoever is told by HTTP: it keeps what it is sent, and answers as it is asked to.

use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

use crate::loopback::Loopback;

/// A server on loopback that keeps what it is sent. It ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    server: Loopback,
    shared: Arc<Shared>,
}

/// What was sent.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method and the path, with its query: `POST /hook?x=1`.
    pub line: String,
    /// The headers, in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    status: StatusCode,
    received: Vec<Received>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// Starts a server that answers with 200.
    ///
    /// # Errors
    /// No port is free.
    pub fn start() -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                status: StatusCode::OK,
                received: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let keeps = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let keeps = Arc::clone(&keeps);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes().to_vec());
                let target = head
                    .uri
                    .path_and_query()
                    .map_or("", |target| target.as_str());
                let headers = head.headers.iter().map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.as_str().to_owned(), value)
                });
                let received = Received {
                    line: format!("{} {target}", head.method),
                    headers: headers.collect(),
                    body: body.unwrap_or_default(),
                };
                let mut state = keeps.state();
                state.received.push(received);
                let mut answer = Response::new(Full::new(Bytes::new()));
                *answer.status_mut() = state.status;
                drop(state);
                keeps.changed.notify_all();
                Ok::<_, Infallible>(answer)
            }
        });
        let server = Loopback::start("receiver", None, http1::Builder::new(), service)?;
        Ok(Self { server, shared })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Has it answer with that status from now on.
    ///
    /// # Errors
    /// There is no such status.
    pub fn answer_with(&self, status: u16) -> Result<()> {
        self.shared.state().status = StatusCode::from_u16(status)?;
        Ok(())
    }

    /// Takes out all that it was sent so far.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.state().received)
    }

    /// Takes out all that it was sent, once that is something.
    ///
    /// # Errors
    /// Nothing comes within that time.
    pub fn wait(&self, patience: Duration) -> Result<Vec<Received>> {
        let until = Instant::now() + patience;
        let mut state = self.shared.state();
        while state.received.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("nothing was sent");
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(std::mem::take(&mut state.received))
    }
}
