//! Models in PostgreSQL: what its parser says of a statement, and how tables and views are made.

use std::collections::BTreeMap;

use postgres::error::{DbError, ErrorPosition, SqlState};

use crate::destination::sql::given::Given;
use crate::destination::sql::models::{Build, Kind, ModelEngine, Refused, Relation};
use crate::destination::sql::{Dialect as _, Engine as _};
use crate::error::Result;
use crate::postgres::connection::{condition, message_of};

use super::dialect::PostgresSql;
use super::session::{Session, value};
use super::{error, given};

/// Temporary relations, whatever the schema of this session is called.
const IS_TEMPORARY: &str = "n.oid = pg_catalog.pg_my_temp_schema()";

impl ModelEngine for Session {
    fn define(&mut self, name: &str, sql: &str) -> Result<Result<(), Refused>> {
        self.batch("SAVEPOINT acequia_define")?;
        let head = format!("CREATE TEMPORARY VIEW {} AS ", PostgresSql.identifier(name));
        let Err(error) = self.attempt(&format!("{head}{sql}\n"))? else {
            self.batch("RELEASE SAVEPOINT acequia_define")?;
            return Ok(Ok(()));
        };
        self.batch("ROLLBACK TO SAVEPOINT acequia_define")?;
        match error.as_db_error().and_then(|db| refused(db, &head, sql)) {
            Some(refused) => Ok(Err(refused)),
            None => Err(error::from_postgres(&error)),
        }
    }

    fn reads(&mut self, name: &str) -> Result<Vec<Relation>> {
        let rows = self.rows(
            &format!(
                "SELECT DISTINCT CASE WHEN {IS_TEMPORARY} THEN NULL ELSE n.nspname::text END, c.relname::text \
                 FROM pg_catalog.pg_class AS v JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.oid \
                 JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid \
                 AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> v.oid \
                 JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE v.relnamespace = pg_catalog.pg_my_temp_schema() AND v.relname = $1"
            ),
            &[&name],
        )?;
        rows.iter()
            .map(|row| {
                Ok(Relation {
                    schema: value(row, 0)?,
                    name: value(row, 1)?,
                    is_table: true,
                    at: None,
                })
            })
            .collect()
    }

    fn defined_columns(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        columns(self, None, name)
    }

    fn columns_in(&mut self, schema: &str, name: &str) -> Result<Vec<(String, String)>> {
        columns(self, Some(schema), name)
    }

    fn relations(&mut self, schema: &str) -> Result<BTreeMap<String, Kind>> {
        let rows = self.rows(
            "SELECT c.relname::text, c.relkind::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n \
             ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind <> 'i' AND c.relkind <> 'I'",
            &[&schema],
        )?;
        rows.iter()
            .map(|row| {
                let kind = match value::<String>(row, 1)?.as_str() {
                    "r" | "p" => Kind::Table,
                    "v" => Kind::View,
                    _ => Kind::Other,
                };
                Ok((value(row, 0)?, kind))
            })
            .collect()
    }

    /// Not IF NOT EXISTS: that asks for the right to make schemas even where the schema is there.
    fn make_schema(&mut self, schema: &str) -> Result<()> {
        if self.has_schema(schema)? {
            return Ok(());
        }
        let name = PostgresSql.identifier(schema);
        self.batch(&format!("CREATE SCHEMA {name}")).map_err(|error| {
            error.remedy(format!(
                "make it as an administrator, for the user that acequia connects as: CREATE SCHEMA {name} AUTHORIZATION USER"
            ))
        })
    }

    fn qualified(&self, schema: &str, name: &str) -> String {
        format!(
            "{}.{}",
            PostgresSql.identifier(schema),
            PostgresSql.identifier(name)
        )
    }

    /// A table keeps its grants, indices and the views on it: its rows are replaced, and its columns altered where they are
    /// others. By DELETE, as readers with an older snapshot would find a table empty after TRUNCATE (manual, section 13.6).
    fn fill(&mut self, build: &Build<'_>) -> Result<u64> {
        let table = self.qualified(build.schema, build.name);
        let sql = build.sql;
        let rows = if build.existing == Some(Kind::Table) {
            self.batch(&format!("DELETE FROM {table}"))?;
            alter(self, &table, build)?;
            let names = build.columns.iter().map(|(name, _)| name.as_str());
            let names = self.dialect().list(names);
            self.execute(&format!("INSERT INTO {table} ({names}) {sql}\n"))?
        } else {
            if build.existing == Some(Kind::View) {
                self.batch(&format!("DROP VIEW {table}"))?;
            }
            self.execute(&format!("CREATE TABLE {table} AS {sql}\n"))?
        };
        self.batch(&format!("ANALYZE {table}"))?;
        Ok(rows)
    }

    /// A view can be given more columns, and else has to be made anew.
    fn make_view(&mut self, build: &Build<'_>) -> Result<()> {
        let view = self.qualified(build.schema, build.name);
        match build.existing {
            Some(Kind::Table) => self.batch(&format!("DROP TABLE {view}"))?,
            Some(_) => {
                let before = self.columns_in(build.schema, build.name)?;
                if !build.columns.starts_with(&before) {
                    self.batch(&format!("DROP VIEW {view}"))?;
                }
            }
            None => {}
        }
        self.batch(&format!("CREATE OR REPLACE VIEW {view} AS {}\n", build.sql))
    }

    fn given(&mut self, schema: &str, name: &str) -> Result<Given> {
        given::look(self, &self.qualified(schema, name))
    }

    fn give_again(&mut self, schema: &str, name: &str, given: &Given) -> Result<()> {
        given::give_again(self, &self.qualified(schema, name), given)
    }
}

/// Gives a table that has no rows the columns of its model.
fn alter(session: &mut Session, table: &str, build: &Build<'_>) -> Result<()> {
    let before = session.columns_in(build.schema, build.name)?;
    let is_wanted = |name: &str| build.columns.iter().any(|(wanted, _)| wanted == name);
    for (name, _) in before.iter().filter(|(name, _)| !is_wanted(name)) {
        session.batch(&format!(
            "ALTER TABLE {table} DROP COLUMN {}",
            PostgresSql.identifier(name)
        ))?;
    }
    for (name, data_type) in build.columns {
        let column = PostgresSql.identifier(name);
        let known = before.iter().find(|(known, _)| known == name);
        let change = match known {
            None => format!("ADD COLUMN {column} {data_type}"),
            // No row is left whose value could be lost.
            Some((_, known)) if known != data_type => {
                format!("ALTER COLUMN {column} TYPE {data_type} USING NULL")
            }
            Some(_) => continue,
        };
        session.batch(&format!("ALTER TABLE {table} {change}"))?;
    }
    Ok(())
}

/// Names and types of the columns of a relation of that schema, or of a temporary one.
fn columns(
    session: &mut Session,
    schema: Option<&str>,
    name: &str,
) -> Result<Vec<(String, String)>> {
    let rows = session.rows(
        &format!(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a \
             JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE CASE WHEN $2::text IS NULL THEN {IS_TEMPORARY} ELSE n.nspname = $2 END AND c.relname = $1 \
             AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ),
        &[&name, &schema],
    )?;
    rows.iter()
        .map(|row| Ok((value(row, 0)?, value(row, 1)?)))
        .collect()
}

/// Why a statement is not taken; none for what says nothing of the statement.
fn refused(db: &DbError, head: &str, sql: &str) -> Option<Refused> {
    let code = db.code();
    let at = match db.position() {
        // Characters, from 1 (manual, section 55.8).
        Some(ErrorPosition::Original(position)) => {
            let before = head.chars().count() + 1;
            let position = usize::try_from(*position).ok()?.checked_sub(before);
            position.and_then(|position| {
                let mut offsets = sql.char_indices().map(|(at, _)| at);
                offsets.nth(position)
            })
        }
        _ => None,
    };
    let is_missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code);
    if let Some(at) = at.filter(|_| is_missing) {
        return Some(Refused::Missing { at });
    }
    let message = match code.code().get(..2) {
        Some("42" | "0A" | "3F") if *code != SqlState::INSUFFICIENT_PRIVILEGE => {
            message_of(db)?.to_owned()
        }
        // Such a message may show a value; the statement's author knows which.
        Some("22") => format!("a value in it cannot be taken: {}", condition(code.code())),
        _ => return None,
    };
    Some(Refused::Wrong { message, at })
}
