//! The DuckDB engine for the plan of a load and the ledger.

use arrow::array::RecordBatch;

use crate::destination::StagedLoad;
use crate::destination::sql::query::QueryEngine;
use crate::destination::sql::statement::Merge;
use crate::destination::sql::{
    Dialect as _, Engine as _, Index, Rows, SqlEngine, Table, TempTables, ledger,
};
use crate::error::Result;
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::dialect::DuckDbSql;
use super::session::Session;
use super::{catalog, merge, query, stage};

impl SqlEngine for Session {
    fn dataset(&self) -> &str {
        Session::dataset(self)
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", self.schema(), DuckDbSql.identifier(name))
    }

    fn read(
        &mut self,
        sql: &str,
        columns: &[Column],
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        Session::read(self, sql, columns, each)
    }

    fn create_schema(&mut self) -> Result<()> {
        self.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", self.schema()))
            .map(drop)
    }

    fn columns_of(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        catalog::columns(self, name)
    }

    fn has_table(&mut self, name: &str) -> Result<bool> {
        catalog::has_table(self, name)
    }

    fn stream_of_rows(&mut self, table: &str) -> Result<Option<String>> {
        ledger::stream_of_rows(self, table)
    }

    fn create(
        &mut self,
        table: &mut Table,
        columns: Vec<(String, String)>,
        _known: Option<&TableSchema>,
    ) -> Result<Vec<Index>> {
        catalog::create(self, table, columns)
    }

    fn stage(&mut self, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows> {
        let d = self.dialect();
        stage::of_parts(load, columns, |value, column| {
            d.cast(value, &column.column_type)
        })
    }

    fn merge<'a>(
        &mut self,
        temp: &mut TempTables,
        table: &'a Table,
        manifest: &'a Manifest,
        _schema: &TableSchema,
        rows: &Rows,
    ) -> Result<Merge<'a>> {
        merge::merge(self, temp, table, manifest, rows)
    }
}

impl QueryEngine for Session {
    fn look_in(&mut self, schemas: &[&str]) -> Result<()> {
        query::look_in(self, schemas)
    }

    fn select_json(&mut self, query: &str) -> Result<Vec<String>> {
        query::select_json(self, query)
    }
}
