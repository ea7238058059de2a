//! An address at which Prometheus asks for metrics: `GET /metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::samples::Samples;
use crate::error::{Error, Result};
use crate::http_server::{self, text};

/// The content type of the text format.
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An address that is listened at.
#[derive(Debug)]
pub(crate) struct Endpoint(TcpListener);

impl Endpoint {
    /// Listens at an address.
    ///
    /// # Errors
    /// [`Error::Config`] if another program has it.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|error| {
            Error::config(format!("[metrics] listen: cannot listen on {address}"))
                .cause(error)
                .remedy("name another port: each run that follows needs one of its own")
        })
    }

    /// Answers until `stop` with what `measure` says at that moment.
    pub(crate) async fn serve(
        self,
        stop: &CancellationToken,
        measure: impl Fn() -> Samples + Send + Sync + 'static,
    ) {
        let measure = Arc::new(measure);
        let answering = move |request: &Request<Incoming>| {
            let plain = "text/plain; charset=utf-8";
            match (request.method(), request.uri().path()) {
                (&Method::GET | &Method::HEAD, "/metrics") => {
                    text(StatusCode::OK, KIND, measure().text())
                }
                (_, "/metrics") => text(StatusCode::METHOD_NOT_ALLOWED, plain, String::new()),
                _ => text(StatusCode::NOT_FOUND, plain, "see /metrics\n".to_owned()),
            }
        };
        http_server::serve(self.0, stop, answering).await;
    }
}
