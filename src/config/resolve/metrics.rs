//! Metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::problems::{Checked, Problems};
use crate::config::document::Document;
use crate::config::metrics::Metrics;

impl Document {
    /// Where metrics are had, if the configuration says.
    pub(super) fn metrics(&self, problems: &mut Problems) -> Checked<Option<Metrics>> {
        let Some(config) = &self.config.metrics else {
            return Ok(None);
        };
        if config.listen.is_none() && config.textfile.is_none() {
            let remedy = "add listen = \"127.0.0.1:9464\", or a textfile";
            problems.add("[metrics]", "it says nowhere", remedy);
        }
        let listen = config.listen.as_deref();
        let listen = listen
            .map(|address| self.listen(address, problems))
            .transpose();
        let textfile = config.textfile.as_deref();
        let textfile = textfile
            .map(|path| self.textfile(path, problems))
            .transpose();
        Ok(Some(Metrics {
            listen: listen?,
            textfile: textfile?,
        }))
    }

    fn listen(&self, address: &str, problems: &mut Problems) -> Checked<SocketAddr> {
        let place = "[metrics] listen";
        let address = self.expand(address, place, problems)?;
        address.parse().map_err(|_| {
            let remedy = "write an IP address and a port, as in \"127.0.0.1:9464\"";
            problems.add(place, "this is no address to listen at", remedy)
        })
    }

    fn textfile(&self, path: &str, problems: &mut Problems) -> Checked<PathBuf> {
        let place = "[metrics] textfile";
        let path = self.expand(path, place, problems)?;
        let path = self.beside(&path);
        if path.extension().is_none_or(|end| end != "prom") {
            let what = "its name does not end in .prom, so that node_exporter would not read it";
            return Err(problems.add(place, what, "name it acequia.prom"));
        }
        Ok(path)
    }
}
