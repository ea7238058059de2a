//! Sail, an engine that speaks Spark Connect, on loopback: it writes the tables of a lake.

use std::fs;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;

use super::{Lake, START_LIMIT, STOP_LIMIT, TRIES, installed};
use crate::host::{free_port, listens, log_tail, supervise, wait};

/// A running engine. It ends when dropped or when this process is gone.
#[derive(Debug)]
pub struct Sail {
    port: u16,
    server: Child,
    folder: TempDir,
}

impl Sail {
    /// What it calls the lake's catalog.
    pub const CATALOG: &'static str = "lago";

    /// The one engine on the shared lake that all tests of this process may share.
    ///
    /// # Errors
    /// As [`Sail::start`], and the same error again for every later caller.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Sail, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                Lake::shared()
                    .and_then(|lake| Self::start(lake, &lake.catalog()))
                    .map_err(|error| format!("{error:#}"))
            })
            .as_ref()
            .map_err(|error| anyhow!("the shared Sail did not start: {error}"))
    }

    /// Starts an engine that reaches the lake's catalog at a URL, which may be a proxy's, and waits until it listens.
    ///
    /// # Errors
    /// When Sail, which `scripts/setup.sh` installs, is not there, or does not start.
    pub fn start(lake: &Lake, catalog: &str) -> Result<Self> {
        let mut tried = 0;
        loop {
            tried += 1;
            match Self::launch(lake, catalog) {
                // Between finding a port and using it, another process may have taken it.
                Err(error) if tried < TRIES && error.to_string().contains("ddress already") => {}
                launched => return launched,
            }
        }
    }

    fn launch(lake: &Lake, catalog: &str) -> Result<Self> {
        let tools = installed("SAIL_FOLDER", "sail.txt", "Sail")?;
        let folder = tempfile::Builder::new().prefix("sail-").tempdir()?;
        let token = folder.path().join("token");
        fs::write(&token, lake.token()?)?;
        let port = free_port()?;
        let name = Self::CATALOG;
        let catalogs = format!(
            "[{{name=\"{name}\",type=\"iceberg-rest\",uri=\"{catalog}\",warehouse=\"{}\",bearer_access_token_file=\"{}\"}}]",
            lake.warehouse(),
            token.display()
        );
        let mut shell = Command::new("sh");
        shell
            .current_dir(folder.path())
            .envs(lake.env())
            .env("TMPDIR", folder.path())
            // It does not heed SIGQUIT.
            .env("ending", "KILL")
            .env("SAIL_CATALOG__DEFAULT_CATALOG", name)
            .env("SAIL_CATALOG__LIST", catalogs);
        let arguments = ["spark", "server", "--ip", "127.0.0.1", "--port"];
        let arguments = arguments.into_iter().map(Into::into);
        let server = supervise(
            shell,
            folder.path(),
            &folder.path().join("sail.log"),
            &tools.join("bin/sail"),
            &arguments
                .chain([port.to_string().into()])
                .collect::<Vec<_>>(),
        )?;
        let mut sail = Self {
            port,
            server,
            folder,
        };
        sail.wait_until_ready()?;
        Ok(sail)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !listens(self.port) {
            if let Some(status) = self.server.try_wait()? {
                bail!(
                    "Sail ended with {status}; its log ends:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "Sail was not ready after {START_LIMIT:?}; its log ends:\n{}",
                    self.log_tail()
                );
            }
            sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }

    /// Its address, as Spark Connect writes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("sc://127.0.0.1:{}", self.port)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.folder.path().join("sail.log"))
    }

    /// Ends it at once, as a machine that fails does.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> Result<()> {
        drop(self.server.stdin.take());
        wait(&mut self.server, STOP_LIMIT).context("Sail did not end")
    }
}

impl Drop for Sail {
    fn drop(&mut self) {
        if self.kill().is_err() {
            self.server.kill().ok();
            self.server.wait().ok();
        }
    }
}
