//! Spark with Iceberg, behind Spark Connect, on loopback: it writes branches of a lake's tables.
//!
//! Spark 3.5 has the service in a jar that no registry of Python packages brings, so `spark.py` is that service here, in front of
//! a real Spark.

use std::ffi::OsString;
use std::fs;

use anyhow::Result;

use super::server::{Launch, Server, Shared};
use super::{Lake, installed};

const SERVICE: &str = include_str!("spark.py");
const TOKEN: &str = "secreto-de-spark";

/// A running engine. It ends when dropped or when this process is gone.
#[derive(Debug)]
pub struct Spark(Server);

impl Spark {
    /// What it calls the lake's catalog.
    pub const CATALOG: &'static str = "lago";

    /// The engine on the shared lake that all tests of this process may share.
    ///
    /// # Errors
    /// As [`Spark::start`], and the same error again for every later caller.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: Shared<Spark> = Shared::new();
        SHARED.get("Spark", Self::start)
    }

    /// Starts an engine that reaches the lake's catalog at a URL, which may be a proxy's, and waits until it listens.
    ///
    /// # Errors
    /// When Spark, which `scripts/setup.sh` installs, is not there, or does not start.
    pub fn start(lake: &Lake, catalog: &str) -> Result<Self> {
        Self::launch(lake, catalog, None)
    }

    /// Starts one of two workers, which are processes of a core and 2 GiB each.
    ///
    /// # Errors
    /// As [`Spark::start`].
    pub fn start_cluster(lake: &Lake) -> Result<Self> {
        Self::launch(lake, &lake.catalog(), Some("local-cluster[2,1,2048]"))
    }

    fn launch(lake: &Lake, catalog: &str, master: Option<&str>) -> Result<Self> {
        let tools = installed("SPARK_FOLDER", "spark.txt", "Spark")?;
        let server = Server::start("Spark", |folder, port| {
            let token = folder.join("token");
            fs::write(&token, lake.token()?)?;
            let service = folder.join("service.py");
            fs::write(&service, SERVICE)?;
            let mut arguments: Vec<OsString> = vec![
                service.into(),
                port.to_string().into(),
                TOKEN.into(),
                Self::CATALOG.into(),
                catalog.into(),
                lake.warehouse().into(),
                token.into(),
                lake.endpoint().into(),
                folder.into(),
            ];
            // Iceberg, and what reaches object storage.
            for jar in fs::read_dir(tools.join("jars"))? {
                arguments.push(jar?.path().into());
            }
            let mut variables = lake.env();
            variables.extend(master.map(|master| ("SPARK_MASTER", master.to_owned())));
            Ok(Launch {
                program: tools.join("bin/python"),
                arguments,
                variables,
            })
        });
        server.map(Self)
    }

    /// Its address, as Spark Connect writes it, with the token that it wants.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_with(TOKEN)
    }

    /// Its address with another token.
    #[must_use]
    pub fn url_with(&self, token: &str) -> String {
        format!("sc://127.0.0.1:{}/;token={token}", self.0.port())
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.0.log_tail()
    }
}
