//! Requests: paced by the account's limits, and retried after transient faults. No message contains the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use tokio_util::sync::CancellationToken;

use super::error::{MAX_ODD, Refusal, RequestError, ResponseClass, back_off, meaning, span};
use super::json::Flaw;
use super::rate_limit::{Allowance, RateLimiter, WindowHeaders};
use super::retry::{RetryBudget, chance, pause, unsound};
use crate::config::hubspot::ApiVersion;
use crate::config::{Secret, Token};
use crate::error::{Error, Result, in_one_line};
use crate::http;

/// How long connecting may take, and how long an answer may pause.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// The largest answer that is accepted, in bytes: a page of a hundred records with every text at its longest is smaller.
const LARGEST_ANSWER: usize = 256 << 20;

/// A client of an account. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    token: Token,
    limiter: Arc<RateLimiter>,
    /// Whether HubSpot has answered this client, or one that it was cloned from.
    answered: Arc<AtomicBool>,
    /// Which paths of the API are used.
    pub version: ApiVersion,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// The body of a POST. `None` for GET.
    pub body: Option<Bytes>,
    /// What is requested, for people: `the companies`.
    pub subject: String,
    /// The scopes that the request needs.
    pub scopes: Vec<String>,
    /// How many records a batch names.
    pub inputs: usize,
    /// The allowance that it counts against.
    pub allowance: Allowance,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its body.
    pub body: Bytes,
    /// The server's time of the answer.
    pub date: Option<DateTime<Utc>>,
}

impl Client {
    /// Creates a client for `base_url` with that token. It does not connect.
    ///
    /// # Errors
    /// [`Error::Config`] if the token is malformed.
    pub fn new(base_url: &str, token: &Token, version: ApiVersion) -> Result<Self> {
        // Whose limits they are: tokens of one command are of one account.
        let account = match token {
            Token::Given(token) => {
                authorization(token)?;
                token.reveal()
            }
            Token::Printed(command) => command.place(),
        };
        let http = http::client(CONNECT_TIMEOUT, READ_TIMEOUT)?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            limiter: RateLimiter::of_account(&base_url, account),
            answered: Arc::default(),
            base_url,
            token: token.clone(),
            version,
        })
    }

    /// The API's address.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Sends a request until `decode` accepts the answer.
    pub async fn ask<T, F: Into<Flaw>>(
        &self,
        request: &Request,
        stop: &CancellationToken,
        mut decode: impl FnMut(&[u8]) -> Result<T, F>,
    ) -> Result<T, RequestError> {
        let mut budget = self.budget();
        let mut odd = 0;
        loop {
            let answer = self.answer(request, stop, &mut budget).await?;
            match decode(&answer.body).map_err(Into::into) {
                Ok(decoded) => return Ok(decoded),
                Err(Flaw::Malformed(malformed)) => {
                    let what = format!(
                        "HubSpot's answer for {} is cut off or is no JSON",
                        request.subject
                    );
                    budget.malformed(what, malformed, stop).await?;
                }
                Err(Flaw::Incomplete(why)) => {
                    let what = format!(
                        "HubSpot's answer for {} is not complete ({why})",
                        request.subject
                    );
                    budget.incomplete(what, stop).await?;
                }
                Err(Flaw::Odd(why)) => {
                    odd += 1;
                    if odd > MAX_ODD {
                        let error = unsound(&request.subject, &why, odd);
                        return Err(RequestError::Odd(why, error));
                    }
                    let wait = back_off(odd, chance());
                    tracing::warn!(
                        seconds = wait.as_secs_f64(),
                        "HubSpot's answer for {} cannot be: {why}; asking again",
                        request.subject
                    );
                    pause(wait, stop).await?;
                }
            }
        }
    }

    /// Sends a request until there is an answer.
    pub async fn fetch(
        &self,
        request: &Request,
        stop: &CancellationToken,
    ) -> Result<Answer, RequestError> {
        self.answer(request, stop, &mut self.budget()).await
    }

    fn budget(&self) -> RetryBudget {
        RetryBudget::new(Arc::clone(&self.answered))
    }

    async fn answer(
        &self,
        request: &Request,
        stop: &CancellationToken,
        budget: &mut RetryBudget,
    ) -> Result<Answer, RequestError> {
        let mut renewed = false;
        loop {
            let token = self.token.current().await.map_err(RequestError::Failed)?;
            let shown = authorization(&token).map_err(RequestError::Failed)?;
            let sent = tokio::select! {
                () = stop.cancelled() => return Err(RequestError::Failed(Error::Interrupted)),
                sent = self.send(request, shown) => sent,
            };
            let (status, headers, body) = match sent {
                Ok(sent) => sent,
                Err(error) if error.is_connect() => {
                    let what = format!("{} cannot be reached from this machine", self.base_url);
                    budget.unreachable(what, plain(error), stop).await?;
                    continue;
                }
                Err(error) => {
                    let what = format!("the connection to HubSpot at {} failed", self.base_url);
                    budget.fault(what, Some(plain(error)), None, stop).await?;
                    continue;
                }
            };
            self.answered.store(true, Ordering::Relaxed);
            if status.is_success() {
                let date = headers
                    .get(DATE)
                    .and_then(|date| date.to_str().ok())
                    .and_then(|date| DateTime::parse_from_rfc2822(date).ok())
                    .map(|date| date.with_timezone(&Utc));
                return Ok(Answer { body, date });
            }
            let is_refused = status == reqwest::StatusCode::UNAUTHORIZED;
            if is_refused && !renewed && self.token.refused(&token) {
                renewed = true;
                tracing::info!("HubSpot does not take the token; having another one printed");
                continue;
            }
            let refusal = Refusal {
                status: status.as_u16(),
                retry_after: number(&headers, RETRY_AFTER.as_str()),
                body: &body,
                subject: &request.subject,
                scopes: &request.scopes,
                is_search: request.allowance == Allowance::Search,
                token: token.reveal(),
            };
            match meaning(&refusal) {
                ResponseClass::Fault { what, wait } => budget.fault(what, None, wait, stop).await?,
                ResponseClass::TooMany { wait, of_searches } => {
                    let allowance = if of_searches {
                        Allowance::Search
                    } else {
                        Allowance::Window
                    };
                    let wait = self.limiter.close(allowance, wait);
                    budget.wait(&request.subject, wait)?;
                    tracing::warn!(
                        seconds = wait.as_secs_f64(),
                        "HubSpot's limit is reached; waiting {} until {} may be asked for again",
                        span(wait),
                        request.subject
                    );
                }
                ResponseClass::TooLong => return Err(RequestError::TooLong),
                ResponseClass::End(error) if status == reqwest::StatusCode::FORBIDDEN => {
                    return Err(RequestError::Forbidden(error));
                }
                ResponseClass::End(error) => return Err(RequestError::Failed(error)),
            }
        }
    }

    /// Sends a request once, when the rate limit allows it.
    async fn send(
        &self,
        request: &Request,
        authorization: HeaderValue,
    ) -> Result<(reqwest::StatusCode, HeaderMap, Bytes), reqwest::Error> {
        let permit = self.limiter.permit(request.allowance).await;
        let url = format!("{}{}", self.base_url, request.path);
        let mut sending = match &request.body {
            None => self.http.get(url),
            Some(body) => self
                .http
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
        };
        sending = sending
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/json");
        let mut response = sending.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if request.allowance == Allowance::Window {
            self.limiter.update_from_headers(&WindowHeaders {
                max: number(&headers, "x-hubspot-ratelimit-max"),
                remaining: number(&headers, "x-hubspot-ratelimit-remaining"),
                interval: number(&headers, "x-hubspot-ratelimit-interval-milliseconds"),
            });
        }
        let expected = response
            .content_length()
            .and_then(|length| usize::try_from(length).ok());
        let mut body = BytesMut::with_capacity(expected.unwrap_or(0).min(LARGEST_ANSWER));
        http::read(&mut response, &mut body, LARGEST_ANSWER).await?;
        drop(permit);
        Ok((status, headers, body.freeze()))
    }
}

/// The header that shows a token.
fn authorization(token: &Secret) -> Result<HeaderValue> {
    let text = token.reveal();
    let malformed = || {
        Error::config("the HubSpot token is not one: it is empty, or has blanks or other letters in it that no token has")
            .remedy("copy the token of the private app or service key (pat-…) again, whole and without quotes")
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed());
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| malformed())?;
    header.set_sensitive(true);
    Ok(header)
}

/// An error of the HTTP client as text, without the address, whose query may be thousands of characters long.
fn plain(error: reqwest::Error) -> crate::error::Cause {
    in_one_line(&error.without_url()).into()
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
