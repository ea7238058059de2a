//! `OpenLineage`: its keys in `acequia.toml`, and what they resolve to.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;

/// Where events of `OpenLineage` go, which tell what each run read and wrote.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenLineageConfig {
    /// The address of a service that takes events, as in `https://lineage.example`.
    #[serde(default)]
    pub url: Option<String>,
    /// The path below it that events are sent to by POST. Default: "api/v1/lineage".
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The key that the service is shown, as in `"${OPENLINEAGE_API_KEY}"`.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Whether a key may be shown to `url` where that is plain `http://` to another host than this machine.
    #[serde(default)]
    pub insecure_http: Option<bool>,
    /// A file that events are added to, one a line, relative to the configuration file.
    #[serde(default)]
    pub file: Option<String>,
    /// The namespace of the jobs. Default: "default".
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Where events of `OpenLineage` go.
#[derive(Debug, Clone)]
pub struct OpenLineage {
    /// The address that they are sent to. It may be a secret as a whole.
    pub address: Option<Secret>,
    /// The key that is shown there.
    pub api_key: Option<Secret>,
    /// The file that they are added to, an absolute path.
    pub file: Option<PathBuf>,
    /// The namespace of the jobs.
    pub namespace: String,
    /// The run that a run of the pipeline is a part of: an orchestrator's task.
    pub parent: Option<RunOf>,
    /// The run that all began with.
    pub root: Option<RunOf>,
}

/// A run of a job, as `OpenLineage` names such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOf {
    /// The job's namespace.
    pub namespace: String,
    /// The job.
    pub job: String,
    /// The run's id.
    pub id: uuid::Uuid,
}

impl RunOf {
    /// Reads `namespace/job/id`, as the clients of `OpenLineage` hand it on.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (job, id) = text.rsplit_once('/')?;
        let (namespace, job) = job.rsplit_once('/')?;
        if namespace.is_empty() || job.is_empty() {
            return None;
        }
        Some(Self {
            namespace: namespace.to_owned(),
            job: job.to_owned(),
            id: id.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_namespace_job_and_id() {
        let id = "01993b5c-5f0e-7d3a-8d3e-3e6d4f2c1b0a";
        assert_eq!(
            RunOf::parse(&format!("prod://airflow/dag.task/{id}")),
            Some(RunOf {
                namespace: "prod://airflow".to_owned(),
                job: "dag.task".to_owned(),
                id: id.parse().unwrap(),
            })
        );
        for other in [
            "",
            id,
            "//",
            "a/b/c",
            &format!("/b/{id}"),
            &format!("a//{id}"),
        ] {
            assert_eq!(RunOf::parse(other), None, "{other}");
        }
    }
}
