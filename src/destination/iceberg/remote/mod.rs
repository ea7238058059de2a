//! An engine that runs elsewhere, Spark or Sail, as what writes the rows. It reads landed parts where they are, and nothing of them
//! passes through this process.
//!
//! The plan of a load is [`crate::destination::sql`]'s. [`run`] is the plan's database for one load: it asks the engine through
//! a [`channel`], gathers what the plan writes of a table ([`load_table`]) into one statement ([`merge`], [`insert`] and
//! [`exchange`], in the SQL of [`dialect`]), and changes the table otherwise through the catalog. A load is applied once in three
//! steps ([`claim`]), whichever the [`Way`]:
//!
//! 1. **Claim.** One commit of the catalog makes a branch at the snapshot that the load begins on, or puts a tag there, and takes away
//!    the one of whoever was at it before. Only one of two can.
//! 2. **Write.** The engine runs one statement. On a branch nobody sees what it does. On the table itself it can be repeated: all
//!    that it needs of the table it reads at the tag. Where the table changed meanwhile, or the tag is gone, the engine refuses it.
//! 3. **Publish.** One commit makes the branch the table, sets the position, load and schema, and takes the branch or tag away, if it
//!    is still there.
//!
//! A table of changes is claimed and written likewise, before its table is written, and published in the table's commit.
//!
//! What an engine says of a failure is read in [`failure`], and `spark` is the channel that there is (feature `spark`).

use crate::config;
use crate::destination::sql::Dialect as _;
use crate::error::{Error, Kind, Result};

use super::catalog::TableMetadata;
use super::state::LEDGER;

mod channel;
mod claim;
pub(super) mod dialect;
mod exchange;
mod failure;
mod insert;
mod load_table;
mod merge;
mod run;
#[cfg(feature = "spark")]
mod spark;
mod stage;
mod views;

use channel::Channel;
use dialect::SparkSql;
pub(super) use run::Run;

/// How what the engine writes and the load's position become one change of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The engine writes a branch, which becomes the table in the commit that sets the position.
    Branch,
    /// The engine has no branches. It writes the table itself, with a statement that may be repeated, and the position follows.
    Direct,
}

/// A session of an engine, and what the engine can do.
pub(super) struct Remote {
    channel: Box<dyn Channel>,
    way: Way,
    /// What the engine calls the catalog.
    catalog: String,
    dataset: String,
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

    /// Takes a session, of an engine that sees the dataset's table of loads, and finds out what the engine can do.
    pub(super) fn of(channel: Box<dyn Channel>, catalog: String, dataset: &str) -> Result<Self> {
        let mut remote = Self {
            channel,
            way: Way::Branch,
            catalog,
            dataset: dataset.to_owned(),
            views: 0,
        };
        let ledger = remote.name(LEDGER);
        remote.ask(&format!("SELECT count(*) FROM {ledger}"))?;
        // Sail has no names of so many parts.
        if remote.knows(&format!("{ledger}.`branch_main`"))? {
            return Ok(remote);
        }
        if remote.knows(&format!("{ledger}.`refs`"))? {
            return Err(has_no_branches(remote.channel.address()));
        }
        remote.way = Way::Direct;
        Ok(remote)
    }

    /// Whether the engine knows a table.
    fn knows(&mut self, name: &str) -> Result<bool> {
        match self.ask(&format!("SELECT count(*) FROM {name}")) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Storage || matches!(error, Error::Interrupted) => {
                Err(error)
            }
            Err(_) => Ok(false),
        }
    }

    /// Looks at the engine that the destination names: whether it answers, sees the catalog's table of loads where there is one,
    /// and reads a part of one row that was landed. What it is, for people; none where DuckDB writes.
    ///
    /// # Errors
    /// Where it does not.
    pub(super) fn look(
        name: &str,
        lake: &config::Lake,
        dataset: &str,
        ledger: Option<&TableMetadata>,
        landed: Option<&str>,
    ) -> Result<Option<String>> {
        let Some(engine) = &lake.engine else {
            return Ok(None);
        };
        let catalog = engine.catalog.clone().unwrap_or_else(|| name.to_owned());
        let mut channel = connect(engine)?;
        if let Some(url) = landed {
            let part = format!("parquet.{}", SparkSql.identifier(url));
            let mut rows = Vec::new();
            let read = channel.run(&format!("SELECT count(*) FROM {part}"), &mut |row| {
                rows.extend(row);
                Ok(())
            });
            let finds = read.map(|()| rows == [Some("1".to_owned())]);
            if !matches!(finds, Ok(true)) {
                let error = Error::destination(format!(
                    "the engine at {} does not read {url}",
                    channel.address()
                ));
                let error = match finds {
                    Err(cause) => error.cause(cause),
                    Ok(_) => error,
                };
                return Err(error.remedy(
                    "give the engine the right to read the landing area, and the address of its storage",
                ));
            }
        }
        let Some(ledger) = ledger else {
            return Ok(Some(format!("the engine at {}", channel.address())));
        };
        let mut remote = Self::of(channel, catalog, dataset)?;
        if let Some(now) = ledger.snapshot() {
            let sees = remote.ask(&format!(
                "SELECT count(*) FROM {} VERSION AS OF {now}",
                remote.name(LEDGER)
            ));
            sees.map_err(|error| {
                Error::destination(format!(
                    "the table {dataset}.{LEDGER} of the engine at {} is not the catalog's",
                    remote.channel.address()
                ))
                .cause(error)
                .remedy("name the catalog as the engine calls it with `engine_catalog` of the destination, and see that it is the same one")
            })?;
        }
        let can = match remote.way {
            Way::Branch => "writes branches",
            Way::Direct => "has no branches: rows come before their position",
        };
        Ok(Some(format!(
            "the engine at {} ({can})",
            remote.channel.address()
        )))
    }

    /// Whether nobody sees what it writes until that is published.
    pub(super) fn writes_branches(&self) -> bool {
        self.way == Way::Branch
    }

    /// The full name of a table, in SQL.
    fn name(&self, table: &str) -> String {
        [&self.catalog, &self.dataset, table]
            .map(|part| SparkSql.identifier(part))
            .join(".")
    }

    /// The only value of a query, where it has one.
    pub(super) fn ask(&mut self, sql: &str) -> Result<Option<String>> {
        let mut found = None;
        self.channel.run(sql, &mut |row| {
            found = row.into_iter().next().flatten();
            Ok(())
        })?;
        Ok(found)
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
            .finish_non_exhaustive()
    }
}

/// Spark adds rows on top of what others have committed meanwhile, so that without a branch what a dead run left running could
/// write a load again.
fn has_no_branches(address: &str) -> Error {
    Error::config(format!(
        "the engine at {address} has tables of Iceberg without branches"
    ))
    .remedy("give it Iceberg 1.2 or later, or have DuckDB write the rows: leave `engine` of the destination out")
}

#[cfg(feature = "spark")]
fn connect(engine: &config::Engine) -> Result<Box<dyn Channel>> {
    let Some(command) = &engine.token else {
        return Ok(Box::new(spark::Spark::open(engine.url.reveal())?));
    };
    let open = |token: &config::Secret| spark::Spark::open(&with_token(engine, token));
    let token = command.secret()?;
    let opened = match open(&token) {
        Err(error) if error.kind() == Kind::Secret => {
            command.forget(&token);
            open(&command.secret()?)
        }
        opened => opened,
    };
    Ok(Box::new(opened?))
}

/// The engine's address with a token, which is one of its parameters, behind `/;`.
#[cfg(feature = "spark")]
fn with_token(engine: &config::Engine, token: &config::Secret) -> String {
    let url = engine.url.reveal().trim_end_matches(';');
    let token = super::answer::encoded(token.reveal());
    if url.contains(';') {
        return format!("{url};token={token}");
    }
    format!("{}/;token={token}", url.trim_end_matches('/'))
}

#[cfg(not(feature = "spark"))]
fn connect(_: &config::Engine) -> Result<Box<dyn Channel>> {
    Err(without())
}

/// What is said by an acequia that was built without Spark Connect.
#[cfg_attr(feature = "spark", expect(dead_code))]
fn without() -> Error {
    Error::config("this acequia was built without Spark Connect (the feature `spark`)").remedy(
        "use a release, or build with `--features spark`; or leave `engine` of the destination out",
    )
}

#[cfg(all(test, feature = "spark"))]
mod tests {
    use super::*;

    #[test]
    fn a_token_becomes_a_parameter_of_the_address() {
        for (url, expected) in [
            ("sc://sail:50051", "sc://sail:50051/;token=a%2Fb"),
            ("sc://sail:50051/", "sc://sail:50051/;token=a%2Fb"),
            (
                "sc://sail:50051/;use_ssl=true;",
                "sc://sail:50051/;use_ssl=true;token=a%2Fb",
            ),
        ] {
            let engine = config::Engine {
                url: config::Secret::new(url),
                token: None,
                catalog: None,
            };
            assert_eq!(with_token(&engine, &config::Secret::new("a/b")), expected);
        }
    }
}
