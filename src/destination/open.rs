//! Opening the destination that the configuration names, and looking at it. Here alone it is asked which kind it is.

use crate::config::{self, Target};
use crate::error::Result;

use super::Destination;
use super::duckdb::{DuckDb, MemoryLimit};
use super::postgres::{self, Postgres, privileges};
use super::sql::changes::changelog;

/// Opens a destination to load into a dataset, and makes the dataset's ledger where it is missing. Blocks.
///
/// # Errors
/// [`crate::Error::Destination`] where it cannot be reached, another run holds it, or a right is missing;
/// [`crate::Error::Config`] where its address cannot be understood.
pub fn open(destination: &config::Destination, dataset: &str) -> Result<Box<dyn Destination>> {
    let name = &destination.name;
    Ok(match &destination.target {
        Target::DuckDb { path, memory_limit } => {
            let limit = memory_limit.map_or_else(MemoryLimit::default, MemoryLimit::from);
            Box::new(DuckDb::open(name, path, limit, dataset)?)
        }
        Target::Postgres { url } => Box::new(Postgres::open(name, url, dataset)?),
    })
}

/// Opens a destination only to read a dataset's ledger, without making or changing anything; none where it has none yet.
/// Blocks.
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
    })
}

/// Who keeps the run waiting that has a destination open, where somebody does and that can be told. Blocks.
///
/// # Errors
/// As [`open`]: one that does not answer keeps it waiting as well.
pub fn hindrance(destination: &config::Destination, dataset: &str) -> Result<Option<String>> {
    match &destination.target {
        Target::DuckDb { .. } => Ok(None),
        Target::Postgres { url } => postgres::hindrance(&destination.name, url, dataset),
    }
}

/// What was found of a destination that is reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The server and the user, for people.
    pub server: String,
    /// What is missing: what of it, and the SQL that fixes it.
    pub missing: Vec<(String, String)>,
}

/// Looks at what may be done with the dataset, and with tables of these names in it, in a destination that knows of users;
/// none where it does not. Changes nothing. Blocks.
///
/// # Errors
/// As [`open`], but for what is missing.
pub fn check(
    destination: &config::Destination,
    dataset: &str,
    tables: &[&str],
) -> Result<Option<Rights>> {
    let Target::Postgres { url } = &destination.target else {
        return Ok(None);
    };
    let tables: Vec<String> = tables
        .iter()
        .flat_map(|table| [(*table).to_owned(), changelog::table_name(table)])
        .collect();
    privileges::look(&destination.name, url, dataset, &tables).map(Some)
}
