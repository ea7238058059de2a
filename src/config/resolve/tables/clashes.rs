//! What the tables of streams with `tables` would be called, and which names meet.

use std::collections::BTreeMap;

use super::TablesEntry;
use crate::config::document::Document;
use crate::config::model::StreamConfig;
use crate::config::resolve::crm;
use crate::config::table_name;
use crate::known_tables::KnownTable;
use crate::names::{MAX_NAME, StreamName};

/// A table that an entry takes, and what it would become.
pub(super) struct Candidate<'a> {
    pub(super) entry: &'a TablesEntry<'a>,
    pub(super) table: KnownTable,
    pub(super) stream: StreamName,
    pub(super) config: StreamConfig,
    /// What no other stream may be called or be loaded into, in lower case.
    claims: Vec<String>,
}

impl Document {
    /// The stream that a table would become, or why it cannot become one.
    pub(super) fn candidate<'a>(
        &self,
        entry: &'a TablesEntry<'a>,
        table: KnownTable,
    ) -> Result<Candidate<'a>, String> {
        let name = entry
            .names
            .replace("{schema}", &table.schema)
            .replace("{table}", &table.name);
        if name.len() > MAX_NAME {
            return Err(format!(
                "would be called `{name}`, which has more than {MAX_NAME} bytes"
            ));
        }
        if name.contains(char::is_control) {
            return Err("has control characters in its name".to_owned());
        }
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let mut stream: String = name.chars().map(plain).collect();
        if !stream.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            stream.insert(0, '_');
        }
        let stream: StreamName = stream
            .parse()
            .map_err(|_| format!("would be called `{name}`, which cannot name a stream"))?;
        // A name may look like a variable.
        let literal = |text: &str| text.replace("${", "$${");
        let config = StreamConfig {
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            table: Some(literal(&table_name::written(&table.schema, &table.name))),
            destination_table: Some(literal(&name)),
            ..entry.config.clone()
        };
        let claims = self.claims(&stream, &config);
        Ok(Candidate {
            entry,
            table,
            stream,
            config,
            claims,
        })
    }

    /// The tables that a stream is loaded into. A name that cannot be expanded is reported where it is used.
    pub(in crate::config::resolve) fn destination_tables(
        &self,
        name: &StreamName,
        config: &StreamConfig,
    ) -> Vec<String> {
        let table = config.destination_table.as_deref().unwrap_or(name.as_str());
        let table = self.environment.expand(table).unwrap_or_default();
        let changelog = config.changelog == Some(true) && !table.is_empty();
        let changes = changelog.then(|| format!("{table}__changes"));
        let mut tables = crm::tables_of(&table, config);
        tables.extend(changes);
        tables.retain(|table| !table.is_empty());
        tables
    }

    /// What no other stream may be called or be loaded into, in lower case.
    fn claims(&self, name: &StreamName, config: &StreamConfig) -> Vec<String> {
        let tables = self.destination_tables(name, config).into_iter();
        let mut claims: Vec<String> = tables
            .map(|table| format!("table {}", table.to_lowercase()))
            .collect();
        claims.push(format!("stream {}", name.as_str().to_lowercase()));
        claims
    }

    /// Leaves out the candidates whose names others have. Those that the pipeline knows come first. What a table was called that is gone
    /// by now, no other may be called: its rows, and its position, are still there.
    pub(super) fn without_clashes<'a>(
        &self,
        entries: &'a [TablesEntry<'a>],
        candidates: Vec<Candidate<'a>>,
        known: &[KnownTable],
        refusals: &mut BTreeMap<&'a StreamName, Vec<String>>,
    ) -> Vec<Candidate<'a>> {
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for (name, config) in &self.config.streams {
            if config.has_patterns() {
                let claim = format!("stream {}", name.as_str().to_lowercase());
                owners.insert(claim, format!("[streams.{name}]"));
            } else {
                let of_stream = |claim| (claim, format!("[streams.{name}]"));
                owners.extend(self.claims(name, config).into_iter().map(of_stream));
            }
        }
        for table in known {
            let is_it = |candidate: &Candidate<'_>| candidate.table.is_same(table);
            if candidates.iter().any(is_it) {
                continue;
            }
            for entry in entries.iter().filter(|entry| entry.finds(table)) {
                let Ok(candidate) = self.candidate(entry, table.clone()) else {
                    continue;
                };
                let whole = format!("{table}, which is not read any more,");
                for claim in candidate.claims {
                    owners.entry(claim).or_insert_with(|| whole.clone());
                }
            }
        }
        let is_known = |candidate: &Candidate<'_>| {
            let is_it = |known: &&KnownTable| known.is_same(&candidate.table);
            known.iter().find(is_it).is_some_and(|known| !known.gone)
        };
        let (old, new): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_known);
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for claim in new.iter().flat_map(|candidate| &candidate.claims) {
            *wanted.entry(claim.clone()).or_default() += 1;
        }
        let mut kept = Vec::with_capacity(old.len() + new.len());
        for (is_new, candidate) in old
            .into_iter()
            .map(|candidate| (false, candidate))
            .chain(new.into_iter().map(|candidate| (true, candidate)))
        {
            let whole = candidate.table.to_string();
            let owner = candidate.claims.iter().find_map(|claim| owners.get(claim));
            let shared =
                |claim: &String| is_new && wanted.get(claim).is_some_and(|number| *number > 1);
            if owner.is_some() || candidate.claims.iter().any(shared) {
                let other = owner.map_or("another new table", String::as_str);
                let why = format!(
                    "{whole} would be called `{}`, as {other} is",
                    candidate.stream
                );
                refusals.entry(candidate.entry.name).or_default().push(why);
                continue;
            }
            let as_its = |claim: &String| (claim.clone(), whole.clone());
            owners.extend(candidate.claims.iter().map(as_its));
            kept.push(candidate);
        }
        kept
    }
}
