//! Shows a page on this machine while it changes: the page, its data, and events that tell of a new one. Nothing else is
//! answered, and nobody else: it listens on the loopback address, and a request has to name this machine, as a stranger's page
//! cannot (DNS rebinding).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::page::Page;
use crate::error::{Error, Result};
use crate::http_server::{self, Body, text};

/// How often a page that waits for events hears that it is still connected.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What everybody is told of every answer.
const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
];

/// A server on the loopback address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// The newest page.
pub type Pages = watch::Receiver<Arc<Page>>;

impl Server {
    /// Listens on a port; on one that is free, if it is 0.
    ///
    /// # Errors
    /// [`Error::Config`] if another program has the port.
    pub async fn bind(port: u16) -> Result<Self> {
        let bound = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let address = listener.local_addr()?;
            Ok::<_, std::io::Error>(Self { listener, address })
        };
        bound.await.map_err(|error| {
            Error::config(format!("cannot listen on 127.0.0.1:{port}"))
                .cause(error)
                .remedy("name another port with --port; --port 0 takes a free one")
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop`.
    pub async fn serve(self, pages: Pages, stop: &CancellationToken) {
        let (port, stops) = (self.address.port(), stop.clone());
        let answering = move |request: &Request<Incoming>| answer(request, port, &pages, &stops);
        http_server::serve(self.listener, stop, answering).await;
    }
}

fn answer(
    request: &Request<Incoming>,
    port: u16,
    pages: &Pages,
    stop: &CancellationToken,
) -> Response<Body> {
    let mut response = match route(
        request.method(),
        request.uri().path(),
        request.headers(),
        port,
    ) {
        Ok(Route::Page) => {
            // The page is told that there will be others.
            let html = pages
                .borrow()
                .html
                .replacen("<html ", "<html data-live ", 1);
            text(StatusCode::OK, "text/html; charset=utf-8", html)
        }
        Ok(Route::Data) => {
            let data = pages.borrow().data.clone();
            text(StatusCode::OK, "application/json", data)
        }
        Ok(Route::Events) => events(pages.clone(), stop.clone()),
        Err(status) => text(status, "text/plain; charset=utf-8", format!("{status}\n")),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What can be asked for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Page,
    Data,
    Events,
}

fn route(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    port: u16,
) -> std::result::Result<Route, StatusCode> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| is_this_machine(host, port)) {
        return Err(StatusCode::FORBIDDEN);
    }
    if method != Method::GET {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    match path {
        "/" => Ok(Route::Page),
        "/data" => Ok(Route::Data),
        "/events" => Ok(Route::Events),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// Whether a host is a name that this machine alone has for itself.
fn is_this_machine(host: &str, port: u16) -> bool {
    let (name, named) = match host.rsplit_once(':') {
        Some((name, named)) => (name, named.parse().ok()),
        None => (host, Some(80)),
    };
    named == Some(port) && ["127.0.0.1", "localhost"].contains(&name)
}

/// A stream of events: one for each new page, and a comment now and then.
fn events(mut pages: Pages, stop: CancellationToken) -> Response<Body> {
    // The page that is there is the one that was shown.
    pages.mark_unchanged();
    let begin = stream::iter(["retry: 2000\n\n"]);
    let later = stream::unfold((pages, stop), |(mut pages, stop)| async move {
        let line = tokio::select! {
            changed = pages.changed() => {
                changed.ok()?;
                "event: changed\ndata:\n\n"
            }
            () = tokio::time::sleep(SIGN_OF_LIFE) => ":\n\n",
            () = stop.cancelled() => return None,
        };
        Some((line, (pages, stop)))
    });
    let frames = begin
        .chain(later)
        .map(|line| Ok(Frame::data(Bytes::from_static(line.as_bytes()))));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str, host: &str) -> std::result::Result<Route, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        route(method, path, &headers, 8080)
    }

    #[test]
    fn the_page_its_data_and_its_events_are_all_there_is() {
        let host = "127.0.0.1:8080";
        assert_eq!(asked(&Method::GET, "/", host), Ok(Route::Page));
        assert_eq!(
            asked(&Method::GET, "/data", "localhost:8080"),
            Ok(Route::Data)
        );
        assert_eq!(asked(&Method::GET, "/events", host), Ok(Route::Events));
        for path in [
            "/acequia.toml",
            "/../acequia.toml",
            "//",
            "/%2e%2e/x",
            "/data/",
            "*",
        ] {
            assert_eq!(
                asked(&Method::GET, path, host),
                Err(StatusCode::NOT_FOUND),
                "{path}"
            );
        }
        for method in [
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::HEAD,
        ] {
            assert_eq!(
                asked(&method, "/", host),
                Err(StatusCode::METHOD_NOT_ALLOWED)
            );
        }
    }

    #[test]
    fn a_host_of_another_name_is_refused() {
        for host in [
            "example.com",
            "example.com:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost:1",
            "localhost.example.com:8080",
            "127.0.0.1:8080.example.com",
            "[::1]:8080",
            "0.0.0.0:8080",
            "",
        ] {
            assert_eq!(
                asked(&Method::GET, "/", host),
                Err(StatusCode::FORBIDDEN),
                "{host}"
            );
        }
        assert_eq!(
            route(&Method::GET, "/", &HeaderMap::new(), 8080),
            Err(StatusCode::FORBIDDEN)
        );
        assert!(is_this_machine("localhost", 80));
    }
}
