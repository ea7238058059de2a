//! Opens a stream of HubSpot: its columns are requested, and its scopes are checked, before anything is read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::builder::{RECORD_COLUMNS, record_columns};
use super::client::Client;
use super::incremental::{Incremental, LOOKBACK, ReadProperty, judge_clock};
use super::json;
use super::listing::RecordState;
use super::object::CrmObject;
use super::object_client::ObjectClient;
use super::properties::{Property, PropertyColumn, PropertyList, Selection, columns, misfits};
use super::rate_limit::Allowance;
use super::stream::{Content, HubSpotStream};
use super::{associations, definitions, directory, history};
use crate::config::HubSpotObject;
use crate::config::hubspot::{Calculated, HubSpotPart, HubSpotRead, PropertySettings};
use crate::error::{Error, Result};
use crate::mask::Masks;
use crate::schema::ColumnSpec;
use crate::source::Description;

impl HubSpotStream {
    /// Requests the stream's columns, and checks whether its records may be read.
    pub async fn open(
        client: &Client,
        config: &HubSpotObject,
        began: DateTime<Utc>,
    ) -> Result<Self> {
        let reader = ObjectClient::new(client, CrmObject::new(&config.object));
        let mut session = Self {
            reader,
            content: Content::Owners,
            description: Description {
                identity: None,
                columns: Vec::new(),
                primary_key: Vec::new(),
                key_is_unique: true,
                estimated_rows: None,
                reading: String::new(),
                misfits: BTreeMap::new(),
            },
            incremental: None,
            properties: Vec::new(),
            recommendations: Vec::new(),
        };
        let date = match &config.part {
            HubSpotPart::Owners(_) => session.open_owners().await?,
            HubSpotPart::Pipelines(objects, _) => session.open_pipelines(objects).await?,
            HubSpotPart::Associations(to) => session.open_associations(to).await?,
            HubSpotPart::Properties => session.open_properties().await?,
            HubSpotPart::Options => session.open_options().await?,
            HubSpotPart::Records(settings, read) => {
                let masks = &config.masks;
                session.open_records(settings, masks, read).await?
            }
            HubSpotPart::History(wanted, read) => {
                let masks = &config.masks;
                session.open_history(wanted, masks, read).await?
            }
        };
        if let Some((column, read)) = config.incremental() {
            session.incremental = Some(Incremental {
                column: column.to_owned(),
                initial: read.initial,
                lookback: read.lag.unwrap_or(LOOKBACK),
                began: judge_clock(date, began, &mut session.recommendations),
                compare: read.compare,
                reread: match read.calculated {
                    Calculated::Every(time) => Some(time),
                    Calculated::Warn | Calculated::Ignore => None,
                },
                compares: false,
                rereads: false,
                compared: None,
                reread_at: None,
                properties: std::mem::take(&mut session.properties),
            });
            if read.calculated == Calculated::Warn {
                session.warn_of_calculated();
            }
        }
        Ok(session)
    }

    async fn open_records(
        &mut self,
        settings: &PropertySettings,
        masks: &Masks,
        read: &HubSpotRead,
    ) -> Result<Option<DateTime<Utc>>> {
        let (properties, date) = self.properties().await?;
        if read.is_incremental() {
            self.find_modified(&properties)?;
        }
        let selection = Selection {
            wanted: settings.wanted.clone(),
            excluded: settings.excluded.clone(),
        };
        let chosen = selection.choose(self.reader.object.as_str(), properties)?;
        self.properties = read_properties(&chosen);
        let mut columns = columns(&chosen, &RECORD_COLUMNS, &settings.types);
        for column in &mut columns {
            column.is_chosen = settings.types.contains_key(&column.column.name);
        }
        if let Some(unknown) = settings
            .types
            .keys()
            .find(|name| !columns.iter().any(|column| column.column.name == **name))
        {
            let key = if masks.names(unknown) {
                "mask"
            } else {
                "types"
            };
            return Err(Error::config(format!(
                "[streams.STREAM.{key}] names `{unknown}`, which is no column of the stream"
            ))
            .remedy("correct the name, or take it out"));
        }
        self.probe().await?;
        let names: Vec<&str> = columns
            .iter()
            .map(|column| column.property.as_str())
            .collect();
        let reading = match read {
            HubSpotRead::Incremental(_) => "search for what changed, and batches of 100",
            HubSpotRead::Full(_) if self.reader.fits_an_address(&names) => "pages of 100",
            HubSpotRead::Full(_) => "batches of 100, several at once",
        };
        reading.clone_into(&mut self.description.reading);
        self.description.columns = record_columns(&columns);
        self.description.misfits = misfits(&columns);
        self.description.primary_key = vec!["id".to_owned()];
        self.content = Content::Records(columns);
        Ok(date)
    }

    async fn open_history(
        &mut self,
        wanted: &[String],
        masks: &Masks,
        read: &HubSpotRead,
    ) -> Result<Option<DateTime<Utc>>> {
        let (properties, date) = self.properties().await?;
        if read.is_incremental() {
            self.find_modified(&properties)?;
        }
        // Rows of history name properties, and masks name columns.
        let called = columns(&properties, &RECORD_COLUMNS, &BTreeMap::new());
        let other = |column: &&PropertyColumn| {
            column.column.name != column.property && masks.hides_values_of(&column.column.name)
        };
        if let Some(column) = called.iter().find(other) {
            return Err(Error::config(format!(
                "the column `{}` is masked, whose property `{}` is called otherwise in the history",
                column.column.name, column.property
            ))
            .remedy("leave the property out of `history`, or out of what is read with `exclude`"));
        }
        let selection = Selection {
            wanted: Some(wanted.to_vec()),
            excluded: Vec::new(),
        };
        let chosen = selection.choose(self.reader.object.as_str(), properties)?;
        self.probe().await?;
        "batches of 50, several at once".clone_into(&mut self.description.reading);
        self.describe(history::columns(), &history::KEY);
        self.properties = read_properties(&chosen);
        self.content = Content::History(chosen.into_iter().map(|property| property.name).collect());
        Ok(date)
    }

    async fn open_associations(&mut self, to: &str) -> Result<Option<DateTime<Utc>>> {
        self.probe().await?;
        "batches of 1,000, several at once".clone_into(&mut self.description.reading);
        self.describe(associations::columns(), &associations::KEY);
        self.content = Content::Associations(CrmObject::new(to));
        Ok(None)
    }

    async fn open_properties(&mut self) -> Result<Option<DateTime<Utc>>> {
        self.content = Content::Properties;
        self.describe(
            definitions::property_columns(),
            &definitions::PROPERTIES_KEY,
        );
        self.ask_for_definitions().await
    }

    async fn open_options(&mut self) -> Result<Option<DateTime<Utc>>> {
        self.content = Content::Options;
        self.describe(definitions::option_columns(), &definitions::OPTIONS_KEY);
        self.ask_for_definitions().await
    }

    async fn ask_for_definitions(&mut self) -> Result<Option<DateTime<Utc>>> {
        "two requests".clone_into(&mut self.description.reading);
        let (_, date) = self.properties().await?;
        Ok(date)
    }

    async fn open_owners(&mut self) -> Result<Option<DateTime<Utc>>> {
        let path = format!("{}?limit=1", self.reader.client.version.owners());
        self.ask(path).await?;
        "pages of 100".clone_into(&mut self.description.reading);
        self.describe(directory::owner_columns(), &directory::OWNERS_KEY);
        Ok(None)
    }

    async fn open_pipelines(&mut self, objects: &[String]) -> Result<Option<DateTime<Utc>>> {
        let objects: Vec<CrmObject> = objects.iter().map(CrmObject::new).collect();
        for object in &objects {
            let mut request = self.reader.request(
                self.reader.client.version.pipelines(object),
                None,
                Allowance::Window,
            );
            request.subject = format!("the pipelines of {object}");
            request.scopes = object.scopes();
            self.reader
                .client
                .fetch(&request, &self.reader.stop)
                .await?;
        }
        "one request for each object".clone_into(&mut self.description.reading);
        self.describe(directory::pipeline_columns(), &[]);
        self.content = Content::Pipelines(objects);
        Ok(None)
    }

    /// Finds the property that holds the time of a record's last change.
    fn find_modified(&mut self, properties: &[Property]) -> Result<()> {
        let usual = self.reader.modified.clone();
        let names = [usual.as_str(), "hs_lastmodifieddate", "lastmodifieddate"];
        let found = names
            .into_iter()
            .find(|name| properties.iter().any(|property| property.name == *name));
        let Some(found) = found else {
            return Err(Error::config(format!(
                "{} of HubSpot do not tell when they were last changed (no property `{usual}`)",
                self.reader.object
            ))
            .remedy("read them with mode = \"full\""));
        };
        found.clone_into(&mut self.reader.modified);
        Ok(())
    }

    /// Warns which columns can be outdated if only changed records are read.
    fn warn_of_calculated(&mut self) {
        let Content::Records(properties) = &self.content else {
            return;
        };
        let names: Vec<String> = properties
            .iter()
            .filter(|property| property.calculated)
            .map(|property| format!("`{}`", property.column.name))
            .collect();
        if names.is_empty() {
            return;
        }
        self.recommendations.push((
            format!(
                "{} column(s) are calculated by HubSpot, which does not tell when they change; each is as it was when its record \
                 last changed otherwise: {}",
                names.len(),
                names.join(", ")
            ),
            "set calculated = \"1d\" to read all records again so often, \"full\" for in each run, or \"ignore\"; or leave \
             the columns out with `exclude`"
                .to_owned(),
        ));
    }

    fn describe(&mut self, columns: Vec<ColumnSpec>, key: &[&str]) {
        self.description.columns = columns;
        self.description.primary_key = key.iter().map(|column| (*column).to_owned()).collect();
    }

    /// The object's properties, and HubSpot's time.
    async fn properties(&self) -> Result<(Vec<Property>, Option<DateTime<Utc>>)> {
        let path = self.reader.client.version.properties(&self.reader.object);
        let mut request = self.reader.request(path, None, Allowance::Window);
        request.subject = format!("the properties of {}", self.reader.object);
        let answer = self
            .reader
            .client
            .fetch(&request, &self.reader.stop)
            .await?;
        let date = answer.date;
        let list = self
            .reader
            .decode((request, answer), |body| json::parse::<PropertyList>(body))
            .await?;
        Ok((list.results, date))
    }

    /// Requests one record, so that a missing scope is found before anything is read.
    async fn probe(&self) -> Result<()> {
        let request = self
            .reader
            .list_request(RecordState::Live, 1, &["hs_object_id"], None);
        self.ask(request.path).await
    }

    async fn ask(&self, path: String) -> Result<()> {
        let request = self.reader.request(path, None, Allowance::Window);
        self.reader
            .client
            .fetch(&request, &self.reader.stop)
            .await?;
        Ok(())
    }
}

/// When each property was made.
fn read_properties(chosen: &[Property]) -> Vec<ReadProperty> {
    let made = |property: &Property| {
        let made = DateTime::parse_from_rfc3339(property.created_at.as_deref()?).ok()?;
        Some(made.timestamp_micros())
    };
    chosen
        .iter()
        .map(|property| ReadProperty {
            name: property.name.clone(),
            made: made(property),
        })
        .collect()
}
