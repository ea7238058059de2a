//! The plan's database for one load: queries go to the engine, what the plan writes is gathered into one statement, and the
//! table is made and altered through the catalog.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::destination::StagedLoad;
use crate::destination::iceberg::catalog::{Catalog, Committed, TableMetadata, asserted};
use crate::destination::iceberg::layout::Layout;
use crate::destination::iceberg::schema::{Field, TableFields};
use crate::destination::iceberg::state::{self, Intent, LEDGER, Properties};
use crate::destination::sql::statement::{Insert, Merge, Written as Counts};
use crate::destination::sql::table::not_ours;
use crate::destination::sql::{Dialect, Engine, Index, Rows, SqlEngine, Table, TempTables, TextRow};
use crate::destination::{LOAD_ID_COLUMN, duckdb};
use crate::error::{Error, Kind, Result};
use crate::evolution::TableSchema;
use crate::failpoint;
use crate::landing::manifest::Manifest;
use crate::schema::Column;

use super::dialect::SparkSql;
use super::merge::{self, Counted, Target, Written};
use super::{Remote, stage};

/// One load at work.
pub(super) struct Run<'a> {
    pub(super) remote: &'a mut Remote,
    pub(super) catalog: &'a mut Catalog,
    pub(super) work: Work,
    views: Views,
}

/// What a load does.
pub(super) struct Work {
    table: String,
    load_id: String,
    at_creation: Properties,
    layout: Layout,
    /// The table as the catalog has it.
    pub(super) seen: Option<TableMetadata>,
    /// The mark, a branch or a tag, by which the load claims the table; and its number.
    claim: String,
    turn: u64,
    /// The snapshot that it begins on, once it is claimed.
    pub(super) from: Option<i64>,
    /// The table's columns as the load wants them.
    columns: Vec<Wanted>,
    altered: bool,
    anew: bool,
    inserts: Vec<Insert>,
    statement: Option<String>,
    /// Whether the statement was sent.
    sent: bool,
    streams: HashMap<String, String>,
}

/// A column of the table.
struct Wanted {
    name: String,
    data_type: String,
    /// As the table has it now; none where it is new.
    field: Option<Field>,
}

/// Views of the session, which are dropped with the load.
#[derive(Default)]
pub(super) struct Views(Vec<String>);

impl Views {
    /// Makes a view of a query. Its full name.
    pub(super) fn make(&mut self, remote: &mut Remote, name: &str, query: &str) -> Result<String> {
        self.declare(remote, name, &format!("AS {query}"))
    }

    /// Makes a view of what follows its name. No two views of a session have one name: one that was made before would read the
    /// other.
    pub(super) fn declare(&mut self, remote: &mut Remote, name: &str, rest: &str) -> Result<String> {
        remote.views += 1;
        let view = SparkSql.identifier(&format!("{name}_{}", remote.views));
        remote.ask(&format!("CREATE OR REPLACE TEMPORARY VIEW {view} {rest}"))?;
        self.0.push(view.clone());
        Ok(view)
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        remote: &'a mut Remote,
        catalog: &'a mut Catalog,
        load: &StagedLoad,
        at_creation: Properties,
        layout: Layout,
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
                layout,
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

    /// What is written to, in SQL.
    fn writes(&self) -> String {
        let table = self.remote.name(&self.work.table);
        if self.remote.branches {
            let branch = SparkSql.identifier(&format!("branch_{}", self.work.claim));
            format!("{table}.{branch}")
        } else {
            table
        }
    }

    /// What is read, in SQL: the table as it was when the load began.
    fn reads(&self) -> String {
        let table = if self.remote.branches {
            self.writes()
        } else {
            let tag = SparkSql.literal(&self.work.claim);
            format!("{} VERSION AS OF {tag}", self.writes())
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

    fn seen(&self) -> Result<&TableMetadata> {
        let seen = self.work.seen.as_ref();
        seen.ok_or_else(|| again(format!("table {} is gone", self.work.table)))
    }

    fn look(&mut self) -> Result<()> {
        self.work.seen = self.catalog.table(&self.work.table)?;
        self.seen().map(drop)
    }

    fn commit(&mut self, requirements: Vec<Value>, updates: Vec<Value>) -> Result<Committed> {
        let seen = self.seen()?.clone();
        self.catalog
            .commit(&self.work.table, &seen, requirements, updates)
    }

    /// Claims the table for the load, once it is there and has the load's columns.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.work.from.is_some() {
            return Ok(());
        }
        self.bring_schema()?;
        let begun = self.seen()?.clone();
        // The load was begun, and may have been written: it is written again on what it began on.
        let resumed = Intent::read(&begun.properties)
            .filter(|intent| !self.remote.branches && intent.load == self.work.load_id)
            .and_then(|intent| begun.reference(&intent.claim));
        let from = match resumed {
            Some(from) => from,
            None => self.snapshot_of_schema()?,
        };
        let claim = self.work.claim.clone();
        let mut requirements = vec![asserted(&claim, None)];
        if resumed.is_none() {
            requirements.push(asserted("main", Some(from)));
        }
        let mut updates = Vec::new();
        for (dead, at) in state::claims(self.seen()?) {
            requirements.push(asserted(dead, Some(at)));
            updates.push(json!({"action": "remove-snapshot-ref", "ref-name": dead}));
        }
        let kind = if self.remote.branches { "branch" } else { "tag" };
        updates.push(json!({
            "action": "set-snapshot-ref", "ref-name": claim, "type": kind, "snapshot-id": from
        }));
        let intent = Intent {
            load: self.work.load_id.clone(),
            claim: claim.clone(),
        };
        updates.push(json!({
            "action": "set-properties", "updates": intent.write(self.work.turn)?
        }));
        done(self.commit(requirements, updates)?)?;
        fail::fail_point!("iceberg.claimed", failpoint::abort);
        self.look()?;
        let now = self.seen()?;
        if now.reference(&claim) != Some(from) || !state::stands_as(&begun, now) {
            return Err(again(format!("another run is at table {}", self.work.table)));
        }
        self.work.from = Some(from);
        Ok(())
    }

    /// Makes the table, or gives it the columns that the load wants.
    fn bring_schema(&mut self) -> Result<()> {
        let Some(seen) = self.work.seen.clone() else {
            let mut last = 0;
            let fields = self.fields(&mut last)?;
            let made = self.catalog.create_table(
                &self.work.table,
                &TableFields::of(fields),
                &self.work.layout,
                &self.work.at_creation,
            )?;
            done(made)?;
            return self.look();
        };
        if !self.work.altered {
            return Ok(());
        }
        let mut last = seen.last_column_id;
        let fields = self.fields(&mut last)?;
        let requirements = vec![
            seen.assert_schema(),
            asserted("main", seen.snapshot()),
            json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": seen.last_column_id}),
        ];
        let updates = vec![
            json!({"action": "add-schema", "schema": TableFields::of(fields), "last-column-id": last}),
            json!({"action": "set-current-schema", "schema-id": -1}),
        ];
        done(self.commit(requirements, updates)?)?;
        self.work.altered = false;
        self.look()
    }

    fn fields(&self, last: &mut i32) -> Result<Vec<Field>> {
        let columns = self.work.columns.iter();
        columns
            .map(|wanted| {
                let kind = SparkSql.parse_type(&wanted.data_type);
                match (&wanted.field, kind) {
                    (Some(field), Some(kind)) if field.column_type() != Some(kind.clone()) => {
                        Ok(field.promoted(&kind))
                    }
                    (Some(field), _) => Ok(field.clone()),
                    (None, Some(kind)) => Ok(Field::new(&wanted.name, &kind, last)),
                    (None, None) => Err(Error::internal("a column of a type that Iceberg lacks")),
                }
            })
            .collect()
    }

    /// The table's snapshot, which has to have its columns: what is read at a snapshot has those that it was made with.
    fn snapshot_of_schema(&mut self) -> Result<i64> {
        let seen = self.seen()?;
        if let Some(now) = seen.snapshot().filter(|now| seen.is_of_this_schema(*now)) {
            return Ok(now);
        }
        let d: &dyn Dialect = &SparkSql;
        let id = d.identifier(LOAD_ID_COLUMN);
        // One that changes no row.
        self.remote.ask(&format!(
            "MERGE INTO {} AS _acequia_old USING (SELECT CAST(NULL AS STRING) AS {id} WHERE 1 = 0) AS _acequia_new \
             ON _acequia_old.{id} = _acequia_new.{id} WHEN NOT MATCHED THEN INSERT ({id}) VALUES (_acequia_new.{id})",
            self.remote.name(&self.work.table)
        ))?;
        self.look()?;
        let seen = self.seen()?;
        let now = seen.snapshot().filter(|now| seen.is_of_this_schema(*now));
        now.ok_or_else(|| {
            again(format!(
                "the engine at {} wrote table {}, and the catalog does not have it",
                self.remote.channel.address(),
                self.work.table
            ))
            .remedy("name the catalog as the engine calls it with `engine_catalog` of the destination, and see that it is the same one")
        })
    }

    /// Has the engine write what the plan gathered.
    pub(super) fn carry_out(&mut self) -> Result<()> {
        if !self.work.inserts.is_empty() {
            let (writes, reads, columns) = (self.writes(), self.reads(), self.columns());
            let target = Target {
                writes: &writes,
                reads: &reads,
                columns: &columns,
                anew: self.work.anew,
            };
            let inserts = std::mem::take(&mut self.work.inserts);
            let sql = if self.remote.branches {
                merge::insert_into_branch(target, &inserts)?
            } else {
                merge::insert(target, &inserts, &self.work.load_id)?
            };
            self.gather(Some(sql))?;
        } else if self.work.anew && self.work.statement.is_none() {
            // A table that is made anew without rows.
            let sql = format!("DELETE FROM {} WHERE 1 = 1", self.writes());
            let sql = if self.remote.branches { sql } else { merge::empty(&self.writes()) };
            self.gather(Some(sql))?;
        }
        self.settle()?;
        fail::fail_point!("iceberg.staging", failpoint::abort);
        if let Some(sql) = self.work.statement.take() {
            self.work.sent = true;
            self.remote.ask(&sql)?;
        }
        fail::fail_point!("iceberg.staged", failpoint::abort);
        Ok(())
    }

    fn gather(&mut self, statement: Option<String>) -> Result<()> {
        if statement.is_some() && self.work.statement.is_some() {
            return Err(Error::internal("a load writes its table twice"));
        }
        self.work.statement = self.work.statement.take().or(statement);
        Ok(())
    }

    /// Sets the properties and takes the mark away, and brings a branch's snapshot into the table: one commit.
    ///
    /// # Errors
    /// Where the table is not where the load has left it.
    pub(super) fn publish(&mut self, properties: &Properties) -> Result<Committed> {
        let begun = self.seen()?.clone();
        let Some(from) = self.work.from else {
            return Err(Error::internal("a load is published that has not claimed its table"));
        };
        self.look()?;
        let seen = self.seen()?;
        let claim = self.work.claim.clone();
        let elsewhere = || again(format!("another run is at table {}", self.work.table));
        let at = seen.reference(&claim).ok_or_else(elsewhere)?;
        if !state::stands_as(&begun, seen) {
            return Err(elsewhere());
        }
        let main = seen.snapshot();
        let mut requirements = vec![asserted(&claim, Some(at))];
        let mut updates = Vec::new();
        if self.remote.branches {
            // An engine that repeated its commit would have made two.
            let is_next = seen.parent(at) == Some(from);
            if self.work.sent != (at != from) || (self.work.sent && !is_next) {
                return Err(elsewhere());
            }
            requirements.push(asserted("main", Some(from)));
            if at != from {
                updates.push(json!({
                    "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": at
                }));
            }
        } else {
            if self.work.sent && main == Some(from) {
                return Err(again(format!(
                    "the engine at {} wrote table {}, and the catalog does not have it",
                    self.remote.channel.address(),
                    self.work.table
                )));
            }
            requirements.push(asserted("main", main));
        }
        updates.push(json!({"action": "set-properties", "updates": properties}));
        updates.push(json!({"action": "remove-properties", "removals": [state::INTENT]}));
        updates.push(json!({"action": "remove-snapshot-ref", "ref-name": claim}));
        fail::fail_point!("iceberg.before_commit", failpoint::abort);
        self.commit(requirements, updates)
    }

    /// Drops the views; and gives the claim up, where nothing was written for it.
    pub(super) fn close(&mut self, gives_up: bool) {
        for view in std::mem::take(&mut self.views.0) {
            if let Err(error) = self.remote.ask(&format!("DROP VIEW IF EXISTS {view}")) {
                tracing::debug!("a view stays: {error}");
                break;
            }
        }
        let Some(from) = self.work.from.filter(|_| gives_up && !self.work.sent) else {
            return;
        };
        let claim = self.work.claim.clone();
        let given_up = self.commit(
            vec![asserted(&claim, Some(from))],
            vec![
                json!({"action": "remove-properties", "removals": [state::INTENT]}),
                json!({"action": "remove-snapshot-ref", "ref-name": claim}),
            ],
        );
        tracing::debug!(?given_up, "a claim is given up");
    }
}

fn again(what: String) -> Error {
    Error::destination(what)
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("run again; keep others from writing tables of acequia's")
}

/// A commit that has to be done before the load goes on. What became of one whose answer was lost is seen when the load is begun
/// anew.
fn done(committed: Committed) -> Result<()> {
    match committed {
        Committed::Done => Ok(()),
        Committed::Conflict(error) | Committed::Unknown(error) => {
            Err(error.for_now().of_kind(Kind::Storage))
        }
    }
}

impl Engine for Run<'_> {
    fn dialect(&self) -> &'static dyn Dialect {
        &SparkSql
    }

    fn execute(&mut self, _: &str) -> Result<u64> {
        Err(Error::internal("the plan of a load has a statement that a remote engine is not given"))
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
        let view = self.views.make(self.remote, name, query)?;
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
        let (writes, reads, columns) = (self.writes(), self.reads(), self.columns());
        let target = Target {
            writes: &writes,
            reads: &reads,
            columns: &columns,
            anew: self.work.anew,
        };
        let written = Written::of(target, merge)?;
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
        name.eq_ignore_ascii_case(LEDGER) || name.to_ascii_lowercase().starts_with("_acequia")
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
