//! Looks up what identifies a server and a relation.

use tokio_postgres::Client;
use tokio_postgres::types::Oid;

use super::connection::failed;
use crate::error::Result;
use crate::identity::{ColumnIdentity, RelationIdentity, ServerIdentity};

/// The identity of a server and its timeline. `None` if the user may not ask for it.
///
/// # Errors
/// The connection is lost.
pub async fn server_identity(client: &Client) -> Result<Option<ServerIdentity>> {
    // A primary writes the timeline in the name of its next log file. A standby knows the timeline that it follows, or that
    // it was promoted from, at the latest after its next restart point.
    let asked = client
        .query_one(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()),
                    CASE WHEN pg_is_in_recovery()
                         THEN (SELECT GREATEST(c.timeline_id, r.min_recovery_end_timeline)::int8
                               FROM pg_control_checkpoint() AS c, pg_control_recovery() AS r)
                         ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int8 END",
            &[],
        )
        .await;
    let row = match asked {
        Ok(row) => row,
        Err(error) if error.as_db_error().is_some() => {
            tracing::debug!(%error, "the server does not tell which it is");
            return Ok(None);
        }
        Err(error) => return Err(failed("cannot ask which server this is", &error)),
    };
    let timeline: i64 = row.get(1);
    Ok(u32::try_from(timeline).ok().map(|timeline| ServerIdentity {
        system: row.get(0),
        timeline,
    }))
}

/// The identity of a table and its columns.
///
/// # Errors
/// The server cannot be asked.
pub async fn relation_identity(client: &Client, table: Oid) -> Result<RelationIdentity> {
    let rows = client
        .query(
            "SELECT attname::text, attnum, atttypid, atttypmod FROM pg_attribute
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&table],
        )
        .await
        .map_err(|error| failed("cannot look a table's columns up", &error))?;
    let column = |row: &tokio_postgres::Row| ColumnIdentity {
        name: row.get(0),
        number: row.get(1),
        type_oid: row.get(2),
        modifier: row.get(3),
    };
    Ok(RelationIdentity {
        oid: table,
        columns: rows.iter().map(column).collect(),
    })
}

/// The relations that a relation's rows come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Below {
    /// Its partitions and inheriting tables that hold rows, at all levels.
    pub partitions: Vec<Oid>,
    /// Whether some of its rows are on another server.
    pub foreign: bool,
    /// Whether some of its rows are those of a materialized view.
    pub materialized: bool,
    /// Whether a logical subscription writes to it or, for a query, to any table of the database.
    pub subscribed: bool,
}

/// Looks up the relations that a relation's rows come from, through views, partitions and inheritance. For a query, they
/// are not known.
///
/// # Errors
/// The server cannot be asked.
pub async fn below(client: &Client, relation: Option<Oid>) -> Result<Below> {
    let row = client
        .query_one(
            "WITH RECURSIVE heirs (oid) AS (
                 SELECT inhrelid FROM pg_inherits WHERE inhparent = $1
                 UNION SELECT i.inhrelid FROM heirs AS h JOIN pg_inherits AS i ON i.inhparent = h.oid
             ), below (oid) AS (
                 SELECT $1::oid WHERE $1 IS NOT NULL
                 UNION SELECT x.oid FROM below AS b CROSS JOIN LATERAL (
                     SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = b.oid
                     UNION ALL
                     SELECT d.refobjid FROM pg_rewrite AS r JOIN pg_depend AS d ON d.objid = r.oid
                     WHERE r.ev_class = b.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                 ) AS x (oid)
             ), kinds (kind) AS (SELECT c.relkind FROM below AS b JOIN pg_class AS c ON c.oid = b.oid)
             SELECT ARRAY(SELECT h.oid FROM heirs AS h JOIN pg_class AS c ON c.oid = h.oid
                          WHERE c.relkind IN ('r', 'f') ORDER BY 1),
                    EXISTS (SELECT FROM kinds WHERE kind = 'f'), EXISTS (SELECT FROM kinds WHERE kind = 'm'),
                    EXISTS (SELECT FROM pg_subscription_rel AS s
                            WHERE $1 IS NULL OR s.srrelid IN (SELECT oid FROM below)
                               OR s.srrelid IN (SELECT relid::oid FROM pg_partition_ancestors($1)))",
            &[&relation],
        )
        .await
        .map_err(|error| failed("cannot look up what a relation is made of", &error))?;
    Ok(Below {
        partitions: row.get(0),
        foreign: row.get(1),
        materialized: row.get(2),
        subscribed: row.get(3),
    })
}
