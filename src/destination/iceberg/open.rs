//! Opening the catalog and DuckDB, and what can stand in the way.

use std::path::{Path, PathBuf};

use duckdb::Connection;

use crate::config::Lake;
use crate::destination::Rights;
use crate::destination::duckdb::error::{from_duckdb, message};
use crate::destination::duckdb::memory::MemoryLimit;
use crate::destination::duckdb::open::{common_settings, in_utc};
use crate::destination::duckdb::session::Session;
use crate::destination::sql::Dialect as _;
use crate::error::{Error, Result};

use super::catalog::Catalog;
use super::dialect::LakeSql;
use super::state::LEDGER;
use super::writer::{ATTACHED, Writer};
use super::{Ledger, Remote, storage};

/// The extensions that DuckDB needs, in the order that they are loaded in.
const EXTENSIONS: [&str; 3] = ["httpfs", "avro", "iceberg"];

/// The destination and its catalog, as messages name it.
pub(super) fn subject(name: &str, lake: &Lake) -> String {
    format!("destination {name} ({}, {})", lake.catalog, lake.warehouse)
}

/// Opens the catalog, and a DuckDB to write with.
pub(super) fn writer(lake: &Lake, dataset: &str) -> Result<Writer> {
    let catalog = Catalog::open(lake, dataset)?;
    let folder = tempfile::Builder::new()
        .prefix("acequia-")
        .tempdir()
        .map_err(|error| {
            Error::destination("DuckDB needs a folder for what does not fit into memory")
                .cause(error)
                .for_now()
                .remedy("free space in the folder of temporary files (TMPDIR), and see to its permissions")
        })?;
    // More than for a file of DuckDB's: a load that is begun anew leaves behind the files that it had written, and those that a lake is
    // made of are encoded by the threads.
    let limit = lake.memory_limit.map(MemoryLimit::from);
    let limit = limit.unwrap_or_default().for_queries();
    let connection = connect(lake, folder.path(), limit)?;
    let session = Session::attached(connection, ATTACHED, dataset, limit);
    Ok(Writer::new(session, catalog, folder))
}

fn connect(lake: &Lake, folder: &Path, limit: MemoryLimit) -> Result<Connection> {
    let folder = folder.join("duckdb").display().to_string();
    let settings = common_settings(&folder, Some(limit)).map_err(from_duckdb)?;
    let connection = Connection::open_in_memory_with_flags(settings).map_err(from_duckdb)?;
    in_utc(&connection);
    for extension in EXTENSIONS {
        load(&connection, lake.extensions.as_deref(), extension)?;
    }
    // A commit is sent once. DuckDB's HTTP would send it again where the answer is lost, be refused, and take that for its
    // answer.
    // A table that an engine gave an order is written without: an order is a wish, until the next compaction.
    let mut settings = vec![
        "SET http_retries = 0".to_owned(),
        "SET unsafe_iceberg_ignore_sort_order = true".to_owned(),
    ];
    settings.extend(lake.storage.as_ref().map(storage::secret));
    for setting in settings {
        connection.execute_batch(&setting).map_err(from_duckdb)?;
    }
    Ok(connection)
}

/// Loads an extension: from the folder, or the one that DuckDB has installed.
fn load(connection: &Connection, folder: Option<&Path>, extension: &str) -> Result<()> {
    let version = version(connection)?;
    let named = match folder {
        None => extension.to_owned(),
        Some(folder) => {
            let found = find(folder, extension, &version).ok_or_else(|| {
                Error::destination(format!(
                    "the folder {} does not have DuckDB's extension {extension}",
                    folder.display()
                ))
                .remedy(install(&version))
            })?;
            LakeSql.literal(&found.display().to_string())
        }
    };
    connection
        .execute_batch(&format!("LOAD {named}"))
        .map_err(|error| {
            let told = message(&error).unwrap_or_default();
            let what = if told.contains("built specifically for DuckDB version")
                || told.contains("was built for DuckDB")
            {
                format!("DuckDB's extension {extension} is of another DuckDB than {version}, which acequia is built with")
            } else {
                format!("DuckDB's extension {extension} cannot be loaded")
            };
            Error::destination(what)
                .cause(told.lines().next().unwrap_or_default().to_owned())
                .remedy(install(&version))
        })
}

fn install(version: &str) -> String {
    format!(
        "install httpfs, avro and iceberg with a DuckDB {version} (`INSTALL httpfs; INSTALL avro; INSTALL iceberg`), or name \
         the folder that has their files with `extensions` of the destination"
    )
}

/// An extension's file: in the folder itself, or where DuckDB would install it below that.
fn find(folder: &Path, extension: &str, version: &str) -> Option<PathBuf> {
    let file = format!("{extension}.duckdb_extension");
    let of_version = folder.join(version);
    let platforms = std::fs::read_dir(&of_version).into_iter().flatten();
    let platforms = platforms.flatten().map(|entry| entry.path());
    [folder.to_owned(), of_version.clone()]
        .into_iter()
        .chain(platforms)
        .map(|folder| folder.join(&file))
        .find(|file| file.is_file())
}

fn version(connection: &Connection) -> Result<String> {
    connection
        .query_row("SELECT version()", [], |row| row.get(0))
        .map_err(from_duckdb)
}

/// What the catalog would not let a run do. Changes nothing.
pub(super) fn check(
    name: &str,
    lake: &Lake,
    dataset: &str,
    tables: &[String],
    landed: Option<&str>,
) -> Result<Rights> {
    let mut writer = writer(lake, dataset)?;
    let mut missing = Vec::new();
    let mut told = |error: &Error| {
        let remedy = error.remedy_text().unwrap_or_default().to_owned();
        let report = error.report();
        let what = report.split("\n  remedy: ").next().unwrap_or_default();
        missing.push((what.to_owned(), remedy));
    };
    let mut ledger = None;
    if writer.catalog.has_namespace()? {
        ledger = writer.catalog.table(LEDGER)?;
        for table in tables {
            if let Err(error) = writer.catalog.table(table) {
                told(&error);
            }
        }
        let may_create = match Ledger::find(&mut writer)? {
            Some(_) => writer.catalog.may_create("acequia_check"),
            None => writer.catalog.may_create(LEDGER),
        };
        if let Err(error) = may_create {
            told(&error);
        }
    }
    let mut server = format!("{}, {}", lake.catalog, lake.warehouse);
    match Remote::look(name, lake, dataset, ledger.as_ref(), landed) {
        Ok(None) => {}
        Ok(Some(engine)) => server = format!("{server}, written by {engine}"),
        Err(error) => told(&error),
    }
    Ok(Rights { server, missing })
}
