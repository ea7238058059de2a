//! Decides where a stream begins: at its position, if server, log, slot and table are those that were read so far;
//! otherwise with a new snapshot, or not at all.

use std::collections::BTreeSet;

use super::slot::Slot;
use super::table::Table;
use super::wire::ReplicationConnection;
use super::{ANEW, Replication, alterations, refuse_lost};
use crate::config::{PostgresChanges, SchemaContract};
use crate::error::{Error, Result};
use crate::position::{LastRead, Lsn, LsnPosition};
use crate::shape::Seen;

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At its position.
    Resume(Resume),
    /// With a snapshot. The reason, unless it is the stream's first.
    Snapshot(Option<String>),
}

/// How a stream continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Transactions that were committed from this LSN on are decoded.
    pub from: Lsn,
    /// The transaction that the log must contain to be the one that was read. It is set if the server may have been
    /// restored from an older copy.
    pub expects: Option<LastRead>,
}

impl Resume {
    /// Continues at an LSN, in the log that was read.
    pub fn at(from: Lsn) -> Self {
        Self {
            from,
            expects: None,
        }
    }

    /// The LSN from which the log must be read.
    pub fn reads_from(&self) -> Lsn {
        self.expects.map_or(self.from, |last| last.lsn)
    }
}

/// The facts that decide where a stream begins.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The stream.
    pub stream: &'a PostgresChanges,
    /// Which changes of the source's schema are allowed.
    pub contract: SchemaContract,
    /// The stream's position.
    pub position: &'a LsnPosition,
    /// The columns of the stream's table in the destination.
    pub columns: &'a BTreeSet<String>,
    /// The source's table.
    pub table: &'a Table,
    /// The table's shape in the catalog.
    pub seen: Option<&'a Seen>,
    /// The slot.
    pub slot: Option<&'a Slot>,
    /// The end of the log.
    pub now: Lsn,
}

impl Replication {
    /// Decides where a stream begins.
    ///
    /// # Errors
    /// Changes since the position are lost, or the stream's contract forbids a change of its table.
    pub fn start_of(&self, standing: &Standing<'_>) -> Result<Start> {
        let name = &self.names.slot;
        let Standing {
            position,
            table,
            now,
            ..
        } = *standing;
        let anew = |reason: String| Ok(Start::Snapshot(Some(reason)));
        if position.slot != *name {
            return anew(format!(
                "its position is one of the slot `{}`, and the slot is `{name}`",
                position.slot
            ));
        }
        if position.system != self.system {
            return Err(Error::source(format!(
                "the server at {} is not the one that the stream was read from so far",
                self.server.place()
            ))
            .remedy(ANEW));
        }
        self.refuse_branch(position)?;
        let Some(slot) = standing.slot else {
            return Err(self.slot_missing(position.lsn));
        };
        refuse_lost(slot, name)?;
        if slot.confirmed > position.lsn {
            return Err(self.moved(slot, position.lsn));
        }
        if position.lsn > now {
            return Err(Error::source(format!(
                "the server's write-ahead log ends at {now}, before the stream's position {}: it was restored from an \
                 older copy",
                position.lsn
            ))
            .remedy(ANEW));
        }
        if table.oid != position.relation {
            return anew(format!("{} was dropped and made anew", table.from));
        }
        if table.membership != position.membership {
            return anew(format!(
                "{} was not published for a while, or its row filter or column list in the publication was altered",
                table.from
            ));
        }
        if let Some(seen) = standing.seen {
            let known = position.shape.as_ref();
            let since = alterations::since(
                known,
                seen,
                &standing.stream.columns,
                standing.contract,
                standing.columns,
            )?;
            if let Err(reason) = since {
                return anew(reason);
            }
        }
        Ok(match self.resume(position, slot) {
            Some(resume) => Start::Resume(resume),
            None => Start::Snapshot(Some(
                "the server was started anew before it was told that the last snapshot is loaded, and may have been \
                 restored from an older copy"
                    .to_owned(),
            )),
        })
    }

    /// Refuses a position on a timeline that is not in the history of the server's timeline, or that ended before the
    /// position.
    fn refuse_branch(&self, position: &LsnPosition) -> Result<()> {
        let (Some(known), Some(timeline)) = (position.timeline, self.timeline) else {
            return Ok(());
        };
        let left = self.branches.iter().find(|(branch, _)| *branch == known);
        if known == timeline || left.is_some_and(|(_, end)| position.lsn <= *end) {
            return Ok(());
        }
        Err(Error::source(format!(
            "the server writes timeline {timeline}, which does not have all that the stream read of timeline {known}, up to \
             {}: it was restored from a copy, or a standby took its place that lacked the last changes",
            position.lsn
        ))
        .remedy(ANEW))
    }

    /// How a stream continues from a position. `None` if it cannot be determined whether the log is the one that was read.
    ///
    /// A server that was restarted may have been restored from an older copy of itself. Its slot then stands where the copy
    /// had it. Everything up to the slot's confirmed LSN is the same in both; what was read after it must be in the log.
    fn resume(&self, position: &LsnPosition, slot: &Slot) -> Option<Resume> {
        let trusted = Resume::at(position.lsn);
        let restarted = position
            .started
            .as_ref()
            .is_some_and(|known| *known != self.started);
        if !restarted || slot.confirmed >= position.lsn {
            return Some(trusted);
        }
        let last = position.last?;
        match last.time {
            Some(_) if last.lsn >= slot.confirmed => Some(Resume {
                from: Lsn(last.lsn.0.saturating_add(1)),
                expects: Some(last),
            }),
            None if last.lsn > slot.confirmed => None,
            _ => Some(Resume::at(slot.confirmed)),
        }
    }
}

/// The end of each timeline in the history of the server's timeline. Empty if the server does not send its history.
pub(super) async fn branches(
    wire: &mut ReplicationConnection,
    timeline: Option<u32>,
) -> Vec<(u32, Lsn)> {
    let Some(timeline) = timeline.filter(|timeline| *timeline > 1) else {
        return Vec::new();
    };
    let told = wire.query(&format!("TIMELINE_HISTORY {timeline}")).await;
    let history = match told {
        Ok(rows) => rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().nth(1).flatten()),
        Err(error) => {
            tracing::debug!(%error, "the server does not tell the history of its timeline");
            None
        }
    };
    let branch = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    history
        .unwrap_or_default()
        .lines()
        .filter_map(branch)
        .collect()
}
