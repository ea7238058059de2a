//! Resolves streams of HubSpot: checks that their keys agree, and makes the streams.
//!
//! A configured stream with `history` and `associations` fills several tables. Each of them is a stream of its own, with
//! its own loads, its own position and its own row in the ledger.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::address;
use super::problems::{Checked, Problems};
use super::stream::Resolver;
use crate::config::document::Document;
use crate::config::hubspot::{
    BASE_URL, Calculated, HubSpotIncremental, HubSpotPart, HubSpotRead, PropertySettings,
    RECORD_COLUMNS, WITH_PIPELINES,
};
use crate::config::model::{Columns, Scalar, SourceConfig, StreamConfig};
use crate::config::{Hooks, HubSpotObject, HubSpotSource, Stream, StreamSource, units};
use crate::error::Result;
use crate::layout::Layout;
use crate::mask::Masks;
use crate::mode::{IncrementalLoad, Mode};
use crate::position::{Lag, timestamptz};
use crate::renames::Renames;

/// The streams that `definitions` adds.
const DEFINITIONS: [(&str, HubSpotPart); 2] = [
    ("properties", HubSpotPart::Properties),
    ("options", HubSpotPart::Options),
];
/// How often ids are compared, unless the stream says otherwise.
const COMPARE: TimeDelta = TimeDelta::days(7);

const LEAVE_OUT: &str = "leave it out";

/// What is read of an object that has no records.
enum Whole {
    Owners,
    /// The pipelines of these objects.
    Pipelines(Vec<String>),
}

/// The tables that a configured stream fills, given the name of its first.
pub(super) fn tables_of(table: &str, config: &StreamConfig) -> Vec<String> {
    let mut tables = vec![table.to_owned()];
    if table.is_empty() || config.object.is_none() {
        return tables;
    }
    tables.extend(
        config
            .history
            .is_some()
            .then(|| format!("{table}__history")),
    );
    if config.definitions == Some(true) {
        tables.extend(DEFINITIONS.map(|(name, _)| format!("{table}__{name}")));
    }
    let others = config.associations.as_ref().map(Columns::names);
    tables.extend(
        others
            .unwrap_or_default()
            .iter()
            .map(|other| beside(table, other)),
    );
    tables
}

fn beside(table: &str, other: &str) -> String {
    let other: String = other
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect();
    format!("{table}__{other}")
}

impl Document {
    /// The HubSpot account of a source.
    pub(super) fn hubspot(
        &self,
        name: &str,
        config: &SourceConfig,
        problems: &mut Problems,
    ) -> Checked<HubSpotSource> {
        let table = super::table("sources", name);
        let given = (config.token.as_deref(), config.token_command.as_deref());
        let token = self.token(&table, given, problems)?.ok_or_else(|| {
            problems.add(
                &format!("{table} token"),
                "it is missing",
                "write token = \"${HUBSPOT_TOKEN}\", and set that variable to the token of a private app or service key",
            )
        });
        let place = format!("{table} base_url");
        let base_url = match &config.base_url {
            Some(url) => self.expand(url, &place, problems).and_then(|url| {
                match address::check(&url, config.insecure_http == Some(true)) {
                    Ok(()) => Ok(url),
                    Err((what, remedy)) => Err(problems.add(&place, what, remedy)),
                }
            }),
            None => Ok(BASE_URL.to_owned()),
        };
        if config.url.is_some() {
            let what = "a HubSpot source has no url";
            return Err(problems.add(
                &format!("{table} url"),
                what,
                "write base_url, or leave it out",
            ));
        }
        if config.password_command.is_some() {
            return Err(problems.add(
                &format!("{table} password_command"),
                "a HubSpot source has no password",
                "leave it out",
            ));
        }
        Ok(HubSpotSource {
            base_url: base_url?,
            token: token?,
            api_version: config.api_version.unwrap_or_default(),
        })
    }
}

impl Resolver<'_> {
    pub(super) fn resolve_crm(
        mut self,
        source: &Result<Arc<HubSpotSource>>,
    ) -> Checked<Vec<Stream>> {
        let refused = self.refuse_sql_keys();
        let object = self.object();
        let read = self.crm_read();
        let table = self.table();
        let layout = self.layout();
        let properties = self.listed(self.config.properties.as_ref(), "properties");
        let exclude = self.texts(&self.config.exclude, "exclude");
        let history = self.listed(self.config.history.as_ref(), "history");
        let associations = self.listed(self.config.associations.as_ref(), "associations");
        let masks = self.masks();
        let renames = self.renames();
        let hooks = self.hooks();
        refused?;
        let (object, whole) = object?;
        let read = read?;
        let (properties, exclude) = (properties?, exclude?);
        let masks = masks?;
        if whole.is_none() {
            self.refuse_masks_of(&masks, &RECORD_COLUMNS)?;
        }
        let (history, associations) = (history?, associations?);
        let part = match (whole, &read) {
            (None, _) => HubSpotPart::Records(
                PropertySettings {
                    wanted: properties,
                    excluded: exclude,
                    // Of what is read as text, no value is kept beside because it does not fit.
                    types: self.types(masks.hidden_columns()),
                },
                read.clone(),
            ),
            (Some(whole), HubSpotRead::Full(load))
                if history.is_none()
                    && associations.is_none()
                    && self.config.definitions.is_none()
                    && properties.is_none()
                    && exclude.is_empty()
                    && self.config.types.is_empty() =>
            {
                match whole {
                    Whole::Owners => HubSpotPart::Owners(*load),
                    Whole::Pipelines(objects) => HubSpotPart::Pipelines(objects, *load),
                }
            }
            (Some(_), _) => {
                return Err(self.problem(
                    "object",
                    &format!(
                        "{object} are read in full, and have no properties, history or associations"
                    ),
                    "use mode = \"full\" and leave those keys out",
                ));
            }
        };
        let first = Stream {
            name: self.name.clone(),
            source: self.config.source.clone(),
            from: StreamSource::HubSpot(HubSpotObject {
                source: source.clone(),
                object: object.clone(),
                part,
                masks: masks.clone(),
            }),
            table: table?,
            contract: self.config.schema_contract,
            layout: layout?,
            renames: renames?,
            hooks: hooks?,
        };
        let history = history.map(|properties| {
            let part = HubSpotPart::History(properties, read);
            ("history".to_owned(), part)
        });
        let definitions = DEFINITIONS
            .into_iter()
            .filter(|_| self.config.definitions == Some(true))
            .map(|(name, part)| (name.to_owned(), part));
        // HubSpot does not report when an association or a property changed, so these streams are read in full.
        let associations = associations.into_iter().flatten();
        let associations =
            associations.map(|other| (other.clone(), HubSpotPart::Associations(other)));
        let others = history.into_iter().chain(definitions).chain(associations);
        let mut streams = vec![first.clone()];
        for (other, part) in others.collect::<Vec<_>>() {
            let masks = match part {
                HubSpotPart::History(..) => masks.of_history("property", "value"),
                _ => Masks::default(),
            };
            let object = HubSpotObject {
                source: source.clone(),
                object: object.clone(),
                part,
                masks,
            };
            streams.push(self.further(&first, &other, object)?);
        }
        Ok(streams)
    }

    /// The keys that only streams of HubSpot have.
    pub(super) fn refuse_crm_keys(&mut self) -> Checked<()> {
        let config = self.config;
        self.refuse(
            &[
                ("object", config.object.is_some()),
                ("properties", config.properties.is_some()),
                ("history", config.history.is_some()),
                ("associations", config.associations.is_some()),
                ("compare", config.compare.is_some()),
                ("calculated", config.calculated.is_some()),
                ("definitions", config.definitions.is_some()),
            ],
            "only a stream of a HubSpot source has it",
            LEAVE_OUT,
        )
    }

    /// The keys that only streams of SQL have.
    fn refuse_sql_keys(&mut self) -> Checked<()> {
        let config = self.config;
        self.refuse(
            &[
                ("table", config.table.is_some()),
                ("query", config.query.is_some()),
                ("where", config.filter.is_some()),
                ("columns", config.columns.is_some()),
                ("cursor", config.cursor.is_some()),
                ("null_cursor", config.null_cursor.is_some()),
                ("primary_key", config.primary_key.is_some()),
                ("parallel", config.parallel.is_some()),
                ("row_security", config.row_security.is_some()),
                ("deletes", config.deletes.is_some()),
                ("changelog", config.changelog.is_some()),
                ("delete_missing", config.delete_missing.is_some()),
                (
                    "delete_missing_every",
                    config.delete_missing_every.is_some(),
                ),
            ],
            "a stream of a HubSpot source does not have it",
            LEAVE_OUT,
        )
    }

    /// The object. If it has no records, also what is read of it.
    fn object(&mut self) -> Checked<(String, Option<Whole>)> {
        let remedy = "name what to read, as in object = \"companies\"";
        let Some(object) = &self.config.object else {
            return Err(self.problem("object", "it is missing", remedy));
        };
        let object = self.text(object, "object")?;
        let (name, of) = object.split_once('/').unwrap_or((&object, ""));
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        let whole = match (name, of) {
            ("owners", "") => Some(Whole::Owners),
            ("pipelines", "") => Some(Whole::Pipelines(WITH_PIPELINES.map(str::to_owned).to_vec())),
            ("pipelines", of) if is_name(of) => Some(Whole::Pipelines(vec![of.to_owned()])),
            (name, "") if is_name(name) => None,
            _ => return Err(self.problem("object", "this is no object of HubSpot", remedy)),
        };
        Ok((name.to_owned(), whole))
    }

    /// Which records each run reads.
    fn crm_read(&mut self) -> Checked<HubSpotRead> {
        match self.config.mode {
            Mode::Full => {
                let load = self.full_load();
                let config = self.config;
                self.refuse(
                    &[
                        ("initial_value", config.initial_value.is_some()),
                        ("lag", config.lag.is_some()),
                        ("compare", config.compare.is_some()),
                        ("calculated", config.calculated.is_some()),
                    ],
                    "it has no meaning with mode = \"full\"",
                    LEAVE_OUT,
                )?;
                load.map(HubSpotRead::Full)
            }
            Mode::Incremental => self.crm_incremental().map(HubSpotRead::Incremental),
            Mode::Cdc => Err(self.problem(
                "mode",
                "HubSpot has no log of changes to replicate",
                "use mode = \"incremental\", which reads what has changed, or \"full\"",
            )),
        }
    }

    /// HubSpot itself defines the cursor: the time of a record's last change.
    fn crm_incremental(&mut self) -> Checked<HubSpotIncremental> {
        let load = self.incremental_load();
        let initial = self.initial_time();
        let lag = self.time_lag();
        let compare = self.compare();
        let calculated = self.calculated();
        let IncrementalLoad::Keyed(load) = load? else {
            return Err(self.problem(
                "disposition",
                "a record of HubSpot that changed takes the place of what it was",
                "leave disposition out",
            ));
        };
        Ok(HubSpotIncremental {
            load,
            initial: initial?,
            lag: lag?,
            compare: compare?,
            calculated: calculated?,
        })
    }

    fn initial_time(&mut self) -> Checked<Option<DateTime<Utc>>> {
        let time = match &self.config.initial_value {
            None => return Ok(None),
            Some(Scalar::Text(text)) => timestamptz(&self.text(text, "initial_value")?),
            Some(Scalar::Integer(_)) => None,
        };
        time.map(Some).ok_or_else(|| {
            self.problem(
                "initial_value",
                "this is no time",
                "write it as 2026-01-31T08:00:00Z",
            )
        })
    }

    fn time_lag(&mut self) -> Checked<Option<TimeDelta>> {
        match self.lag()? {
            None => Ok(None),
            Some(Lag::Time(lag)) => Ok(Some(lag)),
            Some(Lag::Units(_)) => Err(self.problem(
                "lag",
                "this is no duration",
                "write a duration such as \"90s\", \"10m\", \"2h\" or \"1d\"",
            )),
        }
    }

    fn compare(&mut self) -> Checked<Option<TimeDelta>> {
        let Some(text) = &self.config.compare else {
            return Ok(Some(COMPARE));
        };
        match self.text(text, "compare")?.as_str() {
            "never" => Ok(None),
            text => match units::duration(text) {
                Some(time) => Ok(Some(time)),
                None => Err(self.problem(
                    "compare",
                    "this is no interval",
                    "write a duration such as \"1d\" or \"12h\", or \"never\"",
                )),
            },
        }
    }

    fn calculated(&mut self) -> Checked<Calculated> {
        let Some(text) = &self.config.calculated else {
            return Ok(Calculated::Warn);
        };
        match self.text(text, "calculated")?.as_str() {
            "ignore" => Ok(Calculated::Ignore),
            "full" => Ok(Calculated::Every(TimeDelta::zero())),
            text => match units::duration(text) {
                Some(time) => Ok(Calculated::Every(time)),
                None => Err(self.problem(
                    "calculated",
                    "this is none of its values",
                    "write \"full\", a duration such as \"1d\", or \"ignore\"",
                )),
            },
        }
    }

    fn listed(&mut self, columns: Option<&Columns>, key: &str) -> Checked<Option<Vec<String>>> {
        let Some(columns) = columns else {
            return Ok(None);
        };
        let names = columns.names();
        if names.is_empty() {
            return Err(self.problem(key, "it names nothing", "name something, or leave it out"));
        }
        self.texts(names, key).map(Some)
    }

    /// A stream for a further table, whose name begins with that of the first stream's table.
    fn further(&mut self, first: &Stream, other: &str, object: HubSpotObject) -> Checked<Stream> {
        let named = beside(first.name.as_str(), other).parse();
        let Ok(name) = named else {
            return Err(self.problem(
                "associations",
                &format!("the stream's name and `{other}` are too long together"),
                "give the stream a shorter name",
            ));
        };
        Ok(Stream {
            name,
            source: first.source.clone(),
            from: StreamSource::HubSpot(object),
            table: beside(&first.table, other),
            contract: first.contract,
            layout: Layout::default(),
            renames: Renames::default(),
            hooks: Hooks::default(),
        })
    }
}
