//! Sail, an engine that speaks Spark Connect, on loopback: it writes the tables of a lake.

use std::fs;

use anyhow::Result;

use super::server::{Launch, Server, Shared};
use super::{Lake, installed};

/// A running engine. It ends when dropped or when this process is gone.
#[derive(Debug)]
pub struct Sail(Server);

impl Sail {
    /// What it calls the lake's catalog.
    pub const CATALOG: &'static str = "lago";

    /// The engine on the shared lake that all tests of this process may share.
    ///
    /// # Errors
    /// As [`Sail::start`], and the same error again for every later caller.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: Shared<Sail> = Shared::new();
        SHARED.get("Sail", Self::start)
    }

    /// Starts an engine that reaches the lake's catalog at a URL, which may be a proxy's, and waits until it listens.
    ///
    /// # Errors
    /// When Sail, which `scripts/setup.sh` installs, is not there, or does not start.
    pub fn start(lake: &Lake, catalog: &str) -> Result<Self> {
        Self::launch(lake, catalog, &[])
    }

    /// Starts one of two workers, which are threads of its process.
    ///
    /// # Errors
    /// As [`Sail::start`].
    pub fn start_cluster(lake: &Lake) -> Result<Self> {
        let cluster = [
            ("SAIL_MODE", "local-cluster"),
            ("SAIL_CLUSTER__WORKER_INITIAL_COUNT", "2"),
            ("SAIL_CLUSTER__WORKER_MAX_COUNT", "2"),
        ];
        Self::launch(lake, &lake.catalog(), &cluster)
    }

    fn launch(lake: &Lake, catalog: &str, more: &[(&'static str, &str)]) -> Result<Self> {
        let tools = installed("SAIL_FOLDER", "sail.txt", "Sail")?;
        let server = Server::start("Sail", |folder, port| {
            let token = folder.join("token");
            fs::write(&token, lake.token()?)?;
            let name = Self::CATALOG;
            let catalogs = format!(
                "[{{name=\"{name}\",type=\"iceberg-rest\",uri=\"{catalog}\",warehouse=\"{}\",bearer_access_token_file=\"{}\"}}]",
                lake.warehouse(),
                token.display()
            );
            let mut variables = lake.env();
            variables.push(("SAIL_CATALOG__DEFAULT_CATALOG", name.to_owned()));
            variables.push(("SAIL_CATALOG__LIST", catalogs));
            variables.extend(
                more.iter()
                    .map(|(name, value)| (*name, (*value).to_owned())),
            );
            let arguments = ["spark", "server", "--ip", "127.0.0.1", "--port"];
            let arguments = arguments.into_iter().map(Into::into);
            Ok(Launch {
                program: tools.join("bin/sail"),
                arguments: arguments.chain([port.to_string().into()]).collect(),
                variables,
            })
        });
        server.map(Self)
    }

    /// Its address, as Spark Connect writes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("sc://127.0.0.1:{}", self.0.port())
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.0.log_tail()
    }
}
