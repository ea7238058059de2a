//! The state of a source's replication, for people: missing prerequisites, the log that slots retain, and the removal of
//! slot and publication.

use serde::Serialize;
use tokio_postgres::Client;

use super::publication;
use super::slot::{self, IdleSlot};
use crate::config::PostgresChanges;
use crate::config::postgres::Replication;
use crate::error::{Error, Result};
use crate::names::StreamName;
use crate::position::Lsn;
use crate::size::bytes;
use crate::source::postgres::connection::{Server, failed, version};
use crate::source::postgres::sql::quote;

/// Retained bytes above which an idle slot is reported even if another configured destination uses it.
const IDLE_SLOT_WARN_BYTES: u64 = 1 << 30;

/// The result of one check.
#[derive(Debug)]
pub struct Note {
    /// The stream that it concerns, if it concerns one.
    pub stream: Option<StreamName>,
    /// The result.
    pub found: Found,
}

/// The result of a check.
#[derive(Debug)]
pub enum Found {
    /// The checked thing is as it should be.
    Well(String),
    /// A warning, and its remedy.
    Warning(String, String),
    /// An error that would keep a run from succeeding.
    Fault(Error),
}

/// The state of a slot.
#[derive(Debug, Clone, Serialize)]
pub struct SlotStatus {
    /// The source.
    pub source: String,
    /// The slot.
    pub slot: String,
    /// Whether the slot exists.
    pub exists: bool,
    /// Whether a process reads the slot.
    pub active: bool,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// All changes before this LSN were confirmed.
    pub confirmed: Option<Lsn>,
    /// The bytes of log that were written since the confirmed LSN.
    pub lag_bytes: Option<u64>,
    /// The bytes of write-ahead log that the server retains for the slot.
    pub retained_bytes: Option<u64>,
    /// Why the slot could not be looked up.
    pub error: Option<String>,
}

/// Checks everything that replication needs. Changes nothing.
pub async fn preflight(
    server: &Server,
    names: &Replication,
    streams: &[(&StreamName, &PostgresChanges)],
) -> Result<Vec<Note>> {
    let client = server.connect().await?;
    let mut notes = Vec::new();
    let note = |found| Note {
        stream: None,
        found,
    };
    for (lack, remedy) in publication::missing_prerequisites(&client, names).await? {
        notes.push(note(Found::Fault(Error::source(lack).remedy(remedy))));
    }
    match slot::slot(&client, &names.slot).await {
        Err(error) => notes.push(note(Found::Fault(error))),
        Ok(Some(slot)) => {
            if let Err(error) = super::refuse_lost(&slot, &names.slot) {
                notes.push(note(Found::Fault(error)));
            }
        }
        Ok(None) => {}
    }
    let version = version(&client).await?;
    let published = publication::publication(&client, &names.publication).await?;
    let mut missing = Vec::new();
    let changes: Vec<&PostgresChanges> = streams.iter().map(|(_, stream)| *stream).collect();
    let place = server.place();
    let tables = publication::tables(&client, &changes, published, version, place).await;
    for ((name, _), table) in streams.iter().zip(tables) {
        match table {
            Ok(table) => {
                let key = if table.key.is_empty() {
                    "matched by whole rows".to_owned()
                } else {
                    format!("matched by ({})", table.key.join(", "))
                };
                notes.push(Note {
                    stream: Some((*name).clone()),
                    found: Found::Well(format!("changes of {}, {key}", table.from)),
                });
                for told in table.notes {
                    let (message, remedy) = told.split_once(". ").unwrap_or((&told, ""));
                    notes.push(Note {
                        stream: Some((*name).clone()),
                        found: Found::Warning(message.to_owned(), remedy.to_owned()),
                    });
                }
                if table.membership.is_none() {
                    missing.push(table.from);
                }
            }
            Err(error) => notes.push(Note {
                stream: Some((*name).clone()),
                found: Found::Fault(error),
            }),
        }
    }
    if let Some(error) = cannot_publish(&client, names, published.is_some(), &missing).await? {
        notes.push(note(Found::Fault(error)));
    }
    for (message, remedy) in orphaned_slots(&client, names).await? {
        notes.push(note(Found::Warning(message, remedy)));
    }
    if notes
        .iter()
        .all(|note| !matches!(note.found, Found::Fault(_)))
    {
        let made = if published.is_some() {
            ""
        } else {
            ", which the first run makes"
        };
        let what = format!(
            "ready to replicate by the slot `{}` and the publication `{}`{made}",
            names.slot, names.publication
        );
        notes.insert(0, note(Found::Well(what)));
    }
    Ok(notes)
}

/// Whether a slot of that name exists.
pub async fn has_slot(server: &Server, names: &Replication) -> Result<bool> {
    let client = server.connect().await?;
    Ok(slot::slot(&client, &names.slot).await?.is_some())
}

/// The error that would keep the unpublished tables from being published, if there is one.
async fn cannot_publish(
    client: &Client,
    names: &Replication,
    exists: bool,
    missing: &[String],
) -> Result<Option<Error>> {
    if missing.is_empty() {
        return Ok(None);
    }
    let row = client
        .query_one(
            "SELECT has_database_privilege(current_database(), 'CREATE'),
                    COALESCE((SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = $2), true),
                    ARRAY(SELECT name FROM unnest($1::text[]) AS name JOIN pg_class c ON c.oid = name::regclass
                          WHERE NOT pg_has_role(c.relowner, 'USAGE')), current_user::text, current_database()::text",
            &[&missing, &names.publication],
        )
        .await
        .map_err(|error| failed("cannot look at the rights to publish", &error))?;
    let (may_create, owns_publication): (bool, bool) = (row.get(0), row.get(1));
    let foreign: Vec<String> = row.get(2);
    let user: String = row.get(3);
    let database: String = row.get(4);
    let tables: Vec<&str> = missing.iter().map(String::as_str).collect();
    let statement = publication::publish(&names.publication, exists, &tables);
    let as_owner = format!("have the tables' owner run: {statement};");
    Ok(if !foreign.is_empty() {
        let what = format!(
            "{} cannot be published by {user}, who does not own it",
            foreign.join(", ")
        );
        Some(Error::source(what).remedy(as_owner))
    } else if exists && !owns_publication {
        let what = format!(
            "the publication `{}` is not {user}'s to add to",
            names.publication
        );
        Some(Error::source(what).remedy(as_owner))
    } else if !exists && !may_create {
        let what = format!("{user} may not make a publication in {database}");
        Some(Error::source(what).remedy(format!(
            "GRANT CREATE ON DATABASE {} TO {}; or {as_owner}",
            quote(&database),
            quote(&user)
        )))
    } else {
        None
    })
}

/// Warnings about the pipeline's slots that nothing reads, for a run.
pub async fn warnings(client: &Client, names: &Replication) -> Result<Vec<String>> {
    let slots = orphaned_slots(client, names).await?;
    let warning = |(message, remedy)| format!("{message}\nremedy: {remedy}");
    Ok(slots.into_iter().map(warning).collect())
}

/// The pipeline's slots that nothing reads and for which the server retains log, with remedies.
async fn orphaned_slots(client: &Client, names: &Replication) -> Result<Vec<(String, String)>> {
    let slots = slot::idle_slots(client, &names.base).await?;
    let own_is_used = !names.streams.is_empty();
    let worth_a_word = |slot: &&IdleSlot| {
        let expected = names.others.contains(&slot.name) && own_is_used;
        let own = slot.name == names.slot && own_is_used;
        !own && (!expected || slot.retained >= IDLE_SLOT_WARN_BYTES)
    };
    Ok(slots
        .iter()
        .filter(worth_a_word)
        .map(|slot| {
            (
                format!(
                    "the replication slot `{}` is not read, and makes the server keep {} of its write-ahead log",
                    slot.name,
                    bytes(slot.retained)
                ),
                format!(
                    "run what it is for; or, if nothing is: SELECT pg_drop_replication_slot('{}');",
                    slot.name
                ),
            )
        })
        .collect())
}

/// The state of the source's slot.
pub async fn slot_status(server: &Server, names: &Replication, source: &str) -> SlotStatus {
    let mut status = SlotStatus {
        source: source.to_owned(),
        slot: names.slot.clone(),
        exists: false,
        active: false,
        wal_status: None,
        confirmed: None,
        lag_bytes: None,
        retained_bytes: None,
        error: None,
    };
    let looked = async {
        let client = server.connect().await?;
        let slot = slot::slot(&client, &names.slot).await?;
        let now: String = client
            .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
            .await
            .map_err(|error| failed("cannot ask where the write-ahead log ends", &error))?
            .get(0);
        Ok::<_, Error>((slot, now.parse::<Lsn>().unwrap_or_default()))
    };
    match looked.await {
        Ok((Some(slot), now)) => {
            status.exists = true;
            status.active = slot.active;
            status.wal_status = Some(slot.wal_status);
            status.confirmed = Some(slot.confirmed);
            status.lag_bytes = Some(now.0.saturating_sub(slot.confirmed.0));
            status.retained_bytes = Some(slot.retained);
        }
        Ok((None, _)) => {}
        Err(error) => status.error = Some(error.report()),
    }
    status
}

/// The slot and publication that `replication drop` would remove.
#[derive(Debug)]
pub struct ReplicationObjects {
    /// The slot, if it exists.
    pub slot: Option<String>,
    /// The publication, if it exists and no other slot of the pipeline needs it.
    pub publication: Option<String>,
    /// Whether a process reads the slot.
    pub active: bool,
}

/// Looks up the slot and publication that `replication drop` would remove.
pub async fn objects(server: &Server, names: &Replication) -> Result<ReplicationObjects> {
    let client = server.connect().await?;
    let slot = slot::slot(&client, &names.slot).await?;
    let publication = publication::publication(&client, &names.publication).await?;
    let others: bool = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE database = current_database() AND slot_name <> $1
                            AND (starts_with(slot_name::text, $2 || '_') OR slot_name = $2)
                            AND NOT EXISTS (SELECT FROM pg_publication p WHERE length(p.pubname) > length($2)
                                            AND (slot_name = p.pubname OR starts_with(slot_name::text, p.pubname::text || '_'))))",
            &[&names.slot, &names.base],
        )
        .await
        .map_err(|error| failed("cannot look replication slots up", &error))?
        .get(0);
    Ok(ReplicationObjects {
        active: slot.as_ref().is_some_and(|slot| slot.active),
        slot: slot.map(|_| names.slot.clone()),
        publication: publication
            .filter(|_| !others)
            .map(|_| names.publication.clone()),
    })
}

/// Drops a slot and a publication.
pub async fn drop(server: &Server, slot: Option<&str>, publication: Option<&str>) -> Result<()> {
    let client = server.connect().await?;
    if let Some(slot) = slot {
        client
            .execute("SELECT pg_drop_replication_slot($1)", &[&slot])
            .await
            .map_err(|error| {
                failed(format!("cannot drop the replication slot `{slot}`"), &error)
            })?;
    }
    if let Some(publication) = publication {
        let statement = drop_publication(publication);
        client.batch_execute(&statement).await.map_err(|error| {
            failed(
                format!("cannot drop the publication `{publication}`"),
                &error,
            )
            .remedy(format!("have its owner run: {statement};"))
        })?;
    }
    Ok(())
}

/// The statement that drops a publication.
pub fn drop_publication(name: &str) -> String {
    format!("DROP PUBLICATION {}", quote(name))
}
