//! The prerequisites of replication: settings, privileges, the publication, and each table in it.
//!
//! [`missing_prerequisites`], [`publication()`] and [`table()`] only look; [`publish_tables`] creates the publication or
//! adds tables to it. Each missing prerequisite comes with the SQL that fixes it.

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio_postgres::Client;
use tokio_postgres::types::Oid;

use super::identities::{self, refuse_inherited};
use super::table::Table;
use crate::config::PostgresChanges;
use crate::config::postgres::Replication;
use crate::error::{Error, Result};
use crate::mode::Deletes;
use crate::source::postgres::catalog;
use crate::source::postgres::connection::failed;
use crate::source::postgres::sql::quote;

/// The first version with column lists and row filters in publications.
const FILTERS_VERSION: i32 = 150_000;

/// How many tables are asked about at once, on one connection.
const QUESTIONS: usize = 32;

/// A publication.
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are the catalog's, each by itself"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    oid: Oid,
    all_tables: bool,
    /// Whether updates or deletes are published: the server then refuses them on a table without replica identity.
    changes_rows: bool,
    /// Whether each kind of change is published: inserts, updates, deletes, truncations.
    publishes: [bool; 4],
    /// Whether stored generated columns are published.
    generated: bool,
    /// Whether changes of partitions are published as those of the table that they are part of.
    via_root: bool,
}

/// The kinds of changes that a publication may name.
const KINDS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// A missing prerequisite, and what fixes it.
pub type Lack = (String, String);

/// The publication of that name.
pub async fn publication(client: &Client, name: &str) -> Result<Option<Publication>> {
    let row = client
        .query_opt(
            "SELECT oid, puballtables, pubupdate OR pubdelete, pubinsert, pubupdate, pubdelete, pubtruncate,
                    COALESCE(to_jsonb(p) ->> 'pubgencols', 'n') IN ('s', 't', 'true'), pubviaroot
             FROM pg_publication p WHERE pubname = $1",
            &[&name],
        )
        .await
        .map_err(|error| failed("cannot look the publication up", &error))?;
    Ok(row.map(|row| Publication {
        oid: row.get(0),
        all_tables: row.get(1),
        changes_rows: row.get(2),
        publishes: [row.get(3), row.get(4), row.get(5), row.get(6)],
        generated: row.get(7),
        via_root: row.get(8),
    }))
}

/// The prerequisites that the server's settings and the user's privileges do not meet.
pub async fn missing_prerequisites(client: &Client, names: &Replication) -> Result<Vec<Lack>> {
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
    let mut missing_prerequisites = Vec::new();
    if in_recovery {
        missing_prerequisites.push((
            "the server is a standby, and publications are made on the primary".to_owned(),
            "name the primary in the source's `url`".to_owned(),
        ));
    }
    if wal_level != "logical" {
        missing_prerequisites.push((
            format!("wal_level is {wal_level}, and logical replication needs logical"),
            "ALTER SYSTEM SET wal_level = 'logical'; then restart the server".to_owned(),
        ));
    }
    if !may_replicate {
        missing_prerequisites.push((
            format!("{user} may not replicate"),
            format!("ALTER ROLE {} REPLICATION;", quote(&user)),
        ));
    }
    // One slot for the streams, and one while a snapshot is exported.
    let wanted = if has_slot { 1 } else { 2 };
    if slots < wanted {
        missing_prerequisites.push((
            format!("all replication slots are in use, or all but one: {slots} left, {wanted} needed"),
            "SELECT slot_name, active, wal_status FROM pg_replication_slots; drop what nothing reads with \
             pg_drop_replication_slot, or raise max_replication_slots and restart the server"
                .to_owned(),
        ));
    }
    if senders < 2 {
        missing_prerequisites.push((
            format!("all connections for replication are in use, or all but one: {senders} left, 2 needed"),
            "raise max_wal_senders and restart the server".to_owned(),
        ));
    }
    Ok(missing_prerequisites)
}

/// The tables of streams, as [`table()`] returns each. The questions are sent without awaiting each answer, where none of them
/// changes the session.
pub async fn tables(
    client: &Client,
    streams: &[&PostgresChanges],
    published: Option<Publication>,
    version: i32,
    place: &str,
) -> Vec<Result<Table>> {
    // Without a schema, a table is looked up on another search path.
    let is_whole = |stream: &&PostgresChanges| stream.table.schema.is_some();
    let at_once = if streams.iter().all(is_whole) {
        QUESTIONS
    } else {
        1
    };
    let mut questions: Vec<BoxFuture<'_, Result<Table>>> = Vec::with_capacity(streams.len());
    for stream in streams {
        questions.push(Box::pin(table(client, stream, published, version, place)));
    }
    let mut tables: Vec<Result<Table>> = stream::iter(questions).buffered(at_once).collect().await;
    refuse_parts(&mut tables);
    tables
}

/// Refuses tables that are partitions of others among these: their changes come as those of the others.
fn refuse_parts(tables: &mut [Result<Table>]) {
    let wholes: Vec<(String, Vec<Oid>)> = tables
        .iter()
        .flatten()
        .map(|table| (table.from.clone(), table.partitions.clone()))
        .collect();
    for place in tables {
        let whole = match place {
            Ok(table) => wholes
                .iter()
                .find(|(_, partitions)| partitions.contains(&table.oid))
                .map(|(whole, _)| is_part(&table.from, whole)),
            Err(_) => None,
        };
        if let Some(error) = whole {
            *place = Err(error);
        }
    }
}

/// What is said of a partition that is published as a part of another table.
fn is_part(from: &str, whole: &str) -> Error {
    Error::config(format!(
        "{from} is a partition of {whole}, which is published: its changes come as those of {whole}, and none as its own"
    ))
    .remedy(format!(
        "read {whole} alone, whose rows are these too; or {from} by mode = \"full\" or \"incremental\"; or have a pipeline of its own \
         follow {from}"
    ))
}

/// Refuses a partition whose changes the publication, which has partitions as parts of their tables, has as those of another table.
async fn refuse_part(client: &Client, publication: Publication, table: &Table) -> Result<()> {
    let whole = client
        .query_opt(
            "SELECT a.relid::regclass::text FROM pg_partition_ancestors($2::oid::regclass) a
             WHERE a.relid::oid <> $2 AND ($3 OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = $1 AND r.prrelid = a.relid))
             LIMIT 1",
            &[&publication.oid, &table.oid, &publication.all_tables],
        )
        .await
        .map_err(|error| failed(format!("cannot look at what {} is part of", table.from), &error))?;
    match whole {
        Some(row) => Err(is_part(&table.from, row.get(0))),
        None => Ok(()),
    }
}

/// The table of a stream, as the publication has it. If it is not published, its membership is `None`.
///
/// # Errors
/// There is no such table, or its changes could not be matched to rows.
pub async fn table(
    client: &Client,
    stream: &PostgresChanges,
    published: Option<Publication>,
    version: i32,
    place: &str,
) -> Result<Table> {
    let found = catalog::table(
        client,
        stream.table.schema.as_deref(),
        &stream.table.name,
        place,
    )
    .await?;
    if found.row_security {
        return Err(found.filtered());
    }
    let what = || format!("cannot look at the replication of {}", found.from);
    let generated = published.is_some_and(|publication| publication.generated);
    if !found.is_table {
        return Err(Error::config(format!("{} is no table", found.from))
            .remedy("only tables have a log of changes: name the table, or use mode = \"full\" or \"incremental\""));
    }
    let inside = Inside::look(client, &found.from, generated)
        .await
        .map_err(|error| failed(what(), &error))?;
    refuse_inherited(&found.from, &inside.heirs)?;
    inside.refuse_unlogged(&found.from)?;
    let mut table = Table {
        oid: inside.oid,
        from: found.from.clone(),
        membership: None,
        partitions: inside.partitions.clone(),
        key: Vec::new(),
        key_is_unique: true,
        columns: inside.columns.clone(),
        lists_columns: false,
        filter: None,
        notes: Vec::new(),
    };
    if let Some(publication) = published {
        let all = table.columns.clone();
        if inside.is_partition && publication.via_root {
            refuse_part(client, publication, &table).await?;
        }
        membership(client, publication, &mut table, version).await?;
        let taken = all
            .into_iter()
            .filter(|column| stream.columns.selected.takes(column));
        table.notes.extend(hidden(taken, &table));
    }
    let takes = |column: &str| stream.columns.selected.takes(column);
    table.notes.extend(inside.untold(&found.from, takes));
    let changes_rows = published.is_none_or(|publication| publication.changes_rows);
    table.key = identities::key_of(
        client,
        &stream.columns,
        &table,
        &inside.identity,
        &found.primary_key,
        changes_rows,
    )
    .await?;
    if let Some(publication) = published {
        table.notes.extend(unpublished(publication, &table.from));
    }
    table.key_is_unique = table.key.is_empty()
        || catalog::is_unique(client, table.oid, &table.key)
            .await
            .map_err(|error| failed(what(), &error))?;
    if !table.key_is_unique {
        let note = identities::not_unique(&table);
        table.notes.push(note);
    }
    if stream.changes.deletes == Deletes::Soft && table.key.is_empty() {
        return Err(Error::config(format!(
            "deletes = \"soft\" needs a key, and {} has none",
            table.from
        ))
        .remedy("give the table a primary key, or leave `deletes` out"));
    }
    Ok(table)
}

/// What the catalog says of a table and what it is made of.
struct Inside {
    oid: Oid,
    /// Its `relreplident`.
    identity: String,
    is_logged: bool,
    /// Whether it is a partition of another.
    is_partition: bool,
    /// Its partitions, at all levels.
    partitions: Vec<Oid>,
    /// The columns that a publication without a list has.
    columns: Vec<String>,
    /// The tables that inherit from it.
    heirs: Vec<String>,
    /// The partitions that are not written to the log.
    unlogged: Vec<String>,
    /// The partitions that are foreign tables.
    foreign: Vec<String>,
    /// The generated columns that no publication of this kind has.
    generated: Vec<String>,
}

impl Inside {
    /// Looks a table up, whose name is given in SQL. `generated` says whether stored generated columns are published.
    async fn look(
        client: &Client,
        from: &str,
        generated: bool,
    ) -> std::result::Result<Self, tokio_postgres::Error> {
        let row = client
            .query_one(
                "SELECT c.oid, c.relreplident::text, c.relpersistence = 'p',
                    ARRAY(SELECT relid::oid FROM pg_partition_tree(c.oid) WHERE relid::oid <> c.oid ORDER BY 1),
                    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                          AND NOT attisdropped AND (attgenerated = '' OR (attgenerated = 's' AND $2)) ORDER BY attnum),
                    ARRAY(SELECT i.inhrelid::regclass::text FROM pg_inherits i
                          WHERE i.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1),
                    ARRAY(SELECT p.relid::text FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid
                          WHERE p.relid <> c.oid AND p.isleaf AND l.relkind = 'r' AND l.relpersistence <> 'p' ORDER BY 1),
                    ARRAY(SELECT p.relid::text FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid
                          WHERE p.relid <> c.oid AND l.relkind = 'f' ORDER BY 1),
                    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                          AND NOT attisdropped AND attgenerated <> '' AND NOT (attgenerated = 's' AND $2) ORDER BY attnum),
                    c.relispartition
             FROM pg_class c WHERE c.oid = $1::text::regclass",
                &[&from, &generated],
            )
            .await?;
        Ok(Self {
            oid: row.get(0),
            identity: row.get(1),
            is_logged: row.get(2),
            partitions: row.get(3),
            columns: row.get(4),
            heirs: row.get(5),
            unlogged: row.get(6),
            foreign: row.get(7),
            generated: row.get(8),
            is_partition: row.get(9),
        })
    }

    /// Refuses what the log of changes does not have.
    fn refuse_unlogged(&self, from: &str) -> Result<()> {
        if !self.is_logged {
            return Err(
                Error::config(format!("{from} is not written to the log of changes"))
                    .remedy(format!("ALTER TABLE {from} SET LOGGED;")),
            );
        }
        let Some(first) = self.unlogged.first() else {
            return Ok(());
        };
        Err(Error::config(format!(
            "{from} has partitions that are not written to the log of changes: {}",
            self.unlogged.join(", ")
        ))
        .remedy(format!(
            "ALTER TABLE {first} SET LOGGED; or detach it. If the stream was loaded before: `acequia run STREAM --full-refresh`, as \
             the log does not have what was written meanwhile"
        )))
    }

    /// Warnings about what is never in the log of changes: generated columns, and changes in foreign partitions.
    fn untold(&self, from: &str, takes: impl Fn(&str) -> bool) -> Vec<String> {
        let generated = self.generated.iter().map(String::as_str);
        let generated: Vec<&str> = generated.filter(|column| takes(column)).collect();
        let mut notes = Vec::new();
        if !generated.is_empty() {
            notes.push(format!(
                "the log of changes leaves out generated columns: `{}` of {from} never come. Compute them in the destination, and \
                 `exclude` them for [streams.STREAM]. From PostgreSQL 18 on a publication can have those that are stored \
                 (publish_generated_columns = stored)",
                generated.join("`, `")
            ));
        }
        if !self.foreign.is_empty() {
            notes.push(format!(
                "the log of changes does not have what changes in foreign tables: rows of {}, partitions of {from}, come with \
                 snapshots alone. Where they change, read the table by mode = \"full\" or \"incremental\"",
                self.foreign.join(", ")
            ));
        }
        notes
    }
}

/// Warnings about the columns and rows that a publication's column list and row filter hide from a stream. Snapshot and changes
/// both respect them, so nothing else shows it.
fn hidden(taken: impl Iterator<Item = String>, table: &Table) -> Vec<String> {
    let from = &table.from;
    let published_whole =
        format!("ALTER PUBLICATION … DROP TABLE {from}; ALTER PUBLICATION … ADD TABLE {from};");
    let left_out: Vec<String> = taken
        .filter(|column| !table.columns.contains(column))
        .map(|column| format!("`{column}`"))
        .collect();
    let mut notes = Vec::new();
    if !left_out.is_empty() {
        notes.push(format!(
            "the publication leaves out what its column list does not name: {} of {from} never come. Where they should: \
             {published_whole} Where not, `exclude` them for [streams.STREAM]",
            left_out.join(", ")
        ));
    }
    if table.filter.is_some() {
        notes.push(format!(
            "the publication leaves out what its row filter does not let pass: such rows of {from} never come. Where they \
             should: {published_whole}"
        ));
    }
    notes
}

/// A warning about the kinds of changes that a publication omits, if it omits any.
fn unpublished(publication: Publication, from: &str) -> Option<String> {
    let kinds = KINDS.iter().zip(publication.publishes);
    let left_out: Vec<&str> = kinds
        .filter(|(_, published)| !published)
        .map(|(kind, _)| *kind)
        .collect();
    (!left_out.is_empty()).then(|| {
        format!(
            "the publication leaves out what it does not name in `publish`: {} of {from} never come. Where they should: ALTER \
             PUBLICATION … SET (publish = 'insert, update, delete, truncate');",
            left_out.join(", ")
        )
    })
}

/// Looks up how the publication has the table.
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
            table.lists_columns = true;
        }
    }
    Ok(())
}

/// The statement that publishes these tables: it creates the publication, or adds to it.
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

/// Publishes tables that are not yet published.
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
