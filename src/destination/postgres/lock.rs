//! One run at a time: an advisory lock on the dataset, which is held as long as the destination is open.
//!
//! The server releases it when the connection ends, for whatever reason (manual, section 13.3.5). Such a lock belongs to
//! one database, so its key is derived from the dataset's name alone.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

use super::session::{Session, value};

/// How long to wait for the lock of a run that has just died: its server process needs a moment to notice.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
/// The condition that a row `l` of `pg_locks` is the lock with the key `$1`, which a session holds. A key of 64 bits is shown in two
/// halves, and `objsubid` is 1 (manual, page of `pg_locks`).
const IS_HELD: &str = "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
     AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
     AND l.classid::int8 = ($1::int8 >> 32) & 4294967295 AND l.objid::int8 = $1::int8 & 4294967295";

/// Takes the lock.
///
/// # Errors
/// [`Error::Destination`] with the session that holds it.
pub(super) fn take(session: &mut Session) -> Result<()> {
    let key = key(session.dataset());
    let patience_ends = Instant::now() + PATIENCE;
    loop {
        let row = session.row("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&key])?;
        if value(&row, 0)? {
            return Ok(());
        }
        if Instant::now() > patience_ends {
            return Err(held(session, key)?);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Who keeps the session that holds the dataset waiting for a lock, where somebody does. To be asked by another session.
pub(super) fn hindrance(session: &mut Session) -> Result<Option<String>> {
    let key = key(session.dataset());
    let statement = format!(
        "SELECT b.pid, COALESCE(a.usename, '?')::text, COALESCE(NULLIF(a.application_name, ''), '?'), \
         COALESCE(to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '?') \
         FROM pg_catalog.pg_locks AS l CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(l.pid)) AS b (pid) \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid WHERE {IS_HELD}"
    );
    let blockers = session.rows(&statement, &[&key])?;
    let Some(row) = blockers.first() else {
        return Ok(None);
    };
    let pid: i32 = value(row, 0)?;
    let (user, program, since): (String, String, String) =
        (value(row, 1)?, value(row, 2)?, value(row, 3)?);
    Ok(Some(format!(
        "server process {pid}, of {user} ({program}), has locked what the load needs, in a transaction since {since} UTC"
    )))
}

fn key(dataset: &str) -> i64 {
    let digest = Sha256::digest(format!("acequia dataset {dataset}"));
    let mut bytes = [0; 8];
    for (byte, of_digest) in bytes.iter_mut().zip(digest) {
        *byte = of_digest;
    }
    i64::from_be_bytes(bytes)
}

fn held(session: &mut Session, key: i64) -> Result<Error> {
    let dataset = session.dataset().to_owned();
    let statement = format!(
        "SELECT l.pid, COALESCE(a.usename, '?')::text, COALESCE(host(a.client_addr), 'this host'), \
         COALESCE(to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '?') \
         FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid WHERE {IS_HELD}"
    );
    let holders = session.rows(&statement, &[&key])?;
    let Some(row) = holders.first() else {
        return Ok(Error::destination(format!(
            "another run held the dataset `{dataset}` just now"
        ))
        .remedy("run again")
        .until_released());
    };
    let pid: i32 = value(row, 0)?;
    let (user, host, since): (String, String, String) =
        (value(row, 1)?, value(row, 2)?, value(row, 3)?);
    Ok(Error::destination(format!(
        "another run holds the dataset `{dataset}`: server process {pid}, of {user}, from {host}, since {since} UTC"
    ))
    .remedy(format!(
        "wait until it ends, and run again: a dataset takes one run at a time. If it is certain that nothing runs there \
         any more: SELECT pg_terminate_backend({pid})"
    ))
    .until_released())
}
