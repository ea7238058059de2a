//! Commands of the configuration, which the system's shell runs.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether a command has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// The most that is read of what a command prints, in bytes.
const LARGEST: u64 = 64 << 10;
/// The most that is told of what a command said on standard error, in characters.
const MOST_SAID: usize = 300;

/// A line for the system's shell, which runs in that folder.
pub(crate) fn command(line: &str, folder: &Path) -> Command {
    let mut command = shell(line);
    // The parent of a file's bare name is an empty path, which is no folder to the system.
    if folder.as_os_str().is_empty() {
        command.current_dir(".");
    } else {
        command.current_dir(folder);
    }
    command
}

#[cfg(not(windows))]
fn shell(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line);
    shell
}

#[cfg(windows)]
fn shell(line: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(line);
    shell
}

/// Reads on a thread of its own, so that neither of two pipes fills.
pub(crate) fn read(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(LARGEST).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits so long for a command to end; one that does not is killed. Blocks.
///
/// # Errors
/// Why there is no status, as the rest of a sentence.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if began.elapsed() < patience => thread::sleep(PAUSE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {} s", patience.as_secs()));
            }
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    }
}

/// The last line that a command said, as much of it as is told.
pub(crate) fn last_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .trim()
        .chars()
        .take(MOST_SAID)
        .collect()
}
