//! HubSpot as a source: what is configured of the account, and of the streams that read it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Token;
use crate::error::Result;
use crate::mask::Masks;
use crate::mode::{Disposition, FullLoad, KeyedLoad, Mode};
use crate::schema::ColumnType;

/// The address of HubSpot's API.
pub(super) const BASE_URL: &str = "https://api.hubapi.com";

/// The columns that every stream of records has besides its properties.
pub const RECORD_COLUMNS: [&str; 7] = [
    "id",
    "created_at",
    "updated_at",
    "archived",
    "archived_at",
    "merged_into",
    "deleted_at",
];
/// The objects whose pipelines are read where no other is named.
pub(crate) const WITH_PIPELINES: [&str; 2] = ["deals", "tickets"];

/// A HubSpot account to read from.
#[derive(Debug, Clone)]
pub struct HubSpotSource {
    /// The address of the API.
    pub base_url: String,
    /// The token of a private app or a service key.
    pub token: Token,
    /// Which paths of the API are asked.
    pub api_version: ApiVersion,
}

/// Which paths of the API are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The dated paths, `/crm/objects/2026-03/…`.
    #[default]
    #[serde(rename = "2026-03")]
    Dated202603,
    /// The older paths, `/crm/v3/objects/…`, which HubSpot supports until 2027.
    #[serde(rename = "v3")]
    V3,
}

/// A stream that reads an object of HubSpot.
#[derive(Debug, Clone)]
pub struct HubSpotObject {
    /// The account, or the error in its configuration.
    pub source: Result<Arc<HubSpotSource>>,
    /// The object: `companies`.
    pub object: String,
    /// What is read of the object.
    pub part: HubSpotPart,
    /// What takes the place of columns' values. Columns that are masked as text are among the types.
    pub masks: Masks,
}

/// What a stream reads of an object of HubSpot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubSpotPart {
    /// Its records.
    Records(PropertySettings, HubSpotRead),
    /// Every value that these properties (names or patterns) had.
    History(Vec<String>, HubSpotRead),
    /// The associations of its records with those of that other object.
    Associations(String),
    /// The definitions of its properties.
    Properties,
    /// The choices of its properties.
    Options,
    /// The owners.
    Owners(FullLoad),
    /// The pipelines of these objects.
    Pipelines(Vec<String>, FullLoad),
}

/// Which properties of records are read, and as what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertySettings {
    /// The properties to read, by name or pattern. `None` for all.
    pub wanted: Option<Vec<String>>,
    /// The properties to leave out, by name or pattern.
    pub excluded: Vec<String>,
    /// The column types to use instead of HubSpot's, by column.
    pub types: BTreeMap<String, ColumnType>,
}

/// Which records a stream reads in each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubSpotRead {
    /// All records.
    Full(FullLoad),
    /// The records that changed since the last run.
    Incremental(HubSpotIncremental),
}

/// How records are read that changed since the last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSpotIncremental {
    /// How loads are applied.
    pub load: KeyedLoad,
    /// The time from which the first run reads. `None` for the beginning.
    pub initial: Option<DateTime<Utc>>,
    /// How far below the position each run begins. `None` for ten minutes.
    pub lag: Option<TimeDelta>,
    /// How often the ids of all records are compared with those of the table. `None` for never.
    pub compare: Option<TimeDelta>,
    /// What is done about properties that HubSpot calculates.
    pub calculated: Calculated,
}

/// What is done about calculated properties, whose changes do not change the time of a record's last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calculated {
    /// Nothing is done, and every run warns.
    Warn,
    /// Nothing is done.
    Ignore,
    /// All records are read again at this interval; zero means in every run.
    Every(TimeDelta),
}

impl HubSpotObject {
    /// How the stream is read.
    pub fn mode(&self) -> Mode {
        match self.incremental() {
            Some(_) => Mode::Incremental,
            None => Mode::Full,
        }
    }

    /// How its loads are applied.
    pub fn disposition(&self) -> Disposition {
        match &self.part {
            HubSpotPart::Records(_, read) | HubSpotPart::History(_, read) => read.disposition(),
            HubSpotPart::Associations(_) | HubSpotPart::Properties | HubSpotPart::Options => {
                Disposition::Replace
            }
            HubSpotPart::Owners(load) | HubSpotPart::Pipelines(_, load) => (*load).into(),
        }
    }

    /// The column that says when a row was last changed, and how such rows are read, if the stream reads what changed.
    pub fn incremental(&self) -> Option<(&'static str, &HubSpotIncremental)> {
        match &self.part {
            HubSpotPart::Records(_, HubSpotRead::Incremental(read)) => Some(("updated_at", read)),
            HubSpotPart::History(_, HubSpotRead::Incremental(read)) => Some(("timestamp", read)),
            _ => None,
        }
    }

    /// The settings that identify what is read. The API's address is no part of them.
    pub(super) fn identity(&self) -> impl fmt::Debug + '_ {
        let Self {
            source: _,
            object,
            part,
            masks,
        } = self;
        (object, part, masks)
    }
}

impl HubSpotRead {
    /// Whether the stream reads what changed.
    pub fn is_incremental(&self) -> bool {
        matches!(self, Self::Incremental(_))
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Full(load) => (*load).into(),
            Self::Incremental(incremental) => incremental.load.into(),
        }
    }
}

impl fmt::Display for HubSpotObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = &self.object;
        match &self.part {
            HubSpotPart::Records(..) | HubSpotPart::Owners(_) => write!(f, "{object} of HubSpot"),
            HubSpotPart::History(..) => write!(f, "the history of {object}"),
            HubSpotPart::Properties => write!(f, "the properties of {object}"),
            HubSpotPart::Options => write!(f, "the choices of properties of {object}"),
            HubSpotPart::Associations(to) => write!(f, "associations of {object} with {to}"),
            HubSpotPart::Pipelines(objects, _) => write!(f, "pipelines of {}", objects.join(", ")),
        }
    }
}
