//! Streams of HubSpot: whether their keys go together, and the streams that each comes to.
//!
//! A configured stream with `history` and `associations` fills several tables. Each of them is a stream of its own, with
//! its own loads, its own position and its own row in the ledger: there is nothing else that a stream can be.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::address;
use super::problems::{Checked, Problems};
use super::stream::Resolver;
use crate::config::document::Document;
use crate::config::model::{Columns, Scalar, SourceConfig, StreamConfig};
use crate::config::{
    Calculated, CrmPart, CrmRelation, Cursor, NullCursor, Relation, Secret, Source, Stream, units,
};
use crate::mode::{Disposition, Mode};

/// Where HubSpot is asked, unless the source says otherwise.
const BASE_URL: &str = "https://api.hubapi.com";
/// What `definitions` brings.
const DEFINITIONS: [(&str, CrmPart); 2] = [
    ("properties", CrmPart::Properties),
    ("options", CrmPart::Options),
];
/// How often ids are compared, unless the stream says otherwise.
const COMPARE: TimeDelta = TimeDelta::days(7);
/// The objects whose pipelines `object = "pipelines"` means.
const WITH_PIPELINES: [&str; 2] = ["deals", "tickets"];

/// The tables that a configured stream fills, given the name of the first.
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
    ) -> Checked<Source> {
        let table = super::table("sources", name);
        let place = format!("{table} token");
        let token = match &config.token {
            Some(token) => self.expand(token, &place, problems),
            None => Err(problems.add(
                &place,
                "it is missing",
                "write token = \"${HUBSPOT_TOKEN}\", and set that variable to the token of a private app or service key",
            )),
        };
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
        Ok(Source::HubSpot {
            base_url: base_url?,
            token: Secret::new(token?),
            api_version: config.api_version.unwrap_or_default(),
        })
    }
}

impl Resolver<'_> {
    pub(super) fn resolve_crm(mut self) -> Checked<Vec<Stream>> {
        let refused = self.refuse_sql_keys();
        let source = self.source();
        let object = self.object();
        let disposition = self.disposition();
        let cursor = self.crm_cursor();
        let table = self.table();
        let properties = self.listed(self.config.properties.as_ref(), "properties");
        let exclude = self.texts(&self.config.exclude, "exclude");
        let history = self.listed(self.config.history.as_ref(), "history");
        let associations = self.listed(self.config.associations.as_ref(), "associations");
        let compare = self.compare();
        let calculated = self.calculated();
        refused?;
        if self.config.mode == Mode::Cdc {
            return Err(self.problem(
                "mode",
                "HubSpot has no log of changes to replicate",
                "use mode = \"incremental\", which reads what has changed, or \"full\"",
            ));
        }
        let (object, part) = object?;
        let disposition = disposition?;
        if disposition == Disposition::Append {
            return Err(self.problem(
                "disposition",
                "a record of HubSpot that changed takes the place of what it was",
                "leave disposition out",
            ));
        }
        let (history, associations) = (history?, associations?);
        if part != CrmPart::Records
            && (self.config.mode == Mode::Incremental
                || history.is_some()
                || associations.is_some()
                || self.config.definitions.is_some()
                || self.config.properties.is_some())
        {
            return Err(self.problem(
                "object",
                &format!(
                    "{object} are read in full, and have no properties, history or associations"
                ),
                "use mode = \"full\" and leave those keys out",
            ));
        }
        let first = Stream {
            name: self.name.clone(),
            source: source?,
            relation: Relation::Crm(CrmRelation {
                object: object.clone(),
                part,
                properties: properties?,
                compare: compare?,
                calculated: calculated?,
            }),
            mode: self.config.mode,
            disposition,
            cursor: cursor?,
            changes: None,
            primary_key: None,
            columns: None,
            exclude: exclude?,
            filter: None,
            table: table?,
            parallel: None,
            row_security: false,
            contract: self.config.schema_contract,
            types: self.config.types.clone(),
        };
        let mut streams = vec![first.clone()];
        if let Some(history) = history {
            let mut stream = self.further(&first, "history", CrmPart::History(history))?;
            if let Some(cursor) = &mut stream.cursor {
                "timestamp".clone_into(&mut cursor.column);
            }
            streams.push(stream);
        }
        let definitions = DEFINITIONS
            .into_iter()
            .filter(|_| self.config.definitions == Some(true))
            .map(|(name, part)| (name.to_owned(), part));
        let associations = associations.into_iter().flatten();
        let associations = associations.map(|other| (other.clone(), CrmPart::Associations(other)));
        for (name, part) in definitions.chain(associations).collect::<Vec<_>>() {
            let mut stream = self.further(&first, &name, part)?;
            // Nothing tells when an association was made or ended, or a property changed.
            stream.mode = Mode::Full;
            stream.disposition = Disposition::Replace;
            stream.cursor = None;
            streams.push(stream);
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
            ],
            "a stream of a HubSpot source does not have it",
        )
    }

    fn refuse(&mut self, keys: &[(&str, bool)], what: &str) -> Checked<()> {
        let mut outcome = Ok(());
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            outcome = Err(self.problem(key, what, "leave it out"));
        }
        outcome
    }

    fn object(&mut self) -> Checked<(String, CrmPart)> {
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
        let part = match (name, of) {
            ("owners", "") => CrmPart::Owners,
            ("pipelines", "") => CrmPart::Pipelines(WITH_PIPELINES.map(str::to_owned).to_vec()),
            ("pipelines", of) if is_name(of) => CrmPart::Pipelines(vec![of.to_owned()]),
            (name, "") if is_name(name) => CrmPart::Records,
            _ => return Err(self.problem("object", "this is no object of HubSpot", remedy)),
        };
        Ok((name.to_owned(), part))
    }

    /// HubSpot itself says by what records are known to have changed.
    fn crm_cursor(&mut self) -> Checked<Option<Cursor>> {
        if self.config.mode == Mode::Full {
            let config = self.config;
            self.refuse(
                &[
                    ("initial_value", config.initial_value.is_some()),
                    ("lag", config.lag.is_some()),
                    ("compare", config.compare.is_some()),
                    ("calculated", config.calculated.is_some()),
                ],
                "it has no meaning with mode = \"full\"",
            )?;
            return Ok(None);
        }
        let initial_value = match &self.config.initial_value {
            None => None,
            Some(Scalar::Text(text)) => Some(self.text(text, "initial_value")?),
            Some(Scalar::Integer(_)) => {
                return Err(self.problem(
                    "initial_value",
                    "this is no time",
                    "write it as 2026-01-31T08:00:00Z",
                ));
            }
        };
        let lag = self.lag()?;
        Ok(Some(Cursor {
            column: "updated_at".to_owned(),
            initial_value,
            lag,
            nulls: NullCursor::Include,
        }))
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

    /// A stream beside the first, for a table beside its table.
    fn further(&mut self, first: &Stream, other: &str, part: CrmPart) -> Checked<Stream> {
        let named = beside(first.name.as_str(), other).parse();
        let Ok(name) = named else {
            return Err(self.problem(
                "associations",
                &format!("the stream's name and `{other}` are too long together"),
                "give the stream a shorter name",
            ));
        };
        let Relation::Crm(relation) = &first.relation else {
            return Err(self.problem("object", "this is no object of HubSpot", "correct it"));
        };
        Ok(Stream {
            name,
            table: beside(&first.table, other),
            relation: Relation::Crm(CrmRelation {
                part,
                properties: None,
                ..relation.clone()
            }),
            exclude: Vec::new(),
            types: BTreeMap::new(),
            ..first.clone()
        })
    }
}
