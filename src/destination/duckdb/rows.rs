//! The rows of a load as a relation in SQL: read from its parts, with the table's types. No I/O.

use crate::destination::StagedLoad;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::schema::Column;

use super::sql::{cast, identifier, identity, literal, of};

/// The rows of a load.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// The load's columns, with the types that the table has for them.
    pub(super) columns: Vec<Column>,
    /// A table reference without alias.
    pub(super) relation: String,
}

impl Rows {
    /// The rows of the load's parts; none where it has no part.
    pub(super) fn of_parts(load: &StagedLoad, table: &TableSchema) -> Result<Option<Self>> {
        if load.files.is_empty() {
            return Ok(None);
        }
        let columns: Vec<Column> = load
            .manifest
            .schema
            .columns
            .iter()
            .map(|column| table.column(&column.name).unwrap_or(column).clone())
            .collect();
        let files = load
            .files
            .iter()
            .map(|file| {
                file.to_str().map(literal).ok_or_else(|| {
                    Error::landing(format!("the path {} is not UTF-8", file.display()))
                        .remedy("move the landing area to a folder with a plain name")
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let casts: Vec<String> = columns
            .iter()
            .map(|column| {
                let name = identifier(&column.name);
                format!("{} AS {name}", cast(&name, &column.column_type))
            })
            .collect();
        let relation = format!(
            "(SELECT {} FROM read_parquet([{}], hive_partitioning = false))",
            casts.join(", "),
            files.join(", ")
        );
        Ok(Some(Self { columns, relation }))
    }

    /// Only those rows that meet a condition on the columns' own names.
    pub(super) fn only(&self, condition: &str) -> String {
        format!("(SELECT * FROM {} WHERE {condition})", self.relation)
    }

    /// The columns' names in SQL, of a relation with that alias.
    pub(super) fn names(&self, alias: &str) -> Vec<String> {
        self.columns
            .iter()
            .map(|column| of(alias, &column.name))
            .collect()
    }

    /// What two rows have in common that are the same in every column.
    pub(super) fn identity(&self, alias: &str) -> Vec<String> {
        identity_of(&self.columns, alias)
    }
}

/// What two rows have in common that are the same in these columns.
pub(super) fn identity_of(columns: &[Column], alias: &str) -> Vec<String> {
    columns
        .iter()
        .flat_map(|column| identity(&of(alias, &column.name), &column.column_type))
        .collect()
}

/// `a = b AND …` over columns of two relations that are never NULL.
pub(super) fn equal(columns: &[String], left: &str, right: &str) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .map(|column| format!("{} = {}", of(left, column), of(right, column)))
        .collect();
    pairs.join(" AND ")
}

/// `a IS NOT DISTINCT FROM b AND …`.
pub(super) fn same(left: &[String], right: &[String]) -> String {
    let pairs: Vec<String> = left
        .iter()
        .zip(right)
        .map(|(left, right)| format!("{left} IS NOT DISTINCT FROM {right}"))
        .collect();
    pairs.join(" AND ")
}
