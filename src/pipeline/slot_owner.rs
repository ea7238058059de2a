//! Whether a replication slot belongs to the pipeline and the destination. A foreign slot is never read, moved or dropped.
//!
//! A slot of the right name may belong to another program (a subscription), to another pipeline with a similar name, or to
//! the pipeline from which the configuration was copied. The note that was written when the slot was made decides. If there
//! is no note, because an older version made the slot, the positions of the destination's streams decide.

use std::collections::BTreeMap;

use crate::config::{Pipeline, Target};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::slot::SlotOwner;
use crate::names::{DestinationId, StreamName};
use crate::position::Position;
use crate::postgres::connection::Server;

/// A reader of a slot: a pipeline with its destination.
pub(super) struct Reader<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) landing: &'a Landing,
    /// The destination's id. `None` if the destination does not exist yet.
    pub(super) id: Option<&'a DestinationId>,
    pub(super) states: &'a BTreeMap<StreamName, StreamState>,
}

/// The owner of a slot.
enum Whose {
    /// The reader, by a note of this very destination.
    Noted,
    /// The reader.
    Own,
    /// Another reader, for this reason.
    Foreign(String),
}

impl Reader<'_> {
    /// Refuses a slot that exists and is not the reader's own. Returns whether a note of this destination exists.
    pub(super) async fn refuse_foreign(&self, slot: &str) -> Result<bool> {
        match self.whose(slot).await? {
            Whose::Noted => Ok(true),
            Whose::Own => Ok(false),
            Whose::Foreign(why) => Err(foreign(slot, &why)),
        }
    }

    /// The reason why an existing slot is not the reader's own. `None` if it is.
    pub(super) async fn foreign(&self, slot: &str) -> Result<Option<String>> {
        Ok(match self.whose(slot).await? {
            Whose::Foreign(why) => Some(why),
            Whose::Noted | Whose::Own => None,
        })
    }

    async fn whose(&self, slot: &str) -> Result<Whose> {
        let noted = self.landing.slot_owner(&self.pipeline.name, slot).await?;
        let place = place(self.pipeline);
        Ok(match noted {
            Some(owner) if self.id.is_some_and(|id| id.as_str() == owner.destination) => {
                Whose::Noted
            }
            // The destination was made anew at the same place.
            Some(owner) if owner.place == place => Whose::Own,
            Some(owner) => {
                Whose::Foreign(format!("it is read for the destination at {}", owner.place))
            }
            None if self.reads(slot) => Whose::Own,
            None => {
                Whose::Foreign("no stream of this destination has ever been read by it".to_owned())
            }
        })
    }

    /// Writes the note that a slot is the reader's.
    pub(super) async fn note(&self, slot: &str) -> Result<()> {
        let Some(id) = self.id else {
            return Ok(());
        };
        let owner = SlotOwner {
            destination: id.as_str().to_owned(),
            place: place(self.pipeline),
        };
        self.landing
            .note_slot_owner(&self.pipeline.name, slot, &owner)
            .await
    }

    fn reads(&self, slot: &str) -> bool {
        let positions = self.states.values();
        positions
            .filter_map(|state| state.position.as_ref().and_then(Position::lsn))
            .any(|position| position.slot == slot)
    }
}

/// Where a pipeline's destination is, without secrets.
fn place(pipeline: &Pipeline) -> String {
    let place = match &pipeline.destination.target {
        Target::DuckDb { path, .. } => path.display().to_string(),
        Target::Postgres { url } => {
            Server::parse(url).map_or_else(|_| String::new(), |server| server.place().to_owned())
        }
        Target::Iceberg(lake) => format!("{}, {}", lake.catalog, lake.warehouse),
    };
    format!("{place}, {}", pipeline.dataset)
}

fn foreign(slot: &str, why: &str) -> Error {
    Error::config(format!(
        "the replication slot `{slot}` exists and is not this pipeline's: {why}. To read it would take changes away from whoever \
         does"
    ))
    .remedy(format!(
        "choose another `slot` and `publication` under [sources.SOURCE.replication]; or, if nothing reads it any more \
         (SELECT * FROM pg_replication_slots WHERE slot_name = '{slot}';): SELECT pg_drop_replication_slot('{slot}'); and run \
         again"
    ))
}
