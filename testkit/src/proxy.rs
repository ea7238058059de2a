//! An HTTP proxy between a client and one server, which loses answers or requests when asked to, and keeps what went by.
//!
//! What a client may believe of a request whose answer it did not get is that it does not know: [`Loss::Cut`] and
//! [`Loss::Instead`] have the server carry it out, [`Loss::Unsent`] and [`Loss::Refused`] do not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::loopback::Loopback;

type Response = hyper::Response<Full<Bytes>>;

/// What happens before a request is passed on.
type Event = Box<dyn FnOnce() + Send>;

/// A running proxy. It ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    server: Loopback,
    desk: Arc<Mutex<Desk>>,
}

/// What becomes of a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The server carries the request out; the connection is closed without an answer.
    Cut,
    /// The server carries the request out; its answer is this status instead.
    Instead(u16),
    /// The request does not reach the server; the connection is closed.
    Unsent,
    /// The request does not reach the server; the answer is this status.
    Refused(u16),
}

/// A request that went by, and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its body, where that is text.
    pub body: String,
    /// The status that the server answered with; none where the request did not reach it.
    pub carried_out: Option<u16>,
    /// The status that the client was told; none where the connection was closed.
    pub answered: Option<u16>,
}

#[derive(Debug, Default)]
struct Desk {
    rules: Vec<Rule>,
    exchanges: Vec<Exchange>,
}

/// What happens to the request that comes after `skip` others like it.
struct Rule {
    method: String,
    path: String,
    skip: usize,
    then: Then,
}

enum Then {
    Lose(Loss),
    Do(Event),
}

impl Proxy {
    /// Starts a proxy to a server, given as `http://127.0.0.1:PORT`.
    ///
    /// # Errors
    /// When the URL is no such, or there is no free port.
    pub fn start(upstream: &str) -> Result<Self> {
        let upstream: Arc<str> = upstream
            .strip_prefix("http://")
            .context("the server's URL does not begin with http://")?
            .trim_end_matches('/')
            .into();
        let desk = Arc::new(Mutex::new(Desk::default()));
        let shared = Arc::clone(&desk);
        let service =
            service_fn(move |request| pass(request, Arc::clone(&upstream), Arc::clone(&shared)));
        let server = Loopback::start("proxy", None, http1::Builder::new(), service)?;
        Ok(Self { server, desk })
    }

    /// The URL to use in place of the server's.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Loses the request, or its answer, that comes after `skip` others of this method whose path and query contain `path`.
    pub fn lose(&self, method: &str, path: &str, skip: usize, loss: Loss) {
        self.rule(method, path, skip, Then::Lose(loss));
    }

    /// Has something happen before the request is passed on that comes after `skip` others like it.
    pub fn before(
        &self,
        method: &str,
        path: &str,
        skip: usize,
        happens: impl FnOnce() + Send + 'static,
    ) {
        self.rule(method, path, skip, Then::Do(Box::new(happens)));
    }

    /// Whether all that was asked for has happened.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        desk(&self.desk).rules.is_empty()
    }

    /// What went by, in the order of the answers.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        desk(&self.desk).exchanges.clone()
    }

    /// Forgets what went by, and what was asked for and has not happened.
    pub fn reset(&self) {
        *desk(&self.desk) = Desk::default();
    }

    fn rule(&self, method: &str, path: &str, skip: usize, then: Then) {
        desk(&self.desk).rules.push(Rule {
            method: method.to_owned(),
            path: path.to_owned(),
            skip,
            then,
        });
    }
}

impl Desk {
    /// What is to happen to a request. The rules are independent: each counts the requests that it is about.
    fn due(&mut self, method: &str, path: &str) -> (Option<Loss>, Vec<Event>) {
        let mut loss = None;
        let mut happens = Vec::new();
        for mut rule in std::mem::take(&mut self.rules) {
            let meets = rule.method == method && path.contains(&rule.path);
            match rule.then {
                Then::Lose(this) if meets && rule.skip == 0 && loss.is_none() => loss = Some(this),
                Then::Do(this) if meets && rule.skip == 0 => happens.push(this),
                then => {
                    rule.skip -= usize::from(meets && rule.skip > 0);
                    self.rules.push(Rule { then, ..rule });
                }
            }
        }
        (loss, happens)
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

/// Passes a request on, and its answer back. An error closes the connection without an answer.
async fn pass(
    request: hyper::Request<Incoming>,
    upstream: Arc<str>,
    shared: Arc<Mutex<Desk>>,
) -> std::io::Result<Response> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let method = head.method.as_str().to_owned();
    let path = head
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let (loss, happens) = desk(&shared).due(&method, &path);
    for happens in happens {
        tokio::task::spawn_blocking(happens)
            .await
            .map_err(std::io::Error::other)?;
    }
    let answer = match loss {
        Some(Loss::Unsent | Loss::Refused(_)) => None,
        _ => Some(forward(&upstream, head, body.clone()).await?),
    };
    let carried_out = answer.as_ref().map(|answer| answer.status().as_u16());
    let told = match (loss, answer) {
        (None, Some(answer)) => Some(answer),
        (Some(Loss::Instead(status) | Loss::Refused(status)), _) => Some(made_up(status)),
        _ => None,
    };
    desk(&shared).exchanges.push(Exchange {
        method,
        path,
        body: String::from_utf8(body.to_vec()).unwrap_or_default(),
        carried_out,
        answered: told.as_ref().map(|answer| answer.status().as_u16()),
    });
    told.ok_or_else(|| std::io::Error::other("closed on request"))
}

/// Sends a request to the server, on a connection of its own, and waits for the whole answer.
async fn forward(
    upstream: &str,
    mut head: hyper::http::request::Parts,
    body: Bytes,
) -> std::io::Result<Response> {
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    let connection = tokio::spawn(connection);
    // The body is whole. All else stays as it is, the host too: requests to object storage are signed.
    head.headers.remove(TRANSFER_ENCODING);
    head.headers.remove(CONNECTION);
    let request = hyper::Request::from_parts(head, Full::new(body));
    let answer = sender
        .send_request(request)
        .await
        .map_err(std::io::Error::other)?;
    let (mut head, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    connection.abort();
    head.headers.remove(TRANSFER_ENCODING);
    head.headers.remove(CONNECTION);
    // An answer to HEAD has the length of what it has not.
    if !body.is_empty() {
        head.headers.remove(CONTENT_LENGTH);
    }
    Ok(Response::from_parts(head, Full::new(body)))
}

/// An answer that the server did not give, in the words of an Iceberg catalog.
fn made_up(status: u16) -> Response {
    let body = format!(
        "{{\"error\":{{\"message\":\"made up by the proxy\",\"type\":\"MadeUp\",\"code\":{status}}}}}"
    );
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn desk(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
