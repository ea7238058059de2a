//! What a chart or a table shows: a query, or a model's rows. No I/O.

use serde::Serialize;

/// Where the rows of a chart or a table come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Query {
    /// A query.
    Sql(String),
    /// All rows of a model, or of a stream's table.
    Model(String),
}

impl Query {
    /// The query, in SQL.
    pub(crate) fn sql(&self) -> String {
        match self {
            Self::Sql(sql) => sql.clone(),
            Self::Model(name) => format!("SELECT * FROM \"{}\"", name.replace('"', "\"\"")),
        }
    }
}

/// A query without what may stand behind it: spaces and semicolons.
pub(crate) fn bare(sql: &str) -> &str {
    sql.trim_end_matches(|c: char| c.is_whitespace() || c == ';')
        .trim_start()
}
