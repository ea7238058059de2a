//! Resolves the sources of the selected streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::problems::{Checked, Problems};
use super::{check_name_with, table};
use crate::config::document::Document;
use crate::config::model::{SourceConfig, SourceKind};
use crate::config::postgres::Replication;
use crate::config::{HubSpotSource, PostgresSource};
use crate::error::Result;
use crate::mode::Mode;
use crate::names::MAX_NAME;

/// The sources of the selected streams: each, or the error in its configuration.
#[derive(Debug, Default)]
pub(super) struct Sources<'a> {
    pub(super) postgres: BTreeMap<&'a str, Result<Arc<PostgresSource>>>,
    pub(super) hubspot: BTreeMap<&'a str, Result<Arc<HubSpotSource>>>,
}

impl Document {
    /// The sources that are used, and the problems of their configuration.
    pub(super) fn sources(
        &self,
        used: &BTreeSet<&str>,
        destination: &str,
    ) -> (Sources<'_>, Problems) {
        let mut sources = Sources::default();
        let mut of_all = Problems::default();
        let configured = self.config.sources.iter();
        for (name, config) in configured.filter(|(name, _)| used.contains(name.as_str())) {
            let mut problems = Problems::default();
            match config.kind {
                SourceKind::Postgres => {
                    let source = self.postgres(name, config, destination, &mut problems);
                    let source = problems.finish(&self.path, source).map(Arc::new);
                    sources.postgres.insert(name, source);
                }
                SourceKind::HubSpot => {
                    let source = self.hubspot(name, config, &mut problems);
                    let source = problems.finish(&self.path, source).map(Arc::new);
                    sources.hubspot.insert(name, source);
                }
            }
            of_all.extend(problems);
        }
        (sources, of_all)
    }

    fn postgres(
        &self,
        name: &str,
        config: &SourceConfig,
        destination: &str,
        problems: &mut Problems,
    ) -> Checked<PostgresSource> {
        let of = table("sources", name);
        let keys = (config.url.as_deref(), config.password_command.as_deref());
        let url = self.postgres_url(keys, &of, problems)?;
        Ok(PostgresSource {
            url,
            replication: self.replication(name, config, destination, problems)?,
            reader: config.reader.unwrap_or_default(),
        })
    }

    /// The names of slot and publication. A slot has one position, so each destination has a slot of its own.
    fn replication(
        &self,
        name: &str,
        config: &SourceConfig,
        destination: &str,
        problems: &mut Problems,
    ) -> Checked<Replication> {
        let place = |key: &str| {
            format!(
                "{} {key}",
                table("sources", &format!("{name}.replication")).replace('"', "")
            )
        };
        let plain = |text: &str| -> String {
            let plain = |c: char| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            };
            text.chars().map(plain).collect()
        };
        let given = config.replication.clone().unwrap_or_default();
        let usual = format!("acequia_{}", plain(self.config.pipeline.name.as_str()));
        let base = match &given.slot {
            Some(slot) => self.expand(slot, &place("slot"), problems)?,
            None => usual.clone(),
        };
        let own = self
            .environment
            .expand(&self.config.pipeline.destination)
            .unwrap_or_default();
        let slot_of = |destination: &str| {
            if destination == own {
                base.clone()
            } else {
                format!("{base}_{}", plain(destination))
            }
        };
        let slot = slot_of(destination);
        let others = self.config.destinations.keys();
        let others = others
            .filter(|name| *name != destination)
            .map(|name| slot_of(name))
            .collect();
        // Manual, section 26.2.6.1: lower-case letters, numbers, and the underscore.
        let is_slot = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if slot.is_empty() || slot.len() > MAX_NAME || !slot.chars().all(is_slot) {
            return Err(problems.add(
                &place("slot"),
                format!("`{slot}` cannot name a replication slot"),
                "use 1 to 63 lower-case letters, digits and `_`",
            ));
        }
        let publication = match &given.publication {
            Some(publication) => self.expand(publication, &place("publication"), problems)?,
            None => usual,
        };
        check_name_with(&publication, &place("publication"), false, problems)?;
        let streams = self.config.streams.iter();
        let streams =
            streams.filter(|(_, stream)| stream.source == name && stream.mode == Mode::Cdc);
        Ok(Replication {
            slot,
            publication,
            others,
            base,
            streams: streams.map(|(name, _)| name.clone()).collect(),
        })
    }
}
