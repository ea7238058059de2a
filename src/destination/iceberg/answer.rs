//! What a web service answered, and what is said of it. No message has a secret.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// What stays as it is in a part of a path or in a form (RFC 3986, section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// How much of the catalog's own words is told, in characters.
const MOST_WORDS: usize = 300;

/// A text as a part of a path or a form.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    /// Who was asked.
    asked: String,
}

/// How catalogs tell of errors (REST catalog specification, `ErrorModel`).
#[derive(Deserialize)]
struct Refusal {
    error: Words,
}

#[derive(Deserialize)]
struct Words {
    message: String,
}

impl Answer {
    /// Takes in what came of a request to `asked`.
    ///
    /// # Errors
    /// [`Error::Destination`], for now, where nothing came, or broke off.
    pub(super) async fn of(response: reqwest::Result<Response>, asked: &str) -> Result<Self> {
        let unreachable = |error: reqwest::Error| {
            Error::destination(format!("{asked} cannot be reached"))
                // The address is told already, and its query is nobody's business.
                .cause(error.without_url())
                .for_now()
                .remedy("see whether the catalog is up, and to `catalog` of the destination and the network between")
        };
        let response = response.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        Ok(Self {
            status,
            body,
            asked: asked.to_owned(),
        })
    }

    pub(super) fn is_ok(&self) -> bool {
        self.status.is_success()
    }

    /// What it says, read.
    ///
    /// # Errors
    /// Where it is an error, or is not `what`.
    pub(super) fn json<T: DeserializeOwned>(&self, what: &str, remedy: &str) -> Result<T> {
        if !self.is_ok() {
            return Err(self.refusal(what));
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            Error::destination(format!(
                "{} was asked for {what}, and answers with something else",
                self.asked
            ))
            .remedy(remedy)
        })
    }

    /// The error that it is, where `what` was asked for.
    pub(super) fn refusal(&self, what: &str) -> Error {
        let asked = &self.asked;
        let error = match self.status {
            StatusCode::UNAUTHORIZED => Error::destination(format!(
                "{asked} does not take what it is shown, when it is asked for {what}"
            ))
            .remedy("correct `credential` or `token` of the destination; a token may have run out"),
            StatusCode::FORBIDDEN => Error::destination(format!("{asked} refuses {what}")).remedy(
                "give the client of `credential` or `token` the right to read and write the warehouse in the catalog, and \
                 see that `warehouse` and `dataset` are what the catalog calls them",
            ),
            StatusCode::NOT_FOUND => Error::destination(format!("{asked} does not have {what}"))
                .remedy("correct `catalog` (the address without /v1) and `warehouse` of the destination"),
            StatusCode::METHOD_NOT_ALLOWED => Error::destination(format!(
                "{asked} does not know what it is asked for: {what}"
            ))
            .remedy(
                "correct `catalog` of the destination: the address of an Iceberg REST catalog, without /v1; and `oauth2_uri`, where \
                 it is given",
            ),
            status => Error::destination(format!("{asked} fails ({status}) when it is asked for {what}"))
                .remedy("see the catalog's own log"),
        };
        error.cause(self.told()).for_now()
    }

    /// The catalog's own words, on one line and not too many.
    pub(super) fn told(&self) -> String {
        let words = serde_json::from_slice::<Refusal>(&self.body).map_or_else(
            |_| format!("HTTP status {}", self.status),
            |refusal| refusal.error.message,
        );
        let line: String = words
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(MOST_WORDS)
            .collect();
        line
    }
}
