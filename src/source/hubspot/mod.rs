//! HubSpot as a source: every object of its CRM, owners and pipelines, as typed columns.
//!
//! `open` opens a stream and describes its columns (`properties`); `stream` starts to read it. `object_client` requests ids
//! and records; `records`, `history`, `associations`, `definitions` and `directory` read one kind of stream each. `json`
//! and `page` parse answers; `builder`, `rows`, `column` and `value` build Arrow arrays, with no I/O. `client` sends
//! requests, as `rate_limit` allows and as `error` classifies their answers.

use std::sync::Arc;

use chrono::Utc;

use crate::config::{HubSpotObject, HubSpotSource};
use crate::discovery::FoundTable;
use crate::error::{Error, Result};

pub mod associations;
pub mod builder;
pub mod client;
pub mod column;
pub mod definitions;
pub mod directory;
mod discover;
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
    /// Checks address and token. It does not connect.
    pub fn new(config: &HubSpotSource) -> Result<Self> {
        Ok(Self {
            client: Client::new(&config.base_url, &config.token, config.api_version)?,
        })
    }

    /// Connects, and returns a description of the account.
    ///
    /// # Errors
    /// HubSpot cannot be reached, or does not accept the token. A missing scope is reported by the stream that needs it.
    pub async fn describe(&self) -> Result<String> {
        let reader = ObjectClient::new(&self.client, CrmObject::new("owners"));
        let path = format!("{}?limit=1", self.client.version.owners());
        let request = reader.request(path, None, rate_limit::Allowance::Window);
        match self.client.fetch(&request, &reader.stop).await {
            // A token without the scope for owners is accepted as well.
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

    /// Connects, and returns the objects, and which of them the token may read.
    pub async fn objects(&self, source: &Arc<HubSpotSource>) -> Result<Vec<FoundTable>> {
        discover::objects(self, source).await
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
