//! Taking down what streams of changes have on a source: their replication slot and their publication.
//!
//! Neither tells who made it. What acequia noted when it made the slot does ([`slot_owner`](super::slot_owner)): what another
//! uses is left alone.

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

/// What a pipeline has on a source for one of its destinations.
#[derive(Debug)]
pub struct Teardown {
    source: Postgres,
    pipeline: Pipeline,
    landing: Landing,
    found: Found,
}

/// What there is to drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The slot, where it exists.
    pub slot: Option<String>,
    /// The publication, where it exists and no other slot of the pipeline needs it.
    pub publication: Option<String>,
    /// Whether something reads the slot.
    pub active: bool,
}

impl Teardown {
    /// Looks for what the pipeline of a configuration has on a source, for a destination or its default one.
    ///
    /// # Errors
    /// Where no stream reads that source, it cannot be asked, or what is there is another's.
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

    /// What there is to drop.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The names that slot and publication have, whether they exist or not.
    pub fn names(&self) -> (&str, &str) {
        let (_, names) = self.source.replication();
        (&names.slot, &names.publication)
    }

    /// Drops it.
    ///
    /// # Errors
    /// Where the server does not let the user, or something reads the slot.
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

/// The pipeline with a stream of the source.
fn pipeline(document: &Document, source: &str, destination: Option<String>) -> Result<Pipeline> {
    let streams = document.config().streams.iter();
    let of_source = streams.filter(|(_, stream)| stream.source == *source);
    let (cdc, others): (Vec<_>, Vec<_>) =
        of_source.partition(|(_, stream)| stream.mode == Mode::Cdc);
    // Where no stream of changes is left, the source is found by any of its streams.
    let (stream, _) = cdc.first().or(others.first()).ok_or_else(|| {
        Error::config(format!("no stream has the source `{source}`"))
            .remedy("name a source of the configuration that a stream reads")
    })?;
    document.resolve(&Selection {
        streams: vec![stream.to_string()],
        destination,
    })
}
