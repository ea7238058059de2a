//! What becomes of streams with `tables`: each table that their patterns find is a stream of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::known_tables::KnownTable;
use crate::names::StreamName;

/// What became of the streams with `tables`. Empty if there are none, or before their tables were looked up.
#[derive(Debug, Clone, Default)]
pub struct Expansion {
    /// The streams that they have become.
    pub(crate) members: BTreeMap<StreamName, Member>,
    /// The tables to remember, if the sources were asked.
    pub(crate) known: Option<Vec<KnownTable>>,
    /// Of each entry, the settings that name a column, and the tables that have it.
    pub(crate) reach: BTreeMap<StreamName, Vec<(String, Vec<String>)>>,
    /// What people should know, and of which stream, if it is one that is run.
    pub(crate) notes: Vec<(Option<StreamName>, String)>,
}

/// A stream that an entry with `tables` has become.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// The entry: the stream's name in the configuration.
    pub(crate) entry: StreamName,
    /// Why it cannot be read: its source did not tell which tables it has, or some of the entry's tables can be no streams.
    pub(crate) refused: Option<Error>,
    /// Columns that the entry's settings name, and that its table did not have when it was looked up.
    pub(crate) absent: BTreeSet<String>,
}

impl Expansion {
    /// How many tables each entry has become.
    pub fn entries(&self) -> BTreeMap<&StreamName, usize> {
        let mut entries = BTreeMap::new();
        for (name, member) in &self.members {
            let tables = entries.entry(&member.entry).or_default();
            if *name != member.entry {
                *tables += 1;
            }
        }
        entries
    }

    /// Where settings of entries are at work that name a column: the entry, the setting with the column, the tables that have it.
    pub fn reach(&self) -> impl Iterator<Item = (&StreamName, &str, &[String])> {
        self.reach.iter().flat_map(|(entry, settings)| {
            let settings = settings.iter().filter(|(_, tables)| !tables.is_empty());
            settings.map(move |(setting, tables)| (entry, setting.as_str(), tables.as_slice()))
        })
    }

    /// What people should know of them: new tables, tables that are gone, patterns that find nothing.
    pub fn notes(&self) -> impl Iterator<Item = (Option<&StreamName>, &str)> {
        let notes = self.notes.iter();
        notes.map(|(stream, note)| (stream.as_ref(), note.as_str()))
    }
}
