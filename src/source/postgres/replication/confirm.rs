//! Confirms to the server what is durable.

use std::time::Instant;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::begin::window_bytes;
use super::{ReadMode, Replication, STATUS_INTERVAL, wait_for_slot};
use crate::error::{Error, Result};
use crate::position::Lsn;
use crate::source::postgres::connection::failed;

impl Replication {
    /// Confirms to the server that everything before that LSN is durable.
    pub async fn confirm(&mut self, lsn: Lsn) -> Result<()> {
        if lsn <= self.confirmed {
            return Ok(());
        }
        self.confirmed = lsn;
        if self.reading == Some(ReadMode::Stream) {
            self.send_status(false).await
        } else {
            self.advance(lsn).await
        }
    }

    /// Confirms `lsn` with `pg_replication_slot_advance`, when no stream is open.
    ///
    /// The server moves its restart position only to the first record of running transactions (it writes one every 15 s)
    /// after the previous one, but past all such records that were confirmed before. If they are far apart, the slot is
    /// therefore advanced in two steps: otherwise the next read would decode again what this one did.
    async fn advance(&self, lsn: Lsn) -> Result<()> {
        let before = Lsn(lsn.0.saturating_sub(1));
        let far = i64::try_from(window_bytes() / 64).unwrap_or(i64::MAX);
        self.advance_from_afar(before, far).await?;
        if self.advance_from_afar(lsn, 0).await? == 0 && self.slot().await?.is_none() {
            return Err(self.slot_missing(lsn));
        }
        Ok(())
    }

    /// Confirms `lsn` for slots whose restart position is at least `distance` bytes before it. Returns the number of slots
    /// that moved.
    async fn advance_from_afar(&self, lsn: Lsn, distance: i64) -> Result<u64> {
        let sql = "SELECT pg_replication_slot_advance(slot_name, $2::text::pg_lsn) FROM pg_replication_slots
                   WHERE slot_name = $1 AND confirmed_flush_lsn < $2::text::pg_lsn
                     AND $2::text::pg_lsn <= pg_current_wal_flush_lsn()
                     AND pg_wal_lsn_diff($2::text::pg_lsn, restart_lsn) >= $3::int8";
        let to = lsn.to_string();
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.names.slot, &to, &distance];
        let began = Instant::now();
        let advanced = loop {
            match self.client.execute(sql, &parameters).await {
                Err(error)
                    if error.code() == Some(&SqlState::OBJECT_IN_USE)
                        && wait_for_slot(began).await => {}
                ended => break ended,
            }
        };
        advanced.map_err(|error| self.unconfirmed(&error))
    }

    fn unconfirmed(&self, error: &tokio_postgres::Error) -> Error {
        let what = format!("cannot confirm to the server at {}", self.server.place());
        let fault = failed(what, error);
        if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return fault.remedy(
                "let the source's user move its slot: ALTER ROLE … REPLICATION; and, where it was taken away, GRANT EXECUTE ON \
                 FUNCTION pg_replication_slot_advance TO …",
            );
        }
        fault
    }

    /// Sends a status update with the durable LSN; `reply` requests the server's position.
    pub(super) async fn send_status(&mut self, reply: bool) -> Result<()> {
        if self.reading != Some(ReadMode::Stream) {
            return Ok(());
        }
        let sent = self.wire.send_status(self.confirmed, reply).await;
        sent.map_err(|error| error.told("cannot confirm to the server", self.server.place()))
    }

    /// Sends status updates every second until dropped. Returns only if the connection fails.
    pub async fn keep_alive(&mut self) -> Error {
        loop {
            if let Err(error) = self.send_status(false).await {
                return error;
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }
}
