//! An open stream of HubSpot: its columns are known, and its scopes are sufficient. `open` opens it.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::builder::MARK;
use super::incremental::{Incremental, ReadProperty};
use super::object::CrmObject;
use super::object_client::ObjectClient;
use super::properties::{PropertyColumn, beside, misfits};
use super::records::{Records, Start};
use super::{associations, definitions, directory, history};
use crate::error::{Error, Result};
use crate::evolution::{TableSchema, common_type};
use crate::position::Position;
use crate::schema::{ColumnType, Schema};
use crate::source::{Complete, Description, Extract, ExtractEnd, LANE_CAPACITY, joined};

/// An open stream of HubSpot.
#[derive(Debug)]
pub struct HubSpotStream {
    pub(super) reader: ObjectClient,
    pub(super) content: Content,
    pub(super) description: Description,
    /// The state of an incremental stream.
    pub(super) incremental: Option<Incremental>,
    /// The properties that are read, until `incremental` has them.
    pub(super) properties: Vec<ReadProperty>,
    /// Recommendations: what was found, and what fixes it.
    pub(super) recommendations: Vec<(String, String)>,
}

/// What is read.
#[derive(Debug)]
pub(super) enum Content {
    Records(Vec<PropertyColumn>),
    History(Vec<String>),
    Associations(CrmObject),
    Properties,
    Options,
    Owners,
    Pipelines(Vec<CrmObject>),
}

impl HubSpotStream {
    /// The description of the stream.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Recommendations: what was found, and what fixes it.
    pub fn recommendations(&self) -> Vec<(String, String)> {
        self.recommendations.clone()
    }

    /// Keeps the types of an existing table for properties whose type has changed. Their values are read as text; values
    /// that do not fit go to the column beside.
    pub fn keep_types(&mut self, known: &TableSchema) {
        let Content::Records(properties) = &mut self.content else {
            return;
        };
        for property in properties.iter_mut().filter(|property| !property.is_chosen) {
            let column = &mut property.column;
            let Some(kept) = known.column(&column.name) else {
                continue;
            };
            if common_type(&kept.column_type, &column.column_type).is_some() {
                continue;
            }
            let now = column.source_type.clone();
            column.column_type = kept.column_type.clone();
            let name = column.name.clone();
            if column.column_type == ColumnType::Text {
                property.misfit = None;
            } else if property.misfit.is_none() {
                let is_free = |beside: &str| {
                    let mut names = self.description.columns.iter();
                    !names.any(|other| other.name.eq_ignore_ascii_case(beside))
                };
                property.misfit = Some(beside(&name, is_free));
            }
            let elsewhere = property.misfit.as_ref();
            let elsewhere = elsewhere.map_or_else(String::new, |misfit| {
                format!(", and values that do not fit are in `{misfit}`")
            });
            self.recommendations.push((
                format!(
                    "property `{}` is {now} now: its column stays {}{elsewhere}",
                    property.property, kept.column_type
                ),
                "make the table anew with the new type: `acequia run STREAM --full-refresh`"
                    .to_owned(),
            ));
            if let Some(described) = self
                .description
                .columns
                .iter_mut()
                .find(|column| column.name == name)
            {
                described.column_type = kept.column_type.clone();
            }
        }
        self.description.misfits = misfits(properties);
    }

    /// Whether reading from a position needs the ids of the records that the table has and that are not archived.
    pub fn compares_ids(&self, from: Option<&Position>) -> bool {
        let (Content::Records(_), Some(Position::HubSpot(position)), Some(incremental)) =
            (&self.content, from, &self.incremental)
        else {
            return false;
        };
        let (compares, rereads) = incremental.due(position);
        compares || rereads
    }

    /// Starts to read. `ids` are the table's ids of records that are not archived, if they are
    /// [compared](HubSpotStream::compares_ids).
    pub fn read(
        mut self,
        schema: &Schema,
        from: Option<&Position>,
        ids: &[String],
        stop: &CancellationToken,
    ) -> Result<Extract> {
        self.reader.stop = stop.clone();
        let (batches, receiver) = mpsc::channel(LANE_CAPACITY);
        let start = self.start(from, ids)?;
        let schema = schema.clone();
        let producer = tokio::spawn(async move {
            let mut told = Complete::default();
            for (message, remedy) in self.recommendations {
                told.warnings.push(format!("{message}; {remedy}"));
            }
            let reader = self.reader;
            let notes = reader.notes.clone();
            let mut archived = String::new();
            match self.content {
                Content::Records(properties) => {
                    let read = Records::new(reader, &schema, &properties, batches)?
                        .read(start)
                        .await?;
                    if self.incremental.is_some() {
                        archived = read.archived.to_text();
                        told.marks = read.marks.then(|| MARK.to_owned());
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
                    history::read(reader, &schema, properties, start, batches).await?;
                }
                Content::Associations(to) => {
                    associations::read(reader, to, &schema, batches).await?;
                }
                Content::Properties => {
                    definitions::read_properties(reader, &schema, batches).await?;
                }
                Content::Options => definitions::read_options(reader, &schema, batches).await?,
                Content::Owners => directory::read_owners(reader, &schema, batches).await?,
                Content::Pipelines(objects) => {
                    directory::read_pipelines(reader, &objects, &schema, batches).await?;
                }
            }
            told.warnings.extend(notes.take());
            told.position = self
                .incremental
                .map(|incremental| incremental.position(archived));
            Ok(ExtractEnd::Complete(Box::new(told)))
        });
        Ok(Extract {
            lanes: vec![receiver],
            end: Box::pin(joined(producer)),
        })
    }

    fn start(&mut self, from: Option<&Position>, ids: &[String]) -> Result<Start> {
        let Some(incremental) = &mut self.incremental else {
            return Ok(Start::Beginning);
        };
        match from {
            None => {
                incremental.compares = true;
                incremental.rereads = incremental.initial.is_none();
                Ok(match incremental.initial {
                    None => Start::Beginning,
                    Some(initial) => Start::Since {
                        since: initial.timestamp_millis(),
                        archived: None,
                        compare: None,
                    },
                })
            }
            Some(Position::HubSpot(position)) => {
                if incremental.reads_others(position) {
                    self.recommendations.push((
                        "the properties that are read are not those of the last run".to_owned(),
                        "so all records are read again, once".to_owned(),
                    ));
                }
                incremental.go_on(position, ids)
            }
            Some(_) => Err(Error::config("the stream's position is not one of HubSpot")
                .remedy("run `acequia run STREAM --full-refresh` once")),
        }
    }
}
