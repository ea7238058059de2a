//! Comments on a table or view and its columns, which go when another takes its place.

use std::collections::BTreeSet;

use duckdb::params;

use crate::destination::sql::Dialect as _;
use crate::destination::sql::given::Comment;
use crate::error::Result;

use super::dialect::DuckDbSql;
use super::session::Session;

/// The comments on a table or view. None if there is no such relation.
pub(super) fn of(session: &Session, schema: &str, name: &str) -> Result<BTreeSet<Comment>> {
    let found = session.rows(
        "SELECT x.schema, x.relation, x.col, x.comment FROM (\
         SELECT database_name AS catalog, schema_name AS schema, table_name AS relation, NULL AS col, comment FROM duckdb_tables() \
         UNION ALL SELECT database_name, schema_name, view_name, NULL, comment FROM duckdb_views() \
         UNION ALL SELECT database_name, schema_name, table_name, column_name, comment FROM duckdb_columns()) AS x \
         WHERE x.catalog = ? AND lower(x.schema) = lower(?) AND lower(x.relation) = lower(?) AND x.comment IS NOT NULL",
        params![session.catalog(), schema, name],
        |row| {
            let comment = Comment {
                column: row.get(2)?,
                text: row.get(3)?,
            };
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, comment))
        },
    )?;
    // lower() knows more letters than DuckDB's names do.
    let is_its = |of: &str, relation: &str| {
        of.eq_ignore_ascii_case(schema) && relation.eq_ignore_ascii_case(name)
    };
    Ok(found
        .into_iter()
        .filter(|(of, relation, _)| is_its(of, relation))
        .map(|(.., comment)| comment)
        .collect())
}

/// Makes comments on a relation, given in SQL, as far as it has the columns.
pub(super) fn make_again(
    session: &Session,
    relation: &str,
    is_view: bool,
    columns: &[(String, String)],
    comments: &BTreeSet<Comment>,
) -> Result<()> {
    let d = DuckDbSql;
    for Comment { column, text } in comments {
        let on = match column {
            Some(column) => {
                let is_it = |(name, _): &(String, String)| d.is_same_name(name, column);
                if !columns.iter().any(is_it) {
                    continue;
                }
                format!("COLUMN {relation}.{}", d.identifier(column))
            }
            None if is_view => format!("VIEW {relation}"),
            None => format!("TABLE {relation}"),
        };
        session.batch(&format!("COMMENT ON {on} IS {}", d.literal(text)))?;
    }
    Ok(())
}
