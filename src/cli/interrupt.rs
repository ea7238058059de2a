//! Ctrl-C, and SIGTERM: the first asks the run to stop cleanly, the second ends the process.

use acequia::{Error, Result};
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::printer::Notices;

/// Listens until the process ends. To be called within the runtime.
pub(crate) fn listen(notices: Notices) -> Result<CancellationToken> {
    let mut signals =
        Signals::new().map_err(|error| Error::internal("cannot listen to Ctrl-C").cause(error))?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        signals.next().await;
        cancel.cancel();
        notices.say("stopping cleanly; press Ctrl-C again to stop at once");
        signals.next().await;
        notices.say("stopped at once; nothing is lost, and the next run takes it up");
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(token)
}

/// What asks to stop. One that lives on, so that no signal falls between two waits.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What asks to stop. One that lives on, so that no signal falls between two waits.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}
