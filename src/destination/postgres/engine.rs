//! The PostgreSQL engine for the plan of a load and the ledger.

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

use super::dialect::PostgresSql;
use super::session::Session;
use super::{copy, index, merge, query, read, stage, table, views};

impl SqlEngine for Session {
    fn dataset(&self) -> &str {
        Session::dataset(self)
    }

    fn table(&self, name: &str) -> String {
        format!(
            "{}.{}",
            PostgresSql.identifier(Session::dataset(self)),
            PostgresSql.identifier(name)
        )
    }

    fn read(
        &mut self,
        sql: &str,
        columns: &[Column],
        each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        read::read(self, sql, columns, each)
    }

    /// Not IF NOT EXISTS: that asks for the right to make schemas even where the schema is there.
    fn create_schema(&mut self) -> Result<()> {
        let dataset = Session::dataset(self).to_owned();
        if self.has_schema(&dataset)? {
            return Ok(());
        }
        self.batch(&format!(
            "CREATE SCHEMA {}",
            PostgresSql.identifier(&dataset)
        ))
    }

    fn columns_of(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        table::columns(self, name)
    }

    fn stream_of_rows(&mut self, table: &str) -> Result<Option<String>> {
        ledger::stream_of_rows(self, table)
    }

    fn create(
        &mut self,
        table: &mut Table,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) -> Result<Vec<Index>> {
        table::create(self, table, columns, known)?;
        Ok(Vec::new())
    }

    fn make_way(&mut self, table: &str, column: &str) -> Result<()> {
        views::drop_those_of(self, table, column)
    }

    fn make_views_again(&mut self) -> Result<Vec<String>> {
        views::make_again(self)
    }

    fn load_columns(
        &mut self,
        table: &mut Table,
        manifest: &Manifest,
        schema: &TableSchema,
    ) -> Result<Vec<Column>> {
        table::load_columns(self, table, manifest, schema)
    }

    fn index_key(
        &mut self,
        table: &Table,
        columns: &[Column],
        manifest: &Manifest,
        anew: bool,
    ) -> Result<Option<Index>> {
        index::see_to(self, table, columns, manifest, anew)
    }

    fn stage(&mut self, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows> {
        stage::fill(self, load, columns)
    }

    fn copy(
        &mut self,
        table: &Table,
        load: &StagedLoad,
        columns: &[Column],
    ) -> Result<Option<u64>> {
        let load_id = Some(load.manifest.load_id.as_str());
        copy::copy(self, &table.sql, columns, load_id, load).map(Some)
    }

    fn merge<'a>(
        &mut self,
        _scratch: &mut TempTables,
        table: &'a Table,
        manifest: &'a Manifest,
        schema: &TableSchema,
        rows: &Rows,
    ) -> Result<Merge<'a>> {
        Ok(merge::merge(self.dialect(), table, manifest, schema, rows))
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
