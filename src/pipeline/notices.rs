//! When people are told of a pipeline ([`crate::notify`]): when something fails that did not before, when it is over, and while
//! it lasts now and then. What was told is kept in the landing area.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{Document, Notify, Occasion, Pipeline};
use crate::error::Error;
use crate::landing::Landing;
use crate::landing::told::{Told, ToldOnce};
use crate::names::{RunId, StreamName};
use crate::notify::event::About;
use crate::notify::{Event, EventStream, NoticeReport, send};
use crate::runs::CONFIGURATION;

/// What was found of each stream that was looked at, of the models and of the report page: its error, or that it is well.
pub(super) type Found = BTreeMap<String, Option<String>>;

/// The notices of a pipeline into a destination.
#[derive(Clone)]
pub(super) struct Notices {
    settings: Notify,
    /// `None` where even the landing area cannot be had.
    landing: Option<Landing>,
    about: About,
}

impl Notices {
    /// The notices of a pipeline, if its configuration has any.
    pub(super) fn of(
        pipeline: &Pipeline,
        landing: Option<&Landing>,
        run_id: Option<&RunId>,
    ) -> Option<Self> {
        Some(Self {
            settings: pipeline.notify.clone()?,
            landing: landing.cloned(),
            about: About {
                pipeline: pipeline.name.clone(),
                destination: pipeline.destination.name.clone(),
                run_id: run_id.cloned(),
            },
        })
    }

    /// Tells what a run has found: failures that are new or were last told a while ago, and what is well again.
    pub(super) async fn settle(&self, found: &Found) -> Vec<NoticeReport> {
        let before = self.told().await;
        let mut told = before.clone();
        let now = Utc::now();
        let (mut failed, mut recovered) = (Vec::new(), Vec::new());
        for (stream, error) in found {
            let known = told.failures.get(stream).copied();
            if error.is_some() {
                if self.is_due(known, now) {
                    failed.push(about(
                        stream,
                        error.clone(),
                        known.map_or(now, |known| known.since),
                    ));
                }
            } else {
                // A stream that succeeds is not stale either.
                let stale = told.stale.remove(stream);
                let known = told.failures.remove(stream).or(stale);
                recovered.extend(known.map(|known| about(stream, None, known.since)));
            }
        }
        let mut reports = Vec::new();
        if !failed.is_empty() {
            let names = names(&failed);
            if self
                .tell(Occasion::Failure, failed, None, &mut reports)
                .await
            {
                note(&mut told.failures, names, now);
            }
        }
        self.tell_recovered(recovered, (&before, told), &mut reports)
            .await;
        reports
    }

    /// Tells which streams are older than they may be, given when each was last brought up to date, and which are no longer.
    pub(super) async fn settle_ages(
        &self,
        ages: &BTreeMap<StreamName, Option<DateTime<Utc>>>,
        allowed: TimeDelta,
    ) -> Vec<NoticeReport> {
        let before = self.told().await;
        let mut told = before.clone();
        let now = Utc::now();
        let (mut stale, mut recovered) = (Vec::new(), Vec::new());
        for (stream, synced_at) in ages {
            let stream = stream.as_str();
            let known = told.stale.get(stream).copied();
            if synced_at.is_none_or(|synced| now - synced > allowed) {
                if self.is_due(known, now) {
                    let since = known.map_or(now, |known| known.since);
                    stale.push(EventStream {
                        synced_at: *synced_at,
                        ..about(stream, None, since)
                    });
                }
            } else if let Some(known) = told.stale.remove(stream) {
                recovered.push(about(stream, None, known.since));
            }
        }
        let mut reports = Vec::new();
        if !stale.is_empty() {
            let names = names(&stale);
            if self
                .tell(Occasion::Stale, stale, Some(allowed), &mut reports)
                .await
            {
                note(&mut told.stale, names, now);
            }
        }
        self.tell_recovered(recovered, (&before, told), &mut reports)
            .await;
        reports
    }

    /// Tells what is well again, and keeps what was told by then.
    async fn tell_recovered(
        &self,
        recovered: Vec<EventStream>,
        (before, mut told): (&Told, Told),
        reports: &mut Vec<NoticeReport>,
    ) {
        if !recovered.is_empty() {
            let back = recovered.clone();
            let told_so = self.tell(Occasion::Recovery, recovered, None, reports);
            if !told_so.await {
                restore(&mut told, before, &back);
            }
        }
        self.keep(before, &told).await;
    }

    /// Whether what lasts is to be told now.
    fn is_due(&self, known: Option<ToldOnce>, now: DateTime<Utc>) -> bool {
        known.is_none_or(|known| now - known.told_at >= self.settings.remind)
    }

    /// Sends a notice, if such are wanted. Returns whether that is done with: what nobody got is told again.
    async fn tell(
        &self,
        event: Occasion,
        streams: Vec<EventStream>,
        allowed: Option<TimeDelta>,
        reports: &mut Vec<NoticeReport>,
    ) -> bool {
        if !self.settings.on.contains(&event) {
            return true;
        }
        let event = Event::new(event, &self.about, streams, allowed);
        let sent = send::send(&self.settings, &event).await;
        let got = sent.iter().any(|report| report.error.is_none());
        reports.extend(sent);
        got
    }

    async fn told(&self) -> Told {
        let Some(landing) = &self.landing else {
            return Told::default();
        };
        let told = landing.told(&self.about.pipeline, &self.about.destination);
        told.await.unwrap_or_else(|error| {
            tracing::debug!(error = %error.report(), "what was told cannot be read");
            Told::default()
        })
    }

    async fn keep(&self, before: &Told, told: &Told) {
        let Some(landing) = self.landing.as_ref().filter(|_| told != before) else {
            return;
        };
        let About {
            pipeline,
            destination,
            ..
        } = &self.about;
        if let Err(error) = landing.note_told(pipeline, destination, told).await {
            tracing::warn!(
                "what was told is told again, as it cannot be kept: {}",
                error.report()
            );
        }
    }
}

fn about(stream: &str, error: Option<String>, since: DateTime<Utc>) -> EventStream {
    EventStream {
        stream: stream.to_owned(),
        error,
        since,
        synced_at: None,
    }
}

fn names(streams: &[EventStream]) -> Vec<String> {
    streams.iter().map(|found| found.stream.clone()).collect()
}

fn note(told: &mut BTreeMap<String, ToldOnce>, streams: Vec<String>, now: DateTime<Utc>) {
    for stream in streams {
        let once = told.entry(stream).or_insert(ToldOnce {
            since: now,
            told_at: now,
        });
        once.told_at = now;
    }
}

/// Takes back that something is over, as nobody was told so.
fn restore(told: &mut Told, before: &Told, streams: &[EventStream]) {
    for EventStream { stream, .. } in streams {
        for (told, before) in [
            (&mut told.failures, &before.failures),
            (&mut told.stale, &before.stale),
        ] {
            if let Some(once) = before.get(stream) {
                told.insert(stream.clone(), *once);
            }
        }
    }
}

/// Tells that a configuration cannot be run, where it says to whom.
pub async fn notice_of_configuration(document: &Document, error: &Error) {
    let Ok(Some(settings)) = document.notify() else {
        return;
    };
    let (pipeline, destination) = document.names();
    let notices = Notices {
        settings,
        landing: document
            .landing()
            .ok()
            .and_then(|area| Landing::open(&area.root).ok()),
        about: About {
            pipeline,
            destination,
            run_id: None,
        },
    };
    let found = Found::from([(CONFIGURATION.to_owned(), Some(error.report()))]);
    notices.settle(&found).await;
}
