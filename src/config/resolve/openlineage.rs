//! `OpenLineage`.

use std::path::PathBuf;

use url::Url;

use super::address;
use super::problems::{Checked, Problems};
use crate::config::Secret;
use crate::config::document::Document;
use crate::config::openlineage::{OpenLineage, OpenLineageConfig, RunOf};

/// The path that events are sent to, unless the configuration says otherwise.
const ENDPOINT: &str = "api/v1/lineage";
/// The namespace of jobs, likewise.
const NAMESPACE: &str = "default";

impl Document {
    /// Where events of `OpenLineage` go: as the configuration says or, if it says nothing, as the usual variables do.
    pub(super) fn openlineage(&self, problems: &mut Problems) -> Checked<Option<OpenLineage>> {
        if self
            .lineage_variable("DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            // Problems of the configuration are told all the same.
            return self.configured_lineage(problems).map(|_| None);
        }
        match self.configured_lineage(problems)? {
            Some(configured) => Ok(Some(configured)),
            None => Ok(self.lineage_of_environment()),
        }
    }

    fn configured_lineage(&self, problems: &mut Problems) -> Checked<Option<OpenLineage>> {
        let Some(config) = &self.config.openlineage else {
            return Ok(None);
        };
        if config.url.is_none() && config.file.is_none() {
            let remedy = "add url = \"https://…\", or a file";
            problems.add("[openlineage]", "it says nowhere", remedy);
        }
        let place = "[openlineage] api_key";
        let api_key = config.api_key.as_deref();
        let api_key = api_key
            .map(|key| self.expand(key, place, problems))
            .transpose();
        let address = self.lineage_address(config, problems);
        let file = config.file.as_deref();
        let file = file
            .map(|path| self.lineage_file(path, problems))
            .transpose();
        let place = "[openlineage] namespace";
        let namespace = match &config.namespace {
            Some(name) => self.expand(name, place, problems),
            None => Ok(self.lineage_namespace()),
        };
        Ok(Some(OpenLineage {
            address: address?,
            api_key: api_key?.map(Secret::new),
            file: file?,
            namespace: namespace?,
            parent: self.lineage_run("PARENT_ID"),
            root: self.lineage_run("ROOT_PARENT_ID"),
        }))
    }

    fn lineage_address(
        &self,
        config: &OpenLineageConfig,
        problems: &mut Problems,
    ) -> Checked<Option<Secret>> {
        let place = "[openlineage] url";
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let url = self.expand(url, place, problems)?;
        let endpoint = config.endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = self.expand(endpoint, "[openlineage] endpoint", problems)?;
        // Events have names in them, and no secrets: in clear they may travel where no key does.
        let insecure = config.insecure_http == Some(true) || config.api_key.is_none();
        address::check_hook(&url, insecure)
            .map_err(|(what, remedy)| problems.add(place, what, remedy))?;
        Ok(Some(joined(&url, &endpoint)))
    }

    fn lineage_file(&self, path: &str, problems: &mut Problems) -> Checked<PathBuf> {
        let path = self.expand(path, "[openlineage] file", problems)?;
        Ok(self.beside(&path))
    }

    /// What the clients of `OpenLineage` read of the environment. What is wrong in it is told, and fails nothing: it was written for
    /// others, too.
    fn lineage_of_environment(&self) -> Option<OpenLineage> {
        let url = self.lineage_variable("URL")?;
        if !Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "https" | "http")) {
            tracing::warn!("OPENLINEAGE_URL is no address: no events are sent. Write https://…");
            return None;
        }
        let endpoint = self.lineage_variable("ENDPOINT");
        Some(OpenLineage {
            address: Some(joined(&url, endpoint.as_deref().unwrap_or(ENDPOINT))),
            api_key: self.lineage_variable("API_KEY").map(Secret::new),
            file: None,
            namespace: self.lineage_namespace(),
            parent: self.lineage_run("PARENT_ID"),
            root: self.lineage_run("ROOT_PARENT_ID"),
        })
    }

    fn lineage_namespace(&self) -> String {
        let name = self.lineage_variable("NAMESPACE");
        name.unwrap_or_else(|| NAMESPACE.to_owned())
    }

    fn lineage_run(&self, name: &str) -> Option<RunOf> {
        let text = self.lineage_variable(name)?;
        let run = RunOf::parse(&text);
        if run.is_none() {
            tracing::warn!(
                "OPENLINEAGE_{name} is not of the form namespace/job/run: it is ignored"
            );
        }
        run
    }

    /// The variable `OPENLINEAGE_…`, if it is set.
    fn lineage_variable(&self, name: &str) -> Option<String> {
        let value = self.environment.get(&format!("OPENLINEAGE_{name}"));
        value.ok().filter(|value| !value.trim().is_empty())
    }
}

fn joined(url: &str, endpoint: &str) -> Secret {
    let (url, endpoint) = (url.trim_end_matches('/'), endpoint.trim_start_matches('/'));
    Secret::new(format!("{url}/{endpoint}"))
}
