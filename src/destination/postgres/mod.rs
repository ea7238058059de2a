//! PostgreSQL as a destination: one database, one run at a time in each dataset.
//!
//! A load is read from its Parquet parts and sent by `COPY` in the binary format ([`copy`], [`encode`], [`numeric`]):
//! straight into its table where that is made or replaced, and otherwise into a temporary one ([`stage`]), from which SQL
//! takes it ([`merge`], [`append`], [`changes`], and what [`crate::destination::apply`] has). All of it, with its ledger row and the stream's new position, is one transaction
//! ([`load`]).
//!
//! [`session`] connects, runs SQL and tells its failures ([`failure`]); [`lock`] keeps a second run out; [`ledger`] keeps
//! what was loaded; [`table`], [`alter`] and [`index`] see to the table; [`rights`] says what the user lacks; [`sql`] writes SQL.

use std::collections::{BTreeMap, HashSet};

use crate::config::Secret;
use crate::destination::apply::marks;
use crate::destination::{
    Destination, Interrupter, LedgerRow, LoadOutcome, StagedLoad, StreamState,
};
use crate::error::{Error, Result};
use crate::landing::manifest::Disposition;
use crate::names::{DestinationId, LoadId, StreamName};
use crate::position::Position;
use crate::postgres::connection::{Role, Server};

mod alter;
mod append;
mod changes;
mod copy;
mod encode;
mod failure;
mod index;
mod ledger;
mod load;
mod lock;
mod merge;
mod numeric;
pub mod rights;
mod session;
mod sql;
mod stage;
mod table;
#[cfg(test)]
mod tests;

use session::Session;

/// A dataset in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    session: Session,
    id: DestinationId,
    /// What is to be known where its ledger was made at another place.
    moved: Option<String>,
    read_only: bool,
}

impl Postgres {
    /// Connects, keeps other runs out of the dataset, and sees to its schema and ledger. Blocks.
    ///
    /// `name` is the destination's name in the configuration, for messages.
    ///
    /// # Errors
    /// [`Error::Destination`] where the server cannot be reached or does not let this user in, another run holds the
    /// dataset, or a right is missing; [`Error::Config`] where the URI cannot be understood.
    pub fn open(name: &str, url: &Secret, dataset: &str) -> Result<Self> {
        let server =
            Server::parse_as(Role::Destination, url).map_err(|error| error.on(place(name)))?;
        let opened = || {
            let mut session = Session::open(&server, dataset)?;
            lock::take(&mut session)?;
            let here = ledger::place(&mut session)?;
            let (id, moved) = ledger::prepare(&mut session, &here)?;
            Ok(Self {
                session,
                id,
                moved,
                read_only: false,
            })
        };
        opened().map_err(|error: Error| error.on(subject(name, &server)))
    }

    /// Connects only to read the ledger, beside whatever runs. None where the dataset's ledger does not exist yet: nothing
    /// was ever loaded. Blocks.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub fn open_read_only(name: &str, url: &Secret, dataset: &str) -> Result<Option<Self>> {
        let server =
            Server::parse_as(Role::Destination, url).map_err(|error| error.on(place(name)))?;
        let opened = || {
            let mut session = Session::open(&server, dataset)?;
            session.batch("SET default_transaction_read_only = on")?;
            let here = ledger::place(&mut session)?;
            let id = ledger::seen_id(&mut session, &here)?;
            Ok(id.map(|id| Self {
                session,
                id,
                moved: None,
                read_only: true,
            }))
        };
        opened().map_err(|error: Error| error.on(subject(name, &server)))
    }

    fn writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::internal(
                "a load on a destination that was opened to be read",
            ));
        }
        Ok(())
    }
}

impl Destination for Postgres {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn interrupter(&self) -> Interrupter {
        self.session.interrupter()
    }

    fn warnings(&self) -> Vec<String> {
        self.moved.iter().cloned().collect()
    }

    fn states(&mut self) -> Result<BTreeMap<StreamName, StreamState>> {
        ledger::states(&mut self.session)
    }

    fn loaded(&mut self, stream: &StreamName) -> Result<HashSet<LoadId>> {
        ledger::loaded(&mut self.session, stream)
    }

    fn last_loads(&mut self) -> Result<Vec<LedgerRow>> {
        ledger::last_loads(&mut self.session)
    }

    fn load(&mut self, load: &StagedLoad) -> Result<LoadOutcome> {
        self.writable()?;
        load::load(&mut self.session, load)
    }

    fn advance(&mut self, stream: &StreamName, before: &Position, after: &Position) -> Result<()> {
        self.writable()?;
        self.session
            .transaction(|session| ledger::advance(session, stream, before, after))
    }

    fn live_ids(&mut self, table: &str, disposition: Disposition) -> Result<Vec<String>> {
        let table = self.session.table(table);
        marks::live_ids(&mut self.session, &table, disposition)
    }
}

/// The destination, as messages name it.
fn place(name: &str) -> String {
    format!("destination {name}")
}

/// The destination and its database, as messages name them.
fn subject(name: &str, server: &Server) -> String {
    format!("destination {name} ({})", server.place())
}
