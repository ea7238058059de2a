//! What OTLP travels by: the HTTP client that all services are asked by, so that there is one, with one TLS library.

use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Runtime};

use super::told::Told;
use crate::error::in_one_line;
use crate::http;

/// The most that is read of an answer, in bytes: one says in a few words how many spans it did not take.
const MOST: usize = 64 << 10;

/// Sends a request on the thread that calls it, which is one of the SDK's own.
#[derive(Debug)]
pub(super) struct Client {
    timeout: Duration,
    told: Told,
    made: Option<(Runtime, reqwest::Client)>,
}

impl Client {
    /// A client whose requests may take so long.
    pub(super) fn new(timeout: Duration, told: &Told) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let client = http::client(timeout, timeout);
        Self {
            timeout,
            told: told.clone(),
            made: runtime.ok().zip(client.ok()),
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (runtime, client) = self.made.as_ref().ok_or("there is no HTTP client")?;
        let request = reqwest::Request::try_from(request)?;
        let sent = runtime.block_on(async {
            let exchange = async {
                let mut answer = client.execute(request).await?;
                let mut body = BytesMut::new();
                http::read(&mut answer, &mut body, MOST).await?;
                Ok((answer.status(), answer.headers().clone(), body.freeze()))
            };
            tokio::time::timeout(self.timeout, exchange).await
        });
        let (status, headers, body) = match sent {
            // Its address may hold what is a secret.
            Ok(sent) => sent.map_err(reqwest::Error::without_url)?,
            Err(_) => return Err("it does not answer in time".into()),
        };
        if !status.is_success() {
            self.told.note(format!("it was answered with {status}"));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// As `async_trait` writes it.
impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.send(request);
        if let Err(error) = &sent {
            self.told.note(in_one_line(error.as_ref()));
        }
        Box::pin(std::future::ready(sent))
    }
}
