//! The table that a load goes into: whether it is acequia's to write, and whether it is as the ledger says.

use crate::destination::apply::own;
use crate::destination::found::{Found, check_owner, refuse_reserved};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::schema::{Column, ColumnType};

use super::ledger::{self, value};
use super::session::Session;
use super::sql::type_name;

/// Names that every table of PostgreSQL has for itself (manual, section 5.5).
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// The longest name that PostgreSQL keeps whole, in bytes (manual, section 4.1.1).
const MAX_NAME: usize = 63;

/// A table of the dataset as it is now.
#[derive(Debug)]
pub(super) struct Table {
    /// Its full name in SQL.
    pub(super) sql: String,
    /// Its name as people write it.
    pub(super) shown: String,
    /// Its name.
    pub(super) name: String,
    /// Names and types of its columns, but for those whose values the server makes; none where it does not exist.
    pub(super) columns: Vec<(String, String)>,
}

impl Table {
    /// Looks at a table that a load goes into.
    ///
    /// # Errors
    /// Where a table or view of that name is not acequia's, or belongs to another stream.
    pub(super) fn find(session: &mut Session, manifest: &Manifest, name: &str) -> Result<Self> {
        let shown = format!("{}.{name}", session.dataset());
        refuse_reserved(name, &shown)?;
        let dataset = session.dataset().to_owned();
        let kinds = session.rows(
            "SELECT c.relkind::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n \
             ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            &[&dataset, &name],
        )?;
        let kind = kinds
            .first()
            .map(|row| value::<String>(row, 0))
            .transpose()?;
        // Ordinary and partitioned tables can be loaded.
        if let Some(kind) = kind.filter(|kind| kind != "r" && kind != "p") {
            let what = match kind.as_str() {
                "v" => "a view",
                "m" => "a materialized view",
                "f" => "a foreign table",
                "S" => "a sequence",
                "i" | "I" => "an index",
                _ => "no table",
            };
            return Err(Error::destination(format!("{shown} is {what}")).remedy(
                "drop or rename it, or give the stream another table with `destination_table`",
            ));
        }
        let columns = session.rows(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute AS a \
             JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped \
             AND a.attgenerated = '' AND a.attidentity = '' ORDER BY a.attnum",
            &[&dataset, &name],
        )?;
        let table = Self {
            sql: session.table(name),
            shown,
            name: name.to_owned(),
            columns: columns
                .iter()
                .map(|row| Ok((value(row, 0)?, value(row, 1)?)))
                .collect::<Result<_>>()?,
        };
        check_owner(&table, manifest, || {
            ledger::stream_of_rows(session, &table.sql)
        })?;
        Ok(table)
    }

    /// Names and types of the table's columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns
            .iter()
            .map(|(name, data_type)| (name.as_str(), data_type.as_str()))
    }

    /// The names of the table's columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns().map(|(name, _)| name.to_owned()).collect()
    }
}

impl Found for Table {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn exists(&self) -> bool {
        !self.columns.is_empty()
    }

    fn data_type(&self, column: &str) -> Option<&str> {
        self.columns
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, data_type)| data_type.as_str())
    }

    fn expected(&self, column: &Column) -> String {
        type_name(column)
    }

    /// JSON is kept as `jsonb` while it comes from such.
    fn holds(&self, column: &Column, data_type: &str) -> bool {
        match &column.column_type {
            ColumnType::Json => matches!(data_type, "json" | "jsonb"),
            ColumnType::List(element) if **element == ColumnType::Json => {
                matches!(data_type, "json[]" | "jsonb[]")
            }
            _ => self.expected(column) == data_type,
        }
    }
}

/// Refuses names that PostgreSQL does not take for a column's, or would cut.
pub(super) fn check_names(schema: &TableSchema, manifest: &Manifest) -> Result<()> {
    let own = own::columns(manifest);
    for column in &schema.columns {
        let name = column.column.name.as_str();
        let what = if own.iter().any(|own| own.name == name) {
            format!("the source's column `{name}` has the name of acequia's own column")
        } else if SYSTEM_COLUMNS.contains(&name) {
            format!(
                "the source's column `{name}` has the name of one that every table of PostgreSQL has"
            )
        } else if name.len() > MAX_NAME {
            format!(
                "the column name `{name}` is longer than {MAX_NAME} bytes, where PostgreSQL cuts a name"
            )
        } else if name.is_empty() || name.contains('\0') {
            format!("the source's column {name:?} has a name that PostgreSQL does not take")
        } else {
            continue;
        };
        return Err(Error::data(what).remedy(format!(
            "leave it out with exclude = [{name:?}] for [streams.STREAM], or rename it in a `query`"
        )));
    }
    Ok(())
}
