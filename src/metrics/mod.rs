//! Metrics for Prometheus: [`exposition`] writes them in its text format, [`textfile`] leaves them in a file for `node_exporter`,
//! [`endpoint`] answers who asks for them. What is measured, the pipeline says.

pub(crate) mod endpoint;
pub(crate) mod exposition;
pub(crate) mod textfile;
