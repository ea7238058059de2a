//! Views of a session, which are what an engine without temporary tables has.

use crate::destination::sql::Dialect as _;
use crate::error::Result;
use crate::schema::ColumnType;

use super::dialect::{SparkSql, part_type};
use super::{Remote, Way};

/// Views that are dropped with the load.
#[derive(Default)]
pub(super) struct Views(Vec<String>);

impl Views {
    /// Makes a view of a query; its full name. No two views of a session have one name: one that was made before would read the
    /// other.
    pub(super) fn make(&mut self, remote: &mut Remote, name: &str, query: &str) -> Result<String> {
        self.add(
            remote,
            "CREATE OR REPLACE TEMPORARY VIEW",
            name,
            &format!(" AS {query}"),
        )
    }

    /// Makes a view of a query whose result is read more than once: an engine that can keeps it, and another computes it at each
    /// use.
    pub(super) fn keep(&mut self, remote: &mut Remote, name: &str, query: &str) -> Result<String> {
        match remote.way {
            Way::Branch => self.add(remote, "CACHE TABLE", name, &format!(" AS {query}")),
            Way::Direct => self.make(remote, name, query),
        }
    }

    /// Makes a view of a Parquet file that has columns of these names and types, or lacks them; its full name.
    pub(super) fn of_file(
        &mut self,
        remote: &mut Remote,
        url: &str,
        columns: &[(&str, &ColumnType)],
    ) -> Result<String> {
        let columns: Vec<String> = columns
            .iter()
            .map(|(name, of)| format!("{} {}", SparkSql.identifier(name), part_type(of)))
            .collect();
        let of = format!(
            " ({}) USING parquet OPTIONS (path {})",
            columns.join(", "),
            SparkSql.literal(url)
        );
        self.add(
            remote,
            "CREATE OR REPLACE TEMPORARY VIEW",
            "_acequia_part",
            &of,
        )
    }

    fn add(&mut self, remote: &mut Remote, make: &str, name: &str, of: &str) -> Result<String> {
        remote.views += 1;
        let view = SparkSql.identifier(&format!("{name}_{}", remote.views));
        remote.ask(&format!("{make} {view}{of}"))?;
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
