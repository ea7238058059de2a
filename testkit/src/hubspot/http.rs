//! The server's side of HTTP: who may ask, within which limits, and how an answer is cut or kept back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};

use super::answer::{self, Answer};
use super::fault::Failure;
use super::limits::Exceeded;
use super::{Request, Shared, json};

/// The longest address that is understood.
const LONGEST_ADDRESS: usize = 8_000;

type Response = hyper::Response<Payload>;

/// What of the protocol is its own.
pub(crate) fn protocol() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(64 << 10);
    http
}

/// Answers requests.
pub(crate) fn service(
    shared: Arc<Shared>,
) -> impl HttpService<Incoming, ResBody = Payload, Error = std::io::Error, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |request: hyper::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { respond(request, &shared).await }
    })
}

/// Answers a request; an error closes the connection without an answer.
async fn respond(request: hyper::Request<Incoming>, shared: &Shared) -> std::io::Result<Response> {
    let method = request.method().as_str().to_owned();
    let path = request
        .uri()
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let origin = request
        .headers()
        .get("host")
        .and_then(|host| host.to_str().ok())
        .map_or_else(String::new, |host| format!("http://{host}"));
    let bearer = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::to_owned);
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();

    let failure = {
        let mut desk = shared.desk();
        let events: Vec<_> = desk
            .events
            .iter_mut()
            .filter_map(|event| event.due(&path))
            .collect();
        let failure = desk
            .faults
            .iter_mut()
            .find_map(|fault| fault.meets(&path).then(|| fault.failure.clone()));
        drop(desk);
        for happens in events {
            happens(&mut shared.portal());
        }
        failure
    };
    let log = |status: u16| {
        shared.desk().log.push(Request {
            method: method.clone(),
            path: path.clone(),
            status,
        });
    };
    match failure {
        Some(Failure::Status {
            status,
            headers,
            body,
        }) => {
            log(status);
            let mut response = Response::new(Payload::whole(body.into()));
            set_status(&mut response, status);
            say(&mut response, headers);
            return Ok(response);
        }
        Some(Failure::Reset) => {
            log(0);
            return Err(std::io::Error::other("closed on request"));
        }
        Some(Failure::Html) => {
            log(200);
            let page = "<!DOCTYPE html><html><body>Estamos de mantenimiento</body></html>";
            let mut response = Response::new(Payload::whole(page.into()));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            return Ok(response);
        }
        Some(Failure::Delay(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }

    let mut response = admit(shared, &path, bearer.as_deref())
        .unwrap_or_else(|| served(shared, &method, &origin, &path, &body));
    if response.status().is_success() {
        match failure {
            Some(Failure::CutBody) => response.body_mut().cut = true,
            Some(Failure::CutJson) => response.body_mut().halve(),
            _ => {}
        }
    }
    // The portal's own clock, by which clients date what they read.
    let now = shared.portal().now();
    if let Ok(date) = HeaderValue::try_from(json::http_date(now)) {
        response.headers_mut().insert(DATE, date);
    }
    say(&mut response, shared.desk().headers.clone());
    log(response.status().as_u16());
    Ok(response)
}

fn say(response: &mut Response, headers: Vec<(String, String)>) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// The answer to a request that is within the limits, with what remains of them.
fn served(shared: &Shared, method: &str, origin: &str, path: &str, body: &Bytes) -> Response {
    let is_search = is_search(path);
    let limits = shared.desk().limits;
    let admitted = shared.desk().usage.admit(&limits, is_search);
    let remaining = match admitted {
        Ok(remaining) => remaining,
        Err(exceeded) => return limited(exceeded, &limits),
    };
    let denied = shared.desk().denied_scopes.clone();
    let answer = answer::answer(&mut shared.portal(), &denied, method, origin, path, body);
    let mut response = respond_with(answer);
    if !is_search && let Some(window) = limits.window {
        let daily_remaining = shared.desk().usage.daily_remaining(&limits);
        let length = u64::try_from(limits.window_length.as_millis()).unwrap_or(u64::MAX);
        for (name, value) in [
            ("x-hubspot-ratelimit-max", u64::from(window)),
            ("x-hubspot-ratelimit-remaining", u64::from(remaining)),
            ("x-hubspot-ratelimit-interval-milliseconds", length),
            (
                "x-hubspot-ratelimit-daily",
                u64::from(limits.daily.unwrap_or(u32::MAX)),
            ),
            (
                "x-hubspot-ratelimit-daily-remaining",
                u64::from(daily_remaining),
            ),
        ] {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
    response
}

/// Refuses who may not ask, and what is too long.
fn admit(shared: &Shared, path: &str, bearer: Option<&str>) -> Option<Response> {
    if path.len() > LONGEST_ADDRESS {
        let mut response = Response::new(Payload::whole(
            "<html><body>414 Request-URI Too Large</body></html>".into(),
        ));
        set_status(&mut response, 414);
        return Some(response);
    }
    let desk = shared.desk();
    let refusal = match bearer {
        None => {
            "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more \
                 details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
        }
        Some(token) if token != desk.token => "The token given is not valid",
        Some(_) if desk.expired => "The token used to make this call expired 2 hours ago",
        Some(_) => return None,
    };
    let category = if desk.expired {
        "EXPIRED_AUTHENTICATION"
    } else {
        "INVALID_AUTHENTICATION"
    };
    // As the real one does, it says the token back.
    let message = format!("{refusal}: {}", bearer.unwrap_or_default());
    Some(respond_with(Answer::error(401, category, &message)))
}

fn limited(exceeded: Exceeded, limits: &super::Limits) -> Response {
    let (policy, message, wait) = match exceeded {
        Exceeded::Window => (
            "TEN_SECONDLY_ROLLING",
            "You have reached your ten_secondly_rolling limit.",
            limits.window_length,
        ),
        Exceeded::Search => (
            "SECONDLY",
            "You have reached your secondly limit.",
            Duration::from_secs(1),
        ),
        Exceeded::Daily => (
            "DAILY",
            "You have reached your daily limit.",
            Duration::ZERO,
        ),
    };
    let mut response = respond_with(Answer {
        status: 429,
        body: format!(
            "{{\"status\":\"error\",\"message\":\"{message}\",\"errorType\":\"RATE_LIMIT\",\
             \"correlationId\":\"c033cdaa-2c40-4a64-ae48-b4cec88dad24\",\"policyName\":\"{policy}\",\
             \"groupName\":\"publicapi:private-apps\",\"category\":\"RATE_LIMITS\"}}"
        ),
    });
    if limits.retry_after && !wait.is_zero() {
        let seconds = wait.as_secs().max(1);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn respond_with(answer: Answer) -> Response {
    let mut response = Response::new(Payload::whole(answer.body.into()));
    set_status(&mut response, answer.status);
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json;charset=utf-8"),
    );
    response
}

fn set_status(response: &mut Response, status: u16) {
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
}

fn is_search(path: &str) -> bool {
    path.split('?')
        .next()
        .is_some_and(|path| path.ends_with("/search"))
}

/// A body that may break off.
#[derive(Debug)]
pub(crate) struct Payload {
    data: Option<Bytes>,
    promised: u64,
    cut: bool,
}

impl Payload {
    fn whole(data: Bytes) -> Self {
        Self {
            promised: data.len() as u64,
            data: Some(data),
            cut: false,
        }
    }

    fn halve(&mut self) {
        if let Some(data) = &mut self.data {
            data.truncate(data.len() / 2);
            self.promised = data.len() as u64;
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let cut = self.cut;
        Poll::Ready(match self.data.take() {
            Some(mut data) => {
                if cut {
                    data.truncate(data.len() / 2);
                }
                (!data.is_empty()).then(|| Ok(Frame::data(data)))
            }
            None => cut.then(|| Err(std::io::Error::other("cut on request"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
