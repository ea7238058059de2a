//! What replication needs of the server: settings, rights, publication, slot, and of each table an identity.
//!
//! [`survey`] looks at it without touching anything; [`prepare`] makes the publication and tells what each stream's table
//! is. What is missing is told with the SQL that mends it.

use tokio_postgres::Client;
use tokio_postgres::types::Oid;

use crate::config::{Relation, Replication, Stream};
use crate::error::{Error, Result};
use crate::landing::manifest::Deletes;
use crate::position::Lsn;
use crate::source::postgres::catalog::{self, KeyIndex};
use crate::source::postgres::connection::failed;
use crate::source::postgres::sql::quote;

/// The first version with column lists and row filters in publications.
const FILTERS_VERSION: i32 = 150_000;

/// A table that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its OID.
    pub oid: Oid,
    /// Its name in SQL, with its schema.
    pub from: String,
    /// What puts it into the publication: another OID means that it was taken out meanwhile.
    pub membership: Option<Oid>,
    /// Its partitions, all the way down.
    pub partitions: Vec<Oid>,
    /// The key that its changes tell rows apart by; none where whole rows are.
    pub key: Vec<String>,
    /// The columns that are published.
    pub columns: Vec<String>,
    /// The condition that published rows meet, where the publication has one.
    pub filter: Option<String>,
}

/// The publication as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    oid: Oid,
    all_tables: bool,
    /// Whether updates or deletes are published: the server then refuses them on a table without identity.
    changes_rows: bool,
}

/// The slot as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whether somebody reads it.
    pub active: bool,
    /// Everything before was confirmed.
    pub confirmed: Lsn,
    /// Bytes of the write-ahead log that the server keeps for it.
    pub retained: u64,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: String,
}

/// Something that replication lacks: what, and what mends it.
pub type Lack = (String, String);

/// The publication of that name.
pub async fn publication(client: &Client, name: &str) -> Result<Option<Publication>> {
    let row = client
        .query_opt(
            "SELECT oid, puballtables, pubupdate OR pubdelete FROM pg_publication WHERE pubname = $1",
            &[&name],
        )
        .await
        .map_err(|error| failed("cannot look the publication up", &error))?;
    Ok(row.map(|row| Publication {
        oid: row.get(0),
        all_tables: row.get(1),
        changes_rows: row.get(2),
    }))
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
                    GREATEST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8, COALESCE(wal_status, 'lost')
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
    let confirmed: String = row.get(5);
    let retained: Option<i64> = row.get(6);
    Ok(Some(Slot {
        active: row.get(4),
        confirmed: confirmed.parse().unwrap_or_default(),
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
pub async fn idle_slots(client: &Client, base: &str) -> Result<Vec<IdleSlot>> {
    let rows = client
        .query(
            "SELECT slot_name::text, GREATEST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8
             FROM pg_replication_slots
             WHERE NOT active AND NOT temporary AND plugin = 'pgoutput' AND database = current_database()
               AND (starts_with(slot_name::text, $1 || '_') OR slot_name = $1) ORDER BY 1",
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

/// What the server's settings and the user's rights lack, with what mends it.
pub async fn lacks(client: &Client, names: &Replication) -> Result<Vec<Lack>> {
    let row = client
        .query_one(
            "SELECT current_setting('wal_level'), current_user::text,
                    (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)
                      OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'rds_replication'
                                 AND pg_has_role(current_user, r.oid, 'MEMBER')),
                    current_setting('max_replication_slots')::int8
                      - (SELECT count(*) FROM pg_replication_slots),
                    current_setting('max_wal_senders')::int8
                      - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
                    EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1),
                    pg_is_in_recovery()",
            &[&names.slot],
        )
        .await
        .map_err(|error| failed("cannot ask for the server's settings", &error))?;
    let (wal_level, user): (String, String) = (row.get(0), row.get(1));
    let may_replicate: bool = row.get(2);
    let (slots, senders): (i64, i64) = (row.get(3), row.get(4));
    let (has_slot, in_recovery): (bool, bool) = (row.get(5), row.get(6));
    let mut lacks = Vec::new();
    if in_recovery {
        lacks.push((
            "the server is a standby, and publications are made on the primary".to_owned(),
            "name the primary in the source's `url`".to_owned(),
        ));
    }
    if wal_level != "logical" {
        lacks.push((
            format!("wal_level is {wal_level}, and logical replication needs logical"),
            "ALTER SYSTEM SET wal_level = 'logical'; then restart the server".to_owned(),
        ));
    }
    if !may_replicate {
        lacks.push((
            format!("{user} may not replicate"),
            format!("ALTER ROLE {} REPLICATION;", quote(&user)),
        ));
    }
    // One slot for good, and one while a snapshot is taken.
    let wanted = if has_slot { 1 } else { 2 };
    if slots < wanted {
        lacks.push((
            format!("all replication slots are in use, or all but one: {slots} left, {wanted} needed"),
            "SELECT slot_name, active, wal_status FROM pg_replication_slots; drop what nothing reads with \
             pg_drop_replication_slot, or raise max_replication_slots and restart the server"
                .to_owned(),
        ));
    }
    if senders < 2 {
        lacks.push((
            format!("all connections for replication are in use, or all but one: {senders} left, 2 needed"),
            "raise max_wal_senders and restart the server".to_owned(),
        ));
    }
    Ok(lacks)
}

/// The table of a stream, as the publication has it. Where it is not published, its membership is missing.
///
/// # Errors
/// Where there is no such table, or its changes could not be matched to rows.
pub async fn table(
    client: &Client,
    stream: &Stream,
    published: Option<Publication>,
    version: i32,
    place: &str,
) -> Result<Table> {
    let Relation::Table { schema, name } = &stream.relation else {
        return Err(Error::internal("a stream of changes without a table"));
    };
    let found = catalog::table(client, schema.as_deref(), name, place).await?;
    if found.row_security {
        return Err(found.filtered());
    }
    let what = || format!("cannot look at the replication of {}", found.from);
    if !found.is_table {
        return Err(Error::config(format!("{} is no table", found.from))
            .remedy("only tables have a log of changes: name the table, or use mode = \"full\" or \"incremental\""));
    }
    let row = client
        .query_one(
            "SELECT c.oid, c.relreplident::text, c.relpersistence::text,
                    ARRAY(SELECT relid::oid FROM pg_partition_tree(c.oid) WHERE relid::oid <> c.oid ORDER BY 1),
                    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                          AND NOT attisdropped AND attgenerated = '' ORDER BY attnum)
             FROM pg_class c WHERE c.oid = $1::text::regclass",
            &[&found.from],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
    let oid: Oid = row.get(0);
    let identity: String = row.get(1);
    let persistence: String = row.get(2);
    if persistence != "p" {
        return Err(Error::config(format!(
            "{} is not written to the log of changes",
            found.from
        ))
        .remedy(format!("ALTER TABLE {} SET LOGGED;", found.from)));
    }
    let mut table = Table {
        oid,
        from: found.from.clone(),
        membership: None,
        partitions: row.get(3),
        key: Vec::new(),
        columns: row.get(4),
        filter: None,
    };
    if let Some(publication) = published {
        membership(client, publication, &mut table, version).await?;
    }
    let changes_rows = published.is_none_or(|publication| publication.changes_rows);
    let identity_key = identity_key(client, &table, &identity, &found.primary_key).await?;
    table.key = key(
        stream,
        &table,
        identity_key,
        &found.primary_key,
        changes_rows,
    )?;
    if stream
        .changes
        .is_some_and(|changes| changes.deletes == Deletes::Soft)
        && table.key.is_empty()
    {
        return Err(Error::config(format!(
            "deletes = \"soft\" needs a key, and {} has none",
            table.from
        ))
        .remedy("give the table a primary key, or leave `deletes` out"));
    }
    Ok(table)
}

/// What a deleted or changed row is told by.
enum Identity {
    /// These columns.
    Columns(Vec<String>),
    /// The whole row.
    Whole,
    /// Nothing.
    Nothing,
}

/// A partition's identity counts, not that of the table above it.
async fn identity_key(
    client: &Client,
    table: &Table,
    identity: &str,
    primary_key: &[String],
) -> Result<Identity> {
    let what = |error| {
        failed(
            format!("cannot look at the replica identity of {}", table.from),
            &error,
        )
    };
    if !table.partitions.is_empty() {
        let rows = client
            .query(
                "SELECT DISTINCT c.relreplident::text FROM pg_class c WHERE c.oid = ANY($1) AND c.relkind = 'r'",
                &[&table.partitions],
            )
            .await
            .map_err(what)?;
        let kinds: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        return Ok(
            if !kinds.is_empty() && kinds.iter().all(|kind| kind == "f") {
                Identity::Whole
            } else if kinds.iter().all(|kind| kind == "d" || kind == "f") && !primary_key.is_empty()
            {
                Identity::Columns(primary_key.to_vec())
            } else {
                Identity::Nothing
            },
        );
    }
    Ok(match identity {
        "f" => Identity::Whole,
        "d" if !primary_key.is_empty() => Identity::Columns(primary_key.to_vec()),
        "i" => {
            let columns = catalog::index_columns(client, table.oid, KeyIndex::ReplicaIdentity)
                .await
                .map_err(what)?;
            if columns.is_empty() {
                Identity::Nothing
            } else {
                Identity::Columns(columns)
            }
        }
        _ => Identity::Nothing,
    })
}

/// The key that changes are matched by.
fn key(
    stream: &Stream,
    table: &Table,
    identity: Identity,
    primary_key: &[String],
    changes_rows: bool,
) -> Result<Vec<String>> {
    let wanted = stream.primary_key.as_ref();
    let key = match identity {
        Identity::Whole => wanted.map_or_else(|| primary_key.to_vec(), Clone::clone),
        Identity::Columns(columns) => {
            let same = |wanted: &&Vec<String>| {
                wanted.len() == columns.len() && wanted.iter().all(|name| columns.contains(name))
            };
            if let Some(wanted) = wanted.filter(|wanted| !same(wanted)) {
                return Err(Error::config(format!(
                    "primary_key is ({}), and the log tells the rows of {} apart by ({})",
                    wanted.join(", "),
                    table.from,
                    columns.join(", ")
                ))
                .remedy(format!(
                    "leave primary_key out; or have the log tell whole rows: ALTER TABLE {} REPLICA IDENTITY FULL;",
                    table.from
                )));
            }
            columns
        }
        // Inserts alone need no identity.
        Identity::Nothing if !changes_rows => {
            wanted.map_or_else(|| primary_key.to_vec(), Clone::clone)
        }
        Identity::Nothing => {
            return Err(Error::config(format!(
                "{} has no replica identity: once it is published, the server refuses every UPDATE and DELETE on it",
                table.from
            ))
            .remedy(format!(
                "give it a primary key; or ALTER TABLE {0} REPLICA IDENTITY USING INDEX …; (a unique index of NOT NULL \
                 columns), or ALTER TABLE {0} REPLICA IDENTITY FULL; (on a partitioned table, on each partition). A \
                 publication of inserts alone needs none",
                table.from
            )));
        }
    };
    for name in &key {
        let left_out = stream.exclude.contains(name)
            || stream
                .columns
                .as_ref()
                .is_some_and(|columns| !columns.contains(name));
        if left_out {
            return Err(Error::config(format!(
                "the key column `{name}` is left out by `columns` or `exclude`"
            ))
            .remedy(format!(
                "take `{name}`: without it, changes cannot be matched to rows"
            )));
        }
        if !table.columns.contains(name) {
            return Err(Error::config(format!(
                "the key column `{name}` is not among the columns that are published of {}",
                table.from
            ))
            .remedy("correct `primary_key`, or publish the column"));
        }
    }
    Ok(key)
}

/// Looks at how the publication has the table.
async fn membership(
    client: &Client,
    publication: Publication,
    table: &mut Table,
    version: i32,
) -> Result<()> {
    let what = |error| {
        failed(
            format!("cannot look at the publication of {}", table.from),
            &error,
        )
    };
    if publication.all_tables {
        table.membership = Some(publication.oid);
        return Ok(());
    }
    if version < FILTERS_VERSION {
        table.membership = client
            .query_opt(
                "SELECT oid FROM pg_publication_rel WHERE prpubid = $1 AND prrelid = $2",
                &[&publication.oid, &table.oid],
            )
            .await
            .map_err(what)?
            .map(|row| row.get(0));
        return Ok(());
    }
    let row = client
        .query_opt(
            "SELECT r.oid, pg_get_expr(r.prqual, r.prrelid),
                    CASE WHEN r.prattrs IS NOT NULL THEN
                      ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = r.prrelid
                            AND a.attnum = ANY (r.prattrs::int2[]) ORDER BY a.attnum) END
             FROM pg_publication_rel r WHERE r.prpubid = $1 AND r.prrelid = $2
             UNION ALL
             SELECT n.oid, NULL, NULL FROM pg_publication_namespace n JOIN pg_class c ON c.relnamespace = n.pnnspid
             WHERE n.pnpubid = $1 AND c.oid = $2 LIMIT 1",
            &[&publication.oid, &table.oid],
        )
        .await
        .map_err(what)?;
    if let Some(row) = row {
        table.membership = row.get(0);
        table.filter = row.get(1);
        if let Some(columns) = row.get::<_, Option<Vec<String>>>(2) {
            table.columns = columns;
        }
    }
    Ok(())
}

/// What publishes these tables: the publication made, or added to.
pub fn publish(name: &str, exists: bool, tables: &[&str]) -> String {
    let tables = tables.join(", ");
    if exists {
        format!("ALTER PUBLICATION {} ADD TABLE {tables}", quote(name))
    } else {
        format!(
            "CREATE PUBLICATION {} FOR TABLE {tables} WITH (publish_via_partition_root = true)",
            quote(name)
        )
    }
}

/// Publishes tables that are not published yet.
pub async fn publish_tables(
    client: &Client,
    names: &Replication,
    exists: bool,
    tables: &[&str],
) -> Result<()> {
    let statement = publish(&names.publication, exists, tables);
    tracing::info!(statement, "publishing");
    client.batch_execute(&statement).await.map_err(|error| {
        let what = format!("cannot publish {}", tables.join(", "));
        failed(what, &error).remedy(format!(
            "have the tables' owner, who may create in the database, run: {statement};"
        ))
    })
}
