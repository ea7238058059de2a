//! The rows of a load take the place of those that the table has in a range of a column.
//!
//! The load has all rows that the source has in the range and, of keys that the table has there, those rows that the source has
//! elsewhere. So what the table has in the range and the load does not have is nowhere in the source.

use crate::destination::LoadOutcome;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;
use crate::position::ValueRange;
use crate::schema::{Column, ColumnType};

use super::amend::deletion;
use super::dialect::OLD;
use super::statement::{Exchange, Merge, Unmatched};
use super::system_columns;
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
                let mut merge = match &rows {
                    Some(rows) => engine.merge(temp, table, manifest, schema, rows)?,
                    None => Merge::new(&table.sql, &manifest.primary_key),
                };
                merge.mends = true;
                merge.unmatched = Some(self.others(engine.dialect(), rows.as_ref()));
                merge.count(engine)
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
        let (d, manifest) = (engine.dialect(), self.manifest);
        let own = system_columns::columns(manifest);
        let within = self.conditions.join(" AND ");
        let done = engine.exchange(&Exchange {
            table: &self.table.sql,
            empties: within.is_empty(),
            within: (!within.is_empty()).then_some(within),
            insert: rows.map(|rows| rows.insert(d).own(d, &own)),
            ..Exchange::default()
        })?;
        check_rows(done.inserted, manifest)?;
        Ok(LoadOutcome {
            inserted: done.inserted,
            deleted: done.emptied,
            ..LoadOutcome::default()
        })
    }

    /// What becomes of the rows in the range whose key the load does not have: they are deleted, or marked.
    fn others(&self, d: &dyn Dialect, rows: Option<&Rows>) -> Unmatched {
        let (action, lives) = deletion(d, self.manifest);
        let conditions: Vec<String> = self.conditions.iter().cloned().chain(lives).collect();
        Unmatched {
            keys: rows.map(|rows| rows.relation.clone()),
            condition: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
            action,
            from: None,
        }
    }
}
