//! The plan's database for one load: queries go to the engine, what the plan writes is gathered into one statement for each table,
//! and tables are made and altered through the catalog.

use std::collections::HashMap;

use arrow::array::RecordBatch;

use crate::destination::StagedLoad;
use crate::destination::duckdb;
use crate::destination::iceberg::catalog::{Catalog, Committed};
use crate::destination::iceberg::claims::{self, Tables, keeps_changes, makes_anew};
use crate::destination::iceberg::state::{self, Kept, Properties};
use crate::destination::sql::changes::changelog;
use crate::destination::sql::dialect::{KEY, OLD};
use crate::destination::sql::statement::{Exchange, Exchanged, Insert, Merge, Written as Counts};
use crate::destination::sql::table::not_ours;
use crate::destination::sql::{
    Dialect, Engine, Index, Rows, SqlEngine, Table, TempTables, TextRow, filter,
};
use crate::error::{Error, Kind, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::Manifest;
use crate::layout::Layout;
use crate::schema::Column;

use super::claim::{self, Claimant};
use super::dialect::SparkSql;
use super::load_table::LoadTable;
use super::merge::{Counted, Target, Written};
use super::views::Views;
use super::{Remote, Way, exchange, insert, stage};

/// One load at work.
pub(in crate::destination::iceberg) struct Run<'a> {
    of: Claimant<'a>,
    views: Views,
    /// The stream's table.
    table: LoadTable,
    /// Its table of changes, where it has one.
    changes: Option<LoadTable>,
    /// The streams of the tables that were looked at, by their names in SQL.
    streams: HashMap<String, String>,
}

impl<'a> Run<'a> {
    /// A load into tables as they were found a moment ago; `own` is what the stream's table kept.
    pub(in crate::destination::iceberg) fn new(
        remote: &'a mut Remote,
        catalog: &'a mut Catalog,
        load: &StagedLoad,
        at_creation: Properties,
        found: Tables,
        own: Option<Kept>,
    ) -> Self {
        let manifest = &load.manifest;
        let turn = found.next_turn();
        let name = changelog::table_name(&manifest.table);
        Self {
            of: Claimant {
                remote,
                catalog,
                load_id: manifest.load_id.to_string(),
                at_creation,
                claim: claims::named(turn),
                turn,
                rebuilds: makes_anew(manifest),
                amends: claims::amends(manifest),
                own,
            },
            views: Views::default(),
            table: LoadTable::new(&manifest.table, load.layout.clone(), found.table),
            changes: keeps_changes(manifest)
                .then(|| LoadTable::new(&name, Layout::default(), found.changes)),
            streams: HashMap::new(),
        }
    }

    fn way(&self) -> Way {
        self.of.remote.way
    }

    /// What is written to, in SQL.
    fn writes(&self, table: &LoadTable) -> String {
        let name = self.of.remote.name(&table.name);
        match self.way() {
            Way::Branch => {
                let branch = SparkSql.identifier(&format!("branch_{}", self.of.claim));
                format!("{name}.{branch}")
            }
            Way::Direct => name,
        }
    }

    /// What is read, in SQL: the table as it was when the load began.
    fn reads(&self, table: &LoadTable) -> String {
        let writes = self.writes(table);
        let reads = match self.way() {
            Way::Branch => writes,
            Way::Direct => {
                let tag = SparkSql.literal(&self.of.claim);
                format!("{writes} VERSION AS OF {tag}")
            }
        };
        if table.anew {
            format!("(SELECT * FROM {reads} WHERE 1 = 0)")
        } else {
            reads
        }
    }

    fn target(&self, table: &LoadTable) -> Target {
        Target {
            writes: self.writes(table),
            reads: self.reads(table),
            columns: table.columns(),
            anew: table.anew,
        }
    }

    /// The table of that name in SQL, of the two that a load has.
    fn named(&mut self, sql: &str) -> &mut LoadTable {
        let is_of_changes = self
            .changes
            .as_ref()
            .is_some_and(|changes| self.reads(changes) == sql);
        match &mut self.changes {
            Some(changes) if is_of_changes => changes,
            _ => &mut self.table,
        }
    }

    /// The statement that a table's inserts come to, or that empties it, where it is made anew without rows.
    fn of_inserts(&self, table: &LoadTable) -> Result<Option<String>> {
        if !table.inserts.is_empty() {
            let target = self.target(table);
            let sql = insert::insert(&target, &table.inserts, &self.of.load_id, self.way());
            return sql.map(Some);
        }
        let is_emptied = table.anew && table.statement.is_none();
        Ok(is_emptied.then(|| insert::empty(&self.writes(table), self.way())))
    }

    /// Has the engine write what the plan gathered: the table of changes first, as its rows may have values that the table had
    /// before.
    pub(in crate::destination::iceberg) fn carry_out(&mut self) -> Result<()> {
        let of_table = self.of_inserts(&self.table)?;
        self.table.gather(of_table)?;
        if let Some(changes) = &self.changes {
            let of_changes = self.of_inserts(changes)?;
            if let Some(changes) = &mut self.changes {
                changes.gather(of_changes)?;
            }
        }
        self.settle()?;
        fail::fail_point!("iceberg.staging", crate::failpoint::abort);
        if let Some(changes) = &mut self.changes {
            send(&mut self.of, changes)?;
            fail::fail_point!("iceberg.changes_staged", crate::failpoint::abort);
        }
        send(&mut self.of, &mut self.table)?;
        fail::fail_point!("iceberg.staged", crate::failpoint::abort);
        Ok(())
    }

    /// Sets the properties and makes what was written the tables, in one commit.
    ///
    /// # Errors
    /// Where a table is not where the load has left it.
    pub(in crate::destination::iceberg) fn publish(
        &mut self,
        properties: &Properties,
    ) -> Result<Committed> {
        let changes = self.changes.as_mut();
        claim::publish(&mut self.of, &mut self.table, changes, properties)
    }

    /// Drops the views; and gives the claims up, where nothing was written for them that could be seen.
    pub(in crate::destination::iceberg) fn close(&mut self, gives_up: bool) {
        self.views.drop_all(self.of.remote);
        let was_sent = self.table.sent || self.changes.as_ref().is_some_and(|of| of.sent);
        if !gives_up || (self.way() == Way::Direct && was_sent) {
            return;
        }
        for table in [&mut self.table].into_iter().chain(&mut self.changes) {
            let answer = table.give_up(&mut self.of);
            tracing::debug!(?answer, "a claim is given up");
        }
    }

    /// Claims the tables for the load: its own, and that of changes where it writes that one.
    fn settle(&mut self) -> Result<()> {
        self.table.settle(&mut self.of)?;
        match &mut self.changes {
            Some(changes) if changes.is_written() => changes.settle(&mut self.of),
            Some(changes) => changes.bring_schema(&mut self.of),
            None => Ok(()),
        }
    }

    /// Claims the tables for what reads them.
    fn settle_for(&mut self, sql: &str) -> Result<()> {
        if sql.contains(&self.of.claim) {
            self.settle()?;
        }
        Ok(())
    }

    /// How many rows an insert adds.
    fn count(&mut self, insert: &Insert) -> Result<u64> {
        let only = filter(&insert.condition);
        let engine: &mut dyn Engine = self;
        let [rows] = engine.counts(&format!("SELECT count(*) FROM {}{only}", insert.from))?;
        Ok(rows)
    }
}

/// Has the engine write a table.
fn send(of: &mut Claimant<'_>, table: &mut LoadTable) -> Result<()> {
    let Some(sql) = table.statement.take() else {
        return Ok(());
    };
    table.sent = true;
    let sent = of.remote.ask(&sql);
    // Spark tells of a commit that was refused, or whose answer it lost, as of any other failure. What it wrote on a branch is
    // seen by nobody, so that the load can begin anew on another.
    sent.map(drop).map_err(|error| match of.remote.way {
        Way::Branch if matches!(error, Error::Destination(_)) => error.of_kind(Kind::Storage),
        _ => error,
    })
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
        self.of.remote.channel.run(sql, each)
    }

    fn make_temporary(&mut self, name: &str, query: &str, counted: bool) -> Result<(String, u64)> {
        self.settle_for(query)?;
        let view = self.views.keep(self.of.remote, name, query)?;
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

    fn insert(&mut self, table: &str, insert: &Insert) -> Result<u64> {
        let rows = self.count(insert)?;
        let table = self.named(table);
        if rows > 0 || table.anew {
            table.inserts.push(insert.clone());
        }
        Ok(rows)
    }

    fn add(&mut self, table: &str, insert: &Insert) -> Result<()> {
        self.named(table).inserts.push(insert.clone());
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Exchanged> {
        let mut exchanged = Exchanged::default();
        let (reads, was_anew) = (self.reads(&self.table), self.table.anew);
        if exchange.empties && !was_anew {
            let engine: &mut dyn Engine = self;
            [exchanged.emptied] =
                engine.counts(&format!("SELECT count(*) FROM {reads} AS {OLD}"))?;
        }
        if let Some(insert) = &exchange.insert {
            exchanged.inserted = self.count(insert)?;
        }
        if let Some(within) = &exchange.within {
            let engine: &mut dyn Engine = self;
            [exchanged.emptied] = engine.counts(&format!(
                "SELECT count(*) FROM {reads} AS {OLD} WHERE {within}"
            ))?;
            if exchanged.emptied > 0 || exchanged.inserted > 0 {
                let target = self.target(&self.table);
                let sql = exchange::of_range(&target, exchange, within, &self.of.load_id)?;
                self.table.gather(Some(sql))?;
            }
            return Ok(exchanged);
        }
        let Some(gone) = &exchange.gone else {
            self.table.anew |= exchange.empties;
            let came = exchange.insert.clone().filter(|_| exchanged.inserted > 0);
            self.table.inserts.extend(came);
            return Ok(exchanged);
        };
        let engine: &mut dyn Engine = self;
        [exchanged.gone] = engine.counts(&format!(
            "SELECT count(*) FROM {reads} AS {OLD} JOIN {} AS {KEY} ON {}",
            gone.rows,
            gone.condition(&SparkSql)
        ))?;
        let target = self.target(&self.table);
        let sql = exchange::of_equals(&target, exchange, gone, &self.of.load_id, self.way())?;
        self.table.gather(Some(sql))?;
        Ok(exchanged)
    }

    fn write(&mut self, merge: &Merge<'_>) -> Result<Counts> {
        let target = self.target(&self.table);
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
        self.table.gather(statement)?;
        Ok(counts)
    }

    fn writes_once(&self) -> bool {
        true
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
    /// A load writes what it brings, and a lake's tables keep their columns.
    fn forgets_marked(&self) -> bool {
        false
    }

    fn dataset(&self) -> &str {
        &self.of.remote.dataset
    }

    fn table(&self, name: &str) -> String {
        let tables = [&self.table].into_iter().chain(&self.changes);
        match tables.into_iter().find(|table| table.name == name) {
            Some(table) => self.reads(table),
            None => self.of.remote.name(name),
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
        self.of.catalog.create_namespace()
    }

    fn columns_of(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        let mut tables = [&self.table].into_iter().chain(&self.changes);
        let Some(table) = tables.find(|table| table.name == name) else {
            return Ok(Vec::new());
        };
        let Some(seen) = &table.seen else {
            return Ok(Vec::new());
        };
        let Some(stream) = state::stream_of(&seen.properties) else {
            return Err(not_ours(&format!("{}.{name}", self.of.remote.dataset)));
        };
        let (sql, stream) = (self.reads(table), stream.to_owned());
        let columns = table.columns();
        self.streams.insert(sql, stream);
        Ok(columns)
    }

    fn stream_of_rows(&mut self, table: &str) -> Result<Option<String>> {
        Ok(self.streams.get(table).cloned())
    }

    /// A table that is there stays, so that readers never find none: its rows go with the load's statement.
    fn create(
        &mut self,
        table: &mut Table,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) -> Result<Vec<Index>> {
        let made = self.named(&table.sql);
        made.make(table, columns, known);
        table.columns = made.columns();
        // That of changes is made where it is missing, and never anew.
        if table.name == self.table.name {
            self.table.anew = true;
            table.sql = self.reads(&self.table);
        }
        Ok(Vec::new())
    }

    fn add_column(&mut self, table: &str, name: &str, data_type: &str) -> Result<()> {
        self.named(table).add_column(name, data_type)
    }

    fn change_column(&mut self, table: &str, name: &str, data_type: &str, _: &str) -> Result<()> {
        self.named(table).change_column(name, data_type);
        Ok(())
    }

    fn stage(&mut self, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows> {
        stage::of_parts(self.of.remote, &mut self.views, load, columns)
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
