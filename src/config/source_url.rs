//! A source that is named by an address alone: `postgres://…`, `hubspot://TOKEN@`. No I/O.

use std::sync::Arc;

use url::Url;

use super::hubspot::{ApiVersion, BASE_URL};
use super::postgres::Replication;
use super::resolve::address::is_this_machine;
use super::{HubSpotSource, PostgresSource, PostgresUrl, Reader, Secret, Source, Token};
use crate::error::{Error, Result};

/// A source, and what a configuration says of it.
#[derive(Debug)]
pub struct SourceAddress {
    /// The source.
    pub source: Source,
    /// A name for it: the database's, or `hubspot`.
    pub name: String,
    /// What a configuration must not have in its text: the connection URI, or the token.
    pub secret: Secret,
    /// The HubSpot address, where it is not the usual one.
    pub base_url: Option<String>,
}

impl SourceAddress {
    /// Reads an address. `token` is that of HubSpot, where the address has none.
    ///
    /// # Errors
    /// [`Error::Config`] if it is no such address. The error does not show it, because it may hold a password.
    pub fn parse(text: &str, token: Option<String>) -> Result<Self> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::postgres(text));
        }
        if text.starts_with("hubspot://") {
            return Self::hubspot(text, token);
        }
        Err(Error::config("this is no address of a source").remedy(
            "write postgres://user:password@host:5432/database, or hubspot://TOKEN@ (or hubspot:// with the token in \
             HUBSPOT_TOKEN)",
        ))
    }

    fn postgres(text: &str) -> Self {
        let base = text.split(['?', '#']).next().unwrap_or_default();
        let rest = base.split_once("://").map_or("", |(_, rest)| rest);
        let database = rest.split_once('/').map_or("", |(_, database)| database);
        let letters = database.chars().map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_lowercase()
            } else {
                '_'
            }
        });
        let mut name: String = letters.take(30).collect();
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            name.insert_str(0, "postgres_");
        }
        let name = name.trim_end_matches('_').to_owned();
        let own = "acequia_discover".to_owned();
        Self {
            source: Source::Postgres(Arc::new(PostgresSource {
                url: PostgresUrl::new(text),
                replication: Replication {
                    slot: own.clone(),
                    publication: own.clone(),
                    base: own,
                    others: Vec::new(),
                    streams: Vec::new(),
                },
                reader: Reader::default(),
            })),
            name,
            secret: Secret::new(text),
            base_url: None,
        }
    }

    fn hubspot(text: &str, token: Option<String>) -> Result<Self> {
        let wrong = || {
            Error::config("this is no address of a HubSpot account")
                .remedy("write hubspot://TOKEN@, or hubspot:// with the token in HUBSPOT_TOKEN")
        };
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let (given, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        let given = given.trim_start_matches(':');
        let token = if given.is_empty() {
            token.filter(|token| !token.is_empty()).ok_or_else(wrong)?
        } else {
            given.to_owned()
        };
        let host = host.trim_end_matches('/');
        let base_url = if host.is_empty() {
            None
        } else {
            let url = Url::parse(&format!("https://{host}")).map_err(|_| wrong())?;
            if url.host().is_none() {
                return Err(wrong());
            }
            let scheme = if is_this_machine(&url) {
                "http"
            } else {
                "https"
            };
            Some(format!("{scheme}://{host}"))
        };
        Ok(Self {
            source: Source::HubSpot(Arc::new(HubSpotSource {
                base_url: base_url.clone().unwrap_or_else(|| BASE_URL.to_owned()),
                token: Token::Given(Secret::new(&token)),
                api_version: ApiVersion::default(),
            })),
            name: "hubspot".to_owned(),
            secret: Secret::new(token),
            base_url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_the_source_and_a_name_for_it() {
        for (text, name) in [
            (
                "postgres://u:p@h:5432/formacion?sslmode=require",
                "formacion",
            ),
            ("postgresql://h/Mi-Base", "mi_base"),
            ("postgres://h", "postgres"),
            ("postgres://h/2026", "postgres_2026"),
            ("hubspot://pat-1@", "hubspot"),
        ] {
            let address = SourceAddress::parse(text, None).unwrap();
            assert_eq!(address.name, name, "{text}");
            assert!(!format!("{address:?}").contains("pat-1"), "{address:?}");
        }
        let local = SourceAddress::parse("hubspot://pat@127.0.0.1:8080/", None).unwrap();
        assert_eq!(local.base_url.as_deref(), Some("http://127.0.0.1:8080"));
        let of_environment = SourceAddress::parse("hubspot://", Some("pat".to_owned())).unwrap();
        assert_eq!(of_environment.secret.reveal(), "pat");
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_shown() {
        for text in [
            "secret",
            "mysql://u:secret@h/d",
            "hubspot://",
            "hubspot://secret@ /",
        ] {
            let error = SourceAddress::parse(text, None)
                .map(drop)
                .unwrap_err()
                .report();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
