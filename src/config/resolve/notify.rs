//! Notices.

use chrono::TimeDelta;

use super::address;
use super::problems::{Checked, Problems};
use crate::config::document::Document;
use crate::config::notify::{Notify, Occasion};
use crate::config::{Secret, units};
use crate::error::Result;
use crate::names::StreamName;

/// After how long the same is told again, unless the configuration says otherwise.
const REMIND: TimeDelta = TimeDelta::days(1);

impl Document {
    /// Who is told of what, for a run that cannot be resolved as a whole.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if that is wrong itself.
    pub fn notify(&self) -> Result<Option<Notify>> {
        let mut problems = Problems::default();
        let notify = self.resolve_notify(&mut problems);
        problems.finish(&self.path, notify)
    }

    /// The pipeline's name, and that of its own destination.
    pub fn names(&self) -> (StreamName, String) {
        let pipeline = &self.config.pipeline;
        (pipeline.name.clone(), pipeline.destination.clone())
    }

    /// Who is told of what, if the configuration says.
    pub(super) fn resolve_notify(&self, problems: &mut Problems) -> Checked<Option<Notify>> {
        let Some(config) = &self.config.notify else {
            return Ok(None);
        };
        let webhook = match &config.webhook {
            Some(url) => {
                let insecure = config.insecure_http == Some(true);
                self.webhook(url, insecure, problems).map(Some)
            }
            None => Ok(None),
        };
        let command = match &config.command {
            Some(line) if line.trim().is_empty() => {
                let remedy = "write a command, or leave the key out";
                Err(problems.add("[notify] command", "it is empty", remedy))
            }
            Some(line) => Ok(Some((line.clone(), self.beside("")))),
            None => Ok(None),
        };
        if config.webhook.is_none() && config.command.is_none() {
            let remedy = "add webhook = \"${SLACK_WEBHOOK}\", or a command";
            problems.add("[notify]", "it says nobody who is told", remedy);
        }
        let remind = match &config.remind {
            Some(text) => self.notice_delay(text, problems),
            None => Ok(REMIND),
        };
        let on = config.on.clone();
        Ok(Some(Notify {
            webhook: webhook?.map(|url| (url, config.format)),
            command: command?,
            on: on.unwrap_or_else(|| Occasion::ALL.into_iter().collect()),
            remind: remind?,
        }))
    }

    fn webhook(&self, url: &str, insecure: bool, problems: &mut Problems) -> Checked<Secret> {
        let place = "[notify] webhook";
        let url = self.expand(url, place, problems)?;
        address::check_hook(&url, insecure)
            .map_err(|(what, remedy)| problems.add(place, what, remedy))?;
        Ok(Secret::new(url))
    }

    fn notice_delay(&self, text: &str, problems: &mut Problems) -> Checked<TimeDelta> {
        let place = "[notify] remind";
        let text = self.expand(text, place, problems)?;
        units::duration(&text).ok_or_else(|| {
            let remedy = "write a whole number and a unit, as in \"1d\" or \"4h\"";
            problems.add(place, "this is no duration", remedy)
        })
    }
}
