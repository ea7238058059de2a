//! The events of a run that follows.

use std::sync::Arc;
use std::time::Duration;

use crate::names::StreamName;

/// A function that is called with the events of a run that follows.
#[derive(Clone)]
pub struct FollowObserver(pub(super) Arc<dyn Fn(&FollowEvent) + Send + Sync>);

impl FollowObserver {
    /// Creates an observer that calls `told`.
    pub fn new(told: impl Fn(&FollowEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// An observer that writes a connection which is lost, and found again, to the log.
    pub(super) fn of_the_log() -> Self {
        Self::new(|event| match event {
            FollowEvent::Broken { wait } => tracing::warn!(
                "the connection to the source was lost; trying again in {} s",
                wait.as_secs()
            ),
            FollowEvent::Connected => tracing::warn!("connected to the source again"),
            _ => {}
        })
    }
}

impl std::fmt::Debug for FollowObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FollowObserver")
    }
}

/// An event of a run that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowEvent {
    /// All changes up to the beginning of the run are loaded; the run waits for more.
    CaughtUp,
    /// The connection to the source broke; the run will connect again.
    Broken {
        /// How long the run waits before it connects again.
        wait: Duration,
    },
    /// The run has connected again.
    Connected,
    /// A stream failed, and is followed no more; the others are.
    Failed {
        /// The stream.
        stream: StreamName,
        /// The error, with its causes and the remedy.
        error: String,
    },
    /// A batch was loaded.
    Batch {
        /// The number of changes in the batch.
        changes: u64,
        /// The time from the first change's commit in the source to its commit in the destination.
        lag: Duration,
    },
    /// Models were built after a batch, or it turned out otherwise than before.
    Models {
        /// The number of models that were built.
        built: usize,
        /// What failed: tests, or the models themselves. Their tables are as they were before.
        failures: Vec<String>,
    },
    /// The report page could not be made, unlike before, or can be made again.
    Page {
        /// Why it cannot be made. The page before stays.
        error: Option<String>,
    },
}
