//! The plan's database for one load: queries go to the engine, what the plan writes is gathered into one statement, and the
//! table is made and altered through the catalog.

use std::collections::HashMap;

use arrow::array::RecordBatch;

use crate::destination::StagedLoad;
use crate::destination::duckdb;
use crate::destination::iceberg::catalog::{Catalog, TableMetadata};
use crate::destination::iceberg::schema::Field;
use crate::destination::iceberg::state::{self, Properties};
use crate::destination::sql::statement::{Insert, Merge, Written as Counts};
use crate::destination::sql::table::not_ours;
use crate::destination::sql::{
    Dialect, Engine, Index, Rows, SqlEngine, Table, TempTables, TextRow,
};
use crate::error::{Error, Kind, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::layout::Layout;
use crate::schema::Column;

use super::dialect::SparkSql;
use super::insert;
use super::merge::{Counted, Target, Written};
use super::views::Views;
use super::{Remote, Way, stage};

/// One load at work.
pub(in crate::destination::iceberg) struct Run<'a> {
    pub(super) remote: &'a mut Remote,
    pub(super) catalog: &'a mut Catalog,
    pub(super) work: Work,
    pub(super) views: Views,
}

/// What a load does.
pub(super) struct Work {
    pub(super) table: String,
    pub(super) load_id: String,
    pub(super) at_creation: Properties,
    pub(super) layout: Layout,
    /// The table as the catalog has it.
    pub(super) seen: Option<TableMetadata>,
    /// The branch or tag by which the load claims the table; and its number.
    pub(super) claim: String,
    pub(super) turn: u64,
    /// What it said when the load began.
    pub(super) begun: Properties,
    /// The snapshot that it begins on, once it is claimed.
    pub(super) from: Option<Begin>,
    /// The table's columns as the load wants them.
    pub(super) columns: Vec<Wanted>,
    pub(super) altered: bool,
    pub(super) anew: bool,
    pub(super) inserts: Vec<Insert>,
    pub(super) statement: Option<String>,
    /// Whether the statement was sent.
    pub(super) sent: bool,
    pub(super) streams: HashMap<String, String>,
}

/// Where a load begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    pub(super) snapshot: i64,
    /// Whether it was begun before, and may have been written.
    pub(super) resumed: bool,
}

/// A column of the table.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) data_type: String,
    /// As the table has it now; none where it is new.
    pub(super) field: Option<Field>,
}

impl<'a> Run<'a> {
    pub(in crate::destination::iceberg) fn new(
        remote: &'a mut Remote,
        catalog: &'a mut Catalog,
        load: &StagedLoad,
        at_creation: Properties,
        seen: Option<TableMetadata>,
    ) -> Self {
        let turn = seen.as_ref().map_or(0, state::turn) + 1;
        Self {
            remote,
            catalog,
            views: Views::default(),
            work: Work {
                table: load.manifest.table.clone(),
                load_id: load.manifest.load_id.to_string(),
                at_creation,
                layout: load.layout.clone(),
                begun: seen
                    .as_ref()
                    .map(|seen| seen.properties.clone())
                    .unwrap_or_default(),
                seen,
                claim: state::claim(turn),
                turn,
                from: None,
                columns: Vec::new(),
                altered: false,
                anew: false,
                inserts: Vec::new(),
                statement: None,
                sent: false,
                streams: HashMap::new(),
            },
        }
    }

    pub(super) fn way(&self) -> Way {
        self.remote.way
    }

    /// What is written to, in SQL.
    fn writes(&self) -> String {
        let table = self.remote.name(&self.work.table);
        match self.way() {
            Way::Branch => {
                let branch = SparkSql.identifier(&format!("branch_{}", self.work.claim));
                format!("{table}.{branch}")
            }
            Way::Direct => table,
        }
    }

    /// What is read, in SQL: the table as it was when the load began.
    fn reads(&self) -> String {
        let table = match self.way() {
            Way::Branch => self.writes(),
            Way::Direct => {
                let tag = SparkSql.literal(&self.work.claim);
                format!("{} VERSION AS OF {tag}", self.writes())
            }
        };
        if self.work.anew {
            format!("(SELECT * FROM {table} WHERE 1 = 0)")
        } else {
            table
        }
    }

    fn columns(&self) -> Vec<(String, String)> {
        let columns = self.work.columns.iter();
        columns
            .map(|of| (of.name.clone(), of.data_type.clone()))
            .collect()
    }

    fn target(&self) -> Target {
        Target {
            writes: self.writes(),
            reads: self.reads(),
            columns: self.columns(),
            anew: self.work.anew,
        }
    }

    /// Has the engine write what the plan gathered.
    pub(in crate::destination::iceberg) fn carry_out(&mut self) -> Result<()> {
        if !self.work.inserts.is_empty() {
            let inserts = std::mem::take(&mut self.work.inserts);
            let sql = insert::insert(&self.target(), &inserts, &self.work.load_id, self.way())?;
            self.gather(Some(sql))?;
        } else if self.work.anew && self.work.statement.is_none() {
            // A table that is made anew without rows.
            let sql = insert::empty(&self.writes(), self.way());
            self.gather(Some(sql))?;
        }
        self.settle()?;
        fail::fail_point!("iceberg.staging", crate::failpoint::abort);
        if let Some(sql) = self.work.statement.take() {
            self.work.sent = true;
            let done = self.remote.ask(&sql);
            done.map_err(|error| self.of_statement(error))?;
        }
        fail::fail_point!("iceberg.staged", crate::failpoint::abort);
        Ok(())
    }

    /// Spark tells of a commit that was refused, or whose answer it lost, as of any other failure. What it wrote on a branch is seen
    /// by nobody, so that the load can begin anew on another.
    fn of_statement(&self, error: Error) -> Error {
        match self.way() {
            Way::Branch if matches!(error, Error::Destination(_)) => error.of_kind(Kind::Storage),
            _ => error,
        }
    }

    fn gather(&mut self, statement: Option<String>) -> Result<()> {
        if statement.is_some() && self.work.statement.is_some() {
            return Err(Error::internal("a load writes its table twice"));
        }
        self.work.statement = self.work.statement.take().or(statement);
        Ok(())
    }
}

impl Engine for Run<'_> {
    fn dialect(&self) -> &'static dyn Dialect {
        &SparkSql
    }

    fn execute(&mut self, _: &str) -> Result<u64> {
        Err(Error::internal(
            "the plan of a load has a statement that a remote engine is not given",
        ))
    }

    fn make(&mut self, sql: &str) -> Result<u64> {
        self.execute(sql)
    }

    fn query(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()> {
        self.settle_for(sql)?;
        self.remote.channel.run(sql, each)
    }

    fn make_temporary(&mut self, name: &str, query: &str, counted: bool) -> Result<(String, u64)> {
        self.settle_for(query)?;
        let view = self.views.keep(self.remote, name, query)?;
        let engine: &mut dyn Engine = self;
        let [rows] = if counted {
            engine.counts(&format!("SELECT count(*) FROM {view}"))?
        } else {
            [0]
        };
        Ok((view, rows))
    }

    /// With the load: another view may read it.
    fn drop_temporary(&mut self, _: &str) -> Result<()> {
        Ok(())
    }

    fn insert(&mut self, _: &str, insert: &Insert) -> Result<u64> {
        let only = insert.condition.as_ref();
        let only = only.map_or_else(String::new, |only| format!(" WHERE {only}"));
        self.work.inserts.push(insert.clone());
        let engine: &mut dyn Engine = self;
        let [rows] = engine.counts(&format!("SELECT count(*) FROM {}{only}", insert.from))?;
        if rows == 0 && !self.work.anew {
            self.work.inserts.pop();
        }
        Ok(rows)
    }

    fn write(&mut self, merge: &Merge<'_>) -> Result<Counts> {
        let target = self.target();
        let written = Written::of(&target, merge)?;
        let mut counts = merge.nothing();
        let mut counted = Vec::new();
        if let Some(sql) = written.count() {
            self.query(&sql, &mut |row| {
                counted.push(read_counted(row)?);
                Ok(())
            })?;
        }
        for of in &counted {
            for clause in written.clauses(of.what) {
                counts.count(clause, of.rows);
            }
        }
        if let Some(sql) = written.count_replaced() {
            let engine: &mut dyn Engine = self;
            let [replaced] = engine.counts(&sql)?;
            for clause in written.replacing() {
                counts.count(clause, replaced);
            }
        }
        let statement = written.sql(&counted);
        self.gather(statement)?;
        Ok(counts)
    }

    fn writes_once(&self) -> bool {
        true
    }
}

impl Run<'_> {
    /// Claims the table for what reads it.
    fn settle_for(&mut self, sql: &str) -> Result<()> {
        if sql.contains(&self.work.claim) {
            self.settle()?;
        }
        Ok(())
    }
}

fn read_counted(row: TextRow) -> Result<Counted> {
    let unreadable = || Error::internal("the engine's answer could not be read");
    let Ok([Some(what), Some(rows), lowest, highest]) = <[Option<String>; 4]>::try_from(row) else {
        return Err(unreadable());
    };
    Ok(Counted {
        what: what.parse().map_err(|_| unreadable())?,
        rows: rows.parse().map_err(|_| unreadable())?,
        span: lowest.zip(highest),
    })
}

impl SqlEngine for Run<'_> {
    fn dataset(&self) -> &str {
        &self.remote.dataset
    }

    fn table(&self, name: &str) -> String {
        if name == self.work.table {
            self.reads()
        } else {
            self.remote.name(name)
        }
    }

    fn reserves(&self, name: &str) -> bool {
        state::reserves(name)
    }

    /// Rows are read back by the catalog's own writer.
    fn read(
        &mut self,
        _sql: &str,
        _columns: &[Column],
        _each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        Err(Error::internal(
            "rows are not read back from an engine elsewhere",
        ))
    }

    fn create_schema(&mut self) -> Result<()> {
        self.catalog.create_namespace()
    }

    fn columns_of(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        let Some(seen) = self.work.seen.as_ref().filter(|_| name == self.work.table) else {
            return Ok(Vec::new());
        };
        let Some(stream) = state::stream_of(&seen.properties) else {
            return Err(not_ours(&format!("{}.{name}", self.remote.dataset)));
        };
        let fields = seen.schema().map(|schema| schema.fields.clone());
        let columns = fields.unwrap_or_default().into_iter().map(|field| Wanted {
            data_type: field
                .column_type()
                .map_or_else(|| field.shown_type(), |kind| SparkSql.type_name(&kind)),
            name: field.name.clone(),
            field: Some(field),
        });
        self.work.columns = columns.collect();
        let stream = stream.to_owned();
        let table = SqlEngine::table(self, name);
        self.work.streams.insert(table, stream);
        Ok(self.columns())
    }

    fn stream_of_rows(&mut self, table: &str) -> Result<Option<String>> {
        Ok(self.work.streams.get(table).cloned())
    }

    /// A table that is there stays, so that readers never find none: its rows go with the load's statement, and a column that has
    /// another type now is another.
    fn create(
        &mut self,
        table: &mut Table,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) -> Result<Vec<Index>> {
        let away = table.gone(&columns, known);
        self.work.anew = true;
        self.work.altered |= !away.is_empty();
        self.work.columns.retain(|of| !away.contains(&of.name));
        for (name, data_type) in columns {
            let of_name = |of: &&mut Wanted| SparkSql.is_same_name(&of.name, &name);
            match self.work.columns.iter_mut().find(of_name) {
                Some(known) if known.data_type == data_type && known.name == name => {}
                Some(known) => {
                    self.work.altered = true;
                    *known = Wanted {
                        name,
                        data_type,
                        field: None,
                    };
                }
                None => {
                    self.work.altered = true;
                    self.work.columns.push(Wanted {
                        name,
                        data_type,
                        field: None,
                    });
                }
            }
        }
        table.columns = self.columns();
        table.sql = self.reads();
        Ok(Vec::new())
    }

    /// A load that failed may have left the column there.
    fn add_column(&mut self, _: &str, name: &str, data_type: &str) -> Result<()> {
        let known = self.work.columns.iter_mut();
        let known = known
            .into_iter()
            .find(|known| SparkSql.is_same_name(&known.name, name));
        match known {
            Some(known) if known.data_type == data_type => {}
            Some(known) if SparkSql.can_change(&known.data_type, data_type) => {
                data_type.clone_into(&mut known.data_type);
                self.work.altered = true;
            }
            Some(known) if SparkSql.can_change(data_type, &known.data_type) => {}
            Some(known) => {
                return Err(Error::data(format!(
                    "table {} has a column `{name}` of type {} already, and the source's new one is {data_type}",
                    self.work.table, known.data_type
                ))
                .remedy("make the table anew: `acequia run STREAM --full-refresh`"));
            }
            None => {
                self.work.columns.push(Wanted {
                    name: name.to_owned(),
                    data_type: data_type.to_owned(),
                    field: None,
                });
                self.work.altered = true;
            }
        }
        Ok(())
    }

    fn change_column(&mut self, _: &str, name: &str, data_type: &str, _: &str) -> Result<()> {
        for known in &mut self.work.columns {
            if SparkSql.is_same_name(&known.name, name) && known.data_type != data_type {
                data_type.clone_into(&mut known.data_type);
                self.work.altered = true;
            }
        }
        Ok(())
    }

    fn stage(&mut self, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows> {
        stage::of_parts(self.remote, &mut self.views, load, columns)
    }

    fn merge<'a>(
        &mut self,
        temp: &mut TempTables,
        table: &'a Table,
        manifest: &'a Manifest,
        _schema: &TableSchema,
        rows: &Rows,
    ) -> Result<Merge<'a>> {
        duckdb::merge::merge(self, temp, table, manifest, rows)
    }
}
