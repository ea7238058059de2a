//! A panic in the work on one stream is that stream's failure: the others go on, and the run reports it.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::error::{Error, Result};

/// Does `work`; where it panics, that is an error. What it was about is given up, so nothing half done is gone on with.
///
/// # Errors
/// [`Error::Internal`] for a panic, and those of `work`.
pub(super) async fn contained<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| {
        Err(Error::internal(
            "the work broke off, as something was not what it has to be; the message is on standard error",
        )
        .remedy(
            "where a server only speaks PostgreSQL's protocol and is none, its answers may be of other types: acequia reads \
             PostgreSQL alone. Else please report it, with that message",
        ))
    })
}
