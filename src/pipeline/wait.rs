//! Waiting for what is not in our hands: a server, a lock that somebody else holds, a file that another has open. A stop ends
//! every wait at once, and one that takes long says what it is for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How long something may take before a word is said of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does `work`, unless the run is stopped before.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is cancelled, and those of `work`.
pub(super) async fn unless_stopped<T>(
    stop: &CancellationToken,
    what: impl std::fmt::Display,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = stop.cancelled() => return Err(Error::Interrupted),
        () = tokio::time::sleep(PATIENCE) => tracing::warn!("still waiting: {what}"),
    }
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Error::Interrupted),
    }
}
