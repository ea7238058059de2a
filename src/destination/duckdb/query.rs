//! Queries that people write: where their names are looked up, and what DuckDB's own parser says of them.

use duckdb::params;
use serde::Deserialize;

use crate::destination::sql::Dialect as _;
use crate::destination::sql::query::{QUERY, relation};
use crate::error::{Error, Result};

use super::dialect::DuckDbSql;
use super::error;
use super::session::Session;

/// Has unqualified names looked up in these schemas, as far as they exist.
pub(super) fn look_in(session: &mut Session, schemas: &[&str]) -> Result<()> {
    let known = session.rows(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = ?",
        params![session.catalog()],
        |row| row.get::<_, String>(0),
    )?;
    let names: Vec<String> = schemas
        .iter()
        .filter(|schema| known.iter().any(|known| known.eq_ignore_ascii_case(schema)))
        .map(|schema| session.schema_of(schema))
        .collect();
    session.looks_elsewhere = true;
    session.batch(&format!(
        "SET search_path = {}",
        DuckDbSql.literal(&names.join(","))
    ))
}

/// Has unqualified names looked up where they are by default, after a transaction that had them looked up elsewhere.
pub(super) fn look_nowhere(session: &mut Session) {
    if std::mem::take(&mut session.looks_elsewhere)
        && let Err(error) = session.connection.execute_batch("RESET search_path")
    {
        tracing::debug!(%error, "the search path stays");
    }
}

/// The rows of a query, each as JSON.
pub(super) fn select_json(session: &Session, query: &str) -> Result<Vec<String>> {
    refuse_all_but_a_select(session, query)?;
    session.rows(
        &format!(
            "SELECT CAST(to_json({QUERY}) AS VARCHAR) FROM {}",
            relation(query)
        ),
        [],
        |row| row.get(0),
    )
}

/// What DuckDB's parser says of a text.
#[derive(Deserialize)]
struct Parsed {
    error: bool,
    error_message: Option<String>,
    statements: Option<Vec<serde::de::IgnoredAny>>,
}

fn refuse_all_but_a_select(session: &Session, query: &str) -> Result<()> {
    // The type of a parameter would not be found.
    let told: String = session
        .connection
        .query_row(
            &format!(
                "SELECT CAST(json_serialize_sql(CAST({} AS VARCHAR)) AS VARCHAR)",
                DuckDbSql.literal(query)
            ),
            [],
            |row| row.get(0),
        )
        .map_err(error::from_duckdb)?;
    let parsed: Parsed = serde_json::from_str(&told)
        .map_err(|_| Error::internal("DuckDB's answer could not be read"))?;
    if parsed.error {
        let message = parsed.error_message.unwrap_or_default();
        return Err(Error::destination("the query cannot be run").cause(message));
    }
    match parsed.statements.as_deref() {
        Some([_]) => Ok(()),
        _ => Err(Error::destination(
            "the query has more than one statement, or none",
        )),
    }
    .map_err(|error| error.remedy("write one SELECT, without a semicolon"))
}
