//! One stream's changes: from the messages of its table to batches, through every shape that the table takes.
//!
//! The server tells a table's shape before the first change that has it, also in the midst of a transaction. New columns
//! and dropped ones are followed, with a part of their own in the landing area. What the log does not tell (values that
//! a default, a rename or a new type gave to rows that were there) makes the stream begin anew, with a snapshot.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::change::{ChangeBuilder, Mark, Places};
use super::pgoutput::{Old, Relation, Tuple, Value};
use super::setup::Table;
use crate::change::{self, Op};
use crate::config::Stream;
use crate::error::{Error, Result};
use crate::evolution::{SchemaContract, TableSchema, evolve, number};
use crate::position::{Lsn, LsnPosition};
use crate::schema::{Column, ColumnSpec, Schema};
use crate::source::postgres::catalog;
use crate::source::postgres::text::TextForm;
use crate::source::postgres::types::{ColumnPlan, plan};

/// One stream's changes.
#[derive(Debug)]
pub struct Feed {
    stream: Stream,
    table: Table,
    from: LsnPosition,
    /// The stream's schema, with the columns that came since: what gives columns their field ids.
    numbering: TableSchema,
    /// Name and type of the columns that rows have now.
    live: Vec<(String, String)>,
    /// The columns of all changes so far.
    sent: Vec<Column>,
    /// How each relation's rows (the table's own, or those of a partition) lie in the batches.
    shapes: HashMap<u32, Shape>,
    builder: Option<ChangeBuilder>,
    /// Complete batches that wait to be sent.
    ready: Vec<RecordBatch>,
    lane: mpsc::Sender<RecordBatch>,
    end: Option<End>,
}

/// Why a feed takes no more changes.
#[derive(Debug, Clone)]
enum End {
    /// Its stream cannot be carried.
    Failed(Error),
    /// Its stream has to begin anew.
    Restart(String),
}

/// How a relation's rows lie in the batches.
#[derive(Debug)]
struct Shape {
    places: Places,
    key: Vec<usize>,
}

/// What a feed comes to.
#[derive(Debug, Clone, Default)]
pub struct FeedEnd {
    /// The columns of its parts; none where it had no change.
    pub schema: Option<Schema>,
    /// Why the stream has to begin anew, where it has to.
    pub restart: Option<String>,
}

impl Feed {
    /// The changes of a stream whose table has the schema `known`, from a position on.
    pub fn new(
        stream: &Stream,
        table: &Table,
        known: &TableSchema,
        from: &LsnPosition,
        lane: mpsc::Sender<RecordBatch>,
    ) -> Self {
        let live = known
            .columns
            .iter()
            .filter(|column| !column.retired && !change::is_of_change(&column.column.name))
            .map(|column| {
                (
                    column.column.name.clone(),
                    column.column.source_type.clone(),
                )
            })
            .collect();
        Self {
            stream: stream.clone(),
            table: table.clone(),
            from: from.clone(),
            numbering: known.clone(),
            live,
            sent: Vec::new(),
            shapes: HashMap::new(),
            builder: None,
            ready: Vec::new(),
            lane,
            end: None,
        }
    }

    /// The table that it follows.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether the changes of a transaction are to be taken.
    pub fn wants(&self, commit_lsn: Lsn) -> bool {
        self.end.is_none() && commit_lsn >= self.from.lsn
    }

    /// Whether the shape of that relation has been looked at.
    pub fn knows(&self, relation: u32) -> bool {
        self.shapes.contains_key(&relation)
    }

    /// Forgets a relation's shape: another may have come.
    pub fn forget(&mut self, relation: u32) {
        self.shapes.remove(&relation);
    }

    /// Looks at the shape of a relation, before its first change.
    pub async fn shape(&mut self, client: &Client, relation: &Relation) {
        if let Err(error) = self.take_shape(client, relation).await {
            self.end = Some(End::Failed(error));
        }
    }

    async fn take_shape(&mut self, client: &Client, relation: &Relation) -> Result<()> {
        let Some(columns) = catalog::typed(client, &relation.columns).await? else {
            self.restart("a type of one of its columns was dropped meanwhile");
            return Ok(());
        };
        let takes = |name: &String| {
            let taken = self
                .stream
                .columns
                .as_ref()
                .is_none_or(|names| names.contains(name));
            taken && !self.stream.exclude.contains(name)
        };
        let mut plans = Vec::with_capacity(columns.len());
        let mut forms = Vec::with_capacity(columns.len());
        for column in columns.iter().filter(|column| takes(&column.name)) {
            let mut plan = plan(column, self.stream.types.get(&column.name))?;
            // A deleted row has values in the key columns alone.
            plan.spec.nullable = true;
            forms.push(TextForm::of(column, &plan)?);
            plans.push(plan);
        }
        let live: Vec<(String, String)> = plans
            .iter()
            .map(|plan| (plan.spec.name.clone(), plan.spec.source_type.clone()))
            .collect();
        if !self.follow(client, relation.oid, &live).await? {
            return Ok(());
        }
        let place = |name: &String| {
            relation
                .columns
                .iter()
                .position(|column| column.name == *name)
        };
        let Some(key) = self
            .table
            .key
            .iter()
            .map(place)
            .collect::<Option<Vec<usize>>>()
        else {
            self.restart("its key changed");
            return Ok(());
        };
        if self.builder.is_none() || !same_names(&self.live, &live) {
            self.build(&plans, forms)?;
            self.live = live;
        }
        let names = self.live.iter().map(|(name, _)| place(name)).collect();
        self.shapes
            .insert(relation.oid, Shape { places: names, key });
        Ok(())
    }

    /// Whether rows of these columns can follow those so far. Where not, the feed has ended.
    async fn follow(
        &mut self,
        client: &Client,
        relation: u32,
        live: &[(String, String)],
    ) -> Result<bool> {
        let find = |among: &[(String, String)], name: &str| {
            among
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, kind)| kind.clone())
        };
        let mut new = Vec::new();
        let mut changes = Vec::new();
        for (name, kind) in live {
            match find(&self.live, name) {
                None => {
                    changes.push(format!("column `{name}` ({kind}) is new"));
                    new.push(name.clone());
                }
                Some(known) if known != *kind => {
                    changes.push(format!("column `{name}` changed from {known} to {kind}"));
                    if self.stream.contract == SchemaContract::Evolve {
                        self.restart(&format!(
                            "its column `{name}` changed from {known} to {kind}"
                        ));
                        return Ok(false);
                    }
                }
                Some(_) => {}
            }
        }
        let gone: Vec<&String> = self
            .live
            .iter()
            .map(|(name, _)| name)
            .filter(|name| find(live, name).is_none())
            .collect();
        changes.extend(
            gone.iter()
                .map(|name| format!("column `{name}` is gone from the source")),
        );
        if changes.is_empty() {
            return Ok(true);
        }
        if self.stream.contract == SchemaContract::Freeze {
            return Err(Error::data(format!(
                "the source's schema changed and schema_contract is \"freeze\": {}",
                changes.join("; ")
            ))
            .remedy(
                "set schema_contract = \"evolve\" for the stream, or name the columns that it takes with `columns`",
            ));
        }
        if let (Some(gone), Some(new)) = (gone.first(), new.first()) {
            let reason = format!("its column `{gone}` was renamed or replaced (`{new}` is new)");
            self.restart(&reason);
            return Ok(false);
        }
        let filled = catalog::columns_with_defaults(client, relation, &new).await?;
        if let Some(name) = filled.first() {
            let reason = format!(
                "its new column `{name}` has a default, which gave values to rows that were there"
            );
            self.restart(&reason);
            return Ok(false);
        }
        Ok(true)
    }

    fn restart(&mut self, reason: &str) {
        self.end = Some(End::Restart(reason.to_owned()));
    }

    /// Begins batches of another shape.
    fn build(&mut self, plans: &[ColumnPlan], forms: Vec<TextForm>) -> Result<()> {
        self.flush()?;
        let mut specs: Vec<ColumnSpec> = plans.iter().map(|plan| plan.spec.clone()).collect();
        specs.extend(change::columns());
        let schema = number(Some(&self.numbering), specs);
        self.numbering = evolve(&self.numbering, &schema)?.table;
        for column in schema.columns.iter().take(plans.len()) {
            if !self.sent.iter().any(|sent| sent.name == column.name) {
                self.sent.push(column.clone());
            }
        }
        self.builder = Some(ChangeBuilder::new(&schema, plans.to_vec(), forms));
        Ok(())
    }

    /// A row came.
    pub fn insert(&mut self, mark: Mark, relation: u32, message: &[u8], new: &Tuple) {
        self.push(Op::Insert, mark, relation, message, new, None);
    }

    /// A row went.
    pub fn delete(&mut self, mark: Mark, relation: u32, message: &[u8], old: &Tuple) {
        self.push(Op::Delete, mark, relation, message, old, None);
    }

    /// A row changed. Where its key did, or where whole rows are matched, that is a delete and an insert: whether so.
    pub fn update(
        &mut self,
        mark: Mark,
        relation: u32,
        message: &[u8],
        old: Option<&Old>,
        new: &Tuple,
    ) -> bool {
        let moved = old.is_some_and(|old| {
            self.table.key.is_empty() || self.moves(relation, message, &old.tuple, new)
        });
        let tuple = old.map(|old| &old.tuple);
        if let (true, Some(old)) = (moved, tuple) {
            self.push(Op::Delete, mark, relation, message, old, None);
            let next = Mark {
                seq: mark.seq + 1,
                ..mark
            };
            self.push(Op::Insert, next, relation, message, new, Some(old));
        } else {
            self.push(Op::Update, mark, relation, message, new, tuple);
        }
        moved
    }

    /// Whether the key differs.
    fn moves(&self, relation: u32, message: &[u8], old: &Tuple, new: &Tuple) -> bool {
        let Some(shape) = self.shapes.get(&relation) else {
            return false;
        };
        shape
            .key
            .iter()
            .any(|place| match (old.0.get(*place), new.0.get(*place)) {
                (_, Some(Value::Unchanged)) => false,
                (
                    Some(Value::Text(old) | Value::Binary(old)),
                    Some(Value::Text(new) | Value::Binary(new)),
                ) => message.get(old.clone()) != message.get(new.clone()),
                (old, new) => old != new,
            })
    }

    /// All rows went.
    pub fn truncate(&mut self, mark: Mark) {
        let pushed = match &mut self.builder {
            Some(builder) => builder.push_truncate(mark),
            None => Err(Error::internal(
                "a table was truncated before it was described",
            )),
        };
        self.settle(pushed);
    }

    /// A partition was truncated: what went with it is not in the log.
    pub fn truncate_partition(&mut self) {
        if self.end.is_none() {
            self.restart("one of its partitions was truncated");
        }
    }

    fn push(
        &mut self,
        op: Op,
        mark: Mark,
        relation: u32,
        message: &[u8],
        tuple: &Tuple,
        old: Option<&Tuple>,
    ) {
        if self.end.is_some() {
            return;
        }
        let pushed = match (&mut self.builder, self.shapes.get(&relation)) {
            (Some(builder), Some(shape)) => {
                builder.push(op, mark, &shape.places, message, tuple, old)
            }
            _ => Err(Error::internal(
                "a change came before its table was described",
            )),
        };
        self.settle(pushed);
    }

    fn settle(&mut self, pushed: Result<()>) {
        let settled = pushed.and_then(|()| match &self.builder {
            Some(builder) if builder.is_full() => self.flush(),
            _ => Ok(()),
        });
        if let Err(error) = settled {
            self.end = Some(End::Failed(error));
        }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(builder) = &mut self.builder {
            self.ready.extend(builder.take()?);
        }
        Ok(())
    }

    /// The batches that are complete; with `all`, also what is not full.
    pub fn take_ready(&mut self, all: bool) -> Vec<RecordBatch> {
        if all
            && self.end.is_none()
            && let Err(error) = self.flush()
        {
            self.end = Some(End::Failed(error));
        }
        std::mem::take(&mut self.ready)
    }

    /// Where its batches go.
    pub fn lane(&self) -> &mpsc::Sender<RecordBatch> {
        &self.lane
    }

    /// Nobody takes its batches any more: whoever did knows why.
    pub fn abandon(&mut self) {
        if self.end.is_none() {
            self.end = Some(End::Failed(Error::Interrupted));
        }
    }

    /// What it came to. Its lane is closed.
    pub fn finish(self) -> Result<FeedEnd> {
        let restart = match self.end {
            Some(End::Failed(error)) => return Err(error),
            Some(End::Restart(reason)) => Some(reason),
            None => None,
        };
        if self.sent.is_empty() {
            return Ok(FeedEnd {
                schema: None,
                restart,
            });
        }
        let row = self.sent.iter();
        let of_change = self
            .numbering
            .columns
            .iter()
            .map(|column| &column.column)
            .filter(|column| change::is_of_change(&column.name));
        Ok(FeedEnd {
            schema: Some(Schema {
                columns: row.chain(of_change).cloned().collect(),
            }),
            restart,
        })
    }
}

fn same_names(one: &[(String, String)], other: &[(String, String)]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(name, _)| other.iter().any(|(other, _)| other == name))
}
