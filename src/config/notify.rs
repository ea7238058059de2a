//! Notices: their keys in `acequia.toml`, and what they resolve to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::units::duration_pattern;

/// Who is told when runs fail, succeed again, or a stream is older than it should be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// The address that a notice is sent to by POST, as in `"${SLACK_WEBHOOK}"`.
    #[serde(default)]
    pub webhook: Option<String>,
    /// What the address is sent: "slack" (default): `{"text": …}`, as Slack's incoming webhooks and what speaks as they do want
    /// it; "json": the whole event.
    #[serde(default)]
    pub format: NoticeFormat,
    /// Whether `webhook` may be plain `http://` to another host than this machine.
    #[serde(default)]
    pub insecure_http: Option<bool>,
    /// A shell command that is run for a notice, with the event as JSON on its standard input.
    #[serde(default)]
    pub command: Option<String>,
    /// What is told: "failure", "recovery", "stale". Default: all.
    #[serde(default)]
    pub on: Option<BTreeSet<Occasion>>,
    /// After how long a failure that lasts, or a stream that is still too old, is told again; "0s" tells it in each run.
    /// Default: "1d".
    #[serde(default)]
    #[schemars(transform = duration_pattern)]
    pub remind: Option<String>,
}

/// What a notice is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// Something failed that did not before.
    Failure,
    /// What was told of is over.
    Recovery,
    /// A stream is older than `acequia status --max-age` allows.
    Stale,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Failure, Self::Recovery, Self::Stale];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Stale => "stale",
        }
    }
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoticeFormat {
    /// `{"text": …}`.
    #[default]
    Slack,
    /// The event.
    Json,
}

/// Who is told of what.
#[derive(Debug, Clone)]
pub struct Notify {
    /// The address that notices are sent to, and what it is sent.
    pub webhook: Option<(Secret, NoticeFormat)>,
    /// The shell command that is run for each, and the folder that it runs in.
    pub command: Option<(String, PathBuf)>,
    /// What is told.
    pub on: BTreeSet<Occasion>,
    /// After how long the same is told again.
    pub remind: TimeDelta,
}
