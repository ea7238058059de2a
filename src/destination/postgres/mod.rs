//! PostgreSQL as a destination: one database, one run at a time in each dataset.
//!
//! A load is read from its Parquet parts and sent by `COPY` in the binary format ([`copy`], [`encode`], [`numeric`]):
//! directly into its table if the table is created or replaced, and otherwise into a temporary one ([`stage`]), from which
//! SQL reads it. Rows, ledger row and the stream's new position are committed in one transaction.
//!
//! [`session`] connects, runs SQL and translates errors ([`error`]); [`lock`] excludes a second run; [`privileges`] finds
//! missing privileges. Loads and the ledger are [`crate::destination::sql`]'s; [`engine`] implements what they need, with
//! its own way to create and alter a [`table`] below the [`views`] of models, to maintain its [`index`], to [`merge`], and to run a [`query`] that people
//! wrote, and its own [`dialect`].

use crate::config::PostgresUrl;
use crate::destination::sql::Database;
use crate::error::{Error, Result};
use crate::postgres::connection::{Role, Server};

mod copy;
mod dialect;
mod dropped;
mod encode;
mod engine;
mod error;
mod given;
mod index;
mod lock;
mod merge;
mod models;
mod numeric;
pub(super) mod privileges;
mod query;
mod read;
mod session;
mod stage;
mod table;
#[cfg(test)]
mod tests;
mod views;

use session::{Session, value};

/// A dataset in a PostgreSQL database.
pub(crate) type Postgres = Database<Session>;

impl Postgres {
    /// Connects, locks the dataset, and creates its schema and ledger if they are missing. Blocks.
    ///
    /// `name` is the destination's name in the configuration, for messages.
    ///
    /// # Errors
    /// [`Error::Destination`] if the server cannot be reached or refuses the user, another run holds the dataset, or a
    /// privilege is missing; [`Error::Config`] if the URI cannot be parsed.
    pub fn open(name: &str, url: &PostgresUrl, dataset: &str) -> Result<Self> {
        let server =
            Server::parse_as(Role::Destination, url).map_err(|error| error.context(place(name)))?;
        let opened = || {
            let mut session = Session::open(&server, dataset)?;
            lock::take(&mut session)?;
            let here = dataset_place(&mut session)?;
            Self::writable(session, &here)
        };
        opened().map_err(|error: Error| error.context(subject(name, &server)))
    }

    /// Connects only to read the ledger, without a lock. `None` if the dataset's ledger does not exist yet: nothing was
    /// ever loaded. Blocks.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub fn open_read_only(name: &str, url: &PostgresUrl, dataset: &str) -> Result<Option<Self>> {
        let server =
            Server::parse_as(Role::Destination, url).map_err(|error| error.context(place(name)))?;
        let opened = || {
            let mut session = Session::open(&server, dataset)?;
            session.batch("SET default_transaction_read_only = on")?;
            let here = dataset_place(&mut session)?;
            Self::readable(session, &here)
        };
        opened().map_err(|error: Error| error.context(subject(name, &server)))
    }
}

/// Who keeps the run that holds the dataset waiting, where somebody does. Blocks.
///
/// # Errors
/// As [`Postgres::open`].
pub(super) fn hindrance(name: &str, url: &PostgresUrl, dataset: &str) -> Result<Option<String>> {
    let server =
        Server::parse_as(Role::Destination, url).map_err(|error| error.context(place(name)))?;
    let looked = || lock::hindrance(&mut Session::open(&server, dataset)?);
    looked().map_err(|error: Error| error.context(subject(name, &server)))
}

/// The destination, as messages name it.
fn place(name: &str) -> String {
    format!("destination {name}")
}

/// The destination and its database, as messages name them.
fn subject(name: &str, server: &Server) -> String {
    format!("destination {name} ({})", server.place())
}

/// The place of the dataset: its server, as far as that can be identified, and its database.
fn dataset_place(session: &mut Session) -> Result<String> {
    let row = session.row(
        "SELECT oid::int8 FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
        &[],
    )?;
    let database: i64 = value(&row, 0)?;
    // A server may keep its functions of the kind from those that are not its administrators.
    let system = session
        .row(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()",
            &[],
        )
        .and_then(|row| value::<String>(&row, 0))
        .unwrap_or_else(|_| "unknown".to_owned());
    let dataset = session.dataset();
    Ok(format!(
        "dataset {dataset} of database {database} on server {system}"
    ))
}
