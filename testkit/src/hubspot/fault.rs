//! Faults to inject: the next requests to a path end as one says.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};

/// How a request is to end.
#[derive(Debug, Clone)]
pub enum Failure {
    /// With that status, these headers, and this body.
    Status {
        /// The status.
        status: u16,
        /// Headers, by name.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The connection is closed without an answer.
    Reset,
    /// The connection is closed in the middle of the answer.
    CutBody,
    /// The answer ends in the middle, as if it were whole.
    CutJson,
    /// With status 200, and a page for people.
    Html,
    /// As it should, but later.
    Delay(Duration),
}

/// A fault: which requests it meets, and how they end.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) path: String,
    pub(crate) skip: u32,
    pub(crate) times: u32,
    pub(crate) failure: Failure,
}

impl Fault {
    /// For the next request whose path and query contain `path`.
    #[must_use]
    pub fn new(path: &str, failure: Failure) -> Self {
        Self {
            path: path.to_owned(),
            skip: 0,
            times: 1,
            failure,
        }
    }

    /// The next request ends with that status and a body as `HubSpot` writes it.
    #[must_use]
    pub fn status(path: &str, status: u16) -> Self {
        Self::body(
            path,
            status,
            "{\"status\":\"error\",\"message\":\"injected\",\"correlationId\":\"0c4f5d0e-1b0a-4f0e-9d6a-3a8a5b2f7c11\",\"category\":\"INJECTED\"}",
        )
    }

    /// The next request ends with that status and body.
    #[must_use]
    pub fn body(path: &str, status: u16, body: &str) -> Self {
        Self::new(
            path,
            Failure::Status {
                status,
                headers: Vec::new(),
                body: body.to_owned(),
            },
        )
    }

    /// With a header more, where it ends with a status.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Failure::Status { headers, .. } = &mut self.failure {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Only after so many requests that it would have met.
    #[must_use]
    pub const fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// So many requests in a row.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Whether it meets a request to that path, which it then counts.
    pub(crate) fn meets(&mut self, path: &str) -> bool {
        if self.times == 0 || !path.contains(&self.path) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

impl FromStr for Fault {
    type Err = Error;

    /// Reads `WHAT[@PATH][+AFTER][xTIMES]`, as in `503@/batch/read+10x2`, `reset@/search`, `cut`, `html`, `delay`.
    fn from_str(text: &str) -> Result<Self> {
        let (rest, times) = match text.rsplit_once('x') {
            Some((rest, times))
                if times.chars().all(|c| c.is_ascii_digit()) && !times.is_empty() =>
            {
                (rest, times.parse()?)
            }
            _ => (text, 1),
        };
        let (rest, after) = match rest.rsplit_once('+') {
            Some((rest, after)) => (rest, after.parse().context("a number comes after `+`")?),
            None => (rest, 0),
        };
        let (what, path) = rest.split_once('@').unwrap_or((rest, ""));
        let fault = match what {
            "reset" => Self::new(path, Failure::Reset),
            "cut" => Self::new(path, Failure::CutBody),
            "cutjson" => Self::new(path, Failure::CutJson),
            "html" => Self::new(path, Failure::Html),
            "delay" => Self::new(path, Failure::Delay(Duration::from_secs(3))),
            status => match status.parse::<u16>() {
                Ok(status @ 400..=599) => Self::status(path, status),
                _ => bail!(
                    "`{what}` is no fault: give a status from 400 on, reset, cut, cutjson, html or delay"
                ),
            },
        };
        Ok(fault.after(after).times(times))
    }
}
