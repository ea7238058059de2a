//! Columns that an entry's settings name: each of its tables may have them or not, but some table has to, and a column that was
//! hidden is never copied under another name because it is called otherwise now.

use std::collections::{BTreeMap, BTreeSet};

use super::TablesEntry;
use crate::config::document::Document;
use crate::config::model::StreamConfig;
use crate::error::Error;
use crate::known_tables::KnownTable;

/// What an entry's settings say of columns, by the columns' names.
#[derive(Debug, Default)]
pub(super) struct NamedColumns {
    /// The settings that name each of them.
    settings: BTreeMap<String, Vec<&'static str>>,
    /// Those whose values are not copied as they are.
    hidden: BTreeSet<String>,
    /// Those of which the entry says whether their values are copied.
    decided: BTreeSet<String>,
}

impl NamedColumns {
    pub(super) fn of(document: &Document, config: &StreamConfig) -> Self {
        let mut named = Self::default();
        let excluded = config.exclude.iter();
        // What cannot be expanded is told where the stream is resolved.
        let excluded = excluded.filter_map(|name| document.environment.expand(name).ok());
        for column in excluded {
            named.hidden.insert(column.clone());
            named.decided.insert(column.clone());
            named.add("exclude", &column);
        }
        for (column, mask) in &config.mask {
            if mask != "none" {
                named.hidden.insert(column.clone());
            }
            named.decided.insert(column.clone());
            named.add("mask", column);
        }
        for column in config.rename.keys() {
            named.add("rename", column);
        }
        for column in config.types.keys() {
            named.add("types", column);
        }
        named
    }

    fn add(&mut self, setting: &'static str, column: &str) {
        let settings = self.settings.entry(column.to_owned()).or_default();
        settings.push(setting);
    }

    /// Whether the settings name any column.
    pub(super) fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Whether they hide any.
    pub(super) fn hides(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// The named columns that a table does not have.
    pub(super) fn absent(&self, columns: &BTreeMap<String, i16>) -> BTreeSet<String> {
        let named = self.settings.keys();
        named
            .filter(|name| !columns.contains_key(*name))
            .cloned()
            .collect()
    }

    /// The columns of a table that are masked or left out.
    pub(super) fn hidden_of(&self, columns: &BTreeMap<String, i16>) -> BTreeSet<String> {
        let hidden = self.hidden.iter();
        hidden
            .filter(|name| columns.contains_key(*name))
            .cloned()
            .collect()
    }

    /// Refuses an entry that names a column which none of its tables has: a mistyped mask would hide nothing.
    pub(super) fn refuse_nowhere<'t>(
        &self,
        entry: &TablesEntry<'_>,
        tables: &(impl Iterator<Item = &'t KnownTable> + Clone),
    ) -> Option<Error> {
        let nowhere = |column: &&String| {
            let mut tables = tables.clone();
            !tables.any(|table| table.columns.contains_key(*column))
        };
        let columns: Vec<&String> = self.settings.keys().filter(nowhere).collect();
        if columns.is_empty() {
            return None;
        }
        let named = columns.iter().map(|column| {
            let settings = self.settings.get(*column).into_iter().flatten();
            let settings: Vec<&str> = settings.copied().collect();
            format!("{} names `{column}`", settings.join(" and "))
        });
        let named: Vec<String> = named.collect();
        Some(
            Error::config(format!(
                "[streams.{}]: {}, which no table of the entry has: nothing of it is copied, as values could be that should not",
                entry.name,
                named.join(", ")
            ))
            .remedy(
                "correct the name; or take it out, if the column is gone from all tables. If it was renamed, say of its new name what \
                 was said of the old one",
            ),
        )
    }

    /// Refuses a table that lacks a column which was hidden when the table was last copied, and has others that it did not have, of
    /// which the entry says nothing: one of them may have its values.
    pub(super) fn refuse_lost(
        &self,
        entry: &TablesEntry<'_>,
        table: &KnownTable,
        known: Option<&KnownTable>,
    ) -> Option<Error> {
        let known = known?;
        let lost = known.hidden.iter();
        let lost = listed(lost.filter(|column| !table.columns.contains_key(*column)))?;
        let is_new = |(column, number): &(&String, &i16)| {
            known.columns.get(*column) != Some(*number) && !self.decided.contains(*column)
        };
        let new = table.columns.iter().filter(is_new);
        let new = listed(new.map(|(column, _)| column))?;
        Some(
            Error::config(format!(
                "{lost} of {table}, whose values were not copied as they are, is gone from the source, and {new} is new there: it may \
                 have those values, so the table is not copied"
            ))
            .remedy(format!(
                "say of {new} under [streams.{}.mask] what becomes of it, \"none\" if its values are copied as they are; or give the \
                 table a stream of its own",
                entry.name
            )),
        )
    }
}

/// Names of columns, or none.
pub(super) fn listed<'a>(columns: impl Iterator<Item = &'a String>) -> Option<String> {
    let columns: Vec<String> = columns.map(|column| format!("`{column}`")).collect();
    (!columns.is_empty()).then(|| columns.join(", "))
}

/// Where the settings of an entry are at work: each setting with its column, and how many tables have that.
pub(super) fn reach<'t>(
    named: &NamedColumns,
    tables: &(impl Iterator<Item = &'t KnownTable> + Clone),
) -> Vec<(String, Vec<String>)> {
    let mut reach = Vec::new();
    for (column, settings) in &named.settings {
        let tables = tables.clone();
        let having = tables.filter(|table| table.columns.contains_key(column));
        let having: Vec<String> = having.map(ToString::to_string).collect();
        for setting in settings {
            reach.push((format!("{setting} {column}"), having.clone()));
        }
    }
    reach
}

impl Document {
    /// Whether the columns of a source's tables have to be looked up: an entry names some, or hid some when its tables were last
    /// copied.
    pub fn asks_for_columns(&self, source: &str, known: &[KnownTable]) -> bool {
        let entries = self.config.streams.values();
        let mut entries = entries.filter(|entry| entry.has_patterns() && entry.source == source);
        let mut known = known.iter().filter(|table| table.source == source);
        entries.any(|entry| !NamedColumns::of(self, entry).is_empty())
            || known.any(|table| !table.hidden.is_empty())
    }
}
