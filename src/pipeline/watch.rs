//! What a run that follows is at, while it lasts: it is kept in the landing area, so that others see that it is at work and which
//! streams are up to date, and people are told when that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::follow::{FollowEvent, FollowObserver};
use super::notices::{Found, Notices};
use super::record::Record;
use super::report::StreamReport;
use super::wait::beside;
use crate::names::StreamName;
use crate::runs::{MODELS, PAGE, by_cause};

/// How often it is kept that the run is at work.
const BEAT: Duration = Duration::from_secs(30);
/// How long after a change it is told: several often come together.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long a source may be away before that is a failure to be told.
const AWAY: Duration = Duration::from_mins(1);

/// What is known of a run that follows.
#[derive(Default)]
pub(super) struct Watch {
    state: Mutex<State>,
    changed: tokio::sync::Notify,
    /// Whether the run has ended; held while what it is at is kept.
    has_ended: tokio::sync::Mutex<bool>,
}

#[derive(Default)]
struct State {
    /// What was found of each stream, the models and the page.
    found: Found,
    /// The streams that are followed.
    current: BTreeSet<StreamName>,
    /// The sources that are away, since when, and their streams.
    away: BTreeMap<String, (Instant, BTreeSet<StreamName>)>,
    /// What was loaded of the sources that are followed.
    loaded: BTreeMap<String, Loaded>,
}

/// What was loaded of a source since it is followed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loaded {
    pub(super) connected: bool,
    pub(super) batches: u64,
    pub(super) changes: u64,
    /// Of the last batch.
    pub(super) lag: Option<Duration>,
}

impl Watch {
    /// An observer of the streams of a source, which passes all on to another.
    pub(super) fn observer(
        self: &Arc<Self>,
        source: &str,
        streams: BTreeSet<StreamName>,
        user: FollowObserver,
    ) -> FollowObserver {
        let (watch, source) = (Arc::clone(self), source.to_owned());
        FollowObserver::new(move |event| {
            watch.observe(&source, &streams, event);
            (user.0)(event);
        })
    }

    fn observe(&self, source: &str, streams: &BTreeSet<StreamName>, event: &FollowEvent) {
        let mut state = self.state();
        let loaded = state.loaded.entry(source.to_owned()).or_default();
        match event {
            FollowEvent::CaughtUp | FollowEvent::Connected => loaded.connected = true,
            FollowEvent::Broken { .. } => loaded.connected = false,
            FollowEvent::Batch { changes, lag } => {
                loaded.batches += 1;
                loaded.changes += changes;
                loaded.lag = Some(*lag);
            }
            _ => {}
        }
        match event {
            FollowEvent::CaughtUp => {
                for stream in streams {
                    if !matches!(state.found.get(stream.as_str()), Some(Some(_))) {
                        state.found.insert(stream.to_string(), None);
                        state.current.insert(stream.clone());
                    }
                }
            }
            FollowEvent::Failed { stream, error } => {
                state.found.insert(stream.to_string(), Some(error.clone()));
                state.current.remove(stream);
            }
            FollowEvent::Broken { .. } => {
                let away = state.away.entry(source.to_owned());
                away.or_insert_with(|| (Instant::now(), streams.clone()));
            }
            FollowEvent::Connected => {
                state.away.remove(source);
            }
            FollowEvent::Models { failures, .. } => {
                let error = (!failures.is_empty()).then(|| failures.join("\n"));
                state.found.insert(MODELS.to_owned(), error);
            }
            FollowEvent::Page { error } => {
                state.found.insert(PAGE.to_owned(), error.clone());
            }
            FollowEvent::Batch { .. } => return,
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Notes that a stream has ended that is not followed.
    pub(super) fn ended(&self, report: &StreamReport) {
        let Some((stream, error)) = report.found() else {
            return;
        };
        self.state().found.insert(stream, error);
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was loaded of each source.
    pub(super) fn sources(&self) -> BTreeMap<String, Loaded> {
        self.state().loaded.clone()
    }

    /// What was found, and the streams that are up to date.
    pub(super) fn now(&self) -> (Found, BTreeSet<StreamName>) {
        let state = self.state();
        let (mut found, mut current) = (state.found.clone(), state.current.clone());
        for (source, (since, streams)) in &state.away {
            for stream in streams.iter().filter(|stream| current.remove(*stream)) {
                if since.elapsed() < AWAY {
                    found.remove(stream.as_str());
                } else {
                    let error = format!(
                        "the connection to the source `{source}` was lost, and it cannot be reached again yet"
                    );
                    found.insert(stream.to_string(), Some(error));
                }
            }
        }
        (found, current)
    }

    /// Does the work of the run, and beside it keeps and tells what it is at.
    pub(super) async fn beside<T>(
        &self,
        record: &Record,
        notices: Option<&Notices>,
        work: impl Future<Output = T>,
    ) -> T {
        beside(work, |done| async move {
            self.tell(record, notices, &done).await;
        })
        .await
    }

    /// How the run ended is kept next: from now on nothing is kept of what it is at.
    pub(super) async fn end(watch: Option<&Arc<Self>>) {
        if let Some(watch) = watch {
            *watch.has_ended.lock().await = true;
        }
    }

    async fn tell(&self, record: &Record, notices: Option<&Notices>, done: &CancellationToken) {
        loop {
            tokio::select! {
                () = done.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
            tokio::select! {
                () = done.cancelled() => return,
                () = tokio::time::sleep(TOGETHER) => {}
            }
            let (found, current) = self.now();
            let failed = found
                .iter()
                .filter_map(|(stream, error)| Some((stream.as_str(), error.as_deref()?)));
            // To its end: what is written late would take the place of how the run ended.
            let has_ended = self.has_ended.lock().await;
            if *has_ended {
                return;
            }
            record.keep_running(&current, by_cause(failed)).await;
            drop(has_ended);
            if let Some(notices) = notices {
                tokio::select! {
                    () = done.cancelled() => return,
                    _ = notices.settle(&found) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<StreamName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_source_is_a_failure_once_it_has_been_away_for_a_while() {
        let watch = Arc::new(Watch::default());
        let user = FollowObserver::new(|_| {});
        let observer = watch.observer("operativa", names(&["t", "u"]), user);
        let tell = |event: FollowEvent| (observer.0)(&event);
        let broken = || FollowEvent::Broken {
            wait: Duration::from_secs(1),
        };
        tell(FollowEvent::Failed {
            stream: "u".parse().unwrap(),
            error: "u is frozen".to_owned(),
        });
        tell(FollowEvent::CaughtUp);
        let (found, current) = watch.now();
        assert_eq!(current, names(&["t"]));
        assert_eq!((&found["t"], found["u"].is_some()), (&None, true));
        tell(broken());
        tell(broken());
        let (found, current) = watch.now();
        // Nothing is known of `t` for now: it is neither well nor a failure.
        assert!(current.is_empty() && !found.contains_key("t") && found["u"].is_some());
        for (since, _) in watch.state().away.values_mut() {
            *since = since.checked_sub(AWAY).unwrap();
        }
        let (found, _) = watch.now();
        assert!(
            found["t"]
                .as_deref()
                .unwrap()
                .contains("the source `operativa` was lost")
        );
        tell(FollowEvent::Connected);
        let (found, current) = watch.now();
        assert_eq!((&found["t"], current), (&None, names(&["t"])));
    }
}
