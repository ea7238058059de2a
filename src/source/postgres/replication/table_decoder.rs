//! One stream's changes: from the messages of its table to batches, through every shape that the table takes.
//!
//! The server tells a table's shape before the first change that has it, also in the midst of a transaction. New columns
//! and dropped ones are followed, with a part of their own in the landing area. What the log does not tell (values that
//! a default, a rename or a new type gave to rows that were there) makes the stream begin anew, with a snapshot.

use std::collections::{BTreeSet, HashMap};

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::Resume;
use super::change::{ChangeBuilder, Mark, Places};
use super::pgoutput::{Old, Relation, RelationColumn, Tuple, Value};
use super::table::Table;
use crate::change::{self, Op};
use crate::config::postgres::{ColumnSelection, ColumnSettings};
use crate::error::{Error, Result};
use crate::evolution::{SchemaContract, TableSchema, assign_field_ids, evolve};
use crate::position::{LastRead, Lsn, LsnPosition};
use crate::schema::{Column, ColumnSpec, Schema};
use crate::shape::{Seen, ShapeColumn, Since, TableShape};
use crate::source::postgres::catalog;
use crate::source::postgres::text::TextForm;
use crate::source::postgres::types::{ColumnPlan, plan};

/// One stream's changes.
#[derive(Debug)]
pub struct TableDecoder {
    columns: ColumnSettings,
    contract: SchemaContract,
    table: Table,
    /// From where its changes are taken.
    from: Lsn,
    /// What the log must have, so that it is the one that was read so far.
    expects: Option<LastRead>,
    /// The last transaction with changes that were taken.
    last: Option<LastRead>,
    /// The table as the catalog had it at the position; unknown to positions of older versions.
    known: Option<TableShape>,
    /// The columns that the stream's table had at the position, dropped ones included.
    held: BTreeSet<String>,
    /// Columns that some rows did not have.
    gone: BTreeSet<String>,
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
    /// The table as the catalog had it after all that was read.
    seen: Option<TableShape>,
    reshaped: bool,
    end: Option<End>,
}

/// Why a decoder takes no more changes.
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
    /// Whether its old rows come with all that the stream tells rows apart by.
    identified: bool,
}

/// What a decoder comes to.
#[derive(Debug, Clone, Default)]
pub struct DecodedTable {
    /// The columns of its parts; none where it had no change.
    pub schema: Option<Schema>,
    /// Why the stream has to begin anew, where it has to.
    pub restart: Option<String>,
    /// The last transaction with changes that were taken.
    pub last: Option<LastRead>,
    /// The table as the catalog has it.
    pub shape: Option<TableShape>,
    /// Whether the table has new columns of which no row tells.
    pub reshaped: bool,
}

impl TableDecoder {
    /// The changes of a stream whose table has the schema `known`, from a position on.
    pub fn new(
        columns: &ColumnSettings,
        contract: SchemaContract,
        table: &Table,
        known: &TableSchema,
        from: &LsnPosition,
        resume: Resume,
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
            columns: columns.clone(),
            contract,
            table: table.clone(),
            from: resume.from,
            expects: resume.expects,
            last: from.last,
            known: from.shape.clone(),
            held: known
                .columns
                .iter()
                .map(|column| column.column.name.clone())
                .collect(),
            gone: BTreeSet::new(),
            seen: None,
            reshaped: false,
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
    pub fn accepts(&self, commit_lsn: Lsn) -> bool {
        self.end.is_none() && commit_lsn >= self.from
    }

    /// A transaction begins: it may be the one that shows that the log is the one that was read.
    pub fn meet(&mut self, lsn: Lsn, time: i64) {
        let met = LastRead {
            lsn,
            time: Some(time),
        };
        if self.expects == Some(met) {
            self.expects = None;
        }
    }

    /// Changes of a transaction are taken.
    pub fn note(&mut self, lsn: Lsn, time: i64) {
        self.last = Some(LastRead {
            lsn,
            time: Some(time),
        });
    }

    /// Whether the shape of that relation has been looked at.
    pub fn has_relation(&self, relation: u32) -> bool {
        self.shapes.contains_key(&relation)
    }

    /// Forgets a relation's shape: another may have come.
    pub fn invalidate(&mut self, relation: u32) {
        self.shapes.remove(&relation);
    }

    /// Looks at the shape of a relation, before its first change.
    pub async fn shape(&mut self, client: &Client, relation: &Relation) {
        if let Err(error) = self.take_shape(client, relation, Teller::Log).await {
            self.end = Some(End::Failed(error));
        }
    }

    /// Compares the table as it is now with what it was at the position: what the log did not tell of it.
    pub async fn compare_with(&mut self, client: &Client, seen: Option<&Seen>) {
        if self.end.is_some() {
            return;
        }
        if let Some(expected) = self.expects {
            self.end = Some(End::Failed(another_log(&self.table.from, expected)));
            return;
        }
        let Some(seen) = seen else {
            self.restart("it was dropped");
            return;
        };
        if let Err(error) = self.compare(client, seen).await {
            self.end = Some(End::Failed(error));
        }
    }

    async fn compare(&mut self, client: &Client, seen: &Seen) -> Result<()> {
        let new = match since(
            self.known.as_ref(),
            seen,
            &self.columns.selected,
            self.contract,
            &self.held,
        )? {
            Ok(new) => new,
            Err(reason) => {
                self.restart(&reason);
                return Ok(());
            }
        };
        let again = self
            .gone
            .iter()
            .find(|name| seen.shape.column(name).is_some());
        if let Some(name) = again.cloned() {
            self.restart(&format!("its column `{name}` had another name for a while"));
            return Ok(());
        }
        let unmet = |column: &ShapeColumn| {
            let ShapeColumn { identity, .. } = column;
            !seen.generated.contains(&identity.number)
                && !self.live.iter().any(|(name, _)| *name == identity.name)
        };
        if !self.table.lists_columns && new.iter().any(unmet) {
            self.take_shape(client, &as_relation(&self.table, seen), Teller::Catalog)
                .await?;
            self.reshaped = self.end.is_none();
            self.ready
                .extend(self.builder.as_ref().map(ChangeBuilder::empty));
        }
        self.seen = Some(seen.shape.clone());
        Ok(())
    }

    async fn take_shape(
        &mut self,
        client: &Client,
        relation: &Relation,
        teller: Teller,
    ) -> Result<()> {
        let Some(columns) = catalog::typed(client, &relation.columns).await? else {
            self.restart("a type of one of its columns was dropped meanwhile");
            return Ok(());
        };
        let mut plans = Vec::with_capacity(columns.len());
        let mut forms = Vec::with_capacity(columns.len());
        let ColumnSettings {
            selected, types, ..
        } = &self.columns;
        for column in columns.iter().filter(|column| selected.takes(&column.name)) {
            let mut plan = plan(column, types.get(&column.name))?;
            // A deleted row has values in the key columns alone.
            plan.spec.nullable = true;
            forms.push(TextForm::of(column, &plan)?);
            plans.push(plan);
        }
        let live: Vec<(String, String)> = plans
            .iter()
            .map(|plan| (plan.spec.name.clone(), plan.spec.source_type.clone()))
            .collect();
        if !self.follow(client, relation, &live, teller).await? {
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
        let identifies = |place: &usize| {
            let column = relation.columns.get(*place);
            column.is_some_and(|column| column.identifies)
        };
        // Of a partitioned table the partitions' identities count, which were looked at.
        let by_partitions = relation.oid == self.table.oid && !self.table.partitions.is_empty();
        let is_identified =
            by_partitions || relation.whole || (!key.is_empty() && key.iter().all(identifies));
        self.shapes.insert(
            relation.oid,
            Shape {
                places: names,
                key,
                identified: is_identified,
            },
        );
        Ok(())
    }

    /// Whether rows of these columns can follow those so far. Where not, the decoder has ended.
    async fn follow(
        &mut self,
        client: &Client,
        relation: &Relation,
        live: &[(String, String)],
        teller: Teller,
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
                Some(known) if !same_type(&known, kind) => {
                    changes.push(format!("column `{name}` changed from {known} to {kind}"));
                    if self.contract == SchemaContract::Evolve {
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
        if teller == Teller::Log && self.is_out_of_order(relation) {
            self.restart("names of its columns were swapped");
            return Ok(false);
        }
        if changes.is_empty() {
            return Ok(true);
        }
        if self.contract == SchemaContract::Freeze {
            return Err(frozen(&changes.join("; ")));
        }
        let renamed = gone.first().zip(new.first());
        if let Some((gone, new)) = renamed.filter(|_| teller == Teller::Log) {
            let reason = format!("its column `{gone}` was renamed or replaced (`{new}` is new)");
            self.restart(&reason);
            return Ok(false);
        }
        if let Some(gone) = gone.first().filter(|_| self.table.key.is_empty()) {
            let reason = format!(
                "its column `{gone}` was dropped, and its rows are matched by all that they have"
            );
            self.restart(&reason);
            return Ok(false);
        }
        let known = self.known.as_ref();
        let before = |name: &&String| known.is_some_and(|known| known.column(name).is_some());
        if let Some(name) = new.iter().find(before) {
            let reason =
                format!("its column `{name}` was there before, and what it had is not in the log");
            self.restart(&reason);
            return Ok(false);
        }
        let gone: Vec<String> = gone.into_iter().cloned().collect();
        self.gone.extend(gone);
        let filled = catalog::columns_with_defaults(client, relation.oid, &new).await?;
        if let Some(name) = filled.first() {
            let reason = format!(
                "its new column `{name}` has a default, which gave values to rows that were there"
            );
            self.restart(&reason);
            return Ok(false);
        }
        Ok(true)
    }

    fn is_out_of_order(&self, relation: &Relation) -> bool {
        let names = relation.columns.iter().map(|column| column.name.as_str());
        let known = self
            .known
            .as_ref()
            .filter(|_| relation.oid == self.table.oid);
        known.is_some_and(|known| !known.has_in_order(names))
    }

    fn restart(&mut self, reason: &str) {
        self.end = Some(End::Restart(reason.to_owned()));
    }

    /// Begins batches of another shape.
    fn build(&mut self, plans: &[ColumnPlan], forms: Vec<TextForm>) -> Result<()> {
        self.flush()?;
        let mut specs: Vec<ColumnSpec> = plans.iter().map(|plan| plan.spec.clone()).collect();
        specs.extend(change::columns());
        let schema = assign_field_ids(Some(&self.numbering), specs);
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
        if !self.is_identified(relation) {
            return;
        }
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
        if !self.is_identified(relation) {
            return false;
        }
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

    /// Whether changed and deleted rows are told by what the stream matches them by. Where not, it begins anew.
    fn is_identified(&mut self, relation: u32) -> bool {
        let identified = self
            .shapes
            .get(&relation)
            .is_none_or(|shape| shape.identified);
        if !identified && self.end.is_none() {
            self.restart("its replica identity was another for a while");
        }
        identified
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
    pub fn finish(self) -> Result<DecodedTable> {
        let restart = match self.end {
            Some(End::Failed(error)) => return Err(error),
            Some(End::Restart(reason)) => Some(reason),
            None => None,
        };
        let end = DecodedTable {
            schema: None,
            restart,
            last: self.last,
            shape: self.seen,
            reshaped: self.reshaped,
        };
        if self.sent.is_empty() {
            return Ok(end);
        }
        let row = self.sent.iter();
        let of_change = self
            .numbering
            .columns
            .iter()
            .map(|column| &column.column)
            .filter(|column| change::is_of_change(&column.name));
        Ok(DecodedTable {
            schema: Some(Schema {
                columns: row.chain(of_change).cloned().collect(),
            }),
            ..end
        })
    }
}

fn same_names(one: &[(String, String)], other: &[(String, String)]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(name, _)| other.iter().any(|(other, _)| other == name))
}

/// The new columns of a table since a position, or why the log does not tell what came of it. `held` are the columns that
/// the stream's table had at the position.
///
/// # Errors
/// Where the stream's contract forbids what came of it.
pub(super) fn since(
    known: Option<&TableShape>,
    seen: &Seen,
    selected: &ColumnSelection,
    contract: SchemaContract,
    held: &BTreeSet<String>,
) -> Result<std::result::Result<Vec<ShapeColumn>, String>> {
    let guessed;
    let known = if let Some(known) = known {
        known
    } else {
        guessed = guess(seen, selected, held);
        &guessed
    };
    let found = known.since(
        seen,
        |name| selected.takes(name),
        |name| held.contains(name),
    );
    let refuses = contract == SchemaContract::Freeze;
    match found {
        Since::Altered(reason) if refuses => Err(frozen(&reason)),
        Since::Altered(reason) | Since::Unlogged(reason) => Ok(Err(reason)),
        Since::Logged(new) => match new.first() {
            Some(column) if refuses => Err(frozen(&format!(
                "column `{}` ({}) is new",
                column.identity.name, column.type_name
            ))),
            _ => Ok(Ok(new)),
        },
    }
}

/// What the catalog had at the position of an older version, as far as the stream's own columns tell.
fn guess(seen: &Seen, selected: &ColumnSelection, held: &BTreeSet<String>) -> TableShape {
    let mut shape = seen.shape.clone();
    shape.columns.retain(|column| {
        let name = &column.identity.name;
        !selected.takes(name)
            || seen.generated.contains(&column.identity.number)
            || held.contains(name)
    });
    shape
}

fn frozen(changes: &str) -> Error {
    Error::data(format!(
        "the source's schema changed and schema_contract is \"freeze\": {changes}"
    ))
    .remedy(
        "set schema_contract = \"evolve\" for the stream, or name the columns that it takes with `columns`",
    )
}

/// Who tells what columns a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    /// The log, as they were when rows were written.
    Log,
    /// The catalog, as they are.
    Catalog,
}

/// Whether two names of types are of one: with its schema, or without where the search path finds it.
fn same_type(one: &str, other: &str) -> bool {
    let within = |long: &str, short: &str| {
        let schema = long.strip_suffix(short);
        schema.is_some_and(|schema| schema.ends_with('.'))
    };
    one == other || within(one, other) || within(other, one)
}

/// The table as the log would describe it.
fn as_relation(table: &Table, seen: &Seen) -> Relation {
    let published = seen
        .shape
        .columns
        .iter()
        .map(|column| &column.identity)
        .filter(|column| !seen.generated.contains(&column.number));
    Relation {
        oid: table.oid,
        schema: String::new(),
        name: String::new(),
        columns: published
            .map(|column| RelationColumn {
                name: column.name.clone(),
                type_oid: column.type_oid,
                modifier: column.modifier,
                identifies: seen.shape.key.contains(&column.number),
            })
            .collect(),
        whole: true,
    }
}

/// What is said where the log is not the one that was read.
fn another_log(table: &str, expected: LastRead) -> Error {
    Error::source(format!(
        "the server's write-ahead log does not have the transaction at {} by which {table} was changed last: the server was \
         restored from an older copy, and its rows may be others than those that were read",
        expected.lsn
    ))
    .remedy(super::ANEW)
}
