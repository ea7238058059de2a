//! Loading one landed load into the destination. A run, its recovery, and a replay all use this step.

use tokio_util::sync::CancellationToken;

use super::loader::Loader;
use super::report::StreamReport;
use super::spans;
use crate::allocator;
use crate::config::Hooks;
use crate::destination::{Loaded, Parts, Reads, StagedLoad, StreamState};
use crate::error::Result;
use crate::evolution::SchemaContract;
use crate::landing::manifest::Manifest;
use crate::landing::{Landing, LoadAddress};
use crate::layout::Layout;
use crate::progress::{Counters, Phase};

/// What is needed to apply a load.
#[derive(Clone)]
pub(super) struct LoadStep {
    pub(super) landing: Landing,
    pub(super) loader: Loader,
    /// Which changes of the source's schema the stream allows.
    pub(super) contract: SchemaContract,
    pub(super) layout: Layout,
    /// What is run at the destination with each load.
    pub(super) hooks: Hooks,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
}

impl LoadStep {
    /// Verifies the checksums of a load's parts, applies the load, and adds the changes to the report. Returns the stream's
    /// new state.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) if a part is missing or differs from the manifest; otherwise the
    /// destination's errors. In both cases nothing was changed.
    pub(super) async fn apply(
        &self,
        address: &LoadAddress,
        manifest: Manifest,
        report: &mut StreamReport,
    ) -> Result<Option<StreamState>> {
        self.counters.enter(Phase::Loading);
        let loaded = self.load(address, manifest).await?;
        Ok(Some(tell(report, address, loaded)))
    }

    async fn load(&self, address: &LoadAddress, manifest: Manifest) -> Result<Loaded> {
        // Copies of remote parts are there as long as this is.
        let mut copies = None;
        let parts = match self.loader.reads() {
            Reads::Local => {
                let local = self.landing.local_parts(address, &manifest).await?;
                Parts::Local(copies.insert(local).files.clone())
            }
            Reads::Landed => Parts::Remote(self.landing.remote_parts(address, &manifest).await?),
        };
        let loaded = self.hand_over(manifest, parts).await;
        drop(copies);
        loaded
    }

    /// Passes a load to the destination. A stop interrupts the load; it is then still in the landing area, for the next
    /// run.
    pub(super) async fn hand_over(&self, manifest: Manifest, parts: Parts) -> Result<Loaded> {
        let load = StagedLoad {
            manifest,
            parts,
            contract: self.contract,
            layout: self.layout.clone(),
            pre_sql: self.hooks.pre_sql.clone(),
            post_sql: self.hooks.post_sql.clone(),
            models: self.loader.models().map(str::to_owned),
        };
        let applying = self
            .loader
            .call_until(&self.stop, move |destination| destination.load(&load));
        tokio::select! {
            applied = applying => applied,
            never = allocator::give_back() => match never {},
        }
    }
}

/// Adds what a load changed, and its warnings, to the report, and notes it on the current span. Returns the stream's new state.
pub(super) fn tell(
    report: &mut StreamReport,
    address: &LoadAddress,
    loaded: Loaded,
) -> StreamState {
    let Loaded {
        outcome,
        state,
        warnings,
    } = loaded;
    spans::loaded(outcome.inserted, outcome.updated, outcome.deleted);
    report.load_id = Some(address.load_id.clone());
    report.inserted += outcome.inserted;
    report.updated += outcome.updated;
    report.deleted += outcome.deleted;
    report.warnings.extend(warnings);
    state
}
