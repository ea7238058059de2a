//! Which tables of streams with `tables` are new or gone, and what is remembered for the next run.

use std::collections::BTreeMap;

use super::TablesEntry;
use super::columns::listed;
use crate::error::Result;
use crate::known_tables::{KnownTable, SourceTable};
use crate::names::StreamName;

/// Says that a table is new, unless all tables of its entry are.
pub(super) fn news(
    entry: &TablesEntry<'_>,
    table: &KnownTable,
    stream: &StreamName,
    found: &BTreeMap<String, Result<Vec<SourceTable>>>,
    known: &[KnownTable],
) -> Option<(Option<StreamName>, String)> {
    let mut before = known.iter().filter(|known| entry.finds(known)).peekable();
    let was_asked = matches!(found.get(&table.source), Some(Ok(_)));
    if before.peek().is_none() || !was_asked {
        return None;
    }
    let how = match before.find(|known| known.is_same(table)) {
        None => "is new in the source",
        Some(known) if known.gone => "is back in the source",
        Some(_) => return None,
    };
    let hides = match listed(table.hidden.iter()) {
        _ if !entry.named.hides() => String::new(),
        None => ", which masks or leaves out none of its columns".to_owned(),
        Some(hidden) => format!(", which masks or leaves out its {hidden}"),
    };
    let note = format!(
        "{table} {how}: it has joined by [streams.{}]{hides}",
        entry.name
    );
    Some((Some(stream.clone()), note))
}

/// The tables to remember: those that are streams now, and those that are gone or were not asked for.
pub(super) fn remembered(
    joined: &[KnownTable],
    entries: &[TablesEntry<'_>],
    found: &BTreeMap<String, Result<Vec<SourceTable>>>,
    known: &[KnownTable],
    notes: &mut Vec<(Option<StreamName>, String)>,
) -> Vec<KnownTable> {
    let mut tables: Vec<KnownTable> = joined.to_vec();
    for table in known {
        if joined.iter().any(|other| other.is_same(table)) {
            continue;
        }
        let Some(Ok(there)) = found.get(&table.source) else {
            tables.push(table.clone());
            continue;
        };
        let is_there =
            |other: &SourceTable| other.schema == table.schema && other.name == table.name;
        let of_source = |entry: &&TablesEntry<'_>| entry.config.source == table.source;
        // A table that is there, and no stream any more, was taken out of the configuration.
        if there.iter().any(is_there) || !entries.iter().any(|entry| of_source(&entry)) {
            continue;
        }
        if !table.gone {
            notes.push((
                None,
                format!(
                    "{table} is gone from the source `{}`, and is not read any more: its rows stay in the destination",
                    table.source
                ),
            ));
        }
        tables.push(KnownTable {
            gone: true,
            ..table.clone()
        });
    }
    tables.sort();
    tables
}
