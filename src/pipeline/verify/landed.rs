//! A table, compared with one that is built of the stream's loads in the landing area.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;

use super::Job;
use crate::change;
use crate::config::{Destination, Hooks, Pipeline, Stream, Target};
use crate::destination::{Living, StreamState, TableRows};
use crate::error::{Error, Result};
use crate::landing::inventory::{LoadContent, StoredLoad};
use crate::landing::manifest::Manifest;
use crate::names::LoadId;
use crate::pipeline::compare::Comparison;
use crate::pipeline::compare::side::{Side, living};
use crate::pipeline::replay::{ReplayOptions, replay};
use crate::schema::{Column, Schema};
use crate::verify::codec::Codec;
use crate::verify::report::StreamVerification;

impl Job {
    /// Compares a stream's table with what its loads make in a new DuckDB file.
    pub(super) async fn with_loads(
        &self,
        stream: &Stream,
        state: &StreamState,
        report: &mut StreamVerification,
    ) -> Result<()> {
        let stored = self
            .landing
            .inventory(&self.pipeline.name, &stream.name)
            .await?;
        let (chain, last) = chain(&stored, &state.load_id)?;
        let key = last.primary_key.clone();
        let folder = tempfile::tempdir().map_err(|error| {
            Error::destination("a temporary folder cannot be made").cause(error)
        })?;
        let built = self.build(stream, chain, &folder).await?;
        let columns = state.schema.columns.iter().map(|column| &column.column);
        let columns: Vec<Column> = columns
            .filter(|column| !change::is_of_change(&column.name))
            .cloned()
            .collect();
        let rows = TableRows {
            table: stream.table.clone(),
            columns: columns.clone(),
            // Of versions, all.
            living: match living(stream) {
                Living::NotDeleted => Living::NotDeleted,
                Living::All | Living::Current => Living::All,
            },
            within: None,
        };
        let has_key = key
            .iter()
            .all(|name| columns.iter().any(|column| column.name == *name));
        // Versions of one row have one key.
        let key = if has_key && living(stream) != Living::Current {
            key
        } else {
            Vec::new()
        };
        let mut codec =
            Codec::new(columns, &key, None, self.keeps_sign_of_zero)?.of_sample(self.sampled());
        if self.options.counts {
            codec = codec.by_key_alone();
        }
        let comparison = Comparison {
            source: Side::Built(built, self.pipeline.dataset.clone(), rows.clone()),
            table: Side::Table(self.loader.clone(), rows),
            codec: Arc::new(codec),
            masks: Arc::default(),
            schema: Schema::default(),
            boundary: None,
            counts_only: self.options.counts && key.is_empty(),
            stop: self.options.interrupt.child_token(),
        };
        comparison.run(self.options.show, report).await?;
        Ok(())
    }

    /// Builds the stream's table of loads, in a DuckDB file of its own.
    async fn build(
        &self,
        stream: &Stream,
        loads: Vec<LoadId>,
        folder: &TempDir,
    ) -> Result<Destination> {
        let built = Destination {
            name: "verify".to_owned(),
            target: Target::DuckDb {
                path: folder.path().join("verify.duckdb"),
                memory_limit: None,
            },
            wait: self.pipeline.destination.wait,
        };
        let pipeline = Pipeline {
            destination: built.clone(),
            streams: vec![Stream {
                hooks: Hooks::default(),
                ..stream.clone()
            }],
            models: None,
            report: None,
            notify: None,
            metrics: None,
            retention: None,
            ..(*self.pipeline).clone()
        };
        let options = ReplayOptions {
            loads,
            interrupt: self.options.interrupt.child_token(),
            ..ReplayOptions::default()
        };
        let report = Box::pin(replay(pipeline, options)).await?;
        match report
            .streams
            .into_iter()
            .next()
            .and_then(|stream| stream.error)
        {
            Some(error) => Err(Error::landing(format!(
                "the loads cannot be built from: {error}"
            ))),
            None => Ok(built),
        }
    }
}

/// The loads that a table was made of, from the one that made it anew to its last, and the manifest of that.
fn chain<'a>(stored: &'a [StoredLoad], last: &LoadId) -> Result<(Vec<LoadId>, &'a Manifest)> {
    let manifests: BTreeMap<&LoadId, &Manifest> = stored
        .iter()
        .filter_map(|stored| match &stored.content {
            LoadContent::Complete(manifest) => Some((stored.load_id(), manifest.as_ref())),
            LoadContent::Unfinished | LoadContent::Damaged { .. } => None,
        })
        .collect();
    let absent = |load_id: &LoadId| {
        Error::landing(format!(
            "load {load_id}, of which the table is made, is not whole in the landing area"
        ))
        .remedy(
            "compare with the source: `acequia verify STREAM`; or restore the load from a copy of the landing area",
        )
    };
    let newest = *manifests.get(last).ok_or_else(|| absent(last))?;
    let (mut chain, mut manifest) = (vec![last.clone()], newest);
    while !(manifest.rebuilds() || manifest.full_refresh) {
        let Some(previous) = &manifest.previous else {
            break;
        };
        if chain.contains(previous) {
            return Err(Error::landing(
                "the loads of the stream follow each other in a circle",
            ));
        }
        manifest = manifests.get(previous).ok_or_else(|| absent(previous))?;
        chain.push(previous.clone());
    }
    chain.reverse();
    Ok((chain, newest))
}
