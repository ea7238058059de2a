//! How often a request is sent again, and when it is given up: soon if there never was an answer, late in the midst of
//! reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::error::{MAX_FAULTS, MAX_UNREACHABLE, MAX_WAITED, OUTAGE, RequestError, back_off, span};
use super::json::Malformed;
use crate::error::{Error, Result};

/// How often a request was sent again, and for how long.
#[derive(Debug)]
pub struct RetryBudget {
    /// Whether HubSpot has answered any request so far.
    answered: Arc<AtomicBool>,
    faults: u32,
    /// The time of the first fault.
    since: Option<Instant>,
    /// How long requests have waited because of rate limits.
    waited: Duration,
}

impl RetryBudget {
    /// The budget of a request that was not sent yet. `answered` says whether HubSpot has answered others.
    pub fn new(answered: Arc<AtomicBool>) -> Self {
        Self {
            answered,
            faults: 0,
            since: None,
            waited: Duration::ZERO,
        }
    }

    /// Waits after a fault, or gives up.
    pub async fn fault(
        &mut self,
        what: String,
        cause: Option<crate::error::Cause>,
        wait: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<(), RequestError> {
        let remedy = "run again when HubSpot is well (https://status.hubspot.com): what is loaded stays; what this run has \
                      read and not loaded is read again";
        let most = self.most(MAX_FAULTS);
        self.again(what, cause, wait, most, remedy, stop).await
    }

    /// Waits after an answer that is not JSON, or gives up soon: such an answer rarely changes.
    pub async fn malformed(
        &mut self,
        what: String,
        malformed: Malformed,
        stop: &CancellationToken,
    ) -> Result<(), RequestError> {
        let remedy = "run again; where it stays so, `base_url` or a proxy may lead elsewhere";
        let cause = Some(malformed.into());
        self.again(what, cause, None, Some(MAX_FAULTS), remedy, stop)
            .await
    }

    /// Waits after an answer that is not all that was asked for, or gives up.
    pub async fn incomplete(
        &mut self,
        what: String,
        stop: &CancellationToken,
    ) -> Result<(), RequestError> {
        let remedy = "run again when HubSpot is well (https://status.hubspot.com): the position stays where it is, and nothing of \
                      this run was loaded";
        self.again(what, None, None, Some(MAX_FAULTS), remedy, stop)
            .await
    }

    /// Waits after a connection could not be made at all, or gives up; soon if none was ever made.
    pub async fn unreachable(
        &mut self,
        what: String,
        cause: crate::error::Cause,
        stop: &CancellationToken,
    ) -> Result<(), RequestError> {
        let remedy = "look at this machine's network, name server, proxy (HTTPS_PROXY) and firewall, then run again; where \
                      they are well, see https://status.hubspot.com";
        let most = self.most(MAX_UNREACHABLE);
        self.again(what, Some(cause), None, most, remedy, stop)
            .await
    }

    /// How many faults are tolerated: any number if there were answers before. In the midst of reading, everything would
    /// have to be read again, so an outage is waited for.
    fn most(&self, most: u32) -> Option<u32> {
        (!self.answered.load(Ordering::Relaxed)).then_some(most)
    }

    async fn again(
        &mut self,
        what: String,
        cause: Option<crate::error::Cause>,
        wait: Option<Duration>,
        most: Option<u32>,
        remedy: &str,
        stop: &CancellationToken,
    ) -> Result<(), RequestError> {
        self.faults += 1;
        let elapsed = self.since.get_or_insert_with(Instant::now).elapsed();
        if most.map_or(elapsed >= OUTAGE, |most| self.faults > most) {
            let mut error =
                Error::source(format!("{what}, {} times in a row", self.faults)).remedy(remedy);
            if let Some(cause) = cause {
                error = error.cause(cause);
            }
            return Err(RequestError::Failed(error));
        }
        let wait = wait.unwrap_or_else(|| back_off(self.faults, chance()));
        tracing::warn!(
            seconds = wait.as_secs_f64(),
            "{what}; asking again (retry {})",
            self.faults
        );
        pause(wait, stop).await
    }

    /// Counts the wait after a request that was refused by the rate limit, or gives up.
    pub fn wait(&mut self, subject: &str, wait: Duration) -> Result<(), RequestError> {
        if self.waited >= MAX_WAITED {
            return Err(RequestError::Failed(
                Error::source(format!(
                    "HubSpot refused {} for {} because too much was asked of it",
                    subject,
                    span(self.waited)
                ))
                .remedy("find which other applications use up the account's limit, or run at another time"),
            ));
        }
        self.waited += wait.max(Duration::from_secs(1));
        Ok(())
    }
}

/// Waits, unless the run is stopped.
pub async fn pause(wait: Duration, stop: &CancellationToken) -> Result<(), RequestError> {
    tokio::select! {
        () = stop.cancelled() => Err(RequestError::Failed(Error::Interrupted)),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// The error for an answer that is implausible.
pub fn unsound(subject: &str, why: &str, times: u32) -> Error {
    Error::source(format!(
        "HubSpot's answer for {subject} cannot be, {times} times in a row: {why}"
    ))
    .remedy(
        "run again: the position stays where it is, and nothing of this run was loaded; where it stays so, tell HubSpot's \
         support",
    )
}

/// Jitter for retry delays, which differs from stream to stream.
pub fn chance() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.subsec_micros())
}
