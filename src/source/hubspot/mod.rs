//! HubSpot as a source: every object of its CRM, owners and pipelines, as typed columns.
//!
//! `open` opens a stream and says what its columns are (`properties`), `stream` begins to read it; `object_client` asks for ids
//! and records, `records`, `history`, `associations` and `directory` read one kind of stream each; `json` and `page` read
//! what comes, `builder`, `rows`, `column` and `value` make Arrow of it, with no I/O; `client` sends requests, as `rate_limit`
//! allows them and as `error` judges their answers.

use chrono::Utc;

use crate::config::{HubSpotObject, HubSpotSource};
use crate::error::{Error, Result};

pub mod associations;
pub mod builder;
pub mod client;
pub mod column;
pub mod definitions;
pub mod directory;
pub mod error;
pub mod history;
pub mod ids;
pub mod incremental;
pub mod json;
pub mod listing;
pub mod object;
pub mod object_client;
mod open;
pub mod page;
pub mod properties;
pub mod rate_limit;
pub mod records;
pub mod retry;
pub mod rows;
pub mod search;
pub mod stream;
pub mod value;

use crate::config::hubspot::ApiVersion;
use client::Client;
use error::RequestError;
use object::CrmObject;
use object_client::ObjectClient;
use stream::HubSpotStream;

/// A HubSpot account to read from.
#[derive(Debug, Clone)]
pub struct HubSpot {
    client: Client,
}

impl HubSpot {
    /// Understands address and token. Does not connect.
    pub fn new(config: &HubSpotSource) -> Result<Self> {
        Ok(Self {
            client: Client::new(&config.base_url, &config.token, config.api_version)?,
        })
    }

    /// Connects, and says to what.
    ///
    /// # Errors
    /// Where HubSpot cannot be reached, or does not accept the token. A scope that is missing is told of the stream that
    /// needs it.
    pub async fn describe(&self) -> Result<String> {
        let reader = ObjectClient::new(&self.client, CrmObject::new("owners"));
        let path = format!("{}?limit=1", self.client.version.owners());
        let request = reader.request(path, None, rate_limit::Allowance::Window);
        match self.client.fetch(&request, &reader.stop).await {
            // Who may not ask for owners is known all the same.
            Ok(_) | Err(RequestError::Forbidden(_)) => Ok(format!(
                "HubSpot at {}, which accepts the token; paths of {}",
                self.client.base_url(),
                match self.client.version {
                    ApiVersion::Dated202603 => "2026-03",
                    ApiVersion::V3 => "v3, supported until 2027",
                }
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Connects and opens a stream.
    pub async fn open(&self, object: &HubSpotObject) -> Result<HubSpotStream> {
        let began = Utc::now();
        HubSpotStream::open(&self.client, object, began).await
    }
}

impl From<json::Malformed> for Error {
    fn from(malformed: json::Malformed) -> Self {
        Self::source("HubSpot's answer could not be understood").cause(malformed)
    }
}
