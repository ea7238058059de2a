//! The rows of a load take the place of those that the table has in a range of a column.
//!
//! The load has all rows that the source has in the range and, of keys that the table has there, those rows that the source has
//! elsewhere. So what the table has in the range and the load does not have is nowhere in the source.

use crate::change::DELETED_AT;
use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;
use crate::position::ValueRange;
use crate::schema::{Column, ColumnType};

use super::dialect::{KEY, OLD};
use super::statement::{Merge, Unmatched};
use super::system_columns::{self, instant, keeps_deleted};
use super::write::filter;
use super::{Dialect, Rows, SqlEngine, Table, TempTables, check_rows, dedup, insert_only, scd2};

/// The conditions that a row of the table, [`OLD`], lies in a range of a column of that type.
pub(super) fn within(d: &dyn Dialect, range: &ValueRange, column_type: &ColumnType) -> Vec<String> {
    // The range may end where the column's own type does.
    let kind = match column_type {
        ColumnType::Int16 | ColumnType::Int32 => &ColumnType::Int64,
        kind => kind,
    };
    let column = d.ordered(&d.of(OLD, &range.column), column_type);
    let ends = [(">=", &range.from), ("<", &range.to)];
    let ends = ends.iter().filter_map(|(operator, end)| {
        let end = d.value(&end.as_ref()?.text(), kind);
        Some(format!("{column} {operator} {end}"))
    });
    ends.collect()
}

/// A range of a load's table.
pub(super) struct LoadRange<'a> {
    conditions: Vec<String>,
    table: &'a Table,
    manifest: &'a Manifest,
}

impl<'a> LoadRange<'a> {
    /// The range of a load whose columns these are, with the types that the table has for them.
    ///
    /// # Errors
    /// The load does not have the range's column.
    pub(super) fn of(
        d: &dyn Dialect,
        range: &ValueRange,
        columns: &[Column],
        table: &'a Table,
        manifest: &'a Manifest,
    ) -> Result<Self> {
        let column = columns.iter().find(|column| column.name == range.column);
        let column =
            column.ok_or_else(|| Error::internal("a load of a range does not have its column"))?;
        Ok(Self {
            conditions: within(d, range, &column.column_type),
            table,
            manifest,
        })
    }

    /// Applies the load. `rows` is `None` if it has no part; `schema` is the table's.
    ///
    /// # Errors
    /// As [`dedup::deduplicate`], or the destination fails.
    pub(super) fn apply(
        &self,
        engine: &mut dyn SqlEngine,
        temp: &mut TempTables,
        schema: &TableSchema,
        rows: Option<Rows>,
    ) -> Result<LoadOutcome> {
        let (table, manifest) = (self.table, self.manifest);
        match manifest.disposition {
            Disposition::Append => self.replace(engine, rows),
            Disposition::Merge => {
                let rows = match rows {
                    Some(rows) => Some(dedup::deduplicate(engine, temp, manifest, rows)?),
                    None => None,
                };
                let deleted = self.delete_others(engine, rows.as_ref())?;
                let mut outcome = match &rows {
                    Some(rows) => engine
                        .merge(temp, table, manifest, schema, rows)?
                        .count(engine)?,
                    None => LoadOutcome::default(),
                };
                outcome.deleted += deleted;
                Ok(outcome)
            }
            Disposition::InsertOnly => match rows {
                Some(rows) => {
                    let rows = dedup::deduplicate(engine, temp, manifest, rows)?;
                    insert_only::merge(engine.dialect(), &table.sql, manifest, &rows).count(engine)
                }
                None => Ok(LoadOutcome::default()),
            },
            Disposition::Scd2 => {
                let closed = Some(self.conditions.as_slice());
                scd2::apply(engine, temp, &table.sql, manifest, rows, closed)
            }
            Disposition::Replace => Err(Error::internal(
                "a table that is replaced is not loaded range by range",
            )),
        }
    }

    /// Deletes all rows in the range, and inserts those of the load.
    fn replace(&self, engine: &mut dyn SqlEngine, rows: Option<Rows>) -> Result<LoadOutcome> {
        let (table, manifest) = (&self.table.sql, self.manifest);
        let deleted = engine.execute(&format!(
            "DELETE FROM {table} AS {OLD}{}",
            filter(&self.conditions)
        ))?;
        let inserted = match rows {
            Some(rows) => {
                let d = engine.dialect();
                let insert = rows.insert(d).own(d, &system_columns::columns(manifest));
                engine.insert(table, &insert)?
            }
            None => 0,
        };
        check_rows(inserted, manifest)?;
        Ok(LoadOutcome {
            inserted,
            deleted,
            ..LoadOutcome::default()
        })
    }

    /// Deletes the rows in the range whose key the load does not have, or marks them. Returns how many.
    fn delete_others(&self, engine: &mut dyn SqlEngine, rows: Option<&Rows>) -> Result<u64> {
        let (d, manifest) = (engine.dialect(), self.manifest);
        let (table, key) = (&self.table.sql, &manifest.primary_key);
        let mut conditions = self.conditions.clone();
        if keeps_deleted(manifest) {
            conditions.push(format!("{} IS NULL", d.of(OLD, DELETED_AT)));
            let at = d.value(&instant(manifest.extracted_at), &ColumnType::TimestampTz);
            let load_id = d.literal(manifest.load_id.as_str());
            let merge = Merge {
                unmatched: Some(Unmatched {
                    keys: rows.map(|rows| rows.relation.clone()),
                    condition: conditions.join(" AND "),
                    set: vec![(DELETED_AT, at), (LOAD_ID_COLUMN, load_id)],
                    from: None,
                }),
                ..Merge::new(table, key)
            };
            return Ok(merge.run(engine)?.unmatched);
        }
        if let Some(rows) = rows {
            conditions.push(format!(
                "NOT EXISTS (SELECT 1 FROM {} AS {KEY} WHERE {})",
                rows.relation,
                d.equal(key, OLD, KEY)
            ));
        }
        engine.execute(&format!(
            "DELETE FROM {table} AS {OLD}{}",
            filter(&conditions)
        ))
    }
}
