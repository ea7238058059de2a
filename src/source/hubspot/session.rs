//! A stream open in HubSpot: its columns known, its scopes found sufficient, its reading about to begin.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::ids::IdSet;
use super::json::Malformed;
use super::object::CrmObject;
use super::pacing::Allowance;
use super::page::{ENVELOPE, envelope_columns};
use super::properties::{Property, PropertyColumn, PropertyList, Selection, columns};
use super::reading::{Reader, Shelf};
use super::records::{Records, Start};
use super::{associations, directory, history};
use crate::config::{CrmPart, CrmRelation, Relation, Stream};
use crate::error::{Error, Result};
use crate::landing::manifest::Mode;
use crate::position::{CursorPosition, CursorValue, HubSpotPosition, Lag, Position};
use crate::schema::{ColumnSpec, ColumnType, Schema};
use crate::source::{Description, Extract, LANE_CAPACITY, Lane, Outcome};

/// How far before the last position each incremental run begins, unless the stream says otherwise: search knows of a
/// change only minutes later.
const LOOKBACK: TimeDelta = TimeDelta::minutes(10);
/// How far behind its beginning a run leaves the position: changes of that moment may still be under way.
const HORIZON: TimeDelta = TimeDelta::minutes(1);

/// A stream open in HubSpot.
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    content: Content,
    description: Description,
    /// What an incremental stream stands by, and how far before its position it begins.
    incremental: Option<Incremental>,
}

/// What is read.
#[derive(Debug)]
enum Content {
    Records(Vec<PropertyColumn>),
    History(Vec<String>),
    Associations(CrmObject),
    Owners,
    Pipelines(Vec<CrmObject>),
}

#[derive(Debug)]
struct Incremental {
    column: String,
    initial: Option<DateTime<Utc>>,
    lookback: TimeDelta,
    /// When the run began, by HubSpot's clock.
    began: DateTime<Utc>,
}

impl Session {
    /// Asks for what the stream's columns are, and whether its records may be read.
    pub async fn open(client: &Client, stream: &Stream, began: DateTime<Utc>) -> Result<Self> {
        let Relation::Crm(relation) = &stream.relation else {
            return Err(Error::internal("a stream of HubSpot reads something else"));
        };
        let reader = Reader {
            client: client.clone(),
            object: CrmObject::new(&relation.object),
            stop: CancellationToken::new(),
        };
        let mut session = Self {
            reader,
            content: Content::Owners,
            description: Description {
                columns: Vec::new(),
                primary_key: Vec::new(),
                key_is_unique: true,
                estimated_rows: None,
                reading: String::new(),
                misfits: BTreeMap::new(),
            },
            incremental: None,
        };
        let began = match &relation.part {
            CrmPart::Owners => session.open_owners().await?,
            CrmPart::Pipelines(objects) => session.open_pipelines(objects).await?,
            CrmPart::Associations(to) => session.open_associations(to).await?,
            CrmPart::Records => session.open_records(relation, stream).await?,
            CrmPart::History(wanted) => session.open_history(wanted).await?,
        }
        // A clock of one's own that is wrong would set the position wrong.
        .unwrap_or(began);
        if let (Mode::Incremental, Some(cursor)) = (stream.mode, &stream.cursor) {
            session.incremental = Some(Incremental {
                column: cursor.column.clone(),
                initial: cursor.initial_value.as_deref().map(initial).transpose()?,
                lookback: match cursor.lag {
                    Some(Lag::Time(lag)) => lag,
                    _ => LOOKBACK,
                },
                began,
            });
        }
        Ok(session)
    }

    /// What the source says of the stream.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Begins to read.
    pub fn read(
        mut self,
        schema: &Schema,
        from: Option<&Position>,
        stop: &CancellationToken,
    ) -> Result<Extract> {
        self.reader.stop = stop.clone();
        let (batches, receiver) = mpsc::channel(LANE_CAPACITY);
        let (outcome, told) = oneshot::channel();
        let start = self.start(from)?;
        let schema = schema.clone();
        let producer = tokio::spawn(async move {
            let mut told = Outcome::default();
            let reader = self.reader;
            let mut archived = String::new();
            match self.content {
                Content::Records(properties) => {
                    let read = Records::new(reader, &schema, &properties, batches)?
                        .read(start)
                        .await?;
                    if self.incremental.is_some() {
                        archived = read.archived.to_text();
                    }
                    for (column, beside, count) in
                        read.misfits.into_iter().filter(|(.., count)| *count > 0)
                    {
                        told.warnings.push(format!(
                            "{count} value(s) of `{column}` are not of its type: they are NULL there, and as they are in \
                             `{beside}`"
                        ));
                        told.used.insert(beside);
                    }
                }
                Content::History(properties) => {
                    let since = match start {
                        Start::Beginning => None,
                        Start::Since { since, .. } => Some(since),
                    };
                    history::read(reader, &schema, properties, since, batches).await?;
                }
                Content::Associations(to) => {
                    associations::read(reader, to, &schema, batches).await?;
                }
                Content::Owners => directory::read_owners(reader, &schema, batches).await?,
                Content::Pipelines(objects) => {
                    directory::read_pipelines(reader, &objects, &schema, batches).await?;
                }
            }
            told.position = self
                .incremental
                .map(|incremental| incremental.position(archived));
            // Whoever began the extract may have given it up.
            let _ = outcome.send(told);
            Ok(())
        });
        Ok(Extract {
            lanes: vec![Lane {
                batches: receiver,
                producer,
            }],
            horizon: None,
            outcome: Some(told),
        })
    }

    fn start(&self, from: Option<&Position>) -> Result<Start> {
        let Some(incremental) = &self.incremental else {
            return Ok(Start::Beginning);
        };
        let since = |micros: i64| {
            let lookback = incremental.lookback.num_milliseconds();
            micros.div_euclid(1_000).saturating_sub(lookback)
        };
        match from {
            None => Ok(match incremental.initial {
                None => Start::Beginning,
                Some(initial) => Start::Since {
                    since: initial.timestamp_millis(),
                    archived: None,
                },
            }),
            Some(Position::HubSpot(position)) => {
                let CursorValue::TimestampTz(micros) = position.cursor.resume else {
                    return Err(Error::internal(
                        "a stream of HubSpot does not stand at a time",
                    ));
                };
                Ok(Start::Since {
                    since: since(micros),
                    archived: Some(IdSet::from_text(&position.archived).ok_or_else(|| {
                        Error::data("the stream's position names archived records in a way that cannot be read")
                            .remedy("run `acequia run STREAM --full-refresh` once")
                    })?),
                })
            }
            Some(_) => Err(Error::config("the stream's position is not one of HubSpot")
                .remedy("run `acequia run STREAM --full-refresh` once")),
        }
    }

    async fn open_records(
        &mut self,
        relation: &CrmRelation,
        stream: &Stream,
    ) -> Result<Option<DateTime<Utc>>> {
        let (properties, date) = self.properties().await?;
        let selection = Selection {
            wanted: relation.properties.clone(),
            excluded: stream.exclude.clone(),
        };
        let chosen = selection.choose(&relation.object, properties)?;
        let columns = columns(&chosen, &ENVELOPE, &stream.types);
        if let Some(unknown) = stream
            .types
            .keys()
            .find(|name| !columns.iter().any(|column| column.column.name == **name))
        {
            return Err(Error::config(format!(
                "[streams.STREAM.types] names `{unknown}`, which is no column of the stream"
            ))
            .remedy("correct the name, or take it out"));
        }
        self.probe().await?;
        let names: Vec<&str> = columns
            .iter()
            .map(|column| column.property.as_str())
            .collect();
        let reading = match stream.mode {
            Mode::Incremental => "search for what changed, and batches of 100",
            Mode::Cdc => "nothing: HubSpot has no log of changes",
            Mode::Full if self.reader.fits_an_address(&names) => "pages of 100",
            Mode::Full => "batches of 100, several at once",
        };
        reading.clone_into(&mut self.description.reading);
        self.description.columns = envelope_columns();
        self.description
            .columns
            .extend(columns.iter().map(|column| column.column.clone()));
        self.description.misfits = columns
            .iter()
            .filter_map(|column| Some((column.column.name.clone(), column.misfit.clone()?)))
            .collect();
        self.description.primary_key = vec!["id".to_owned()];
        self.content = Content::Records(columns);
        Ok(date)
    }

    async fn open_history(&mut self, wanted: &[String]) -> Result<Option<DateTime<Utc>>> {
        let (properties, date) = self.properties().await?;
        let selection = Selection {
            wanted: Some(wanted.to_vec()),
            excluded: Vec::new(),
        };
        let chosen = selection.choose(self.reader.object.as_str(), properties)?;
        self.probe().await?;
        "batches of 50, several at once".clone_into(&mut self.description.reading);
        self.describe(history::columns(), &history::KEY);
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
            .decode((request, answer), |body| {
                serde_json::from_slice::<PropertyList>(body)
                    .map_err(|error| Malformed { at: error.column() })
            })
            .await?;
        Ok((list.results, date))
    }

    /// Asks for one record, so that a missing scope is found before anything is read.
    async fn probe(&self) -> Result<()> {
        let request = self
            .reader
            .list_request(Shelf::Live, 1, &["hs_object_id"], None);
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

impl Incremental {
    /// Where the stream stands once what was read is loaded.
    fn position(self, archived: String) -> Position {
        let until = (self.began - HORIZON).timestamp_micros();
        Position::HubSpot(HubSpotPosition {
            cursor: CursorPosition {
                column: self.column,
                value: CursorValue::TimestampTz(until),
                resume: CursorValue::TimestampTz(until),
                seen: None,
            },
            archived,
        })
    }
}

/// Columns that do not depend on the account.
pub(super) fn fixed_columns(columns: &[(&str, ColumnType, bool)]) -> Vec<ColumnSpec> {
    columns
        .iter()
        .map(|(name, column_type, nullable)| ColumnSpec {
            name: (*name).to_owned(),
            column_type: column_type.clone(),
            nullable: *nullable,
            source_type: column_type.to_string(),
        })
        .collect()
}

fn initial(text: &str) -> Result<DateTime<Utc>> {
    match CursorValue::parse(text, &ColumnType::TimestampTz)? {
        CursorValue::TimestampTz(micros) => {
            Ok(DateTime::from_timestamp_micros(micros).unwrap_or_default())
        }
        _ => Err(Error::internal("a time was read as something else")),
    }
}
