//! What the catalog is shown: nothing, a token, or tokens that are had for client credentials (RFC 6749, section 4.4).

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::config::{CatalogAccess, Secret};
use crate::error::{Error, Result};

use super::answer::{self, Answer};

/// How long a token lasts where the server does not say.
const LIFE: Duration = Duration::from_hours(1);

/// The tokens that the catalog is shown.
#[derive(Debug)]
pub(super) struct Tokens {
    access: CatalogAccess,
    /// The one that was had last, and since when and until when it is used.
    current: Option<Token>,
    /// The one of the configuration's that was shown last.
    shown: Option<Secret>,
}

#[derive(Debug, Clone)]
struct Token {
    text: Secret,
    had: Instant,
    lasts: Duration,
}

/// The server's answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(access: CatalogAccess) -> Self {
        Self {
            access,
            current: None,
            shown: None,
        }
    }

    /// The token to show now; none where the catalog is shown nothing. One that lasts less than half of its life is replaced, so
    /// that a load that begins with it can end with it.
    pub(super) async fn current(&mut self, http: &Client) -> Result<Option<Secret>> {
        match &self.access {
            CatalogAccess::Open => Ok(None),
            CatalogAccess::Token(token) => {
                let current = token.current().await?;
                self.shown = Some(current.clone());
                Ok(Some(current))
            }
            CatalogAccess::Credential { .. } => match &self.current {
                Some(token) if token.had.elapsed() < token.lasts / 2 => {
                    Ok(Some(token.text.clone()))
                }
                _ => self.renew(http).await,
            },
        }
    }

    /// Has another token, where one can be had.
    pub(super) async fn renew(&mut self, http: &Client) -> Result<Option<Secret>> {
        if let (CatalogAccess::Token(token), Some(shown)) = (&self.access, &self.shown) {
            return if token.refused(shown) {
                token.current().await.map(Some)
            } else {
                Ok(None)
            };
        }
        let CatalogAccess::Credential {
            id,
            secret,
            oauth2_uri,
            scope,
        } = &self.access
        else {
            return Ok(None);
        };
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let body: Vec<String> = form
            .iter()
            .map(|(key, value)| format!("{key}={}", answer::encoded(value)))
            .collect();
        let asked = http
            .post(oauth2_uri)
            .basic_auth(id, Some(secret.reveal()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .send()
            .await;
        let answer = Answer::of(asked, oauth2_uri).await?;
        if matches!(
            answer.status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(
                Error::destination(format!("{oauth2_uri} gives no token for the credential"))
                    .cause(answer.told())
                    .for_now()
                    .remedy(
                        "correct `credential` of the destination (the client's id, `:`, its secret), and `scope` and \
                         `oauth2_uri` where the catalog wants others",
                    ),
            );
        }
        let granted: Granted = answer.json("a token", "correct `oauth2_uri` of the destination")?;
        let token = Secret::new(granted.access_token);
        self.current = Some(Token {
            text: token.clone(),
            had: Instant::now(),
            lasts: granted.expires_in.map_or(LIFE, Duration::from_secs),
        });
        Ok(Some(token))
    }
}
