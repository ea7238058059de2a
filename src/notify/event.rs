//! What a notice says. It holds what reports hold of failures: no secret and no cell value. No I/O.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use crate::config::Occasion;
use crate::names::{RunId, StreamName};
use crate::runs::by_cause;
use crate::size::age;

/// The most characters that the text of a notice has, about.
const MOST_OF_TEXT: usize = 3_000;

/// A notice, as a command is given it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// What it is about.
    pub event: Occasion,
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// The run that found it. `None` if no run did.
    pub run_id: Option<RunId>,
    /// When it was found.
    pub at: DateTime<Utc>,
    /// What it is about.
    pub streams: Vec<EventStream>,
    /// All of it, for people.
    pub text: String,
}

/// A stream that a notice is about; or the models, or the report page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventStream {
    /// The stream.
    pub stream: String,
    /// A failure: the error, with its causes and the remedy.
    pub error: Option<String>,
    /// Since when it is so; of a recovery, since when it was.
    pub since: DateTime<Utc>,
    /// A stale stream: when it was last brought up to date. `None` if it never was.
    pub synced_at: Option<DateTime<Utc>>,
}

/// A pipeline and its destination.
#[derive(Debug, Clone)]
pub struct About {
    /// The pipeline.
    pub pipeline: StreamName,
    /// The destination's name.
    pub destination: String,
    /// The run that finds what is told.
    pub run_id: Option<RunId>,
}

impl Event {
    /// A notice that is found now. `allowed` is how old a stream may be.
    pub fn new(
        event: Occasion,
        about: &About,
        streams: Vec<EventStream>,
        allowed: Option<TimeDelta>,
    ) -> Self {
        let at = Utc::now();
        let mut text = format!("acequia: {} into {}", about.pipeline, about.destination);
        let names: Vec<&str> = streams.iter().map(|found| found.stream.as_str()).collect();
        let names = names.join(", ");
        // Writing to a String does not fail.
        let _ = match event {
            Occasion::Failure => {
                let failed = streams.iter();
                let failed = by_cause(failed.map(|found| {
                    let error = found.error.as_deref().unwrap_or_default();
                    (found.stream.as_str(), error)
                }));
                let told: Vec<String> = failed.iter().map(ToString::to_string).collect();
                write!(text, " failed\n{}", told.join("\n"))
            }
            Occasion::Recovery => {
                let since = streams.iter().map(|found| found.since).min();
                let lasted = since.map_or(TimeDelta::zero(), |since| at - since);
                write!(text, " is well again: {names}, after {}", age(lasted))
            }
            Occasion::Stale => {
                let allowed =
                    allowed.map_or_else(String::new, |allowed| format!(" than {}", age(allowed)));
                let old = streams.iter().map(|found| match found.synced_at {
                    Some(synced) => format!("{}: {} ago", found.stream, age(at - synced)),
                    None => format!("{}: never", found.stream),
                });
                let old: Vec<String> = old.collect();
                write!(
                    text,
                    " is older{allowed}. Last brought up to date:\n{}",
                    old.join("\n")
                )
            }
        };
        if text.chars().count() > MOST_OF_TEXT {
            text = text.chars().take(MOST_OF_TEXT).chain(['…']).collect();
        }
        Self {
            event,
            pipeline: about.pipeline.clone(),
            destination: about.destination.clone(),
            run_id: about.run_id.clone(),
            at,
            streams,
            text,
        }
    }

    /// The variables that a command has in its environment.
    pub(super) fn variables(&self) -> [(&'static str, String); 6] {
        let streams: Vec<&str> = self
            .streams
            .iter()
            .map(|found| found.stream.as_str())
            .collect();
        let run_id = self.run_id.as_ref();
        [
            ("ACEQUIA_EVENT", self.event.as_str().to_owned()),
            ("ACEQUIA_PIPELINE", self.pipeline.to_string()),
            ("ACEQUIA_DESTINATION", self.destination.clone()),
            (
                "ACEQUIA_RUN_ID",
                run_id.map_or_else(String::new, ToString::to_string),
            ),
            ("ACEQUIA_STREAMS", streams.join(",")),
            (
                "ACEQUIA_AT",
                self.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            ),
        ]
    }
}

/// A text as Slack's markup shows it unchanged.
pub(super) fn slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            pipeline: "formacion".parse().unwrap(),
            destination: "duckdb".to_owned(),
            run_id: None,
        }
    }

    fn stream(name: &str, error: Option<&str>) -> EventStream {
        EventStream {
            stream: name.to_owned(),
            error: error.map(str::to_owned),
            since: Utc::now() - TimeDelta::hours(3),
            synced_at: None,
        }
    }

    #[test]
    fn a_notice_says_what_happened_in_a_few_lines() {
        let failed = vec![
            stream(
                "a",
                Some("stream a: the server is away\n  remedy: start it"),
            ),
            stream(
                "b",
                Some("stream b: the server is away\n  remedy: start it"),
            ),
            stream("(models)", Some("test x: 2 rows should not be there")),
        ];
        assert_eq!(
            Event::new(Occasion::Failure, &about(), failed, None).text,
            "acequia: formacion into duckdb failed\nstreams a, b: the server is away\n  remedy: start it\nthe models: test x: 2 \
             rows should not be there"
        );
        let well = vec![stream("a", None), stream("b", None)];
        assert_eq!(
            Event::new(Occasion::Recovery, &about(), well.clone(), None).text,
            "acequia: formacion into duckdb is well again: a, b, after 3 h"
        );
        let mut old = well;
        old[0].synced_at = Some(Utc::now() - TimeDelta::hours(7));
        assert_eq!(
            Event::new(Occasion::Stale, &about(), old, Some(TimeDelta::hours(6))).text,
            "acequia: formacion into duckdb is older than 6 h. Last brought up to date:\na: 7 h ago\nb: never"
        );
    }

    #[test]
    fn a_long_error_is_cut() {
        let long = "ñ".repeat(100_000);
        let event = Event::new(
            Occasion::Failure,
            &about(),
            vec![stream("a", Some(&long))],
            None,
        );
        assert_eq!(event.text.chars().count(), MOST_OF_TEXT + 1);
    }

    #[test]
    fn slack_takes_nothing_for_its_markup() {
        assert_eq!(
            slack("<!channel> & <a>"),
            "&lt;!channel&gt; &amp; &lt;a&gt;"
        );
    }
}
