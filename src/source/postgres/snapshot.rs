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

/// The snapshot of a stream of changes.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotContext<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The table, as the publication has it.
    pub table: &'a Table,
    /// The position that the changes begin at.
    pub position: &'a LsnPosition,
    /// The publication's name.
    pub publication: &'a str,
}

impl SnapshotContext<'_> {
    /// The mark of the snapshot's rows, and the position that the changes begin at, with the table's shape in the snapshot.
    pub(super) async fn beginning(&self, client: &Client) -> Result<(SnapshotMark, LsnPosition)> {
        refuse_rewritten(client, self.table).await?;
        let position = LsnPosition {
            shape: Some(shape(client, self).await?),
            ..self.position.clone()
        };
        Ok((self.snapshot.mark, position))
    }
}

/// The table's shape in the snapshot.
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

/// Refuses a table that was truncated or rewritten after the snapshot was taken: it looks empty in the snapshot.
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
        .remedy("run again: the snapshot begins anew")
        .until_released());
    }
    Ok(())
}
