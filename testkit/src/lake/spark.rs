//! Spark with Iceberg, behind Spark Connect, on loopback: it writes branches of a lake's tables.
//!
//! Spark 3.5 has the service in a jar that no registry of Python packages brings, so `spark.py` is that service here, in front of
//! a real Spark.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;

use super::{Lake, START_LIMIT, STOP_LIMIT, TRIES, installed};
use crate::host::{free_port, listens, log_tail, supervise, wait};

const SERVICE: &str = include_str!("spark.py");
const TOKEN: &str = "secreto-de-spark";

/// A running engine. It ends when dropped or when this process is gone.
#[derive(Debug)]
pub struct Spark {
    port: u16,
    server: Child,
    folder: TempDir,
}

impl Spark {
    /// What it calls the lake's catalog.
    pub const CATALOG: &'static str = "lago";

    /// The one engine on the shared lake that all tests of this process may share.
    ///
    /// # Errors
    /// As [`Spark::start`], and the same error again for every later caller.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Spark, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                Lake::shared()
                    .and_then(|lake| Self::start(lake, &lake.catalog()))
                    .map_err(|error| format!("{error:#}"))
            })
            .as_ref()
            .map_err(|error| anyhow!("the shared Spark did not start: {error}"))
    }

    /// Starts an engine that reaches the lake's catalog at a URL, which may be a proxy's, and waits until it listens.
    ///
    /// # Errors
    /// When Spark, which `scripts/setup.sh` installs, is not there, or does not start.
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
        let tools = installed("SPARK_FOLDER", "spark.txt", "Spark")?;
        let folder = tempfile::Builder::new().prefix("spark-").tempdir()?;
        let token = folder.path().join("token");
        fs::write(&token, lake.token()?)?;
        let service = folder.path().join("service.py");
        fs::write(&service, SERVICE)?;
        let port = free_port()?;
        let mut shell = Command::new("sh");
        shell
            .current_dir(folder.path())
            .envs(lake.env())
            .env("TMPDIR", folder.path())
            // Java writes what its threads do where it is told to quit.
            .env("ending", "KILL");
        let mut arguments = vec![
            service.into_os_string(),
            port.to_string().into(),
            TOKEN.into(),
            Self::CATALOG.into(),
            catalog.into(),
            lake.warehouse().into(),
            token.into_os_string(),
            lake.endpoint().into(),
            folder.path().into(),
        ];
        arguments.extend(jars(&tools)?.into_iter().map(PathBuf::into_os_string));
        let server = supervise(
            shell,
            folder.path(),
            &folder.path().join("spark.log"),
            &tools.join("bin/python"),
            &arguments,
        )?;
        let mut spark = Self {
            port,
            server,
            folder,
        };
        spark.wait_until_ready()?;
        Ok(spark)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !listens(self.port) {
            if let Some(status) = self.server.try_wait()? {
                bail!(
                    "Spark ended with {status}; its log ends:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "Spark was not ready after {START_LIMIT:?}; its log ends:\n{}",
                    self.log_tail()
                );
            }
            sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }

    /// Its address, as Spark Connect writes it, with the token that it wants.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_with(TOKEN)
    }

    /// Its address with another token.
    #[must_use]
    pub fn url_with(&self, token: &str) -> String {
        format!("sc://127.0.0.1:{}/;token={token}", self.port)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log_tail(&self.folder.path().join("spark.log"))
    }

    /// Ends it at once, as a machine that fails does.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> Result<()> {
        drop(self.server.stdin.take());
        wait(&mut self.server, STOP_LIMIT).context("Spark did not end")
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        if self.kill().is_err() {
            self.server.kill().ok();
            self.server.wait().ok();
        }
    }
}

/// Iceberg, and what reaches object storage.
fn jars(tools: &std::path::Path) -> Result<Vec<PathBuf>> {
    let mut jars = Vec::new();
    for entry in fs::read_dir(tools.join("jars"))? {
        jars.push(entry?.path());
    }
    Ok(jars)
}
