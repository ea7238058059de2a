//! The replica identity of a table: what identifies its rows in the log. The server refuses every UPDATE and DELETE on a
//! published table without one, also those of the application whose table it is.

use tokio_postgres::Client;

use super::table::Table;
use crate::config::postgres::ColumnSettings;
use crate::error::{Error, Result};
use crate::source::postgres::catalog::{self, KeyIndex};
use crate::source::postgres::connection::failed;

/// The key that a table's changes are matched by. Empty if whole rows are matched. `identity` is the table's
/// `relreplident`.
///
/// # Errors
/// The server would refuse changes of the table once it is published, or the log does not contain the key that the stream
/// names.
pub(super) async fn key_of(
    client: &Client,
    settings: &ColumnSettings,
    table: &Table,
    identity: &str,
    primary_key: &[String],
    changes_rows: bool,
) -> Result<Vec<String>> {
    let deferrable = deferrable_key(client, table).await?;
    let by_key = if deferrable { &[] } else { primary_key };
    let identity = identity_key(client, table, identity, by_key).await?;
    if deferrable && changes_rows && matches!(identity, Identity::Nothing) {
        return Err(deferrable_error(table, table.membership.is_some()));
    }
    key(settings, table, identity, primary_key, changes_rows)
}

/// Refuses a table whose full read has rows that its log does not have.
pub(super) fn refuse_inherited(from: &str, heirs: &[String]) -> Result<()> {
    if heirs.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!(
        "{from} is inherited by {}: a full read has their rows as well, and the log tells them as those of other tables. To \
         publish it would publish them, and the server then refuses UPDATE and DELETE on those without identity",
        heirs.join(", ")
    ))
    .remedy(
        "read it by mode = \"full\" or \"incremental\"; or make it a partitioned table; or NO INHERIT, and a stream for each \
         table",
    ))
}

/// The warning about a key that only the configuration declares.
pub(super) fn not_unique(table: &Table) -> String {
    format!(
        "primary_key is ({}), and nothing in {} sees to it that no two rows have the same: of such rows one alone would be \
         kept. Make a unique index of these columns, each NOT NULL; or leave primary_key out, and whole rows are matched",
        table.key.join(", "),
        table.from
    )
}

/// Whether the primary key of the table, or of a partition, is deferrable: such a key is no replica identity.
async fn deferrable_key(client: &Client, table: &Table) -> Result<bool> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_index WHERE (indrelid = $1 OR indrelid = ANY ($2)) AND indisprimary
                            AND NOT indimmediate)",
            &[&table.oid, &table.partitions],
        )
        .await
        .map_err(|error| failed(format!("cannot look at the key of {}", table.from), &error))?;
    Ok(row.get(0))
}

/// The error about a deferrable primary key. `published` says that the table is published already.
fn deferrable_error(table: &Table, published: bool) -> Error {
    let harm = if published {
        "while it is published, the server refuses every UPDATE and DELETE on it"
    } else {
        "once it is published, the server refuses every UPDATE and DELETE on it"
    };
    let now = if published {
        format!(
            "at once: ALTER PUBLICATION … DROP TABLE {}; then ",
            table.from
        )
    } else {
        String::new()
    };
    Error::config(format!(
        "{} has a primary key that is DEFERRABLE, which is no replica identity: {harm}",
        table.from
    ))
    .remedy(format!(
        "{now}make the key anew without DEFERRABLE; or ALTER TABLE {0} REPLICA IDENTITY USING INDEX …; (a unique index of NOT \
         NULL columns), or ALTER TABLE {0} REPLICA IDENTITY FULL; (on a partitioned table, on each partition)",
        table.from
    ))
}

/// What identifies a deleted or changed row.
enum Identity {
    /// These columns.
    Columns(Vec<String>),
    /// The whole row.
    Whole,
    /// Nothing.
    Nothing,
}

/// The identities of the partitions count, not that of the partitioned table.
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
    settings: &ColumnSettings,
    table: &Table,
    identity: Identity,
    primary_key: &[String],
    changes_rows: bool,
) -> Result<Vec<String>> {
    let wanted = settings.primary_key.as_ref();
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
        // A publication of inserts needs no identity.
        Identity::Nothing if !changes_rows => {
            wanted.map_or_else(|| primary_key.to_vec(), Clone::clone)
        }
        Identity::Nothing => {
            return Err(Error::config(format!(
                "{} has no replica identity: once it is published, the server refuses every UPDATE and DELETE on it",
                table.from
            ))
            .remedy(format!(
                "{1}; or ALTER TABLE {0} REPLICA IDENTITY USING INDEX …; (a unique index of NOT NULL columns), or ALTER TABLE \
                 {0} REPLICA IDENTITY FULL; (on a partitioned table, on each partition). A publication of inserts alone needs \
                 none",
                table.from,
                if primary_key.is_empty() {
                    "give it a primary key".to_owned()
                } else {
                    // The index that it named was dropped, or it was set to NOTHING.
                    format!("ALTER TABLE {} REPLICA IDENTITY DEFAULT; (its primary key)", table.from)
                },
            )));
        }
    };
    for name in &key {
        if !settings.selected.takes(name) {
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
