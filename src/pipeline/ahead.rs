//! Loading while the source is still read.
//!
//! A first load of a large table is read for as long as it is loaded, and the source, this process and the destination may each
//! have a machine of their own. So a destination that can ([`Destination::loads_ahead`](crate::destination::Destination::loads_ahead))
//! is given parts as they are landed, in the transaction of the load. It commits only when the manifest is published: a load that
//! is in the destination is in the landing area, as ever.
//!
//! It is begun only for a stream without a table, and once all other streams of the run have ended: nobody reads the table, and
//! nobody else waits for the destination. Whatever goes wrong, the destination undoes what it has, and the load is applied as any
//! other is.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::load_step::LoadStep;
use crate::destination::arriving::{Arrivals, Arriving};
use crate::destination::{Loaded, Parts};
use crate::error::{Error, Result};
use crate::landing::LoadAddress;
use crate::landing::manifest::{Manifest, Part};

/// A load whose extract runs. If it is dropped, it is undone.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The manifest, without what only the end of the extract has.
    expected: Manifest,
    seal: oneshot::Sender<Manifest>,
    loading: JoinHandle<Option<Result<Loaded>>>,
}

/// How many streams of the run have not ended, as the number of its clones.
pub(super) type Running = Arc<()>;

impl Ahead {
    /// A load that begins as soon as a part of it has come and no other stream is running; and where its parts are to be sent.
    pub(super) fn of(
        step: LoadStep,
        address: LoadAddress,
        expected: Manifest,
        running: &Running,
    ) -> (Self, mpsc::UnboundedSender<Part>) {
        let (sender, parts) = mpsc::unbounded_channel();
        let (seal, sealed) = oneshot::channel();
        let task = Task {
            step,
            address,
            expected: expected.clone(),
            running: Arc::downgrade(running),
        };
        let loading = tokio::spawn(task.run(parts, sealed));
        let ahead = Self {
            expected,
            seal,
            loading,
        };
        (ahead, sender)
    }

    /// Ends the load, whose manifest has been published. `None` if it was not begun, or has failed.
    pub(super) async fn end(self, manifest: &Manifest) -> Option<Loaded> {
        let Self {
            mut expected,
            seal,
            loading,
        } = self;
        expected.parts.clone_from(&manifest.parts);
        expected.rows = manifest.rows;
        expected.bytes = manifest.bytes;
        expected.extracted_at = manifest.extracted_at;
        expected.position_after.clone_from(&manifest.position_after);
        if expected == *manifest {
            // Where nothing was begun, nobody waits for it.
            let _ = seal.send(expected);
        } else {
            drop(seal);
        }
        let error = match loading.await {
            Ok(Some(Ok(loaded))) => return Some(loaded),
            Ok(None) => return None,
            Ok(Some(Err(error))) => error.report(),
            Err(error) => error.to_string(),
        };
        tracing::debug!(error, "a load that was begun ahead is begun anew");
        None
    }
}

/// What loads ahead.
struct Task {
    step: LoadStep,
    address: LoadAddress,
    expected: Manifest,
    running: Weak<()>,
}

impl Task {
    async fn run(
        self,
        mut parts: mpsc::UnboundedReceiver<Part>,
        sealed: oneshot::Receiver<Manifest>,
    ) -> Option<Result<Loaded>> {
        let mut first = Vec::new();
        loop {
            first.push(parts.recv().await?);
            if self.running.strong_count() == 1 {
                break;
            }
        }
        tracing::info!(load = %self.address.load_id, "loading while the source is read");
        let (arrivals, arriving) = Arriving::new();
        let arriving = Parts::Arriving(Arc::new(arriving));
        let loading = self.step.hand_over(self.expected.clone(), arriving);
        let feeding = self.feed(arrivals, first, parts, sealed);
        // If feeding fails, the load does, as nothing more comes.
        let (loaded, fed) = tokio::join!(loading, feeding);
        Some(fed.and(loaded))
    }

    /// Hands over the first parts, those that come, and then the manifest.
    async fn feed(
        &self,
        arrivals: Arrivals,
        first: Vec<Part>,
        mut parts: mpsc::UnboundedReceiver<Part>,
        sealed: oneshot::Receiver<Manifest>,
    ) -> Result<()> {
        for part in first {
            arrivals.part(self.file(&part).await?);
        }
        while let Some(part) = parts.recv().await {
            arrivals.part(self.file(&part).await?);
        }
        let manifest = sealed.await.map_err(|_| {
            Error::internal(
                "the extract of the load has not ended well, or otherwise than expected",
            )
        })?;
        arrivals.seal(manifest);
        Ok(())
    }

    async fn file(&self, part: &Part) -> Result<PathBuf> {
        self.step.landing.local_part(&self.address, part).await
    }
}
