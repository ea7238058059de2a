//! Decodes the changes of rows.

use super::TableDecoder;
use crate::change::Op;
use crate::error::Error;
use crate::source::postgres::replication::change::Mark;
use crate::source::postgres::replication::pgoutput::{Old, Tuple, Value};

impl TableDecoder {
    /// Decodes an insert.
    pub fn insert(&mut self, mark: Mark, relation: u32, message: &[u8], new: &Tuple) {
        self.push(Op::Insert, mark, relation, message, new, None);
    }

    /// Decodes a delete.
    pub fn delete(&mut self, mark: Mark, relation: u32, message: &[u8], old: &Tuple) {
        if !self.is_identified(relation) {
            return;
        }
        self.push(Op::Delete, mark, relation, message, old, None);
    }

    /// Decodes an update. If the key changed, or if whole rows are matched, it becomes a delete and an insert; the return
    /// value says so.
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

    /// Whether old rows have the columns that the stream matches rows by. If not, a new snapshot is needed.
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

    /// Decodes a truncation.
    pub fn truncate(&mut self, mark: Mark) {
        let pushed = match &mut self.builder {
            Some(builder) => builder.push_truncate(mark),
            None => Err(Error::internal(
                "a table was truncated before it was described",
            )),
        };
        self.settle(pushed);
    }

    /// Handles the truncation of a partition: the log does not say which rows were removed.
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
}
