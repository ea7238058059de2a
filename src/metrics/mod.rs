//! Metrics: [`definitions`] has each once, [`samples`] their values, and [`meters`] what a run says now. [`exposition`] writes
//! them in Prometheus' text format, [`textfile`] leaves them in a file for `node_exporter`, [`endpoint`] answers who asks for
//! them. What is measured, the pipeline says.

pub(crate) mod definitions;
pub(crate) mod endpoint;
mod exposition;
mod meters;
mod samples;
pub(crate) mod textfile;

pub use definitions::ALL;
pub use meters::Meters;
pub use samples::{Kind, Labels, Metric, Samples};
