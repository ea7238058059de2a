//! Opens the database file, and explains why it cannot be opened.

use std::path::Path;

use duckdb::{AccessMode, Config, Connection};

use crate::error::{Error, Result};

use super::error;
use super::memory::MemoryLimit;
use super::session::Session;

/// The storage format of a new file: that of DuckDB 1.4, so that people's tools, which are older than what is built in
/// here, read it too. A file that is there keeps its own.
const STORAGE_VERSION: &str = "v1.4.0";

/// The destination and its file, as messages name it.
pub(super) fn subject(name: &str, path: &Path) -> String {
    format!("destination {name} ({})", path.display())
}

/// Opens the file to be written, and makes it where it is missing.
pub(super) fn writable(
    name: &str,
    path: &Path,
    memory_limit: MemoryLimit,
    dataset: &str,
) -> Result<Session> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(
            Error::destination(format!("the folder {} does not exist", folder.display()))
                .remedy("make the folder, or correct `path` of the destination")
                .context(subject(name, path)),
        );
    }
    connect(path, dataset, AccessMode::ReadWrite, Some(memory_limit))
        .map(|session| session.of_file(path))
        .map_err(|error| error.context(subject(name, path)))
}

/// Opens the file for reading. `None` if there is no file.
pub(super) fn readable(name: &str, path: &Path, dataset: &str) -> Result<Option<Session>> {
    match path.try_exists() {
        Ok(true) => connect(path, dataset, AccessMode::ReadOnly, None)
            .map(Some)
            .map_err(|error| error.context(subject(name, path))),
        Ok(false) => Ok(None),
        Err(error) => Err(Error::destination("cannot be looked for")
            .cause(error)
            .remedy("see to the permissions of its folder")
            .context(subject(name, path))),
    }
}

fn connect(
    path: &Path,
    dataset: &str,
    mode: AccessMode,
    memory_limit: Option<MemoryLimit>,
) -> Result<Session> {
    let connection = connection(path, mode, memory_limit)?;
    Session::new(connection, dataset, memory_limit.unwrap_or_default())
}

/// Closes the file and opens it anew, to be written with so much memory: a transaction that ran out of memory may have
/// left marks on the rows that it was at, which its rollback did not find, and which no later transaction gets by. They are in
/// memory alone. A database that was attached stays as it is.
pub(super) fn anew(session: &mut Session, limit: MemoryLimit) -> Result<()> {
    let Some(path) = session.file().map(Path::to_owned) else {
        return Ok(());
    };
    // DuckDB opens no file twice, so that there is another database meanwhile. Nothing is written to it: every name says whose it is.
    session.go_on_with(Connection::open_in_memory().map_err(error::from_duckdb)?);
    let connection = connection(&path, AccessMode::ReadWrite, Some(limit))
        .map_err(|error| error.context(path.display().to_string()))?;
    session.go_on_with(connection);
    Ok(())
}

fn connection(path: &Path, mode: AccessMode, limit: Option<MemoryLimit>) -> Result<Connection> {
    let settings = settings(path, mode, limit).map_err(error::from_duckdb)?;
    let connection = Connection::open_with_flags(path, settings).map_err(|error| match &error {
        duckdb::Error::DuckDBFailure(_, Some(message)) => open_error(message),
        _ => error::from_duckdb(error),
    })?;
    // DuckDB takes -0.0 and 0.0 for a run of one value. Among the settings to open with, it is not heeded.
    connection
        .execute_batch("SET GLOBAL disabled_compression_methods = 'rle'")
        .map_err(error::from_duckdb)?;
    in_utc(&connection);
    Ok(connection)
}

/// Has days and hours of moments be those of UTC, as in PostgreSQL's sessions, and not of the machine's time zone. Without the
/// extension icu they are, and there is no such setting.
pub(in crate::destination) fn in_utc(connection: &Connection) {
    if let Err(error) = connection.execute_batch("SET GLOBAL TimeZone = 'UTC'") {
        tracing::debug!(%error, "DuckDB knows no time zones");
    }
}

fn settings(path: &Path, mode: AccessMode, limit: Option<MemoryLimit>) -> duckdb::Result<Config> {
    let folder = format!("{}.tmp", path.display());
    let config = common_settings(&folder, limit)?.access_mode(mode)?;
    if path.exists() {
        return Ok(config);
    }
    config.with("storage_compatibility_version", STORAGE_VERSION)
}

/// Settings that every database is opened with; what does not fit into memory goes to the folder.
///
/// Extensions are never fetched: a batch run must not depend on where they come from. The order of rows is not kept, so that
/// threads need not wait for one another and memory stays bounded.
pub(in crate::destination) fn common_settings(
    folder: &str,
    limit: Option<MemoryLimit>,
) -> duckdb::Result<Config> {
    let config = Config::default()
        .enable_autoload_extension(false)?
        .with("preserve_insertion_order", "false")?
        .with("temp_directory", folder)?
        .custom_user_agent(concat!("acequia/", env!("CARGO_PKG_VERSION")))?;
    match limit {
        Some(MemoryLimit { now, threads, .. }) => config
            .with("memory_limit", format!("{now}B"))?
            .with("threads", threads.to_string()),
        None => Ok(config),
    }
}

/// Why the file cannot be opened, from DuckDB's message.
fn open_error(message: &str) -> Error {
    let has = |text: &str| message.contains(text);
    let (what, remedy) = if has("Could not set lock") {
        (
            format!("{} has the file open", holder(message)),
            "close it, or wait until it ends, and run again: a DuckDB file has one writer at a time, and no reader \
             beside it",
        )
    } else if has("not a valid DuckDB database file") {
        (
            "the file is not a DuckDB database".to_owned(),
            "correct `path` of the destination, or move the file away: acequia does not overwrite it",
        )
    } else if has("newer version of DuckDB") {
        (
            "the file was written by a newer DuckDB".to_owned(),
            "use a newer acequia; or write the file anew with an older DuckDB (EXPORT DATABASE, IMPORT DATABASE)",
        )
    } else if has("older development version of DuckDB") || has("we can only read storage versions")
    {
        (
            "the file was written by a DuckDB that is too old".to_owned(),
            "write the file anew with a newer DuckDB (EXPORT DATABASE, IMPORT DATABASE)",
        )
    } else if has("encrypt") {
        (
            "the file is encrypted".to_owned(),
            "give `path` of the destination a file that is not",
        )
    } else if has("Permission denied") || has("Read-only file system") {
        (
            "no permission to open the file".to_owned(),
            "give the user that runs acequia the right to read and write the file and its folder",
        )
    } else if has("Is a directory") {
        (
            "a folder stands where the file should be".to_owned(),
            "correct `path` of the destination: it names a file",
        )
    } else if has("No space left on device") {
        ("no space left on its disk".to_owned(), "free disk space")
    } else if error::kind(message) == "Data Corruption" || has("orrupt database file") {
        (
            "the file is damaged".to_owned(),
            "restore it from a copy; or move it away, and let acequia fill a new one",
        )
    } else if has("replaying WAL") {
        (
            "DuckDB could not take up the write-ahead log beside the file".to_owned(),
            "restore both files from a copy; or move them away, and let acequia fill a new database",
        )
    } else {
        (
            format!(
                "DuckDB could not open the file ({} Error)",
                error::kind(message)
            ),
            "",
        )
    };
    let mut error = Error::destination(what);
    if has("Could not set lock") {
        error = error.until_released();
    }
    if let Some(line) = error::safe(message) {
        error = error.cause(line);
    }
    if !remedy.is_empty() {
        error = error.remedy(remedy);
    }
    error
}

/// The process that has the file open, as in `another program, /usr/bin/duckdb (PID 4711),`.
fn holder(message: &str) -> String {
    if message.contains("already held in current process") {
        return "this very process".to_owned();
    }
    let held = message
        .split_once("lock is held in ")
        .and_then(|(_, rest)| Some((rest, rest.find("(PID ")?)))
        .and_then(|(rest, at)| {
            let end = at + rest.get(at..)?.find(')')? + 1;
            rest.get(..end)
        });
    match held {
        Some(program) => format!("another program, {program},"),
        None => "another program".to_owned(),
    }
}
