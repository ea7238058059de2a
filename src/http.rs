//! The HTTP client that services are asked by.

use std::time::Duration;

use bytes::BytesMut;

use crate::error::{Error, Result};

/// A client that waits so long for a connection, and for an answer to go on. It follows no redirection: whoever is asked is
/// shown a secret, which is for the address in the configuration.
pub(crate) fn client(connect: Duration, read: Duration) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(connect)
        .read_timeout(read)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("acequia/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::internal("the HTTP client could not be made").cause(error))
}

/// Reads an answer's body, up to so many bytes of it.
pub(crate) async fn read(
    response: &mut reqwest::Response,
    body: &mut BytesMut,
    most: usize,
) -> reqwest::Result<()> {
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}
