//! Decodes one stream's changes: from messages about its table to batches, through every shape of the table.
//!
//! The server describes a table before the first change of a new shape, even within a transaction. Columns that were added
//! or dropped are followed, with new parts in the landing area. Changes that are not in the log (the values that a default,
//! a rename or a new type gave to existing rows) need a new snapshot.

use std::collections::{BTreeSet, HashMap};

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::Resume;
use super::alterations::since;
use super::change::{ChangeBuilder, Places};
use super::pgoutput::Relation;
use super::table::Table;
use crate::change::{self};
use crate::config::postgres::ColumnSettings;
use crate::error::{Error, Result};
use crate::evolution::{SchemaContract, TableSchema};
use crate::position::{LastRead, Lsn, LsnPosition};
use crate::schema::{Column, Schema};
use crate::shape::{Seen, ShapeColumn, TableShape};

mod layout;
mod rows;

use layout::{Teller, as_relation};

/// Decodes the changes of one stream.
#[derive(Debug)]
pub struct TableDecoder {
    columns: ColumnSettings,
    contract: SchemaContract,
    table: Table,
    /// The LSN from which changes are decoded.
    from: Lsn,
    /// The transaction that the log must contain, so that it is the log that was read so far.
    expects: Option<LastRead>,
    /// The last transaction with changes that were decoded.
    last: Option<LastRead>,
    /// The table's shape at the position. `None` for positions of older versions.
    known: Option<TableShape>,
    /// The columns of the stream's table at the position, dropped ones included.
    held: BTreeSet<String>,
    /// The columns that some rows did not have.
    gone: BTreeSet<String>,
    /// The stream's schema with new columns, from which field ids are assigned.
    numbering: TableSchema,
    /// Name and type of the current columns.
    live: Vec<(String, String)>,
    /// The columns of all changes so far.
    sent: Vec<Column>,
    /// The layout of each relation's rows (the table's own, or a partition's) in the batches.
    shapes: HashMap<u32, Shape>,
    builder: Option<ChangeBuilder>,
    /// Complete batches that wait to be sent.
    ready: Vec<RecordBatch>,
    lane: mpsc::Sender<RecordBatch>,
    /// The table's shape in the catalog, after all changes were read.
    seen: Option<TableShape>,
    reshaped: bool,
    end: Option<End>,
}

/// Why a decoder accepts no more changes.
#[derive(Debug, Clone)]
enum End {
    /// The stream failed.
    Failed(Error),
    /// The stream needs a new snapshot.
    Restart(String),
}

/// The layout of a relation's rows in the batches.
#[derive(Debug)]
struct Shape {
    places: Places,
    key: Vec<usize>,
    /// Whether its old rows have all columns that the stream matches rows by.
    identified: bool,
}

/// The result of a decoder.
#[derive(Debug, Clone, Default)]
pub struct DecodedTable {
    /// The columns of its batches. `None` if there was no change.
    pub schema: Option<Schema>,
    /// The reason why the stream needs a new snapshot, if it does.
    pub restart: Option<String>,
    /// The last transaction with changes that were decoded.
    pub last: Option<LastRead>,
    /// The table's shape in the catalog.
    pub shape: Option<TableShape>,
    /// Whether the table has new columns that no row has shown.
    pub reshaped: bool,
}

impl TableDecoder {
    /// Creates the decoder of a stream whose table has the schema `known`, from a position on.
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

    /// The table whose changes are decoded.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether the decoder accepts the changes of a transaction.
    pub fn accepts(&self, commit_lsn: Lsn) -> bool {
        self.end.is_none() && commit_lsn >= self.from
    }

    /// Notes that a transaction begins: it may prove that the log is the one that was read.
    pub fn meet(&mut self, lsn: Lsn, time: i64) {
        let met = LastRead {
            lsn,
            time: Some(time),
        };
        if self.expects == Some(met) {
            self.expects = None;
        }
    }

    /// Notes that changes of a transaction are decoded.
    pub fn note(&mut self, lsn: Lsn, time: i64) {
        self.last = Some(LastRead {
            lsn,
            time: Some(time),
        });
    }

    /// Whether the layout of that relation is known.
    pub fn has_relation(&self, relation: u32) -> bool {
        self.shapes.contains_key(&relation)
    }

    /// Forgets a relation's layout, because the relation may have changed.
    pub fn invalidate(&mut self, relation: u32) {
        self.shapes.remove(&relation);
    }

    /// Determines the layout of a relation, before its first change.
    pub async fn shape(&mut self, client: &Client, relation: &Relation) {
        if let Err(error) = self.take_shape(client, relation, Teller::Log).await {
            self.end = Some(End::Failed(error));
        }
    }

    /// Compares the table's current shape with the one at the position, for changes that are not in the log.
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
            &self.columns,
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

    fn restart(&mut self, reason: &str) {
        self.end = Some(End::Restart(reason.to_owned()));
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

    /// Takes the complete batches; with `all`, also the incomplete one.
    pub fn take_ready(&mut self, all: bool) -> Vec<RecordBatch> {
        if all
            && self.end.is_none()
            && let Err(error) = self.flush()
        {
            self.end = Some(End::Failed(error));
        }
        std::mem::take(&mut self.ready)
    }

    /// The channel of the batches.
    pub fn lane(&self) -> &mpsc::Sender<RecordBatch> {
        &self.lane
    }

    /// Marks the decoder as failed because the receiver was dropped; the receiver has the error.
    pub fn abandon(&mut self) {
        if self.end.is_none() {
            self.end = Some(End::Failed(Error::Interrupted));
        }
    }

    /// The decoder's result. Its channel is closed.
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

/// The error that the log is not the one that was read.
fn another_log(table: &str, expected: LastRead) -> Error {
    Error::source(format!(
        "the server's write-ahead log does not have the transaction at {} by which {table} was changed last: the server was \
         restored from an older copy, and its rows may be others than those that were read",
        expected.lsn
    ))
    .remedy(super::ANEW)
}
