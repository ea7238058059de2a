//! The step that takes a landed load into the destination: the same for a run, for what an earlier run left, and for a
//! replay.

use tokio_util::sync::CancellationToken;

use super::loader::Loader;
use super::report::StreamReport;
use crate::destination::{Loaded, StagedLoad, StreamState};
use crate::error::Result;
use crate::evolution::SchemaContract;
use crate::landing::manifest::Manifest;
use crate::landing::{Landing, LoadAddress};
use crate::progress::{Counters, Phase};

/// What applying a load takes.
pub(super) struct LoadStep {
    pub(super) landing: Landing,
    pub(super) loader: Loader,
    /// What the stream allows its source to change.
    pub(super) contract: SchemaContract,
    pub(super) counters: Counters,
    pub(super) stop: CancellationToken,
}

impl LoadStep {
    /// Applies a load, once its parts have the checksums of the manifest, and adds what it did to the report. Returns the
    /// stream's state since.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) where a part is missing or is not what the manifest says; else those of
    /// the destination. In both cases nothing was applied.
    pub(super) async fn apply(
        &self,
        address: &LoadAddress,
        manifest: Manifest,
        report: &mut StreamReport,
    ) -> Result<Option<StreamState>> {
        self.counters.enter(Phase::Loading);
        let parts = self.landing.local_parts(address, &manifest).await?;
        let load = StagedLoad {
            manifest,
            files: parts.files.clone(),
            contract: self.contract,
        };
        let Loaded { outcome, state } = self.hand_over(load).await?;
        report.load_id = Some(address.load_id.clone());
        report.inserted += outcome.inserted;
        report.updated += outcome.updated;
        report.deleted += outcome.deleted;
        Ok(Some(state))
    }

    /// Hands a load to the destination. A stop interrupts it; the load is then still in the landing area, for the next
    /// run.
    async fn hand_over(&self, load: StagedLoad) -> Result<Loaded> {
        let applying = self.loader.call(move |destination| destination.load(&load));
        tokio::pin!(applying);
        tokio::select! {
            applied = &mut applying => applied,
            never = self.loader.tell_hindrances() => match never {},
            () = self.stop.cancelled() => {
                self.loader.interrupt();
                applying.await
            }
        }
    }
}
