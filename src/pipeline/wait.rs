//! Waiting for what acequia does not control: a server, a lock that another session holds, a file that another process has
//! open. A stop ends every wait at once, and a long wait logs what it waits for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How long a wait lasts before a message says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does `work`, unless the run is stopped first.
///
/// # Errors
/// [`Error::Interrupted`] when `stop` is cancelled, and the errors of `work`.
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
