//! Metrics: their keys in `acequia.toml`, and what they resolve to.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// Metrics for Prometheus.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// The address at which `run --follow` answers `GET /metrics`, as in "127.0.0.1:9464".
    #[serde(default)]
    pub listen: Option<String>,
    /// The file that each run writes for `node_exporter`'s textfile collector, relative to the configuration file; its name ends in
    /// `.prom`.
    #[serde(default)]
    pub textfile: Option<String>,
}

/// Where metrics are had.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The address at which a run that follows answers.
    pub listen: Option<SocketAddr>,
    /// The file that each run writes, an absolute path.
    pub textfile: Option<PathBuf>,
}
