//! Sending a notice, to a webhook and to a command. What cannot be sent is told, and hinders nothing.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::event::{Event, slack};
use crate::config::{NoticeFormat, Notify, Occasion, Secret};
use crate::error::{Error, Result};
use crate::http;
use crate::shell;

/// How long a webhook may take to be reached and to answer, and a command to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoticeReport {
    /// What it was about.
    pub event: Occasion,
    /// `webhook` or `command`.
    pub to: &'static str,
    /// Why it could not be sent.
    pub error: Option<String>,
}

/// Sends a notice to all who are told.
pub(crate) async fn send(notify: &Notify, event: &Event) -> Vec<NoticeReport> {
    let mut reports = Vec::new();
    let mut note = |to: &'static str, sent: Result<()>| {
        let error = sent.err().map(|error| error.report());
        if let Some(error) = &error {
            tracing::warn!("a notice could not be sent: {error}");
        }
        reports.push(NoticeReport {
            event: event.event,
            to,
            error,
        });
    };
    if let Some((url, format)) = &notify.webhook {
        note("webhook", post(url, *format, event).await);
    }
    if let Some((line, folder)) = &notify.command {
        let (line, folder, event) = (line.clone(), folder.clone(), event.clone());
        let ran = tokio::task::spawn_blocking(move || run(&line, &folder, &event)).await;
        let ran = ran.map_err(|error| Error::internal("a notice's thread ended").cause(error));
        note("command", ran.and_then(|ran| ran));
    }
    reports
}

async fn post(url: &Secret, format: NoticeFormat, event: &Event) -> Result<()> {
    // The address itself is a secret.
    let failed = |error: reqwest::Error| {
        Error::config("[notify] webhook: the address cannot be reached")
            .cause(error.without_url())
            .remedy(
                "see whether the address is right, and whether this machine may reach it: a proxy or a firewall may stand between",
            )
    };
    let body = match format {
        NoticeFormat::Slack => json!({"text": slack(&event.text)}),
        NoticeFormat::Json => json!(event),
    };
    let request = http::client(PATIENCE, PATIENCE)?
        .post(url.reveal())
        .timeout(PATIENCE)
        .json(&body);
    let status = request.send().await.map_err(failed)?.status();
    if !status.is_success() {
        return Err(
            Error::config(format!("[notify] webhook: it was answered with {status}")).remedy(
                "see whether the address is still right, and whether it takes that `format`",
            ),
        );
    }
    Ok(())
}

fn run(line: &str, folder: &std::path::Path, event: &Event) -> Result<()> {
    let failed = |what: &str| {
        Error::config(format!("[notify] command: {what}"))
            .remedy("run it in a shell, in the folder of the configuration, with an event on its standard input")
    };
    let mut bytes = serde_json::to_vec(event)
        .map_err(|error| Error::internal("a notice cannot be written").cause(error))?;
    bytes.push(b'\n');
    let mut child = shell::command(line, folder)
        .envs(event.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed("it cannot be started").cause(error))?;
    // What does not read it, or does so slowly, is no failure.
    let stdin = child.stdin.take();
    std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&bytes)));
    let said = shell::read(child.stderr.take());
    let status = shell::wait(&mut child, PATIENCE).map_err(|what| failed(&what))?;
    if status.success() {
        return Ok(());
    }
    let said = shell::last_line(&said.recv_timeout(PATIENCE).unwrap_or_default());
    let error = failed(&format!("it ended with {status}"));
    Err(if said.is_empty() {
        error
    } else {
        error.cause(said)
    })
}
