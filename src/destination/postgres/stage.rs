//! A load's rows in a temporary table, from where SQL takes them.
//!
//! Temporary rather than unlogged: neither is written to the write-ahead log, but a temporary table is nobody else's to
//! see, no autovacuum comes to it, and it is gone with the transaction whichever way that ends.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::copy::copy;
use super::session::Session;
use super::sql::{identifier, type_name};

const NAME: &str = "_acequia_stage";

/// The rows of a load that is to be merged or added.
#[derive(Debug)]
pub(super) struct Stage {
    /// The load's columns, with the types that the table has for them.
    pub(super) columns: Vec<Column>,
    /// The temporary table, in SQL.
    pub(super) sql: &'static str,
}

impl Stage {
    /// Makes the temporary table and fills it.
    pub(super) fn fill(
        session: &mut Session,
        manifest: &Manifest,
        columns: Vec<Column>,
        files: &[PathBuf],
    ) -> Result<Self> {
        let defined: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {}", identifier(&column.name), type_name(column)))
            .collect();
        session.batch(&format!(
            "CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP",
            identifier(NAME),
            defined.join(", ")
        ))?;
        let sql = "pg_temp.\"_acequia_stage\"";
        let rows = copy(session, sql, &columns, None, files)?;
        check_rows(rows, manifest)?;
        // Nobody else tells the planner how many rows there are.
        session.batch(&format!("ANALYZE {sql}"))?;
        Ok(Self { columns, sql })
    }
}

/// The parts hold what the manifest says.
pub(super) fn check_rows(rows: u64, manifest: &Manifest) -> Result<()> {
    if rows == manifest.rows {
        return Ok(());
    }
    Err(Error::internal(format!(
        "the parts hold {rows} rows, and the manifest says {}",
        manifest.rows
    )))
}
