//! Reading a stream again within a run, where its source broke off. Nothing can come twice: an error of a source comes before the
//! load is published, what was landed so far is removed, and the stream stands where it stood.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::source::postgres::replication::is_broken;

/// How often what broke off is begun again.
const MOST: u32 = 5;
/// The wait before the first time, which doubles each time, and the longest wait.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Whether an error means that a source broke off, or takes nobody at the moment.
pub(super) fn broke_off(error: &Error) -> bool {
    matches!(error, Error::Source(_)) && (error.passes() || is_broken(error))
}

/// The attempts at a source that are left.
#[derive(Debug)]
pub(super) struct Retries {
    made: u32,
    most: u32,
    wait: Duration,
    /// Whether the source was reached once: one that never was is more likely misspelt than away.
    reached: bool,
}

impl Retries {
    /// Of a source that was not asked yet.
    pub(super) fn new() -> Self {
        Self {
            made: 0,
            most: MOST,
            wait: WAIT.0,
            reached: false,
        }
    }

    /// Of a source that is followed: without end.
    pub(super) fn endless() -> Self {
        Self {
            most: u32::MAX,
            reached: true,
            ..Self::new()
        }
    }

    /// Notes that the source was reached.
    pub(super) fn reached(&mut self) {
        self.reached = true;
    }

    /// Whether no attempt is left.
    pub(super) fn is_over(&self) -> bool {
        self.made >= self.most
    }

    /// How long to wait until the next attempt; `None` if none is left.
    pub(super) fn next(&mut self) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        self.made += 1;
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT.1);
        Some(wait)
    }

    /// How long to wait until what failed may be begun again; `None` if it may not.
    pub(super) fn wait(&mut self, error: &Error) -> Option<Duration> {
        if broke_off(error) && (self.reached || error.passes()) {
            self.next()
        } else {
            None
        }
    }

    /// Waits until what failed may be begun again. Returns whether it may.
    pub(super) async fn again(
        &mut self,
        error: &Error,
        what: &str,
        stop: &CancellationToken,
    ) -> bool {
        let Some(wait) = self.wait(error) else {
            return false;
        };
        tracing::warn!(
            "{what} is read again in {} s (attempt {} of {}): {error}",
            wait.as_secs(),
            self.made + 1,
            self.most + 1
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = stop.cancelled() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_off_is_begun_again_a_few_times_and_nothing_else_is() {
        let io = || std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        let refused = || Error::source("cannot connect").cause(io());
        let mut retries = Retries::new();
        assert_eq!(
            retries.wait(&refused()),
            None,
            "a source that never was there"
        );
        assert_eq!(
            retries.wait(&Error::source("is starting up").for_now()),
            Some(Duration::from_secs(1))
        );
        retries.reached();
        let waits: Vec<u64> = std::iter::from_fn(|| retries.wait(&refused()))
            .map(|wait| wait.as_secs())
            .collect();
        assert_eq!(waits, [2, 4, 8, 16]);
        let mut retries = Retries::new();
        retries.reached();
        for lasting in [
            Error::source("there is no such table"),
            Error::destination("the disk is full").for_now(),
            Error::landing("the bucket is away").cause(io()),
            Error::data("a key is NULL"),
            Error::Interrupted,
        ] {
            assert_eq!(retries.wait(&lasting), None, "{lasting}");
        }
    }
}
