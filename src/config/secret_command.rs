//! A secret that a command prints: a token of a cloud's IAM, or what a vault keeps.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::Secret;
use crate::error::{Error, Result};
use crate::shell;

/// How long what the command printed is used for new connections. Tokens for Amazon RDS, which expire soonest, last 15 minutes.
const FRESH: Duration = Duration::from_mins(5);
/// How long the command may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command that prints a secret. It runs when the secret is needed, and again when that may have expired.
#[derive(Clone)]
pub struct SecretCommand(Arc<Inner>);

struct Inner {
    line: String,
    folder: PathBuf,
    /// Its key in the configuration.
    place: String,
    printed: Mutex<Option<(Instant, Secret)>>,
}

impl SecretCommand {
    /// A line for the system's shell, which runs in that folder. `place` is its key in the configuration, for messages.
    pub fn new(line: &str, folder: &Path, place: &str) -> Self {
        Self(Arc::new(Inner {
            line: line.to_owned(),
            folder: folder.to_owned(),
            place: place.to_owned(),
            printed: Mutex::new(None),
        }))
    }

    /// Its key in the configuration.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// The secret: what the command printed within the last five minutes, or prints now. Blocks.
    ///
    /// # Errors
    /// [`Error::Config`] if the command fails, takes longer than a minute, or prints anything but one line.
    pub fn secret(&self) -> Result<Secret> {
        let mut printed = self
            .0
            .printed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((at, secret)) = printed.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(secret.clone());
        }
        let secret = self.run().map_err(|failure| failure.told(&self.0.place))?;
        *printed = Some((Instant::now(), secret.clone()));
        Ok(secret)
    }

    /// As [`secret`](Self::secret), on a thread that may block.
    pub async fn secret_elsewhere(&self) -> Result<Secret> {
        let command = self.clone();
        tokio::task::spawn_blocking(move || command.secret())
            .await
            .map_err(|error| Error::internal("a secret's thread ended").cause(error))?
    }

    /// Has the command run again for the next connection: what it printed was refused.
    pub fn forget(&self, refused: &Secret) {
        let mut printed = self
            .0
            .printed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Another connection may have had it run meanwhile.
        if printed
            .as_ref()
            .is_some_and(|(_, secret)| secret == refused)
        {
            *printed = None;
        }
    }

    fn run(&self) -> Result<Secret, Failure> {
        let mut child = shell::command(&self.0.line, &self.0.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::of("it cannot be started", error.to_string()))?;
        let (stdout, stderr) = (
            shell::read(child.stdout.take()),
            shell::read(child.stderr.take()),
        );
        let status =
            shell::wait(&mut child, PATIENCE).map_err(|what| Failure::of(what, String::new()))?;
        // What it has started in the background may hold its output open.
        let output =
            |read: mpsc::Receiver<Vec<u8>>| read.recv_timeout(PATIENCE).unwrap_or_default();
        if !status.success() {
            return Err(Failure::of(
                format!("it ended with {status}"),
                shell::last_line(&output(stderr)),
            ));
        }
        let text = String::from_utf8(output(stdout))
            .map_err(|_| Failure::of("what it printed is not UTF-8", String::new()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(Failure::of("it printed nothing", String::new()));
        }
        if text.contains(['\r', '\n']) {
            return Err(Failure::of("it printed more than one line", String::new()));
        }
        Ok(Secret::new(text))
    }
}

/// A token: as it is written, or as a command prints it.
#[derive(Debug, Clone)]
pub enum Token {
    /// As it is written.
    Given(Secret),
    /// What the command prints.
    Printed(SecretCommand),
}

impl Token {
    /// The token to show now.
    ///
    /// # Errors
    /// As [`SecretCommand::secret`].
    pub async fn current(&self) -> Result<Secret> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::Printed(command) => command.secret_elsewhere().await,
        }
    }

    /// Notes that a token was refused. Returns whether another may be had.
    pub fn refused(&self, token: &Secret) -> bool {
        match self {
            Self::Given(_) => false,
            Self::Printed(command) => {
                command.forget(token);
                true
            }
        }
    }
}

/// Why there is no secret.
struct Failure {
    what: String,
    /// What the command said of it.
    said: String,
}

impl Failure {
    fn of(what: impl Into<String>, said: String) -> Self {
        Self {
            what: what.into(),
            said,
        }
    }

    fn told(self, place: &str) -> Error {
        let error = Error::config(format!("the command of {place} gave no secret: {}", self.what))
            .remedy("run it in a shell, in the folder of the configuration: it has to print the secret alone, on one line");
        if self.said.is_empty() {
            error
        } else {
            error.cause(self.said)
        }
    }
}

impl fmt::Debug for SecretCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretCommand").field(&self.0.place).finish()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn command(line: &str, folder: &Path) -> SecretCommand {
        SecretCommand::new(line, folder, "[sources.s] password_command")
    }

    #[test]
    fn what_it_prints_is_kept_until_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let command = command(
            "echo >> runs; echo \"a b$(wc -l < runs | tr -d ' ')\"",
            folder.path(),
        );
        let first = command.secret().unwrap();
        assert_eq!(first.reveal(), "a b1");
        assert_eq!(command.secret().unwrap(), first);
        command.forget(&first);
        let second = command.secret().unwrap();
        assert_eq!(second.reveal(), "a b2");
        // Refused late, after another had it renewed.
        command.forget(&first);
        assert_eq!(command.secret().unwrap(), second);
    }

    #[test]
    fn what_gives_no_secret_is_told_and_shows_none() {
        let folder = tempfile::tempdir().unwrap();
        for (line, told) in [
            (
                "echo hush; echo 'Unable to locate credentials' >&2; exit 3",
                "exit status: 3",
            ),
            ("true", "printed nothing"),
            ("printf 'hush\\nhush\\n'", "more than one line"),
            ("printf 'hush\\377'", "not UTF-8"),
            ("no-such-command-anywhere", "exit status: 127"),
        ] {
            let report = command(line, folder.path()).secret().unwrap_err().report();
            assert!(
                report.contains(told)
                    && report.contains("[sources.s] password_command")
                    && !report.contains("hush"),
                "{report}"
            );
        }
        let report = command(
            "echo 'Unable to locate credentials' >&2; exit 3",
            folder.path(),
        );
        let report = report.secret().unwrap_err().report();
        assert!(report.contains("Unable to locate credentials"), "{report}");
        let gone = command("echo x", &folder.path().join("gone"));
        assert!(
            gone.secret()
                .unwrap_err()
                .report()
                .contains("cannot be started")
        );
    }

    #[test]
    fn what_stays_in_the_background_is_not_waited_for_and_much_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let secret = command("sleep 100 >/dev/null 2>&1 & echo x", folder.path())
            .secret()
            .unwrap();
        assert_eq!(secret.reveal(), "x");
        assert!(began.elapsed() < Duration::from_secs(50));
    }
}
