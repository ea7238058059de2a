//! Replication slots, as the server has them.

use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::source::postgres::connection::failed;

/// The slot as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whether somebody is still making it.
    pub is_unfinished: bool,
    /// Whether somebody reads it.
    pub active: bool,
    /// Everything before was confirmed.
    pub confirmed: Lsn,
    /// Where the server begins to decode whenever the slot is read: the beginning of the oldest transaction that was not
    /// over at `confirmed`, or before.
    pub restart: Lsn,
    /// Bytes of the write-ahead log that the server keeps for it.
    pub retained: u64,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: String,
}

impl Slot {
    /// Whether the server has removed the log that it needs.
    pub fn is_lost(&self) -> bool {
        self.wal_status == "lost"
    }
}

/// The slot of that name.
///
/// # Errors
/// [`Error::Config`] where another program's slot bears the name.
pub async fn slot(client: &Client, name: &str) -> Result<Option<Slot>> {
    let row = client
        .query_opt(
            "SELECT slot_type, plugin::text, database::text, database = current_database(), active,
                    COALESCE(confirmed_flush_lsn, '0/0')::text,
                    GREATEST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8, COALESCE(wal_status, 'lost'),
                    confirmed_flush_lsn IS NULL AND active, COALESCE(restart_lsn, '0/0')::text
             FROM pg_replication_slots WHERE slot_name = $1",
            &[&name],
        )
        .await
        .map_err(|error| failed("cannot look the replication slot up", &error))?;
    let Some(row) = row else {
        return Ok(None);
    };
    let kind: String = row.get(0);
    let plugin: Option<String> = row.get(1);
    let database: Option<String> = row.get(2);
    let here: Option<bool> = row.get(3);
    if kind != "logical" || plugin.as_deref() != Some("pgoutput") || here != Some(true) {
        return Err(Error::config(format!(
            "the replication slot `{name}` is not acequia's: it is {kind}, of plugin {} in database {}",
            plugin.as_deref().unwrap_or("none"),
            database.as_deref().unwrap_or("none"),
        ))
        .remedy("choose another name with `slot` under [sources.….replication]"));
    }
    let (confirmed, restart): (String, String) = (row.get(5), row.get(9));
    let retained: Option<i64> = row.get(6);
    Ok(Some(Slot {
        is_unfinished: row.get(8),
        active: row.get(4),
        confirmed: confirmed.parse().unwrap_or_default(),
        restart: restart.parse().unwrap_or_default(),
        retained: retained
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(0),
        wal_status: row.get(7),
    }))
}

/// A slot that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleSlot {
    /// Its name.
    pub name: String,
    /// Bytes of the write-ahead log that the server keeps for it.
    pub retained: u64,
}

/// The pipeline's slots in this database that nobody reads.
///
/// A longer name may be that of another pipeline: where a publication is called as the slot begins, it is that one's.
pub async fn idle_slots(client: &Client, base: &str) -> Result<Vec<IdleSlot>> {
    let rows = client
        .query(
            "SELECT slot_name::text, GREATEST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8
             FROM pg_replication_slots
             WHERE NOT active AND NOT temporary AND plugin = 'pgoutput' AND database = current_database()
               AND (starts_with(slot_name::text, $1 || '_') OR slot_name = $1)
               AND NOT EXISTS (SELECT FROM pg_publication p WHERE length(p.pubname) > length($1)
                               AND (slot_name = p.pubname OR starts_with(slot_name::text, p.pubname::text || '_')))
             ORDER BY 1",
            &[&base],
        )
        .await
        .map_err(|error| failed("cannot look replication slots up", &error))?;
    let slot = |row: &tokio_postgres::Row| IdleSlot {
        name: row.get(0),
        retained: row
            .get::<_, Option<i64>>(1)
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(0),
    };
    Ok(rows.iter().map(slot).collect())
}
