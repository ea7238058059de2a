//! Views of a session, which are what an engine without temporary tables has.

use crate::destination::sql::Dialect as _;
use crate::error::Result;

use super::Remote;
use super::dialect::SparkSql;

/// Views that are dropped with the load.
#[derive(Default)]
pub(super) struct Views(Vec<String>);

impl Views {
    /// Makes a view of a query; its full name. No two views of a session have one name: one that was made before would read the
    /// other.
    pub(super) fn make(&mut self, remote: &mut Remote, name: &str, query: &str) -> Result<String> {
        remote.views += 1;
        let view = SparkSql.identifier(&format!("{name}_{}", remote.views));
        remote.ask(&format!(
            "CREATE OR REPLACE TEMPORARY VIEW {view} AS {query}"
        ))?;
        self.0.push(view.clone());
        Ok(view)
    }

    /// Drops them. A session that cannot be reached drops its own.
    pub(super) fn drop_all(&mut self, remote: &mut Remote) {
        for view in std::mem::take(&mut self.0) {
            if let Err(error) = remote.ask(&format!("DROP VIEW IF EXISTS {view}")) {
                tracing::debug!("a view stays: {error}");
                return;
            }
        }
    }
}
