//! Reading a table in the snapshot that its changes begin with.

use tokio_postgres::Client;

use super::connection::failed;
use super::replication::Snapshot;
use super::replication::shapes;
use super::replication::table::Table;
use crate::change::SnapshotMark;
use crate::error::{Error, Result};
use crate::position::LsnPosition;
use crate::shape::TableShape;

/// What a snapshot that changes follow on reads.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotContext<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The table, as its changes will come.
    pub table: &'a Table,
    /// Where the changes begin.
    pub position: &'a LsnPosition,
    /// The publication that they come by.
    pub publication: &'a str,
}

impl SnapshotContext<'_> {
    /// What marks the snapshot's rows, and where the changes begin, with the table as the snapshot has it.
    pub(super) async fn beginning(&self, client: &Client) -> Result<(SnapshotMark, LsnPosition)> {
        refuse_rewritten(client, self.table).await?;
        let position = LsnPosition {
            shape: Some(shape(client, self).await?),
            ..self.position.clone()
        };
        Ok((self.snapshot.mark, position))
    }
}

/// The table as the catalog had it when the snapshot was taken.
async fn shape(client: &Client, follow: &SnapshotContext<'_>) -> Result<TableShape> {
    let oid = follow.table.oid;
    shapes::make_room(client).await?;
    let seen = shapes::look(client, &[oid], follow.publication).await?;
    let shape = seen.into_values().next().map(|seen| seen.shape);
    shape.ok_or_else(|| {
        Error::source(format!(
            "{} was dropped while its snapshot was taken",
            follow.table.from
        ))
        .remedy("run again: the snapshot begins anew")
    })
}

/// A table that was truncated or rewritten after a snapshot was taken looks empty in it.
async fn refuse_rewritten(client: &Client, table: &Table) -> Result<()> {
    let mut oids = table.partitions.clone();
    oids.push(table.oid);
    let rewritten: bool = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($1) AND c.relkind = 'r'
                            AND c.relfilenode <> pg_relation_filenode(c.oid))",
            &[&oids],
        )
        .await
        .map_err(|error| failed(format!("cannot look at {}", table.from), &error))?
        .get(0);
    if rewritten {
        return Err(Error::source(format!(
            "{} was truncated or rewritten while its snapshot was taken",
            table.from
        ))
        .remedy("run again: the snapshot begins anew"));
    }
    Ok(())
}
