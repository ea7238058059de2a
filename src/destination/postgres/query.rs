//! Queries that people write: where their names are looked up, and their rows.

use crate::destination::sql::Dialect as _;
use crate::destination::sql::query::{QUERY, relation};
use crate::error::Result;

use super::dialect::PostgresSql;
use super::session::{Session, value};

/// Has unqualified names looked up in these schemas, until the transaction ends. The server passes over those that do not
/// exist.
pub(super) fn look_in(session: &mut Session, schemas: &[&str]) -> Result<()> {
    let names: Vec<String> = schemas
        .iter()
        .map(|schema| PostgresSql.identifier(schema))
        .collect();
    session.batch(&format!("SET LOCAL search_path = {}", names.join(", ")))
}

/// The rows of a query, each as JSON. The transaction can no longer write from here on, and a prepared statement is one
/// statement alone (manual, section 53.2.3).
pub(super) fn select_json(session: &mut Session, query: &str) -> Result<Vec<String>> {
    session.batch("SET TRANSACTION READ ONLY")?;
    let rows = session.rows(
        &format!(
            "SELECT pg_catalog.row_to_json({QUERY})::text FROM {}",
            relation(query)
        ),
        &[],
    )?;
    rows.iter().map(|row| value(row, 0)).collect()
}
