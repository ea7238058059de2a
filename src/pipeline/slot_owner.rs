//! Whether a replication slot is the pipeline's and the destination's own: one that is not is never read, moved or dropped.
//!
//! A slot of the right name may be another program's (a subscription's), another pipeline's of a similar name, or that of
//! the pipeline from which a configuration was copied. What was noted when the slot was made decides; where nothing was, as
//! older versions noted nothing, the positions of the destination's streams do.

use std::collections::BTreeMap;

use crate::config::{Pipeline, Target};
use crate::destination::StreamState;
use crate::error::{Error, Result};
use crate::landing::Landing;
use crate::landing::slot::SlotOwner;
use crate::names::{DestinationId, StreamName};
use crate::position::Position;
use crate::postgres::connection::Server;

/// Who reads a slot.
pub(super) struct Reader<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) landing: &'a Landing,
    /// The destination's id; none where it has not been made.
    pub(super) id: Option<&'a DestinationId>,
    pub(super) states: &'a BTreeMap<StreamName, StreamState>,
}

/// Whose a slot is.
enum Whose {
    /// The reader's, as was noted for this very destination.
    Noted,
    /// The reader's.
    Own,
    /// Another's: why.
    Foreign(String),
}

impl Reader<'_> {
    /// Refuses a slot that exists and is not the reader's own. Whether that was noted when it was found so.
    pub(super) async fn refuse_foreign(&self, slot: &str) -> Result<bool> {
        match self.whose(slot).await? {
            Whose::Noted => Ok(true),
            Whose::Own => Ok(false),
            Whose::Foreign(why) => Err(foreign(slot, &why)),
        }
    }

    /// Why a slot that exists is not the reader's own, where it is not.
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
            // Made anew where it was.
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

    /// Notes that a slot is the reader's.
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
