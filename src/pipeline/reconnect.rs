//! Following a source that restarts: the run connects again after a delay that grows with each failure.

use tracing::Instrument as _;

use super::follow::{FollowEvent, FollowObserver};
use super::replication::ReplicationRun;
use super::retry::{Retries, broke_off};
use super::stream_task::StreamTask;
use crate::error::{Error, Result};
use crate::source::postgres::replication::Replication;

impl ReplicationRun {
    /// Follows until the run is stopped; opens a new connection when one breaks.
    pub(super) async fn follow_on(
        &self,
        mut replication: Replication,
        tasks: &mut [StreamTask],
        told: &FollowObserver,
    ) -> Result<Replication> {
        for task in tasks.iter_mut() {
            task.tell_failure(told);
        }
        (told.0)(&FollowEvent::CaughtUp);
        let mut followed = Ok(());
        loop {
            if followed.is_ok() {
                followed = self.follow(&mut replication, tasks, told).await;
            }
            let failures = tasks.iter().filter_map(|task| task.failure.as_ref());
            let broken = failures.chain(followed.as_ref().err()).any(broke_off);
            if !broken || self.stop.is_cancelled() {
                return followed.map(|()| replication);
            }
            tracing::warn!("the connection to the source was lost");
            drop(replication);
            replication = self
                .connect_again(tasks, told, &mut Retries::endless())
                .await?;
            followed = self.take_up(&mut replication, tasks).await;
        }
    }

    /// Connects again, and prepares publication, slot and streams anew. Gives up with the last error where no attempts are left.
    pub(super) async fn connect_again(
        &self,
        tasks: &mut [StreamTask],
        told: &FollowObserver,
        retries: &mut Retries,
    ) -> Result<Replication> {
        let mut last = broken_of(tasks);
        loop {
            let Some(wait) = retries.next() else {
                return Err(last.unwrap_or_else(lost));
            };
            (told.0)(&FollowEvent::Broken { wait });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return Err(Error::Interrupted),
            }
            self.recover(tasks).await?;
            let opened = tokio::select! {
                opened = self.open(tasks) => opened,
                () = self.stop.cancelled() => return Err(Error::Interrupted),
            };
            match opened {
                Ok(replication) => {
                    (told.0)(&FollowEvent::Connected);
                    return Ok(replication);
                }
                Err(error) if broke_off(&error) => {
                    tracing::info!(error = %error.report(), "the source cannot be read yet");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Loads that were in progress when the connection broke may have been committed, or landed without being loaded.
    async fn recover(&self, tasks: &mut [StreamTask]) -> Result<()> {
        let mut states = self.loader.call(|destination| destination.states()).await?;
        for task in tasks {
            if task.failure.as_ref().is_some_and(broke_off) {
                task.failure = None;
                task.report.retries += 1;
                task.run.counters.begin_anew();
            }
            if task.failure.is_none() {
                task.run.state = states.remove(&task.run.stream.name);
                let span = task.run.within.begun();
                let recovering = task.run.recover(&mut task.report).instrument(span);
                let recovered = recovering.await;
                task.settle(recovered);
            }
        }
        Ok(())
    }

    /// Continues over a new connection. Streams that need a new snapshot take it first.
    pub(super) async fn take_up(
        &self,
        replication: &mut Replication,
        tasks: &mut [StreamTask],
    ) -> Result<()> {
        self.take_snapshots(replication, tasks).await?;
        self.confirm(replication).await
    }
}

/// The error of a connection that broke.
fn broken_of(tasks: &[StreamTask]) -> Option<Error> {
    let mut failures = tasks.iter().filter_map(|task| task.failure.as_ref());
    failures.rfind(|error| broke_off(error)).cloned()
}

fn lost() -> Error {
    Error::source("the connection to the source was lost").remedy("run again")
}
