//! Models in DuckDB: what its parser says of a statement, and how tables and views are made.

use std::collections::BTreeMap;

use duckdb::params;
use serde::Deserialize;

use crate::destination::sql::given::Given;
use crate::destination::sql::models::{Build, Kind, ModelEngine, Refused, Relation};
use crate::destination::sql::{Dialect as _, Engine as _};
use crate::error::{Error, Result};

use super::dialect::DuckDbSql;
use super::error;
use super::session::Session;
use super::{catalog, comments, tree};

/// Kinds of errors after which a transaction goes on.
const KEEPS_TRANSACTION: [&str; 4] = ["Catalog", "Parser", "Syntax", "Binder"];

impl ModelEngine for Session {
    fn define(&mut self, name: &str, sql: &str) -> Result<Result<(), Refused>> {
        self.batch("SET errors_as_json = true")?;
        let head = format!("CREATE TEMPORARY VIEW {} AS ", DuckDbSql.identifier(name));
        let defined = self.connection.execute_batch(&format!("{head}{sql}\n"));
        self.connection
            .execute_batch("SET errors_as_json = false")
            .map_err(error::from_duckdb)?;
        let Err(error) = defined else {
            return Ok(Ok(()));
        };
        let Some(told) = error::message(&error).and_then(Told::parse) else {
            return Err(error::from_duckdb(error));
        };
        if let Some(refused) = refused(&told, head.len()) {
            if !KEEPS_TRANSACTION.contains(&told.exception_type.as_str()) {
                // What was defined so far is gone with it.
                self.batch("ROLLBACK; BEGIN TRANSACTION")?;
            }
            return Ok(Err(refused));
        }
        // As it would have been told.
        let message = format!("{} Error: {}", told.exception_type, told.exception_message);
        Err(error::from_duckdb(match error {
            duckdb::Error::DuckDBFailure(code, _) => {
                duckdb::Error::DuckDBFailure(code, Some(message))
            }
            other => other,
        }))
    }

    /// A name that is not there yet, and is also that of a WITH around it, would be told as a circle when it is bound: so it is to
    /// be there before.
    fn parse(&mut self, sql: &str) -> Result<Option<Vec<Relation>>> {
        tree::relations_of(self, sql)
    }

    fn reads(&mut self, _name: &str) -> Result<Vec<Relation>> {
        Err(unseen())
    }

    fn defined_columns(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        Session::rows(
            self,
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'temp' AND table_name = ? \
             ORDER BY column_index",
            params![name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    fn columns_in(&mut self, schema: &str, name: &str) -> Result<Vec<(String, String)>> {
        catalog::columns_in(self, schema, name)
    }

    fn relations(&mut self, schema: &str) -> Result<BTreeMap<String, Kind>> {
        let found = Session::rows(
            self,
            "SELECT t.schema_name, t.table_name, 'table' FROM duckdb_tables() AS t WHERE t.database_name = ? \
             UNION ALL SELECT v.schema_name, v.view_name, 'view' FROM duckdb_views() AS v WHERE v.database_name = ?",
            params![self.catalog(), self.catalog()],
            |row| {
                let texts: [String; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                Ok(texts)
            },
        )?;
        Ok(found
            .into_iter()
            .filter(|[of, ..]| of.eq_ignore_ascii_case(schema))
            .map(|[_, name, kind]| {
                let kind = if kind == "table" {
                    Kind::Table
                } else {
                    Kind::View
                };
                (name, kind)
            })
            .collect())
    }

    fn make_schema(&mut self, schema: &str) -> Result<()> {
        self.batch(&format!(
            "CREATE SCHEMA IF NOT EXISTS {}",
            self.schema_of(schema)
        ))
    }

    fn qualified(&self, schema: &str, name: &str) -> String {
        format!("{}.{}", self.schema_of(schema), DuckDbSql.identifier(name))
    }

    fn fill(&mut self, build: &Build<'_>) -> Result<u64> {
        let table = self.qualified(build.schema, build.name);
        if build.existing == Some(Kind::View) {
            self.batch(&format!("DROP VIEW {table}"))?;
        }
        self.make(&format!(
            "CREATE OR REPLACE TABLE {table} AS {}\n",
            build.sql
        ))
    }

    /// A view keeps its text, and names in it without a schema would be looked up wherever its reader looks: they are given
    /// theirs.
    fn make_view(&mut self, build: &Build<'_>) -> Result<()> {
        let view = self.qualified(build.schema, build.name);
        if build.existing == Some(Kind::Table) {
            self.batch(&format!("DROP TABLE {view}"))?;
        }
        let dataset = self.dataset().to_owned();
        let mut sql = build.sql.to_owned();
        let mut reads = tree::relations_of(self, build.sql)?.ok_or_else(unseen)?;
        reads.sort_by_key(|read| std::cmp::Reverse(read.at));
        for read in reads.iter().filter(|read| read.schema.is_none()) {
            let is_model = |name: &String| name.eq_ignore_ascii_case(&read.name);
            let schema = if build.in_models.iter().any(is_model) {
                build.schema
            } else {
                &dataset
            };
            if let Some(at) = read.at.filter(|at| sql.is_char_boundary(*at)) {
                sql.insert_str(at, &format!("{}.", DuckDbSql.identifier(schema)));
            }
        }
        self.batch(&format!("CREATE OR REPLACE VIEW {view} AS {sql}\n"))
    }

    fn given(&mut self, schema: &str, name: &str) -> Result<Given> {
        Ok(Given {
            comments: comments::of(self, schema, name)?,
            indices: catalog::indices(self, schema, name)?,
            ..Given::default()
        })
    }

    fn give_again(&mut self, schema: &str, name: &str, given: &Given) -> Result<()> {
        if given.comments.is_empty() && given.indices.is_empty() {
            return Ok(());
        }
        let is_view = self.relations(schema)?.get(name) == Some(&Kind::View);
        let columns = catalog::columns_in(self, schema, name)?;
        let relation = self.qualified(schema, name);
        comments::make_again(self, &relation, is_view, &columns, &given.comments)?;
        for index in given.indices.iter().filter(|_| !is_view) {
            index.make(self, &format!("{schema}.{name}"))?;
        }
        Ok(())
    }
}

/// The error of a statement that DuckDB takes without showing its tree.
fn unseen() -> Error {
    Error::internal("DuckDB takes a statement and does not show its tree")
}

/// What `errors_as_json` makes of a message.
#[derive(Deserialize)]
struct Told {
    exception_type: String,
    exception_message: String,
    position: Option<String>,
}

impl Told {
    fn parse(message: &str) -> Option<Self> {
        let at = message.find('{')?;
        serde_json::from_str(message.get(at..)?).ok()
    }
}

/// Why a statement is not taken; none for what says nothing of the statement. `head` is the length of what stands before it.
fn refused(told: &Told, head: usize) -> Option<Refused> {
    let at = told
        .position
        .as_ref()
        .and_then(|at| at.parse::<usize>().ok());
    let at = at.and_then(|at| at.checked_sub(head));
    let first = told.exception_message.lines().next().unwrap_or_default();
    let message = match told.exception_type.as_str() {
        "Catalog" if first.starts_with("Table with name") && at.is_some() => {
            return at.map(|at| Refused::Missing { at });
        }
        "Catalog"
        | "Parser"
        | "Syntax"
        | "Binder"
        | "Not implemented"
        | "Parameter Not Resolved" => first.to_owned(),
        // Such a message may show a value; the statement's author knows which.
        kind @ ("Conversion" | "Invalid Input" | "Out of Range" | "Invalid type"
        | "Mismatch Type") => {
            format!("a value in it cannot be taken ({kind} Error)")
        }
        "IO" => "a file that it reads cannot be read".to_owned(),
        _ => return None,
    };
    Some(Refused::Wrong { message, at })
}
