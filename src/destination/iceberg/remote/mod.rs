//! An engine that runs elsewhere, Spark or Sail, as what writes the rows. It reads landed parts where they are, and nothing of
//! them passes through this process.
//!
//! The plan of a load is [`crate::destination::sql`]'s. [`run`] is the plan's database for one load: it asks the engine through
//! a [`channel`], gathers what the plan writes into one statement ([`merge`], in the SQL of [`dialect`]), and changes the table
//! otherwise through the catalog. [`attempt`] is what makes of it one load, applied once:
//!
//! 1. **Claim.** One commit of the catalog puts a mark at the snapshot that the load begins on: a branch, where the engine
//!    writes branches, else a tag; and takes away the mark of whoever was at it before. Only one of two can.
//! 2. **Write.** The engine runs one statement. On a branch nobody sees it. Without one it goes to the table itself, and can be
//!    repeated: all that it needs of the table it reads at the tag. Where the tag is gone, the engine refuses the statement.
//! 3. **Publish.** One commit sets the position, load and schema, takes the mark away, and brings the branch's snapshot into the
//!    table, if the mark is still there and the table is where it was.
//!
//! What an engine says of a failure is read in [`failure`], and [`spark`] is the channel that there is (feature `spark`).

use crate::config;
use crate::destination::sql::Dialect as _;
use crate::error::{Error, Result};

use super::state::LEDGER;

mod attempt;
mod channel;
pub(super) mod dialect;
mod failure;
mod merge;
mod run;
#[cfg(feature = "spark")]
mod spark;
mod stage;

pub(super) use attempt::refuse;
pub(super) use channel::Channel;
use dialect::SparkSql;

/// A session of an engine, and what the engine can do.
pub(super) struct Remote {
    channel: Box<dyn Channel>,
    /// What the engine calls the catalog.
    catalog: String,
    dataset: String,
    /// Whether it writes branches of tables.
    branches: bool,
    /// How many views were made.
    views: u64,
}

impl Remote {
    /// Opens a session of the engine that the destination names; none where that is DuckDB.
    ///
    /// # Errors
    /// Where it does not answer, or does not see the catalog's tables.
    pub(super) fn open(name: &str, lake: &config::Lake, dataset: &str) -> Result<Option<Self>> {
        let Some(engine) = &lake.engine else {
            return Ok(None);
        };
        let catalog = engine.catalog.clone().unwrap_or_else(|| name.to_owned());
        let channel = connect(engine)?;
        Self::of(channel, catalog, dataset).map(Some)
    }

    /// Takes a session, of an engine that sees the dataset's table of loads.
    pub(super) fn of(channel: Box<dyn Channel>, catalog: String, dataset: &str) -> Result<Self> {
        let mut remote = Self {
            channel,
            catalog,
            dataset: dataset.to_owned(),
            branches: false,
            views: 0,
        };
        let ledger = remote.name(LEDGER);
        remote.ask(&format!("SELECT count(*) FROM {ledger}"))?;
        remote.branches = match remote.ask(&format!("SELECT count(*) FROM {ledger}.`refs`")) {
            Ok(_) => true,
            Err(error) if error.kind() == crate::error::Kind::Storage => return Err(error),
            Err(_) => false,
        };
        Ok(remote)
    }

    /// The full name of a table, in SQL.
    fn name(&self, table: &str) -> String {
        [&self.catalog, &self.dataset, table]
            .map(|part| SparkSql.identifier(part))
            .join(".")
    }

    /// The only value of a query, where it has one.
    fn ask(&mut self, sql: &str) -> Result<Option<String>> {
        let mut found = None;
        self.channel.run(sql, &mut |row| {
            found = row.into_iter().next().flatten();
            Ok(())
        })?;
        Ok(found)
    }

    /// What it is, for people.
    pub(super) fn described(&self) -> String {
        let how = if self.branches {
            "writes branches"
        } else {
            "writes tables directly, as it has no branches"
        };
        format!("{}, which {how}", self.channel.address())
    }

    /// What ends what runs, from another thread.
    pub(super) fn interrupter(&self) -> crate::destination::Interrupter {
        self.channel.interrupter()
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("address", &self.channel.address())
            .field("branches", &self.branches)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "spark")]
fn connect(engine: &config::Engine) -> Result<Box<dyn Channel>> {
    Ok(Box::new(spark::Spark::open(engine.url.reveal())?))
}

#[cfg(not(feature = "spark"))]
fn connect(_: &config::Engine) -> Result<Box<dyn Channel>> {
    Err(without())
}

/// What is said by an acequia that was built without Spark Connect.
#[cfg_attr(feature = "spark", expect(dead_code))]
fn without() -> Error {
    Error::config("this acequia was built without Spark Connect (the feature `spark`)")
        .remedy("use a release, or build with `--features spark`; or leave `engine` of the destination out")
}
