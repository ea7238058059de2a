//! Opens and inspects the destination that the configuration names. Only this module asks which kind of destination it is.

use crate::config::{self, Target};
use crate::error::Result;

use super::duckdb::{DuckDb, MemoryLimit};
use super::iceberg::{self, Lake};
use super::postgres::{self, Postgres, privileges};
use super::sql::changes::changelog;
use super::{Destination, Reads};

/// Opens a destination to load into a dataset, and creates the dataset's ledger if it is missing. Blocks.
///
/// # Errors
/// [`crate::Error::Destination`] if the destination cannot be reached, another run holds it, or a privilege is missing;
/// [`crate::Error::Config`] if its address cannot be parsed.
pub fn open(destination: &config::Destination, dataset: &str) -> Result<Box<dyn Destination>> {
    let name = &destination.name;
    Ok(match &destination.target {
        Target::DuckDb { path, memory_limit } => {
            let limit = memory_limit.map_or_else(MemoryLimit::default, MemoryLimit::from);
            Box::new(DuckDb::open(name, path, limit, dataset)?)
        }
        Target::Postgres { url } => Box::new(Postgres::open(name, url, dataset)?),
        Target::Iceberg(lake) => Box::new(Lake::open(name, lake, dataset)?),
    })
}

/// Opens a destination only to read a dataset's ledger, without creating or changing anything. Returns `None` if there is
/// no ledger yet. Blocks.
///
/// # Errors
/// As [`open`].
pub fn open_read_only(
    destination: &config::Destination,
    dataset: &str,
) -> Result<Option<Box<dyn Destination>>> {
    let name = &destination.name;
    Ok(match &destination.target {
        Target::DuckDb { path, .. } => {
            DuckDb::open_read_only(name, path, dataset)?.map(|opened| Box::new(opened) as _)
        }
        Target::Postgres { url } => {
            Postgres::open_read_only(name, url, dataset)?.map(|opened| Box::new(opened) as _)
        }
        Target::Iceberg(lake) => {
            Lake::open_read_only(name, lake, dataset)?.map(|opened| Box::new(opened) as _)
        }
    })
}

/// Where the destination reads the parts of loads.
pub fn reads(destination: &config::Destination) -> Reads {
    match &destination.target {
        Target::Iceberg(lake) if lake.engine.is_some() => Reads::Landed,
        Target::DuckDb { .. } | Target::Postgres { .. } | Target::Iceberg(_) => Reads::Local,
    }
}

/// The session that keeps the run waiting for a destination that is open, if the destination can tell. Blocks.
///
/// # Errors
/// As [`open`]: a destination that does not answer cannot tell.
pub fn hindrance(destination: &config::Destination, dataset: &str) -> Result<Option<String>> {
    match &destination.target {
        Target::DuckDb { .. } | Target::Iceberg(_) => Ok(None),
        Target::Postgres { url } => postgres::hindrance(&destination.name, url, dataset),
    }
}

/// The privileges that were found in a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The server and the user, for people.
    pub server: String,
    /// The missing privileges: for each, what is missing, and the SQL that fixes it.
    pub missing: Vec<(String, String)>,
}

/// Checks the user's privileges on the dataset, and on the tables of these names in it; and where an engine elsewhere reads the
/// landing area, whether it finds the one row of the part at that URL. Returns `None` if the destination has no users. Changes
/// nothing. Blocks.
///
/// # Errors
/// As [`open`], except that missing privileges are not an error.
pub fn check(
    destination: &config::Destination,
    dataset: &str,
    tables: &[&str],
    landed: Option<&str>,
) -> Result<Option<Rights>> {
    let name = &destination.name;
    let tables: Vec<String> = tables
        .iter()
        .flat_map(|table| [(*table).to_owned(), changelog::table_name(table)])
        .collect();
    match &destination.target {
        Target::DuckDb { .. } => Ok(None),
        Target::Postgres { url } => privileges::look(name, url, dataset, &tables).map(Some),
        Target::Iceberg(lake) => iceberg::check(name, lake, dataset, &tables, landed).map(Some),
    }
}
