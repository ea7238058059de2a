//! A process that listens on a port of loopback, in a folder of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;

use super::{Lake, START_LIMIT, STOP_LIMIT, TRIES};
use crate::host::{free_port, listens, log_tail, supervise, wait};

/// It ends when dropped or when this process is gone.
#[derive(Debug)]
pub(super) struct Server {
    what: &'static str,
    port: u16,
    child: Child,
    folder: TempDir,
}

/// What is run: a program, its arguments, and what its environment has more.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(&'static str, String)>,
}

impl Server {
    /// Starts what is made for a folder and a port, and waits until it listens.
    pub(super) fn start(
        what: &'static str,
        make: impl Fn(&Path, u16) -> Result<Launch>,
    ) -> Result<Self> {
        let mut tried = 0;
        loop {
            tried += 1;
            match Self::launch(what, &make) {
                // Between finding a port and using it, another process may have taken it.
                Err(error) if tried < TRIES && error.to_string().contains("ddress already") => {}
                launched => return launched,
            }
        }
    }

    fn launch(what: &'static str, make: impl Fn(&Path, u16) -> Result<Launch>) -> Result<Self> {
        let prefix = format!("{}-", what.to_lowercase());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let port = free_port()?;
        let launch = make(folder.path(), port)?;
        let mut shell = Command::new("sh");
        shell
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            // Sail does not heed SIGQUIT, and Java goes on after it.
            .env("ending", "KILL")
            .envs(launch.variables);
        let child = supervise(
            shell,
            folder.path(),
            &log(folder.path()),
            &launch.program,
            &launch.arguments,
        )?;
        let mut server = Self {
            what,
            port,
            child,
            folder,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !listens(self.port) {
            let what = self.what;
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{what} ended with {status}; its log ends:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{what} was not ready after {START_LIMIT:?}; its log ends:\n{}",
                    self.log_tail()
                );
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn log_tail(&self) -> String {
        log_tail(&log(self.folder.path()))
    }

    /// Ends it at once, as a machine that fails does.
    fn kill(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        wait(&mut self.child, STOP_LIMIT).with_context(|| format!("{} did not end", self.what))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.kill().is_err() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// How long an engine is shared: its token of the catalog is good for [an hour](Lake::token), and a test that was given the engine
/// goes on with it.
const SHARED_FOR: Duration = Duration::from_mins(40);

/// An engine on the shared lake that all tests of this process share, until its token is about to run out: then they share another.
pub(super) struct Shared<T: 'static>(Mutex<Option<(Instant, Result<&'static T, String>)>>);

impl<T> Shared<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The engine, which ends with this process, or why the last one did not start.
    pub(super) fn get(
        &self,
        what: &str,
        start: impl FnOnce(&Lake, &str) -> Result<T>,
    ) -> Result<&'static T> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = shared.take_if(|(since, _)| since.elapsed() < SHARED_FOR);
        let (since, engine) = fresh.unwrap_or_else(|| {
            let started = Lake::shared().and_then(|lake| start(lake, &lake.catalog()));
            let engine = started.map(|engine| &*Box::leak(Box::new(engine)));
            (Instant::now(), engine.map_err(|error| format!("{error:#}")))
        });
        let (_, engine) = shared.insert((since, engine));
        engine
            .clone()
            .map_err(|error| anyhow!("the shared {what} did not start: {error}"))
    }
}

fn log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}
