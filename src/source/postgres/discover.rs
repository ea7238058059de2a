//! What a database has: its tables with sizes, keys and the columns that could be cursors, by one query.

use tokio_postgres::{Client, Row};

use super::connection::failed;
use super::replication::publication::missing_prerequisites;
use super::sql::{GIVE_WAY, quote};
use crate::config::postgres::Replication;
use crate::discovery::{CanFollow, FoundCursor, FoundTable, Proposal, TableKind};
use crate::error::Result;

/// The tables of all schemas but the server's own. `follows` says that the server's changes can be followed.
pub async fn tables(client: &Client, follows: bool, place: &str) -> Result<Vec<FoundTable>> {
    let what = |error| failed(format!("cannot list the tables at {place}"), &error);
    // A table's size is not told while somebody alters it.
    client.batch_execute(GIVE_WAY).await.map_err(what)?;
    let rows = client
        .query(
            "SELECT n.nspname::text, c.relname::text, c.relkind::text,
                    NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                                                         AND d.objid = c.oid AND d.deptype = 'e'),
                    has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT'),
                    row_security_active(c.oid), current_user::text,
                    CASE WHEN c.relkind = 'p' THEN
                           (SELECT sum(greatest(l.reltuples, 0)) FROM pg_partition_tree(c.oid) t
                            JOIN pg_class l ON l.oid = t.relid WHERE t.isleaf)
                         WHEN c.relkind IN ('r', 'm') AND c.reltuples >= 0 THEN c.reltuples END::float8,
                    CASE WHEN c.relkind = 'p' THEN
                           (SELECT sum(pg_total_relation_size(t.relid)) FROM pg_partition_tree(c.oid) t WHERE t.isleaf)
                         WHEN c.relkind IN ('r', 'm') THEN pg_total_relation_size(c.oid) END::int8,
                    COALESCE(key.indisprimary, false),
                    ARRAY(SELECT a.attname::text FROM unnest(key.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                          WHERE k.place <= key.indnkeyatts ORDER BY k.place),
                    times.names, times.indexed, times.nullable,
                    c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND pg_has_role(c.relowner, 'USAGE')
                      AND (c.relreplident IN ('f', 'i') OR (c.relreplident = 'd' AND COALESCE(key.indisprimary, false)))
                      AND NOT (c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid))
             FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN LATERAL (
                 SELECT i.* FROM pg_index i
                 WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
                   AND i.indexprs IS NULL
                   AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                                   WHERE k.place <= i.indnkeyatts AND NOT a.attnotnull)
                 ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) AS key ON true
             LEFT JOIN LATERAL (
                 SELECT array_agg(a.attname::text ORDER BY a.attnum) AS names,
                        array_agg(NOT a.attnotnull ORDER BY a.attnum) AS nullable,
                        array_agg(EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                                          AND i.indkey[0] = a.attnum AND i.indpred IS NULL) ORDER BY a.attnum) AS indexed
                 FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)) AS times ON true
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
               AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname::text, 'pg_')
             ORDER BY 1, 2",
            &[],
        )
        .await
        .map_err(what)?;
    Ok(rows.iter().map(|row| table(row, follows)).collect())
}

fn table(row: &Row, follows: bool) -> FoundTable {
    let (schema, name): (String, String) = (row.get(0), row.get(1));
    let kind: String = row.get(2);
    let is_plain: bool = row.get(3);
    let readable: bool = row.get(4);
    let filtered: bool = row.get(5);
    let user = quote(row.get(6));
    let from = format!("{}.{}", quote(&schema), quote(&name));
    let problem = if !readable {
        Some(format!(
            "{user} may not read it: GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON {from} TO {user};",
            quote(&schema)
        ))
    } else if filtered {
        Some(format!(
            "row-level security hides rows of it: ALTER ROLE {user} BYPASSRLS; or row_security = true"
        ))
    } else {
        None
    };
    let rows: Option<f64> = row.get(7);
    let bytes: Option<i64> = row.get(8);
    let names: Option<Vec<String>> = row.get(11);
    let indexed: Option<Vec<bool>> = row.get(12);
    let nullable: Option<Vec<bool>> = row.get(13);
    let times = names.into_iter().flatten();
    let times = times
        .zip(indexed.into_iter().flatten())
        .zip(nullable.into_iter().flatten());
    let mut table = FoundTable {
        kind: match kind.as_str() {
            "r" | "p" if is_plain => TableKind::Table,
            "r" | "p" => TableKind::Part,
            _ => TableKind::View,
        },
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        rows: rows.map(|rows| rows.max(0.0) as u64),
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        key_is_primary: row.get(9),
        key: row.get(10),
        cursors: times
            .map(|((name, indexed), nullable)| FoundCursor::new(name, indexed, nullable))
            .collect(),
        schema: Some(schema),
        name,
        problem,
        proposal: Proposal::default(),
    };
    table.propose(CanFollow(follows && row.get(14)));
    table
}

/// Why the server's changes cannot be followed, if they cannot.
pub async fn no_changes(client: &Client, names: &Replication) -> Result<Option<String>> {
    if let Some((lack, _)) = missing_prerequisites(client, names)
        .await?
        .into_iter()
        .next()
    {
        return Ok(Some(lack));
    }
    let row = client
        .query_one(
            "SELECT has_database_privilege(current_database(), 'CREATE'), current_user::text, current_database()::text",
            &[],
        )
        .await
        .map_err(|error| failed("cannot look at the rights to publish", &error))?;
    let (may_publish, user, database): (bool, String, String) =
        (row.get(0), row.get(1), row.get(2));
    Ok((!may_publish).then(|| format!("{user} may not make a publication in {database}")))
}
