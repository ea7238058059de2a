//! Waiting for what acequia does not control: a server, a lock that another session holds, a file that another process has
//! open. A stop ends every wait at once, and a long wait logs what it waits for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How long a wait lasts before a message says so.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long work that has been told to stop may take to end by itself.
pub(super) const GRACE: Duration = Duration::from_millis(2500);
/// How long a server that is let go of may take to say good-bye, after that.
pub(super) const PARTING: Duration = Duration::from_millis(500);

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

/// Does `work`, which ends by itself once the run is stopped, unless whoever it waits for has fallen silent: a server that is
/// frozen answers no request to stop either. After `grace` it is given up, as if the process had been killed: the next run takes
/// up what was not committed.
///
/// # Errors
/// [`Error::Interrupted`] where it was given up, and those of `work`.
pub(super) async fn given_up_after_a_stop<T>(
    stop: &CancellationToken,
    grace: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = stop.cancelled() => {}
    }
    tokio::time::timeout(grace, work)
        .await
        .unwrap_or(Err(Error::Interrupted))
}

/// Does `work`, and something else beside it until that is done.
pub(super) async fn beside<T, F: Future<Output = ()>>(
    work: impl Future<Output = T>,
    other: impl FnOnce(CancellationToken) -> F,
) -> T {
    let done = CancellationToken::new();
    let working = async {
        let ended = work.await;
        done.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(working, other(done.clone()));
    ended
}
