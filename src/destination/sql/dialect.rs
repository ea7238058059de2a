//! How SQL is written: what destinations write differently, and the pieces that statements are made of. No I/O.

use std::fmt;

use crate::error::Result;
use crate::evolution::TableSchema;
use crate::schema::{Column, ColumnType};

use super::statement::{Insert, Missing};
use super::system_columns::SystemColumn;

// The names of relations within a statement. Where a column holds records, `n.id` may mean a field of the column `n`;
// names that begin so are acequia's own.

/// Rows that come.
pub(crate) const NEW: &str = "_acequia_new";
/// Rows of the table.
pub(crate) const OLD: &str = "_acequia_old";
/// Keys, with what is known of each.
pub(crate) const KEY: &str = "_acequia_key";
/// The rows that removed others, or that add a fact about the new rows.
pub(crate) const OF: &str = "_acequia_of";
/// Rows of a relation within another.
pub(crate) const INNER: &str = "_acequia_in";
/// Rows that were gathered into groups, or numbered.
pub(crate) const GROUPED: &str = "_acequia_grouped";

/// What one destination writes otherwise than another.
pub(crate) trait Dialect: fmt::Debug + Sync {
    /// A name, quoted. Within quotes any name is only a name.
    fn identifier(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// A text literal, quoted. Within quotes any text is only text.
    fn literal(&self, text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    /// Whether two names are one to the destination.
    fn is_same_name(&self, one: &str, other: &str) -> bool {
        one == other
    }

    /// Refuses columns whose names the destination does not take, or takes for one, or that are those of `own`.
    fn check_names(&self, schema: &TableSchema, own: &[SystemColumn]) -> Result<()>;

    /// The name of the type that holds values of a type, as the catalog writes it.
    fn type_name(&self, column_type: &ColumnType) -> String;

    /// The name of the type that holds a column.
    fn type_of(&self, column: &Column) -> String {
        self.type_name(&column.column_type)
    }

    /// The type that the catalog's name means. `None` if acequia has no such type.
    fn parse_type(&self, name: &str) -> Option<ColumnType>;

    /// Whether a column of the catalog's type holds what the ledger says of it.
    fn holds(&self, column: &Column, data_type: &str) -> bool {
        self.type_of(column) == data_type
    }

    /// Whether a column's type can become another, both as the catalog writes them, where the other holds every value of it.
    fn can_change(&self, _from: &str, _to: &str) -> bool {
        true
    }

    /// The type that the ledger keeps JSON in.
    fn json(&self) -> &'static str;

    /// An integer type of at least 128 bits.
    fn wide_integer(&self) -> &'static str;

    /// A point in time as microseconds since 1970.
    fn microseconds(&self, expression: &str) -> String;

    /// The expressions that are all equal, or all NULL, where two values of that type are the same value.
    fn identity(&self, expression: &str, column_type: &ColumnType) -> Vec<String>;

    /// The condition that expressions are pairwise equal or both NULL, such that a join by it is hashed or sorted.
    fn same(&self, left: &[String], right: &[String]) -> String {
        pairwise(left, "IS NOT DISTINCT FROM", right, " AND ")
    }

    /// The expression by which values of that type are ordered as a source orders its cursor: text by bytes.
    fn ordered(&self, expression: &str, _column_type: &ColumnType) -> String {
        expression.to_owned()
    }

    /// The expression by which a value of that type is [read back](super::SqlEngine::read).
    fn handed_over(&self, expression: &str, _column_type: &ColumnType) -> String {
        expression.to_owned()
    }

    /// The lowest of values of that type, in the order of [`ordered`](Self::ordered).
    fn lowest(&self, expression: &str, column_type: &ColumnType) -> String {
        format!("min({})", self.ordered(expression, column_type))
    }

    /// Whether a list of text has that element. NULL or false where the list is NULL.
    fn contains(&self, list: &str, literal: &str) -> String;

    /// The elements of a list, each in a row of its own, within a select list.
    fn elements(&self, list: &str) -> String {
        format!("unnest({list})")
    }

    /// The full name of a temporary table.
    fn temporary(&self, name: &str) -> String;

    /// The statement that gives the planner the size of a table that was just filled, if the planner does not find it
    /// itself.
    fn analyze(&self, _table: &str) -> Option<String> {
        None
    }

    /// Those rows of an overlap that the table does not have, or has fewer times.
    fn missing(&self, missing: &Missing<'_>) -> Insert;

    /// A query of these columns of what follows `FROM`, without rows that are the same by `identity`.
    fn distinct(&self, identity: &[String], columns: &str, from: &str) -> String {
        format!(
            "SELECT DISTINCT ON ({}) {columns} FROM {from}",
            identity.join(", ")
        )
    }

    /// Whether an expression may have a query in it that reads the row it is of.
    fn correlates(&self) -> bool {
        true
    }
}

impl dyn Dialect + '_ {
    /// A column of a relation that has an alias.
    pub(crate) fn of(&self, alias: &str, column: &str) -> String {
        format!("{alias}.{}", self.identifier(column))
    }

    /// Columns of a relation that has an alias, listed.
    pub(crate) fn list_of<'a>(
        &self,
        alias: &str,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let columns: Vec<String> = columns
            .into_iter()
            .map(|name| self.of(alias, name))
            .collect();
        columns.join(", ")
    }

    /// Column names, listed.
    pub(crate) fn list<'a>(&self, columns: impl IntoIterator<Item = &'a str>) -> String {
        let columns: Vec<String> = columns
            .into_iter()
            .map(|name| self.identifier(name))
            .collect();
        columns.join(", ")
    }

    /// Columns with their types, as `CREATE TABLE` lists them.
    pub(crate) fn definitions<'a>(
        &self,
        columns: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let columns: Vec<String> = columns
            .into_iter()
            .map(|(name, data_type)| format!("{} {data_type}", self.identifier(name)))
            .collect();
        columns.join(", ")
    }

    /// The condition that one of these columns is NULL.
    pub(crate) fn any_null(&self, alias: &str, columns: &[String]) -> String {
        let null: Vec<String> = columns
            .iter()
            .map(|column| format!("{} IS NULL", self.of(alias, column)))
            .collect();
        match null.as_slice() {
            [] => "1 = 0".to_owned(),
            null => format!("({})", null.join(" OR ")),
        }
    }

    /// `a = b AND …` over columns of two relations that are never NULL.
    pub(crate) fn equal(&self, columns: &[String], left: &str, right: &str) -> String {
        let of = |alias: &str| -> Vec<String> {
            let columns = columns.iter();
            columns.map(|column| self.of(alias, column)).collect()
        };
        pairwise(&of(left), "=", &of(right), " AND ")
    }

    /// An expression as a value of that type.
    pub(crate) fn cast(&self, expression: &str, column_type: &ColumnType) -> String {
        cast_to(expression, &self.type_name(column_type))
    }

    /// A value of that type, given as text.
    pub(crate) fn value(&self, text: &str, column_type: &ColumnType) -> String {
        self.cast(&self.literal(text), column_type)
    }

    /// What two rows have in common that are the same in these columns.
    pub(crate) fn identity_of<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a Column>,
        alias: &str,
    ) -> Vec<String> {
        columns
            .into_iter()
            .flat_map(|column| self.identity(&self.of(alias, &column.name), &column.column_type))
            .collect()
    }
}

/// An expression as a value of the type of that name.
pub(super) fn cast_to(expression: &str, type_name: &str) -> String {
    format!("CAST({expression} AS {type_name})")
}

/// Expressions compared pair by pair.
pub(crate) fn pairwise(left: &[String], operator: &str, right: &[String], join: &str) -> String {
    let pairs: Vec<String> = left
        .iter()
        .zip(right)
        .map(|(left, right)| format!("{left} {operator} {right}"))
        .collect();
    pairs.join(join)
}
