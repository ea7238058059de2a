//! Which tables of streams with `tables` are new or gone, and what is remembered for the next run.

use std::collections::BTreeMap;

use super::TablesEntry;
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
    let of_entry = |known: &&KnownTable| {
        let patterns = &mut entry.patterns.iter();
        known.source == table.source
            && patterns.any(|pattern| pattern.finds(&known.schema, &known.name))
    };
    let mut before = known.iter().filter(of_entry).peekable();
    let was_asked = matches!(found.get(&table.source), Some(Ok(_)));
    if before.peek().is_none() || !was_asked {
        return None;
    }
    let is_it = |known: &KnownTable| known.is(&table.source, &table.schema, &table.name);
    let how = match before.find(|known| is_it(known)) {
        None => "is new in the source",
        Some(known) if known.gone => "is back in the source",
        Some(_) => return None,
    };
    let note = format!(
        "{}.{} {how}: it has joined by [streams.{}]",
        table.schema, table.name, entry.name
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
        let is_it = |other: &KnownTable| other.is(&table.source, &table.schema, &table.name);
        if joined.iter().any(is_it) {
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
                    "{}.{} is gone from the source `{}`, and is not read any more: its rows stay in the destination",
                    table.schema, table.name, table.source
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
