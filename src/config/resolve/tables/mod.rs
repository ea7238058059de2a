//! Streams with `tables`: finds what their patterns name among a source's tables, and makes an ordinary stream of each. No
//! I/O: the tables are looked up before.

use std::collections::{BTreeMap, BTreeSet};

use super::problems::{Checked, Problems};
use crate::config::document::Document;
use crate::config::expansion::{Expansion, Member};
use crate::config::model::{SourceKind, StreamConfig};
use crate::config::{Source, table_name};
use crate::error::{Error, Result};
use crate::glob;
use crate::known_tables::{KnownTable, SourceTable};
use crate::names::StreamName;

const PATTERN: &str = "write the schema and the table, as in \"public.*\"; `*` stands for any text";
/// What a name of a table in the destination is made of, if the configuration does not say.
const NAMES: &str = "{table}";

mod clashes;
mod columns;
mod memory;

use clashes::Candidate;
use columns::{NamedColumns, reach};
use memory::{news, remembered};

/// A pattern of tables.
#[derive(Debug)]
struct Pattern {
    schema: String,
    name: String,
}

impl Pattern {
    fn finds(&self, schema: &str, name: &str) -> bool {
        glob::matches(&self.schema, schema) && glob::matches(&self.name, name)
    }

    /// Whether it is the whole name of one table.
    fn is_name(&self) -> bool {
        !glob::is_pattern(&self.schema) && !glob::is_pattern(&self.name)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A stream with `tables`.
struct TablesEntry<'a> {
    name: &'a StreamName,
    config: &'a StreamConfig,
    patterns: Vec<Pattern>,
    excluded: Vec<Pattern>,
    /// The pattern of its streams' and tables' names.
    names: String,
    /// The columns that its settings name.
    named: NamedColumns,
}

impl TablesEntry<'_> {
    fn finds(&self, table: &KnownTable) -> bool {
        let patterns = &mut self.patterns.iter();
        self.config.source == table.source
            && patterns.any(|pattern| pattern.finds(&table.schema, &table.name))
    }
}

impl Document {
    /// Whether there are streams whose tables have to be looked up.
    pub fn has_patterns(&self) -> bool {
        self.config.streams.values().any(StreamConfig::has_patterns)
    }

    /// The sources whose tables have to be looked up.
    pub fn sources_with_patterns(&self) -> BTreeSet<&str> {
        let entries = self
            .config
            .streams
            .values()
            .filter(|stream| stream.has_patterns());
        entries.map(|entry| entry.source.as_str()).collect()
    }

    /// Whether streams are named whose tables have to be looked up, or none is named.
    pub fn asks_for_patterns(&self, asked: &[String]) -> bool {
        let ordinary = |name: &String| {
            let streams = &mut self.config.streams.iter();
            streams.any(|(known, stream)| known.as_str() == name && !stream.has_patterns())
        };
        self.has_patterns() && (asked.is_empty() || !asked.iter().all(ordinary))
    }

    /// The settings of one source.
    ///
    /// # Errors
    /// There is no such source, or its configuration is wrong.
    pub fn source(&self, name: &str) -> Result<Source> {
        let (sources, _) = self.sources(&BTreeSet::from([name]), "");
        if let Some(source) = sources.postgres.get(name) {
            return source.clone().map(Source::Postgres);
        }
        if let Some(source) = sources.hubspot.get(name) {
            return source.clone().map(Source::HubSpot);
        }
        let mut problems = Problems::default();
        let known = self.config.sources.keys().map(String::as_str);
        let unknown = problems.unknown("", "source", name, known);
        problems.finish(&self.path, Err(unknown))
    }

    /// Makes an ordinary stream of each table that the patterns of `tables` find.
    ///
    /// `found` has the tables of the sources that were asked. `known` are those that the pipeline remembers: they tell which
    /// are new, stand for those of a source that was not asked or did not answer, and keep their names where a new table
    /// would have the same. `with_gone` says that those count that are gone from the source, too.
    ///
    /// # Errors
    /// [`Error::Config`] if a stream with `tables` is written wrongly.
    pub fn with_tables(
        self,
        found: &BTreeMap<String, Result<Vec<SourceTable>>>,
        known: &[KnownTable],
        with_gone: bool,
    ) -> Result<Self> {
        let mut problems = Problems::default();
        let streams = &self.config.streams;
        let entries: Vec<Checked<TablesEntry<'_>>> = streams
            .iter()
            .filter(|(_, config)| config.has_patterns())
            .map(|(name, config)| self.tables_entry(name, config, &mut problems))
            .collect();
        let entries = entries.into_iter().collect::<Checked<Vec<_>>>();
        let entries = problems.finish(&self.path, entries)?;
        let (members, expansion) = self.members(&entries, found, known, with_gone);
        let mut streams = streams.clone();
        streams.retain(|_, config| !config.has_patterns());
        streams.extend(members);
        let mut expanded = self;
        expanded.config.streams = streams;
        expanded.expansion = expansion;
        Ok(expanded)
    }

    fn tables_entry<'a>(
        &'a self,
        name: &'a StreamName,
        config: &'a StreamConfig,
        problems: &mut Problems,
    ) -> Checked<TablesEntry<'a>> {
        let place = |key: &str| format!("[streams.{name}] {key}");
        let mut outcome = Ok(());
        for (key, given) in [
            ("table", config.table.is_some()),
            ("query", config.query.is_some()),
            ("object", config.object.is_some()),
        ] {
            if given {
                let remedy = "give it a stream of its own";
                outcome = Err(problems.add(&place(key), "the stream has `tables` as well", remedy));
            }
        }
        let kind = self.config.sources.get(&config.source);
        if kind.is_some_and(|source| source.kind == SourceKind::HubSpot) {
            let what = "a HubSpot account has no tables";
            outcome = Err(problems.add(&place("tables"), what, "name the `object`"));
        }
        if config.tables.is_empty() {
            let what = "it stands without `tables`";
            outcome = Err(problems.add(&place("exclude_tables"), what, PATTERN));
        }
        let patterns = self.patterns(&config.tables, &place("tables"), problems);
        let excluded = self.patterns(&config.exclude_tables, &place("exclude_tables"), problems);
        let names = config.destination_table.as_deref().unwrap_or(NAMES);
        let names = self.expand(names, &place("destination_table"), problems)?;
        let rest = names.replace("{schema}", "").replace("{table}", "");
        if !names.contains("{table}") || rest.contains(['{', '}']) {
            let what = "all of its tables would have one name";
            let remedy = "write a pattern with {table}, and with {schema} where schemas share names, as in \
                          \"{schema}_{table}\"";
            outcome = Err(problems.add(&place("destination_table"), what, remedy));
        }
        outcome?;
        Ok(TablesEntry {
            name,
            config,
            patterns: patterns?,
            excluded: excluded?,
            names,
            named: NamedColumns::of(self, config),
        })
    }

    fn patterns(
        &self,
        texts: &[String],
        place: &str,
        problems: &mut Problems,
    ) -> Checked<Vec<Pattern>> {
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            let text = self.expand(text, place, problems)?;
            match table_name::parse(&text) {
                Ok((Some(schema), name)) => patterns.push(Pattern { schema, name }),
                Ok((None, _)) => {
                    return Err(problems.add(place, "a pattern names no schema", PATTERN));
                }
                Err(error) => return Err(problems.add(place, error.to_string(), PATTERN)),
            }
        }
        Ok(patterns)
    }

    /// The tables that ordinary streams read: source, schema, name.
    fn read_by_others(&self) -> BTreeSet<(&str, String, String)> {
        let streams = self.config.streams.values();
        streams
            .filter_map(|stream| {
                let table = self.environment.expand(stream.table.as_ref()?).ok()?;
                let (schema, name) = table_name::parse(&table).ok()?;
                let schema = schema.unwrap_or_else(|| "public".to_owned());
                Some((stream.source.as_str(), schema, name))
            })
            .collect()
    }

    fn members(
        &self,
        entries: &[TablesEntry<'_>],
        found: &BTreeMap<String, Result<Vec<SourceTable>>>,
        known: &[KnownTable],
        with_gone: bool,
    ) -> (Vec<(StreamName, StreamConfig)>, Expansion) {
        let mut expansion = Expansion::default();
        let mut refusals: BTreeMap<&StreamName, Vec<String>> = BTreeMap::new();
        let others = self.read_by_others();
        let mut taken: BTreeSet<(&str, String, String)> = BTreeSet::new();
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        for entry in entries {
            let source = entry.config.source.as_str();
            let tables = tables_of(entry, found.get(source), known, with_gone);
            expansion.notes.extend(idle_patterns(entry, &tables));
            for table in tables {
                let key = (source, table.schema.clone(), table.name.clone());
                if others.contains(&key) {
                    continue;
                }
                let whole = table.to_string();
                if !taken.insert(key) {
                    let what = format!(
                        "{whole} is another entry's as well: name it in the exclude_tables of one"
                    );
                    refusals.entry(entry.name).or_default().push(what);
                    continue;
                }
                match self.candidate(entry, table) {
                    Ok(candidate) => candidates.push(candidate),
                    Err(why) => refusals
                        .entry(entry.name)
                        .or_default()
                        .push(format!("{whole} {why}")),
                }
            }
        }
        let mut streams = Vec::new();
        let mut joined = Vec::new();
        let kept = self.without_clashes(entries, candidates, known, &mut refusals);
        let nowhere = refused_nowhere(entries, &kept, found, known);
        for entry in entries {
            let own = kept.iter().filter(|own| own.entry.name == entry.name);
            let reach = reach(&entry.named, &own.map(|own| &own.table));
            expansion.reach.insert(entry.name.clone(), reach);
        }
        for candidate in kept {
            let Candidate {
                entry,
                table,
                stream,
                config,
                ..
            } = candidate;
            let before = known.iter().find(|known| known.is_same(&table));
            let (refused, absent) = match found.get(&entry.config.source) {
                Some(Ok(_)) => {
                    let nowhere = nowhere.get(entry.name).cloned();
                    let lost = || entry.named.refuse_lost(entry, &table, before);
                    (nowhere.or_else(lost), entry.named.absent(&table.columns))
                }
                Some(Err(error)) => (Some(error.clone()), BTreeSet::new()),
                // Nothing is read.
                None => (None, entry.named.absent(&BTreeMap::new())),
            };
            let is_refused = refused.is_some();
            expansion
                .notes
                .extend(news(entry, &table, &stream, found, known));
            let entry = entry.name.clone();
            let member = Member {
                entry,
                refused,
                absent,
            };
            expansion.members.insert(stream.clone(), member);
            joined.push(to_remember(table, before.filter(|_| is_refused)));
            streams.push((stream, config));
        }
        for entry in entries {
            let mut members = expansion.members.values();
            let has_members = members.any(|member| member.entry == *entry.name);
            let found = found.get(&entry.config.source);
            let refusals = refusals.remove(entry.name);
            if let Some(refused) = refused_as_a_whole(entry, refusals, found, has_members) {
                let member = Member {
                    entry: entry.name.clone(),
                    refused: Some(refused),
                    absent: BTreeSet::new(),
                };
                expansion.members.insert(entry.name.clone(), member);
                streams.push((entry.name.clone(), stand_in(entry)));
            }
        }
        if found.values().any(Result::is_ok) {
            expansion.known = Some(remembered(
                &joined,
                entries,
                found,
                known,
                &mut expansion.notes,
            ));
        }
        (streams, expansion)
    }
}

/// A table as it is remembered: what is known of its columns stays until it is copied with others.
fn to_remember(table: KnownTable, before: Option<&KnownTable>) -> KnownTable {
    match before {
        Some(before) => KnownTable {
            gone: false,
            ..before.clone()
        },
        None => table,
    }
}

/// Notes of an entry's patterns that find none of its tables, though others do.
fn idle_patterns(
    entry: &TablesEntry<'_>,
    tables: &[KnownTable],
) -> Vec<(Option<StreamName>, String)> {
    let finds_none = |pattern: &&Pattern| {
        let mut tables = tables.iter();
        !tables.any(|table| pattern.finds(&table.schema, &table.name))
    };
    let idle = entry.patterns.iter().filter(finds_none);
    let idle = idle.filter(|_| !tables.is_empty());
    let note = |pattern| {
        format!(
            "`tables` of [streams.{}]: `{pattern}` finds no table",
            entry.name
        )
    };
    idle.map(|pattern| (None, note(pattern))).collect()
}

/// Why an entry is refused as a whole, beside its members or for want of any.
fn refused_as_a_whole(
    entry: &TablesEntry<'_>,
    refusals: Option<Vec<String>>,
    found: Option<&Result<Vec<SourceTable>>>,
    has_members: bool,
) -> Option<Error> {
    match (refusals, found) {
        (Some(refusals), _) => Some(clashing(entry, &refusals)),
        (None, _) if has_members => None,
        (None, Some(Err(error))) => Some(error.clone()),
        (None, Some(Ok(_))) => Some(nothing_found(entry)),
        (None, None) => Some(not_known(entry)),
    }
}

/// The tables that an entry takes: of those that were found, or else of those that are known.
fn tables_of(
    entry: &TablesEntry<'_>,
    found: Option<&Result<Vec<SourceTable>>>,
    known: &[KnownTable],
    with_gone: bool,
) -> Vec<KnownTable> {
    let source = &entry.config.source;
    let takes = |schema: &str, name: &str, is_plain: bool| {
        let finds = |pattern: &&Pattern| pattern.finds(schema, name);
        let patterns = &mut entry.patterns.iter();
        patterns.any(|pattern| finds(&pattern) && (is_plain || pattern.is_name()))
            && !entry.excluded.iter().any(|pattern| finds(&pattern))
    };
    match found {
        Some(Ok(tables)) => tables
            .iter()
            .filter(|table| takes(&table.schema, &table.name, table.is_plain))
            .map(|table| KnownTable {
                source: source.clone(),
                schema: table.schema.clone(),
                name: table.name.clone(),
                gone: false,
                columns: table.columns.clone(),
                hidden: entry.named.hidden_of(&table.columns),
            })
            .collect(),
        Some(Err(_)) | None => known
            .iter()
            .filter(|table| table.source == *source && (with_gone || !table.gone))
            .filter(|table| takes(&table.schema, &table.name, true))
            .cloned()
            .collect(),
    }
}

/// The entries that name columns which none of their tables has.
fn refused_nowhere<'a>(
    entries: &'a [TablesEntry<'_>],
    kept: &[Candidate<'_>],
    found: &BTreeMap<String, Result<Vec<SourceTable>>>,
    known: &[KnownTable],
) -> BTreeMap<&'a StreamName, Error> {
    let mut refused = BTreeMap::new();
    for entry in entries {
        let own = kept.iter().filter(|own| own.entry.name == entry.name);
        let was_asked = matches!(found.get(&entry.config.source), Some(Ok(_)));
        if !was_asked || own.clone().next().is_none() {
            continue;
        }
        // The column may be that of a table which is gone for now.
        let gone = known
            .iter()
            .filter(|table| entry.finds(table) && !own.clone().any(|own| own.table.is_same(table)));
        let tables = own.clone().map(|own| &own.table).chain(gone);
        if let Some(error) = entry.named.refuse_nowhere(entry, &tables) {
            refused.insert(entry.name, error);
        }
    }
    refused
}

/// The stream that tells why an entry's tables are not read.
fn stand_in(entry: &TablesEntry<'_>) -> StreamConfig {
    StreamConfig {
        table: entry.config.tables.first().cloned(),
        tables: Vec::new(),
        exclude_tables: Vec::new(),
        destination_table: None,
        ..entry.config.clone()
    }
}

/// What helps whatever a table is called.
const OF_ITS_OWN: &str = "give such a table a stream of its own: [streams.X] with its `table`, and a `destination_table`";

fn clashing(entry: &TablesEntry<'_>, refusals: &[String]) -> Error {
    Error::config(format!(
        "some tables of [streams.{}] are not read:\n  - {}",
        entry.name,
        refusals.join("\n  - ")
    ))
    .remedy(if entry.names.contains("{schema}") {
        format!("{OF_ITS_OWN}; or name it in exclude_tables")
    } else {
        format!(
            "{OF_ITS_OWN}; or, where tables of several schemas share a name, give all others by destination_table, as in \
             \"{{schema}}_{{table}}\"; or name it in exclude_tables"
        )
    })
}

fn not_known(entry: &TablesEntry<'_>) -> Error {
    Error::config(format!(
        "which tables [streams.{}] has is not known yet",
        entry.name
    ))
    .remedy("`acequia run` asks the source, and notes them in the landing area")
}

fn nothing_found(entry: &TablesEntry<'_>) -> Error {
    let patterns: Vec<String> = entry
        .patterns
        .iter()
        .map(|pattern| format!("`{pattern}`"))
        .collect();
    Error::config(format!(
        "no table of the source `{}` is found by {}",
        entry.config.source,
        patterns.join(", ")
    ))
    .remedy("correct `tables`: `acequia discover SOURCE` lists the tables that there are")
}
