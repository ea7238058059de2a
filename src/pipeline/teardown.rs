//! The removal of a replication slot and its publication from a source.
//!
//! The server does not say who made them. The note that acequia wrote when it made the slot does
//! ([`slot_owner`](super::slot_owner)). A slot or publication that another reader uses stays.

use serde::Serialize;

use super::slot_owner::Reader;
use super::status::look_at_destination;
use crate::config::{self, Document, Pipeline, Selection};
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::mode::Mode;
use crate::postgres::literal;
use crate::source::postgres::Postgres;
use crate::source::postgres::replication::preflight;

/// The slot and publication that `replication drop` would remove.
#[derive(Debug)]
pub struct Teardown {
    source: Postgres,
    pipeline: Pipeline,
    landing: Landing,
    found: Found,
}

/// What exists on the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The slot, if it exists.
    pub slot: Option<String>,
    /// The publication, if it exists and no other slot of the pipeline needs it.
    pub publication: Option<String>,
    /// Whether a process reads the slot.
    pub active: bool,
}

impl Teardown {
    /// Looks up the slot and publication of a configured pipeline on a source, for the named destination or the pipeline's
    /// own.
    ///
    /// # Errors
    /// No stream reads that source, the source cannot be asked, or the slot or publication is another reader's.
    pub async fn look(
        document: &Document,
        source: &str,
        destination: Option<String>,
    ) -> Result<Self> {
        let pipeline = pipeline(document, source, destination)?;
        let postgres = match pipeline.sources().remove(source).transpose()? {
            Some(config::Source::Postgres(source)) => Postgres::new(&source)?,
            Some(config::Source::HubSpot(_)) | None => {
                return Err(Error::config(format!(
                    "the source `{source}` is no PostgreSQL database"
                ))
                .remedy("only a PostgreSQL database has a replication slot"));
            }
        };
        let landing = super::open_landing(&pipeline)?;
        let (server, names) = postgres.replication();
        let objects = preflight::objects(server, names).await?;
        let found = Found {
            slot: objects.slot,
            publication: objects.publication,
            active: objects.active,
        };
        if let Some(slot) = &found.slot {
            let view = look_at_destination(&pipeline).await?;
            let reader = Reader {
                pipeline: &pipeline,
                landing: &landing,
                id: view.id.as_ref(),
                states: &view.states,
            };
            if let Some(why) = reader.foreign(slot).await? {
                return Err(Error::config(format!(
                    "the replication slot `{slot}` is not this pipeline's: {why}. It is left alone"
                ))
                .remedy(format!(
                    "if nothing reads it any more (SELECT * FROM pg_replication_slots WHERE slot_name = {0};): SELECT \
                     pg_drop_replication_slot({0});",
                    literal(slot)
                )));
            }
        } else if let Some(publication) = &found.publication {
            let noted = landing.slot_owner(&pipeline.name, &names.slot).await?;
            if noted.is_none() {
                return Err(Error::config(format!(
                    "the publication `{publication}` exists without the slot `{}`, and nothing in the landing area says that \
                     this pipeline made it: it is left alone",
                    names.slot
                ))
                .remedy(format!(
                    "if nothing uses it any more: {};",
                    preflight::drop_publication(publication)
                )));
            }
        }
        Ok(Self {
            source: postgres,
            pipeline,
            landing,
            found,
        })
    }

    /// What would be removed.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The names of slot and publication, whether they exist or not.
    pub fn names(&self) -> (&str, &str) {
        let (_, names) = self.source.replication();
        (&names.slot, &names.publication)
    }

    /// Removes slot and publication.
    ///
    /// # Errors
    /// The user lacks the privilege, or a process reads the slot.
    pub async fn drop(self) -> Result<()> {
        let (server, names) = self.source.replication();
        preflight::drop(
            server,
            self.found.slot.as_deref(),
            self.found.publication.as_deref(),
        )
        .await?;
        self.landing
            .forget_slot_owner(&self.pipeline.name, &names.slot)
            .await
    }
}

/// The pipeline, with one stream of the source.
fn pipeline(document: &Document, source: &str, destination: Option<String>) -> Result<Pipeline> {
    let streams = document.config().streams.iter();
    let of_source = streams.filter(|(_, stream)| stream.source == *source);
    let (cdc, others): (Vec<_>, Vec<_>) =
        of_source.partition(|(_, stream)| stream.mode == Mode::Cdc);
    // If no stream of changes is left, any stream of the source will do.
    let (stream, _) = cdc.first().or(others.first()).ok_or_else(|| {
        Error::config(format!("no stream has the source `{source}`"))
            .remedy("name a source of the configuration that a stream reads")
    })?;
    document.resolve(&Selection {
        streams: vec![stream.to_string()],
        destination,
    })
}
